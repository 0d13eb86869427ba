/* The rule `rate_limit`: so many requests of a key in a time, as a token bucket that all workers
 * share (base/limittable.h). Others get 429 with Retry-After (RFC 6585 4), or wait for their turn.
 * With `shared` counters of several processes judge as well (sharedrate.h), those that the bucket
 * lets through.
 * RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11) tell every client where
 * it stands.
 *
 *   BEGUN ──▶ DECIDED            refused: 429; or goes on
 *     │ └────▶ DELAYED ─▶ DECIDED  its time has not come: waits, until the timer
 *     └▶ ASKED ──▶ DECIDED, DELAYED
 *
 *   ASKED  waits for the shared counters, for `shared.timeout` at most
 *
 * A request that only the bucket has refused has no work in a dry run. */
#include "limitkey.h"
#include "proxy/action.h"
#include "proxy/proxy.h"
#include "proxy/rule.h"
#include "sharedrate.h"

#define REQUESTS_MAX 10000

struct config_rate_limit {
	struct limit_key key;
	struct rate rate;
	uint32_t requests, unit; /* as written: index in units */
	uint32_t burst;          /* 0: as many as `requests` */
	uint32_t delay_ms;
	uint32_t dry_run;
	struct config_shared_rate shared;
	struct slice policy; /* of RateLimit-Policy */
};

static const struct rate_unit {
	char letter;
	uint32_t seconds;
} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 } };

enum rate_state { RATE_BEGUN, RATE_ASKED, RATE_DELAYED, RATE_DECIDED };

struct rate_work {
	uint8_t state;      /* enum rate_state */
	struct timer timer; /* ASKED, DELAYED: armed until the time is over */
	struct exchange *exchange;
	struct rate_result result; /* of the bucket; then of what is stricter */
	uint64_t from_us;          /* when the bucket was asked */
	struct shared_rate shared;
};

/* The diagram above: the states that may follow each state. */
static const uint8_t next_states[] = {
	[RATE_BEGUN] = 1u << RATE_ASKED | 1u << RATE_DELAYED | 1u << RATE_DECIDED,
	[RATE_ASKED] = 1u << RATE_DELAYED | 1u << RATE_DECIDED,
	[RATE_DELAYED] = 1u << RATE_DECIDED,
	[RATE_DECIDED] = 0,
};

static void rate_set_state(struct rate_work *w, enum rate_state state)
{
	ASSERT(next_states[w->state] >> state & 1);
	w->state = (uint8_t)state;
}

/* What holds between two steps. */
static void rate_check_work(const struct rate_work *w)
{
	bool asks = w->shared.current && w->shared.previous;

	ASSERT(w->state != RATE_BEGUN);
	ASSERT(asks == (w->state == RATE_ASKED));
	ASSERT(!timer_armed(&w->timer) || w->state == RATE_ASKED ||
	       w->state == RATE_DELAYED);
}

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_REQUESTS, KEY_KEY, KEY_PREFIX, KEY_BURST, KEY_SHARED };
enum { KEY_UPSTREAM };

static const struct key shared_keys[] = {
	[KEY_UPSTREAM] = NODE_ROW(upstream, "NAME", "required",
				  "memcached upstream that has the counters"),
	KEY_ROW(struct config_rate_limit, timeout, DURATION, shared.timeout_ms, "50ms", 1,
		10000, NULL, ANY,
		"a request waits so long for the counters; without them the limit of this "
		"process alone applies"),
};

static const struct section shared_section = { "routes[].rate_limit.shared.", shared_keys,
					       COUNT(shared_keys) };

static const struct key rate_keys[] = {
	[KEY_REQUESTS] =
		NODE_ROW(requests, "10/s", "required",
			 "1 to 10000 requests in a second (s), minute (m) or hour "
			 "(h)"),
	[KEY_KEY] = LIMIT_KEY_ROW,
	[KEY_PREFIX] = LIMIT_PREFIX_ROW(struct config_rate_limit),
	[KEY_BURST] =
		KEY_ROW(struct config_rate_limit, burst, COUNT, burst, "auto", 1, 1000000,
			"auto", ANY,
			"so many requests may come at once after a time without any; "
			"auto: as many as the number in `requests`"),
	[KEY_SHARED] = NODE_ROW(
		shared, "NAME or { upstream: NAME, … }", "none",
		"all processes that name the same memcached servers hold this limit together; the "
		"name of a memcached upstream, or a map with the keys of "
		"`routes[].rate_limit.shared`"),
	KEY_ROW(struct config_rate_limit, delay, DURATION, delay_ms, "0s", 0, 60000, NULL,
		ANY,
		"a request over the limit waits so long for its turn, in order, before one is "
		"refused"),
	KEY_ROW(struct config_rate_limit, dry_run, WORD, dry_run, "off", 0, 0, "off|on",
		ANY,
		"on: nothing is refused or delayed, only counted "
		"(fairlead_rate_limits_exceeded_total)"),
};

static const struct section rate_section = { "routes[].rate_limit.", rate_keys,
					     COUNT(rate_keys) };
static const struct section *const rate_sections[] = { &rate_section, &shared_section,
						       NULL };

/* "N/s". False: it is not that. */
static bool requests_parse(struct slice text, uint32_t *n, uint32_t *unit)
{
	size_t i = 0;

	*n = 0;
	for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
		if ((*n = *n * 10 + (uint32_t)(text.ptr[i] - '0')) > REQUESTS_MAX)
			return false;
	if (*n == 0 || i + 2 != text.len || text.ptr[i] != '/')
		return false;
	for (*unit = 0; *unit < COUNT(units); ++*unit)
		if (units[*unit].letter == text.ptr[i + 1])
			return true;
	return false;
}

static void rate_set(struct config_reader *r, const struct section_values *values,
		     struct config_rate_limit *c)
{
	uint64_t unit_us = UINT64_C(1000000) * units[c->unit].seconds;

	c->rate.interval_us = unit_us / c->requests;
	c->rate.tokens = c->burst ? c->burst : c->requests;
	if (c->rate.interval_us * c->rate.tokens > LIMIT_FILL_US)
		report_error(
			reader_report(r), node_pos(values->of[KEY_BURST]),
			"at this rate it takes more than an hour until so many may come "
			"again; write %u or less",
			(unsigned)(LIMIT_FILL_US / c->rate.interval_us));
	c->policy = slice_of(arena_format(
		reader_memory(r), "\"default\";q=%u;w=%u", c->rate.tokens,
		(unsigned)((c->rate.interval_us * c->rate.tokens + 999999) / 1000000)));
}

static void shared_read(struct config_reader *r, const struct node *n,
			struct config_rate_limit *c)
{
	struct section_values values = { { NULL } };

	if (n->kind == NODE_SCALAR && !node_is_null(n)) {
		section_read(r, NULL, &shared_section, c, &values);
		values.of[KEY_UPSTREAM] = n;
	} else if (!section_read(r, n, &shared_section, c, &values)) {
		return;
	}
	c->shared.on = true;
	c->shared.upstream = upstream_find(r, values.of[KEY_UPSTREAM], CONFIG_MEMCACHED);
}

static const void *rate_read(struct config_reader *r, const struct node *n,
			     struct config_route *route)
{
	struct config_rate_limit *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values = { { NULL } };
	const struct node *requests;

	if (n->kind == NODE_SCALAR && !node_is_null(n)) {
		section_read(r, NULL, &rate_section, c, &values);
		values.of[KEY_REQUESTS] = n;
	} else if (!section_read(r, n, &rate_section, c, &values)) {
		return NULL;
	}
	limit_key_read(r, n, route, values.of[KEY_KEY], &c->key);
	if (values.of[KEY_SHARED])
		shared_read(r, values.of[KEY_SHARED], c);
	requests = values.of[KEY_REQUESTS];
	if (!requests || !scalar_check(r, requests, "a rate, as in 10/s"))
		return NULL;
	if (!requests_parse(requests->text, &c->requests, &c->unit)) {
		report_error(
			reader_report(r), requests->at,
			"this is no rate; write 1 to %u requests in a second, minute or "
			"hour, as in 10/s, 100/m or 1000/h",
			REQUESTS_MAX);
		return NULL;
	}
	rate_set(r, &values, c);
	return c;
}

static void rate_print(FILE *out, const struct config *config, const void *options)
{
	const struct config_rate_limit *c = options;

	print_indent(out, ACTION_DEPTH);
	fputs("rate_limit:\n", out);
	print_indent(out, ACTION_DEPTH + 1);
	fprintf(out, "requests: %u/%c\n", c->requests, units[c->unit].letter);
	limit_key_print(out, &c->key, &rate_section, c);
	if (!c->shared.on)
		return;
	print_indent(out, ACTION_DEPTH + 1);
	fputs("shared:\n", out);
	print_indent(out, ACTION_DEPTH + 2);
	print_text(out, "upstream", slice_of(config->upstreams[c->shared.upstream].name));
	print_section(out, &shared_section, c, ACTION_DEPTH + 2, PROTOCOL_ANY);
}

/* ---- requests ----------------------------------------------------------------- */

static void time_is_over(struct timer *t)
{
	struct rate_work *w = CONTAINER(t, struct rate_work, timer);

	tick_run(w->exchange->proxy->tick, &w->exchange->task);
}

static void rate_count(struct proxy *p, const struct rate_result *result)
{
	if (!result->taken || result->wait_us > 0)
		stat_add(&p->stats->rate_limits_exceeded, 1);
}

/* Does what the result says. */
static enum rule_verdict rate_apply(const struct rule_use *u, struct rate_work *w)
{
	const struct config_rate_limit *c = u->options;
	struct proxy *p = u->exchange->proxy;

	rate_count(p, &w->result);
	if (c->dry_run || (w->result.taken && w->result.wait_us == 0)) {
		rate_set_state(w, RATE_DECIDED);
		return RULE_GOES_ON;
	}
	if (!w->result.taken) {
		rate_set_state(w, RATE_DECIDED);
		exchange_fail(u->exchange, ENDING_RATE_LIMITED);
		return RULE_ENDED;
	}
	rate_set_state(w, RATE_DELAYED);
	stat_add(&p->stats->requests_delayed, 1);
	timer_set(&p->tick->wheel, &w->timer,
		  p->tick->now_ms + w->result.wait_us / 1000 + 1);
	return RULE_WAITS;
}

/* True: the shared counters are asked. */
static bool rate_ask(const struct rule_use *u, struct rate_work *w,
		     const struct limit_text *text)
{
	const struct config_rate_limit *c = u->options;
	struct tick *tick = u->exchange->proxy->tick;

	if (!c->shared.on || !w->result.taken ||
	    !shared_rate_ask(&w->shared, u->exchange, &c->shared, &c->rate, text))
		return false;
	rate_set_state(w, RATE_ASKED);
	timer_set(&tick->wheel, &w->timer, tick->now_ms + c->shared.timeout_ms);
	return true;
}

static enum rule_verdict rate_check(const struct rule_use *u,
				    const struct request_view *view)
{
	const struct config_rate_limit *c = u->options;
	struct proxy *p = u->exchange->proxy;
	struct rate_result result;
	struct limit_text text;
	struct rate_work *w;

	if (!limit_key_text(&c->key, view, &text))
		return RULE_GOES_ON;
	result = rate_take(&p->limits->rates, limit_text_hash(&text, p->limits), &c->rate,
			   p->tick->now_us, UINT64_C(1000) * c->delay_ms);
	if (c->dry_run && !(c->shared.on && result.taken)) {
		rate_count(p, &result);
		return RULE_GOES_ON;
	}
	w = rule_begin_work(u);
	if (!w)
		return RULE_ENDED;
	timer_init(&w->timer, time_is_over);
	w->exchange = u->exchange;
	w->result = result;
	w->from_us = p->tick->now_us;
	return rate_ask(u, w, &text) ? RULE_WAITS : rate_apply(u, w);
}

/* The stricter of both results. */
static void rate_merge(struct rate_work *w, const struct rate_result *shared,
		       uint64_t now_us)
{
	uint64_t waited_us = now_us - w->from_us;
	uint64_t wait_us = w->result.wait_us > waited_us ? w->result.wait_us - waited_us
							 : 0;

	if (!shared->taken || shared->left < w->result.left)
		w->result = *shared;
	if (w->result.taken)
		w->result.wait_us = wait_us > shared->wait_us ? wait_us : shared->wait_us;
}

static enum rule_verdict rate_read_shared(const struct rule_use *u, struct rate_work *w)
{
	const struct config_rate_limit *c = u->options;
	struct tick *tick = u->exchange->proxy->tick;
	struct rate_result shared = { .taken = true, .left = UINT32_MAX };

	switch (shared_rate_read(&w->shared, u->exchange, &c->shared, &c->rate,
				 !timer_armed(&w->timer), UINT64_C(1000) * c->delay_ms,
				 !c->dry_run, &shared)) {
	case SHARED_WAITS:
		return RULE_WAITS;
	case SHARED_JUDGED:
	case SHARED_LOST:
		break;
	}
	timer_stop(&tick->wheel, &w->timer);
	rate_merge(w, &shared, tick->now_us);
	return rate_apply(u, w);
}

static enum rule_verdict rate_step(const struct rule_use *u)
{
	struct rate_work *w = rule_work(u);
	enum rule_verdict verdict = RULE_WAITS;

	if (w->state == RATE_ASKED) {
		verdict = rate_read_shared(u, w);
	} else if (!timer_armed(&w->timer)) {
		rate_set_state(w, RATE_DECIDED);
		verdict = RULE_GOES_ON;
	}
	CHECK_STATE(rate_check_work(w));
	return verdict;
}

static void rate_ended(const struct rule_use *u)
{
	struct rate_work *w = rule_work(u);

	shared_rate_drop(&w->shared);
	timer_stop(&u->exchange->proxy->tick->wheel, &w->timer);
	slab_put(rule_works(u->exchange->proxy, &rule_rate_limit), w);
}

/* ---- responses ---------------------------------------------------------------- */

static uint64_t seconds_up(uint64_t us)
{
	return (us + 999999) / 1000000;
}

/* Those of a server stay: the fields are lists, with a policy in each member. Within the time `t`
 * the client can send no more than `r` requests; with none left that is the time of Retry-After. */
static void rate_response(const struct rule_use *u, const struct request_view *view,
			  const struct head *h, struct field_changes *c)
{
	const struct config_rate_limit *o = u->options;
	const struct rate_work *w = rule_work(u);
	char *begin = c->text.at;

	(void)view;
	(void)h;
	if (!w || o->dry_run)
		return;
	emit_slice(&c->text, SLICE("\"default\";r="));
	emit_number(&c->text, w->result.left);
	emit_slice(&c->text, SLICE(";t="));
	emit_number(&c->text, seconds_up(w->result.left > 0 ? w->result.full_us
							    : w->result.next_us));
	field_add(c, SLICE("RateLimit-Policy"), o->policy);
	field_add(c, SLICE("RateLimit"),
		  (struct slice){ begin, (size_t)(c->text.at - begin) });
	if (w->result.taken)
		return;
	begin = c->text.at;
	emit_number(&c->text, seconds_up(w->result.wait_us));
	field_set(c, SLICE("Retry-After"),
		  (struct slice){ begin, (size_t)(c->text.at - begin) });
}

const struct rule rule_rate_limit = {
	.config = {
		.key = NODE_ROW(rate_limit, "N/s or { requests: N/s, … }", "none",
				"rule: so many requests of a key in a time; others get 429 with "
				"Retry-After, or wait; a rate, or a map with the keys of "
				"`routes[].rate_limit`"),
		.sections = rate_sections,
		.read = rate_read,
		.print = rate_print,
	},
	.check = rate_check,
	.work_bytes = sizeof(struct rate_work),
	.step = rate_step,
	.ended = rate_ended,
	.response = rate_response,
};
