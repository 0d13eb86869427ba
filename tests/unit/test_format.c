/* Layout of files: what moves, what stays, and that a result is laid out already. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/format.h"

static const struct row {
	const char *text, *laid_out;
} rows[] = {
	{ "", "" },
	{ "\n\n# only\n\n\n", "# only\n" },
	{ "\xef\xbb\xbf"
	  "a: 1\r\n\r\n\r\n\r\nb: 2  \r\n",
	  "a: 1\n\nb: 2\n" },
	/* Levels of any width; lists in the column of their key. */
	{ "a:\n    b:\n        c: 1\n    d: 2\n", "a:\n  b:\n    c: 1\n  d: 2\n" },
	{ "a:\n- 1\n-   2\nb:\n- c: 1\n  d: 2\n",
	  "a:\n  - 1\n  - 2\nb:\n  - c: 1\n    d: 2\n" },
	{ "a:\n   -    c: 1\n        d:\n             - x\n",
	  "a:\n  - c: 1\n    d:\n      - x\n" },
	{ "- -   a\n  -   b\n-\n    c: 1\n", "- - a\n  - b\n-\n  c: 1\n" },
	{ "a:\n      value\n", "a:\n  value\n" },
	{ "? a\n: b\n", "? a\n: b\n" },
	{ "a: &x\n     b: 1\nc:\n     *x\n", "a: &x\n  b: 1\nc:\n  *x\n" },
	/* Comments: beside the next line, of the list before, behind a value, behind a dash. */
	{ "# top\na:   # here\n    # of b\n    b: 1   # one\n    # after b\n# of c\nc: 2\n  # end\n",
	  "# top\na:   # here\n  # of b\n  b: 1   # one\n  # after b\n# of c\nc: 2\n  # end\n" },
	{ "a:\n- b\n# - c\n- d\n#e: 1\n", "a:\n  - b\n  # - c\n  - d\n#e: 1\n" },
	{ "a:\n    -    # why\n      b: 1\n", "a:\n  - # why\n    b: 1\n" },
	/* Brackets move as a whole. */
	{ "a:\n      - { b: 1,\n          # why\n          c: [1,\n\n              2] }\n      - x\n",
	  "a:\n  - { b: 1,\n      # why\n      c: [1,\n\n          2] }\n  - x\n" },
	/* Text of several lines: its spaces and blank lines stay. */
	{ "a:\n    b: |\n      one  \n\n\n        two\n      # text\n    c: 2\n",
	  "a:\n  b: |\n    one  \n\n\n      two\n    # text\n  c: 2\n" },
	{ "a:\n    b: |2\n        one\n    c: >-\n        x\n\n        y\n",
	  "a:\n  b: |2\n      one\n  c: >-\n      x\n\n      y\n" },
	{ "a:\n    b: \"one\n\n        two\"\n    c: x\n        y\n",
	  "a:\n  b: \"one\n\n      two\"\n  c: x\n      y\n" },
	{ "---\na: 1\n...\n", "---\na: 1\n...\n" },
	{ "\xc3\xa9: # \xc3\xa9\n    '\xc3\xa9': { b: 1 }\n",
	  "\xc3\xa9: # \xc3\xa9\n  '\xc3\xa9': { b: 1 }\n" },
};

/* The layout, or NULL; to be freed. */
static char *layout_of(const char *text, char **errors)
{
	char *result = NULL;
	size_t n, m;
	FILE *out = open_memstream(&result, &n), *err = open_memstream(errors, &m);
	bool done = config_format(slice_of(text), "some.yaml", out, err);

	fclose(out);
	fclose(err);
	if (done)
		return result;
	assert_int_equal(n, 0);
	free(result);
	return NULL;
}

static void expect(const char *text, const char *laid_out)
{
	char *errors, *result = layout_of(text, &errors);

	assert_string_equal(errors, "");
	if (!result || strcmp(result, laid_out) != 0)
		fail_msg("\n%s\nbecomes\n%s\nand not\n%s", text,
			 result ? result : "(refused)\n", laid_out);
	free(errors);
	free(result);
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		expect(rows[i].text, rows[i].laid_out);
		expect(rows[i].laid_out, rows[i].laid_out);
	}
}

static void test_refused(void **state)
{
	char *errors;

	(void)state;
	assert_null(layout_of("a: [\n", &errors));
	assert_non_null(strstr(errors, "some.yaml:2:1: "));
	free(errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
