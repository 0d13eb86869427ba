/* A whole proxy: pipelined requests, slow clients and slow origins.
 * timeout: 600 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proxycase.h"

#define RESPONSES_MAX 40

/* ---- many requests on one connection ---------------------------------------- */

static const struct {
	const char *path;
	size_t n;
	int status;
} pipeline[] = {
	{ "/length/", 70000, 200 },    { "/chunked/", 30000, 200 },
	{ "/until-close/", 900, 200 }, { "/status/204", 0, 204 },
	{ "/nobody", 0, 502 },         { "/cache/foo", 0, 200 },
	{ "/length/", 40, 200 },       { "/closed", 0, 502 },
	{ "/pair/length/", 300, 200 },
};

static void pipelined(struct proxyrig *r)
{
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	struct client_response responses[RESPONSES_MAX];
	unsigned which[RESPONSES_MAX], n, sent_n = 3 + (unsigned)simrig_draw(&r->sim, 30);
	size_t sizes[RESPONSES_MAX];
	struct slice rest;
	char text[256], number[24];
	bool shuts_down = simrig_draw(&r->sim, 2);

	for (unsigned i = 0; i < sent_n; i++) {
		which[i] = shuts_down ? 0
				      : (unsigned)simrig_draw(&r->sim, COUNT(pipeline));
		sizes[i] = pipeline[which[i]].n
				   ? 1 + simrig_draw(&r->sim, pipeline[which[i]].n)
				   : 0;
		snprintf(number, sizeof(number), "%zu", sizes[i]);
		snprintf(text, sizeof(text), "GET %s%s%s HTTP/1.1\r\nHost: app\r\n%s\r\n",
			 shuts_down ? "/half" : "", pipeline[which[i]].path,
			 sizes[i] ? number : "",
			 i + 1 == sent_n ? "Connection: close\r\n" : "");
		sim_peer_send_text(client, text);
	}
	if (shuts_down)
		sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 60000);
	n = client_responses_read(client, responses, RESPONSES_MAX, 0, &rest);
	assert_int_equal(n, sent_n);
	assert_int_equal(rest.len, 0);
	assert_true(client->eof);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(responses[i].status, pipeline[which[i]].status);
		if (sizes[i] > 0)
			proxycase_assert_pattern(responses[i].body, sizes[i]);
		assert_int_equal(responses[i].close, i + 1 == sent_n);
	}
	client_responses_free(responses, n);
	assert_int_equal(r->stats.requests, sent_n);
}

static void test_pipelined(void **state)
{
	(void)state;
	proxycase_each_seed(pipelined, "pipelined",
			    (struct proxyrig_options){ .buffers = 0 });
	proxycase_each_seed(pipelined, "pipelined, small window",
			    (struct proxyrig_options){ .limits = "  window: 32KiB\n" });
	proxycase_each_seed(pipelined, "pipelined, few buffers",
			    (struct proxyrig_options){ .buffers = 16 });
}

/* ---- slow clients, slow origins --------------------------------------------- */

/* A client that reads slowly makes its origin wait. The origin is not late for that, not even at
 * the moment when the client has caught up. */
static void slow_reader(struct proxyrig *r)
{
	struct sim_peer *client;
	uint64_t peak = 0;

	sim_set_socket_bytes(r->sim.tick.loop, 4096);
	client = proxycase_request(r, GET("/length/300000"));
	SIMRIG_UNTIL(&r->sim, client->in_n > 2000, 1000);
	while (client->in_n < 250000) {
		proxycase_stop_reading(r, client);
		simrig_run(&r->sim, 1500 + (uint32_t)simrig_draw(&r->sim, 400));
		sim_peer_resume_reading(client);
		simrig_run(&r->sim, 1 + (uint32_t)simrig_draw(&r->sim, 40));
		if (peak <
		    io_bufs(r->sim.tick.loop)->count - io_bufs(r->sim.tick.loop)->free_n)
			peak = io_bufs(r->sim.tick.loop)->count -
			       io_bufs(r->sim.tick.loop)->free_n;
	}
	assert_true(peak * BUF_BYTES <= 64u * 1024 + 4 * BUF_BYTES);
	proxycase_assert_response(r, client, 200, "Length: 300000");
	assert_false(sim_peer_finished(client));
}

/* Seeds for which the next test applies. */
static unsigned bursts;

/* Nor is it late if it sent nothing while its client was slow. */
static void slow_reader_of_a_burst(struct proxyrig *r)
{
	struct sim_peer *client;

	sim_set_socket_bytes(r->sim.tick.loop, 4096);
	client = proxycase_request(r, GET("/burst/5100"));
	SIMRIG_UNTIL(&r->sim, client->in_n > 2000, 1000);
	proxycase_stop_reading(r, client);
	simrig_run(&r->sim, 5000);
	/* Not this case: part of it is not in the proxy yet, or nothing waits there. */
	if (r->origins[0].last->out_n - r->origins[0].last->out_sent != 10 ||
	    r->origins[0].last->pause.deadline_ms > r->sim.tick.now_ms + 700 ||
	    r->stats.requests_in_flight == 0)
		return;
	sim_peer_resume_reading(client);
	proxycase_assert_response(r, client, 200, "Length: 24010");
	bursts++;
}

static void test_slow_reader(void **state)
{
	(void)state;
	proxycase_each_seed(
		slow_reader_of_a_burst, "slow reader of a burst",
		(struct proxyrig_options){ .limits = "  send_timeout: 9s\n"
						     "  request_head: 1KiB\n"
						     "  window: 64KiB\n",
					   .upstream = "    response_timeout: 1s\n" });
	assert_true(bursts > 0);
	proxycase_each_seed(
		slow_reader, "slow reader",
		(struct proxyrig_options){ .limits = "  send_timeout: 2500ms\n"
						     "  window: 64KiB\n",
					   .upstream = "    response_timeout: 1s\n" });
}

/* A response that takes long: its client has not been slow when it comes. */
static void slow_response(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/slow/400"));

	SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 60000);
	proxycase_assert_response(r, client, 200, "Length: 30");
}

static void test_slow_response(void **state)
{
	(void)state;
	proxycase_each_seed(
		slow_response, "slow response",
		(struct proxyrig_options){ .limits = "  send_timeout: 500ms\n"
						     "  receive_timeout: 500ms\n" });
}

/* A head that arrives in small pieces, with the smallest window and the largest head. */
static void head_in_pieces(struct proxyrig *r)
{
	size_t n = 1 + simrig_draw(&r->sim, 60000);
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	char *text = malloc(n + 1);

	assert_non_null(text);
	memset(text, 'x', n);
	text[n] = '\0';
	sim_peer_send_text(client, "GET /length/9 HTTP/1.1\r\nHost: app\r\nX-Long: ");
	sim_peer_send_text(client, text);
	sim_peer_send_text(client, "\r\n\r\n");
	free(text);
	proxycase_assert_response(r, client, 200, "Length: 9");
}

static void test_head_in_pieces(void **state)
{
	(void)state;
	proxycase_each_seed(head_in_pieces, "head in pieces",
			    (struct proxyrig_options){ .limits = "  request_head: 64KiB\n"
								 "  window: 32KiB\n" });
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_pipelined),
		PROXYCASE_TEST(test_slow_reader),
		PROXYCASE_TEST(test_slow_response),
		PROXYCASE_TEST(test_head_in_pieces),
	};

	return proxycase_run("relay", tests, COUNT(tests));
}
