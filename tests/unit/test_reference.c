#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/rules/reference.h"
#include "base/check.h"

static void test_parts(void **state)
{
	static const struct {
		const char *text, *scheme, *authority, *rest; /* scheme NULL: none of those */
	} rows[] = {
		{ "http://a/b?c#d", "http", "a", "/b?c#d" },
		{ "HTTPS://A:1", "HTTPS", "A:1", "" },
		{ "https://a?b", "https", "a", "?b" },
		{ "http://a#b", "http", "a", "#b" },
		{ "//a/b", "", "a", "/b" },
		{ "/a//b", "", "", "/a//b" },
		{ "/\\a", "", "", "/\\a" },
		{ "http://[::1]:80/", "http", "[::1]:80", "/" },
		{ "http:///a", NULL, NULL, NULL },
		{ "///a", NULL, NULL, NULL },
		{ "http:/a", NULL, NULL, NULL },
		{ "ftp://a/", NULL, NULL, NULL },
		{ "a/b", NULL, NULL, NULL },
		{ "?a", NULL, NULL, NULL },
		{ "", NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct reference r;

		assert_int_equal(reference_parse(&r, slice_of(rows[i].text)),
				 rows[i].scheme != NULL);
		if (!rows[i].scheme)
			continue;
		assert_true(slice_equal(r.scheme, slice_of(rows[i].scheme)));
		assert_true(slice_equal(r.authority, slice_of(rows[i].authority)));
		assert_true(slice_equal(r.rest, slice_of(rows[i].rest)));
	}
}

static void test_authorities(void **state)
{
	static const struct {
		const char *a, *b, *scheme;
		bool equal;
	} rows[] = {
		{ "a.example", "A.Example", "http", true },
		{ "a:80", "a", "http", true },
		{ "a:443", "a", "https", true },
		{ "a:", "a:80", "", true },
		{ "a:443", "a", "http", false },
		{ "a:8080", "a", "http", false },
		{ "a", "b", "http", false },
		{ "[::1]", "[::1]:80", "http", true },
		{ "a80", "a", "http", false },
		{ "80", "80", "http", true },
		{ "", "a", "http", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct slice a = slice_of(rows[i].a), b = slice_of(rows[i].b);
		struct slice scheme = slice_of(rows[i].scheme);

		assert_int_equal(authority_equal(a, b, scheme), rows[i].equal);
		assert_int_equal(authority_equal(b, a, scheme), rows[i].equal);
	}
}

static void test_paths(void **state)
{
	static const struct {
		const char *path, *from, *to, *result; /* NULL: it is not below */
	} rows[] = {
		{ "/a/b", "/a", "/c", "/c/b" },
		{ "/a/b", "/a/", "/c/", "/c/b" },
		{ "/a", "/a/", "/c/", "/c/" },
		{ "/a?x", "/a", "/c", "/c?x" },
		{ "/a#x", "/a", "", "/#x" },
		{ "/ab", "/a", "/c", NULL },
		{ "/a", "/a/b", "/c", NULL },
		{ "/x", "", "/c", "/c/x" },
		{ "/x", "/", "/", "/x" },
		{ "", "", "", "/" },
		{ "/a", "/a", "/", "/" },
		{ "/a//b", "/a", "/c", "/c//b" },
		/* No path becomes an authority. */
		{ "/a//b/c", "/a", "", "/b/c" },
		{ "/a//b/c", "/a", "/", "/b/c" },
		{ "//b", "", "/", "/b" },
		{ "/a/\\b", "/a", "/", "/b" },
		{ "/a/ \t\\/b", "/a/", "", "/b" },
		{ "/a//b", "/a", "https://c", "https://c//b" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[64];
		struct emit e = { text, text + sizeof(text), false };
		struct slice below;

		if (!path_below(slice_of(rows[i].path), slice_of(rows[i].from), &below)) {
			assert_null(rows[i].result);
			continue;
		}
		assert_non_null(rows[i].result);
		emit_path_below(&e, slice_of(rows[i].to), below);
		assert_false(e.overflow);
		*e.at = '\0';
		assert_string_equal(text, rows[i].result);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_authorities),
		cmocka_unit_test(test_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
