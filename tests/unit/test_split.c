/* Requests that are divided between upstreams, and the cookies that fairlead sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/proxy/split.h"
#include "base/check.h"

#define TIMES 10000

static struct config_split_part parts[] = { { 4, 90 }, { 5, 0 }, { 6, 10 } };
static struct config_split split = { .part_n = COUNT(parts), .parts = parts, .weights = 100 };

static void test_parts(void **state)
{
	(void)state;
	assert_int_equal(split_part(&split, 0), 4);
	assert_int_equal(split_part(&split, 3865470566u), 4); /* below 0.9 */
	assert_int_equal(split_part(&split, 3865470567u), 6);
	assert_int_equal(split_part(&split, UINT32_MAX), 6);
	/* More for the last: nobody leaves it. */
	parts[0].weight = 80;
	parts[2].weight = 20;
	for (uint64_t place = 3865470567u; place <= UINT32_MAX; place += 9999991)
		assert_int_equal(split_part(&split, (uint32_t)place), 6);
	parts[0].weight = 90;
	parts[2].weight = 10;
}

/* A request with this Cookie field; NULL: none. */
static void view_make(struct request_view *v, struct head *h, const char *cookie)
{
	*h = (struct head){ .path = SLICE("/"), .field_n = cookie != NULL };
	h->fields[0] = (struct field){ SLICE("Cookie"), slice_of(cookie), HEADER_COOKIE, false };
	*v = (struct request_view){ .head = h };
}

static void test_cookie_places(void **state)
{
	static struct head h;
	const struct config_proxy p = { .split = &split, .split_cookie = "side" };
	struct place_cookie cookie;
	struct request_view v;
	struct random random;
	unsigned to_last = 0;
	char text[64];

	(void)state;
	random_init(&random, 1);
	for (unsigned i = 0; i < TIMES; i++) {
		unsigned upstream;

		view_make(&v, &h, i % 2 == 0 ? NULL : "side=0123456; x=y");
		upstream = split_choose(&p, &v, &random, &cookie);
		assert_string_equal(cookie.name, "side");
		to_last += upstream == 6;
		snprintf(text, sizeof(text), "a=b; side=%08x", cookie.place);
		view_make(&v, &h, text);
		assert_int_equal(split_choose(&p, &v, &random, &cookie), upstream);
		assert_null(cookie.name);
	}
	assert_in_range(to_last, TIMES / 10 - 150, TIMES / 10 + 150);
}

static void test_by_key(void **state)
{
	static struct head h;
	const struct template_part part = { VARIABLE_COOKIE, SLICE("user") };
	struct config_split by = split;
	const struct config_proxy p = { .split = &by, .split_cookie = "" };
	unsigned to_last = 0, without = 0;
	struct place_cookie cookie;
	struct request_view v;
	struct random random;
	char text[64];

	(void)state;
	by.by = (struct template){ 1, &part };
	random_init(&random, 1);
	for (unsigned i = 0; i < TIMES; i++) {
		unsigned upstream;

		snprintf(text, sizeof(text), "user=u%u", i);
		view_make(&v, &h, text);
		upstream = split_choose(&p, &v, &random, &cookie);
		assert_null(cookie.name);
		assert_int_equal(split_choose(&p, &v, &random, &cookie), upstream);
		to_last += upstream == 6;
		view_make(&v, &h, NULL);
		without += split_choose(&p, &v, &random, &cookie) == 6;
	}
	assert_in_range(to_last, TIMES / 10 - 150, TIMES / 10 + 150);
	assert_in_range(without, TIMES / 10 - 150, TIMES / 10 + 150);
}

static void assert_text(struct slice got, const char *expected)
{
	if (!slice_equal(got, slice_of(expected)))
		fail_msg("%.*s", SLICE_ARG(got));
}

static void test_cookie_texts(void **state)
{
	struct config_sticky s = { .cookie = "srv", .path = SLICE("/app") };
	const struct place_cookie place = { "side", 0xab };
	char text[COOKIE_TEXT_MAX], name[CONFIG_COOKIE_MAX + 1], path[CONFIG_COOKIE_PATH_MAX + 1];

	(void)state;
	assert_text(cookie_of_place(text, &place, false),
		    "side=000000ab; Path=/; HttpOnly; SameSite=Lax");
	assert_text(cookie_of_server(text, &s, 0x1234, true),
		    "srv=0000000000001234; Path=/app; HttpOnly; SameSite=Lax; Secure");
	memset(name, 'n', sizeof(name));
	memset(path, 'p', sizeof(path));
	name[sizeof(name) - 1] = '\0';
	s = (struct config_sticky){ .cookie = name,
				    .path = { path, sizeof(path) - 1 },
				    .same_site = CONFIG_SAME_SITE_STRICT,
				    .max_age_ms = 34560000000u };
	assert_true(cookie_of_server(text, &s, UINT64_MAX, true).len > 300);
	s.same_site = CONFIG_SAME_SITE_NONE;
	s.path = SLICE("/");
	s.cookie = "c";
	assert_text(cookie_of_server(text, &s, UINT64_MAX, false),
		    "c=ffffffffffffffff; Path=/; HttpOnly; SameSite=None; Max-Age=34560000");
}

static void test_numbers(void **state)
{
	static struct head h;
	static const struct {
		const char *cookie;
		bool good;
	} rows[] = { { "s=0000000f", true },  { "s=0000000F", false }, { "s=000000f", false },
		     { "s=0000000g", false }, { "s=000000000", false }, { "t=0000000f", false } };
	struct request_view v;
	uint64_t number;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		view_make(&v, &h, rows[i].cookie);
		assert_int_equal(cookie_number(&v, "s", 8, &number), rows[i].good);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),	     cmocka_unit_test(test_cookie_places),
		cmocka_unit_test(test_by_key),	     cmocka_unit_test(test_cookie_texts),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
