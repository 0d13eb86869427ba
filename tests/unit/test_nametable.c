#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/tls/nametable.h"
#include "base/check.h"

static void hosts_are_found(void **state)
{
	static const char *const names[] = {
		"a.example",   "*.a.example",   "www.a.example",
		"*.b.example", "x.y.b.example", "localhost",
		"*.com",       "192.0.2.1",     "2001:db8::1",
	};
	static const struct {
		const char *host;
		int found; /* -1: none */
	} cases[] = {
		{ "a.example", 0 },
		{ "www.a.example", 2 }, /* exact before wildcard */
		{ "ww.a.example", 1 },
		{ "b.example", -1 },
		{ "y.b.example", 3 },
		{ "x.y.b.example", 4 },
		{ "z.y.b.example", -1 }, /* two labels */
		{ ".b.example", -1 },
		{ "*.b.example", -1 }, /* not a host */
		{ "localhost", 5 },
		{ "local", -1 },
		{ "example.com", 6 },
		{ "a.example.com", -1 },
		{ "com", -1 },
		{ "a.example.", 0 }, /* fully qualified */
		{ "y.b.example.", 3 },
		{ "a.example..", -1 },
		{ ".", -1 },
		{ "", -1 },
		{ "192.0.2.1", 7 },
		{ "2001:db8::1", 8 },
	};
	struct nametable t = { 0 };
	uint32_t value = 99;

	(void)state;
	assert_false(nametable_find(&t, SLICE("a.example"), &value));
	assert_null(nametable_at(&t, SLICE("a.example")));
	for (uint32_t i = 0; i < COUNT(names); i++)
		assert_true(nametable_add(&t, slice_of(names[i]), i));
	for (size_t i = 0; i < COUNT(cases); i++) {
		value = 99;
		if (nametable_find(&t, slice_of(cases[i].host), &value) !=
			    (cases[i].found >= 0) ||
		    value != (cases[i].found >= 0 ? (uint32_t)cases[i].found : 99))
			fail_msg("%s: %u", cases[i].host, value);
	}
	assert_int_equal(*nametable_at(&t, SLICE("*.com")), 6);
	assert_null(nametable_at(&t, SLICE("example.com")));
	nametable_free(&t);
	nametable_free(&t);
}

/* A host longer than DNS allows has no wildcard, whatever is in the table. */
static void long_hosts(void **state)
{
	struct nametable t = { 0 };
	char host[1000];
	uint32_t value;

	(void)state;
	memset(host, 'a', sizeof(host));
	host[1] = '.';
	assert_true(nametable_add(&t, SLICE("*.b"), 1));
	for (size_t n = 1; n <= sizeof(host); n++)
		assert_false(nametable_find(&t, (struct slice){ host, n }, &value));
	nametable_free(&t);
}

static void many_names(void **state)
{
	enum { MANY = 5000 };
	static char names[MANY][32];
	struct nametable t = { 0 };
	uint32_t value;

	(void)state;
	for (uint32_t i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "%s%u.example", i % 3 ? "" : "*.",
			 i);
		assert_true(nametable_add(&t, slice_of(names[i]), i));
	}
	for (uint32_t i = 0; i < MANY; i++) {
		char host[40];

		snprintf(host, sizeof(host), "%s%u.example", i % 3 ? "" : "w.", i);
		assert_true(nametable_find(&t, slice_of(host), &value));
		assert_int_equal(value, i);
		snprintf(host, sizeof(host), "%u.examples", i);
		assert_false(nametable_find(&t, slice_of(host), &value));
	}
	nametable_free(&t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_are_found),
		cmocka_unit_test(long_hosts),
		cmocka_unit_test(many_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
