#include "cache.h"

#include <stdlib.h>

#include "cacheclient.h"

#define INBOX_WINDOW (64u << 10)

/* ---- commands --------------------------------------------------------------- */

static void command_drop(struct cache_client *c)
{
	buf_put(c->line);
	c->line = NULL;
	free(c->entry);
	c->entry = NULL;
}

static void start_waiting(struct cache_client *c)
{
	struct tick *tick = c->lab->options.tick;

	if (c->lab->options.delay_ms == 0 || c->command.verb == CACHE_QUIT) {
		c->state = CACHE_CLIENT_RESPONDING;
		return;
	}
	c->state = CACHE_CLIENT_WAITING;
	timer_set(&tick->wheel, &c->delay, tick->now_ms + c->lab->options.delay_ms);
}

static void set_error(struct cache_client *c, const char *complaint)
{
	c->command.verb = CACHE_WRONG;
	c->command.complaint = complaint;
}

static void command_received(struct cache_client *c)
{
	struct cache_command *m = &c->command;

	cache_command_parse(m, (struct slice){ c->line->data, c->line->end });
	c->data_n = 0;
	if (!m->has_data) {
		start_waiting(c);
		return;
	}
	if (m->verb != CACHE_WRONG) {
		c->entry = cache_entry_new(m->key, (uint32_t)m->length);
		if (!c->entry)
			set_error(c, "SERVER_ERROR out of memory storing object");
	}
	c->state = c->entry ? CACHE_CLIENT_FILLING : CACHE_CLIENT_DISCARDING;
	if (!c->entry)
		c->data_n = m->length + 2;
}

/* Each of these returns true if it made progress. */
static bool read_line(struct cache_client *c)
{
	struct slice s;
	const char *lf;
	size_t n;

	/* The previous response must leave space before the next command is read. */
	if (conn_push_space(&c->conn) == 0) {
		conn_await_space(&c->conn);
		return false;
	}
	s = conn_peek(&c->conn);
	lf = s.len > 0 ? memchr(s.ptr, '\n', s.len) : NULL;
	if (!lf && c->conn.inbox_bytes > s.len &&
	    conn_linearize(&c->conn, CACHE_LINE_MAX)) {
		s = conn_peek(&c->conn);
		lf = memchr(s.ptr, '\n', s.len);
	}
	n = lf ? (size_t)(lf - s.ptr) : s.len;
	if (n >= CACHE_LINE_MAX) {
		reply_line(c, "CLIENT_ERROR line too long");
		if (c->conn.state == CONN_OPEN)
			conn_close(&c->conn, CONN_LINGER, 1000);
		return false;
	}
	if (!lf)
		return false;
	c->line = reply_new(c, n + 1);
	if (!c->line)
		return false;
	c->line->end = (uint32_t)(n - (n > 0 && s.ptr[n - 1] == '\r'));
	memcpy(c->line->data, s.ptr, c->line->end);
	conn_consume(&c->conn, (uint32_t)n + 1);
	command_received(c);
	return true;
}

static bool read_data(struct cache_client *c)
{
	struct cache_entry *e = c->entry;
	struct slice s = conn_peek(&c->conn);
	uint64_t left = (uint64_t)e->value_len + 2 - c->data_n;
	uint32_t n = (uint32_t)(s.len < left ? s.len : left);

	if (n == 0)
		return false;
	memcpy(cache_entry_value(e) + c->data_n, s.ptr, n);
	conn_consume(&c->conn, n);
	c->data_n += n;
	if (n == left)
		start_waiting(c);
	return true;
}

static bool discard_data(struct cache_client *c)
{
	uint64_t n = conn_peek(&c->conn).len;

	if (n > c->data_n)
		n = c->data_n;
	if (n == 0)
		return false;
	conn_consume(&c->conn, (uint32_t)n);
	c->data_n -= n;
	if (c->data_n == 0)
		start_waiting(c);
	return true;
}

static bool advance(struct cache_client *c)
{
	switch (c->state) {
	case CACHE_CLIENT_READING:
		return read_line(c);
	case CACHE_CLIENT_FILLING:
		return read_data(c);
	case CACHE_CLIENT_DISCARDING:
		return discard_data(c);
	case CACHE_CLIENT_WAITING:
		return false;
	case CACHE_CLIENT_RESPONDING:
		if (!command_respond(c))
			return false;
		command_drop(c);
		c->state = CACHE_CLIENT_READING;
		return true;
	}
	return false;
}

/* ---- connections ------------------------------------------------------------ */

static void client_step(struct task *task)
{
	struct cache_client *c = CONTAINER(task, struct cache_client, task);

	while (c->conn.state == CONN_OPEN && !c->conn.error && advance(c))
		;
	if (c->conn.state != CONN_OPEN)
		return;
	/* After the end of input, commands in progress still get their responses. */
	if (c->conn.error)
		conn_close(&c->conn, CONN_NOW, 0);
	else if (c->conn.eof && c->state < CACHE_CLIENT_WAITING && !c->conn.space_awaited)
		conn_close(&c->conn, CONN_FLUSH, 1000);
}

static void client_changed(struct conn *conn)
{
	struct cache_client *c = CONTAINER(conn, struct cache_client, conn);

	tick_run(conn->tick, &c->task);
}

static void delay_over(struct timer *t)
{
	struct cache_client *c = CONTAINER(t, struct cache_client, delay);

	c->state = CACHE_CLIENT_RESPONDING;
	tick_run(c->conn.tick, &c->task);
}

static void client_closed(struct conn *conn)
{
	struct cache_client *c = CONTAINER(conn, struct cache_client, conn);
	struct cache_lab *lab = c->lab;

	task_stop(&c->task);
	timer_stop(&conn->tick->wheel, &c->delay);
	list_remove(&c->node);
	command_drop(c);
	slab_put(&lab->clients, c);
	quota_put(lab->options.clients);
}

static void client_accepted(struct listener *l, int fd, const struct peer *peer)
{
	static const struct conn_events events = { .changed = client_changed,
						   .dead = client_closed };
	struct cache_lab *lab = l->owner;
	struct cache_client *c = slab_take(&lab->clients);

	(void)peer;
	if (!c) {
		io_close(lab->options.tick->loop, fd);
		quota_put(lab->options.clients);
		return;
	}
	c->lab = lab;
	list_init(&c->node);
	list_append(&lab->open, &c->node);
	task_init(&c->task, client_step);
	conn_open(&c->conn, lab->options.tick, &events, fd, INBOX_WINDOW);
	timer_init(&c->delay, delay_over);
}

void cache_lab_start(struct cache_lab *lab, const struct cache_options *options)
{
	static const struct listener_events events = { .accepted = client_accepted };

	memset(lab, 0, sizeof(*lab));
	lab->options = *options;
	list_init(&lab->open);
	slab_init(&lab->clients, "cache_client", sizeof(struct cache_client), 0);
	listener_start(&lab->listener, options->tick, options->listener, options->clients,
		       &lab->stats, &events, lab);
}

void cache_lab_stop(struct cache_lab *lab)
{
	listener_stop(&lab->listener);
	LIST_EACH(&lab->open, node)
	{
		conn_close(&LIST_ITEM(node, struct cache_client, node)->conn, CONN_NOW,
			   0);
	}
}

bool cache_lab_idle(const struct cache_lab *lab)
{
	return listener_stopped(&lab->listener) && list_empty(&lab->open);
}

void cache_lab_done(struct cache_lab *lab)
{
	ASSERT(cache_lab_idle(lab));
	slab_done(&lab->clients);
}

void cache_lab_trim(struct cache_lab *lab)
{
	slab_trim(&lab->clients);
}
