#include "lib/memcacherig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "io/sim.h"

#define BACKLOG 16384
#define FAKE_WINDOW (64u << 10)
/* Longer than the simulated network takes to deliver bytes. */
#define PAUSE_MS 200

struct fake_conn {
	struct conn conn;
	struct task task;
	struct fake_memcached *fake;
	struct list node;
	struct timer timer; /* the pause inside of a reply, or the delay before it */
	struct slice rest;  /* of the current reply, to be sent after the pause */
	char *reply;
	unsigned answers; /* how many replies are due although the server is silent */
	size_t line_n;    /* > 0: a request waits for `delay_ms` */
	char line[MEMCACHE_REQUEST_MAX];
};

/* ---- replies ---------------------------------------------------------------- */

static size_t value_of(char *out, size_t room, struct slice key, size_t value_bytes)
{
	int n;

	if (value_bytes == 0) {
		n = snprintf(out, room, "value of %.*s", SLICE_ARG(key));
		return (size_t)n;
	}
	for (size_t i = 0; i < value_bytes; i++)
		out[i] = (char)('a' + (i * 7 + (unsigned char)key.ptr[key.len - 1]) % 26);
	return value_bytes;
}

static void reply_append(char *out, size_t *n, struct slice s)
{
	memcpy(out + *n, s.ptr, s.len);
	*n += s.len;
}

/* The reply to a request line, in memory that the caller frees. */
static struct slice reply_to(const struct fake_memcached *f, struct slice line)
{
	bool meta = slice_starts(line, SLICE("mg "));
	struct slice key = slice_after(line, meta ? 3 : 4);
	size_t room = 1024 + f->value_bytes + f->raw.len, n = 0, value_n;
	char *out = malloc(room), *value = malloc(room), head[400];

	assert_true(out && value);
	if (meta)
		key.len -= 2;
	if (f->raw.len > 0) {
		reply_append(out, &n, f->raw);
	} else if (slice_starts(key, SLICE("miss"))) {
		reply_append(out, &n, meta ? SLICE("EN\r\n") : SLICE("END\r\n"));
	} else {
		value_n = value_of(value, room, key, f->value_bytes);
		if (meta)
			snprintf(head, sizeof(head), "VA %zu\r\n", value_n);
		else
			snprintf(head, sizeof(head), "VALUE %.*s 0 %zu\r\n",
				 SLICE_ARG(key), value_n);
		reply_append(out, &n, slice_of(head));
		reply_append(out, &n, (struct slice){ value, value_n });
		reply_append(out, &n, meta ? SLICE("\r\n") : SLICE("\r\nEND\r\n"));
	}
	free(value);
	return (struct slice){ out, n };
}

/* Closes the connection if there is no memory, as in some tests. */
static void fake_conn_send(struct fake_conn *fc, struct slice bytes)
{
	struct buf *b = buf_new(io_bufs(fc->fake->rig->tick.loop), bytes.len);
	struct piece p;

	if (b) {
		memcpy(b->data, bytes.ptr, bytes.len);
		p = (struct piece){ b, b->data, (uint32_t)bytes.len };
		if (conn_push(&fc->conn, &p))
			return;
		buf_put(b);
	}
	conn_close(&fc->conn, CONN_NOW, 0);
}

static void fake_conn_reply(struct fake_conn *fc)
{
	struct fake_memcached *f = fc->fake;
	struct slice reply = reply_to(f, (struct slice){ fc->line, fc->line_n });

	fc->line_n = 0;
	if (f->cut > 0 && f->cut < reply.len) {
		fake_conn_send(fc, (struct slice){ reply.ptr, f->cut });
		fc->reply = (char *)(uintptr_t)reply.ptr;
		fc->rest = slice_after(reply, f->cut);
		timer_set(&f->rig->tick.wheel, &fc->timer,
			  f->rig->tick.now_ms + PAUSE_MS);
		return;
	}
	fake_conn_send(fc, reply);
	free((char *)(uintptr_t)reply.ptr);
}

/* ---- a connection ----------------------------------------------------------- */

/* Reads one request, if one is complete and may be replied to now. It is copied at once, so that
 * thousands of waiting requests hold no buffers. */
static bool fake_conn_read_request(struct fake_conn *fc)
{
	struct fake_memcached *f = fc->fake;
	struct slice s;
	const char *lf;

	if (fc->rest.len > 0 || fc->line_n > 0 || (f->silent && fc->answers == 0) ||
	    (f->silent_after && f->requests >= f->silent_after))
		return false;
	if (conn_push_space(&fc->conn) == 0) {
		conn_await_space(&fc->conn);
		return false;
	}
	if (!conn_linearize(&fc->conn, 1024))
		return false;
	s = conn_peek(&fc->conn);
	lf = s.len > 0 ? memchr(s.ptr, '\n', s.len) : NULL;
	if (!lf)
		return false;
	f->requests++;
	if (fc->answers > 0)
		fc->answers--;
	fc->line_n = (size_t)(lf - s.ptr) - 1;
	assert_true(fc->line_n <= sizeof(fc->line));
	memcpy(fc->line, s.ptr, fc->line_n);
	conn_consume(&fc->conn, (uint32_t)fc->line_n + 2);
	if (f->closes)
		conn_close(&fc->conn, CONN_NOW, 0);
	else if (f->delay_ms > 0)
		timer_set(&f->rig->tick.wheel, &fc->timer,
			  f->rig->tick.now_ms + f->delay_ms);
	else
		fake_conn_reply(fc);
	return fc->conn.state == CONN_OPEN;
}

static void fake_conn_step(struct task *task)
{
	struct fake_conn *fc = CONTAINER(task, struct fake_conn, task);

	if (fc->conn.state != CONN_OPEN)
		return;
	while (fake_conn_read_request(fc))
		;
	if (fc->conn.state == CONN_OPEN && (fc->conn.eof || fc->conn.error))
		conn_close(&fc->conn, CONN_NOW, 0);
}

static void fake_conn_changed(struct conn *c)
{
	struct fake_conn *fc = CONTAINER(c, struct fake_conn, conn);

	fc->fake->sends++;
	tick_run(c->tick, &fc->task);
}

static void fake_conn_dead(struct conn *c)
{
	struct fake_conn *fc = CONTAINER(c, struct fake_conn, conn);

	timer_stop(&c->tick->wheel, &fc->timer);
	task_stop(&fc->task);
	list_remove(&fc->node);
	fc->fake->conns_n--;
	free(fc->reply);
	slab_put(&fc->fake->rig->fake_conns, fc);
}

static void fake_conn_pause_fired(struct timer *t)
{
	struct fake_conn *fc = CONTAINER(t, struct fake_conn, timer);

	if (fc->conn.state != CONN_OPEN)
		return;
	if (fc->line_n > 0)
		fake_conn_reply(fc);
	else if (fc->rest.len > 0) {
		fake_conn_send(fc, fc->rest);
		fc->rest.len = 0;
		free(fc->reply);
		fc->reply = NULL;
	}
	tick_run(&fc->fake->rig->tick, &fc->task);
}

static void fake_accepted(struct io_op *op, int res, unsigned flags)
{
	static const struct conn_events events = { .changed = fake_conn_changed,
						   .dead = fake_conn_dead };
	struct fake_memcached *f = CONTAINER(op, struct fake_memcached, accept.op);
	struct fake_conn *fc;

	(void)flags;
	if (res < 0)
		return;
	io_accept(f->rig->tick.loop, &f->accept, f->listener);
	fc = slab_take(&f->rig->fake_conns);
	if (!fc) {
		io_close(f->rig->tick.loop, res);
		return;
	}
	fc->fake = f;
	task_init(&fc->task, fake_conn_step);
	timer_init(&fc->timer, fake_conn_pause_fired);
	list_init(&fc->node);
	list_append(&f->conns, &fc->node);
	f->conns_n++;
	f->accepted++;
	conn_open(&fc->conn, &f->rig->tick, &events, res, FAKE_WINDOW);
	if (f->rig->tls)
		assert_true(conn_secure(&fc->conn, f->rig->tls));
}

/* ---- a server --------------------------------------------------------------- */

static void fake_open_listener(struct fake_memcached *f, int backlog)
{
	const struct config_address *a = &f->rig->servers[f - f->rig->fakes].addresses[0];

	f->listener = sim_listen(f->rig->tick.loop, (const struct sockaddr *)&a->sa,
				 a->len, backlog);
	assert_true(f->listener >= 0);
}

void fake_listen(struct fake_memcached *f)
{
	fake_open_listener(f, BACKLOG);
	io_op_init(&f->accept.op, fake_accepted);
	io_accept(f->rig->tick.loop, &f->accept, f->listener);
}

void fake_unlisten(struct fake_memcached *f)
{
	if (f->listener < 0)
		return;
	io_close(f->rig->tick.loop, f->listener);
	f->listener = -1;
	while (io_busy(&f->accept.op))
		tick_once(&f->rig->tick);
	if (f->stalled > 0)
		io_close(f->rig->tick.loop, f->stalled);
	f->stalled = 0;
}

static void stalled(struct io_op *op, int res, unsigned flags)
{
	(void)flags;
	CONTAINER(op, struct fake_memcached, stalling.op)->stalled = res;
}

void fake_stall(struct fake_memcached *f)
{
	const struct config_address *a = &f->rig->servers[f - f->rig->fakes].addresses[0];

	fake_unlisten(f);
	fake_open_listener(f, 1);
	io_op_init(&f->stalling.op, stalled);
	io_connect(f->rig->tick.loop, &f->stalling, (const struct sockaddr *)&a->sa,
		   a->len);
	while (io_busy(&f->stalling.op))
		tick_once(&f->rig->tick);
	assert_true(f->stalled > 0);
}

void fake_close_all(struct fake_memcached *f, enum conn_end end)
{
	LIST_EACH(&f->conns, node)
		conn_close(&LIST_ITEM(node, struct fake_conn, node)->conn, end, 0);
}

void fake_close_first(struct fake_memcached *f)
{
	conn_close(&LIST_ITEM(f->conns.next, struct fake_conn, node)->conn, CONN_NOW, 0);
}

void fake_send_all(struct fake_memcached *f, struct slice bytes)
{
	LIST_EACH(&f->conns, node)
		fake_conn_send(LIST_ITEM(node, struct fake_conn, node), bytes);
}

void fake_reply_all(struct fake_memcached *f)
{
	f->silent = false;
	f->silent_after = 0;
	LIST_EACH(&f->conns, node)
		tick_run(&f->rig->tick, &LIST_ITEM(node, struct fake_conn, node)->task);
}

void fake_reply_one(struct fake_memcached *f)
{
	LIST_EACH(&f->conns, node) {
		struct fake_conn *fc = LIST_ITEM(node, struct fake_conn, node);

		fc->answers = 1;
		tick_run(&f->rig->tick, &fc->task);
	}
}

/* ---- the rig ---------------------------------------------------------------- */

static void call_answered(struct memcache_call *call)
{
	struct memcacherig *r = call->owner;

	assert_true(memcacherig_decided(call));
	r->answered++;
	r->last_answered = call;
	if (r->forget_when_answered && *r->forget_when_answered)
		memcache_forget(r->forget_when_answered);
	if (r->forget_hits && call->state == CALL_HIT)
		memcache_forget(&call);
}

static void set_server(struct memcacherig *r, unsigned i)
{
	static const char *const names[MEMCACHERIG_SERVERS] = { "a", "b", "c" };
	struct sockaddr_in *in = (struct sockaddr_in *)&r->addresses[i][0].sa;

	r->servers[i].name = r->servers[i].address = names[i];
	r->servers[i].weight = 1;
	r->servers[i].address_n = 1;
	r->servers[i].addresses = r->addresses[i];
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in->sin_port = htons((uint16_t)(MEMCACHERIG_PORT + i));
	r->servers[i].addresses[0].len = sizeof(*in);
}

static void new_memcache(struct memcacherig *r)
{
	struct memcache_options o = { .tick = &r->tick,
				      .upstream = &r->upstream,
				      .stats = &r->stats,
				      .descriptors = &r->descriptors,
				      .queue_quota = &r->queue_quota,
				      .registry = r->registry,
				      .done = call_answered };

	r->memcache = memcache_new(&o);
	assert_non_null(r->memcache);
}

static void end_memcache(struct memcacherig *r)
{
	memcache_close(r->memcache);
	for (unsigned i = 0; i < 10000 && !memcache_idle(r->memcache); i++)
		tick_once(&r->tick);
	assert_true(memcache_idle(r->memcache));
	memcache_free(r->memcache);
	assert_int_equal(r->stats.connections, 0);
	assert_int_equal(r->stats.connections_idle, 0);
	assert_int_equal(r->stats.waiting, 0);
	assert_int_equal(r->descriptors.used, 0);
	assert_int_equal(r->queue_quota.used, 0);
	REGISTRY_EACH(r->registry, row) {
		assert_int_equal(registry_record(r->registry, row, 0)->in_flight, 0);
		assert_int_equal(row->users, 0);
	}
}

void memcacherig_open_servers(struct memcacherig *r, uint64_t seed, unsigned servers)
{
	struct io_options o = { .engine = IO_ENGINE_SIM, .buffers = 4096, .seed = seed };

	memset(r, 0, sizeof(*r));
	assert_int_equal(tick_init(&r->tick, &o), 0);
	slab_init(&r->fake_conns, "fake_conn", sizeof(struct fake_conn), 0);
	r->upstream = (struct config_upstream){
		.name = "test",
		.protocol = CONFIG_MEMCACHED,
		.server_n = servers,
		.servers = r->servers,
		.connect_timeout_ms = 1000,
		.queue = 1024,
		.queue_timeout_ms = 1000,
		.timeout_ms = 2000,
		.pipeline = 64,
		.links = 4,
		.keepalive = 256,
		.value_max = 1 << 20,
	};
	quota_init(&r->descriptors, 1000);
	quota_init(&r->queue_quota, 1024);
	r->registry = registry_new("test", 1, NULL, NULL);
	assert_non_null(r->registry);
	for (unsigned i = 0; i < servers; i++) {
		set_server(r, i);
		r->fakes[i].rig = r;
		list_init(&r->fakes[i].conns);
		fake_listen(&r->fakes[i]);
	}
	new_memcache(r);
}

void memcacherig_open(struct memcacherig *r, uint64_t seed)
{
	memcacherig_open_servers(r, seed, 1);
}

void memcacherig_reconfigure(struct memcacherig *r)
{
	end_memcache(r);
	new_memcache(r);
}

void memcacherig_close(struct memcacherig *r)
{
	end_memcache(r);
	for (unsigned i = 0; i < r->upstream.server_n; i++) {
		struct fake_memcached *f = &r->fakes[i];

		fake_unlisten(f);
		fake_close_all(f, CONN_NOW);
		while (f->conns_n > 0)
			tick_once(&r->tick);
	}
	assert_int_equal(sim_open_sockets(r->tick.loop), 0);
	slab_done(&r->fake_conns);
	registry_free(r->registry);
	tick_done(&r->tick);
}

struct memcache_call *memcacherig_get(struct memcacherig *r, const char *key)
{
	struct memcache_call *call = memcache_get(r->memcache, MEMCACHE_GET,
						  slice_of(key), r);

	assert_non_null(call);
	return call;
}

static void memcacherig_run_fired(struct timer *t)
{
	(void)t;
}

void memcacherig_run(struct memcacherig *r, uint32_t ms)
{
	timer_init(&r->pause, memcacherig_run_fired);
	timer_set(&r->tick.wheel, &r->pause, r->tick.now_ms + ms);
	while (timer_armed(&r->pause))
		tick_once(&r->tick);
}

bool memcacherig_decided(const struct memcache_call *call)
{
	return call->state != CALL_WAITING && call->state != CALL_SENT;
}

void memcacherig_wait(struct memcacherig *r, const struct memcache_call *call)
{
	uint64_t until_ms = r->tick.now_ms + 60000;

	while (!memcacherig_decided(call) && r->tick.now_ms < until_ms)
		tick_once(&r->tick);
	assert_true(memcacherig_decided(call));
}

void memcacherig_assert_value(struct memcache_call *call, size_t value_bytes)
{
	struct slice key = { call->key, call->key_len };
	char *expected = malloc(1024 + value_bytes);
	size_t n, at = 0;
	struct piece p;

	assert_non_null(expected);
	assert_int_equal(call->state, CALL_HIT);
	n = value_of(expected, 1024 + value_bytes, key, value_bytes);
	assert_int_equal(call->length, n);
	while (memcache_take(call, &p)) {
		assert_true(at + p.len <= n);
		assert_memory_equal(p.ptr, expected + at, p.len);
		at += p.len;
		piece_put(&p);
	}
	assert_int_equal(at, n);
	free(expected);
}
