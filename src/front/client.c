#include "front/client.h"

#include <string.h>

/* Requests of one connection that are answered in one tick before others get a turn. */
#define PIPELINE_BURST 16

/* How soon a FIN is seen behind bytes that are not received, as nobody takes them yet. */
#define LEFT_LOOK_MS 1000

/* Who has come so long ago, and has said nothing, gives way to others. */
#define FRESH_MS 1000

/* Of those that are idle so many are looked at whether they may give way. */
#define ROOM_LOOKS 64

/* An idle peer need only see that we go; a drain should not wait long for it. */
#define DRAIN_LINGER_MS 200

static void set_state(struct client *c, enum client_state state)
{
	struct worker_stats *stats = c->front->stats;

	if (c->state != CLIENT_IDLE && state == CLIENT_IDLE) {
		stat_add(&stats->connections_idle, 1);
		list_append(&c->front->idle, &c->idle_node);
	}
	if (c->state == CLIENT_IDLE && state != CLIENT_IDLE) {
		stat_sub(&stats->connections_idle, 1);
		list_remove(&c->idle_node);
	}
	c->state = (uint8_t)state;
	c->since_ms = c->front->tick->now_ms;
}

/* ---- deadlines ------------------------------------------------------------ */

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Its end would not be received. */
static bool is_blind(const struct client *c)
{
	return c->abort_on_fin && !client_half_closed(c) &&
	       (!conn_can_receive(&c->conn) || buf_scarce(io_bufs(c->front->tick->loop)));
}

static uint64_t next_look(const struct client *c)
{
	const struct client_timeouts *t = &c->front->timeouts;
	uint32_t ms = t->send_ms < t->receive_ms ? t->send_ms : t->receive_ms;

	return c->front->tick->now_ms + (is_blind(c) && ms > LEFT_LOOK_MS ? LEFT_LOOK_MS : ms);
}

/* Milliseconds until which the state asks for no step of the peer; see check_deadline(). */
static uint64_t state_deadline(const struct client *c)
{
	const struct client_timeouts *t = &c->front->timeouts;

	switch ((enum client_state)c->state) {
	case CLIENT_IDLE:
		/* The first request must come as soon as a head must; between two, idleness begins
		 * when the answer has left. */
		if (c->requests == 0)
			return c->since_ms + t->header_ms;
		return later(c->conn.sent_ms, c->since_ms) + t->idle_ms;
	case CLIENT_HEAD:
		return c->since_ms + t->header_ms;
	case CLIENT_BUSY:
		if (c->body_awaited)
			return later(c->conn.received_ms, c->since_ms) + t->receive_ms;
		return next_look(c);
	case CLIENT_ENDING:
		break;
	}
	return WHEEL_NEVER;
}

/* As long as it has not taken what was sent, that comes first. */
static uint64_t deadline(const struct client *c)
{
	if (c->state != CLIENT_ENDING && conn_unsent(&c->conn) > 0)
		return c->conn.sent_ms + c->front->timeouts.send_ms;
	return state_deadline(c);
}

/* One timer for all deadlines, looked at when it rings: progress only writes a time, and
 * a busy connection touches the wheel about once in the shortest timeout. As that is when
 * it looks again, no deadline that began meanwhile is missed. */
static void check_deadline(struct timer *timer)
{
	struct client *c = CONTAINER(timer, struct client, conn.timer);
	struct tick *tick = c->front->tick;
	uint64_t due = deadline(c);

	if (due == WHEEL_NEVER)
		return;
	if (is_blind(c) && io_peer_ended(tick->loop, c->conn.fd)) {
		c->fin_seen = true;
		tick_run(tick, &c->task);
	}
	if (due > tick->now_ms) {
		timer_set(&tick->wheel, timer, due);
		return;
	}
	if (conn_unsent(&c->conn) > 0 && conn_poll_delivery(&c->conn)) {
		timer_set(&tick->wheel, timer, deadline(c));
		return;
	}
	c->timed_out = true;
	tick_run(tick, &c->task);
}

/* A state began whose deadline may be nearer than what the timer stands at. */
static void expect(struct client *c)
{
	/* What was just queued will mostly be gone at once: the state's own deadline counts. */
	uint64_t due = state_deadline(c);
	struct timer *timer = &c->conn.timer;

	if (due != WHEEL_NEVER && (!timer_armed(timer) || due < timer->deadline_ms))
		timer_set(&c->front->tick->wheel, timer, due);
}

/* ---- life and death ------------------------------------------------------- */

static void conn_changed(struct conn *conn)
{
	struct client *c = CONTAINER(conn, struct client, conn);

	tick_run(c->front->tick, &c->task);
}

static void conn_dead(struct conn *conn)
{
	struct client *c = CONTAINER(conn, struct client, conn);
	struct front *f = c->front;

	f->events->closed(c);
	ASSERT(!c->exchange);
	task_stop(&c->task); /* last: what was let go may have run it once more */
	list_remove(&c->node);
	stat_sub(&f->stats->connections, 1);
	stat_add(&f->stats->received_bytes, conn->received);
	stat_add(&f->stats->sent_bytes, conn->sent);
	if (f->quota)
		quota_put(f->quota);
	slab_put(&f->clients, c);
}

static const struct conn_events conn_events = { .changed = conn_changed, .dead = conn_dead };

static void end(struct client *c, enum conn_end how)
{
	set_state(c, CLIENT_ENDING);
	task_stop(&c->task);
	conn_close(&c->conn, how, c->front->linger_ms);
}

/* What was queued before the break still arrives: whole answers, and this one as far as it
 * came. Where its framing tells that it is not whole, the connection ends in good order. */
void client_abort_response(struct client *c)
{
	bool tells = (c->writer.ended || c->writer.framing != FRAMING_CLOSE) && !c->tunnel;

	c->exchange = NULL;
	if (client_responsive(c))
		end(c, tells ? CONN_LINGER : CONN_BREAK);
	else
		end(c, CONN_RESET);
}

void client_close_without_response(struct client *c)
{
	c->exchange = NULL;
	end(c, CONN_LINGER);
}

/* ---- requests ------------------------------------------------------------- */

static void refuse(struct client *c, enum fault fault)
{
	set_state(c, CLIENT_BUSY);
	c->front->events->head_refused(c, fault);
	if (c->state != CLIENT_ENDING)
		end(c, CONN_LINGER);
}

/* Reads the next head; false: there is none to be had now. */
static bool next_request(struct client *c)
{
	struct front *f = c->front;
	struct head *h = f->scratch;

	switch (reader_request(&c->reader, &c->conn, &f->limits, h)) {
	case VERDICT_OK:
		c->requests++;
		stat_add(&f->stats->requests, 1);
		set_state(c, CLIENT_BUSY);
		f->events->head_received(c, h);
		expect(c);
		return true;
	case VERDICT_MORE:
		break;
	case VERDICT_BAD:
		refuse(c, h->fault);
		return false;
	}
	if (c->conn.eof || client_lost(c)) {
		end(c, conn_unsent(&c->conn) > 0 ? CONN_FLUSH : CONN_NOW);
	} else if (c->state == CLIENT_IDLE &&
		   reader_skip_empty_lines(&c->reader, &c->conn)) {
		set_state(c, CLIENT_HEAD);
		expect(c);
	}
	return false;
}

/* What has come waits for others, as long as that takes: it must not hold what they need. */
static void wait_aside(struct client *c)
{
	conn_compact(&c->conn);
	conn_limit_inbox(&c->conn, true);
}

/* Nothing is being answered, and a deadline passed. */
static void too_slow(struct client *c)
{
	if (c->state == CLIENT_HEAD)
		refuse(c, FAULT_NONE);
	else
		end(c, CONN_NOW);
}

static void step(struct task *task)
{
	struct client *c = CONTAINER(task, struct client, task);

	for (unsigned burst = 0; burst < PIPELINE_BURST; burst++) {
		if (c->state == CLIENT_ENDING)
			return;
		if (c->exchange) {
			c->front->events->step(c);
			if (!c->exchange)
				continue;
			/* Pipelined requests wait for this one. */
			if ((reader_ended(&c->reader) || !c->body_flowing) && !c->tunnel)
				wait_aside(c);
			if (is_blind(c))
				expect(c);
			return;
		}
		if (c->timed_out) {
			too_slow(c);
			return;
		}
		/* Pipelined answers wait for each other's room. */
		if (c->conn.inbox && !client_lost(c) &&
		    conn_request_space(&c->conn) == 0) {
			wait_aside(c);
			return;
		}
		if (c->conn.inbox_limited)
			conn_limit_inbox(&c->conn, false);
		if (!next_request(c))
			return;
	}
	tick_run(c->front->tick, task);
}

void client_begin_body(struct client *c, const struct head *h)
{
	c->close_requested = !h->keep_alive;
	reader_begin_body(&c->reader, &c->conn, h->framing, h->length);
}

void client_begin_tunnel(struct client *c)
{
	c->tunnel = true;
	conn_limit_inbox(&c->conn, false);
}

void client_hold_body(struct client *c)
{
	c->body_flowing = c->body_awaited = false;
}

enum body_event client_body(struct client *c, struct head *trailers, struct piece *p)
{
	enum body_event event =
		reader_body(&c->reader, &c->conn, &c->front->limits, trailers, p);

	if (!c->body_flowing) {
		c->body_flowing = true;
		conn_limit_inbox(&c->conn, false);
	}
	if (event == BODY_MORE && !c->body_awaited) {
		c->body_awaited = true;
		c->since_ms = c->front->tick->now_ms;
	} else if (event != BODY_MORE) {
		c->body_awaited = false;
	}
	return event;
}

bool client_discard_body(struct client *c)
{
	struct front *f = c->front;

	if (!client_may_keep_alive(c))
		return false;
	return reader_ended(&c->reader) ||
	       reader_discard_body(&c->reader, &c->conn, &f->limits, f->scratch);
}

void client_finish_response(struct client *c, bool keep)
{
	/* Who asked for the end says no more (RFC 9112 9.6), but old ones a CRLF behind a body
	 * (2.2), which may be on its way. */
	bool heard = c->close_requested && c->reader.body.framing == FRAMING_NONE &&
		     !c->conn.inbox;

	c->exchange = NULL;
	c->body_awaited = c->body_flowing = c->abort_on_fin = false;
	if (keep && !client_lost(c)) {
		reader_init(&c->reader);
		set_state(c, CLIENT_IDLE);
		expect(c);
		/* Pipelined requests, or the end, may be at hand already. */
		if (c->conn.inbox || c->conn.eof)
			tick_run(c->front->tick, &c->task);
		return;
	}
	/* Unread bytes would turn the close into a reset that overtakes the answer. */
	end(c, heard ? CONN_FLUSH : CONN_LINGER);
}

void client_evict(struct client *c)
{
	ASSERT(!c->exchange);
	if (c->state != CLIENT_ENDING)
		end(c, CONN_NOW);
}

/* ---- all clients of a worker ---------------------------------------------- */

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
	task_init(&c->task, step);
	list_init(&c->node);
	list_init(&c->held);
	list_init(&c->idle_node);
	list_append(&f->fresh, &c->idle_node);
	list_append(&f->all, &c->node);
	reader_init(&c->reader);
	stat_add(&f->stats->connections, 1);
	stat_add(&f->stats->connections_idle, 1);
	conn_open(&c->conn, f->tick, &conn_events, fd, f->window);
	c->conn.send_ms = f->timeouts.send_ms;
	timer_init(&c->conn.timer, check_deadline);
	c->state = CLIENT_IDLE;
	c->since_ms = f->tick->now_ms;
	expect(c);
	return c;
}

void front_init(struct front *f)
{
	slab_init(&f->clients, "client", sizeof(struct client), 0);
	list_init(&f->all);
	list_init(&f->idle);
	list_init(&f->fresh);
}

void front_done(struct front *f)
{
	ASSERT(list_empty(&f->all));
	slab_done(&f->clients);
}

void front_drain(struct front *f)
{
	f->draining = true;
	LIST_EACH(&f->all, node) {
		struct client *c = LIST_ITEM(node, struct client, node);

		if (c->state == CLIENT_IDLE &&
		    !reader_skip_empty_lines(&c->reader, &c->conn)) {
			set_state(c, CLIENT_ENDING);
			conn_close(&c->conn, CONN_LINGER, conn_unsent(&c->conn) > 0 ?
				   f->linger_ms : DRAIN_LINGER_MS);
		}
	}
}

static bool is_evictable(struct client *c)
{
	return !reader_skip_empty_lines(&c->reader, &c->conn) &&
	       conn_unsent(&c->conn) == 0;
}

static struct client *eviction_candidate(struct front *f)
{
	unsigned looks = 0;

	LIST_EACH(&f->idle, node) {
		struct client *c = LIST_ITEM(node, struct client, idle_node);

		if (is_evictable(c))
			return c;
		if (++looks == ROOM_LOOKS)
			break;
	}
	LIST_EACH(&f->fresh, node) {
		struct client *c = LIST_ITEM(node, struct client, idle_node);

		if (f->tick->now_ms - c->since_ms < FRESH_MS || ++looks > 2 * ROOM_LOOKS)
			break;
		if (is_evictable(c))
			return c;
	}
	return NULL;
}

bool front_evict_idle(struct front *f)
{
	struct client *c = eviction_candidate(f);

	if (!c)
		return false;
	stat_add(&f->stats->connections_evicted, 1);
	client_evict(c);
	return true;
}

void front_drain_gracefully(struct front *f)
{
	f->draining = true;
}

void front_close(struct front *f)
{
	LIST_EACH(&f->all, node) {
		struct client *c = LIST_ITEM(node, struct client, node);
		/* What is cut off must not look whole. */
		bool cut = c->exchange ||
			   (c->state == CLIENT_ENDING && conn_unsent(&c->conn) > 0);

		set_state(c, CLIENT_ENDING);
		task_stop(&c->task);
		if (c->conn.state != CONN_DEAD)
			conn_close(&c->conn, cut ? CONN_RESET : CONN_NOW, 0);
	}
}
