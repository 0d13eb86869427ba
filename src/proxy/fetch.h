/* One fetch_request to an origin or to a cache: the lease or call, the request as sent, the
 * answer as it comes.
 *
 *   LEASING ─▶ SENDING ─▶ AWAITING_HEAD ─▶ RELAYING ─▶ ENDED
 *      │  ▲       │             │             │
 *      │  └───────┴─────────────┘ stale_close by a stale connection: once more
 *      └──────────┴─────────────┴─────────────┴─▶ FAILED (ending says how)
 *
 *   LEASING        waits for an origin, or for the cache's answer
 *   SENDING        the head was sent, the body is under way; the answer may begin
 *   AWAITING_HEAD  the request is complete
 *   RELAYING       the head of the final answer was taken
 *
 * Owner: the worker; the exchange holds a pointer until fetch_free(). Pulled by its waiter's
 * step; facts run the waiter. By itself it sends a request twice only if it is idempotent, went
 * out on a connection that was used before, no byte of a response was seen (RFC 9110 9.2.2,
 * RFC 9112 9.3.1), and its waiter has all that was sent of its body (replay.h): then it is in
 * FETCH_LEASING once more, and is sent the body from its beginning. What a route says of
 * retries is other fetches (retry.h).
 *
 * Which requests never go out on a connection that was used before is the upstream's `reuse`. */
#ifndef PROXY_FETCH_H
#define PROXY_FETCH_H

#include "proxy/proxy.h"

enum fetch_state {
	FETCH_LEASING,
	FETCH_SENDING,
	FETCH_AWAITING_HEAD,
	FETCH_RELAYING,
	FETCH_ENDED,
	FETCH_FAILED,
};

/* More 1xx answers than this to one request are an attack. */
#define FETCH_INTERIM_MAX 32

struct fetch {
	struct proxy *proxy;
	struct generation *generation; /* of whoever asked first */
	struct task *waiter;
	uint8_t state;        /* enum fetch_state */
	uint8_t ending;       /* enum ending, of FETCH_FAILED */
	uint8_t method;       /* enum method */
	uint8_t framing;      /* of the request's body */
	uint8_t interim_n;
	uint16_t status;      /* of the answer whose head was taken */
	bool retried;
	bool body_not_replayable; /* its waiter has not all that was sent of it: not to be sent again */
	bool timed_out;       /* a deadline passed */
	bool waiter_stalled; /* what came was not all taken: its slowness, not ours */
	bool reusable;        /* the origin, after this answer */
	bool tunnel;
	uint64_t length;      /* of the request's body */
	uint64_t sent_us;     /* when its head was sent; 0: not yet, to nobody */
	uint64_t since_ms;    /* when the state began */
	struct buf *request;  /* its serialised head, until an answer makes a repeat impossible */
	struct upstream *upstream;
	const struct tried *avoid; /* servers that others are preferred to; see upstream_lease() */
	const struct config_upstream *config; /* as the generation has it */
	struct lease lease;
	struct memcache_call *call; /* set: this is a fetch_request to a cache */
};

/* What an origin is asked. */
struct fetch_request {
	unsigned upstream;     /* of the configuration */
	struct buf *request;   /* the serialised head, whose reference is taken over */
	enum method method;
	enum framing framing;  /* of the body */
	uint64_t length;
	uint64_t key;          /* what the upstream's `hash` came to; 0: nothing */
	const struct tried *avoid; /* lives as long as the fetch; may be NULL */
	bool first;            /* the client asked nothing before it on its connection */
	struct list *holder;   /* of the client: its authenticated connections; NULL: none stays */
	bool holds;            /* what it is sent on is authenticated with it (identity.h) */
};

/* NULL: out of memory. */
struct fetch *fetch_origin(struct generation *g, const struct fetch_request *q,
			   struct task *waiter);

/* Asks a cache; the key is valid. */
struct fetch *fetch_memcached(struct generation *g, unsigned upstream,
			      enum memcache_command command, struct slice key,
			      struct task *waiter);

/* Goes on as far as facts allow. The state afterwards tells. */
void fetch_step(struct fetch *f);

/* Bytes of request body that may be sent now. */
uint32_t fetch_send_space(struct fetch *f);

/* Should its connection turn out to have ended before it was asked, the request goes out on
 * another one if the body can be sent again. */
bool fetch_may_resend(const struct fetch *f);

/* Sends a run of the body, or its end. `kept`: the waiter has it, and sends it again if need be.
 * False: it failed; see `ending`. */
bool fetch_send(struct fetch *f, struct piece *p, bool kept);
bool fetch_send_end(struct fetch *f, struct buf *trailers, bool kept);

/* The head of the next answer, interim ones (1xx) included, whose slices live until
 * fetch_take_head(). For a fetch_request to an origin only. VERDICT_BAD: it failed. */
enum verdict fetch_head(struct fetch *f, struct head *h) MUST_USE;
void fetch_take_head(struct fetch *f, const struct head *h, enum framing framing);

/* Who asks has waited long enough: if no final head was taken it fails, as if its own time
 * were up. */
void fetch_time_out(struct fetch *f);

/* The waiter takes nothing for now, however much has come: the origin is not late meanwhile. */
void fetch_set_stalled(struct fetch *f, bool held);

/* The next run of the answer's body; BODY_BAD: the fetch failed. */
enum body_event fetch_body(struct fetch *f, struct head *trailers, struct piece *p);
void fetch_end_trailers(struct fetch *f);

/* From now on the origin's connection carries bytes in both directions. */
struct conn *fetch_tunnel(struct fetch *f);

/* Lets go of origin or call, and frees it. Any state. */
void fetch_free(struct fetch **slot);

#endif
