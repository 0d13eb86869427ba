/* The part of a rate limit that several processes share: one counter for each key and window in a
 * memcached upstream (base/slidingwindow.h), counted by each request that the local bucket lets
 * through.
 *
 *   shared_rate_ask ─▶ ma, mg of the window before ─▶ SHARED_JUDGED
 *                       └▶ down, slow, full, no number, or not in time ─▶ SHARED_LOST
 *
 * The requests of a tick leave together, as all calls of the memcached client. A request waits for
 * `timeout` at most; then, and for all failures, the local bucket has decided. What is refused here
 * is not counted: its count is taken back.
 *
 * A key is the SHA-256 of the limit's text, which nobody can choose so that it is another's, with
 * the length and the number of the window. Numbers are not believed if they can hardly be right
 * (window_plausible()); whoever writes to the servers can otherwise write any number.
 *
 * Owner: the work of the rule; the calls are the client's. Limits: two calls for a request. Errors:
 * SHARED_LOST, which is counted, and logged once in a minute. Private to rules. */
#ifndef RULES_SHAREDRATE_H
#define RULES_SHAREDRATE_H

#include "base/slidingwindow.h"
#include "limitkey.h"
#include "proxy/exchange.h"

struct config_shared_rate {
	bool on;
	uint32_t timeout_ms;
	unsigned upstream; /* of memcached */
};

struct shared_rate {
	struct memcache_call *current, *previous; /* NULL: none */
	uint64_t elapsed_us;                      /* of the window, when it was asked */
};

/* Asks. False: no memory; then nothing is held, and it is lost. */
bool shared_rate_ask(struct shared_rate *s, struct exchange *x,
		     const struct config_shared_rate *c, const struct rate *rate,
		     const struct limit_text *text) MUST_USE;

enum shared_outcome {
	SHARED_WAITS, /* for a reply, which runs the exchange's task */
	SHARED_JUDGED,
	SHARED_LOST,
};

/* Reads the replies. `late`: the time is over. Unless it waits, nothing is held any more.
 * JUDGED: *result, with a wait of `wait_max_us` at most if it is taken; if not, and `take_back`, it
 * was not counted. */
enum shared_outcome shared_rate_read(struct shared_rate *s, struct exchange *x,
				     const struct config_shared_rate *c,
				     const struct rate *rate, bool late,
				     uint64_t wait_max_us, bool take_back,
				     struct rate_result *result) MUST_USE;

/* The request has ended. */
void shared_rate_drop(struct shared_rate *s);

#endif
