#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "dns/answer.h"
#include "lib/guard.h"

#define MESSAGE_MAX 4096

/* A DNS message under construction (RFC 1035 4.1). */
struct dns_message {
	unsigned char bytes[MESSAGE_MAX];
	size_t n;
};

static void put(struct dns_message *m, const void *bytes, size_t n)
{
	assert_true(m->n + n <= sizeof(m->bytes));
	memcpy(m->bytes + m->n, bytes, n);
	m->n += n;
}

static void put_number(struct dns_message *m, uint32_t number, unsigned bytes)
{
	while (bytes-- > 0)
		put(m, &(unsigned char){ (unsigned char)(number >> 8 * bytes) }, 1);
}

static void put_name(struct dns_message *m, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		put_number(m, (uint32_t)n, 1);
		put(m, name, n);
		name += n + (name[n] == '.');
	}
	put_number(m, 0, 1);
}

/* Header and question. */
static void begin(struct dns_message *m, const char *name, enum dns_type type)
{
	m->n = 0;
	put_number(m, 0x12348180, 4);
	put_number(m, 1, 2); /* a question */
	put_number(m, 0, 2); /* answers: counted by put_record() */
	put_number(m, 0, 4);
	put_name(m, name);
	put_number(m, type, 2);
	put_number(m, 1, 2);
}

static void put_record(struct dns_message *m, const char *name, unsigned type,
		       uint32_t ttl_s, const void *data, size_t n)
{
	m->bytes[7]++;
	put_name(m, name);
	put_number(m, type, 2);
	put_number(m, 1, 2);
	put_number(m, ttl_s, 4);
	put_number(m, (uint32_t)n, 2);
	put(m, data, n);
}

static void put_address(struct dns_message *m, const char *name, uint32_t ttl_s,
			const char *address)
{
	unsigned char bytes[16];
	bool v6 = strchr(address, ':');

	assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, address, bytes), 1);
	put_record(m, name, v6 ? DNS_AAAA : DNS_A, ttl_s, bytes, v6 ? 16 : 4);
}

static void put_alias(struct dns_message *m, const char *name, uint32_t ttl_s,
		      const char *to)
{
	struct dns_message data = { .n = 0 };

	put_name(&data, to);
	put_record(m, name, 5, ttl_s, data.bytes, data.n);
}

static void put_service(struct dns_message *m, const char *name, uint32_t ttl_s,
			unsigned priority, unsigned weight, unsigned port,
			const char *target)
{
	struct dns_message data = { .n = 0 };

	put_number(&data, priority, 2);
	put_number(&data, weight, 2);
	put_number(&data, port, 2);
	put_name(&data, target);
	put_record(m, name, DNS_SRV, ttl_s, data.bytes, data.n);
}

static struct slice message_bytes(const struct dns_message *m)
{
	return (struct slice){ (const char *)m->bytes, m->n };
}

static const char *text_of(const struct dns_address *a)
{
	static char text[INET6_ADDRSTRLEN];

	return inet_ntop(a->family, a->bytes, text, sizeof(text));
}

static void test_addresses(void **state)
{
	struct dns_address a[4];
	struct dns_message m;
	uint32_t ttl_s;

	(void)state;
	begin(&m, "app.test", DNS_A);
	put_address(&m, "app.test", 30, "10.0.0.1");
	put_address(&m, "app.test", 20, "10.0.0.2");
	put_address(&m, "app.test", 40, "10.0.0.3");
	assert_int_equal(dns_read_addresses(message_bytes(&m), DNS_A, a, 4, &ttl_s), 3);
	assert_int_equal(ttl_s, 20);
	assert_string_equal(text_of(&a[0]), "10.0.0.1");
	assert_string_equal(text_of(&a[2]), "10.0.0.3");
	assert_int_equal(a[1].port, 0);
	/* No more than `max`. */
	assert_int_equal(dns_read_addresses(message_bytes(&m), DNS_A, a, 2, &ttl_s), 2);

	begin(&m, "app.test", DNS_AAAA);
	put_address(&m, "app.test", 7, "2001:db8::1");
	assert_int_equal(dns_read_addresses(message_bytes(&m), DNS_AAAA, a, 4, &ttl_s),
			 1);
	assert_int_equal(ttl_s, 7);
	assert_string_equal(text_of(&a[0]), "2001:db8::1");

	begin(&m, "app.test", DNS_A);
	assert_int_equal(dns_read_addresses(message_bytes(&m), DNS_A, a, 4, &ttl_s), 0);
}

/* The alias has a shorter time to live than its target. */
static void test_alias(void **state)
{
	struct dns_address a[4];
	struct dns_message m;
	uint32_t ttl_s;

	(void)state;
	begin(&m, "app.test", DNS_A);
	put_alias(&m, "app.test", 5, "real.test");
	put_address(&m, "real.test", 3600, "10.0.0.1");
	assert_int_equal(dns_read_addresses(message_bytes(&m), DNS_A, a, 4, &ttl_s), 1);
	assert_int_equal(ttl_s, 5);
}

/* RFC 2181 8 */
static void test_ttl_with_first_bit(void **state)
{
	struct dns_address a[4];
	struct dns_message m;
	uint32_t ttl_s;

	(void)state;
	begin(&m, "app.test", DNS_A);
	put_address(&m, "app.test", 0x80000001, "10.0.0.1");
	assert_int_equal(dns_read_addresses(message_bytes(&m), DNS_A, a, 4, &ttl_s), 1);
	assert_int_equal(ttl_s, 0);
}

static void build_services(struct dns_message *m)
{
	begin(m, "_http._tcp.test", DNS_SRV);
	put_service(m, "_http._tcp.test", 60, 20, 1, 80, "spare.test");
	put_service(m, "_http._tcp.test", 50, 10, 3, 8080, "one.test");
	put_service(m, "_http._tcp.test", 70, 10, 5, 8081, "two.test");
}

static void test_services(void **state)
{
	struct dns_service s[4];
	struct dns_message m;
	uint32_t ttl_s;

	(void)state;
	build_services(&m);
	assert_int_equal(dns_read_services(message_bytes(&m), s, 4, &ttl_s), 2);
	assert_int_equal(ttl_s, 50);
	assert_true(strcmp(s[0].target, "one.test") == 0 || strcmp(s[1].target, "one.test") == 0);
	for (unsigned i = 0; i < 2; i++) {
		bool one = strcmp(s[i].target, "one.test") == 0;

		assert_string_equal(s[i].target, one ? "one.test" : "two.test");
		assert_int_equal(s[i].port, one ? 8080 : 8081);
		assert_int_equal(s[i].weight, one ? 3 : 5);
		assert_int_equal(s[i].priority, 10);
	}
	assert_int_equal(dns_read_services(message_bytes(&m), s, 1, &ttl_s), 1);
	/* "." means that there is no such service (RFC 2782). */
	begin(&m, "_http._tcp.test", DNS_SRV);
	put_service(&m, "_http._tcp.test", 60, 0, 0, 80, "");
	assert_int_equal(dns_read_services(message_bytes(&m), s, 4, &ttl_s), 0);
}

/* Cut at any byte: rejected, and nothing after the end is read. */
static void test_truncated(void **state)
{
	struct dns_address a[4];
	struct dns_service s[4];
	struct dns_message m;
	uint32_t ttl_s;

	(void)state;
	build_services(&m);
	for (size_t n = 0; n < m.n; n++) {
		char *copy = guard_copy((const char *)m.bytes, n);

		assert_int_equal(dns_read_services((struct slice){ copy, n }, s, 4, &ttl_s), -1);
		guard_free(copy);
	}
	begin(&m, "app.test", DNS_A);
	put_alias(&m, "app.test", 5, "real.test");
	put_address(&m, "real.test", 3600, "10.0.0.1");
	for (size_t n = 0; n < m.n; n++) {
		char *copy = guard_copy((const char *)m.bytes, n);

		assert_int_equal(dns_read_addresses((struct slice){ copy, n }, DNS_A, a, 4,
						    &ttl_s), -1);
		guard_free(copy);
	}
}

/* Any byte may be wrong: no more than `max` addresses result. */
static void test_damaged(void **state)
{
	struct dns_service s[2];
	struct dns_message m;
	uint32_t ttl_s;

	(void)state;
	build_services(&m);
	for (size_t i = 0; i < m.n; i++) {
		char *copy = guard_copy((const char *)m.bytes, m.n);

		for (unsigned c = 0; c < 256; c += 3) {
			int n;

			copy[i] = (char)c;
			n = dns_read_services((struct slice){ copy, m.n }, s, 2, &ttl_s);
			assert_true(n >= -1 && n <= 2);
		}
		guard_free(copy);
	}
}

static void test_sockaddr(void **state)
{
	struct dns_address v4 = { AF_INET, 8080, { 10, 0, 0, 1 }, 1 };
	struct dns_address v6 = { AF_INET6, 53, { [15] = 1 }, 1 };
	struct sockaddr_storage sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	(void)state;
	assert_int_equal(dns_sockaddr(&v4, &sa), sizeof(in));
	memcpy(&in, &sa, sizeof(in));
	assert_int_equal(ntohs(in.sin_port), 8080);
	assert_int_equal(ntohl(in.sin_addr.s_addr), 0x0a000001);
	assert_int_equal(dns_sockaddr(&v6, &sa), sizeof(in6));
	memcpy(&in6, &sa, sizeof(in6));
	assert_int_equal(ntohs(in6.sin6_port), 53);
	assert_true(IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_alias),
		cmocka_unit_test(test_ttl_with_first_bit),
		cmocka_unit_test(test_services),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_sockaddr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
