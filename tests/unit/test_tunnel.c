/* A whole proxy: tunnels after a 101.
 * timeout: 600 */
#include <string.h>

#include "lib/proxycase.h"

static void tunnel(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, UPGRADE "and ");
	struct client_response response;
	struct slice rest = { NULL, 0 };
	size_t all = 5 + 4 + 200000, n = 0;

	for (size_t i = 0; i < 200; i++) {
		char text[1001];

		memset(text, 'a' + (int)(i % 26), 1000);
		text[1000] = '\0';
		sim_peer_send_text(client, text);
	}
	if (simrig_draw(&r->sim, 2))
		simrig_run(&r->sim, 300);
	sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 60000);
	assert_true(client->eof);
	n = client_responses_read(client, &response, 1, 0, &rest);
	assert_int_equal(n, 1);
	assert_int_equal(response.status, 101);
	assert_int_equal(rest.len, all);
	assert_memory_equal(rest.ptr, "helloand aaaa", 13);
	for (size_t i = 0; i < 200000; i++)
		assert_true(rest.ptr[9 + i] == (char)('a' + i / 1000 % 26));
	/* Both sides have ended: the tunnel ends at once, not at the idle timeout. */
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 500);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 3000);
}

static void test_tunnel(void **state)
{
	(void)state;
	proxycase_each_seed(tunnel, "tunnel", (struct proxyrig_options){ .buffers = 0 });
	proxycase_each_seed(
		tunnel, "tunnel, small window",
		(struct proxyrig_options){ .limits = "  window: 32KiB\n", .buffers = 8 });
}

static void tunnel_idle(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, UPGRADE);

	SIMRIG_UNTIL(&r->sim, r->stats.tunnels == 1, 1000);
	simrig_run(&r->sim, 4000);
	sim_peer_send_text(client, "still here");
	simrig_run(&r->sim, 4000);
	assert_false(sim_peer_finished(client));
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 1500);
	assert_int_equal(proxyrig_failures(r, 0), 0);
}

static void test_tunnel_idle(void **state)
{
	(void)state;
	proxycase_each_seed(
		tunnel_idle, "tunnel idle",
		(struct proxyrig_options){ .limits = "  idle_timeout: 5s\n" });
}

#define BODY_BYTES 4000

/* While a tunnel stands, nothing of the request's body is kept: the blocks in use are those of
 * its head. */
static void tunnel_after_body(struct proxyrig *r)
{
	static char request[BODY_BYTES + 200];
	struct sim_peer *client;
	int n = snprintf(
		request, sizeof(request),
		"PUT /again/upgrade HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\n"
		"Upgrade: echo\r\nContent-Length: %d\r\n\r\n",
		BODY_BYTES);

	memset(request + n, 'b', BODY_BYTES);
	client = proxycase_request(r, request);
	SIMRIG_UNTIL(&r->sim, r->stats.tunnels == 1, 1000);
	simrig_run(&r->sim, 100);
	assert_true(io_bufs(r->sim.tick.loop)->block_bytes < BODY_BYTES);
	sim_peer_send_text(client, "more");
	sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 60000);
	assert_non_null(memmem(client->in, client->in_n, "\r\n\r\nhellomore", 13));
}

static void test_tunnel_after_body(void **state)
{
	(void)state;
	proxycase_each_seed(tunnel_after_body, "tunnel after a body",
			    (struct proxyrig_options){ .again = RETRY("") });
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_tunnel),
		PROXYCASE_TEST(test_tunnel_idle),
		PROXYCASE_TEST(test_tunnel_after_body),
	};

	return proxycase_run("tunnel", tests, COUNT(tests));
}
