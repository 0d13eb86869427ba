#include "hedge.h"

#include "retrystate.h"

void hedge_drop(struct retry *r)
{
	if (!r->hedge)
		return;
	r->exchange->attempts_n += 1 + r->hedge->retried;
	retry_mark_tried(r, r->hedge);
	attempt_free(&r->hedge);
}

void hedge_promote(struct exchange *x)
{
	struct retry *r = x->retry;

	ASSERT(r->hedge && r->hedge != x->fetch);
	if (x->fetch)
		retry_mark_tried(r, x->fetch);
	exchange_drop_fetch(x);
	x->fetch = r->hedge;
	r->hedge = NULL;
	r->attempt_began_ms = r->hedge_began_ms;
	x->hedge = HEDGE_WON;
	stat_add(&upstream_stats(r->upstream)->hedges_won, 1);
	retry_arm_timer(r);
}

static struct budget *hedge_budget(const struct retry *r)
{
	return retry_state_hedge_budget(r->retry_state, r->route->proxy.upstream);
}

/* A hedge must not wait in a queue: it would only make the queue longer. */
void hedge_begin(struct exchange *x)
{
	struct retry *r = x->retry;
	struct upstream_stats *stats = upstream_stats(r->upstream);

	ASSERT(!r->hedge);
	r->hedge_due_ms = 0;
	if (!x->fetch || x->fetch->state == ATTEMPT_FAILED || r->queued ||
	    retry_waits_for_client(x))
		return;
	retry_mark_tried(r, x->fetch);
	if (!upstream_has_spare(r->upstream, &r->tried))
		return;
	if (!budget_spend(hedge_budget(r), &r->route->hedge->budget,
			  r->exchange->proxy->tick->now_ms)) {
		stat_add(&stats->hedge_refusals, 1);
		return;
	}
	r->hedge = retry_send_request(r);
	r->hedge_began_ms = r->exchange->proxy->tick->now_ms;
	if (r->hedge && (r->hedge->lease.state == LEASE_WAITING ||
			 r->hedge->lease.state == LEASE_FAILED))
		attempt_free(&r->hedge);
	if (!r->hedge)
		return;
	x->hedge = HEDGE_LOST; /* so far */
	stat_add(&stats->hedges, 1);
}

bool hedge_rejects(const struct retry *r, int status)
{
	const struct config_retry *config = r->route->retry;

	return status >= 500 || status == 101 ||
	       (config && config->on & retry_condition(status));
}

/* Interim responses of the hedge are not relayed: the first attempt may send them too. */
void hedge_step(struct exchange *x)
{
	struct retry *r = x->retry;
	struct head *h = &x->proxy->response;

	attempt_step(r->hedge);
	while (r->hedge) {
		switch (attempt_head(r->hedge, h)) {
		case VERDICT_MORE:
			return;
		case VERDICT_BAD:
			hedge_drop(r);
			return;
		case VERDICT_OK:
			break;
		}
		if (hedge_rejects(r, h->status)) {
			if (h->status != 101)
				retry_discard_response(r->hedge, h);
			hedge_drop(r);
		} else if (h->status < 200) {
			attempt_take_head(r->hedge, h, FRAMING_NONE);
		} else {
			hedge_promote(x);
		}
	}
}

void hedge_plan(struct retry *r)
{
	struct exchange *x = r->exchange;
	const struct config_hedge *config = r->route->hedge;
	uint64_t now_ms = r->exchange->proxy->tick->now_ms, bound_us;

	/* The request belongs to an authenticated connection; a hedge uses another one. */
	if (r->hold_on_return || !list_empty(&x->client->held))
		return;
	if (!config || r->framing != FRAMING_NONE || x->upgrade ||
	    !method_safe((enum method)r->method))
		return;
	r->latency = retry_state_latency(r->retry_state, config);
	if (!r->latency)
		return;
	budget_earn(hedge_budget(r), &config->budget, now_ms);
	bound_us = latency_bound_us(r->latency);
	if (bound_us > 0)
		r->hedge_due_ms = now_ms + (bound_us + 999) / 1000;
}
