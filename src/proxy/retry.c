#include "retry.h"

#include <string.h>

#include "hedge.h"
#include "proxy/identity.h"
#include "retrystate.h"

/* A backoff doubles at most this many times. */
#define DOUBLINGS_MAX 4

static struct tick *retry_tick(const struct retry *r)
{
	return r->exchange->proxy->tick;
}

static struct budget *retry_budget(const struct retry *r)
{
	return retry_state_budget(r->retry_state, r->route->proxy.upstream);
}

/* ---- time ----------------------------------------------------------------- */

static uint64_t route_deadline(const struct retry *r)
{
	return r->route->deadline_ms > 0 ? r->deadline_base_ms + r->route->deadline_ms
					 : WHEEL_NEVER;
}

static uint64_t attempt_deadline(const struct retry *r)
{
	const struct config_retry *config = r->route->retry;

	return r->exchange->fetch && config && config->per_try_timeout_ms > 0
		       ? r->attempt_began_ms + config->per_try_timeout_ms
		       : WHEEL_NEVER;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void retry_arm_timer(struct retry *r)
{
	uint64_t now_ms = retry_tick(r)->now_ms, due = route_deadline(r);

	if (attempt_deadline(r) > now_ms)
		due = earlier(due, attempt_deadline(r));
	if (!r->exchange->fetch && r->resume_ms > now_ms)
		due = earlier(due, r->resume_ms);
	if (r->hedge_due_ms > now_ms)
		due = earlier(due, r->hedge_due_ms);
	if (due == WHEEL_NEVER)
		timer_stop(&retry_tick(r)->wheel, &r->timer);
	else
		timer_set(&retry_tick(r)->wheel, &r->timer, due);
}

static void timer_fired(struct timer *timer)
{
	struct retry *r = CONTAINER(timer, struct retry, timer);

	r->timer_fired = true;
	tick_run(retry_tick(r), &r->exchange->client->task);
}

/* True: deadlines do not run. Once the request was sent whole, further attempts do not wait for
 * the client's body. */
static bool deadlines_suspended(const struct exchange *x)
{
	if (!x->retry->request_complete)
		return retry_waits_for_client(x);
	return x->fetch && x->fetch->stalled;
}

bool retry_waits_for_client(const struct exchange *x)
{
	const struct attempt *f = x->fetch;

	return x->client->body_awaited ||
	       (f && (f->stalled || f->state == ATTEMPT_SENDING));
}

static void check_deadlines(struct exchange *x)
{
	struct retry *r = x->retry;
	uint64_t now_ms = retry_tick(r)->now_ms;

	r->timer_fired = false;
	if (deadlines_suspended(x))
		r->deadline_base_ms = r->attempt_began_ms = now_ms;
	if (r->queued)
		r->attempt_began_ms = now_ms;
	if (route_deadline(r) <= now_ms) {
		stat_add(&upstream_stats(r->upstream)->deadlines, 1);
		if (x->fetch) /* counts as a timeout of its server */
			attempt_time_out(x->fetch);
		exchange_fail(x, ENDING_DEADLINE);
		return;
	}
	if (attempt_deadline(r) <= now_ms)
		attempt_time_out(x->fetch);
	else if (r->hedge_due_ms > 0 && r->hedge_due_ms <= now_ms)
		hedge_begin(x);
	retry_arm_timer(r);
}

/* ---- attempts ------------------------------------------------------------- */

void retry_mark_tried(struct retry *r, const struct attempt *f)
{
	tried_add_all(&r->tried, &f->lease.tried);
}

struct attempt *retry_send_request(struct retry *r)
{
	struct exchange *x = r->exchange;

	return attempt_origin(x->generation,
			    &(struct attempt_request){
				    .upstream = r->route->proxy.upstream,
				    .request = buf_ref(r->request),
				    .method = (enum method)r->method,
				    .framing = (enum framing)r->framing,
				    .length = r->length,
				    .hash = r->hash,
				    .avoid = &r->tried,
				    .first = x->client->requests == 1,
				    .held_list = &x->client->held,
				    .hold_on_return = r->hold_on_return,
			    },
			    &x->client->task);
}

static void begin_attempt(struct exchange *x)
{
	struct retry *r = x->retry;

	r->attempts_started++;
	r->attempt_began_ms = retry_tick(r)->now_ms;
	x->fetch = retry_send_request(r);
	retry_arm_timer(r);
}

void retry_begin(struct exchange *x, struct buf *request, uint64_t hash,
		 const struct head *h)
{
	struct proxy *p = x->proxy;
	struct retry *r = slab_take(&p->retries);
	const struct config_retry *config = x->route->retry;

	if (!r) {
		buf_put(request);
		return;
	}
	x->retry = r;
	r->exchange = x;
	r->retry_state = x->generation->retry_state;
	r->route = x->route;
	r->upstream = generation_upstream(x->generation, x->route->proxy.upstream);
	r->request = request;
	r->hash = hash;
	r->method = (uint8_t)h->method;
	r->framing = (uint8_t)h->framing;
	r->length = h->length;
	r->hold_on_return = identity_presented(h);
	r->deadline_base_ms = p->tick->now_ms;
	timer_init(&r->timer, timer_fired);
	if (config)
		budget_earn(retry_budget(r), &config->budget, r->deadline_base_ms);
	r->began_us = p->tick->now_us;
	hedge_plan(r);
	begin_attempt(x);
}

/* The timeout of an attempt starts when it has left the queue. */
static void note_queue_exit(struct retry *r)
{
	const struct attempt *f = r->exchange->fetch;
	bool queued = f && f->lease.state == LEASE_WAITING;

	if (r->queued && !queued) {
		r->attempt_began_ms = retry_tick(r)->now_ms;
		retry_arm_timer(r);
	}
	r->queued = queued;
}

/* The pause is over: the next attempt. */
static void end_pause(struct exchange *x)
{
	begin_attempt(x);
	if (x->fetch)
		attempt_step(x->fetch);
	else
		exchange_fail(x, ENDING_NO_MEMORY);
}

void retry_step(struct exchange *x)
{
	struct retry *r = x->retry;

	note_queue_exit(r);
	if (r->timer_fired)
		check_deadlines(x);
	if (x->ended)
		return;
	if (r->hedge)
		hedge_step(x);
	if (!x->fetch && retry_tick(r)->now_ms >= r->resume_ms)
		end_pause(x);
}

bool retry_pauses(const struct exchange *x)
{
	return x->retry && !x->fetch;
}

/* ---- retries -------------------------------------------------------------- */

void retry_discard_response(struct attempt *f, const struct head *h)
{
	enum framing framing = head_response_framing(h, (enum method)f->method);
	struct piece p = { NULL, NULL, 0 };
	enum body_event event;

	attempt_take_head(f, h, framing);
	do {
		event = attempt_body(f, &f->proxy->response, &p);
		if (event == BODY_DATA)
			piece_put(&p);
		else if (event == BODY_TRAILERS)
			attempt_end_trailers(f);
	} while (event == BODY_DATA || event == BODY_TRAILERS);
}

uint32_t retry_condition(int status)
{
	for (unsigned i = 0; i < CONFIG_RETRY_CONDITIONS; i++)
		if (config_retry_status((enum config_retry_on)i) == status)
			return 1u << i;
	return 0;
}

static uint32_t condition_of(const struct attempt *f)
{
	switch ((unsigned)f->ending) {
	case ENDING_ORIGIN_REFUSED:
	case ENDING_ORIGIN_FORBIDDEN:
	case ENDING_ORIGIN_UNROUTABLE:
	case ENDING_NO_SOCKET:
	case ENDING_CONNECT_TIMEOUT:
		return 1u << CONFIG_RETRY_CONNECT;
	case ENDING_ORIGIN_CLOSED:
		return 1u << CONFIG_RETRY_RESET;
	case ENDING_ORIGIN_TIMEOUT:
	case ENDING_ORIGIN_SEND_TIMEOUT:
		return 1u << CONFIG_RETRY_TIMEOUT;
	case ENDING_ORIGIN_BAD:
		return 1u << CONFIG_RETRY_MALFORMED;
	}
	return 0; /* queue full or no memory: another attempt would make it worse */
}

/* Half of it is random, so that requests that failed together do not retry together. */
static uint32_t draw_backoff_ms(struct retry *r)
{
	unsigned doublings = r->backoffs < DOUBLINGS_MAX ? r->backoffs : DOUBLINGS_MAX;
	uint32_t ms = r->route->retry->backoff_ms << doublings;

	r->backoffs++;
	return ms - random_below(&r->retry_state->random, ms / 2 + 1);
}

/* Time until the next attempt: 0 if there is a server that was not tried yet. */
static uint32_t delay_ms(struct retry *r)
{
	retry_mark_tried(r, r->exchange->fetch);
	if (upstream_has_other(r->upstream, &r->tried))
		return 0;
	r->tried = (struct tried){ 0 };
	return draw_backoff_ms(r);
}

/* True: the method may be sent again although a server may have seen it. */
static bool may_reach_origin_twice(const struct retry *r)
{
	return r->route->retry->all_methods || method_idempotent((enum method)r->method);
}

bool retry_may_resend(const struct retry *r)
{
	return r->route->retry && r->attempts_started < r->route->retry->tries &&
	       may_reach_origin_twice(r);
}

/* Checks the request and the failure; time and budget are checked by the caller. */
static bool is_retryable(const struct retry *r, uint32_t condition)
{
	const struct config_retry *config = r->route->retry;
	bool unsent = r->exchange->fetch->sent_us == 0;

	return config && config->on & condition && r->attempts_started < config->tries &&
	       !r->exchange->replay.disabled && (unsent || may_reach_origin_twice(r));
}

/* True: another attempt is made at resume_ms, and counted. */
static bool schedule_attempt(struct retry *r, uint32_t condition)
{
	struct upstream_stats *stats = upstream_stats(r->upstream);
	const struct config_retry *config = r->route->retry;
	uint64_t now_ms = retry_tick(r)->now_ms, resume_ms;

	if (!is_retryable(r, condition))
		return false;
	resume_ms = now_ms + delay_ms(r);
	if (resume_ms >= route_deadline(r))
		return false;
	if (!budget_spend(retry_budget(r), &config->budget, now_ms)) {
		stat_add(&stats->retry_refusals, 1);
		return false;
	}
	stat_add(&stats->retries, 1);
	r->resume_ms = resume_ms;
	return true;
}

/* Frees the fetch. The next attempt begins in a later step, which may follow at once. */
static void end_attempt(struct exchange *x)
{
	struct retry *r = x->retry;

	exchange_drop_fetch(x);
	r->hedge_due_ms = 0; /* only the first attempt is hedged */
	retry_arm_timer(r);
	if (r->resume_ms <= retry_tick(r)->now_ms)
		tick_run(retry_tick(r), &x->client->task);
}

/* The hedge takes the place of another attempt, at no further cost. */
static bool promote_hedge(struct exchange *x)
{
	if (!x->retry->hedge)
		return false;
	hedge_promote(x);
	tick_run(x->proxy->tick, &x->client->task);
	return true;
}

bool retry_handle_failure(struct exchange *x)
{
	if (promote_hedge(x))
		return true;
	if (!schedule_attempt(x->retry, condition_of(x->fetch)))
		return false;
	end_attempt(x);
	return true;
}

bool retry_handle_response(struct exchange *x, const struct head *h)
{
	uint32_t condition = retry_condition(h->status);

	if (x->retry->hedge && hedge_rejects(x->retry, h->status)) {
		if (h->status != 101)
			retry_discard_response(x->fetch, h);
		return promote_hedge(x);
	}
	if (condition == 0 || !schedule_attempt(x->retry, condition))
		return false;
	retry_discard_response(x->fetch, h);
	end_attempt(x);
	return true;
}

void retry_request_complete(struct retry *r)
{
	uint64_t now_ms = retry_tick(r)->now_ms;

	if (!r->request_complete)
		r->deadline_base_ms = now_ms;
	r->request_complete = true;
	r->attempt_began_ms = now_ms;
	retry_arm_timer(r);
}

/* --------------------------------------------------------------------------- */

void retry_end(struct exchange *x)
{
	struct retry *r = x->retry;

	x->fetch->avoid = NULL; /* it points into *r */
	if (r->latency && r->attempts_started == 1 && x->status < 500)
		latency_add(r->latency, retry_tick(r)->now_us - r->began_us);
	retry_free(&x->retry);
}

void retry_free(struct retry **slot)
{
	struct retry *r = *slot;

	if (!r)
		return;
	*slot = NULL;
	timer_stop(&retry_tick(r)->wheel, &r->timer);
	hedge_drop(r);
	buf_put(r->request);
	tick_reap_to_slab(retry_tick(r), &r->exchange->proxy->retries, &r->reap);
}
