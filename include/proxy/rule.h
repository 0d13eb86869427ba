/* A route's rules: who may send a request, and what is changed on its way and on that of the
 * response.
 *
 * Each rule is one constant struct. `config_rules` (run/rules.c) lists all of them; nothing else
 * names one. They are applied in the order of that table, to the requests of the routes that have
 * them:
 *
 *   route ─▶ check() of each ─▶ the action starts ─▶ request() of each ─▶ the head for the server
 *              │ │                                    (a request that is sent to an upstream)
 *              │ └─▶ EXCHANGE_CHECKING ─▶ step() … ─▶ check() of the next
 *              └───▶ a reply
 *   the final head of a response, of a server, a cache or our own ─▶ response() of each ─▶ sent
 *   the exchange has ended, or goes on to another route ─▶ ended() of those that have work
 *
 * Two responses have no rules: that to a request which has no route, and the constant one for lack
 * of memory (reply.h).
 *
 * Owner: none, rules are constant. The work of a rule belongs to its exchange; its memory comes
 * from a slab of the worker. A route without rules has `rules == NULL`, and its exchanges have no
 * memory for them.
 * Errors: rule_begin_work() ends the exchange if memory is lacking. */
#ifndef PROXY_RULE_H
#define PROXY_RULE_H

#include "base/check.h"
#include "config/rule.h"
#include "http/change.h"
#include "proxy/exchange.h"

/* A rule at work for one exchange. */
struct rule_use {
	struct exchange *exchange;
	const void *options; /* what its read() made */
	unsigned index;      /* among the rules of the route */
};

enum rule_verdict {
	RULE_GOES_ON, /* the request may go on */
	RULE_ENDED,   /* the rule has replied, or ended the exchange otherwise */
	RULE_WAITS,   /* step() will decide */
	RULE_RELAYS,  /* of step(): its source is the response, as given to exchange_relay() */
};

/* What rules change in the head of a request that is sent to an upstream. The text may be in
 * fields->text, or in the options of the rule. */
struct request_changes {
	struct slice path; /* in place of that of the head; empty: not changed */
	struct field_changes *fields;
};

/* What takes the place of an error response. */
struct rule_page {
	int status;
	struct slice content_type, body; /* of the configuration */
};

struct rule {
	struct config_rule config;

	/* Each of these may be NULL. */

	/* Of a rule that needs threads or other things of the process (config.has_threads): as in
	 * struct action, for processes whose configuration has such a rule. `in_place`: without
	 * threads, for tests; what they do is done by the caller. */
	bool (*open)(bool in_place);
	void (*close)(void);

	/* Before the action starts. The view and its head are valid for the call. */
	enum rule_verdict (*check)(const struct rule_use *u,
				   const struct request_view *view);

	/* Bytes of a work; 0: the rule has none. See rule_begin_work(). */
	size_t work_bytes;
	/* After RULE_WAITS, whenever the exchange's task runs. */
	enum rule_verdict (*step)(const struct rule_use *u);
	/* Gives up the work, and what it holds: called once for each work, however the exchange
	 * ends. The memory goes back to rule_works(), now or when a thread has returned it. A rule
	 * with work has it. */
	void (*ended)(const struct rule_use *u);

	/* Changes the request that is sent to an upstream. False: it has ended the exchange. */
	bool (*request)(const struct rule_use *u, const struct request_view *view,
			struct request_changes *c);
	/* A page in place of the body of an error response with this status, which is our `own` or
	 * that of an origin. False: none. Of the origin's fields stay those about authentication,
	 * cookies, caching, and Retry-After and Allow. */
	bool (*page)(const struct rule_use *u, const struct request_view *view, int status,
		     bool own, struct rule_page *page);
	/* Changes the final head of a response: of a server, of a cache (no fields), of our own (no
	 * fields). `view`: the request; NULL unless a rule of the route keeps its head. */
	void (*response)(const struct rule_use *u, const struct request_view *view,
			 const struct head *h, struct field_changes *c);
	/* Gives up what the rule does beside the exchanges: of proxy_close(), and at the end of a
	 * drain. */
	void (*abandon)(struct proxy *p);
	/* True: a trailer of this name does not go on, since the rule removes or sets the fields
	 * of that name. `of_request`: it is one of the request to an upstream. */
	bool (*hides_trailer)(const void *options, struct slice name, bool of_request);
};

/* ---- for rules ----------------------------------------------------------------- */

/* In check(): gives the rule a zeroed work, until ended(). NULL: no memory, and the exchange has
 * ended. */
void *rule_begin_work(const struct rule_use *u) MUST_USE;

/* The work of the rule. NULL: it has none. */
void *rule_work(const struct rule_use *u);

/* In ended(): the slab that the work came from. */
struct slab *rule_works(struct proxy *p, const struct rule *rule);

/* In check() or step(): the client is this user, for ${auth.user} and the log; the text is in the
 * configuration. False: no memory, and the exchange has ended. */
bool rule_set_user(const struct rule_use *u, struct slice user) MUST_USE;

/* ---- for the exchange ------------------------------------------------------------ */

/* The checks from rule `from` on. RULE_WAITS: rules_step() is to be called, and the head was kept.
 * The route has rules. */
enum rule_verdict rules_check(struct exchange *x, struct request_view *view, unsigned from);

/* The user of the client; empty: none is known. */
struct slice rules_user(const struct exchange *x);

/* Steps the rule that waits; its index. */
enum rule_verdict rules_step(struct exchange *x);
unsigned rules_waiting(const struct exchange *x);

/* The changes of a request to an upstream; `c` has those until then. False: the exchange has
 * ended. */
bool rules_change_request(struct exchange *x, const struct request_view *view,
			  struct request_changes *c) MUST_USE;

/* True: a rule of the route looks at responses. */
bool rules_see_responses(const struct config_route *route);

/* The page in place of an error response. False: none. */
bool rules_page(struct exchange *x, int status, bool own, struct rule_page *page);

/* Appends the changes of a final head to `c`. */
void rules_change_response(struct exchange *x, const struct head *h, struct field_changes *c);

/* The changes of a final head, in memory of the worker that is valid until the next call. NULL:
 * none. */
const struct field_changes *rules_response(struct exchange *x, const struct head *h);

/* Ends the works of all rules of the exchange. */
void rules_ended(struct exchange *x);

/* Asserts what holds in EXCHANGE_CHECKING. */
void rules_check_waiting(const struct exchange *x);

/* The slabs of all rules: proxy_init(), proxy_done() and proxy_trim(). */
void rule_works_init(struct proxy *p);
void rule_works_done(struct proxy *p);
void rule_works_trim(struct proxy *p);

/* abandon() of all rules. */
void rules_abandon(struct proxy *p);

/* True: no work is left. */
bool rule_works_idle(const struct proxy *p);

/* open() and close() of all rules. rules_open(): false, and nothing is open, after an error. */
bool rules_open(bool in_place);
void rules_close(void);

/* src/rules */
extern const struct rule rule_methods, rule_request_fields, rule_response_fields,
	rule_error_pages, rule_rewrite, rule_rewrite_location, rule_rewrite_cookies, rule_cdn_loop,
	rule_via_loop, rule_mirror;
extern const struct rule rule_allow, rule_deny;
extern const struct rule rule_basic_auth, rule_auth_request;
extern const struct rule rule_rate_limit, rule_concurrency_limit, rule_server_timing;

#endif
