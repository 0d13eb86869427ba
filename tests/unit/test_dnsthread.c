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

#define ASKS 50

static const struct nameserver_row rows[] = {
	{ "app.test", DNS_A, 30, "10.0.0.1" },
	{ "silent.test", DNS_A, 9, "!silent" },
};

static struct nameserver server;
static struct mailbox home;
static struct dns_thread *thread;
static struct resolver_query asks[ASKS];
static unsigned answered_n, good_n;

static void wake(void *sleeper)
{
	(void)sleeper; /* we look anyhow */
}

static void query_done(struct resolver_query *a)
{
	answered_n++;
	good_n += a->lookup.n == 1;
	dns_lookup_done(&a->lookup);
}

static void ask(unsigned i, const char *name)
{
	memset(&asks[i], 0, sizeof(asks[i]));
	snprintf(asks[i].lookup.name, sizeof(asks[i].lookup.name), "%s", name);
	asks[i].lookup.family = DNS_V4;
	asks[i].done = query_done;
	dns_thread_query(thread, &asks[i]);
}

static void serve_until(unsigned n)
{
	for (unsigned i = 0; answered_n < n && i < 2000; i++) {
		poll(&(struct pollfd){ server.fd, POLLIN, 0 }, 1, 10);
		nameserver_serve(&server);
		mailbox_drain(&home);
	}
	assert_int_equal(answered_n, n);
}

static int open_world(void **state)
{
	(void)state;
	answered_n = good_n = 0;
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

static void test_asked(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ASKS; i++)
		ask(i, i % 5 ? "app.test" : "nowhere.test");
	serve_until(ASKS);
	assert_int_equal(good_n, ASKS - ASKS / 5);
	ask(0, "app.test"); /* after it has slept */
	serve_until(ASKS + 1);
	dns_thread_free(thread);
}

/* All come back, whatever became of them. */
static void test_freed_amid(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ASKS; i++)
		ask(i, i % 2 ? "app.test" : "silent.test");
	dns_thread_free(thread);
	mailbox_drain(&home);
	assert_int_equal(answered_n, ASKS);
}

static void test_other_servers(void **state)
{
	(void)state;
	ask(0, "silent.test");
	assert_true(dns_thread_set_servers(thread, server.address));
	ask(1, "app.test");
	serve_until(2);
	assert_int_equal(good_n, 1);
	assert_true(dns_thread_set_servers(thread, NULL));
	dns_thread_free(thread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_asked, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_freed_amid, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_other_servers, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
