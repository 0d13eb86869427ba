#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "front/client.h"
#include "lib/simrig.h"

#define HEADER_MS 3000
#define IDLE_MS 5000
#define LATE_MS 60
#define REQUEST "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define RESPONSE "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"
#define V1 "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n"
#define V2 "\r\n\r\n\0\r\nQUIT\n"

/* A front whose handler responds to each request, and notes who has sent the last one. */
struct proxied_fixture {
	struct simrig rig;
	struct front front;
	struct head scratch;
	struct worker_stats stats;
	struct quota quota;
	struct sim_peer *peer;
	struct client *client;
	unsigned heads, refused;
	char from[SOCK_TEXT_MAX + 8]; /* "address port" */
	char authority[32];           /* of the header */
};

static void send_response(struct client *c, struct stream *s)
{
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), 256);

	assert_non_null(b);
	b->end = (uint32_t)sprintf(b->data, RESPONSE);
	assert_true(stream_send_kept_head(s, b, FRAMING_LENGTH, 0));
}

static void head_received(struct client *c, struct stream *s, struct head *h)
{
	struct proxied_fixture *f = c->front->owner;
	const struct proxy_header *p = client_proxy_header(c);
	char text[SOCK_TEXT_MAX];

	f->heads++;
	peer_text(&c->peer, text, sizeof(text));
	snprintf(f->from, sizeof(f->from), "%s %u", text, c->peer.port);
	f->authority[0] = '\0';
	if (p)
		snprintf(f->authority, sizeof(f->authority), "%.*s",
			 SLICE_ARG(p->authority));
	stream_begin_body(s, h->framing, h->length);
	send_response(c, s);
	stream_finish(s, stream_discard_body(s));
}

static void head_refused(struct client *c, struct stream *s, enum fault fault)
{
	struct proxied_fixture *f = c->front->owner;

	(void)s;
	(void)fault;
	f->refused++;
}

static void stream_closed(struct stream *s)
{
	stream_release(s);
}

static const struct client_events events = { head_received, head_refused, stream_closed,
					     NULL, NULL, NULL };

static void open_client(struct proxied_fixture *f)
{
	struct peer peer = { .addr = { 10, 0, 0, 1 }, .port = 99, .family = AF_INET };
	int fd = simrig_pair(&f->rig, &f->peer);

	assert_true(quota_take(&f->quota));
	f->client = client_open(&f->front, fd, &peer);
	client_await_proxy_header(f->client);
}

static void fixture_open(struct proxied_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 64);
	quota_init(&f->quota, 10);
	f->front = (struct front){ .tick = &f->rig.tick,
				   .events = &events,
				   .owner = f,
				   .limits = { 4096, 32 },
				   .timeouts = { HEADER_MS, IDLE_MS, 7000, 4000, 0 },
				   .window = 65536,
				   .linger_ms = 2000,
				   .quota = &f->quota,
				   .stats = &f->stats,
				   .scratch = &f->scratch };
	front_init(&f->front);
	open_client(f);
}

static void fixture_close(struct proxied_fixture *f)
{
	front_close(&f->front);
	SIMRIG_UNTIL(&f->rig, front_empty(&f->front), 100);
	simrig_run(&f->rig, 100);
	assert_int_equal(f->quota.used, 0);
	assert_int_equal(f->stats.connections, 0);
	assert_int_equal(f->stats.connections_idle, 0);
	front_done(&f->front);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
}

#define TEST(name)                                                      \
	static void test_##name(void **state)                           \
	{                                                               \
		(void)state;                                            \
		for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) { \
			struct proxied_fixture f;                       \
                                                                        \
			fixture_open(&f, seed);                         \
			name(&f);                                       \
			fixture_close(&f);                              \
		}                                                       \
	}

/* Header and request at once, in parts of any size, and byte by byte. */
static void requests(struct proxied_fixture *f)
{
	sim_peer_send_text(f->peer, V1 REQUEST);
	SIMRIG_UNTIL(&f->rig, f->peer->in_n == sizeof(RESPONSE) - 1, 5000);
	assert_string_equal(f->from, "192.0.2.7 1234");
	sim_peer_send_text(f->peer, REQUEST REQUEST);
	SIMRIG_UNTIL(&f->rig, f->heads == 3, 5000);
	assert_string_equal(f->from, "192.0.2.7 1234");
	assert_int_equal(f->stats.proxy_headers_refused, 0);
}
TEST(requests)

static void byte_by_byte(struct proxied_fixture *f)
{
	static const char bytes[] = V2
		"\x21\x11\0\x14\xc0\0\2\7\xc0\0\2\x8\0\1\0\2\2\0\5name." REQUEST;

	for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
		assert_int_equal(f->heads, 0);
		sim_peer_send(f->peer, (struct slice){ bytes + i, 1 });
		simrig_run(&f->rig, 20);
		/* Half a header holds no receive buffer. */
		if (i < 40 && f->client->conn.inbox)
			assert_true(f->client->conn.inbox->size < BUF_BYTES);
	}
	SIMRIG_UNTIL(&f->rig, f->heads == 1, 5000);
	assert_string_equal(f->from, "192.0.2.7 1");
	assert_string_equal(f->authority, "name.");
}
TEST(byte_by_byte)

/* The address stays that of the connection. */
static void local(struct proxied_fixture *f)
{
	static const char bytes[] = V2 "\x20\0\0\0" REQUEST;

	sim_peer_send(f->peer, (struct slice){ bytes, sizeof(bytes) - 1 });
	SIMRIG_UNTIL(&f->rig, f->heads == 1, 5000);
	assert_string_equal(f->from, "10.0.0.1 99");
	assert_null(client_proxy_header(f->client));
}
TEST(local)

/* Without a header nothing is served, and nothing is said. */
static void refused(struct proxied_fixture *f)
{
	static const char *const bad[] = { REQUEST, "PROXY TCP4 x\r\n" REQUEST,
					   "\r\n" REQUEST };

	for (size_t i = 0; i < COUNT(bad); i++) {
		if (i > 0)
			open_client(f);
		sim_peer_send_text(f->peer, bad[i]);
		SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 5000);
		assert_int_equal(f->peer->in_n, 0);
		assert_int_equal(f->stats.proxy_headers_refused, i + 1);
	}
	assert_int_equal(f->heads + f->refused, 0);
}
TEST(refused)

/* A second header is a malformed request. */
static void twice(struct proxied_fixture *f)
{
	sim_peer_send_text(f->peer, V1 V1 REQUEST);
	SIMRIG_UNTIL(&f->rig, f->refused == 1, 5000);
	assert_int_equal(f->heads, 0);
}
TEST(twice)

static void slow(struct proxied_fixture *f)
{
	uint64_t from_ms = f->rig.tick.now_ms;

	for (size_t i = 0; i < sizeof(V1) - 10 && !sim_peer_finished(f->peer); i++) {
		sim_peer_send(f->peer, (struct slice){ V1 + i, 1 });
		simrig_run(&f->rig, 500);
	}
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	assert_in_range(f->rig.tick.now_ms - from_ms, HEADER_MS,
			HEADER_MS + 500 + LATE_MS);
	assert_int_equal(f->stats.proxy_headers_refused, 1);
}
TEST(slow)

/* A check of the port leaves without a byte; half a header is refused. */
static void leaves(struct proxied_fixture *f)
{
	sim_peer_shutdown(f->peer);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	assert_int_equal(f->stats.proxy_headers_refused, 0);
	open_client(f);
	sim_peer_send_text(f->peer, "PROXY TC");
	sim_peer_shutdown(f->peer);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	assert_int_equal(f->stats.proxy_headers_refused, 1);
}
TEST(leaves)

/* It gives way to a new connection, and to a drain, as long as nothing of it was received. */
static void gives_way(struct proxied_fixture *f)
{
	simrig_run(&f->rig, 500);
	assert_false(front_evict_idle(&f->front));
	simrig_run(&f->rig, 600);
	assert_true(front_evict_idle(&f->front));
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	open_client(f);
	sim_peer_send_text(f->peer, "PROXY");
	simrig_run(&f->rig, 1200);
	assert_false(front_evict_idle(&f->front));
	front_drain(&f->front);
	sim_peer_send_text(f->peer, V1 REQUEST + 5);
	SIMRIG_UNTIL(&f->rig, f->peer->in_n > 0, 1000);
	open_client(f);
	simrig_run(&f->rig, 100);
	front_drain(&f->front);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
}
TEST(gives_way)

/* Kept alive, it is an idle client as any other. */
static void idle(struct proxied_fixture *f)
{
	sim_peer_send_text(f->peer, V1);
	simrig_run(&f->rig, 100);
	assert_int_equal(f->client->state, CLIENT_IDLE);
	assert_int_equal(f->stats.connections_idle, 1);
	sim_peer_send_text(f->peer, REQUEST);
	SIMRIG_UNTIL(&f->rig, f->heads == 1, 5000);
	simrig_run(&f->rig, 100);
	assert_true(front_evict_idle(&f->front));
}
TEST(idle)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests), cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_local),    cmocka_unit_test(test_refused),
		cmocka_unit_test(test_twice),    cmocka_unit_test(test_slow),
		cmocka_unit_test(test_leaves),   cmocka_unit_test(test_gives_way),
		cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
