/* The rule `mirror`: a share of the requests is sent to a second upstream as well, whose responses
 * are dropped; as the mirror of nginx and request_mirror_policies of Envoy.
 *
 *   KEEPING ─▶ SENDING ─▶ READING ─▶ (ended)
 *      │          └─────────────────▶ (ended)   it has failed, or is late
 *      └────────────────────────────▶ (ended)   not sent, and counted as dropped
 *
 *   KEEPING  the request's body is kept as it is relayed (proxy/tap.h), up to its end; without a
 *            body until its task is stepped
 *   SENDING  a fetch sends it to the mirror; no final head yet
 *   READING  the body of the response is read and dropped
 *
 * A mirrored request is an object of its own. From SENDING on it knows nothing of its exchange,
 * which it neither delays nor ends, and by which it is not ended. It does not begin if too many are
 * there, if its body cannot be kept whole, or for lack of memory.
 *
 * It is what the server gets, with the changes of the route's rules, but for Expect, and with the
 * field MIRROR_FIELD, under which no client's field goes on. Host is that of the request to the
 * server, unless `host` is set. It is not in the access log, and not sent again.
 *
 * Owner: the list proxy->mirrors; the memory is of rule_works(). It holds its generation.
 * Limits: those of the options; MIRROR_RESPONSE_BYTES of a response are read, then the connection
 * closes. Errors: counted (base/stats.h). */
#ifndef RULES_MIRROR_H
#define RULES_MIRROR_H

#include "config/rule.h"
#include "proxy/fetch.h"
#include "proxy/tap.h"

#define MIRROR_FIELD "X-Mirror"
#define MIRROR_RESPONSE_BYTES (1u << 20)
#define MIRROR_BODY_MAX (16u << 20)

struct config_mirror {
	struct config_proxy proxy; /* upstream; host, empty: that of the request to the server */
	uint32_t share;            /* of CONFIG_SAMPLE_ALL requests */
	uint32_t body;             /* largest body that is kept, in bytes; 0: none */
	uint32_t requests;         /* at once, of a worker, of all rules */
	uint32_t timeout_ms;       /* from the first byte to the end of the response */
};

enum mirror_state { MIRROR_KEEPING, MIRROR_SENDING, MIRROR_READING, MIRROR_ENDED };

struct mirror {
	struct slab_reap reap;
	struct list node; /* in proxy->mirrors */
	struct task task;
	struct timer timer; /* of the timeout, from SENDING on */
	struct body_tap tap; /* KEEPING: of the exchange's relay, until the body is whole */
	struct generation *generation;
	const struct config_mirror *options;
	struct fetch *fetch;  /* NULL: KEEPING */
	struct buf *head, *preamble; /* until the fetch has them */
	struct replay body;   /* what is kept of it */
	uint64_t length, hash;
	uint32_t body_sent, response_bytes;
	uint8_t state;           /* enum mirror_state */
	uint8_t method, framing; /* of the request */
	bool first;              /* see struct fetch_options */
	bool hold_on_return;
	bool whole; /* all of the request is kept */
	bool sent;  /* all of it was given to the fetch */
	bool late;
};

extern const struct section *const mirror_sections[];

/* mirrorkeys.c */
const void *mirror_read(struct config_reader *r, const struct node *n,
			struct config_route *route);
void mirror_print(FILE *out, const struct config *c, const void *options);

/* Asserts what holds between two steps. */
void mirror_check(const struct mirror *m);

#endif
