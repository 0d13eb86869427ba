#include "proxy/fetch.h"

#include <string.h>

#include "attempts.h"
#include "hedge.h"
#include "proxy/logrecord.h"
#include "retry.h"

static struct fetch *fetch_of(struct source *s)
{
	return CONTAINER(s, struct fetch, source);
}

static void check_fetch(const struct source *s)
{
	const struct fetch *f = CONTAINER(s, const struct fetch, source);

	if (f->attempt)
		attempt_check(f->attempt);
	if (f->hedge)
		attempt_check(f->hedge);
	ASSERT(!f->hedge || (f->retry && f->attempt && f->hedge != f->attempt));
	ASSERT(!f->retry || f->retry->pausing == !f->attempt);
	ASSERT(f->source.ending == 0 || f->state == FETCH_FAILED);
	ASSERT(!f->replay.body || f->replay.sent <= f->replay.body->end);
	switch ((enum fetch_state)f->state) {
	case FETCH_TRYING:
		ASSERT(f->attempt && f->attempt->status == 0);
		ASSERT(f->request.head || f->attempt->interim_n > 0);
		break;
	case FETCH_PAUSING:
		ASSERT(!f->attempt && f->retry && f->request.head);
		break;
	case FETCH_RELAYING:
		ASSERT(f->attempt && f->attempt->status > 0);
		ASSERT(!f->retry && !f->request.head && !f->replay.body);
		break;
	case FETCH_ENDED:
		ASSERT(f->attempt && f->attempt->state == ATTEMPT_ENDED);
		break;
	case FETCH_FAILED:
		ASSERT(f->source.ending != 0);
		break;
	}
}

/* ---- the request's body --------------------------------------------------- */

static bool may_send(const struct fetch *f)
{
	return f->attempt && (f->state == FETCH_TRYING || f->state == FETCH_RELAYING);
}

/* What earlier attempts were sent comes first. */
static void send_kept_body(struct fetch *f)
{
	struct piece p;

	if (!may_send(f) || attempt_send_space(f->attempt) == 0)
		return;
	if (replay_next(&f->replay, &p))
		attempt_send(f->attempt, &p, true);
}

/* Most bytes of the body to keep, to send them again; 0: it will not be sent again. */
static uint32_t replay_max(const struct fetch *f)
{
	if (f->state != FETCH_TRYING ||
	    (!attempt_may_resend(f->attempt) && !(f->retry && retry_may_resend(f->retry))))
		return 0;
	return f->replay_max;
}

bool fetch_waits(const struct fetch *f)
{
	return !f->attempt || f->attempt->state == ATTEMPT_WAITING;
}

uint32_t fetch_send_space(const struct fetch *f)
{
	return may_send(f) && !replay_pending(&f->replay) ? attempt_send_space(f->attempt) : 0;
}

void fetch_await_space(struct fetch *f)
{
	if (may_send(f))
		attempt_await_space(f->attempt);
}

/* While TRYING another attempt may follow: see read_head(). */
static void fail_if_unsent(struct fetch *f)
{
	if (f->state == FETCH_RELAYING && f->attempt->state == ATTEMPT_FAILED)
		fetch_fail(f, (enum ending)f->attempt->ending);
}

void fetch_send(struct fetch *f, struct piece *p)
{
	uint32_t max = replay_max(f);

	if (max > 0)
		replay_keep(&f->replay, io_bufs(f->request.tick->loop), p,
			    f->request.framing == FRAMING_LENGTH ? f->request.length : 0, max);
	else
		replay_disable(&f->replay);
	attempt_send(f->attempt, p, !f->replay.disabled);
	fail_if_unsent(f);
}

/* NULL: no trailers, or no memory; the body then ends without them. */
static struct buf *trailer_block(struct fetch *f, const struct head *trailers)
{
	struct field_block b;

	if (!trailers)
		return NULL;
	upstream_begin_block(f->request.upstream, &b, forward_trailers_max(trailers));
	forward_trailers(&b.sink, trailers);
	return field_block_end(&b);
}

void fetch_send_end(struct fetch *f, const struct head *trailers)
{
	struct buf *block = trailer_block(f, trailers);
	bool kept = !block || replay_max(f) > 0;

	if (kept)
		block = replay_trailers(&f->replay, block);
	else
		replay_disable(&f->replay);
	if (f->retry)
		retry_request_complete(f->retry);
	attempt_send_end(f->attempt, block, kept);
	fail_if_unsent(f);
}

bool fetch_sent(const struct fetch *f)
{
	return f->attempt && f->attempt->lease.state == LEASE_READY &&
	       f->attempt->lease.stream->sent;
}

/* ---- the response --------------------------------------------------------- */

static enum verdict read_head(struct source *s, struct head *h)
{
	struct fetch *f = fetch_of(s);
	struct attempt *a = f->attempt;
	bool retried;

	if (f->state == FETCH_FAILED)
		return VERDICT_BAD;
	if (f->state == FETCH_PAUSING)
		return VERDICT_MORE;
	ASSERT(f->state == FETCH_TRYING);
	retried = a->retried;
	switch (attempt_head(a, h)) {
	case VERDICT_OK:
		return f->retry && attempts_reject(f, h) ? VERDICT_MORE : VERDICT_OK;
	case VERDICT_BAD:
		return attempts_failed(f);
	case VERDICT_MORE:
		if (a->retried != retried)
			replay_rewind(&f->replay);
		break;
	}
	return VERDICT_MORE;
}

/* The server that responds has no cookie yet: it is not the one that the request's cookie names.
 * That one may still be there, and was full, or slower than a hedge: then the client stays with
 * it. */
static bool needs_cookie(const struct fetch *f, uint64_t server)
{
	bool not_tried = f->attempts_ended == 0 || f->hedge_outcome == HEDGE_WON;

	return server != 0 && server != f->request.hash &&
	       !(not_tried && upstream_sticks(f->request.upstream, f->request.hash));
}

void fetch_cookies(const struct fetch *f, int status, char texts[2][COOKIE_TEXT_MAX],
		   struct slice values[2])
{
	uint64_t server = lease_sticky(&f->attempt->lease);
	bool final = status >= 200 || status == 101;

	values[0] = values[1] = SLICE("");
	if (final && f->place.name)
		values[0] = cookie_of_place(texts[0], &f->place, f->secure);
	if (final && needs_cookie(f, server))
		values[1] = cookie_of_server(texts[1], &f->request.config->sticky, server,
					     f->secure);
}

static bool send_head(struct source *s, struct stream *down, const struct head *h,
		      struct forward_response *r)
{
	const struct fetch *f = fetch_of(s);
	char texts[2][COOKIE_TEXT_MAX];
	struct field_block b;

	r->via = f->request.config->via;
	fetch_cookies(f, h->status, texts, r->set_cookies);
	stream_begin_block(down, &b, forward_response_max(h, r));
	forward_response(&b.sink, h, r);
	return stream_send_head(down, &b, r->framing, r->length);
}

static const char *server_name(const struct source *s)
{
	const struct fetch *f = CONTAINER(s, const struct fetch, source);

	return lease_server(&f->attempt->lease);
}

/* The request will not be sent again. */
static void release_request(struct fetch *f)
{
	replay_free(&f->replay);
	buf_put(f->request.head);
	f->request.head = NULL;
}

static void take_head(struct source *s, const struct head *h, enum framing framing)
{
	struct fetch *f = fetch_of(s);

	ASSERT(f->state == FETCH_TRYING);
	attempt_take_head(f->attempt, h, framing);
	if (h->status < 200 && h->status != 101) {
		if (!f->retry)
			release_request(f);
		return;
	}
	fetch_set_state(f, FETCH_RELAYING);
	release_request(f);
	if (!f->retry)
		return;
	attempts_drop_hedge(f);
	retry_succeeded(f->retry, h->status);
	retry_free(&f->retry);
	f->request.avoid = NULL; /* it was part of *retry */
}

static void set_stalled(struct source *s, bool stalled)
{
	struct fetch *f = fetch_of(s);

	if (f->attempt)
		attempt_set_stalled(f->attempt, stalled);
}

static enum body_event read_body(struct source *s, struct head *trailers, struct piece *p)
{
	struct fetch *f = fetch_of(s);
	struct attempt *a = f->attempt;
	enum body_event event = BODY_BAD;

	switch ((enum fetch_state)f->state) {
	case FETCH_RELAYING:
		break;
	case FETCH_ENDED:
		return BODY_END;
	case FETCH_FAILED:
		return BODY_BAD;
	case FETCH_TRYING:
	case FETCH_PAUSING:
		return BODY_MORE;
	}
	if (a->state == ATTEMPT_RELAYING)
		event = attempt_body(a, trailers, p);
	if (event == BODY_END)
		fetch_set_state(f, FETCH_ENDED);
	else if (event == BODY_BAD)
		fetch_fail(f, (enum ending)a->ending);
	return event;
}

static void end_trailers(struct source *s)
{
	attempt_end_trailers(fetch_of(s)->attempt);
}

void fetch_begin_tunnel(struct fetch *f)
{
	ASSERT(f->state == FETCH_RELAYING);
	attempt_begin_tunnel(f->attempt);
}

struct stream *fetch_stream(struct fetch *f)
{
	ASSERT(f->attempt->tunnel && f->attempt->state == ATTEMPT_RELAYING);
	return f->attempt->lease.stream;
}

/* --------------------------------------------------------------------------- */

static void step_fetch(struct source *s)
{
	struct fetch *f = fetch_of(s);

	if (f->state == FETCH_ENDED || f->state == FETCH_FAILED)
		return;
	attempts_step(f);
	if (f->state == FETCH_RELAYING && f->attempt->state == ATTEMPT_FAILED)
		fetch_fail(f, (enum ending)f->attempt->ending);
	else if (replay_pending(&f->replay))
		send_kept_body(f);
}

static unsigned count_attempts(const struct source *s)
{
	const struct fetch *f = CONTAINER(s, const struct fetch, source);

	return f->attempts_ended + (f->attempt ? 1u + f->attempt->retried : 0) +
	       (f->hedge ? 1u + f->hedge->retried : 0);
}

static void free_fetch(struct source *s)
{
	struct fetch *f = fetch_of(s);

	attempts_end(f);
	retry_free(&f->retry);
	release_request(f);
	buf_put(f->request.preamble);
	tick_reap_to_slab(f->request.tick, &f->request.generation->proxy->fetches, &f->reap);
	generation_put(f->request.generation);
}

static const struct source_ops fetch_source = {
	.step = step_fetch,
	.head = read_head,
	.send_head = send_head,
	.take_head = take_head,
	.body = read_body,
	.end_trailers = end_trailers,
	.set_stalled = set_stalled,
	.server = server_name,
	.attempts = count_attempts,
	.check = check_fetch,
	.free = free_fetch,
};

/* The route's times take precedence over those of the upstream and of `limits`. */
static void set_timeouts(struct attempt_request *q, const struct config_route *route)
{
	q->response_timeout_ms = route && route->response_timeout_ms > 0
					 ? route->response_timeout_ms
					 : q->config->response_timeout_ms;
	q->idle_timeout_ms = route && route->idle_timeout_ms > 0
				     ? route->idle_timeout_ms
				     : q->generation->config->limits.idle_timeout_ms;
	q->send_timeout_ms = config_send_timeout_ms(q->generation->config, route);
}

struct fetch *fetch_new(const struct fetch_options *o)
{
	struct generation *g = o->generation;
	struct fetch *f = slab_take(&g->proxy->fetches);

	if (!f) {
		buf_put(o->head);
		buf_put(o->preamble);
		return NULL;
	}
	f->source.ops = &fetch_source;
	f->request = (struct attempt_request){
		.tick = g->proxy->tick,
		.generation = generation_ref(g),
		.upstream = generation_upstream(g, o->upstream),
		.config = &g->config->upstreams[o->upstream],
		.waiter = o->waiter,
		.head = o->head,
		.preamble = o->preamble,
		.held_list = o->held_list,
		.times = o->times,
		.record = o->record && o->record->exported ? o->record : NULL,
		.length = o->length,
		.hash = o->hash,
		.method = (uint8_t)o->method,
		.framing = (uint8_t)o->framing,
		.first = o->first,
		.hold_on_return = o->hold_on_return || o->preamble,
		.limits = g->head_limits,
	};
	if (f->request.record)
		memcpy(f->request.span_id, o->record->try_id, sizeof(f->request.span_id));
	f->secure = o->secure;
	f->place = o->place;
	set_timeouts(&f->request, o->route);
	f->request.limits.lenient = f->request.config->lenient;
	f->replay_max = REPLAY_BYTES;
	if (o->route && retry_wanted(o->route)) {
		f->retry = retry_new(o->route, &f->request);
		if (!f->retry) {
			free_fetch(&f->source);
			return NULL;
		}
		f->request.avoid = &f->retry->tried;
		if (!o->upgrade)
			hedge_plan(f->retry);
		if (o->route->retry)
			f->replay_max = o->route->retry->body;
	}
	attempts_begin(f);
	return f;
}
