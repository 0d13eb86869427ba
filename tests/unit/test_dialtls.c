/* Dials that secure what they open: one result, by one deadline, and dial_again() after a failed
 * handshake. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "lib/simtls.h"
#include "net/dial.h"
#include "tls/warm.h"

#define WINDOW (2 * BUF_BYTES)
#define SHORT_MS 500
#define PORT 1000
#define BAD_PORT 1001

enum bad_server { SERVES_TLS, CUTS, SENDS_GARBAGE, SENDS_HTTP, RESETS, IS_SILENT };

struct dialtls_fixture {
	struct simrig rig;
	struct tls_context *server_context, *client_context;
	struct tls_thread *peers;
	struct sim_server good, bad;
	enum bad_server kind; /* of the bad one */
	struct sockaddr_in good_address, bad_address;
	struct tls_saved saved;
	struct conn conn;
	struct task task;
	struct dial *dial;
	struct reap tick_end; /* see cancel_dead() */
	bool again, cancel_opened;
	struct buf *preamble;
	unsigned results, opened, failed, deaths, changes;
	enum dial_failure failure;
	enum tls_fault fault;
	int error;
};

static struct dialtls_fixture *fixture;
static unsigned cancelled_dead_n; /* seeds */

static void changed(struct conn *c)
{
	struct dialtls_fixture *f = CONTAINER(c, struct dialtls_fixture, conn);

	assert_null(f->dial); /* before that the conn is the dial's */
	f->changes++;
}

static void dead(struct conn *c)
{
	struct dialtls_fixture *f = CONTAINER(c, struct dialtls_fixture, conn);

	conn_check(c);
	assert_null(f->dial);
	f->deaths++;
	task_stop(&f->task);
	memset(c, 0xdd, sizeof(*c)); /* freed */
}

static const struct conn_events events = { .changed = changed, .dead = dead };

static void good_accepts(struct sim_peer *p)
{
	simtls_secure(p, fixture->peers, fixture->server_context, SLICE(""), NULL);
	if (p->tls)
		sim_peer_send_text(p, "hello");
}

/* A PROXY header comes before the ClientHello, in clear. */
static void secured_after_preamble(struct sim_peer *p)
{
	struct buf *b;

	if (p->tls || p->in_n < 8)
		return;
	assert_memory_equal(p->in, "PREAMBLE", 8);
	b = buf_new(io_bufs(p->rig->tick.loop), p->in_n);
	b->end = (uint32_t)p->in_n - 8;
	memcpy(b->data, p->in + 8, b->end);
	p->in_n = 8;
	simtls_secure(p, fixture->peers, fixture->server_context, SLICE(""), NULL);
	simtls_receive(p, b);
	sim_peer_send_text(p, "hello");
}

static void bad_input(struct sim_peer *p)
{
	if (p->step++ > 0)
		return;
	switch (fixture->kind) {
	case CUTS:
		sim_peer_close(p);
		break;
	case RESETS:
		sim_peer_reset_now(p);
		break;
	case SENDS_GARBAGE:
		sim_peer_send_text(p,
				   "\x16\x03\x03 this is no ServerHello, whatever it is");
		break;
	case SENDS_HTTP:
		sim_peer_send_text(p, "HTTP/1.1 400 Bad Request\r\n\r\n");
		break;
	case SERVES_TLS:
	case IS_SILENT:
		break;
	}
}

static void step(struct task *t)
{
	struct dialtls_fixture *f = CONTAINER(t, struct dialtls_fixture, task);

	dial_check(f->dial);
	assert_int_equal(f->deaths, 0);
	f->results++;
	if (f->dial->state == DIAL_OPENED) {
		f->opened++;
		assert_int_equal(conn_tls(&f->conn)->state, TLS_OPEN);
		if (f->cancel_opened)
			dial_cancel(&f->dial);
		else
			dial_finish(&f->dial);
		return;
	}
	assert_int_equal(f->dial->state, DIAL_FAILED);
	f->failed++;
	f->failure = f->dial->failure;
	f->fault = f->dial->fault;
	f->error = f->dial->error;
	if (f->again && f->failure != DIAL_TIMEOUT) {
		f->again = false;
		dial_again(f->dial, (struct sockaddr *)&f->good_address,
			   sizeof(f->good_address));
	} else {
		dial_cancel(&f->dial);
	}
}

static void fixture_open(struct dialtls_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	fixture = f;
	simrig_open(&f->rig, seed, 64);
	assert_true(tick_use_tls(&f->rig.tick, NULL, 1));
	f->peers = tls_thread_new(io_bufs(f->rig.tick.loop));
	assert_non_null(f->peers);
	f->server_context = simtls_server_context();
	f->client_context = simtls_client_context();
	f->good_address = simrig_address(PORT);
	f->bad_address = simrig_address(BAD_PORT);
	sim_server_open(&f->good, &f->rig, PORT, NULL, f);
	f->good.on_accept = good_accepts;
	sim_server_open(&f->bad, &f->rig, BAD_PORT, bad_input, f);
	task_init(&f->task, step);
}

static void start(struct dialtls_fixture *f, const struct sockaddr_in *to, uint32_t ms)
{
	f->dial = dial_start(&f->rig.tick, &(struct dial_options){
						   .conn = &f->conn,
						   .events = &events,
						   .window = WINDOW,
						   .address = (const struct sockaddr *)to,
						   .address_len = sizeof(*to),
						   .deadline_ms = f->rig.tick.now_ms + ms,
						   .task = &f->task,
						   .preamble = f->preamble,
						   .context = f->client_context,
						   .name = SLICE("example.org"),
						   .saved = &f->saved,
					   });
	assert_non_null(f->dial);
}

static void fixture_close(struct dialtls_fixture *f)
{
	if (f->dial)
		dial_cancel(&f->dial);
	else if (f->opened && !f->deaths && f->conn.state == CONN_OPEN)
		conn_close(&f->conn, CONN_FLUSH, 1000);
	simrig_run(&f->rig, 1200);
	assert_int_equal(f->deaths, 1);
	assert_int_equal(f->rig.tick.dials.taken, 0);
	assert_int_equal(f->rig.tick.secures.taken, 0);
	assert_int_equal(f->rig.tick.handshakes.stats.shaking, 0);
	buf_put(f->preamble);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	tls_saved_drop(&f->saved);
	tls_thread_free(f->peers);
	simrig_close(&f->rig);
	tls_context_unref(f->server_context);
	tls_context_unref(f->client_context);
}

static void each_seed(void (*test)(struct dialtls_fixture *f))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		static struct dialtls_fixture f;

		fixture_open(&f, seed);
		test(&f);
		fixture_close(&f);
	}
}

#define TEST(name)                            \
	static void test_##name(void **state) \
	{                                     \
		(void)state;                  \
		each_seed(name);              \
	}

/* What the server sent with the end of its handshake is there. */
static void assert_talks(struct dialtls_fixture *f)
{
	assert_int_equal(f->opened, 1);
	assert_null(f->dial);
	SIMRIG_UNTIL(&f->rig, f->conn.inbox_bytes == 5, 1000);
	assert_true(conn_linearize(&f->conn, 5));
	assert_memory_equal(conn_peek(&f->conn).ptr, "hello", 5);
	assert_true(conn_push_small(&f->conn, SLICE("request")));
	SIMRIG_UNTIL(&f->rig, f->good.last->in_n >= (f->preamble ? 15 : 7), 1000);
	assert_memory_equal(f->good.last->in + f->good.last->in_n - 7, "request", 7);
	assert_int_equal(f->results, f->opened + f->failed);
}

static void opens(struct dialtls_fixture *f)
{
	start(f, &f->good_address, 20000);
	SIMRIG_UNTIL(&f->rig, f->results > 0, 20000);
	assert_talks(f);
	assert_int_equal(
		f->rig.tick.handshakes.stats.handshakes[TLS_SIDE_CLIENT][TLS_1_3][0], 1);
}
TEST(opens)

static void preamble(struct dialtls_fixture *f)
{
	f->good.on_accept = NULL;
	f->good.on_input = secured_after_preamble;
	f->preamble = buf_new(io_bufs(f->rig.tick.loop), 16);
	memcpy(f->preamble->data, "PREAMBLE", 8);
	f->preamble->end = 8;
	start(f, &f->good_address, 20000);
	SIMRIG_UNTIL(&f->rig, f->results > 0, 20000);
	assert_talks(f);
}
TEST(preamble)

static const enum bad_server bad_kinds[] = { CUTS, SENDS_GARBAGE, SENDS_HTTP, RESETS };

static void fails(struct dialtls_fixture *f)
{
	f->kind = bad_kinds[simrig_draw(&f->rig, COUNT(bad_kinds))];
	start(f, &f->bad_address, 20000);
	SIMRIG_UNTIL(&f->rig, f->deaths > 0, 20000);
	assert_int_equal(f->results, 1);
	assert_int_equal(f->failure, DIAL_TLS);
	assert_int_equal(f->error, -EPROTO);
	assert_int_not_equal(f->fault, TLS_FAULT_NONE);
	if (f->kind == CUTS || f->kind == RESETS)
		assert_int_equal(f->fault, TLS_FAULT_CLOSED);
	assert_int_equal(f->rig.tick.handshakes.stats.failures[TLS_SIDE_CLIENT][f->fault],
			 1);
	assert_int_equal(f->changes, 0);
}
TEST(fails)

static void dials_again(struct dialtls_fixture *f)
{
	f->kind = bad_kinds[simrig_draw(&f->rig, COUNT(bad_kinds))];
	f->again = true;
	start(f, &f->bad_address, 20000);
	SIMRIG_UNTIL(&f->rig, f->results == 2, 20000);
	assert_int_equal(f->failed, 1);
	assert_talks(f);
}
TEST(dials_again)

/* One deadline, which begins before the connect. */
static void expires(struct dialtls_fixture *f)
{
	uint64_t from_ms = f->rig.tick.now_ms;

	f->kind = IS_SILENT;
	start(f, &f->bad_address, SHORT_MS);
	SIMRIG_UNTIL(&f->rig, f->deaths > 0, 2 * SHORT_MS);
	assert_in_range(f->rig.tick.now_ms, from_ms + SHORT_MS, from_ms + SHORT_MS + 60);
	assert_int_equal(f->failure, DIAL_TIMEOUT);
	assert_int_equal(f->error, -ETIMEDOUT);
	assert_int_equal(f->fault, TLS_FAULT_TIMEOUT);
	assert_int_equal(f->results, 1);
}
TEST(expires)

/* At each moment; also when the deadline has passed, and an alert is being sent. */
static void cancelled(struct dialtls_fixture *f)
{
	bool good = simrig_draw(&f->rig, 2);
	unsigned ticks = (unsigned)simrig_draw(&f->rig, 25);

	f->kind = (enum bad_server)simrig_draw(&f->rig, IS_SILENT + 1);
	f->cancel_opened = simrig_draw(&f->rig, 2);
	start(f, good ? &f->good_address : &f->bad_address,
	      5 + (uint32_t)simrig_draw(&f->rig, 100));
	for (unsigned i = 0; i < ticks && f->dial; i++) {
		simrig_alarm(&f->rig, 1);
		tick_once(&f->rig.tick);
		timer_stop(&f->rig.tick.wheel, &f->rig.alarm);
	}
	if (f->dial)
		dial_cancel(&f->dial);
}
TEST(cancelled)

/* Called at the end of a tick before what has ended in this tick is freed: as an owner that ends
 * because of something else. */
static void cancel_dead(struct reap *r)
{
	struct dialtls_fixture *f = CONTAINER(r, struct dialtls_fixture, tick_end);

	if (f->conn.state == CONN_DEAD && f->dial)
		dial_cancel(&f->dial);
}

/* In the tick in which its conn has closed, after a failed handshake or the deadline. */
static void cancelled_when_dead(struct dialtls_fixture *f)
{
	f->kind = (enum bad_server)(1 + simrig_draw(&f->rig, IS_SILENT));
	f->tick_end.free = cancel_dead;
	start(f, &f->bad_address, 5 + (uint32_t)simrig_draw(&f->rig, 100));
	while (f->deaths == 0) {
		list_init(&f->tick_end.node);
		tick_reap(&f->rig.tick, &f->tick_end);
		simrig_alarm(&f->rig, 1000);
		tick_once(&f->rig.tick);
		timer_stop(&f->rig.tick.wheel, &f->rig.alarm);
	}
	assert_null(f->dial);
	cancelled_dead_n += f->results == 0;
}

static void test_cancelled_when_dead(void **state)
{
	(void)state;
	cancelled_dead_n = 0;
	each_seed(cancelled_when_dead);
	assert_in_range(cancelled_dead_n, SIMRIG_SEEDS / 2, SIMRIG_SEEDS);
}

static void test_without_memory(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 40; n++) {
		static struct dialtls_fixture f;

		fixture_open(&f, n);
		start(&f, &f.good_address, 2000);
		slab_fail_at(n);
		(void)SIMRIG_REACHED(&f.rig, f.results > 0, 3000);
		slab_fail_at(0);
		assert_int_equal(f.results, 1);
		fixture_close(&f);
	}
}

static int set_up(void **state)
{
	(void)state;
	return tls_library_init() ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens),
		cmocka_unit_test(test_preamble),
		cmocka_unit_test(test_fails),
		cmocka_unit_test(test_dials_again),
		cmocka_unit_test(test_expires),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_cancelled_when_dead),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
