#include "hedge.h"

#include "retrystate.h"

void hedge_drop(struct retry *t)
{
	if (!t->hedge)
		return;
	t->exchange->attempts_n += 1 + t->hedge->retried;
	retry_mark_tried(t, t->hedge);
	fetch_free(&t->hedge);
}

void hedge_promote(struct exchange *x)
{
	struct retry *t = x->retry;

	if (x->fetch)
		retry_mark_tried(t, x->fetch);
	exchange_drop_fetch(x);
	x->fetch = t->hedge;
	t->hedge = NULL;
	t->attempt_began_ms = t->hedge_began_ms;
	x->hedge = HEDGE_WON;
	stat_add(&upstream_stats(t->upstream)->hedges_won, 1);
	retry_arm_timer(t);
}

static struct budget *hedge_budget(const struct retry *t)
{
	return retry_state_hedge_budget(t->retry_state, t->route->proxy.upstream);
}

/* A hedge must not wait in a queue: it would only make the queue longer. */
void hedge_begin(struct exchange *x)
{
	struct retry *t = x->retry;
	struct upstream_stats *stats = upstream_stats(t->upstream);

	t->hedge_due_ms = 0;
	if (!x->fetch || x->fetch->state == FETCH_FAILED || t->queued ||
	    retry_waits_for_client(x))
		return;
	retry_mark_tried(t, x->fetch);
	if (!upstream_has_spare(t->upstream, &t->tried))
		return;
	if (!budget_spend(hedge_budget(t), &t->route->hedge->budget,
			  t->exchange->proxy->tick->now_ms)) {
		stat_add(&stats->hedge_refusals, 1);
		return;
	}
	t->hedge = retry_start(t);
	t->hedge_began_ms = t->exchange->proxy->tick->now_ms;
	if (t->hedge && (t->hedge->lease.state == LEASE_WAITING ||
			 t->hedge->lease.state == LEASE_FAILED))
		fetch_free(&t->hedge);
	if (!t->hedge)
		return;
	x->hedge = HEDGE_LOST; /* so far */
	stat_add(&stats->hedges, 1);
}

bool hedge_rejects(const struct retry *t, int status)
{
	const struct config_retry *retry = t->route->retry;

	return status >= 500 || status == 101 ||
	       (retry && retry->on & retry_condition(status));
}

/* Interim responses of the hedge are not relayed: the first attempt may send them too. */
void hedge_step(struct exchange *x)
{
	struct retry *t = x->retry;
	struct head *h = &x->proxy->response;

	fetch_step(t->hedge);
	while (t->hedge) {
		switch (fetch_head(t->hedge, h)) {
		case VERDICT_MORE:
			return;
		case VERDICT_BAD:
			hedge_drop(t);
			return;
		case VERDICT_OK:
			break;
		}
		if (hedge_rejects(t, h->status)) {
			if (h->status != 101)
				retry_discard_response(t->hedge, h);
			hedge_drop(t);
		} else if (h->status < 200) {
			fetch_take_head(t->hedge, h, FRAMING_NONE);
		} else {
			hedge_promote(x);
		}
	}
}

void hedge_plan(struct retry *t)
{
	struct exchange *x = t->exchange;
	const struct config_hedge *hedged = t->route->hedge;
	uint64_t now_ms = t->exchange->proxy->tick->now_ms, bound_us;

	/* The request belongs to an authenticated connection; a hedge uses another one. */
	if (t->holds || !list_empty(&x->client->held))
		return;
	if (!hedged || t->framing != FRAMING_NONE || x->upgrade ||
	    !method_safe((enum method)t->method))
		return;
	t->latency = retry_state_latency(t->retry_state, hedged);
	if (!t->latency)
		return;
	budget_earn(hedge_budget(t), &hedged->budget, now_ms);
	bound_us = latency_bound_us(t->latency);
	if (bound_us > 0)
		t->hedge_due_ms = now_ms + (bound_us + 999) / 1000;
}
