#include "proxy/fetch.h"

#include "hedge.h"
#include "retry.h"

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

static void fetch_set_state(struct fetch *f, enum fetch_state state)
{
	ASSERT(next_states[f->state] >> state & 1);
	f->state = (uint8_t)state;
}

static void fetch_fail(struct fetch *f, enum ending ending)
{
	fetch_set_state(f, FETCH_FAILED);
	f->ending = (uint8_t)ending;
}

void fetch_check(const struct fetch *f)
{
	if (f->attempt)
		attempt_check(f->attempt);
	if (f->hedge)
		attempt_check(f->hedge);
	ASSERT(!f->hedge || (f->retry && f->attempt && f->hedge != f->attempt));
	ASSERT(!f->retry || f->retry->pausing == !f->attempt);
	ASSERT(f->ending == 0 || f->state == FETCH_FAILED);
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
		ASSERT(f->ending != 0);
		break;
	}
}

/* ---- attempts ------------------------------------------------------------- */

static void begin_attempt(struct fetch *f)
{
	ASSERT(!f->attempt && !f->hedge);
	replay_rewind(&f->replay);
	if (f->attempts_ended > 0)
		f->own = (struct attempt){ .request = NULL };
	f->attempt = &f->own;
	if (f->retry)
		retry_attempt_began(f->retry);
	attempt_begin(f->attempt, &f->request);
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
	attempt_begin(a, &f->request);
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

static void drop_hedge(struct fetch *f)
{
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
			return;
		case VERDICT_BAD:
			drop_hedge(f);
			return;
		case VERDICT_OK:
			break;
		}
		if (hedge_rejects(f->retry, h->status)) {
			if (h->status != 101)
				discard_response(f, f->hedge, h);
			drop_hedge(f);
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
	begin_attempt(f);
	attempt_step(f->attempt);
}

/* Called in FETCH_TRYING. */
static enum verdict attempt_failed(struct fetch *f)
{
	if (f->hedge)
		continue_with_hedge(f);
	else if (schedule_attempt(f, retry_condition_of_failure(f->attempt)))
		pause_attempts(f);
	else
		fetch_fail(f, (enum ending)f->attempt->ending);
	return f->state == FETCH_FAILED ? VERDICT_BAD : VERDICT_MORE;
}

/* True: the response is not used, and another attempt follows or continues. */
static bool response_rejected(struct fetch *f, const struct head *h)
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

void fetch_send(struct fetch *f, struct piece *p)
{
	uint32_t max = replay_max(f);

	if (max > 0)
		replay_keep(&f->replay, io_bufs(f->request.tick->loop), p,
			    f->request.framing == FRAMING_LENGTH ? f->request.length : 0, max);
	else
		replay_disable(&f->replay);
	attempt_send(f->attempt, p, !f->replay.disabled);
}

void fetch_send_end(struct fetch *f, struct buf *trailers)
{
	bool kept = !trailers || replay_max(f) > 0;

	if (kept)
		trailers = replay_trailers(&f->replay, trailers);
	else
		replay_disable(&f->replay);
	if (f->retry)
		retry_request_complete(f->retry);
	attempt_send_end(f->attempt, trailers, kept);
}

bool fetch_sent(const struct fetch *f)
{
	return f->attempt && f->attempt->lease.state == LEASE_READY &&
	       f->attempt->lease.origin->writer.ended;
}

/* ---- the response --------------------------------------------------------- */

enum verdict fetch_head(struct fetch *f, struct head *h)
{
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
		return f->retry && response_rejected(f, h) ? VERDICT_MORE : VERDICT_OK;
	case VERDICT_BAD:
		return attempt_failed(f);
	case VERDICT_MORE:
		if (a->retried != retried)
			replay_rewind(&f->replay);
		break;
	}
	return VERDICT_MORE;
}

const char *fetch_server(const struct fetch *f)
{
	return lease_server(&f->attempt->lease);
}

/* The request will not be sent again. */
static void release_request(struct fetch *f)
{
	replay_free(&f->replay);
	buf_put(f->request.head);
	f->request.head = NULL;
}

void fetch_take_head(struct fetch *f, const struct head *h, enum framing framing)
{
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
	if (f->hedge)
		drop_hedge(f);
	retry_succeeded(f->retry, h->status);
	retry_free(&f->retry);
	f->request.avoid = NULL; /* it was part of *retry */
}

void fetch_set_stalled(struct fetch *f, bool stalled)
{
	if (f->attempt)
		attempt_set_stalled(f->attempt, stalled);
}

enum body_event fetch_body(struct fetch *f, struct head *trailers, struct piece *p)
{
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

void fetch_end_trailers(struct fetch *f)
{
	attempt_end_trailers(f->attempt);
}

void fetch_begin_tunnel(struct fetch *f)
{
	ASSERT(f->state == FETCH_RELAYING);
	attempt_tunnel(f->attempt);
}

struct conn *fetch_conn(struct fetch *f)
{
	ASSERT(f->attempt->tunnel && f->attempt->state == ATTEMPT_RELAYING);
	return &f->attempt->lease.origin->conn;
}

/* --------------------------------------------------------------------------- */

struct fetch *fetch_new(const struct fetch_options *o)
{
	struct generation *g = o->generation;
	struct fetch *f = slab_take(&g->proxy->fetches);

	if (!f) {
		buf_put(o->head);
		return NULL;
	}
	f->request = (struct attempt_request){
		.tick = g->proxy->tick,
		.generation = generation_ref(g),
		.upstream = generation_upstream(g, o->upstream),
		.config = &g->config->upstreams[o->upstream],
		.waiter = o->waiter,
		.head = o->head,
		.held_list = o->held_list,
		.length = o->length,
		.hash = o->hash,
		.method = (uint8_t)o->method,
		.framing = (uint8_t)o->framing,
		.first = o->first,
		.hold_on_return = o->hold_on_return,
	};
	f->replay_max = REPLAY_BYTES;
	if (o->route && retry_wanted(o->route)) {
		f->retry = retry_new(o->route, &f->request, !o->upgrade);
		if (!f->retry) {
			fetch_free(&f);
			return NULL;
		}
		f->request.avoid = &f->retry->tried;
		if (o->route->retry)
			f->replay_max = o->route->retry->body;
	}
	begin_attempt(f);
	return f;
}

void fetch_step(struct fetch *f)
{
	if (f->state == FETCH_ENDED || f->state == FETCH_FAILED)
		return;
	if (f->retry)
		step_retry(f);
	else
		attempt_step(f->attempt);
	if (f->state == FETCH_RELAYING && f->attempt->state == ATTEMPT_FAILED)
		fetch_fail(f, (enum ending)f->attempt->ending);
	else if (replay_pending(&f->replay))
		send_kept_body(f);
}

unsigned fetch_attempts(const struct fetch *f)
{
	return f->attempts_ended + (f->attempt ? 1u + f->attempt->retried : 0) +
	       (f->hedge ? 1u + f->hedge->retried : 0);
}

void fetch_free(struct fetch **slot)
{
	struct fetch *f = *slot;

	if (!f)
		return;
	*slot = NULL;
	drop_attempt(f, &f->hedge);
	drop_attempt(f, &f->attempt);
	retry_free(&f->retry);
	release_request(f);
	generation_put(f->request.generation);
	tick_reap_to_slab(f->request.tick, &fetch_proxy(f)->fetches, &f->reap);
}
