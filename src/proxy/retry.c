#include "retry.h"

#include "retrystate.h"

/* A backoff doubles at most this many times. */
#define DOUBLINGS_MAX 4

static struct tick *retry_tick(const struct retry *r)
{
	return r->request->tick;
}

static struct budget *retry_budget(const struct retry *r)
{
	return retry_state_budget(r->request->generation->retry_state,
				  r->request->config->index);
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

	return !r->pausing && config && config->per_try_timeout_ms > 0
		       ? r->attempt_began_ms + config->per_try_timeout_ms
		       : WHEEL_NEVER;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Sets the timer to the next time that is due. */
static void arm_timer(struct retry *r)
{
	uint64_t now_ms = retry_tick(r)->now_ms, due = route_deadline(r);

	if (attempt_deadline(r) > now_ms)
		due = earlier(due, attempt_deadline(r));
	if (r->pausing && r->resume_ms > now_ms)
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
	tick_run(retry_tick(r), r->request->waiter);
}

bool retry_waits_for_client(const struct attempt *a)
{
	return a && (a->stalled || a->state == ATTEMPT_SENDING);
}

/* True: deadlines do not run. Once the request was sent whole, further attempts do not wait for
 * the client's body. */
static bool deadlines_suspended(const struct retry *r, const struct attempt *a, bool waited)
{
	if (!r->request_complete)
		return waited || retry_waits_for_client(a);
	return a && a->stalled;
}

static enum retry_due check_deadlines(struct retry *r, const struct attempt *a, bool waited)
{
	uint64_t now_ms = retry_tick(r)->now_ms;
	enum retry_due due = RETRY_NOTHING;

	r->timer_fired = false;
	if (deadlines_suspended(r, a, waited))
		r->deadline_base_ms = r->attempt_began_ms = now_ms;
	if (r->queued)
		r->attempt_began_ms = now_ms;
	if (route_deadline(r) <= now_ms) {
		stat_add(&upstream_stats(r->request->upstream)->deadlines, 1);
		return RETRY_DEADLINE;
	}
	if (attempt_deadline(r) <= now_ms) {
		due = RETRY_LATE;
	} else if (r->hedge_due_ms > 0 && r->hedge_due_ms <= now_ms) {
		due = RETRY_HEDGE;
		r->hedge_due_ms = 0;
	}
	arm_timer(r);
	return due;
}

/* The timeout of an attempt starts when it has left the queue. */
static void note_queue_exit(struct retry *r, const struct attempt *a)
{
	bool queued = a && a->lease.state == LEASE_WAITING;

	if (r->queued && !queued) {
		r->attempt_began_ms = retry_tick(r)->now_ms;
		arm_timer(r);
	}
	r->queued = queued;
}

enum retry_due retry_due(struct retry *r, const struct attempt *a, bool waited)
{
	enum retry_due due = RETRY_NOTHING;

	ASSERT(!a == r->pausing);
	note_queue_exit(r, a);
	if (r->timer_fired)
		due = check_deadlines(r, a, waited);
	if (due == RETRY_NOTHING && r->pausing && retry_tick(r)->now_ms >= r->resume_ms)
		return RETRY_RESUME;
	return due;
}

/* ---- retries -------------------------------------------------------------- */

uint32_t retry_condition(int status)
{
	for (unsigned i = 0; i < CONFIG_RETRY_CONDITIONS; i++)
		if (config_retry_status((enum config_retry_on)i) == status)
			return 1u << i;
	return 0;
}

uint32_t retry_condition_of_failure(const struct attempt *a)
{
	switch ((unsigned)a->ending) {
	case ENDING_ORIGIN_REFUSED:
	case ENDING_ORIGIN_FORBIDDEN:
	case ENDING_ORIGIN_UNROUTABLE:
	case ENDING_NO_SOCKET:
	case ENDING_CONNECT_TIMEOUT:
		return 1u << CONFIG_RETRY_CONNECT;
#define TLS_FAULT(name, error, text) case ENDING_TLS_##name:
#include "tls/fault.def"
#undef TLS_FAULT
		return 1u << (a->sent_us > 0 ? CONFIG_RETRY_RESET : CONFIG_RETRY_CONNECT);
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

void retry_mark_tried(struct retry *r, const struct attempt *a)
{
	tried_add_all(&r->tried, &a->lease.tried);
}

/* Half of it is random, so that requests that failed together do not retry together. */
static uint32_t draw_backoff_ms(struct retry *r)
{
	unsigned doublings = r->backoffs < DOUBLINGS_MAX ? r->backoffs : DOUBLINGS_MAX;
	uint32_t ms = r->route->retry->backoff_ms << doublings;

	r->backoffs++;
	return ms - random_below(&r->request->generation->retry_state->random, ms / 2 + 1);
}

/* Time until the next attempt: 0 if there is a server that was not tried yet. */
static uint32_t delay_ms(struct retry *r, const struct attempt *a)
{
	retry_mark_tried(r, a);
	if (upstream_has_other(r->request->upstream, &r->tried))
		return 0;
	r->tried = (struct tried){ 0 };
	return draw_backoff_ms(r);
}

/* True: the method may be sent again although a server may have seen it. */
static bool may_reach_origin_twice(const struct retry *r)
{
	return r->route->retry->all_methods ||
	       method_idempotent((enum method)r->request->method);
}

bool retry_may_resend(const struct retry *r)
{
	return r->route->retry && r->attempts_started < r->route->retry->tries &&
	       may_reach_origin_twice(r);
}

/* Checks the request and the failure; time and budget are checked by the caller. */
static bool is_retryable(const struct retry *r, const struct attempt *a, uint32_t condition,
			 bool kept)
{
	const struct config_retry *config = r->route->retry;
	bool unsent = a->sent_us == 0;

	return config && config->on & condition && r->attempts_started < config->tries &&
	       kept && (unsent || may_reach_origin_twice(r));
}

bool retry_schedule(struct retry *r, const struct attempt *a, uint32_t condition, bool kept)
{
	struct upstream_stats *stats = upstream_stats(r->request->upstream);
	const struct config_retry *config = r->route->retry;
	uint64_t now_ms = retry_tick(r)->now_ms, resume_ms;

	ASSERT(!r->pausing);
	if (!is_retryable(r, a, condition, kept))
		return false;
	resume_ms = now_ms + delay_ms(r, a);
	if (resume_ms >= route_deadline(r))
		return false;
	if (!budget_spend(retry_budget(r), &config->budget, now_ms)) {
		stat_add(&stats->retry_refusals, 1);
		return false;
	}
	stat_add(&stats->retries, 1);
	r->resume_ms = resume_ms;
	r->pausing = true;
	r->hedge_due_ms = 0; /* only the first attempt is hedged */
	arm_timer(r);
	if (resume_ms <= now_ms)
		tick_run(retry_tick(r), r->request->waiter);
	return true;
}

/* --------------------------------------------------------------------------- */

struct retry *retry_new(const struct config_route *route, const struct attempt_request *q)
{
	struct retry *r = slab_take(&q->generation->proxy->retries);

	if (!r)
		return NULL;
	r->request = q;
	r->route = route;
	r->deadline_base_ms = q->tick->now_ms;
	r->began_us = q->tick->now_us;
	timer_init(&r->timer, timer_fired);
	if (route->retry)
		budget_earn(retry_budget(r), &route->retry->budget, r->deadline_base_ms);
	return r;
}

void retry_attempt_began(struct retry *r)
{
	ASSERT(r->pausing == (r->attempts_started > 0));
	r->pausing = false;
	r->attempts_started++;
	r->attempt_began_ms = retry_tick(r)->now_ms;
	arm_timer(r);
}

void retry_hedge_promoted(struct retry *r)
{
	r->attempt_began_ms = r->hedge_began_ms;
	arm_timer(r);
}

void retry_request_complete(struct retry *r)
{
	uint64_t now_ms = retry_tick(r)->now_ms;

	if (!r->request_complete)
		r->deadline_base_ms = now_ms;
	r->request_complete = true;
	r->attempt_began_ms = now_ms;
	arm_timer(r);
}

void retry_succeeded(struct retry *r, int status)
{
	if (r->latency && r->attempts_started == 1 && status < 500)
		latency_add(r->latency, retry_tick(r)->now_us - r->began_us);
}

void retry_free(struct retry **slot)
{
	struct retry *r = *slot;

	if (!r)
		return;
	*slot = NULL;
	timer_stop(&retry_tick(r)->wheel, &r->timer);
	tick_reap_to_slab(retry_tick(r), &r->request->generation->proxy->retries, &r->reap);
}
