#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/ip.h"

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_true(ip_parse(&ip, slice_of(text)));
	return ip;
}

static void texts(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: no address */
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1" },
		{ "0.0.0.0", "0.0.0.0" },
		{ "2001:DB8:0:0::1", "2001:db8::1" },
		{ "::ffff:192.0.2.1", "192.0.2.1" },
		{ "::FFFF:c000:0201", "192.0.2.1" },
		{ "::", "::" },
		{ "", NULL },
		{ "unix", NULL },
		{ "1.2.3", NULL },
		{ "1.2.3.4 ", NULL },
		{ " 1.2.3.4", NULL },
		{ "1.2.3.256", NULL },
		{ "01.2.3.4", NULL },
		{ "0x1.2.3.4", NULL },
		{ "[::1]", NULL },
		{ "fe80::1%eth0", NULL },
		{ "1:2:3:4:5:6:7:8:9", NULL },
		{ "00000000000000000000000000000000000000000000000000", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[IP_TEXT_MAX];
		struct ip ip;

		if (ip_parse(&ip, slice_of(cases[i].in)) != (cases[i].out != NULL))
			fail_msg("'%s'", cases[i].in);
		if (!cases[i].out)
			continue;
		assert_int_equal(ip_text(&ip, text), strlen(cases[i].out));
		assert_string_equal(text, cases[i].out);
	}
	{
		struct ip ip;

		assert_false(ip_parse(&ip, (struct slice){ "1.2.3.4\0", 8 }));
		assert_false(ip_parse(&ip, (struct slice){ NULL, 0 }));
	}
}

static void networks(void **state)
{
	static const struct {
		const char *in;
		unsigned bits;
		const char *first, *last;
	} cases[] = {
		{ "192.0.2.77", 32, "192.0.2.77", "192.0.2.77" },
		{ "192.0.2.77", 25, "192.0.2.0", "192.0.2.127" },
		{ "192.0.2.77", 8, "192.0.0.0", "192.255.255.255" },
		{ "192.0.2.77", 0, "0.0.0.0", "255.255.255.255" },
		{ "2001:db8::1", 128, "2001:db8::1", "2001:db8::1" },
		{ "2001:db8::1", 33, "2001:db8::", "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff" },
		{ "::1", 0, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct ip ip = ip_of(cases[i].in), first = ip_of(cases[i].first),
			  last = ip_of(cases[i].last);
		struct ip_range r = ip_network(&ip, cases[i].bits);

		assert_memory_equal(&r.first, &first, sizeof(first));
		assert_memory_equal(&r.last, &last, sizeof(last));
	}
}

/* ip_ranges_contain() gives the same result as a comparison with each range; no range
 * contains addresses of the other family. */
static void sets(void **state)
{
	static struct ip_range all[4096], sorted[4096];
	unsigned seed = 1, n;
	struct ip ip = ip_of("10.1.2.3");

	(void)state;
	assert_false(ip_ranges_contain(NULL, 0, &ip));
	for (unsigned i = 0; i < COUNT(all); i++) {
		struct ip base = ip_of(i % 2 ? "10.0.0.0" : "fd00::");

		seed = seed * 1103515245u + 12345u;
		base.bytes[2] = (uint8_t)(seed >> 8);
		base.bytes[3] = (uint8_t)(seed >> 16);
		all[i] = ip_network(&base, i % 2 ? 26 + seed / 7 % 7 : 30 + seed / 7 % 3);
	}
	memcpy(sorted, all, sizeof(all));
	n = ip_ranges_sort(sorted, COUNT(all));
	assert_true(n > 2 && n < COUNT(all));
	for (unsigned i = 1; i < n; i++)
		assert_true(ip_compare(&sorted[i - 1].last, &sorted[i].first) < 0);
	for (unsigned i = 0; i < 4000; i++) {
		bool is = false;

		ip = ip_of(i % 2 ? "10.0.0.0" : "fd00::");
		seed = seed * 1103515245u + 12345u;
		ip.bytes[2] = (uint8_t)(seed >> 8);
		ip.bytes[3] = (uint8_t)(seed >> 16);
		for (unsigned k = 0; k < COUNT(all) && !is; k++)
			is = ip_compare(&all[k].first, &ip) <= 0 &&
			     ip_compare(&ip, &all[k].last) <= 0;
		assert_int_equal(ip_ranges_contain(sorted, n, &ip), is);
	}
	ip = ip_of("0.0.0.0");
	sorted[0] = ip_network(&ip, 0);
	ip = ip_of("::");
	assert_false(ip_ranges_contain(sorted, 1, &ip));
	sorted[0] = ip_network(&ip, 0);
	ip = ip_of("::ffff:1.2.3.4");
	assert_false(ip_ranges_contain(sorted, 1, &ip));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts),
		cmocka_unit_test(networks),
		cmocka_unit_test(sets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
