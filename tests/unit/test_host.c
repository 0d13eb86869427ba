#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/host.h"
#include "lib/guard.h"

static const struct {
	const char *authority, *normal;
} hosts[] = {
	{ "", "" },
	{ "app.example", "app.example" },
	{ "App.EXAMPLE", "app.example" },
	{ "app.example.", "app.example" },
	{ "APP.example.:80", "app.example" },
	{ "app.example:80", "app.example" },
	{ "app.example:8080", "app.example" },
	{ "app.example:", "app.example" },
	{ "app.example..", "app.example." }, /* not a valid name */
	{ ".", "." },
	{ ".:80", "." },
	{ "a", "a" },
	{ "a1", "a1" },
	{ "a.1:1", "a.1" },
	{ "80", "80" },
	{ "XN--Bcher-KVA.example", "xn--bcher-kva.example" },
	/* Unreserved characters are decoded; others stay encoded. */
	{ "%61pp.%45xample%2e", "app.example" },
	{ "a%2Db%5f%7E", "a-b_~" },
	{ "a%c3%a4b%2C", "a%C3%A4b%2C" },
	{ "%41%3a80:80", "a%3A80" },
	/* IPv4 has one spelling; other notations that some parsers accept are names. */
	{ "127.0.0.1:80", "127.0.0.1" },
	{ "127.1", "127.1" },
	{ "0x7f.1", "0x7f.1" },
	{ "2130706433", "2130706433" },
	/* RFC 5952. */
	{ "[::1]", "[::1]" },
	{ "[0:0:0:0:0:0:0:1]", "[::1]" },
	{ "[0000:0000::0001]:80", "[::1]" },
	{ "[::0001]:", "[::1]" },
	{ "[2001:DB8:0:0:1:0:0:1]", "[2001:db8::1:0:0:1]" },
	{ "[2001:db8::1:0:0:1]", "[2001:db8::1:0:0:1]" },
	{ "[1::2:3:4:5:6:7]", "[1:0:2:3:4:5:6:7]" },
	{ "[::FFFF:127.0.0.1]", "[::ffff:127.0.0.1]" },
	{ "[::ffff:7f00:1]", "[::ffff:127.0.0.1]" },
	{ "[::ffff:fefe:fefe]", "[::ffff:254.254.254.254]" },
	{ "[::]", "[::]" },
	/* Invalid, so never passed; must not be read past the end. */
	{ "[", "[" },
	{ "[]", "[]" },
	{ "[::G]", "[::g]" },
	{ "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]",
	  "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]" },
	{ "%4", "%4" },
};

static void check(const char *authority, const char *normal)
{
	size_t n = strlen(authority), size = n + HOST_GROWTH;
	static const char zeros[256];
	char *in = guard_copy(authority, n), *out = guard_copy(zeros, size);
	size_t written = host_normalize(out, (struct slice){ in, n });

	assert_true(written <= size);
	if (written != strlen(normal) || memcmp(out, normal, written) != 0)
		fail_msg("%s: %.*s, not %s", authority, (int)written, out, normal);
	guard_free(in);
	guard_free(out);
}

static void test_normal_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++)
		check(hosts[i].authority, hosts[i].normal);
}

static void test_idempotent(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++)
		if (strcmp(hosts[i].normal, "app.example.") != 0)
			check(hosts[i].normal, hosts[i].normal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normal_form),
		cmocka_unit_test(test_idempotent),
	};

	return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
