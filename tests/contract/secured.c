/* Secured connections over each engine: a conn that was dialled and one that was accepted, with
 * their own loop, speak TLS with each other. What TLS makes of the promises of io/io.h, such as
 * sends that were sealed and receives that are not started again, must hold with all three. */
#include "contract.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "io/sim.h"
#include "io/sock.h"
#include "lib/simcrypto.h"
#include "lib/simtls.h"
#include "net/dial.h"
#include "tls/warm.h"

#define PORT 4433
#define WINDOW (4 * BUF_BYTES)
#define WAIT_MS 60000
#define QUIET_MS 5

struct secured_case;

struct tls_end {
	struct secured_case *s;
	struct conn conn;
	struct task task;
	uint64_t stream;     /* that it sends; the other one's is 3 - stream */
	uint64_t sent, goal; /* bytes pushed, and to be pushed */
	uint64_t taken;
	bool paused; /* takes nothing */
	bool open, dead;
};

struct secured_case {
	struct rig *r;
	struct tick tick;
	struct tls_context *server, *client;
	struct sockaddr_in addr;
	int listener;
	struct io_accept accept;
	struct dial *dial;
	struct task dialled;
	struct timer alarm;
	struct tls_end ends[2]; /* 0: has dialled */
};

/* ---- the ends --------------------------------------------------------------- */

static void end_take(struct tls_end *e)
{
	for (struct slice bytes; (bytes = conn_peek(&e->conn)).len > 0;) {
		size_t n = 1 + rig_random(e->s->r, bytes.len);

		CHECK(e->s->r, stream_is(3 - e->stream, e->taken, bytes.ptr, n));
		e->taken += n;
		conn_consume(&e->conn, (uint32_t)n);
	}
}

static void end_push(struct tls_end *e)
{
	struct rig *r = e->s->r;

	while (e->sent < e->goal && conn_push_space(&e->conn) > 0) {
		uint64_t left = e->goal - e->sent;
		size_t n = 1 + rig_random(r, left < BUF_BYTES ? left : BUF_BYTES);
		struct buf *b = buf_new(io_bufs(e->s->tick.loop), n);
		struct piece p;

		CHECK(r, b);
		stream_fill(e->stream, e->sent, b->data, n);
		b->end = (uint32_t)n;
		p = (struct piece){ b, b->data, (uint32_t)n };
		CHECK(r, conn_push(&e->conn, &p));
		e->sent += n;
	}
	if (e->sent < e->goal)
		conn_await_space(&e->conn);
}

static void end_step(struct task *task)
{
	struct tls_end *e = CONTAINER(task, struct tls_end, task);

	if (e->conn.state != CONN_OPEN || conn_shaking(&e->conn))
		return;
	CHECK_STATE(conn_check(&e->conn));
	if (!e->paused)
		end_take(e);
	end_push(e);
}

static void end_changed(struct conn *c)
{
	tick_run(c->tick, &CONTAINER(c, struct tls_end, conn)->task);
}

static void end_dead(struct conn *c)
{
	struct tls_end *e = CONTAINER(c, struct tls_end, conn);

	e->dead = true;
	e->open = false;
	task_stop(&e->task);
}

static const struct conn_events end_events = { .changed = end_changed, .dead = end_dead };

static void accepted(struct io_op *op, int res, unsigned flags)
{
	struct secured_case *s = CONTAINER(op, struct secured_case, accept.op);
	struct tls_end *e = &s->ends[1];

	(void)flags;
	CHECK(s->r, res >= 0);
	conn_open(&e->conn, &s->tick, &end_events, res, WINDOW);
	CHECK(s->r, conn_secure(&e->conn, s->server));
	e->open = true;
}

static void dialled(struct task *task)
{
	struct secured_case *s = CONTAINER(task, struct secured_case, dialled);

	CHECK(s->r, s->dial->state == DIAL_OPENED);
	dial_finish(&s->dial);
	s->ends[0].open = true;
	tick_run(&s->tick, &s->ends[0].task);
}

/* ---- the case --------------------------------------------------------------- */

static void alarm_rings(struct timer *t)
{
	(void)t;
}

/* The trace has what the engine did, so that a seed of the simulation shows a difference. */
static void secured_tick(struct secured_case *s)
{
	struct rig *r = s->r;

	tick_once(&s->tick);
	r->trace = hash_mix(r->trace ^ s->tick.now_us);
	for (unsigned i = 0; i < 2; i++)
		r->trace = hash_mix(r->trace ^ s->ends[i].taken ^ s->ends[i].sent << 32);
}

#define TICK_UNTIL(s, condition)                                                      \
	do {                                                                          \
		timer_set(&(s)->tick.wheel, &(s)->alarm, (s)->tick.now_ms + WAIT_MS); \
		while (!(condition)) {                                                \
			CHECK((s)->r, timer_armed(&(s)->alarm));                      \
			secured_tick(s);                                              \
		}                                                                     \
		timer_stop(&(s)->tick.wheel, &(s)->alarm);                            \
	} while (0)

static void tick_briefly(struct secured_case *s)
{
	timer_set(&s->tick.wheel, &s->alarm, s->tick.now_ms + QUIET_MS);
	while (timer_armed(&s->alarm))
		secured_tick(s);
}

static int listen_there(struct secured_case *s)
{
	socklen_t len = sizeof(s->addr);
	int fd;

	s->addr = (struct sockaddr_in){ .sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (s->r->kind == IO_ENGINE_SIM) {
		s->addr.sin_port = htons(PORT);
		return sim_listen(s->tick.loop, (void *)&s->addr, len, 1);
	}
	fd = sock_listen((void *)&s->addr, len, 1, false);
	CHECK(s->r, fd >= 0 && getsockname(fd, (void *)&s->addr, &len) == 0);
	return fd;
}

/* Contexts by the seed, or by chance: without cryptography, or with records of either kind. */
static void contexts_make(struct secured_case *s)
{
	if (rig_random(s->r, 3) == 0) {
		s->server = simtls_server_context();
		s->client = simtls_client_context();
		return;
	}
	simcrypto_begin(s->r->random, s->tick.loop);
	s->server = simcrypto_server_context();
	s->client = simcrypto_client_context();
}

static void secured_dial(struct secured_case *s)
{
	s->dial = dial_start(
		&s->tick, &(struct dial_options){ .conn = &s->ends[0].conn,
						  .events = &end_events,
						  .window = WINDOW,
						  .address = (void *)&s->addr,
						  .address_len = sizeof(s->addr),
						  .deadline_ms = s->tick.now_ms + WAIT_MS,
						  .task = &s->dialled,
						  .context = s->client,
						  .name = SLICE("example.org") });
	CHECK(s->r, s->dial);
	TICK_UNTIL(s, s->ends[0].open && s->ends[1].open);
}

static void secured_open(struct secured_case *s, struct rig *r)
{
	struct io_options options = { .engine = r->kind,
				      .buffers = 256,
				      .seed = r->seed };

	*s = (struct secured_case){ .r = r };
	CHECK(r, tls_library_init() && tick_init(&s->tick, &options) == 0);
	CHECK(r, tick_use_tls(&s->tick, NULL, 1));
	if (r->kind == IO_ENGINE_SIM && r->seed % 3 == 0)
		sim_set_socket_bytes(s->tick.loop, 1 + (uint32_t)rig_random(r, 20000));
	contexts_make(s);
	timer_init(&s->alarm, alarm_rings);
	task_init(&s->dialled, dialled);
	for (unsigned i = 0; i < 2; i++) {
		s->ends[i].s = s;
		s->ends[i].stream = 1 + i;
		task_init(&s->ends[i].task, end_step);
	}
	s->listener = listen_there(s);
	CHECK(r, s->listener >= 0);
	io_op_init(&s->accept.op, accepted);
	io_accept(s->tick.loop, &s->accept, s->listener);
	secured_dial(s);
}

static void secured_close(struct secured_case *s)
{
	struct buf_pool *pool = io_bufs(s->tick.loop);

	for (unsigned i = 0; i < 2; i++)
		if (!s->ends[i].dead && s->ends[i].conn.state == CONN_OPEN)
			conn_close(&s->ends[i].conn, CONN_NOW, 0);
	TICK_UNTIL(s, s->ends[0].dead && s->ends[1].dead);
	io_close(s->tick.loop, s->listener);
	tick_briefly(s);
	CHECK(s->r, s->tick.secures.taken == 0 && s->tick.flights.taken == 0);
	CHECK(s->r, s->tick.handshakes.stats.shaking == 0);
	if (s->r->kind != IO_ENGINE_RING)
		CHECK(s->r, pool->free_n == pool->count);
	tick_done(&s->tick);
	tls_context_unref(s->server);
	tls_context_unref(s->client);
	simcrypto_end();
}

static void end_sends(struct tls_end *e, uint64_t bytes)
{
	e->goal += bytes;
	tick_run(&e->s->tick, &e->task);
}

/* ---- what must hold --------------------------------------------------------- */

static uint64_t draw_bytes(struct rig *r)
{
	static const uint32_t most[] = { 1, 100, 20000, 300000, 1u << 20 };

	return 1 + rig_random(r, most[rig_random(r, COUNT(most))]);
}

static void both_ways(struct secured_case *s)
{
	struct rig *r = s->r;

	for (unsigned turns = 0; turns < 4; turns++) {
		end_sends(&s->ends[0], draw_bytes(r));
		end_sends(&s->ends[1], draw_bytes(r));
		if (rig_random(r, 2))
			TICK_UNTIL(s, s->ends[0].taken == s->ends[1].goal);
	}
	TICK_UNTIL(s, s->ends[0].taken == s->ends[1].goal &&
			      s->ends[1].taken == s->ends[0].goal);
}

/* The reader takes nothing for a while: the window holds, and nothing is lost or sealed twice. */
static void slow_reader(struct secured_case *s)
{
	struct rig *r = s->r;
	struct tls_end *reader = &s->ends[rig_random(r, 2)];

	for (unsigned i = 0; i < 3; i++) {
		struct tls_end *writer = &s->ends[reader == &s->ends[0]];

		reader->paused = true;
		end_sends(writer, 4u << 20);
		tick_briefly(s);
		CHECK(r, reader->conn.inbox_held <= 2 * (WINDOW + BUF_BYTES));
		reader->paused = false;
		tick_run(&s->tick, &reader->task);
		TICK_UNTIL(s, reader->taken == writer->goal);
	}
}

/* Each direction ends for itself, with close_notify. */
static void half_close(struct secured_case *s)
{
	struct rig *r = s->r;
	unsigned first = (unsigned)rig_random(r, 2);

	end_sends(&s->ends[first], draw_bytes(r));
	TICK_UNTIL(s, s->ends[first].sent == s->ends[first].goal);
	conn_send_fin(&s->ends[first].conn);
	TICK_UNTIL(s, s->ends[!first].conn.eof);
	CHECK(r, s->ends[!first].taken == s->ends[first].goal);
	end_sends(&s->ends[!first], draw_bytes(r));
	TICK_UNTIL(s, s->ends[first].taken == s->ends[!first].goal);
	conn_close(&s->ends[!first].conn, CONN_FLUSH, 1000);
	TICK_UNTIL(s, s->ends[first].conn.eof);
	CHECK(r, !s->ends[0].conn.error && !s->ends[1].conn.error);
}

/* A socket that closes without close_notify is no end: what came before is read, then an error. */
static void cut_off(struct secured_case *s)
{
	struct rig *r = s->r;
	struct tls_end *from = &s->ends[rig_random(r, 2)];
	struct tls_end *to = &s->ends[from == &s->ends[0]];
	uint64_t n = draw_bytes(r);

	end_sends(from, n);
	TICK_UNTIL(s, conn_unsent(&from->conn) == 0 && from->sent == n);
	/* As if the process had been killed: the kernel sends FIN behind what it has. */
	conn_close(&from->conn, CONN_NOW, 0);
	TICK_UNTIL(s, to->conn.error || to->conn.send_error);
	CHECK(r, to->conn.error == -ECONNRESET && !to->conn.eof);
	CHECK(r, to->taken <= n);
}

/* A reset in the middle, with a send and a receive in flight. */
static void reset(struct secured_case *s)
{
	struct rig *r = s->r;
	unsigned which;

	s->ends[0].paused = rig_random(r, 2);
	s->ends[1].paused = rig_random(r, 2);
	end_sends(&s->ends[0], 4u << 20);
	end_sends(&s->ends[1], 4u << 20);
	for (uint64_t i = rig_random(r, 20); i > 0; i--)
		secured_tick(s);
	which = (unsigned)rig_random(r, 2);
	conn_close(&s->ends[which].conn, CONN_RESET, 0);
	s->ends[!which].paused = false;
	tick_run(&s->tick, &s->ends[!which].task);
	TICK_UNTIL(s, s->ends[!which].conn.error || s->ends[!which].conn.send_error);
	CHECK(r, !s->ends[!which].conn.eof);
}

/* The simulation has its seeds; elsewhere each of them, with a few kinds of contexts. */
static void rounds(struct rig *r, void (*run)(struct secured_case *s))
{
	for (unsigned i = r->kind == IO_ENGINE_SIM ? 1 : 6; i > 0; i--) {
		struct secured_case s;

		secured_open(&s, r);
		run(&s);
		secured_close(&s);
	}
}

#define SECURED(name)                             \
	static void secured_##name(struct rig *r) \
	{                                         \
		rounds(r, name);                  \
	}
SECURED(both_ways)
SECURED(slow_reader)
SECURED(half_close)
SECURED(cut_off)
SECURED(reset)

#define CASE(function)                                                \
	{                                                             \
		.name = #function, .run = function, .engines = ON_ALL \
	}

const struct case_ secured_cases[] = {
	CASE(secured_both_ways), CASE(secured_slow_reader), CASE(secured_half_close),
	CASE(secured_cut_off),   CASE(secured_reset),
};
const size_t secured_cases_n = COUNT(secured_cases);
