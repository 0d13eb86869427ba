/* How fast a client has to send the body of its request.
 *
 * While the body is awaited, the client is *late* by the time that passes; each byte makes up for a
 * part of a second, as the rate says. So a client that sends faster than the rate is never late for
 * long, and one that sends a byte just before each timeout gains next to nothing. A time in which
 * the body is not awaited (a server does not read, or there is none yet) does not count.
 *
 *   received, await, received, await …        late by `lag_us`
 *   └────────┘ counts  └───────┘ counts       due: when it is late by `receive_ms`
 *
 * Without a rate only the time since the last bytes counts. The head has `header_timeout`, which is
 * the time for all of it.
 *
 * Owner: the relay; no timer: the deadline of the client's stream asks pace_due_ms(). Limits: the
 * route's, else those of the configuration. Errors: none. */
#ifndef PROXY_PACE_H
#define PROXY_PACE_H

#include "message/stream.h"

struct pace {
	uint32_t receive_ms; /* how late the client may be */
	uint32_t rate;       /* bytes/s; 0: none */
	uint64_t since_ms;   /* since when more is awaited; 0: it is not */
	uint64_t lag_us;     /* how late it was then */
};

void pace_begin(struct pace *p, uint32_t receive_ms, uint32_t rate);

/* So many bytes of the body were read. */
void pace_received(struct pace *p, uint32_t bytes, uint64_t now_ms);

/* All that has arrived was read, and more is awaited. */
void pace_await(struct pace *p, uint64_t now_ms);

/* Nothing is awaited for now. */
static inline void pace_pause(struct pace *p)
{
	p->since_ms = 0;
}

/* Until when more has to arrive on the stream, as client_events.body_due_ms() says. */
uint64_t pace_due_ms(const struct pace *p, const struct stream *s, uint64_t now_ms);

/* The deadline has passed. True: the client has stopped; false: it is too slow, as bytes have
 * arrived within the last half of receive_ms. */
bool pace_stopped(const struct pace *p, const struct stream *s, uint64_t now_ms);

#endif
