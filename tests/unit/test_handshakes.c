/* TLS handshakes of clients: how they end other than with a request. How they are rationed:
 * test_secure.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "front/client.h"
#include "lib/simrig.h"
#include "lib/simtls.h"
#include "tls/warm.h"

#define HANDSHAKE_MS 2500
#define LINGER_MS 2000
/* A slot of the wheel, and the latency of the network. */
#define LATE_MS 60

/* A front with TLS that responds to each request with three bytes. */
struct handshake_fixture {
	struct simrig rig;
	struct front front;
	struct head scratch;
	struct worker_stats stats;
	struct quota quota, handshakes;
	struct tls_context *server_context, *client_context;
	enum tls_fault handshake_fault;
	enum fault fault;
	unsigned heads, closed, handshakes_failed;
	struct client *client;
	struct sim_peer *peer; /* has not begun its handshake */
};

static void respond(struct client *c, struct stream *s, const char *text)
{
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), strlen(text));

	assert_non_null(b);
	b->end = (uint32_t)strlen(text);
	memcpy(b->data, text, b->end);
	assert_true(stream_send_kept_head(s, b, FRAMING_NONE, 0));
}

static void head_received(struct client *c, struct stream *s, struct head *h)
{
	struct handshake_fixture *f = c->front->owner;
	struct task none;
	bool keep;

	f->heads++;
	task_init(&none, NULL);
	stream_begin_body(s, h->framing, h->length);
	stream_use(s, &none);
	keep = stream_discard_body(s);
	respond(c, s,
		keep ? "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"
		     : "HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	stream_finish(s, keep);
}

static void head_refused(struct client *c, struct stream *s, enum fault fault)
{
	struct handshake_fixture *f = c->front->owner;

	f->fault = fault;
	respond(c, s, "HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n");
}

static void closed(struct client *c)
{
	struct handshake_fixture *f = c->front->owner;

	f->closed++;
}

static void handshake_failed(struct client *c, enum tls_fault fault)
{
	struct handshake_fixture *f = c->front->owner;

	f->handshake_fault = fault;
	f->handshakes_failed++;
}

static const struct client_events events = { .head_received = head_received,
					     .head_refused = head_refused,
					     .closed = closed,
					     .handshake_failed = handshake_failed };

static void fixture_open(struct handshake_fixture *f, uint64_t seed)
{
	struct peer peer = { .family = AF_INET };
	int fd;

	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 64);
	quota_init(&f->quota, 10);
	quota_init(&f->handshakes, 10);
	assert_true(tick_use_tls(&f->rig.tick, &f->handshakes, 1));
	f->server_context = simtls_server_context();
	f->client_context = simtls_client_context();
	f->front = (struct front){ .tick = &f->rig.tick,
				   .events = &events,
				   .owner = f,
				   .limits = { 4096, 32 },
				   .timeouts = { 3000, 5000, 7000, 4000, 0 },
				   .handshake_ms = HANDSHAKE_MS,
				   .window = 65536,
				   .linger_ms = LINGER_MS,
				   .quota = &f->quota,
				   .stats = &f->stats,
				   .scratch = &f->scratch };
	front_init(&f->front);
	fd = simrig_pair(&f->rig, &f->peer);
	assert_true(quota_take(&f->quota));
	f->client = client_open(&f->front, fd, &peer);
	client_secure(f->client, f->server_context);
}

static void fixture_close(struct handshake_fixture *f)
{
	front_close(&f->front);
	SIMRIG_UNTIL(&f->rig, front_empty(&f->front), 100);
	simrig_run(&f->rig, 100);
	assert_int_equal(f->quota.used, 0);
	assert_int_equal(f->handshakes.used, 0);
	assert_int_equal(f->stats.connections, 0);
	assert_int_equal(f->stats.connections_idle, 0);
	assert_int_equal(f->rig.tick.handshakes.stats.shaking, 0);
	front_done(&f->front);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
	tls_context_unref(f->server_context);
	tls_context_unref(f->client_context);
}

static void each_seed(void (*test)(struct handshake_fixture *f))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct handshake_fixture f;

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

static unsigned count(const struct sim_peer *a, const char *text)
{
	unsigned n = 0;

	for (const char *at = a->in; (at = strstr(at, text)); at++)
		n++;
	return n;
}

static void assert_ends(struct handshake_fixture *f, uint64_t from_ms, uint32_t after_ms)
{
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 60000);
	assert_in_range(f->rig.tick.now_ms, from_ms + after_ms - LATE_MS,
			from_ms + after_ms + LATE_MS);
}

/* From the accept on, whatever the peer sends in between. */
static void handshake_timeout(struct handshake_fixture *f)
{
	uint64_t from_ms = f->rig.tick.now_ms;
	static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
	unsigned n = (unsigned)simrig_draw(&f->rig, sizeof(hello));

	for (unsigned i = 0; i < n; i++) {
		sim_peer_send(f->peer, (struct slice){ hello + i, 1 });
		simrig_run(&f->rig, 100);
	}
	assert_ends(f, from_ms, HANDSHAKE_MS);
	assert_int_equal(f->handshake_fault, TLS_FAULT_TIMEOUT);
	assert_int_equal(f->handshakes_failed, 1);
	assert_int_equal(f->stats.connections_idle, 0);
	assert_int_equal(
		f->rig.tick.handshakes.stats.failures[TLS_SIDE_SERVER][TLS_FAULT_TIMEOUT],
		1);
}
TEST(handshake_timeout)

static void plain_http(struct handshake_fixture *f)
{
	sim_peer_send_text(f->peer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->peer->eof, 1000);
	assert_int_equal(count(f->peer, "HTTP/1.1 400"), 1);
	assert_int_equal(f->peer->error, 0);
	assert_int_equal(f->fault, FAULT_PLAIN_ON_TLS);
	assert_int_equal(f->heads, 0);
	assert_int_equal(f->handshake_fault, TLS_FAULT_PLAIN_HTTP);
	sim_peer_close(f->peer);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 500);
}
TEST(plain_http)

/* The alert arrives, although the peer had sent more. */
static void bad_hello(struct handshake_fixture *f)
{
	static const char bytes[] = "\x16\x03\x01\x00\x06\x01\x00\x00\x02no and more";

	sim_peer_send(f->peer, (struct slice){ bytes, sizeof(bytes) });
	SIMRIG_UNTIL(&f->rig, f->peer->eof, 1000);
	assert_int_equal(f->peer->error, 0);
	assert_int_equal(f->peer->in_n, 7);
	assert_int_equal(f->peer->in[0], 21); /* an alert */
	assert_int_equal(f->handshakes_failed, 1);
	assert_int_not_equal(f->handshake_fault, TLS_FAULT_NONE);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, LINGER_MS + LATE_MS);
}
TEST(bad_hello)

static void closed_in_the_handshake(struct handshake_fixture *f)
{
	if (simrig_draw(&f->rig, 2))
		simtls_secure(f->peer, f->rig.tick.tls, f->client_context, SLICE("a"),
			      NULL);
	simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 4));
	sim_peer_close_now(f->peer);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 1000);
	assert_in_range(f->handshakes_failed, 0, 1);
	assert_int_equal(f->stats.connections, 0);
}
TEST(closed_in_the_handshake)

/* A handshake that is not complete is no reason to refuse others. */
static void evicted_in_the_handshake(struct handshake_fixture *f)
{
	sim_peer_send_text(f->peer, "\x16\x03");
	simrig_run(&f->rig, 500);
	assert_false(front_evict_idle(&f->front));
	simrig_run(&f->rig, 600);
	assert_true(front_evict_idle(&f->front));
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 100);
	assert_int_equal(f->handshakes_failed, 0);
}
TEST(evicted_in_the_handshake)

/* Those that have begun get a response; those that have not are closed. */
static void drained_in_the_handshake(struct handshake_fixture *f)
{
	if (simrig_draw(&f->rig, 2)) {
		front_drain(&f->front);
		SIMRIG_UNTIL(&f->rig, f->closed == 1, 300);
		return;
	}
	simtls_secure(f->peer, f->rig.tick.tls, f->client_context, SLICE("a"), NULL);
	sim_peer_send_text(f->peer, "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
	while (LIST_ITEM(f->front.all.next, struct client, node)->conn.received == 0)
		tick_once(&f->rig.tick);
	front_drain(&f->front);
	SIMRIG_UNTIL(&f->rig, f->peer->eof, 1000);
	assert_int_equal(count(f->peer, "HTTP/1.1 200"), 1);
	assert_int_equal(count(f->peer, "Connection: close"), 1);
}
TEST(drained_in_the_handshake)

/* A client that asks for the end sends its close_notify when it has the response, or earlier: no
 * reset overtakes the response. */
static void close_notify_behind_the_last_request(struct handshake_fixture *f)
{
	simtls_secure(f->peer, f->rig.tick.tls, f->client_context, SLICE("a"), NULL);
	sim_peer_send_text(f->peer, "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->heads == 1, 1000);
	sim_peer_shutdown(f->peer);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	assert_int_equal(f->peer->error, 0);
	assert_int_equal(count(f->peer, "HTTP/1.1 200"), 1);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, LINGER_MS + LATE_MS);
}
TEST(close_notify_behind_the_last_request)

static int set_up(void **state)
{
	(void)state;
	return tls_library_init() ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake_timeout),
		cmocka_unit_test(test_plain_http),
		cmocka_unit_test(test_bad_hello),
		cmocka_unit_test(test_closed_in_the_handshake),
		cmocka_unit_test(test_evicted_in_the_handshake),
		cmocka_unit_test(test_drained_in_the_handshake),
		cmocka_unit_test(test_close_notify_behind_the_last_request),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
