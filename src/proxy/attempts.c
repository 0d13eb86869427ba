#include "attempts.h"

#include "hedge.h"
#include "retry.h"
#include "spans.h"

static struct proxy *fetch_proxy(const struct fetch *f)
{
	return f->request.generation->proxy;
}

/* The diagram of fetch.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[FETCH_TRYING] = 1u << FETCH_PAUSING | 1u << FETCH_RELAYING | 1u << FETCH_FAILED,
	[FETCH_PAUSING] = 1u << FETCH_TRYING | 1u << FETCH_FAILED,
	[FETCH_RELAYING] = 1u << FETCH_ENDED | 1u << FETCH_FAILED,
	[FETCH_ENDED] = 0,
	[FETCH_FAILED] = 0,
};

void fetch_set_state(struct fetch *f, enum fetch_state state)
{
	ASSERT(next_states[f->state] >> state & 1);
	f->state = (uint8_t)state;
}

void fetch_fail(struct fetch *f, enum ending ending)
{
	fetch_set_state(f, FETCH_FAILED);
	f->source.ending = (uint8_t)ending;
}

/* ---- attempts ------------------------------------------------------------- */

void attempts_begin(struct fetch *f)
{
	ASSERT(!f->attempt && !f->hedge);
	replay_rewind(&f->replay);
	if (f->attempts_ended > 0)
		f->own = (struct attempt){ .request = NULL };
	f->attempt = &f->own;
	if (f->retry)
		retry_attempt_began(f->retry);
	attempt_begin(f->attempt, &f->request, f->request.times);
	span_begin_try(f->attempt, f->attempts_ended);
}

/* Ends an attempt, and counts it. */
static void drop_attempt(struct fetch *f, struct attempt **slot)
{
	struct attempt *a = *slot;

	if (!a)
		return;
	*slot = NULL;
	f->attempts_ended += 1 + a->retried;
	attempt_end(a);
	if (a != &f->own)
		tick_reap_to_slab(f->request.tick, &fetch_proxy(f)->attempts, &a->reap);
}

/* The final response whose head attempt_head() has read is not used: reads its body as far as it
 * was received, so that the connection can be reused if that is all. */
static void discard_response(struct fetch *f, struct attempt *a, const struct head *h)
{
	enum framing framing = head_response_framing(h, (enum method)f->request.method);
	struct piece p = { NULL, NULL, 0 };
	enum body_event event;

	attempt_take_head(a, h, framing);
	do {
		event = attempt_body(a, &fetch_proxy(f)->response, &p);
		if (event == BODY_DATA)
			piece_put(&p);
		else if (event == BODY_TRAILERS)
			attempt_end_trailers(a);
	} while (event == BODY_DATA || event == BODY_TRAILERS);
}

/* ---- the hedge ------------------------------------------------------------ */

/* A hedge must not wait in a queue: it would only make the queue longer. */
static void begin_hedge(struct fetch *f)
{
	struct slab *attempts = &fetch_proxy(f)->attempts;
	struct attempt *a;

	ASSERT(!f->hedge);
	if (!hedge_permitted(f->retry, f->attempt))
		return;
	a = slab_take(attempts);
	if (!a)
		return;
	attempt_begin(a, &f->request, NULL);
	span_begin_try(a, f->attempts_ended + 1);
	f->retry->hedge_began_ms = f->request.tick->now_ms;
	if (a->lease.state == LEASE_WAITING || a->lease.state == LEASE_FAILED) {
		attempt_end(a);
		tick_reap_to_slab(f->request.tick, attempts, &a->reap);
		return;
	}
	f->hedge = a;
	f->hedge_outcome = HEDGE_LOST; /* so far */
	stat_add(&upstream_stats(f->request.upstream)->hedges, 1);
}

void attempts_drop_hedge(struct fetch *f)
{
	if (!f->hedge)
		return;
	retry_mark_tried(f->retry, f->hedge);
	drop_attempt(f, &f->hedge);
}

/* The hedge takes the place of the attempt. */
static void promote_hedge(struct fetch *f)
{
	retry_mark_tried(f->retry, f->attempt);
	drop_attempt(f, &f->attempt);
	f->attempt = f->hedge;
	f->hedge = NULL;
	f->hedge_outcome = HEDGE_WON;
	if (f->request.times)
		*f->request.times = (struct lease_times){ 0 };
	retry_hedge_promoted(f->retry);
	stat_add(&upstream_stats(f->request.upstream)->hedges_won, 1);
}

/* Interim responses of the hedge are not relayed: the first attempt may send them too. */
static void step_hedge(struct fetch *f)
{
	struct head *h = &fetch_proxy(f)->response;

	attempt_step(f->hedge);
	while (f->hedge) {
		switch (attempt_head(f->hedge, h)) {
		case VERDICT_MORE:
			/* Its connect was refused, and the other servers are full. */
			if (f->hedge->lease.state == LEASE_WAITING)
				attempts_drop_hedge(f);
			return;
		case VERDICT_BAD:
			attempts_drop_hedge(f);
			return;
		case VERDICT_OK:
			break;
		}
		if (hedge_rejects(f->retry, h->status)) {
			if (h->status != 101)
				discard_response(f, f->hedge, h);
			attempts_drop_hedge(f);
		} else if (h->status < 200) {
			attempt_take_head(f->hedge, h, FRAMING_NONE);
		} else {
			promote_hedge(f);
		}
	}
}

/* ---- retries -------------------------------------------------------------- */

/* True: another attempt follows. */
static bool schedule_attempt(struct fetch *f, uint32_t condition)
{
	return f->retry &&
	       retry_schedule(f->retry, f->attempt, condition, !f->replay.disabled);
}

/* The hedge continues as if it were another attempt, at no further cost. */
static void continue_with_hedge(struct fetch *f)
{
	promote_hedge(f);
	tick_run(f->request.tick, f->request.waiter);
}

static void pause_attempts(struct fetch *f)
{
	drop_attempt(f, &f->attempt);
	fetch_set_state(f, FETCH_PAUSING);
}

static void resume_attempts(struct fetch *f)
{
	fetch_set_state(f, FETCH_TRYING);
	attempts_begin(f);
	attempt_step(f->attempt);
}

enum verdict attempts_failed(struct fetch *f)
{
	if (f->hedge)
		continue_with_hedge(f);
	else if (schedule_attempt(f, retry_condition_of_failure(f->attempt)))
		pause_attempts(f);
	else
		fetch_fail(f, (enum ending)f->attempt->ending);
	return f->state == FETCH_FAILED ? VERDICT_BAD : VERDICT_MORE;
}

bool attempts_reject(struct fetch *f, const struct head *h)
{
	uint32_t condition = retry_condition(h->status);

	if (f->hedge && hedge_rejects(f->retry, h->status)) {
		if (h->status != 101)
			discard_response(f, f->attempt, h);
		continue_with_hedge(f);
		return true;
	}
	if (condition == 0 || !schedule_attempt(f, condition))
		return false;
	discard_response(f, f->attempt, h);
	pause_attempts(f);
	return true;
}

static void step_retry(struct fetch *f)
{
	bool waited = retry_waits_for_client(f->attempt);

	if (f->attempt)
		attempt_step(f->attempt);
	switch (retry_due(f->retry, f->attempt, waited)) {
	case RETRY_NOTHING:
		break;
	case RETRY_DEADLINE:
		if (f->attempt) /* counts as a timeout of its server */
			attempt_time_out(f->attempt);
		fetch_fail(f, ENDING_DEADLINE);
		return;
	case RETRY_LATE:
		attempt_time_out(f->attempt);
		break;
	case RETRY_HEDGE:
		begin_hedge(f);
		break;
	case RETRY_RESUME:
		resume_attempts(f);
		break;
	}
	if (f->hedge)
		step_hedge(f);
}

void attempts_step(struct fetch *f)
{
	if (f->retry)
		step_retry(f);
	else
		attempt_step(f->attempt);
}

void attempts_end(struct fetch *f)
{
	drop_attempt(f, &f->hedge);
	drop_attempt(f, &f->attempt);
}
