/* When each phase of a request ended: for the access log, histograms, Server-Timing and spans.
 *
 * Times are those of the tick (tick->now_us), which is read once per tick: they cost nothing, and
 * what happens within one tick takes no time.
 *
 * Owner: the relay of the exchange; its source fills the times of its lease. */
#ifndef PROXY_REQUESTTIMES_H
#define PROXY_REQUESTTIMES_H

#include "back/upstream.h"
#include "base/phases.h"

struct request_times {
	struct lease_times lease; /* of the attempt whose response is used; all 0: a hedge's */
	uint64_t received_us;     /* all of the request's body was received; 0: not yet */
	uint64_t head_us;         /* the head of the response was queued; 0: not yet */
};

/* Not known, or it did not take place. */
#define PHASE_UNKNOWN UINT64_MAX

/* Microseconds of a phase, but for PHASE_TOTAL. started_us: when the head of the request was
 * received. */
uint64_t request_phase(const struct request_times *t, uint64_t started_us, enum phase phase);

/* Likewise of PHASE_QUEUE, CONNECT and TLS alone; CONNECT is 0 if a connection was kept alive. */
uint64_t lease_phase(const struct lease_times *t, enum phase phase);

/* Adds what is known of a lease whose connection was ready: of CONNECT and TLS only if it was
 * opened for it. */
void lease_phases_add(struct phases *p, const struct lease_times *t);

#endif
