#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "dns/dns.h"
#include "lib/nameserver.h"

static const struct nameserver_row rows[] = {
	{ "app.test", DNS_A, 30, "10.0.0.2" },
	{ "app.test", DNS_A, 20, "10.0.0.1" },
	{ "app.test", DNS_AAAA, 60, "2001:db8::1" },
	{ "four.test", DNS_A, 9, "10.0.0.4" },
	{ "half.test", DNS_A, 9, "10.0.0.5" },
	{ "half.test", DNS_AAAA, 9, "!fail" },
	{ "empty.test", DNS_SRV, 9, "0 0 1 x.test" },
	{ "broken.test", DNS_A, 9, "!fail" },
	{ "broken.test", DNS_AAAA, 9, "!fail" },
	{ "silent.test", DNS_A, 9, "!silent" },
	{ "silent.test", DNS_AAAA, 9, "!silent" },
	{ "_http._tcp.test", DNS_SRV, 90, "10 5 8081 app.test" },
	{ "_http._tcp.test", DNS_SRV, 90, "10 0 8082 four.test" },
	{ "_http._tcp.test", DNS_SRV, 90, "10 1 8083 gone.test" },
	{ "_http._tcp.test", DNS_SRV, 90, "20 1 8084 half.test" },
	{ "_lost._tcp.test", DNS_SRV, 90, "10 1 8081 four.test" },
	{ "_lost._tcp.test", DNS_SRV, 90, "10 1 8082 broken.test" },
};

static struct nameserver server;
static struct dns *dns;
static bool done;
static struct dns_address *results[64]; /* freed at the end */
static unsigned result_n;

static int open_world(void **state)
{
	(void)state;
	nameserver_open(&server, rows, COUNT(rows));
	assert_int_equal(dns_new(&dns), 0);
	assert_int_equal(dns_set_servers(dns, server.address), 0);
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	dns_free(dns);
	nameserver_close(&server);
	while (result_n > 0)
		free(results[--result_n]);
	return 0;
}

static void lookup_done(struct dns_lookup *l)
{
	assert_true(result_n < COUNT(results));
	results[result_n++] = l->addresses;
	assert_false(done);
	done = true;
}

static void lookup_begin(struct dns_lookup *l, const char *name, bool service,
			 enum dns_family family)
{
	memset(l, 0, sizeof(*l));
	snprintf(l->name, sizeof(l->name), "%s", name);
	l->service = service;
	l->port = 6000;
	l->family = family;
	l->done = lookup_done;
	done = false;
	dns_query(dns, l);
}

static void look_up(struct dns_lookup *l, const char *name, bool service, enum dns_family family)
{
	lookup_begin(l, name, service, family);
	while (!done) {
		dns_wait(dns, server.fd, 5000);
		nameserver_serve(&server);
	}
}

/* "10.0.0.1:6000 …" */
static const char *text_of(const struct dns_lookup *l)
{
	static char text[1024];
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < l->n; i++) {
		char host[INET6_ADDRSTRLEN];

		inet_ntop(l->addresses[i].family, l->addresses[i].bytes, host, sizeof(host));
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s:%u", i ? " " : "", host,
				      l->addresses[i].port);
	}
	return text;
}

static const struct {
	const char *name;
	bool service;
	enum dns_family family;
	const char *addresses;
	uint32_t ttl_s;
	bool incomplete_v4, incomplete_v6, fails;
} lookups[] = {
	{ "app.test", false, DNS_ANY, "10.0.0.1:6000 10.0.0.2:6000 2001:db8::1:6000", 20, 0, 0, 0 },
	{ "APP.test", false, DNS_V4, "10.0.0.1:6000 10.0.0.2:6000", 20, 0, 0, 0 },
	{ "app.test", false, DNS_V6, "2001:db8::1:6000", 60, 0, 0, 0 },
	{ "four.test", false, DNS_ANY, "10.0.0.4:6000", 9, 0, 0, 0 },
	{ "half.test", false, DNS_ANY, "10.0.0.5:6000", 9, 0, 1, 0 },
	{ "empty.test", false, DNS_ANY, "", UINT32_MAX, 0, 0, 1 },
	{ "nowhere.test", false, DNS_ANY, "", UINT32_MAX, 0, 0, 1 },
	{ "broken.test", false, DNS_ANY, "", UINT32_MAX, 1, 1, 1 },
	{ "_http._tcp.test", true, DNS_V4, "10.0.0.1:8081 10.0.0.2:8081 10.0.0.4:8082", 9, 0, 0, 0 },
	{ "_http._tcp.test", true, DNS_V6, "2001:db8::1:8081", 60, 0, 0, 0 },
	{ "_lost._tcp.test", true, DNS_V4, "10.0.0.4:8081", 9, 1, 0, 0 },
	{ "_none._tcp.test", true, DNS_ANY, "", UINT32_MAX, 0, 0, 1 },
};

static void test_lookups(void **state)
{
	struct dns_lookup l;

	(void)state;
	for (unsigned i = 0; i < COUNT(lookups); i++) {
		look_up(&l, lookups[i].name, lookups[i].service, lookups[i].family);
		assert_string_equal(text_of(&l), lookups[i].addresses);
		assert_int_equal(l.ttl_s, lookups[i].ttl_s);
		assert_int_equal(l.incomplete_v4, lookups[i].incomplete_v4);
		assert_int_equal(l.incomplete_v6, lookups[i].incomplete_v6);
		assert_int_equal(l.failure != NULL, lookups[i].fails);
		assert_false(l.timed_out);
	}
}

static void test_weights(void **state)
{
	struct dns_lookup l;

	(void)state;
	look_up(&l, "_http._tcp.test", true, DNS_V4);
	assert_int_equal(l.n, 3);
	assert_int_equal(l.addresses[0].weight, 5);
	assert_int_equal(l.addresses[1].weight, 5);
	assert_int_equal(l.addresses[2].weight, 1); /* 0 in the record */
	look_up(&l, "app.test", false, DNS_V4);
	assert_int_equal(l.addresses[0].weight, 1);
}

/* Lookups in flight fail when nameservers change, and when the dns is freed. */
static void test_in_flight(void **state)
{
	struct dns_lookup l;

	(void)state;
	lookup_begin(&l, "silent.test", false, DNS_ANY);
	dns_wait(dns, server.fd, 1000);
	nameserver_serve(&server);
	assert_int_equal(server.queries > 0, 1);
	assert_false(done);
	assert_int_equal(dns_set_servers(dns, server.address), 0);
	assert_true(done);
	assert_int_equal(l.n, 0);
	assert_non_null(l.failure);
	lookup_begin(&l, "silent.test", false, DNS_ANY);
	dns_free(dns);
	assert_true(done);
	assert_int_equal(dns_new(&dns), 0);
}

/* No nameserver listens: fails at once, not after a timeout. */
static void test_no_nameserver(void **state)
{
	struct dns_lookup l;
	char address[32];

	(void)state;
	snprintf(address, sizeof(address), "%s", server.address);
	nameserver_close(&server);
	lookup_begin(&l, "app.test", false, DNS_V4);
	for (unsigned i = 0; i < 100 && !done; i++)
		dns_wait(dns, -1, 50);
	assert_true(done);
	assert_false(l.timed_out);
	assert_string_equal(l.failure, "no nameserver has an answer");
	nameserver_open(&server, rows, COUNT(rows));
}

static void test_hosts(void **state)
{
	(void)state;
	assert_true(dns_in_hosts(dns, "localhost"));
	assert_false(dns_in_hosts(dns, "app.test"));
}

static void test_wait_ends(void **state)
{
	int pair[2];

	(void)state;
	dns_wait(dns, -1, 1); /* no question is in flight */
	assert_int_equal(pipe(pair), 0);
	assert_int_equal(write(pair[1], "x", 1), 1);
	dns_wait(dns, pair[0], -1);
	close(pair[0]);
	close(pair[1]);
}

#define ADDRESSES_MANY 70 /* as many as a datagram holds */

/* The order changes with each answer, as with real nameservers: the same result. */
static void test_order(void **state)
{
	static struct nameserver_row turning[ADDRESSES_MANY];
	static char texts[ADDRESSES_MANY][16];
	struct dns_lookup first, l;

	(void)state;
	for (unsigned i = 0; i < ADDRESSES_MANY; i++)
		snprintf(texts[i], sizeof(texts[i]), "10.0.%u.%u", i % 7, i);
	server.rows = turning;
	server.row_n = ADDRESSES_MANY;
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < ADDRESSES_MANY; i++)
			turning[i] = (struct nameserver_row){
				"many.test", DNS_A, 9,
				texts[(11 * turn + i) % ADDRESSES_MANY]
			};
		lookup_begin(turn == 0 ? &first : &l, "many.test", false, DNS_V4);
		while (!done) {
			nameserver_serve(&server);
			dns_wait(dns, server.fd, 100);
		}
		if (turn == 0)
			continue;
		assert_int_equal(l.n, ADDRESSES_MANY);
		assert_memory_equal(l.addresses, first.addresses,
				    ADDRESSES_MANY * sizeof(l.addresses[0]));
	}
	server.rows = rows;
	server.row_n = COUNT(rows);
}

/* Which addresses are beyond the limit does not depend on their order. */
static void test_too_many(void **state)
{
	struct dns_lookup a = { .n = 0 }, b = { .n = 0 };
	const unsigned n = DNS_ADDRESSES_MAX + 76;

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		unsigned k = i * 601 % n, down = n - 1 - i;

		dns_lookup_add(&a, (struct dns_address){ AF_INET, 80,
			{ 10, 0, (uint8_t)(k >> 8), (uint8_t)k }, 1 });
		dns_lookup_add(&b, (struct dns_address){ AF_INET, 80,
			{ 10, 0, (uint8_t)(down >> 8), (uint8_t)down }, 1 });
		assert_int_equal(a.truncated, i >= DNS_ADDRESSES_MAX);
	}
	assert_int_equal(a.n, DNS_ADDRESSES_MAX);
	assert_int_equal(b.n, DNS_ADDRESSES_MAX);
	assert_memory_equal(a.addresses, b.addresses, a.n * sizeof(a.addresses[0]));
	for (unsigned i = 0; i < a.n; i++)
		assert_int_equal(a.addresses[i].bytes[2] << 8 | a.addresses[i].bytes[3], i);
	dns_lookup_add(&a, a.addresses[5]);
	assert_int_equal(a.n, DNS_ADDRESSES_MAX);
	dns_lookup_done(&a);
	dns_lookup_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, open_world, close_world),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test_setup_teardown(test_lookups, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_weights, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_in_flight, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_no_nameserver, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(test_hosts, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_wait_ends, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
