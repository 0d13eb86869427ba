/* The lab's memcached. It is not part of the library, so its sources are included. */
#include "../../src/lab/cache.c"
#include "../../src/lab/cachecommand.c"
#include "../../src/lab/cachereply.c"
#include "../../src/lab/cachestore.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "io/sim.h"

#define PORT 11212
#define RECEIVED_MAX (3u << 20)
#define PAUSE_MS 200

/* A peer that sends given bytes and keeps what it receives. */
struct talker {
	struct conn conn;
	struct io_connect connect;
	bool connected, dead;
	char *received;
	size_t received_n;
};

struct cache_scene {
	struct tick tick;
	struct sockaddr_in addr;
	struct quota clients;
	struct cache_store *store;
	struct cache_lab lab;
	struct timer pause;
};

static void talker_changed(struct conn *c)
{
	struct talker *t = CONTAINER(c, struct talker, conn);
	struct slice s;

	while ((s = conn_peek(c)).len > 0) {
		assert_true(t->received_n + s.len <= RECEIVED_MAX);
		memcpy(t->received + t->received_n, s.ptr, s.len);
		t->received_n += s.len;
		conn_consume(c, (uint32_t)s.len);
	}
}

static void talker_dead(struct conn *c)
{
	CONTAINER(c, struct talker, conn)->dead = true;
}

static void talker_connected(struct io_op *op, int res, unsigned flags)
{
	static const struct conn_events events = { .changed = talker_changed, .dead = talker_dead };
	struct talker *t = CONTAINER(op, struct talker, connect.op);
	struct cache_scene *s =
		t->conn.tick ? CONTAINER(t->conn.tick, struct cache_scene, tick) : NULL;

	(void)flags;
	assert_true(s && res >= 0);
	conn_open(&t->conn, &s->tick, &events, res, 1u << 20);
	t->connected = true;
}

static void talker_start(struct cache_scene *s, struct talker *t)
{
	memset(t, 0, sizeof(*t));
	t->received = malloc(RECEIVED_MAX);
	assert_non_null(t->received);
	t->conn.tick = &s->tick;
	io_op_init(&t->connect.op, talker_connected);
	io_connect(s->tick.loop, &t->connect, (struct sockaddr *)&s->addr,
		   sizeof(s->addr));
	while (!t->connected)
		tick_once(&s->tick);
}

static void talker_say(struct talker *t, const char *bytes, size_t n)
{
	struct buf *b;
	struct piece p;

	if (n == 0)
		return;
	b = buf_new(io_bufs(t->conn.tick->loop), n);
	assert_non_null(b);
	memcpy(b->data, bytes, n);
	p = (struct piece){ b, b->data, (uint32_t)n };
	assert_true(conn_push(&t->conn, &p));
}

static void talker_end(struct cache_scene *s, struct talker *t)
{
	conn_close(&t->conn, CONN_NOW, 0);
	while (!t->dead)
		tick_once(&s->tick);
	free(t->received);
}

static void pause_over(struct timer *t)
{
	(void)t;
}

static void run(struct cache_scene *s, uint32_t ms)
{
	timer_init(&s->pause, pause_over);
	timer_set(&s->tick.wheel, &s->pause, s->tick.now_ms + ms);
	while (timer_armed(&s->pause))
		tick_once(&s->tick);
}

static void assert_heard(struct talker *t, const char *expected, size_t n)
{
	if (t->received_n != n || memcmp(t->received, expected, n) != 0)
		fail_msg("heard %zu bytes: %.*s; expected: %.*s", t->received_n,
			 (int)t->received_n, t->received, (int)n, expected);
	t->received_n = 0;
}

static void scene_open(struct cache_scene *s, uint32_t delay_ms, uint32_t buffers)
{
	struct io_options o = { .engine = IO_ENGINE_SIM, .buffers = buffers, .seed = 1 };
	int listener;

	memset(s, 0, sizeof(*s));
	assert_int_equal(tick_init(&s->tick, &o), 0);
	s->addr.sin_family = AF_INET;
	s->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->addr.sin_port = htons(PORT);
	listener = sim_listen(s->tick.loop, (struct sockaddr *)&s->addr, sizeof(s->addr),
			      16384);
	assert_true(listener >= 0);
	quota_init(&s->clients, 20000);
	s->store = cache_store_new();
	assert_non_null(s->store);
	assert_true(cache_store_set(s->store, SLICE("foo"), SLICE("bar")));
	cache_lab_start(&s->lab, &(struct cache_options){ .tick = &s->tick,
							  .listener = listener,
							  .delay_ms = delay_ms,
							  .store = s->store,
							  .clients = &s->clients });
}

static void scene_close(struct cache_scene *s)
{
	cache_lab_stop(&s->lab);
	while (!cache_lab_idle(&s->lab))
		tick_once(&s->tick);
	cache_lab_done(&s->lab);
	assert_int_equal(s->clients.used, 0);
	cache_store_free(s->store);
	assert_int_equal(sim_open_sockets(s->tick.loop), 0);
	tick_done(&s->tick);
}

/* ---- conversations ---------------------------------------------------------- */

#define KEY250                                                                                \
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" \
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" \
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

#define TALK(question, answer)                 \
	{                                      \
		SLICE(question), SLICE(answer) \
	}

/* Each on a new server that holds foo = bar, with cas 1. */
static const struct {
	struct slice question, answer;
} talks[] = {
	TALK("get foo\r\n", "VALUE foo 0 3\r\nbar\r\nEND\r\n"),
	TALK("get foo\n", "VALUE foo 0 3\r\nbar\r\nEND\r\n"),
	TALK("get none\r\n", "END\r\n"),
	TALK("get none foo foo\r\n",
	     "VALUE foo 0 3\r\nbar\r\nVALUE foo 0 3\r\nbar\r\nEND\r\n"),
	TALK("gets foo\r\n", "VALUE foo 0 3 1\r\nbar\r\nEND\r\n"),
	TALK("get foo\r\nget none\r\nget foo\r\n",
	     "VALUE foo 0 3\r\nbar\r\nEND\r\nEND\r\nVALUE foo 0 3\r\nbar\r\nEND\r\n"),
	TALK("get\r\n", "ERROR\r\n"),
	TALK("get " KEY250 "\r\n", "END\r\n"),
	TALK("get " KEY250 "k\r\nmn\r\n",
	     "CLIENT_ERROR bad command line format\r\nMN\r\n"),
	TALK("get a\x01\r\n", "CLIENT_ERROR bad command line format\r\n"),

	TALK("set k 7 0 5\r\nhello\r\nget k\r\n",
	     "STORED\r\nVALUE k 7 5\r\nhello\r\nEND\r\n"),
	TALK("set k 0 0 0\r\n\r\nget k\r\n", "STORED\r\nVALUE k 0 0\r\n\r\nEND\r\n"),
	TALK("set foo 0 0 2\r\nab\r\ngets foo\r\n",
	     "STORED\r\nVALUE foo 0 2 2\r\nab\r\nEND\r\n"),
	TALK("set k 0 0 1 noreply\r\na\r\nget k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n"),
	TALK("set k 0 -1 1\r\na\r\nget k\r\n", "STORED\r\nEND\r\n"),
	TALK("set k 0 0 2\r\nabcd\r\nmn\r\n",
	     "CLIENT_ERROR bad data chunk\r\nERROR\r\nMN\r\n"),
	TALK("set k 0 0\r\nmn\r\n", "CLIENT_ERROR bad command line format\r\nMN\r\n"),
	TALK("set k 0 0 -1\r\nmn\r\n", "CLIENT_ERROR bad command line format\r\nMN\r\n"),
	TALK("set k x 0 1\r\nmn\r\n", "CLIENT_ERROR bad command line format\r\nMN\r\n"),

	TALK("delete foo\r\nget foo\r\ndelete foo\r\n",
	     "DELETED\r\nEND\r\nNOT_FOUND\r\n"),
	TALK("delete foo noreply\r\nget foo\r\n", "END\r\n"),
	TALK("delete foo 5\r\n", "CLIENT_ERROR bad command line format\r\n"),

	TALK("mg foo v\r\n", "VA 3\r\nbar\r\n"),
	TALK("mg foo\r\n", "HD\r\n"),
	TALK("mg foo v s k f t c O1a q\r\n", "VA 3 s3 kfoo f0 t-1 c1 O1a\r\nbar\r\n"),
	TALK("mg none v Oz\r\n", "EN\r\n"),
	TALK("mg none v q\r\nmn\r\n", "MN\r\n"),
	TALK("mg foo x\r\n", "CLIENT_ERROR invalid flag\r\n"),
	TALK("mg foo v v\r\n", "CLIENT_ERROR duplicate flag\r\n"),
	TALK("mg foo O123456789012345678901234567890123\r\n",
	     "CLIENT_ERROR opaque token too long\r\n"),
	TALK("mg\r\n", "CLIENT_ERROR bad command line format\r\n"),
	TALK("ms k 3 F9 T60 Oq\r\nabc\r\nmg k v f t c\r\n",
	     "HD Oq\r\nVA 3 f9 t60 c2\r\nabc\r\n"),
	TALK("ms k 3 q\r\nabc\r\nmg k v\r\n", "VA 3\r\nabc\r\n"),
	TALK("ms foo 1 C1\r\nx\r\nms foo 1 C1\r\ny\r\nms new 1 C1 q k\r\nz\r\nmg foo v\r\n",
	     "HD\r\nEX\r\nNF knew\r\nVA 1\r\nx\r\n"),
	TALK("ms k x\r\nmn\r\n", "CLIENT_ERROR bad data chunk\r\nMN\r\n"),
	TALK("ms k 3 Z\r\nabc\r\nmn\r\n", "CLIENT_ERROR invalid flag\r\nMN\r\n"),
	TALK("md foo C9\r\nmd foo O7\r\nmd foo\r\nmd foo q\r\nmn\r\n",
	     "EX\r\nHD O7\r\nNF\r\nMN\r\n"),

	TALK("version\r\n", "VERSION 1.6.0-fairlead-lab\r\n"),
	TALK("mn\r\nquit\r\nmn\r\n", "MN\r\n"),
	TALK("\r\n", "ERROR\r\n"),
	TALK("GET foo\r\n", "ERROR\r\n"),
	TALK("flush_all\r\nget foo\r\n", "ERROR\r\nVALUE foo 0 3\r\nbar\r\nEND\r\n"),
};

static void hold_talk(size_t i, size_t cut)
{
	struct slice q = talks[i].question;
	struct cache_scene s;
	struct talker t;

	scene_open(&s, 0, 64);
	talker_start(&s, &t);
	talker_say(&t, q.ptr, cut);
	if (cut > 0)
		run(&s, PAUSE_MS);
	talker_say(&t, q.ptr + cut, q.len - cut);
	run(&s, 2 * PAUSE_MS);
	assert_heard(&t, talks[i].answer.ptr, talks[i].answer.len);
	talker_end(&s, &t);
	scene_close(&s);
}

static void talks_cut_at_every_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(talks); i++) {
		for (size_t cut = 0; cut < talks[i].question.len; cut++)
			hold_talk(i, cut);
	}
}

/* 1 MiB is stored and read back; one byte more is read, dropped and refused. */
static void large_values(void **state)
{
	char *set = malloc(CACHE_VALUE_MAX + 100);
	struct cache_scene s;
	struct talker t;
	int head;

	(void)state;
	assert_non_null(set);
	scene_open(&s, 0, 64);
	talker_start(&s, &t);
	head = sprintf(set, "set k 0 0 %u\r\n", CACHE_VALUE_MAX + 1);
	memset(set + head, 'x', CACHE_VALUE_MAX + 1);
	memcpy(set + head + CACHE_VALUE_MAX + 1, "\r\nmn\r\n", 6);
	talker_say(&t, set, (size_t)head + CACHE_VALUE_MAX + 7);
	run(&s, 5000);
	assert_heard(&t, "SERVER_ERROR object too large for cache\r\nMN\r\n", 45);

	head = sprintf(set, "set k 0 0 %u\r\n", CACHE_VALUE_MAX);
	for (unsigned i = 0; i < CACHE_VALUE_MAX; i++)
		set[(unsigned)head + i] = (char)('a' + i % 23);
	memcpy(set + head + CACHE_VALUE_MAX, "\r\n", 2);
	talker_say(&t, set, (size_t)head + CACHE_VALUE_MAX + 2);
	run(&s, 5000);
	assert_heard(&t, "STORED\r\n", 8);
	talker_say(&t, "get k k\r\n", 9);
	run(&s, 20000);
	assert_int_equal(t.received_n,
			 2 * (strlen("VALUE k 0 1048576\r\n") + (1 << 20) + 2) + 5);
	assert_memory_equal(t.received + 19, set + head, CACHE_VALUE_MAX);
	talker_end(&s, &t);
	scene_close(&s);
	free(set);
}

/* More values than one send holds, through a small window. */
static void many_values_at_once(void **state)
{
	char *set = malloc(20000), get[200] = "get";
	struct cache_scene s;
	struct talker t;
	int head;

	(void)state;
	assert_non_null(set);
	scene_open(&s, 0, 64);
	talker_start(&s, &t);
	head = sprintf(set, "set k 0 0 10000\r\n");
	memset(set + head, 'v', 10000);
	memcpy(set + head + 10000, "\r\n", 2);
	talker_say(&t, set, (size_t)head + 10002);
	run(&s, 500);
	assert_heard(&t, "STORED\r\n", 8);
	for (unsigned i = 0; i < 90; i++)
		memcpy(get + 3 + 2 * i, " k", 2);
	memcpy(get + 183, "\r\n", 2);
	talker_say(&t, get, 185);
	run(&s, 20000);
	assert_int_equal(t.received_n, 90 * (strlen("VALUE k 0 10000\r\n") + 10002) + 5);
	talker_end(&s, &t);
	scene_close(&s);
	free(set);
}

static void a_line_that_does_not_end(void **state)
{
	char line[2 * CACHE_LINE_MAX];
	struct cache_scene s;
	struct talker t;

	(void)state;
	memset(line, 'g', sizeof(line));
	scene_open(&s, 0, 64);
	talker_start(&s, &t);
	talker_say(&t, line, sizeof(line));
	run(&s, 500);
	assert_heard(&t, "CLIENT_ERROR line too long\r\n", 28);
	assert_true(t.conn.eof);
	talker_end(&s, &t);
	scene_close(&s);
}

/* ---- slowness --------------------------------------------------------------- */

/* One after the other: each waits for the full delay. */
static void one_command_at_a_time(void **state)
{
	struct cache_scene s;
	struct talker t;

	(void)state;
	scene_open(&s, 2000, 64);
	talker_start(&s, &t);
	talker_say(&t, "get none\r\nmg foo v\r\nmn\r\n", 24);
	run(&s, 1900);
	assert_heard(&t, "", 0);
	run(&s, 500);
	assert_heard(&t, "END\r\n", 5);
	run(&s, 1200);
	assert_heard(&t, "", 0);
	run(&s, 800);
	assert_heard(&t, "VA 3\r\nbar\r\n", 11);
	run(&s, 2000);
	assert_heard(&t, "MN\r\n", 4);
	talker_end(&s, &t);
	scene_close(&s);
}

/* A client that shuts down its side after the request gets the response. */
static void half_closed(void **state)
{
	struct cache_scene s;
	struct talker t;

	(void)state;
	scene_open(&s, 1000, 64);
	talker_start(&s, &t);
	talker_say(&t, "get none\r\nmn\r\n", 14);
	conn_send_fin(&t.conn);
	run(&s, 3000);
	assert_heard(&t, "END\r\nMN\r\n", 9);
	assert_true(t.conn.eof);
	talker_end(&s, &t);
	scene_close(&s);
}

/* The peer ends within a command, and while it waits. */
static void peer_ends_anywhere(void **state)
{
	static const char *const lines[] = { "", "get f", "set k 0 0 5\r\nhel",
					     "get foo\r\n" };
	struct cache_scene s;
	struct talker t;

	(void)state;
	scene_open(&s, 1000, 64);
	for (unsigned i = 0; i < COUNT(lines); i++) {
		talker_start(&s, &t);
		talker_say(&t, lines[i], strlen(lines[i]));
		run(&s, 300);
		talker_end(&s, &t);
		run(&s, 2000);
		assert_int_equal(s.clients.used, 0);
	}
	scene_close(&s);
}

#define PEERS_MANY 3000

/* Thousands wait at once, with few receive buffers. */
static void many_wait(void **state)
{
	struct talker *talkers = calloc(PEERS_MANY, sizeof(*talkers));
	struct cache_scene s;

	(void)state;
	assert_non_null(talkers);
	scene_open(&s, 2000, 64);
	for (unsigned i = 0; i < PEERS_MANY; i++) {
		struct talker *t = &talkers[i];

		t->received = malloc(64);
		assert_non_null(t->received);
		t->conn.tick = &s.tick;
		io_op_init(&t->connect.op, talker_connected);
		io_connect(s.tick.loop, &t->connect, (struct sockaddr *)&s.addr,
			   sizeof(s.addr));
	}
	run(&s, 500);
	for (unsigned i = 0; i < PEERS_MANY; i++)
		talker_say(&talkers[i], "get foo\r\n", 9);
	run(&s, 1500);
	assert_int_equal(io_bufs(s.tick.loop)->free_n, io_bufs(s.tick.loop)->count);
	assert_int_equal(s.clients.used, PEERS_MANY);
	run(&s, 1500);
	for (unsigned i = 0; i < PEERS_MANY; i++) {
		assert_heard(&talkers[i], "VALUE foo 0 3\r\nbar\r\nEND\r\n", 25);
		talker_end(&s, &talkers[i]);
	}
	scene_close(&s);
	free(talkers);
}

/* ---- the store -------------------------------------------------------------- */

static struct cache_entry *entry(struct slice key, uint32_t value_len,
				 uint64_t expires_ms)
{
	struct cache_entry *e = cache_entry_new(key, value_len);

	assert_non_null(e);
	memset(cache_entry_value(e), 'v', value_len + 2);
	e->expires_ms = expires_ms;
	return e;
}

static void items_expire(void **state)
{
	struct cache_store *store = cache_store_new();
	struct cache_entry *e = entry(SLICE("k"), 1, 5000);

	(void)state;
	assert_int_equal(cache_store_put(store, &e, 0, 1000), CACHE_STORED);
	assert_null(e);
	assert_non_null(cache_store_find(store, SLICE("k"), 4999));
	assert_null(cache_store_find(store, SLICE("k"), 5000));
	assert_int_equal(cache_store_delete(store, SLICE("k"), 0, 5000), CACHE_NOT_FOUND);
	assert_int_equal(cache_expires_ms(0, 1000), 0);
	assert_int_equal(cache_expires_ms(60, 1000), 61000);
	assert_int_equal(cache_expires_ms(2592001, 1000), 2592001000);
	cache_store_free(store);
}

static void store_full(void **state)
{
	struct cache_store *store = cache_store_new();
	struct cache_entry *put;
	unsigned stored = 0;
	char key[16];

	(void)state;
	for (;;) {
		int n = snprintf(key, sizeof(key), "k%u", stored);
		struct cache_entry *e = entry((struct slice){ key, (size_t)n },
					      CACHE_VALUE_MAX, 0);

		if (cache_store_put(store, &e, 0, 1) == CACHE_NO_ROOM)
			break;
		stored++;
	}
	assert_in_range(stored, 60, 64);
	assert_int_equal(cache_store_delete(store, SLICE("k0"), 0, 1), CACHE_STORED);
	put = entry(SLICE("again"), CACHE_VALUE_MAX, 0);
	assert_int_equal(cache_store_put(store, &put, 0, 1), CACHE_STORED);
	assert_false(cache_store_set(store, SLICE("a b"), SLICE("x")));
	cache_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(talks_cut_at_every_byte),
		cmocka_unit_test(large_values),
		cmocka_unit_test(many_values_at_once),
		cmocka_unit_test(a_line_that_does_not_end),
		cmocka_unit_test(one_command_at_a_time),
		cmocka_unit_test(half_closed),
		cmocka_unit_test(peer_ends_anywhere),
		cmocka_unit_test(many_wait),
		cmocka_unit_test(items_expire),
		cmocka_unit_test(store_full),
	};

	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
