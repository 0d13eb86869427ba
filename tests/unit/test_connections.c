/* Walks over the connections of a worker: slices, while clients come and go; what a row says; what
 * is closed. Orders to servers are in test_upstream.c, the API in tests/real/api.py. */
#include <stdlib.h>

#include "lib/proxycase.h"
#include "proxy/connections.h"

#define CLIENTS 700
#define FD_MAX 65536

static struct sim_peer *clients[CLIENTS];
static unsigned seen[FD_MAX]; /* by descriptor */

static void connect_all(struct proxyrig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		clients[i] = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == n, 20000);
}

/* The next slice, whose rows it counts by descriptor. */
static unsigned read_slice(struct proxyrig *r, struct connection_walk *w)
{
	connections_read(&r->proxy, w);
	assert_in_range(w->row_n, 0, CONNECTIONS_ROWS);
	for (unsigned i = 0; i < w->row_n; i++) {
		assert_in_range(w->rows[i].fd, 0, FD_MAX - 1);
		seen[w->rows[i].fd]++;
	}
	return w->row_n;
}

/* All clients are met once, those that stay. */
static void slices(struct proxyrig *r)
{
	struct connection_walk w = { .filter = { 0 } };
	unsigned n = 0, calls = 0;

	memset(seen, 0, sizeof(seen));
	connect_all(r, CLIENTS);
	while (!w.ended) {
		n += read_slice(r, &w);
		calls++;
	}
	assert_int_equal(n, CLIENTS);
	assert_in_range(calls, CLIENTS / CONNECTIONS_ROWS, CLIENTS / CONNECTIONS_ROWS + 2);
	assert_false(w.begun);
	for (unsigned i = 0; i < FD_MAX; i++)
		assert_in_range(seen[i], 0, 1);
	/* Nothing passes: each slice looks at a bounded number. */
	w = (struct connection_walk){ .filter = { .older_ms = 3600000 } };
	for (calls = 0; !w.ended; calls++)
		assert_int_equal(read_slice(r, &w), 0);
	assert_in_range(calls, CLIENTS / CONNECTIONS_SLICE, CLIENTS / CONNECTIONS_SLICE + 1);
}

static void test_slices(void **state)
{
	(void)state;
	proxycase_some_seeds(2, slices, "slices", (struct proxyrig_options){ 0 });
}

static struct list *next_of(const struct connection_walk *w)
{
	return w->front.next;
}

/* Between two slices the client that would be met next goes, and the last one, and others come. */
static void coming_and_going(struct proxyrig *r)
{
	struct connection_walk w = { .filter = { 0 } }, other = { .filter = { 0 } };
	unsigned come = 0;

	memset(seen, 0, sizeof(seen));
	connect_all(r, 300);
	while (!w.ended) {
		read_slice(r, &w);
		if (!other.ended)
			connections_read(&r->proxy, &other); /* another walk, at the same place */
		if (w.ended)
			break;
		if (next_of(&w) != &r->proxy.front.all)
			client_kill(LIST_ITEM(next_of(&w), struct client, node));
		client_kill(LIST_ITEM(r->proxy.front.all.prev, struct client, node));
		if (come < 50 && come++ < 50)
			sim_peer_connect(&r->sim, PROXYRIG_PORT);
		simrig_run(&r->sim, 5);
	}
	/* Who is here at the end was met. */
	LIST_EACH(&r->proxy.front.all, node) {
		const struct client *c = LIST_ITEM(node, struct client, node);

		assert_true(c->conn.fd < 0 || seen[c->conn.fd] > 0);
	}
	/* None is met twice. Its descriptor may be: of a client that came later. */
	for (unsigned i = 0; i < FD_MAX; i++)
		assert_in_range(seen[i], 0, 2);
	/* A walk that has not ended, when the worker ends: nothing is left to be called. */
	w = (struct connection_walk){ .filter = { 0 } };
	connections_read(&r->proxy, &w);
	assert_true(w.begun);
	connections_end(&w);
	connections_end(&w);
	assert_true(w.ended && !w.begun);
}

static void test_coming_and_going(void **state)
{
	(void)state;
	proxycase_some_seeds(4, coming_and_going, "coming and going",
			     (struct proxyrig_options){ 0 });
}

static const struct connection_row *row_in(struct proxyrig *r, struct connection_walk *w,
					   enum connection_phase phase)
{
	for (int i = 0; i < 2000; i++) {
		*w = (struct connection_walk){ .filter = w->filter };
		connections_read(&r->proxy, w);
		if (!w->ended)
			connections_end(w);
		for (unsigned k = 0; k < w->row_n; k++)
			if (w->rows[k].phase == phase)
				return &w->rows[k];
		simrig_run(&r->sim, 1);
	}
	fail_msg("no connection is %s", connection_phase_text(phase));
	return NULL;
}

static void rows(struct proxyrig *r)
{
	static struct connection_walk w;
	const struct connection_row *row;
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);

	w = (struct connection_walk){ .filter = { 0 } };
	row = row_in(r, &w, CONNECTION_NEW);
	assert_string_equal(row->upstream, "");
	sim_peer_send_text(client, "GET /never?x=1 HT");
	row_in(r, &w, CONNECTION_HEAD);
	sim_peer_send_text(client, "TP/1.1\r\nHost: app\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n");
	row = row_in(r, &w, CONNECTION_WAITING);
	assert_string_equal(row->upstream, "app");
	assert_true(row->server[0] != '\0');
	assert_string_equal(row->request, "GET /never?x=1 HTTP/1.1");
	assert_string_equal(row->host, "app");
	assert_int_equal(row->requests, 1);
	assert_int_equal(row->client.addr[3], 9);
	assert_true(row->peer.addr[3] != 9);
	simrig_run(&r->sim, 1500);
	row = row_in(r, &w, CONNECTION_WAITING);
	assert_in_range(row->age_ms, 1500, 3600);
	/* Filters. */
	snprintf(w.filter.upstream, sizeof(w.filter.upstream), "app");
	w.filter.older_ms = 1500;
	row_in(r, &w, CONNECTION_WAITING);
	w.filter.by_client = true;
	assert_true(ip_parse(&w.filter.client.first, SLICE("192.0.2.0")));
	assert_true(ip_parse(&w.filter.client.last, SLICE("192.0.2.255")));
	row_in(r, &w, CONNECTION_WAITING);
	snprintf(w.filter.upstream, sizeof(w.filter.upstream), "other");
	w = (struct connection_walk){ .filter = w.filter };
	connections_read(&r->proxy, &w);
	assert_true(w.ended && w.row_n == 0);
	/* It is closed: the client and the log see that. */
	w = (struct connection_walk){ .kill = true };
	snprintf(w.filter.upstream, sizeof(w.filter.upstream), "app");
	connections_read(&r->proxy, &w);
	assert_int_equal(w.row_n, 1);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 1000);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 1000);
	proxycase_assert_ending(r, ENDING_KILLED);
	assert_int_equal(r->stats.requests_in_flight, 0);
}

static void test_rows(void **state)
{
	(void)state;
	proxycase_some_seeds(4, rows, "rows", (struct proxyrig_options){ 0 });
}

/* Of each case: a listing at any moment, and an end at any moment. */
static void test_any_moment(void **state)
{
	(void)state;
	for (unsigned i = 0; i < proxycase_n; i++) {
		struct connection_walk *w = calloc(1, sizeof(*w));
		struct proxyrig r;
		struct sim_peer *client;
		uint64_t seed = i + 1;

		assert_non_null(w);
		proxycase_now.name = proxycases[i].name;
		proxycase_open(&r, &proxycases[i], seed);
		client = sim_peer_connect(&r.sim, PROXYRIG_PORT);
		proxycase_start(&r, &proxycases[i], client);
		for (uint64_t n = simrig_draw(&r.sim, 40); n > 0; n--) {
			*w = (struct connection_walk){ .filter = { 0 } };
			connections_read(&r.proxy, w);
			simrig_run(&r.sim, 1);
		}
		*w = (struct connection_walk){ .kill = true };
		connections_read(&r.proxy, w);
		simrig_run(&r.sim, 200);
		proxyrig_close(&r);
		free(w);
	}
	proxycase_now.name = "";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_coming_and_going),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_any_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
