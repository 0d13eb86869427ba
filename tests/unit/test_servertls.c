/* TLS towards the servers of an upstream: what is resumed and reused, and what is not; handshakes
 * that fail. Records and handshakes are those without cryptography (lib/simtls.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/back/server.h"
#include "lib/memcacherig.h"
#include "lib/simtls.h"
#include "lib/upstreamrig.h"

static struct tls_context *server_context, *client_contexts[2];
static struct config_upstream_tls settings[2];

/* `servers` servers that speak TLS, each with the name "x.test". */
static void secure_all(struct upstreamrig *h)
{
	assert_true(tick_use_tls(&h->rig.tick, NULL, 1000));
	for (unsigned i = 0; i < UPSTREAMRIG_SIM_SERVERS; i++)
		h->sim_servers[i].tls = server_context;
	for (unsigned i = 0; i < UPSTREAMRIG_SERVERS; i++)
		h->servers[i].tls_name = "x.test";
	for (unsigned i = 0; i < 2; i++)
		settings[i] =
			(struct config_upstream_tls){ .context = client_contexts[i] };
	h->config.tls = &settings[0];
}

static void reconfigure(struct upstreamrig *h)
{
	h->config.servers = h->servers;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
}

/* Opens a connection, and lets the ticket of its session arrive. */
static void open_one(struct upstreamrig *h, struct waiter *w)
{
	waiter_lease(h, w);
	waiter_wait_ready(h, w);
	simrig_run(&h->rig, 300);
}

static struct slice name_seen(const struct upstreamrig *h, unsigned server)
{
	return h->sim_servers[server].last->tls->name;
}

/* ---- sessions ----------------------------------------------------------------- */

static void resumes(struct upstreamrig *h)
{
	struct waiter a, b, c;

	secure_all(h);
	upstreamrig_start(h);
	open_one(h, &a);
	assert_false(a.lease.reused);
	assert_true(slice_equal(name_seen(h, 0), SLICE("x.test")));
	open_one(h, &b);
	assert_int_equal(h->stats.tls_handshakes, 2);
	assert_int_equal(h->stats.tls_resumed, 1);
	upstream_return(&a.lease, true);
	open_one(h, &c); /* an idle connection: no handshake */
	assert_true(c.lease.reused);
	assert_int_equal(h->stats.tls_handshakes, 2);
	upstream_return(&b.lease, true);
	upstream_return(&c.lease, true);
	assert_int_equal(h->stats.tls_failures, 0);
}

static void test_resumes(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, resumes);
}

/* A session belongs to one server, also if another one has the same name. */
static void sessions_of_servers(struct upstreamrig *h)
{
	struct waiter w[4];

	secure_all(h);
	upstreamrig_start(h);
	for (unsigned i = 0; i < 4; i++)
		open_one(h, &w[i]);
	assert_int_equal(h->sim_servers[0].accepted, 2);
	assert_int_equal(h->sim_servers[1].accepted, 2);
	assert_int_equal(h->stats.tls_resumed, 2);
	for (unsigned i = 0; i < 4; i++)
		upstream_return(&w[i].lease, true);
}

static void test_sessions_of_servers(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, sessions_of_servers);
}

/* ---- changes of the settings ---------------------------------------------------- */

enum change { CHANGE_NOTHING, CHANGE_CONTEXT, CHANGE_NAME, CHANGE_OFF, CHANGES };

static void change(struct upstreamrig *h, enum change what)
{
	switch (what) {
	case CHANGE_CONTEXT:
		h->config.tls = &settings[1];
		break;
	case CHANGE_NAME:
		h->servers[0].tls_name = "y.test";
		break;
	case CHANGE_OFF:
		h->config.tls = NULL;
		h->sim_servers[0].tls = NULL;
		break;
	case CHANGE_NOTHING:
	case CHANGES:
		break;
	}
	reconfigure(h);
}

/* After a change neither a connection nor a session of before is used. */
static void changes(struct upstreamrig *h, enum change what)
{
	bool same = what == CHANGE_NOTHING;
	struct waiter idle, leased, next;

	secure_all(h);
	upstreamrig_start(h);
	open_one(h, &leased);
	open_one(h, &idle);
	assert_int_equal(h->stats.tls_resumed, 1);
	upstream_return(&idle.lease, true);
	change(h, what);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, same ? 2 : 1);
	assert_int_equal(h->stats.connections_idle, same ? 1 : 0);
	open_one(h, &next);
	assert_int_equal(next.lease.reused, same);
	assert_int_equal(h->stats.tls_resumed, 1);
	if (what != CHANGE_OFF)
		assert_true(slice_equal(name_seen(h, 0), what == CHANGE_NAME
								 ? SLICE("y.test")
								 : SLICE("x.test")));
	upstream_return(&leased.lease, true); /* opened before the change */
	assert_int_equal(h->stats.connections_idle, same ? 1 : 0);
	upstream_return(&next.lease, true);
	assert_int_equal(h->stats.connections_idle, same ? 2 : 1);
}

static void test_changes(void **state)
{
	(void)state;
	for (enum change what = CHANGE_NOTHING; what < CHANGES; what++) {
		for (uint64_t seed = 1; seed <= SIMRIG_SEEDS / 4; seed++) {
			struct upstreamrig h;

			upstreamrig_open(&h, seed, 1);
			changes(&h, what);
			upstreamrig_close(&h);
		}
	}
}

/* The settings change while a connection is opened: it serves the request that it was opened for,
 * and no other. */
static void changes_amid_handshake(struct upstreamrig *h)
{
	struct waiter a;

	secure_all(h);
	upstreamrig_start(h);
	waiter_lease(h, &a);
	if (simrig_draw(&h->rig, 2)) /* else it is not even connected */
		simrig_run(&h->rig, (uint32_t)simrig_draw(&h->rig, 30));
	change(h, CHANGE_NAME);
	waiter_wait_ready(h, &a);
	assert_true(slice_equal(name_seen(h, 0), SLICE("x.test")));
	upstream_return(&a.lease, true);
	assert_int_equal(h->stats.connections_idle, 0);
}

static void test_changes_amid_handshake(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, changes_amid_handshake);
}

/* Servers before it are removed: its connections stay, since they are found by name. */
static void moves_up(struct upstreamrig *h)
{
	struct waiter w[2];

	secure_all(h);
	h->servers[1].tls_name = "y.test";
	upstreamrig_start(h);
	for (unsigned i = 0; i < 2; i++)
		open_one(h, &w[i]);
	for (unsigned i = 0; i < 2; i++)
		upstream_return(&w[i].lease, true);
	h->config.server_n = 1;
	h->config.servers = &h->servers[1];
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections_idle, 1);
	open_one(h, &w[0]);
	assert_true(w[0].lease.reused);
	upstream_return(&w[0].lease, true);
}

static void test_moves_up(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, moves_up);
}

/* ---- handshakes that fail --------------------------------------------------------- */

static void says_plain(struct sim_peer *p)
{
	if (p->in_n > 0 && p->step++ == 0)
		sim_peer_send_text(p, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

static void closes(struct sim_peer *p)
{
	if (p->in_n > 0)
		sim_peer_close(p);
}

static void sim_server_plain(struct upstreamrig *h, unsigned server,
			     void (*on_input)(struct sim_peer *p))
{
	h->sim_servers[server].tls = NULL;
	h->sim_servers[server].on_input = on_input;
}

static void fails(struct upstreamrig *h)
{
	bool plain = simrig_draw(&h->rig, 2);
	struct waiter a;

	secure_all(h);
	h->config.eject_failures = 1;
	h->config.eject_time_ms = 5000;
	h->config.eject_max_percent = 100;
	sim_server_plain(h, 0, plain ? says_plain : closes);
	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_failed(h, &a, LEASE_TLS);
	assert_int_equal(a.lease.tls_fault, plain ? TLS_FAULT_NOT_TLS : TLS_FAULT_CLOSED);
	assert_int_equal(h->stats.connect_failures, 1);
	assert_int_equal(h->stats.tls_failures, 1);
	assert_int_equal(h->stats.tls_handshakes, 0);
	assert_true(timer_armed(&server_at(h->upstream, 0)->unreachable));
	assert_int_equal(server_at(h->upstream, 0)->member.record->failures, 1);
}

static void test_fails(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, fails);
}

/* The next server is tried; the one that fails is ejected. */
static void next_server(struct upstreamrig *h)
{
	struct waiter a, b;

	secure_all(h);
	h->config.eject_failures = 1;
	h->config.eject_time_ms = 60000;
	h->config.eject_max_percent = 50;
	sim_server_plain(h, 0, says_plain);
	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	assert_string_equal(lease_server(&a.lease), "b");
	assert_true(server_at(h->upstream, 0)->ejected);
	waiter_lease(h, &b);
	waiter_wait_ready(h, &b);
	assert_int_equal(h->sim_servers[0].accepted, 1);
	upstream_return(&a.lease, false);
	upstream_return(&b.lease, false);
}

static void test_next_server(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, next_server);
}

/* The time for connecting is that of the handshake as well. */
static void silent(struct upstreamrig *h)
{
	uint64_t from_ms = h->rig.tick.now_ms;
	struct waiter a;

	secure_all(h);
	sim_server_plain(h, 0, NULL);
	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_failed(h, &a, LEASE_CONNECT_TIMEOUT);
	assert_in_range(h->rig.tick.now_ms - from_ms, 1000, 1100);
	assert_int_equal(h->stats.tls_failures, 1);
}

static void test_silent(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, silent);
}

/* Given up at any moment of the handshake. */
static void given_up(struct upstreamrig *h)
{
	struct waiter a;

	secure_all(h);
	upstreamrig_start(h);
	waiter_lease(h, &a);
	simrig_run(&h->rig, (uint32_t)simrig_draw(&h->rig, 40));
	upstream_return(&a.lease, false);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 0);
}

static void test_given_up(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, given_up);
}

/* ---- after the handshake ------------------------------------------------------------ */

/* A fault of TLS is known to the lease; the end of the connection is none. */
static void fault_of_lease(struct upstreamrig *h)
{
	struct waiter a, b;

	secure_all(h);
	upstreamrig_start(h);
	open_one(h, &a);
	assert_int_equal(lease_tls_fault(&a.lease), TLS_FAULT_NONE);
	sim_peer_append_output(h->sim_servers[0].last, "HTTP/1.1 ", 9); /* no record */
	sim_peer_send_text(h->sim_servers[0].last, "x");
	SIMRIG_UNTIL(&h->rig, a.lease.stream->receive_failed, 1000);
	assert_int_equal(lease_tls_fault(&a.lease), TLS_FAULT_MESSAGE);
	upstream_return(&a.lease, false);
	open_one(h, &b);
	h->sim_servers[0].last->cuts_off = true;
	sim_peer_close(h->sim_servers[0].last);
	SIMRIG_UNTIL(&h->rig, b.lease.stream->receive_failed, 1000);
	assert_int_equal(lease_tls_fault(&b.lease), TLS_FAULT_NONE);
	upstream_return(&b.lease, false);
}

static void test_fault_of_lease(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, fault_of_lease);
}

/* ---- memcached ------------------------------------------------------------------------ */

static void secure_memcached(struct memcacherig *r)
{
	memcacherig_open(r, 1);
	assert_true(tick_use_tls(&r->tick, NULL, 1000));
	r->tls = server_context;
	for (unsigned i = 0; i < 2; i++)
		settings[i] = (struct config_upstream_tls){ .context = client_contexts[i] };
	r->servers[0].tls_name = "x.test";
	r->upstream.tls = &settings[0];
	r->upstream.connect_timeout_ms = 300;
	memcacherig_reconfigure(r);
}

static void get_one(struct memcacherig *r, enum call_state state)
{
	struct memcache_call *call = memcacherig_get(r, "key");

	memcacherig_wait(r, call);
	assert_int_equal(call->state, state);
	memcache_forget(&call);
	memcacherig_run(r, 100);
}

/* Links under other settings take no more calls, and end. */
static void test_memcached(void **state)
{
	struct memcacherig r;

	(void)state;
	secure_memcached(&r);
	get_one(&r, CALL_HIT);
	get_one(&r, CALL_HIT);
	assert_int_equal(r.stats.tls_handshakes, 1);
	assert_true(memcache_reconfigure(r.memcache, &r.upstream)); /* the same */
	get_one(&r, CALL_HIT);
	assert_int_equal(r.stats.tls_handshakes, 1);
	r.upstream.tls = &settings[1];
	assert_true(memcache_reconfigure(r.memcache, &r.upstream));
	memcacherig_run(&r, 100);
	assert_int_equal(r.stats.connections, 0);
	get_one(&r, CALL_HIT);
	assert_int_equal(r.stats.tls_handshakes, 2);
	assert_int_equal(r.stats.tls_resumed, 0);
	fake_close_all(&r.fakes[0], CONN_FLUSH);
	memcacherig_run(&r, 100);
	get_one(&r, CALL_HIT);
	assert_int_equal(r.stats.tls_resumed, 1);
	memcacherig_close(&r);
}

/* A call in flight gets its reply on the link of before. */
static void test_memcached_in_flight(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	secure_memcached(&r);
	r.fakes[0].silent = true;
	call = memcacherig_get(&r, "key");
	memcacherig_run(&r, 100);
	assert_int_equal(call->state, CALL_SENT);
	r.servers[0].tls_name = "y.test";
	assert_true(memcache_reconfigure(r.memcache, &r.upstream));
	fake_reply_all(&r.fakes[0]);
	memcacherig_wait(&r, call);
	assert_int_equal(call->state, CALL_HIT);
	memcache_forget(&call);
	memcacherig_run(&r, 100);
	assert_int_equal(r.stats.connections, 0);
	memcacherig_close(&r);
}

/* A server that speaks no TLS is down: its calls are misses. */
static void test_memcached_fails(void **state)
{
	struct memcacherig r;

	(void)state;
	secure_memcached(&r);
	r.tls = NULL;
	r.fakes[0].raw = SLICE("ERROR\r\n");
	get_one(&r, CALL_MISS);
	assert_int_equal(r.stats.tls_failures, 1);
	assert_int_equal(r.stats.connect_failures, 1);
	assert_int_equal(r.registry->first->records[0].status, SERVER_STATUS_EJECTED);
	memcacherig_close(&r);
}

/* ---- memory ------------------------------------------------------------------------- */

static void test_identity(void **state)
{
	struct config_server servers[2] = { { .tls_name = "a" }, { .tls_name = "b" } };
	struct config_upstream config = { .server_n = 2, .servers = servers };
	struct server_tls t = { 0 };
	uint64_t a, b;

	(void)state;
	assert_true(server_tls_prepare(&t, &config));
	server_tls_configure(&t, &config);
	assert_int_equal(server_tls_identity(&t, 0), 0); /* no TLS */
	settings[0] = (struct config_upstream_tls){ .context = client_contexts[0],
						    .sni = SLICE("c") };
	config.tls = &settings[0];
	assert_true(server_tls_prepare(&t, &config));
	server_tls_configure(&t, &config);
	a = server_tls_identity(&t, 0);
	b = server_tls_identity(&t, 1);
	assert_true(a != 0 && b != 0 && a != b);
	server_tls_configure(&t, &config); /* the same */
	assert_true(server_tls_identity(&t, 0) == a);
	config.servers = &servers[1];
	config.server_n = 1;
	server_tls_configure(&t, &config);
	assert_true(server_tls_identity(&t, 0) == b);
	settings[1] = (struct config_upstream_tls){ .context = client_contexts[1] };
	config.tls = &settings[1];
	server_tls_configure(&t, &config);
	assert_true(server_tls_identity(&t, 0) != b);
	server_tls_done(&t);
}

static int set_up(void **state)
{
	(void)state;
	server_context = simtls_server_context();
	for (unsigned i = 0; i < 2; i++)
		client_contexts[i] = simtls_client_context();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tls_context_unref(server_context);
	for (unsigned i = 0; i < 2; i++)
		tls_context_unref(client_contexts[i]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resumes),
		cmocka_unit_test(test_sessions_of_servers),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_changes_amid_handshake),
		cmocka_unit_test(test_moves_up),
		cmocka_unit_test(test_fails),
		cmocka_unit_test(test_next_server),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_fault_of_lease),
		cmocka_unit_test(test_memcached),
		cmocka_unit_test(test_memcached_in_flight),
		cmocka_unit_test(test_memcached_fails),
		cmocka_unit_test(test_identity),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
