/* A whole proxy: allocations fail one by one, few buffers, and memory that the system refuses.
 * timeout: 600 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/reserve.h"
#include "lib/proxycase.h"

/* ---- each allocation fails once --------------------------------------------- */

#define TAKES_MAX 4000u

/* How many objects were taken from slabs since slab_fail_at(TAKES_MAX). */
static unsigned takes_made(void)
{
	struct slab slab;
	void *objects[TAKES_MAX];
	unsigned n = 0;

	slab_init(&slab, "count", 16, 0);
	while (n < TAKES_MAX && (objects[n] = slab_take(&slab)))
		n++;
	slab_fail_at(0);
	for (unsigned i = 0; i < n; i++)
		slab_put(&slab, objects[i]);
	slab_done(&slab);
	assert_true(n < TAKES_MAX);
	return TAKES_MAX - 1 - n;
}

static bool has_text(const struct sim_peer *client, const char *text)
{
	return memmem(client->in, client->in_n, text, strlen(text)) != NULL;
}

/* Each request of the client gets one whole response, or its connection ends. */
static void wait_for_end(struct proxyrig *r, const struct proxycase *c,
			 struct sim_peer *client)
{
	bool open = c->client == CLIENT_WAITS && !c->proxy_ends;

	if (open || c->client == CLIENT_SHUTS_DOWN)
		SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 70000);
	sim_peer_send_text(client, GET("/length/7"));
	if (c->status == 101) /* a tunnel that loses bytes ends */
		SIMRIG_UNTIL(&r->sim,
			     sim_peer_finished(client) || has_text(client, "hello") ||
				     has_text(client, " 503 "),
			     5000);
	else if (open && !c->last)
		SIMRIG_UNTIL(&r->sim,
			     sim_peer_finished(client) ||
				     has_text(client, "Length: 7\r\n"),
			     70000);
}

/* The take number `fail_at` fails. Returns how many takes there are if it is TAKES_MAX. */
static unsigned run_with_failure(const struct proxycase *c, uint64_t seed,
				 unsigned fail_at)
{
	struct proxyrig r;
	struct sim_peer *client;
	unsigned takes;

	proxycase_open(&r, c, seed);
	slab_fail_at(fail_at);
	client = sim_peer_connect(&r.sim, PROXYRIG_PORT);
	proxycase_start(&r, c, client);
	wait_for_end(&r, c, client);
	takes = fail_at == TAKES_MAX ? takes_made() : 0;
	slab_fail_at(0);
	proxyrig_close(&r);
	return takes;
}

static void fail_each_take(const struct proxycase *c)
{
	proxycase_now.name = c->name;
	for (uint64_t seed = 1; seed <= 2; seed++) {
		unsigned takes;

		proxycase_now.seed = seed;
		takes = run_with_failure(c, seed, TAKES_MAX);
		assert_true(takes > 0);
		for (unsigned take = 1; take <= takes; take++) {
			proxycase_now.failing_take = take;
			run_with_failure(c, seed, take);
		}
		proxycase_now.failing_take = 0;
	}
	proxycase_now.name = "";
}

static const struct proxycase more_cases[] = {
	{ .name = "upgrade", .request = UPGRADE, .status = 101 },
	{ .name = "stale close", .request = GET("/length/1") GET("/swallow/"), .status = 200 },
	{ .name = "pair", .request = GET("/pair/length/9"), .status = 200 },
};

static void test_failing_takes(void **state)
{
	(void)state;
	for (size_t i = 0; i < proxycase_n; i++)
		fail_each_take(&proxycases[i]);
	for (size_t i = 0; i < COUNT(more_cases); i++)
		fail_each_take(&more_cases[i]);
}

/* Requests whose body could not be sent on. */
static unsigned unsent_n;

/* The response has begun, its client does not read it, and then there is no memory to send more of
 * the request's body. The exchange ends at once: it would have to be remembered whose response
 * it was, until the client reads again. */
static void early_response(struct proxyrig *r)
{
	struct sim_peer *client;
	uint64_t errors;

	sim_set_socket_bytes(r->sim.tick.loop, 4096);
	client = proxycase_request(r, "POST /early-long HTTP/1.1\r\nHost: app\r\n"
				      "Content-Length: 20\r\n\r\n0123456789");
	SIMRIG_UNTIL(&r->sim, client->in_n > 2000, 1000);
	proxycase_stop_reading(r, client);
	simrig_run(&r->sim, 300);
	assert_int_equal(r->stats.requests_in_flight, 1);
	errors = r->upstream_stats[0].errors;
	slab_fail_at(1 + (unsigned)simrig_draw(&r->sim, 2));
	sim_peer_send_text(client, "0123");
	simrig_run(&r->sim, 100);
	slab_fail_at(0);
	if (r->upstream_stats[0].errors == errors)
		return;
	unsent_n++;
	assert_int_equal(r->stats.requests_in_flight, 0);
}

static void test_early_response(void **state)
{
	(void)state;
	unsent_n = 0;
	proxycase_each_seed(early_response, "early response",
			    (struct proxyrig_options){ .buffers = 0 });
	assert_true(unsent_n > 0);
}

/* ---- few buffers ------------------------------------------------------------ */

/* Many connections share a handful of buffers, and so do the simulated peers. Some requests time
 * out, but none is left waiting, and afterwards everything works again. */
static void few_buffers(struct proxyrig *r)
{
	struct sim_peer *client[24];

	for (unsigned i = 0; i < COUNT(client); i++) {
		client[i] = sim_peer_connect(&r->sim, PROXYRIG_PORT);
		if (i % 4 == 0) {
			sim_peer_send_text(client[i],
					   "POST /echo HTTP/1.1\r\nHost: app\r\n"
					   "Content-Length: 40000\r\n\r\n");
			for (unsigned k = 0; k < 400; k++)
				sim_peer_send_text(
					client[i],
					"0123456789abcdefghijklmnopqrstuvwxyz01234567890"
					"123456789abcdefghijklmnopqrstuvwxyz01234567890123"
					"4567");
		} else {
			sim_peer_send_text(client[i], i % 4 == 1   ? GET("/length/100000")
						      : i % 4 == 2 ? GET("/chunked/50000")
								   : GET("/cache/foo"));
		}
	}
	for (unsigned i = 0; i < COUNT(client); i++)
		SIMRIG_UNTIL(&r->sim, proxycase_decided(client[i]), 120000);
	for (unsigned i = 0; i < COUNT(client); i++)
		sim_peer_close_now(client[i]);
	simrig_run(&r->sim, 10000);
	proxycase_assert_response(r, proxycase_request(r, GET("/length/8")), 200,
				  "Length: 8");
}

static void test_few_buffers(void **state)
{
	static const uint32_t counts[] = { 2, 3, 4 };

	(void)state;
	for (size_t i = 0; i < COUNT(counts); i++)
		proxycase_some_seeds(10, few_buffers, "few buffers",
				     (struct proxyrig_options){ .buffers = counts[i] });
}

/* ---- the reserve ------------------------------------------------------------ */

/* Takes blocks until the reserve is in use, and more of them, so that returning one of them does
 * not make it whole again. */
static struct buf *use_up_memory(struct proxyrig *r)
{
	unsigned from_reserve_n = 0;
	struct buf *held = NULL;

	reserve_fail_after(0);
	while (from_reserve_n < RESERVE_CHUNKS_MAX / 2 * 7) {
		struct buf *b = buf_new(io_bufs(r->sim.tick.loop), 8000);

		assert_non_null(b);
		from_reserve_n += !reserve_whole();
		b->next = held;
		held = b;
	}
	return held;
}

static void put_blocks(struct buf *held)
{
	while (held) {
		struct buf *b = held;

		held = b->next;
		buf_put(b);
	}
}

/* An exchange in flight is finished; a request on an open connection gets a 503; a connection
 * that is not accepted yet waits until there is memory again. */
static void memory_short(struct proxyrig *r)
{
	struct sim_peer *connected = proxycase_request(r, GET("/length/3"));
	struct sim_peer *busy, *later;
	struct buf *held;
	unsigned before;

	proxycase_assert_response(r, connected, 200, "Length: 3");
	assert_int_equal(reserve_init(RESERVE_CHUNKS_MAX), 0);
	before = r->requests;
	busy = proxycase_request(r, GET("/slow/100"));
	SIMRIG_UNTIL(&r->sim, r->requests == before + 1, 1000);
	held = use_up_memory(r);
	proxycase_discard_input(connected);
	sim_peer_send_text(connected, GET("/length/5"));
	proxycase_assert_response(r, connected, 503, "Connection: close");
	SIMRIG_UNTIL(&r->sim, connected->eof, 1000);
	later = proxycase_request(r, GET("/length/6"));
	simrig_run(&r->sim, 10);
	assert_int_equal(r->requests, before + 1);
	proxycase_assert_response(r, busy, 200, "");
	assert_int_equal(later->in_n, 0);
	reserve_fail_after(-1);
	put_blocks(held);
	proxycase_assert_response(r, later, 200, "Length: 6");
	reserve_done();
}

static void test_memory_short(void **state)
{
	(void)state;
	proxycase_each_seed(memory_short, "memory short",
			    (struct proxyrig_options){ .buffers = 0 });
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_failing_takes),
		PROXYCASE_TEST(test_early_response),
		PROXYCASE_TEST(test_few_buffers),
		PROXYCASE_TEST(test_memory_short),
	};

	return proxycase_run("scarcity", tests, COUNT(tests));
}
