#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/template.h"
#include "lib/guard.h"

#define PATHS4 "${path}${path}${path}${path}"
#define PATHS16 PATHS4 PATHS4 PATHS4 PATHS4

static const struct good {
	const char *text;
	unsigned part_n;
	struct template_part parts[4]; /* the first of them */
} goods[] = {
	{ "", 0, { { 0 } } },
	{ "foo", 1, { { VARIABLE_NONE, { "foo", 3 } } } },
	{ "session:${path.rest}",
	  2,
	  { { VARIABLE_NONE, { "session:", 8 } }, { VARIABLE_PATH_REST, { "", 0 } } } },
	{ "${path}x${host}",
	  3,
	  { { VARIABLE_PATH, { "", 0 } },
	    { VARIABLE_NONE, { "x", 1 } },
	    { VARIABLE_HOST, { "", 0 } } } },
	{ "${query.a.b}${header.X-Y}${cookie.$s}${client.address}",
	  4,
	  { { VARIABLE_QUERY, { "a.b", 3 } },
	    { VARIABLE_HEADER, { "X-Y", 3 } },
	    { VARIABLE_COOKIE, { "$s", 2 } },
	    { VARIABLE_CLIENT_ADDRESS, { "", 0 } } } },
	{ "a$$b", 2, { { VARIABLE_NONE, { "a$", 2 } }, { VARIABLE_NONE, { "b", 1 } } } },
	{ "$$${method}",
	  2,
	  { { VARIABLE_NONE, { "$", 1 } }, { VARIABLE_METHOD, { "", 0 } } } },
	{ "$$$$", 2, { { VARIABLE_NONE, { "$", 1 } }, { VARIABLE_NONE, { "$", 1 } } } },
	{ "$${path}",
	  2,
	  { { VARIABLE_NONE, { "$", 1 } }, { VARIABLE_NONE, { "{path}", 6 } } } },
	{ PATHS16, 16, { { VARIABLE_PATH, { "", 0 } } } },
};

static const struct bad {
	const char *text;
	size_t column;
	const char *why;
} bads[] = {
	{ "$", 0, "'$' does not begin a variable; write '$$' for a dollar sign" },
	{ "ab$", 2, "'$' does not begin a variable; write '$$' for a dollar sign" },
	{ "a$b", 1, "'$' does not begin a variable; write '$$' for a dollar sign" },
	{ "$$$", 2, "'$' does not begin a variable; write '$$' for a dollar sign" },
	{ "a${path", 1, "'${' is not closed; write '}' after the name" },
	{ "${path}${", 7, "'${' is not closed; write '}' after the name" },
	{ "${pathh}", 0, "unknown variable; write ${path}" },
	{ "x${cokie.sid}", 1, "unknown variable; write ${cookie.NAME}" },
	{ "${client}", 0, "unknown variable; write ${client.address}" },
	{ "${}", 0,
	  "unknown variable; write ${path}, ${path.rest}, ${query.NAME}, ${header.NAME}, "
	  "${cookie.NAME}, ${host}, ${method} or ${client.address}" },
	{ "${header}", 0, "this variable needs a name; write ${header.NAME}" },
	{ "${header.}", 0, "this variable needs a name; write ${header.NAME}" },
	{ "${query.a b}", 0, "this variable needs a name; write ${query.NAME}" },
	{ PATHS16 "x", 112, "more than 16 variables and pieces of text; shorten it" },
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(goods); i++) {
		const struct good *g = &goods[i];
		size_t n = strlen(g->text), column;
		char *text = guard_copy(g->text, n);
		const char *why;
		struct template_part parts[TEMPLATE_PARTS_MAX];
		struct template t;

		assert_int_equal(template_compile(&t, parts, (struct slice){ text, n },
						  &column, &why),
				 0);
		assert_int_equal(t.part_n, g->part_n);
		for (unsigned j = 0; j < t.part_n && j < 4 && g->part_n <= 4; j++) {
			assert_int_equal(t.parts[j].variable, g->parts[j].variable);
			assert_true(slice_equal(t.parts[j].text, g->parts[j].text));
		}
		guard_free(text);
	}
}

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bads); i++) {
		size_t n = strlen(bads[i].text), column;
		char *text = guard_copy(bads[i].text, n);
		const char *why;
		struct template_part parts[TEMPLATE_PARTS_MAX];
		struct template t;

		assert_int_equal(template_compile(&t, parts, (struct slice){ text, n },
						  &column, &why),
				 -1);
		assert_string_equal(why, bads[i].why);
		assert_int_equal(column, bads[i].column);
		guard_free(text);
	}
}

/* Cut anywhere, a template compiles or is refused at a column inside its text. */
static void test_cut_anywhere(void **state)
{
	static const char whole[] = "a$$${path.rest}b${query.x}${header.Y}$${cookie.z}";

	(void)state;
	for (size_t n = 0; n < sizeof(whole); n++) {
		char *text = guard_copy(whole, n);
		struct template_part parts[TEMPLATE_PARTS_MAX];
		struct template t;
		const char *why = NULL;
		size_t column = 0;

		if (template_compile(&t, parts, (struct slice){ text, n }, &column,
				     &why) != 0) {
			assert_true(column < n);
			assert_non_null(why);
		}
		guard_free(text);
	}
}

static void test_variable_text(void **state)
{
	(void)state;
	assert_true(slice_equal(variable_text(VARIABLE_PATH_REST), SLICE("path.rest")));
	assert_true(slice_equal(variable_text(VARIABLE_COOKIE), SLICE("cookie")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_variable_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
