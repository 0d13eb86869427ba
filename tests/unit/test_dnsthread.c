/* tsan: this one has threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>

#include "lib/nameserver.h"
#include "watch/dnsthread.h"

#define QUERIES 50

static const struct nameserver_row rows[] = {
	{ "app.test", DNS_A, 30, "10.0.0.1" },
	{ "silent.test", DNS_A, 9, "!silent" },
};

static struct nameserver server;
static struct mailbox home;
static struct dns_thread *thread;
static struct resolver_query queries[QUERIES];
static unsigned done_n, good_n;

static void wake(void *sleeper)
{
	(void)sleeper; /* the test polls */
}

static void query_done(struct resolver_query *a)
{
	done_n++;
	good_n += a->lookup.n == 1;
	dns_lookup_done(&a->lookup);
}

static void query(unsigned i, const char *name)
{
	memset(&queries[i], 0, sizeof(queries[i]));
	snprintf(queries[i].lookup.name, sizeof(queries[i].lookup.name), "%s", name);
	queries[i].lookup.family = DNS_V4;
	queries[i].done = query_done;
	dns_thread_query(thread, &queries[i]);
}

static void serve_until(unsigned n)
{
	for (unsigned i = 0; done_n < n && i < 2000; i++) {
		poll(&(struct pollfd){ server.fd, POLLIN, 0 }, 1, 10);
		nameserver_serve(&server);
		mailbox_drain(&home);
	}
	assert_int_equal(done_n, n);
}

static int open_world(void **state)
{
	(void)state;
	done_n = good_n = 0;
	nameserver_open(&server, rows, COUNT(rows));
	mailbox_init(&home, wake, NULL);
	assert_int_equal(dns_thread_new(&thread, &home), 0);
	assert_true(dns_thread_set_servers(thread, server.address));
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	nameserver_close(&server);
	return 0;
}

static void test_queries(void **state)
{
	(void)state;
	for (unsigned i = 0; i < QUERIES; i++)
		query(i, i % 5 ? "app.test" : "nowhere.test");
	serve_until(QUERIES);
	assert_int_equal(good_n, QUERIES - QUERIES / 5);
	query(0, "app.test"); /* after the thread has slept */
	serve_until(QUERIES + 1);
	dns_thread_free(thread);
}

/* All queries are done, with whatever result. */
static void test_freed_with_queries(void **state)
{
	(void)state;
	for (unsigned i = 0; i < QUERIES; i++)
		query(i, i % 2 ? "app.test" : "silent.test");
	dns_thread_free(thread);
	mailbox_drain(&home);
	assert_int_equal(done_n, QUERIES);
}

static void test_other_servers(void **state)
{
	(void)state;
	query(0, "silent.test");
	assert_true(dns_thread_set_servers(thread, server.address));
	query(1, "app.test");
	serve_until(2);
	assert_int_equal(good_n, 1);
	assert_true(dns_thread_set_servers(thread, NULL));
	dns_thread_free(thread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_queries, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_freed_with_queries, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(test_other_servers, open_world,
						close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
