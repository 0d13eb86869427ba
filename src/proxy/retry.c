#include "retry.h"

#include <string.h>

#include "hedge.h"
#include "identity.h"
#include "retrystate.h"

/* A backoff doubles at most this many times. */
#define DOUBLINGS_MAX 4

static struct tick *retry_tick(const struct retry *t)
{
	return t->exchange->proxy->tick;
}

static struct budget *retry_budget(const struct retry *t)
{
	return retry_state_budget(t->retry_state, t->route->proxy.upstream);
}

/* ---- time ----------------------------------------------------------------- */

static uint64_t route_deadline(const struct retry *t)
{
	return t->route->deadline_ms > 0 ? t->deadline_base_ms + t->route->deadline_ms
					 : WHEEL_NEVER;
}

static uint64_t attempt_deadline(const struct retry *t)
{
	const struct config_retry *retry = t->route->retry;

	return t->exchange->fetch && retry && retry->per_try_timeout_ms > 0
		       ? t->attempt_began_ms + retry->per_try_timeout_ms
		       : WHEEL_NEVER;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void retry_arm_timer(struct retry *t)
{
	uint64_t now_ms = retry_tick(t)->now_ms, due = route_deadline(t);

	if (attempt_deadline(t) > now_ms)
		due = earlier(due, attempt_deadline(t));
	if (!t->exchange->fetch && t->resume_ms > now_ms)
		due = earlier(due, t->resume_ms);
	if (t->hedge_due_ms > now_ms)
		due = earlier(due, t->hedge_due_ms);
	if (due == WHEEL_NEVER)
		timer_stop(&retry_tick(t)->wheel, &t->timer);
	else
		timer_set(&retry_tick(t)->wheel, &t->timer, due);
}

static void timer_fired(struct timer *timer)
{
	struct retry *t = CONTAINER(timer, struct retry, timer);

	t->timer_fired = true;
	tick_run(retry_tick(t), &t->exchange->client->task);
}

/* True: deadlines do not run. Once the whole request was received, a retry no longer waits
 * for the client. */
static bool deadlines_suspended(const struct exchange *x)
{
	if (!x->retry->request_complete)
		return retry_waits_for_client(x);
	return x->fetch && x->fetch->waiter_stalled;
}

bool retry_waits_for_client(const struct exchange *x)
{
	const struct fetch *f = x->fetch;

	return x->client->body_awaited ||
	       (f && (f->waiter_stalled || f->state == FETCH_SENDING));
}

/* False: the exchange has ended; x is freed. */
static bool check_deadlines(struct exchange *x)
{
	struct retry *t = x->retry;
	uint64_t now_ms = retry_tick(t)->now_ms;

	t->timer_fired = false;
	if (deadlines_suspended(x))
		t->deadline_base_ms = t->attempt_began_ms = now_ms;
	if (t->queued)
		t->attempt_began_ms = now_ms;
	if (route_deadline(t) <= now_ms) {
		stat_add(&upstream_stats(t->upstream)->deadlines, 1);
		if (x->fetch) /* counts as a timeout of its server */
			fetch_time_out(x->fetch);
		exchange_fail(x, ENDING_DEADLINE);
		return false;
	}
	if (attempt_deadline(t) <= now_ms)
		fetch_time_out(x->fetch);
	else if (t->hedge_due_ms > 0 && t->hedge_due_ms <= now_ms)
		hedge_begin(x);
	retry_arm_timer(t);
	return true;
}

/* ---- attempts ------------------------------------------------------------- */

void retry_mark_tried(struct retry *t, const struct fetch *f)
{
	tried_add_all(&t->tried, &f->lease.tried);
}

struct fetch *retry_start(struct retry *t)
{
	struct exchange *x = t->exchange;

	return fetch_origin(x->generation,
			    &(struct fetch_request){
				    .upstream = t->route->proxy.upstream,
				    .request = buf_ref(t->request),
				    .method = (enum method)t->method,
				    .framing = (enum framing)t->framing,
				    .length = t->length,
				    .key = t->key,
				    .avoid = &t->tried,
				    .first = x->client->requests == 1,
				    .holder = &x->client->held,
				    .holds = t->holds,
			    },
			    &x->client->task);
}

static void begin_attempt(struct exchange *x)
{
	struct retry *t = x->retry;

	t->attempts_n++;
	t->attempt_began_ms = retry_tick(t)->now_ms;
	x->fetch = retry_start(t);
	retry_arm_timer(t);
}

void retry_begin(struct exchange *x, struct buf *request, uint64_t key,
		 const struct head *h)
{
	struct proxy *p = x->proxy;
	struct retry *t = slab_take(&p->retries);
	const struct config_retry *retry = x->route->retry;

	if (!t) {
		buf_put(request);
		return;
	}
	x->retry = t;
	t->exchange = x;
	t->retry_state = x->generation->retry_state;
	t->route = x->route;
	t->upstream = generation_upstream(x->generation, x->route->proxy.upstream);
	t->request = request;
	t->key = key;
	t->method = (uint8_t)h->method;
	t->framing = (uint8_t)h->framing;
	t->length = h->length;
	t->holds = identity_presented(h);
	t->deadline_base_ms = p->tick->now_ms;
	timer_init(&t->timer, timer_fired);
	if (retry)
		budget_earn(retry_budget(t), &retry->budget, t->deadline_base_ms);
	t->began_us = p->tick->now_us;
	hedge_plan(t);
	begin_attempt(x);
}

/* The timeout of an attempt starts when it has left the queue. */
static void note_queue_exit(struct retry *t)
{
	const struct fetch *f = t->exchange->fetch;
	bool queued = f && f->lease.state == LEASE_WAITING;

	if (t->queued && !queued) {
		t->attempt_began_ms = retry_tick(t)->now_ms;
		retry_arm_timer(t);
	}
	t->queued = queued;
}

bool retry_step(struct exchange *x)
{
	struct retry *t = x->retry;

	note_queue_exit(t);
	if (t->timer_fired && !check_deadlines(x))
		return false;
	if (t->hedge)
		hedge_step(x);
	if (x->fetch)
		return true;
	if (retry_tick(t)->now_ms < t->resume_ms)
		return false;
	begin_attempt(x);
	if (!x->fetch) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return false;
	}
	fetch_step(x->fetch);
	return true;
}

/* ---- retries -------------------------------------------------------------- */

void retry_discard_response(struct fetch *f, const struct head *h)
{
	enum framing framing = head_response_framing(h, (enum method)f->method);
	struct piece p = { NULL, NULL, 0 };
	enum body_event event;

	fetch_take_head(f, h, framing);
	do {
		event = fetch_body(f, &f->proxy->response, &p);
		if (event == BODY_DATA)
			piece_put(&p);
		else if (event == BODY_TRAILERS)
			fetch_end_trailers(f);
	} while (event == BODY_DATA || event == BODY_TRAILERS);
}

uint32_t retry_condition(int status)
{
	for (unsigned i = 0; i < CONFIG_RETRY_CONDITIONS; i++)
		if (config_retry_status((enum config_retry_on)i) == status)
			return 1u << i;
	return 0;
}

static uint32_t condition_of(const struct fetch *f)
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
static uint32_t draw_backoff_ms(struct retry *t)
{
	unsigned doublings = t->backoffs < DOUBLINGS_MAX ? t->backoffs : DOUBLINGS_MAX;
	uint32_t ms = t->route->retry->backoff_ms << doublings;

	t->backoffs++;
	return ms - retry_state_random(t->retry_state, ms / 2);
}

/* Time until the next attempt: 0 if there is a server that was not tried yet. */
static uint32_t delay_ms(struct retry *t)
{
	retry_mark_tried(t, t->exchange->fetch);
	if (upstream_has_other(t->upstream, &t->tried))
		return 0;
	t->tried = (struct tried){ 0 };
	return draw_backoff_ms(t);
}

/* True: the method may be sent again although an origin may have seen it. */
static bool may_reach_origin_twice(const struct retry *t)
{
	return t->route->retry->all_methods || method_idempotent((enum method)t->method);
}

bool retry_may_resend(const struct retry *t)
{
	return t->route->retry && t->attempts_n < t->route->retry->tries &&
	       may_reach_origin_twice(t);
}

/* Checks the request and the failure; time and budget are checked by the caller. */
static bool is_retryable(const struct retry *t, uint32_t condition)
{
	const struct config_retry *retry = t->route->retry;
	bool unsent = t->exchange->fetch->sent_us == 0;

	return retry && retry->on & condition && t->attempts_n < retry->tries &&
	       !t->exchange->replay.disabled && (unsent || may_reach_origin_twice(t));
}

/* True: another attempt is made at resume_ms, and counted. */
static bool schedule_attempt(struct retry *t, uint32_t condition)
{
	struct upstream_stats *stats = upstream_stats(t->upstream);
	const struct config_retry *retry = t->route->retry;
	uint64_t now_ms = retry_tick(t)->now_ms, resume_ms;

	if (!is_retryable(t, condition))
		return false;
	resume_ms = now_ms + delay_ms(t);
	if (resume_ms >= route_deadline(t))
		return false;
	if (!budget_spend(retry_budget(t), &retry->budget, now_ms)) {
		stat_add(&stats->retry_refusals, 1);
		return false;
	}
	stat_add(&stats->retries, 1);
	t->resume_ms = resume_ms;
	return true;
}

/* Frees the fetch. The next attempt begins in a later step, which may follow at once. */
static void end_attempt(struct exchange *x)
{
	struct retry *t = x->retry;

	exchange_drop_fetch(x);
	t->hedge_due_ms = 0; /* only the first attempt is hedged */
	retry_arm_timer(t);
	if (t->resume_ms <= retry_tick(t)->now_ms)
		tick_run(retry_tick(t), &x->client->task);
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

void retry_request_complete(struct retry *t)
{
	uint64_t now_ms = retry_tick(t)->now_ms;

	if (!t->request_complete)
		t->deadline_base_ms = now_ms;
	t->request_complete = true;
	t->attempt_began_ms = now_ms;
	retry_arm_timer(t);
}

/* --------------------------------------------------------------------------- */

void retry_end(struct exchange *x)
{
	struct retry *t = x->retry;

	x->fetch->avoid = NULL; /* it points into *t */
	if (t->latency && t->attempts_n == 1 && x->status < 500)
		latency_add(t->latency, retry_tick(t)->now_us - t->began_us);
	retry_free(&x->retry);
}

void retry_free(struct retry **slot)
{
	struct retry *t = *slot;

	if (!t)
		return;
	*slot = NULL;
	timer_stop(&retry_tick(t)->wheel, &t->timer);
	hedge_drop(t);
	buf_put(t->request);
	slab_put(&t->exchange->proxy->retries, t);
}
