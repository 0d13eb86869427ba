/* How fast a client has to send the body of a request, and to take what is sent to it: rates and
 * times, of a route and of the limits.
 * timeout: 600 */
#include "lib/proxycase.h"
#include "proxy/pace.h"

/* ---- request bodies ------------------------------------------------------------ */

/* Sends `bytes` each `ms`, n times, unless a response comes before. Returns the time that passed. */
static uint64_t send_slowly(struct proxyrig *r, struct sim_peer *client, const char *bytes,
			    uint32_t ms, unsigned n)
{
	uint64_t from_ms = r->sim.tick.now_ms;

	for (unsigned i = 0; i < n && !proxycase_decided(client); i++) {
		sim_peer_send_text(client, bytes);
		simrig_run(&r->sim, ms);
	}
	return proxycase_elapsed_ms(r, from_ms);
}

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define CHUNKED(path) \
	"POST " path " HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"

/* Each byte comes before the timeout, but far fewer than the rate says: late after about the
 * timeout. The server has had part of it. */
static void trickle(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/echo", 1000));

	assert_in_range(send_slowly(r, client, "x", 1000, 60), 2900, 7000);
	proxycase_assert_response(r, client, 408, "close");
	proxycase_assert_ending(r, ENDING_REQUEST_SLOW);
	assert_int_equal(proxyrig_failures(r, 0), 0);
}

/* Nor do the digits of a chunk's size count. */
static void trickle_of_a_size(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, CHUNKED("/echo"));

	assert_in_range(send_slowly(r, client, "0", 500, 14), 2900, 7000);
	proxycase_assert_response(r, client, 408, "close");
	proxycase_assert_ending(r, ENDING_REQUEST_SLOW);
}

/* With pauses a little shorter than the timeout, and as many bytes as the rate says. */
static void bursts(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/echo", 3000));

	send_slowly(r, client, HUNDRED HUNDRED HUNDRED, 2500, 10);
	proxycase_assert_response(r, client, 200, "Length: 3000");
}

/* What came fast at first makes up for nothing that is slow later. */
static void fast_then_slow(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/echo", 9000));

	for (unsigned i = 0; i < 80; i++)
		sim_peer_send_text(client, HUNDRED);
	simrig_run(&r->sim, 500);
	assert_in_range(send_slowly(r, client, "x", 1000, 60), 2900, 7000);
	proxycase_assert_response(r, client, 408, "close");
}

/* The time in which the server takes nothing is not the client's. */
static void server_reads_late(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/deaf", 400000));

	for (unsigned i = 0; i < 4000; i++)
		sim_peer_send_text(client, HUNDRED);
	simrig_run(&r->sim, 30000);
	assert_false(proxycase_decided(client));
}

/* Nor is the time in the queue, after which the body is awaited again. */
static void server_is_busy(struct proxyrig *r)
{
	struct sim_peer *other = proxycase_request(r, GET("/never"));
	struct sim_peer *client;

	simrig_run(&r->sim, 200);
	client = proxycase_request(r, POST("/echo", 10) "0");
	simrig_run(&r->sim, 10000);
	assert_false(proxycase_decided(client));
	sim_peer_close(other);
	send_slowly(r, client, "1", 900, 9);
	proxycase_assert_response(r, client, 200, "Length: 10");
}

static void test_receive_rate(void **state)
{
	const struct proxyrig_options options = { .limits = "  receive_timeout: 3s\n"
							    "  min_receive_rate: 100B\n" };

	(void)state;
	proxycase_each_seed(trickle, "trickle", options);
	proxycase_each_seed(trickle_of_a_size, "trickle of a size", options);
	proxycase_each_seed(bursts, "bursts", options);
	proxycase_each_seed(fast_then_slow, "fast, then slow", options);
	proxycase_each_seed(server_is_busy, "server is busy",
			    (struct proxyrig_options){ .limits = "  receive_timeout: 3s\n"
								 "  min_receive_rate: 1B\n",
						       .upstream = "    connections: 1\n"
								   "    queue_timeout: 60s\n" });
	proxycase_each_seed(server_reads_late, "server reads late",
			    (struct proxyrig_options){ .limits = "  receive_timeout: 3s\n"
								 "  send_timeout: 60s\n"
								 "  window: 64KiB\n" });
}

static void trickle_without_rate(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/echo", 20));

	send_slowly(r, client, "x", 1000, 20);
	proxycase_assert_response(r, client, 200, "Length: 20");
}

/* The route has its own time and rate; those of `limits` hold elsewhere. */
static void route_receives(struct proxyrig *r)
{
	struct sim_peer *own = proxycase_request(r, POST("/again/echo", 20));
	struct sim_peer *other = proxycase_request(r, POST("/echo", 20));

	send_slowly(r, other, "x", 1000, 20);
	proxycase_assert_response(r, other, 408, "close");
	proxycase_assert_ending(r, ENDING_REQUEST_SLOW);
	assert_in_range(send_slowly(r, own, "x", 5000, 20), 90000, 110000);
	proxycase_assert_response(r, own, 200, "Length: 20");
}

static void route_is_stricter(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/again/echo", 20) "x");
	uint64_t from_ms = r->sim.tick.now_ms;

	proxycase_assert_response(r, client, 408, "close");
	proxycase_assert_ending(r, ENDING_REQUEST_TIMEOUT);
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 300, 1500);
}

static void test_route_receives(void **state)
{
	(void)state;
	proxycase_each_seed(trickle_without_rate, "trickle without rate",
			    (struct proxyrig_options){ .limits = "  receive_timeout: 3s\n"
								 "  min_receive_rate: none\n" });
	proxycase_each_seed(route_receives, "route receives",
			    (struct proxyrig_options){ .limits = "  receive_timeout: 3s\n",
						       .again = "    receive_timeout: 60s\n"
								"    min_receive_rate: none\n" });
	proxycase_each_seed(route_is_stricter, "route is stricter",
			    (struct proxyrig_options){ .limits = "  receive_timeout: 60s\n",
						       .again = "    receive_timeout: 300ms\n" });
}

/* ---- readers --------------------------------------------------------------------- */

#define SOCKET_BYTES 1024

/* Reads about what one socket holds each `ms`. Returns the time until the end of the connection, or until
 * nothing more comes. */
static uint64_t read_slowly(struct proxyrig *r, struct sim_peer *client, uint32_t ms)
{
	uint64_t from_ms = r->sim.tick.now_ms;
	size_t before;

	do {
		before = client->in_n;
		sim_peer_resume_reading(client);
		SIMRIG_REACHED(&r->sim, client->in_n > before || client->eof, 500);
		proxycase_stop_reading(r, client);
		simrig_run(&r->sim, ms);
	} while (client->in_n > before && !client->error && !client->eof);
	return proxycase_elapsed_ms(r, from_ms);
}

static struct sim_peer *slow_reader(struct proxyrig *r, const char *request)
{
	struct sim_peer *client;

	sim_set_socket_bytes(r->sim.tick.loop, SOCKET_BYTES);
	client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	proxycase_stop_reading(r, client);
	sim_peer_send_text(client, request);
	return client;
}

/* Takes some before each timeout, but less than the rate says. */
static void reads_too_slowly(struct proxyrig *r)
{
	struct sim_peer *client = slow_reader(r, GET("/length/150000"));

	assert_in_range(read_slowly(r, client, 2000), 3000, 20000);
	assert_true(client->in_n < 100000);
	proxycase_assert_ending(r, ENDING_CLIENT_SLOW);
}

/* Seeds with which the proxy has closed before all was read: with others the network delivers more at
 * once, and few reads suffice. */
static unsigned cut;

/* Reads slowly. If the proxy closes before n bytes were read, then not before the timeout. */
static void read_until_cut(struct proxyrig *r, struct sim_peer *client, size_t n, uint64_t most_ms)
{
	uint64_t ms = read_slowly(r, client, 2000);
	bool is_cut = client->in_n < n;

	assert_in_range(ms, is_cut ? 3000 : 0, most_ms);
	cut += is_cut;
}

static bool outbox_is_full(struct proxyrig *r)
{
	struct list *clients = &r->proxy.front.all;

	return !list_empty(clients) &&
	       conn_push_space(&CONTAINER(clients->next, struct client, node)->conn) == 0;
}

static bool exchange_has_ended(struct proxyrig *r)
{
	return r->stats.requests == 1 && r->stats.requests_in_flight == 0;
}

/* The exchange ends, and the rest is in the outbox. False: the network has cut the response into
 * more pieces than that has entries, so the exchange waits for the client, as in
 * reads_too_slowly(). */
static bool rest_is_in_outbox(struct proxyrig *r)
{
	SIMRIG_UNTIL(&r->sim, exchange_has_ended(r) || outbox_is_full(r), 2000);
	return exchange_has_ended(r);
}

/* The exchange has ended before the client reads. */
static void reads_the_rest_too_slowly(struct proxyrig *r)
{
	struct sim_peer *client = slow_reader(r, GET("/length/9000"));

	if (!rest_is_in_outbox(r))
		return;
	read_until_cut(r, client, 9000, 20000);
	SIMRIG_UNTIL(&r->sim, client->in_n >= 9000 || r->stats.connections == 0, 2000);
}

/* The same, and the connection is already closing. */
static void reads_the_last_too_slowly(struct proxyrig *r)
{
	struct sim_peer *client = slow_reader(r, "GET /length/9000 HTTP/1.1\r\nHost: app\r\n"
						 "Connection: close\r\n\r\n");

	if (!rest_is_in_outbox(r))
		return;
	read_until_cut(r, client, 9000, 25000);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 10000);
}

static void reads_slowly(struct proxyrig *r)
{
	struct sim_peer *client = slow_reader(r, GET("/length/10000"));

	read_slowly(r, client, 2000);
	proxycase_assert_response(r, client, 200, "Length: 10000");
}

/* One socket full in each send, which takes less than the timeout. */
static void reads_each_send_too_slowly(struct proxyrig *r)
{
	struct sim_peer *client = slow_reader(r, GET("/length/150000"));

	read_slowly(r, client, 2000);
	cut += client->in_n < 150000;
}

/* An event stream: the client takes each event, so it is never slow, however few bytes those are;
 * nor is one that does not read while nothing is sent. */
static void reads_events(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/slow/4000"));

	SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 600000);
	proxycase_assert_response(r, client, 200, "Length: 30");
}

static void test_send_rate(void **state)
{
	const struct proxyrig_options fast = { .limits = "  send_timeout: 3s\n"
							 "  window: 1MiB\n"
							 "  min_send_rate: 5KiB\n" };
	const struct proxyrig_options slow = { .limits = "  send_timeout: 3s\n"
							 "  window: 1MiB\n"
							 "  min_send_rate: 150B\n" };

	(void)state;
	proxycase_each_seed(reads_too_slowly, "reads too slowly", fast);
	cut = 0;
	proxycase_each_seed(reads_the_rest_too_slowly, "reads the rest too slowly", fast);
	assert_true(cut > PROXYCASE_SEEDS / 2);
	cut = 0;
	proxycase_each_seed(reads_the_last_too_slowly, "reads the last too slowly", fast);
	assert_true(cut > PROXYCASE_SEEDS / 2);
	cut = 0;
	proxycase_each_seed(reads_each_send_too_slowly, "reads each send too slowly",
			    (struct proxyrig_options){ .limits = "  send_timeout: 60s\n"
								 "  window: 32KiB\n"
								 "  min_send_rate: 5KiB\n" });
	assert_true(cut > PROXYCASE_SEEDS / 2);
	proxycase_each_seed(reads_slowly, "reads slowly", slow);
	proxycase_each_seed(reads_events, "reads events", fast);
}

/* Only the route has a rate, and a longer time. */
static void route_sends(struct proxyrig *r)
{
	struct sim_peer *own = slow_reader(r, GET("/again/length/150000"));

	read_slowly(r, own, 2000);
	cut += own->in_n < 150000;
	reads_slowly(r);
}

/* To a server, too. */
static void server_is_slow_for_the_route(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/again/deaf", 400000));
	uint64_t from_ms = r->sim.tick.now_ms;

	for (unsigned i = 0; i < 4000; i++)
		sim_peer_send_text(client, HUNDRED);
	proxycase_assert_response(r, client, 504, "connection_write_timeout");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 500, 4000);
}

static void test_route_sends(void **state)
{
	(void)state;
	cut = 0;
	proxycase_each_seed(route_sends, "route sends",
			    (struct proxyrig_options){ .limits = "  send_timeout: 3s\n"
								 "  window: 1MiB\n"
								 "  min_send_rate: none\n",
						       .again = "    send_timeout: 9s\n"
								"    min_send_rate: 5KiB\n" });
	assert_true(cut > PROXYCASE_SEEDS / 2);
	proxycase_each_seed(server_is_slow_for_the_route, "server is slow for the route",
			    (struct proxyrig_options){ .limits = "  send_timeout: 60s\n"
								 "  window: 64KiB\n",
						       .again = "    send_timeout: 500ms\n" });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_receive_rate),
		PROXYCASE_TEST(test_route_receives),
		PROXYCASE_TEST(test_send_rate),
		PROXYCASE_TEST(test_route_sends),
	};

	return proxycase_run("pace", tests, COUNT(tests));
}
