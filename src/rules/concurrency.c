/* The rule `concurrency_limit`: so many requests of a key at once, in all workers together
 * (base/limittable.h). Others get 429 with Retry-After. A request counts until its exchange has
 * ended, or goes on to another route. */
#include "limitkey.h"
#include "proxy/action.h"
#include "proxy/proxy.h"
#include "proxy/rule.h"

struct config_concurrency_limit {
	struct limit_key key;
	uint32_t requests;
	uint32_t dry_run;
};

struct concurrency_work {
	uint64_t hash;
	bool counted;
	bool refused;
};

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_KEY };

static const struct key concurrency_keys[] = {
	[KEY_KEY] = LIMIT_KEY_ROW,
	LIMIT_PREFIX_ROW(struct config_concurrency_limit),
	KEY_ROW(struct config_concurrency_limit, requests, COUNT, requests, NULL, 1,
		1000000, NULL, ANY, "requests of a key that may be in flight at once"),
	KEY_ROW(struct config_concurrency_limit, dry_run, WORD, dry_run, "off", 0, 0,
		"off|on", ANY,
		"on: nothing is refused, only counted "
		"(fairlead_concurrency_limits_exceeded_total)"),
};

static const struct section concurrency_section = { "routes[].concurrency_limit.",
						    concurrency_keys,
						    COUNT(concurrency_keys) };
static const struct section *const concurrency_sections[] = { &concurrency_section,
							      NULL };

static const void *concurrency_read(struct config_reader *r, const struct node *n,
				    struct config_route *route)
{
	struct config_concurrency_limit *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values;

	if (!section_read(r, n, &concurrency_section, c, &values))
		return NULL;
	limit_key_read(r, n, route, values.of[KEY_KEY], &c->key);
	return c;
}

static void concurrency_print(FILE *out, const struct config *config, const void *options)
{
	const struct config_concurrency_limit *c = options;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	fputs("concurrency_limit:\n", out);
	limit_key_print(out, &c->key, &concurrency_section, c);
}

/* ---- requests ----------------------------------------------------------------- */

static enum rule_verdict concurrency_check(const struct rule_use *u,
					   const struct request_view *view)
{
	const struct config_concurrency_limit *c = u->options;
	struct proxy *p = u->exchange->proxy;
	struct concurrency_work *w;
	struct limit_text text;
	enum count_result result;

	if (!limit_key_text(&c->key, view, &text))
		return RULE_GOES_ON;
	w = rule_begin_work(u);
	if (!w)
		return RULE_ENDED;
	w->hash = limit_text_hash(&text, p->limits);
	result = count_take(&p->limits->counts, w->hash, c->requests);
	w->counted = result == COUNT_TAKEN;
	if (result != COUNT_REFUSED)
		return RULE_GOES_ON;
	stat_add(&p->stats->concurrency_limits_exceeded, 1);
	if (c->dry_run)
		return RULE_GOES_ON;
	w->refused = true;
	exchange_fail(u->exchange, ENDING_CONCURRENCY_LIMITED);
	return RULE_ENDED;
}

static void concurrency_ended(const struct rule_use *u)
{
	struct proxy *p = u->exchange->proxy;
	struct concurrency_work *w = rule_work(u);

	if (w->counted)
		count_put(&p->limits->counts, w->hash);
	slab_put(rule_works(p, &rule_concurrency_limit), w);
}

/* Nobody knows when one of them ends. */
static void concurrency_response(const struct rule_use *u,
				 const struct request_view *view, const struct head *h,
				 struct field_changes *c)
{
	const struct concurrency_work *w = rule_work(u);

	(void)view;
	(void)h;
	if (w && w->refused)
		field_set(c, SLICE("Retry-After"), SLICE("1"));
}

const struct rule rule_concurrency_limit = {
	.config = {
		.key = NODE_ROW(concurrency_limit, "{ requests: N, … }", "none",
				"rule: so many requests of a key at once; others get 429; a map "
				"with the keys of `routes[].concurrency_limit`"),
		.sections = concurrency_sections,
		.read = concurrency_read,
		.print = concurrency_print,
	},
	.check = concurrency_check,
	.work_bytes = sizeof(struct concurrency_work),
	.ended = concurrency_ended,
	.response = concurrency_response,
};
