#include "sharedrate.h"

#include <inttypes.h>

#include "base/errorlog.h"
#include "proxy/proxy.h"
#include "tls/digest.h"

#define LOG_EVERY_MS 60000
#define TTL_MORE_S 10 /* clocks differ */
#define DIGITS_MAX 20u
#define KEY_BYTES 128 /* > prefix, 64 digits of the hash, two numbers */

/* ---- without counters --------------------------------------------------------- */

static void log_lost(struct exchange *x, const struct config_shared_rate *c,
		     const char *why)
{
	struct limit_sharing *l = &x->proxy->limit_sharing;
	uint64_t now_ms = x->proxy->tick->now_ms;
	char more[64] = "";

	if (l->logged_ms != 0 && now_ms - l->logged_ms < LOG_EVERY_MS) {
		l->skipped++;
		return;
	}
	if (l->skipped > 0)
		snprintf(more, sizeof(more), " (and %" PRIu32 " requests before)",
			 l->skipped);
	errorlog_put(EVENT_LIMITS_UNSHARED,
		     "rate limits are not shared, local ones apply: %s from '%s'%s", why,
		     x->generation->config->upstreams[c->upstream].name, more);
	l->logged_ms = now_ms > 0 ? now_ms : 1;
	l->skipped = 0;
}

/* The local limit alone has decided. */
static void lost(struct exchange *x, const struct config_shared_rate *c, const char *why)
{
	stat_add(&x->proxy->stats->rate_limits_unshared, 1);
	log_lost(x, c, why);
}

/* ---- asking ------------------------------------------------------------------- */

static void call_decided(struct memcache_call *call)
{
	struct exchange *x = call->owner;

	tick_run(x->proxy->tick, &x->task);
}

/* False: no memory. */
static bool text_digest(struct proxy *p, const struct limit_text *text, char hex[65])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t digest[TLS_DIGEST_BYTES];

	if (!p->limit_sharing.digester)
		p->limit_sharing.digester = tls_digester_new();
	if (!p->limit_sharing.digester)
		return false;
	tls_digest_by(p->limit_sharing.digester, (struct slice){ text->bytes, text->n },
		      digest);
	for (size_t i = 0; i < sizeof(digest); i++) {
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	hex[64] = '\0';
	return true;
}

/* The counter of the window with this number. */
static struct memcache_call *counter_ask(struct exchange *x,
					 const struct config_shared_rate *c,
					 enum memcache_command command,
					 const struct window *window, const char *hex,
					 uint64_t number)
{
	char key[KEY_BYTES];
	int n = snprintf(key, sizeof(key), "fl:rate:%s:%" PRIu64 ":%" PRIu64, hex,
			 window->length_us, number);

	ASSERT(n > 0 && (size_t)n < sizeof(key));
	return memcache_ask(
		generation_memcache(x->generation, c->upstream),
		&(struct memcache_ask){
			.command = command,
			.key = { key, (size_t)n },
			.ttl_s = (uint32_t)(2 * window->length_us / 1000000) + TTL_MORE_S,
			.impatient = true,
			.done = call_decided,
			.owner = x,
		});
}

bool shared_rate_ask(struct shared_rate *s, struct exchange *x,
		     const struct config_shared_rate *c, const struct rate *rate,
		     const struct limit_text *text)
{
	const struct window window = window_of(rate);
	uint64_t wall_us = x->proxy->tick->wall_ms * 1000;
	uint64_t number = wall_us / window.length_us;
	char hex[65];

	s->elapsed_us = wall_us % window.length_us;
	if (text_digest(x->proxy, text, hex)) {
		s->current = counter_ask(x, c, MEMCACHE_COUNT, &window, hex, number);
		s->previous = counter_ask(x, c, MEMCACHE_MG, &window, hex, number - 1);
	}
	if (s->current && s->previous)
		return true;
	shared_rate_drop(s);
	lost(x, c, "out of memory");
	return false;
}

/* ---- reading ------------------------------------------------------------------ */

static void call_drop(struct memcache_call **call)
{
	if (*call)
		memcache_forget(call);
}

void shared_rate_drop(struct shared_rate *s)
{
	call_drop(&s->current);
	call_drop(&s->previous);
}

static bool is_decided(const struct memcache_call *call)
{
	return call->state != CALL_WAITING && call->state != CALL_SENT;
}

/* NULL: it can be used, or is not decided yet. */
static const char *call_fault(const struct memcache_call *call)
{
	if (call->state == CALL_MISS && call->unasked)
		return "no reply (down or slow)";
	if (call->state == CALL_MISS && call->command == MEMCACHE_COUNT)
		return "no counter";
	if (call->state != CALL_FAILED)
		return NULL;
	switch (call->failure) {
	case CALL_TIMEOUT:
		return "no reply in time";
	case CALL_QUEUE_FULL:
		return "no connection in time";
	case CALL_ERROR:
	case CALL_VALUE_LARGE:
		break;
	}
	return "an error";
}

/* Appends the digits of a value; a counter that has become shorter has spaces at its end. */
static bool number_add(struct slice text, bool *ended, uint64_t *number)
{
	for (size_t i = 0; i < text.len; i++) {
		bool digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';

		if ((!digit && text.ptr[i] != ' ') || (digit && *ended) ||
		    *number > UINT64_MAX / 10 - 1)
			return false;
		*ended = !digit;
		if (digit)
			*number = *number * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	return true;
}

/* The number of a call that can be used. False: it is none. */
static bool number_read(struct memcache_call *call, uint64_t *number)
{
	bool good = call->length > 0 && call->length <= DIGITS_MAX, ended = false;
	struct piece p;

	*number = 0;
	if (call->state == CALL_MISS)
		return true;
	while (memcache_take(call, &p)) {
		good = good && number_add((struct slice){ p.ptr, p.len }, &ended, number);
		piece_put(&p);
	}
	return good;
}

static bool numbers_read(struct shared_rate *s, const struct window *w, uint64_t *current,
			 uint64_t *previous)
{
	return number_read(s->current, current) && number_read(s->previous, previous) &&
	       *current > 0 && window_plausible(w, *current) &&
	       window_plausible(w, *previous);
}

/* The replies that are not there yet. */
static void give_up(struct shared_rate *s)
{
	if (!is_decided(s->current))
		memcache_give_up(&s->current);
	if (!is_decided(s->previous))
		memcache_give_up(&s->previous);
}

enum shared_outcome shared_rate_read(struct shared_rate *s, struct exchange *x,
				     const struct config_shared_rate *c,
				     const struct rate *rate, bool late,
				     uint64_t wait_max_us, bool take_back,
				     struct rate_result *result)
{
	const struct window window = window_of(rate);
	const char *fault = call_fault(s->current);
	uint64_t current, previous;

	if (!fault)
		fault = call_fault(s->previous);
	if (!fault && !(is_decided(s->current) && is_decided(s->previous))) {
		if (!late)
			return SHARED_WAITS;
		give_up(s);
		fault = "no reply in time";
	} else if (!fault && !numbers_read(s, &window, &current, &previous)) {
		fault = "no number that can be right";
	}
	if (!fault) {
		*result = window_judge(&window, s->elapsed_us, previous, current,
				       wait_max_us);
		stat_add(&x->proxy->stats->rate_limits_shared, 1);
		if (!result->taken && take_back)
			memcache_take_back(s->current);
	} else {
		lost(x, c, fault);
	}
	shared_rate_drop(s);
	return fault ? SHARED_LOST : SHARED_JUDGED;
}
