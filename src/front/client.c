#include "front/client.h"

#include "clientstate.h"
#include "clientstream.h"
#include "multiplex.h"
#include "opening.h"

/* Most requests of one connection served in one step, before other connections get their
 * turn. */
#define PIPELINE_BURST 16

/* How often a connection that does not receive is checked for FIN (abort_on_fin). */
#define FIN_CHECK_MS 1000

/* The diagram of client.h: the states that may follow each state. front_close() ends clients
 * that are ending already. */
static const uint8_t next_states[] = {
	[CLIENT_IDLE] = 1u << CLIENT_PROXIED | 1u << CLIENT_SECURING | 1u << CLIENT_HEAD |
			1u << CLIENT_BUSY | 1u << CLIENT_MULTIPLEXED | 1u << CLIENT_ENDING,
	[CLIENT_PROXIED] = 1u << CLIENT_SECURING | 1u << CLIENT_IDLE |
			   1u << CLIENT_ENDING,
	[CLIENT_SECURING] = 1u << CLIENT_IDLE | 1u << CLIENT_BUSY | 1u << CLIENT_ENDING,
	[CLIENT_HEAD] = 1u << CLIENT_BUSY | 1u << CLIENT_ENDING,
	[CLIENT_BUSY] = 1u << CLIENT_IDLE | 1u << CLIENT_ENDING,
	[CLIENT_MULTIPLEXED] = 1u << CLIENT_ENDING,
	[CLIENT_ENDING] = 1u << CLIENT_ENDING,
};

void client_set_state(struct client *c, enum client_state state)
{
	struct worker_stats *stats = c->front->stats;

	ASSERT(next_states[c->state] >> state & 1);
	if (c->state != CLIENT_IDLE && state == CLIENT_IDLE) {
		stat_add(&stats->connections_idle, 1);
		/* Before its first request it is on front->unused already. */
		if (c->state != CLIENT_PROXIED && c->state != CLIENT_SECURING)
			list_append(&c->front->idle, &c->idle_node);
	}
	if ((c->state == CLIENT_IDLE && state != CLIENT_IDLE) ||
	    (c->state == CLIENT_MULTIPLEXED && c->multiplexed.http2->n == 0))
		stat_sub(&stats->connections_idle, 1);
	if (state != CLIENT_IDLE && state != CLIENT_PROXIED && state != CLIENT_SECURING)
		list_remove(&c->idle_node);
	c->state = (uint8_t)state;
	c->http1.stream.since_ms = c->front->tick->now_ms;
}

/* Runs the task of the stream's user, or the client's. */
static void client_wake(struct client *c)
{
	struct task *task = c->http1.stream.task;

	tick_run(c->front->tick, task ? task : &c->task);
}

void client_check(const struct client *c)
{
	const struct stream *s = &c->http1.stream;

	http1_check(&c->http1);
	ASSERT(!c->context_waits || c->state == CLIENT_PROXIED ||
	       c->state == CLIENT_ENDING);
	switch ((enum client_state)c->state) {
	case CLIENT_SECURING:
	case CLIENT_PROXIED:
	case CLIENT_IDLE:
		ASSERT(!list_empty(&c->idle_node)); /* it may be evicted */
						    /* fall through */
	case CLIENT_HEAD:
		ASSERT(s->state == STREAM_IDLE && deadline_running(&s->deadline));
		break;
	case CLIENT_BUSY:
		ASSERT(s->state == STREAM_OPEN || s->state == STREAM_TUNNEL);
		ASSERT(s->task && s->uses > 0);
		break;
	case CLIENT_MULTIPLEXED:
		ASSERT(s->state == STREAM_IDLE && deadline_running(&s->deadline));
		break;
	case CLIENT_ENDING:
		ASSERT(s->state ==
		       STREAM_CLOSED); /* front_close(): its user until it is dead */
		break;
	}
}

const struct task *client_oldest_user(const struct client *c)
{
	return c->is_multiplexed ? multiplex_oldest_user(c) : c->http1.stream.task;
}

uint32_t client_requests(const struct client *c)
{
	return c->is_multiplexed ? c->multiplexed.http2->session->requests
				 : c->http1.stream.uses;
}

/* ---- deadlines ------------------------------------------------------------ */

static uint64_t later_ms(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

bool client_misses_fin(const struct client *c)
{
	const struct stream *s = &c->http1.stream;

	return s->abort_on_eof && !s->eof &&
	       (!conn_can_receive(&c->conn) || buf_scarce(io_bufs(c->front->tick->loop)));
}

static uint64_t earlier_ms(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* See client_events.body_due_ms(). */
static uint64_t body_due_ms(const struct client *c)
{
	const struct stream *s = &c->http1.stream;
	uint32_t receive_ms = c->front->timeouts.receive_ms;

	if (c->front->events->body_due_ms && s->task)
		return c->front->events->body_due_ms(s);
	if (s->body_awaited)
		return later_ms(c->conn.received_ms, s->since_ms) + receive_ms;
	return c->front->tick->now_ms + receive_ms;
}

static uint64_t next_check_ms(const struct client *c)
{
	uint64_t now_ms = c->front->tick->now_ms;
	uint64_t check_ms = earlier_ms(now_ms + c->conn.send_ms, body_due_ms(c));

	return client_misses_fin(c) ? earlier_ms(check_ms, now_ms + FIN_CHECK_MS) : check_ms;
}

/* Until when the peer has to do what this state waits for; WHEEL_NEVER: no limit. While
 * the exchange is at work, there is no deadline: the time of the next check. */
static uint64_t state_deadline_ms(const struct client *c)
{
	const struct client_timeouts *t = &c->front->timeouts;

	switch ((enum client_state)c->state) {
	case CLIENT_IDLE:
		/* The first request has as long as a head. After that, idleness begins
		 * when the response has been sent. A `sent_ms` that lags is no time, and small. */
		if (c->http1.stream.uses == 0)
			return c->http1.stream.since_ms + t->header_ms;
		return later_ms(c->conn.sent_ms, c->http1.stream.since_ms) + t->idle_ms;
	case CLIENT_SECURING:
		return c->http1.stream.since_ms + c->front->handshake_ms;
	case CLIENT_PROXIED:
	case CLIENT_HEAD:
		return c->http1.stream.since_ms + t->header_ms;
	case CLIENT_BUSY:
		return c->http1.stream.body_awaited ? body_due_ms(c) : next_check_ms(c);
	case CLIENT_MULTIPLEXED:
		if (c->multiplexed.http2->block_since_ms > 0)
			return c->multiplexed.http2->block_since_ms + t->header_ms;
		if (c->multiplexed.http2->n == 0)
			return later_ms(c->conn.sent_ms, c->http1.stream.since_ms) + t->idle_ms;
		return next_check_ms(c);
	case CLIENT_ENDING:
		break;
	}
	return WHEEL_NEVER;
}

/* While bytes are unsent, the send timeout takes precedence over that of the state. */
static uint64_t client_due_ms(const void *owner)
{
	const struct client *c = owner;

	if (c->state != CLIENT_ENDING && conn_unsent(&c->conn) > 0)
		return conn_sent_ms(&c->conn) + c->conn.send_ms;
	return state_deadline_ms(c);
}

/* No receive is in flight that could report a FIN. */
static void look_for_fin(void *owner)
{
	struct client *c = owner;
	struct tick *tick = c->front->tick;

	if (client_misses_fin(c) && io_peer_ended(tick->loop, c->conn.fd)) {
		c->http1.stream.eof = true;
		client_wake(c);
	}
}

static void client_time_passed(void *owner)
{
	struct client *c = owner;

	c->http1.stream.timed_out = true;
	client_wake(c);
}

/* One deadline for all states. It is computed at least once in the shortest timeout, so one
 * that began in between is not missed. */
static const struct deadline_rules client_rules = { client_due_ms, client_time_passed,
						    look_for_fin };

/* A state began. Not client_due_ms(): the outbox is nearly always sent in this tick, so
 * nothing needs to be done for the send timeout. */
void client_begin_deadline(struct client *c)
{
	deadline_bound(&c->http1.stream.deadline, state_deadline_ms(c));
}

/* ---- life and death ------------------------------------------------------- */

static void conn_changed(struct conn *conn)
{
	struct client *c = CONTAINER(conn, struct client, conn);

	http1_record(&c->http1);
	client_wake(c);
}

static void conn_dead(struct conn *conn)
{
	struct client *c = CONTAINER(conn, struct client, conn);
	struct front *f = c->front;

	if (c->is_multiplexed)
		multiplex_free(c);
	else if (c->http1.stream.task)
		f->events->stream_closed(&c->http1.stream);
	if (f->events->closed)
		f->events->closed(c);
	ASSERT(!c->http1.stream.task);
	if (c->context_waits)
		tls_context_unref(c->context);
	else
		buf_put(c->proxy_header);
	task_stop(&c->task); /* after closed(), which may have made the task runnable */
	front_forget(f, c);
	stat_sub(&f->stats->connections, 1);
	stat_add(&f->stats->received_bytes, conn->received);
	stat_add(&f->stats->sent_bytes, conn->sent);
	if (f->quota)
		quota_put(f->quota);
	slab_put(&f->clients, c);
}

static void conn_timer_fired(struct conn *conn)
{
	deadline_fired(&CONTAINER(conn, struct client, conn)->http1.stream.deadline);
}

static const struct conn_events conn_events = {
	.changed = conn_changed,
	.timer_fired = conn_timer_fired,
	.dead = conn_dead,
};

void client_close(struct client *c, enum conn_end how, uint32_t linger_ms)
{
	struct stream *s = &c->http1.stream;

	client_set_state(c, CLIENT_ENDING);
	task_stop(&c->task);
	if (s->state != STREAM_CLOSED)
		stream_set_state(s, STREAM_CLOSED);
	if (c->is_multiplexed)
		http2_close_streams(c->multiplexed.http2);
	conn_close(&c->conn, how, linger_ms);
}

void client_end(struct client *c, enum conn_end how)
{
	client_close(c, how, c->front->linger_ms);
}

/* No request is in progress. Secured: close_notify is sent. */
static void client_leave(struct client *c)
{
	client_end(c, conn_unsent(&c->conn) > 0 || conn_tls(&c->conn) ? CONN_FLUSH
								      : CONN_NOW);
}

/* ---- requests ------------------------------------------------------------- */

void client_refuse_request(struct client *c, enum fault fault)
{
	client_set_state(c, CLIENT_BUSY);
	stream_set_state(&c->http1.stream, STREAM_OPEN);
	c->close_requested = true;
	c->front->events->head_refused(c, &c->http1.stream, fault);
	if (c->state != CLIENT_ENDING)
		client_end(c, CONN_LINGER);
}

/* The head's slices point into the inbox, from which its user consumes it. */
static void request_begin(struct client *c, struct head *h)
{
	struct front *f = c->front;
	struct stream *s = &c->http1.stream;
	struct buf *bytes = buf_ref(c->conn.inbox);

	c->close_requested = !h->keep_alive;
	stat_add(&f->stats->requests, 1);
	client_set_state(c, CLIENT_BUSY);
	stream_set_state(s, STREAM_OPEN);
	f->events->head_received(c, s, h);
	buf_put(bytes);
	client_begin_deadline(c);
}

/* Reads the next head. False: no complete head was received, or the connection ends. */
static bool request_read(struct client *c)
{
	struct front *f = c->front;
	struct head *h = f->scratch;

	switch (reader_request(&c->http1.reader, &c->conn, &f->limits, h)) {
	case VERDICT_OK:
		request_begin(c, h);
		return true;
	case VERDICT_MORE:
		break;
	case VERDICT_BAD:
		client_refuse_request(c, h->fault);
		return false;
	}
	if (c->conn.eof || client_lost(c)) {
		client_leave(c);
	} else if (c->state == CLIENT_IDLE &&
		   reader_skip_empty_lines(&c->http1.reader, &c->conn)) {
		client_set_state(c, CLIENT_HEAD);
		client_begin_deadline(c);
	}
	return false;
}

/* These bytes may have to wait long: moves them out of the receive buffers, which other
 * connections need. */
static void inbox_compact_and_limit(struct client *c)
{
	conn_compact(&c->conn);
	conn_limit_inbox(&c->conn, true);
}

/* A deadline has passed outside an exchange. */
static void client_timed_out(struct client *c)
{
	if (c->state == CLIENT_HEAD)
		client_refuse_request(c, FAULT_NONE);
	else if (conn_unsent(&c->conn) > 0)
		client_end(c, CONN_NOW); /* it does not read */
	else
		client_leave(c);
}

static void serve_requests(struct client *c)
{
	for (unsigned burst = 0; burst < PIPELINE_BURST; burst++) {
		if (c->state == CLIENT_BUSY || c->state == CLIENT_ENDING)
			return;
		if (c->http1.stream.timed_out) {
			client_timed_out(c);
			return;
		}
		/* The outbox is full of previous responses: wait before starting
		 * another. */
		if (c->conn.inbox && !client_lost(c) && conn_push_space(&c->conn) == 0) {
			conn_await_space(&c->conn);
			inbox_compact_and_limit(c);
			return;
		}
		if (c->conn.inbox_limited)
			conn_limit_inbox(&c->conn, false);
		if (!request_read(c))
			return;
	}
	tick_run(c->front->tick, &c->task);
}

static void client_step(struct task *task)
{
	struct client *c = CONTAINER(task, struct client, task);

	if (client_opened(c)) {
		if (c->state == CLIENT_MULTIPLEXED || multiplex_begins(c))
			multiplex_step(c);
		else
			serve_requests(c);
	}
	CHECK_STATE(client_check(c));
}

/* ---- connections ------------------------------------------------------------ */

struct client *client_open(struct front *f, int fd, const struct peer *peer)
{
	struct client *c = slab_take(&f->clients);

	if (!c) {
		io_close(f->tick->loop, fd);
		if (f->quota)
			quota_put(f->quota);
		return NULL;
	}
	c->front = f;
	c->peer = *peer;
	task_init(&c->task, client_step);
	list_init(&c->node);
	list_init(&c->held);
	list_init(&c->idle_node);
	list_append(&f->unused, &c->idle_node);
	list_append(&f->all, &c->node);
	stat_add(&f->stats->connections, 1);
	stat_add(&f->stats->connections_idle, 1);
	conn_open(&c->conn, f->tick, &conn_events, fd, f->window);
	client_set_sending(c, f->timeouts.send_ms, f->timeouts.send_rate);
	http1_init(&c->http1, &client_stream_ops, &c->conn, &client_rules, c);
	c->http1.stream.limits = &f->limits;
	c->state = CLIENT_IDLE;
	c->http1.stream.since_ms = tick_event_ms(f->tick);
	client_begin_deadline(c);
	return c;
}

void client_evict(struct client *c)
{
	ASSERT(!c->http1.stream.task);
	if (c->state != CLIENT_ENDING)
		client_end(c, CONN_NOW);
}
