#include "fetch.h"

#include <string.h>

#include "http/lenient.h"
#include "identity.h"

static struct tick *fetch_tick(const struct fetch *f)
{
	return f->proxy->tick;
}

static struct conn *origin_conn(struct fetch *f)
{
	return &f->lease.origin->conn;
}

static struct head_limits limits_of(const struct fetch *f)
{
	struct head_limits limits = f->generation->head_limits;

	limits.lenient = f->config->lenient;
	return limits;
}

static bool leased(const struct fetch *f)
{
	return f->lease.state == LEASE_READY;
}

/* The diagram of fetch.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[FETCH_WAITING] = 1u << FETCH_SENDING | 1u << FETCH_RELAYING | 1u << FETCH_FAILED,
	[FETCH_SENDING] = 1u << FETCH_WAITING | 1u << FETCH_AWAITING_HEAD |
			  1u << FETCH_RELAYING | 1u << FETCH_FAILED,
	[FETCH_AWAITING_HEAD] = 1u << FETCH_WAITING | 1u << FETCH_RELAYING |
				1u << FETCH_FAILED,
	[FETCH_RELAYING] = 1u << FETCH_ENDED | 1u << FETCH_FAILED,
	[FETCH_ENDED] = 0,
	[FETCH_FAILED] = 0,
};

static void set_state(struct fetch *f, enum fetch_state state)
{
	ASSERT(next_states[f->state] >> state & 1);
	f->state = (uint8_t)state;
	f->since_ms = fetch_tick(f)->now_ms;
}

void fetch_check(const struct fetch *f)
{
	const struct lease *l = &f->lease;

	lease_check(l);
	ASSERT(!f->call || !f->upstream);
	ASSERT(f->ending == 0 || f->state == FETCH_FAILED);
	switch ((enum fetch_state)f->state) {
	case FETCH_WAITING:
		ASSERT(f->call || l->state != LEASE_NONE);
		ASSERT(f->status == 0 && !f->tunnel);
		break;
	case FETCH_SENDING:
	case FETCH_AWAITING_HEAD:
		ASSERT(l->state == LEASE_READY);
		ASSERT(f->sent_us > 0 && f->status == 0);
		ASSERT(f->state == FETCH_SENDING || l->origin->writer.ended);
		break;
	case FETCH_RELAYING:
		ASSERT(f->call || l->state == LEASE_READY);
		ASSERT(f->call || f->status > 0);
		break;
	case FETCH_ENDED:
		ASSERT(l->state == LEASE_NONE && !f->call && !f->tunnel);
		break;
	case FETCH_FAILED:
		ASSERT(l->state == LEASE_NONE);
		break;
	}
}

/* True: the server is to blame. A reused connection may close just as the request is sent,
 * which is not the server's fault. */
static bool is_failure(const struct fetch *f, enum ending ending)
{
	if (f->lease.state == LEASE_CONNECTING)
		return ending == ENDING_CONNECT_TIMEOUT;
	if (f->lease.state != LEASE_READY)
		return false;
	if (ending == ENDING_ORIGIN_CLOSED)
		return !f->lease.reused;
	return ending == ENDING_ORIGIN_BAD || ending == ENDING_ORIGIN_TIMEOUT ||
	       ending == ENDING_ORIGIN_SEND_TIMEOUT || ending == ENDING_ORIGIN_TRUNCATED;
}

/* Counts a failure of the server, for ejection. An idle tunnel that timed out is none. */
static void blame(struct fetch *f, enum ending ending)
{
	if (f->tunnel || !is_failure(f, ending))
		return;
	if (f->status > 0) /* its status was counted already */
		upstream_truncated(&f->lease, f->status);
	else
		upstream_failed(&f->lease);
}

static void fetch_fail(struct fetch *f, enum ending ending)
{
	struct upstream_stats *stats;

	set_state(f, FETCH_FAILED);
	f->ending = (uint8_t)ending;
	if (!f->upstream)
		return;
	blame(f, ending);
	stats = upstream_stats(f->upstream);
	if (ending == ENDING_ORIGIN_TIMEOUT || ending == ENDING_ORIGIN_SEND_TIMEOUT ||
	    ending == ENDING_CONNECT_TIMEOUT)
		stat_add(&stats->timeouts, 1);
	else
		stat_add(&stats->errors, 1);
	if (f->lease.state != LEASE_NONE)
		upstream_return(&f->lease, false);
}

/* ---- deadlines ------------------------------------------------------------ */

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* When the server is late, by what is known now; WHEEL_NEVER: nothing is expected of it. */
static uint64_t fetch_deadline(const struct fetch *f)
{
	const struct conn *c = &f->lease.origin->conn;
	uint32_t response_ms = f->config->response_timeout_ms;
	const struct config_limits *limits = &f->generation->config->limits;
	uint64_t sent = later(c->sent_ms, f->since_ms);

	if (f->tunnel)
		return later(c->received_ms, sent) + limits->idle_timeout_ms;
	switch ((enum fetch_state)f->state) {
	case FETCH_SENDING:
		/* After a send error the server's response may still be received, once a buffer
		 * is free: waits for it until the send timeout. */
		if (conn_unsent(c) > 0 || c->send_error)
			return sent + limits->send_timeout_ms;
		break; /* waits for the client's body, which has a deadline of its own */
	case FETCH_AWAITING_HEAD:
		if (!f->stalled)
			return sent + response_ms;
		break; /* waits for the client, which has a deadline of its own */
	case FETCH_RELAYING:
		if (!f->stalled && (f->lease.origin->writer.ended || conn_unsent(c) > 0))
			return later(c->received_ms, sent) + response_ms;
		break; /* waits for the client to read or to send */
	case FETCH_WAITING:
	case FETCH_ENDED:
	case FETCH_FAILED:
		break;
	}
	return WHEEL_NEVER;
}

/* When to compute the deadline anew. There is one timer, as for a client: when it fires, the
 * deadline is computed from the current state. It fires often enough that none is missed. */
static uint64_t next_check(const struct fetch *f)
{
	uint32_t response_ms = f->config->response_timeout_ms;
	uint32_t send_ms = f->generation->config->limits.send_timeout_ms;
	uint64_t due = fetch_deadline(f);

	if (due != WHEEL_NEVER)
		return due;
	return fetch_tick(f)->now_ms + (response_ms < send_ms ? response_ms : send_ms);
}

/* The fetch is found by the origin's lease: only fetches lease origins. */
static void deadline_fired(struct timer *timer)
{
	struct origin *o = CONTAINER(timer, struct origin, conn.timer);
	struct fetch *f = CONTAINER(o->lease, struct fetch, lease);
	uint64_t due = next_check(f);

	if (due > fetch_tick(f)->now_ms) {
		timer_set(&fetch_tick(f)->wheel, timer, due);
		return;
	}
	/* A send in progress reports nothing: the server may have taken bytes meanwhile. */
	if (conn_unsent(&o->conn) > 0 && conn_poll_delivery(&o->conn)) {
		timer_set(&fetch_tick(f)->wheel, timer, next_check(f));
		return;
	}
	f->timed_out = true;
	tick_run(fetch_tick(f), f->waiter);
}

static void deadline_arm(struct fetch *f)
{
	struct timer *timer = &origin_conn(f)->timer;
	uint64_t due = next_check(f);

	if (!timer_armed(timer) || due < timer->deadline_ms)
		timer_set(&fetch_tick(f)->wheel, timer, due);
}

/* ---- requests to a server ------------------------------------------------ */

static void request_complete(struct fetch *f)
{
	if (f->state != FETCH_SENDING) {
		/* After an early response: the server's time starts now. */
		f->since_ms = fetch_tick(f)->now_ms;
		return;
	}
	set_state(f, FETCH_AWAITING_HEAD);
	deadline_arm(f);
}

static void begin_sending(struct fetch *f)
{
	struct origin *o = f->lease.origin;

	/* The timer may still be armed with the idle timeout. */
	o->conn.timer.expired = deadline_fired;
	f->sent_us = fetch_tick(f)->now_us;
	stat_add(&upstream_stats(f->upstream)->requests, 1);
	set_state(f, FETCH_SENDING);
	if (!writer_begin(&o->writer, &o->conn, buf_ref(f->request),
			  (enum framing)f->framing, f->length)) {
		fetch_fail(f, ENDING_NO_MEMORY);
		return;
	}
	if (o->writer.ended)
		request_complete(f);
	else
		deadline_arm(f);
}

static enum ending ending_of_lease(const struct lease *l)
{
	switch ((enum lease_failure)l->failure) {
	case LEASE_NO_SERVER:
		return ENDING_NO_SERVER;
	case LEASE_REFUSED:
		return ENDING_ORIGIN_REFUSED;
	case LEASE_FORBIDDEN:
		return ENDING_ORIGIN_FORBIDDEN;
	case LEASE_UNROUTABLE:
		return ENDING_ORIGIN_UNROUTABLE;
	case LEASE_NO_SOCKET:
		return ENDING_NO_SOCKET;
	case LEASE_CONNECT_TIMEOUT:
		return ENDING_CONNECT_TIMEOUT;
	case LEASE_QUEUE_FULL:
		return ENDING_QUEUE_FULL;
	case LEASE_QUEUE_TIMEOUT:
		return ENDING_QUEUE_TIMEOUT;
	case LEASE_NO_MEMORY:
		break;
	}
	return ENDING_NO_MEMORY;
}

static void lease_step(struct fetch *f)
{
	switch ((enum lease_state)f->lease.state) {
	case LEASE_READY:
		begin_sending(f);
		break;
	case LEASE_FAILED:
		fetch_fail(f, ending_of_lease(&f->lease));
		break;
	case LEASE_NONE:
	case LEASE_WAITING:
	case LEASE_CONNECTING:
		break;
	}
}

bool fetch_may_resend(const struct fetch *f)
{
	return f->lease.reused && !f->retried && f->interim_n == 0 &&
	       method_idempotent((enum method)f->method);
}

/* The connection was closed before any byte of a response. */
static void stale_close(struct fetch *f)
{
	if (!fetch_may_resend(f) || f->body_not_replayable) {
		fetch_fail(f, ENDING_ORIGIN_CLOSED);
		return;
	}
	f->retried = true;
	stat_add(&upstream_stats(f->upstream)->retries, 1);
	stat_add(&upstream_stats(f->upstream)->stale_retries, 1);
	upstream_return(&f->lease, false);
	set_state(f, FETCH_WAITING);
	upstream_lease(f->upstream, &f->lease, f->avoid, true, f->waiter);
	lease_step(f);
}

static void origin_step(struct fetch *f)
{
	bool sending = f->state == FETCH_SENDING;

	if (f->state == FETCH_WAITING) {
		lease_step(f);
		return;
	}
	if (f->timed_out && leased(f) && f->state != FETCH_ENDED)
		fetch_fail(f, f->state == FETCH_RELAYING ? ENDING_ORIGIN_TRUNCATED
			      : sending                  ? ENDING_ORIGIN_SEND_TIMEOUT
							 : ENDING_ORIGIN_TIMEOUT);
}

void fetch_time_out(struct fetch *f)
{
	switch ((enum fetch_state)f->state) {
	case FETCH_WAITING:
		fetch_fail(f, f->lease.state == LEASE_WAITING ? ENDING_QUEUE_TIMEOUT
							      : ENDING_CONNECT_TIMEOUT);
		break;
	case FETCH_SENDING:
		fetch_fail(f, ENDING_ORIGIN_SEND_TIMEOUT);
		break;
	case FETCH_AWAITING_HEAD:
		fetch_fail(f, ENDING_ORIGIN_TIMEOUT);
		break;
	case FETCH_RELAYING:
	case FETCH_ENDED:
	case FETCH_FAILED:
		break;
	}
}

uint32_t fetch_send_space(struct fetch *f)
{
	if (f->state == FETCH_SENDING ||
	    (f->state == FETCH_RELAYING && leased(f) && !f->lease.origin->writer.ended))
		return conn_push_space(origin_conn(f));
	return 0;
}

bool fetch_send(struct fetch *f, struct piece *p, bool kept)
{
	ASSERT(f->state == FETCH_SENDING || f->state == FETCH_RELAYING);
	f->body_not_replayable |= !kept;
	if (!writer_piece(&f->lease.origin->writer, origin_conn(f), p)) {
		fetch_fail(f, ENDING_NO_MEMORY);
		return false;
	}
	return true;
}

bool fetch_send_end(struct fetch *f, struct buf *trailers, bool kept)
{
	ASSERT(f->state == FETCH_SENDING || f->state == FETCH_RELAYING);
	f->body_not_replayable |= trailers && !kept;
	if (!writer_end(&f->lease.origin->writer, origin_conn(f), trailers)) {
		fetch_fail(f, ENDING_NO_MEMORY);
		return false;
	}
	request_complete(f);
	return true;
}

static enum verdict refuse_head(struct fetch *f, enum ending ending)
{
	fetch_fail(f, ending);
	return VERDICT_BAD;
}

enum verdict fetch_head(struct fetch *f, struct head *h)
{
	struct head_limits limits;
	struct conn *c;

	if (f->state == FETCH_FAILED)
		return VERDICT_BAD;
	if (!leased(f))
		return VERDICT_MORE;
	c = origin_conn(f);
	limits = limits_of(f);
	switch (reader_response(&f->lease.origin->reader, c, &limits, h)) {
	case VERDICT_OK:
		break;
	case VERDICT_BAD:
		return refuse_head(f, h->fault == FAULT_NO_MEMORY ? ENDING_NO_MEMORY :
								    ENDING_ORIGIN_BAD);
	case VERDICT_MORE:
		if (!c->eof && !c->error)
			return VERDICT_MORE;
		if (c->inbox)
			return refuse_head(f, ENDING_ORIGIN_CLOSED);
		stale_close(f);
		return f->state == FETCH_FAILED ? VERDICT_BAD : VERDICT_MORE;
	}
	if (h->status < 200 && h->status != 101 && ++f->interim_n > FETCH_INTERIM_MAX)
		return refuse_head(f, ENDING_ORIGIN_BAD);
	return VERDICT_OK;
}

void fetch_take_head(struct fetch *f, const struct head *h, enum framing framing)
{
	struct origin *o = f->lease.origin;

	ASSERT(leased(f) && f->state != FETCH_RELAYING);
	buf_put(f->request);
	f->request = NULL;
	if (h->status < 200 && h->status != 101) {
		conn_consume(&o->conn, o->reader.head_bytes);
		reader_init(&o->reader);
		/* The server is working: its time starts anew. */
		f->since_ms = fetch_tick(f)->now_ms;
		return;
	}
	f->status = (uint16_t)h->status;
	if (identity_challenged(h))
		upstream_hold(&f->lease);
	o->idle_s = h->idle_s;
	histogram_add(&upstream_stats(f->upstream)->latency,
		      fetch_tick(f)->now_us - f->sent_us);
	upstream_responded(&f->lease, h->status);
	/* A 204 that announces a body: the body may still come, and would be taken for the next
	 * response. */
	f->reusable = h->keep_alive && framing != FRAMING_CLOSE &&
		      !(h->status == 204 && (h->framing == FRAMING_CHUNKED || h->length > 0));
	set_state(f, FETCH_RELAYING);
	reader_begin_body(&o->reader, &o->conn, framing, h->length);
	o->reader.body.padding_allowed = f->config->lenient >> LENIENT_CHUNK_PADDING & 1;
	deadline_arm(f);
}

void fetch_set_stalled(struct fetch *f, bool stalled)
{
	if (f->stalled && !stalled)
		f->since_ms = fetch_tick(f)->now_ms;
	/* If nothing was received, the response is late because of the server. */
	f->stalled = stalled &&
		     (f->state == FETCH_RELAYING || (leased(f) && origin_conn(f)->inbox));
}

static void response_ended(struct fetch *f)
{
	set_state(f, FETCH_ENDED);
	upstream_completed(&f->lease);
	upstream_return(&f->lease, f->reusable && f->lease.origin->writer.ended);
}

/* The ending of a response whose body is incomplete or malformed. */
static enum ending ending_of_body(enum fault fault)
{
	if (fault == FAULT_NO_MEMORY)
		return ENDING_NO_MEMORY;
	return fault == FAULT_BODY_SHORT ? ENDING_ORIGIN_TRUNCATED : ENDING_ORIGIN_BAD;
}

static enum body_event origin_body(struct fetch *f, struct head *trailers, struct piece *p)
{
	struct conn *c = origin_conn(f);
	struct head_limits limits = limits_of(f);
	enum body_event event = reader_body(&f->lease.origin->reader, c, &limits, trailers, p);

	switch (event) {
	case BODY_END:
		response_ended(f);
		break;
	case BODY_MORE:
		if (!c->error)
			break;
		fetch_fail(f, ENDING_ORIGIN_TRUNCATED);
		return BODY_BAD;
	case BODY_BAD:
		fetch_fail(f, ending_of_body(
				      (enum fault)f->lease.origin->reader.body.fault));
		return BODY_BAD;
	case BODY_DATA:
	case BODY_TRAILERS:
		break;
	}
	return event;
}

void fetch_end_trailers(struct fetch *f)
{
	reader_end_trailers(&f->lease.origin->reader, origin_conn(f));
}

struct conn *fetch_tunnel(struct fetch *f)
{
	ASSERT(f->state == FETCH_RELAYING && f->status == 101);
	f->tunnel = true;
	f->reusable = false;
	f->since_ms = fetch_tick(f)->now_ms;
	deadline_arm(f);
	return origin_conn(f);
}

static struct fetch *fetch_new(struct generation *g, struct task *waiter)
{
	struct fetch *f = slab_take(&g->proxy->fetches);

	if (!f)
		return NULL;
	f->proxy = g->proxy;
	f->generation = generation_ref(g);
	f->waiter = waiter;
	f->since_ms = f->proxy->tick->now_ms;
	return f;
}

/* True: the request must not go out on a reused connection. A client whose own connection
 * turns out to be closed sends its request again (RFC 9112 9.3.1). After the first request
 * on a new connection it does not, so a stale connection here would become its error. */
static bool wants_new_connection(const struct config_upstream *u,
				 const struct fetch_request *q)
{
	switch (u->reuse) {
	case CONFIG_REUSE_SAFE:
		return q->first && !method_idempotent(q->method);
	case CONFIG_REUSE_ALWAYS:
		return false;
	case CONFIG_REUSE_NEVER:
		break;
	}
	return true;
}

struct fetch *fetch_origin(struct generation *g, const struct fetch_request *q,
			   struct task *waiter)
{
	struct fetch *f = fetch_new(g, waiter);

	if (!f) {
		buf_put(q->request);
		return NULL;
	}
	f->upstream = generation_upstream(g, q->upstream);
	f->config = &g->config->upstreams[q->upstream];
	f->request = q->request;
	f->method = (uint8_t)q->method;
	f->framing = (uint8_t)q->framing;
	f->length = q->length;
	f->avoid = q->avoid;
	f->lease.hash = q->hash;
	f->lease.held_list = q->held_list;
	f->lease.hold_on_return = q->hold_on_return;
	upstream_lease(f->upstream, &f->lease, q->avoid,
		       wants_new_connection(f->config, q), waiter);
	return f;
}

/* ---- requests to a cache -------------------------------------------------- */

struct fetch *fetch_memcached(struct generation *g, unsigned upstream,
			      enum memcache_command command, struct slice key,
			      struct task *waiter)
{
	struct fetch *f = fetch_new(g, waiter);

	if (!f)
		return NULL;
	f->call = memcache_get(generation_memcache(g, upstream), command, key, f);
	if (!f->call)
		fetch_free(&f);
	return f;
}

static enum ending ending_of_call(const struct memcache_call *call)
{
	switch (call->failure) {
	case CALL_ERROR:
	case CALL_VALUE_LARGE:
		return ENDING_CACHE_FAILED;
	case CALL_TIMEOUT:
		return call->sent_us > 0 ? ENDING_CACHE_TIMEOUT : ENDING_QUEUE_TIMEOUT;
	case CALL_QUEUE_FULL:
		return ENDING_QUEUE_FULL;
	}
	return ENDING_CACHE_FAILED;
}

static void call_step(struct fetch *f)
{
	if (f->state != FETCH_WAITING)
		return;
	switch (f->call->state) {
	case CALL_HIT:
		f->length = f->call->length;
		set_state(f, FETCH_RELAYING);
		break;
	case CALL_MISS:
		fetch_fail(f, ENDING_CACHE_MISS);
		break;
	case CALL_FAILED:
		fetch_fail(f, ending_of_call(f->call));
		break;
	case CALL_WAITING:
	case CALL_SENT:
		break;
	}
}

static enum body_event call_body(struct fetch *f, struct piece *p)
{
	if (memcache_take(f->call, p))
		return BODY_DATA;
	set_state(f, FETCH_ENDED);
	memcache_forget(&f->call);
	return BODY_END;
}

/* ---- both ----------------------------------------------------------------- */

void fetch_step(struct fetch *f)
{
	if (f->call)
		call_step(f);
	else if (f->upstream)
		origin_step(f);
}

enum body_event fetch_body(struct fetch *f, struct head *trailers, struct piece *p)
{
	switch ((enum fetch_state)f->state) {
	case FETCH_RELAYING:
		return f->call ? call_body(f, p) : origin_body(f, trailers, p);
	case FETCH_ENDED:
		return BODY_END;
	case FETCH_FAILED:
		return BODY_BAD;
	case FETCH_WAITING:
	case FETCH_SENDING:
	case FETCH_AWAITING_HEAD:
		break;
	}
	return BODY_MORE;
}

void fetch_free(struct fetch **slot)
{
	struct fetch *f = *slot;

	if (!f)
		return;
	*slot = NULL;
	if (f->upstream && f->lease.state != LEASE_NONE)
		upstream_return(&f->lease, false);
	if (f->call)
		memcache_forget(&f->call);
	buf_put(f->request);
	generation_put(f->generation);
	tick_reap_to_slab(f->proxy->tick, &f->proxy->fetches, &f->reap);
}
