#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "../../src/config/reader.h"
#include "lib/guard.h"

/* Valid addresses; invalid ones are in config_errors.def. */
static const struct row {
	const char *text, *ip;
	unsigned port;
	int family;
} rows[] = {
	{ "127.0.0.1:80", "127.0.0.1", 80, AF_INET },
	{ "0.0.0.0:65535", "0.0.0.0", 65535, AF_INET },
	{ "[::1]:1", "::1", 1, AF_INET6 },
	{ "[::]:8080", "::", 8080, AF_INET6 },
	{ "[::ffff:192.0.2.1]:80", "::ffff:192.0.2.1", 80, AF_INET6 },
};

static const char *resolve(struct arena *memory, const char *text, size_t len,
			   struct config_address *a)
{
	char *copy = guard_copy(text, len);
	unsigned n = 0;
	const char *fault = address_resolve(memory, (struct slice){ copy, len }, true, a,
					    1, &n);

	guard_free(copy);
	if (!fault)
		assert_int_equal(n, 1);
	return fault;
}

static void test_ip(void **state)
{
	struct arena memory = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *r = &rows[i];
		struct config_address a = { 0 };
		const struct sockaddr_in *in = (const struct sockaddr_in *)&a.sa;
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a.sa;
		bool is_v6 = r->family == AF_INET6;
		char ip[INET6_ADDRSTRLEN];

		assert_null(resolve(&memory, r->text, strlen(r->text), &a));
		assert_string_equal(a.text, r->text);
		assert_int_equal(a.sa.ss_family, r->family);
		assert_int_equal(a.len, is_v6 ? sizeof(*in6) : sizeof(*in));
		assert_int_equal(ntohs(is_v6 ? in6->sin6_port : in->sin_port), r->port);
		inet_ntop(r->family,
			  is_v6 ? (const void *)&in6->sin6_addr : &in->sin_addr, ip,
			  sizeof(ip));
		assert_string_equal(ip, r->ip);
	}
	arena_free(&memory);
}

/* sun_path has 108 bytes, with the NUL. */
static void test_unix(void **state)
{
	struct arena memory = { 0 };
	struct config_address a = { 0 };
	char text[5 + 108];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "unix:/", 6);
	assert_null(resolve(&memory, text, 5 + 107, &a));
	assert_int_equal(a.len, sizeof(struct sockaddr_un));
	assert_int_equal(strlen(((struct sockaddr_un *)&a.sa)->sun_path), 107);
	assert_non_null(resolve(&memory, text, 5 + 108, &a));
	arena_free(&memory);
}

/* A name has at least one address, and at most as many as the array. */
static void test_name(void **state)
{
	struct arena memory = { 0 };
	struct config_address a[CONFIG_ADDRESSES_MAX] = { 0 };
	unsigned n = 0;

	(void)state;
	assert_null(
		address_resolve(&memory, SLICE("localhost:80"), false, a, COUNT(a), &n));
	assert_in_range(n, 1, COUNT(a));
	for (unsigned i = 0; i < n; i++)
		assert_string_equal(a[i].text, "localhost:80");
	arena_free(&memory);
}

/* Each prefix of an address is accepted or refused without reading beyond its end. */
static void test_cut_anywhere(void **state)
{
	static const char *const texts[] = { "127.0.0.1:8080", "[::ffff:1.2.3.4]:80",
					     "unix:/x" };
	struct arena memory = { 0 };
	struct config_address a = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		for (size_t n = 1; n < strlen(texts[i]); n++)
			(void)resolve(&memory, texts[i], n, &a);
	arena_free(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ip),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
