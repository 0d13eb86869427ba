#include "hedge.h"

#include "retrystate.h"

static struct retry_state *state_of(const struct retry *r)
{
	return r->request->generation->retry_state;
}

static struct budget *hedge_budget(const struct retry *r)
{
	return retry_state_hedge_budget(state_of(r), r->request->config->index);
}

void hedge_plan(struct retry *r)
{
	const struct attempt_request *q = r->request;
	const struct config_hedge *config = r->route->hedge;
	uint64_t now_ms = q->tick->now_ms, bound_us;

	/* The request belongs to an authenticated connection; a hedge uses another one. */
	if (q->hold_on_return || (q->held_list && !list_empty(q->held_list)))
		return;
	if (!config || q->framing != FRAMING_NONE || !method_safe((enum method)q->method))
		return;
	r->latency = retry_state_latency(state_of(r), config);
	if (!r->latency)
		return;
	budget_earn(hedge_budget(r), &config->budget, now_ms);
	bound_us = latency_bound_us(r->latency);
	if (bound_us > 0)
		r->hedge_due_ms = now_ms + (bound_us + 999) / 1000;
}

bool hedge_permitted(struct retry *r, const struct attempt *a)
{
	struct upstream *u = r->request->upstream;

	if (!a || a->state == ATTEMPT_FAILED || r->queued || retry_waits_for_client(a))
		return false;
	retry_mark_tried(r, a);
	if (!upstream_has_spare(u, &r->tried))
		return false;
	if (budget_spend(hedge_budget(r), &r->route->hedge->budget, r->request->tick->now_ms))
		return true;
	stat_add(&upstream_stats(u)->hedge_refusals, 1);
	return false;
}

bool hedge_rejects(const struct retry *r, int status)
{
	const struct config_retry *config = r->route->retry;

	return status >= 500 || status == 101 ||
	       (config && config->on & retry_condition(status));
}
