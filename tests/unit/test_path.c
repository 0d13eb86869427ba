#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/path.h"
#include "lib/guard.h"

static const struct {
	const char *path, *normal;
} paths[] = {
	{ "/", "/" },
	{ "/a", "/a" },
	{ "/a/", "/a/" },
	{ "/a/b", "/a/b" },
	{ "//", "//" },
	{ "//a", "//a" },
	{ "/a//b", "/a//b" },
	{ "/.", "/" },
	{ "/./", "/" },
	{ "/..", "/" },
	{ "/../", "/" },
	{ "/../..", "/" },
	{ "/../../a", "/a" },
	{ "/a/.", "/a/" },
	{ "/a/..", "/" },
	{ "/a/../", "/" },
	{ "/a/b/..", "/a/" },
	{ "/a/b/../", "/a/" },
	{ "/a/./b", "/a/b" },
	{ "/a/../b", "/b" },
	{ "/a//../b", "/a/b" },
	{ "/a/b/c/./../../g", "/a/g" },
	{ "/mid/content=5/../6", "/mid/6" },
	{ "/...", "/..." },
	{ "/.a/..b/c./d..", "/.a/..b/c./d.." },
	/* Encoded dots. */
	{ "/%2e", "/" },
	{ "/a/%2e%2E/b", "/b" },
	{ "/a/.%2e", "/" },
	{ "/%2E%2e/%2e/a", "/a" },
	{ "/a%2e", "/a." },
	/* Decoded only once. */
	{ "/%252e%252e/a", "/%252e%252e/a" },
	{ "/%61%5A%30%2d%5f%7e", "/aZ0-_~" },
	{ "/%2f", "/%2F" },
	{ "/a%2f..%2fb", "/a%2F..%2Fb" },
	{ "/a%2f/../b", "/b" },
	{ "/%00%ff%c3%a4%20", "/%00%FF%C3%A4%20" },
	{ "/%3f%23%25", "/%3F%23%25" },
	{ "/;a=b/!$&'()*+,:@", "/;a=b/!$&'()*+,:@" },
	/* Not an absolute path. */
	{ "", "" },
	{ "*", "*" },
	{ "a/../b", "a/../b" },
	/* Invalid, so never passed; must not be read past the end. */
	{ "/%", "/%" },
	{ "/%2", "/%2" },
	{ "/%zz", "/%zz" },
};

static void normal_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(paths); i++) {
		size_t n = strlen(paths[i].path);
		char *in = guard_copy(paths[i].path, n),
		     *out = guard_copy(paths[i].path, n);
		size_t m = path_normalize(out, (struct slice){ in, n });

		if (m != strlen(paths[i].normal) || memcmp(out, paths[i].normal, m) != 0)
			fail_msg("%s: %.*s, not %s", paths[i].path, (int)m, out,
				 paths[i].normal);
		guard_free(in);
		guard_free(out);
	}
}

/* For all paths of seven parts out of "/", ".", "%2e", "%2F" and a letter: the normal
 * form is its own normal form, begins with "/" and has no dot segment. */
static void normal_forms_are_idempotent(void **state)
{
	static const char *const parts[] = { "/", ".", "%2e", "a", "%2F" };

	(void)state;
	for (int number = 0; number < 78125; number++) {
		char path[32] = "/", once[32], twice[32];
		struct slice normal = { once, 0 };

		for (int i = 0, n = number; i < 7; i++, n /= 5)
			strcat(path, parts[n % 5]);
		normal.len = path_normalize(once, slice_of(path));
		assert_true(normal.len > 0 && normal.len <= strlen(path) &&
			    once[0] == '/');
		assert_int_equal(path_normalize(twice, normal), normal.len);
		assert_memory_equal(once, twice, normal.len);
		once[normal.len] = '/';
		assert_null(memmem(once, normal.len + 1, "/../", 4));
		assert_null(memmem(once, normal.len + 1, "/./", 3));
	}
}

static const struct {
	struct slice text;
	bool plus;
	long n;
	const char *decoded;
} texts[] = {
	{ { "", 0 }, false, 0, "" },
	{ { "abc", 3 }, false, 3, "abc" },
	{ { "a+b%2B", 6 }, false, 4, "a+b+" },
	{ { "a+b%2B", 6 }, true, 4, "a b+" },
	{ { "%2f%2F%00", 9 }, false, 3, "//\0" },
	{ { "%fF\xff", 4 }, false, 2, "\xff\xff" },
	{ { "%252e", 5 }, false, 3, "%2e" },
	{ { "%", 1 }, false, -1, "" },
	{ { "a%4", 3 }, false, -1, "" },
	{ { "%4g", 3 }, false, -1, "" },
	{ { "%g4", 3 }, false, -1, "" },
	{ { "%%41", 4 }, false, -1, "" },
};

static void decoding(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		size_t n = texts[i].text.len;
		char *in = guard_copy(texts[i].text.ptr, n), *out = guard_copy(in, n);
		long m = path_decode(out, (struct slice){ in, n }, texts[i].plus);

		assert_int_equal(m, texts[i].n);
		if (m > 0)
			assert_memory_equal(out, texts[i].decoded, (size_t)m);
		guard_free(in);
		guard_free(out);
	}
}

static void test_unambiguous(void **state)
{
	static const struct {
		const char *path;
		bool unambiguous;
	} cases[] = {
		{ "/", true }, { "", true }, { "*", true }, { "/a", true }, { "/a/b/", true },
		{ "/a%20b/%C3%A4%ff", true }, { "/a.b/..c/.../%2e%2e%2e/x%2e", true },
		{ "/a/../b/./", true }, { "/a,b=c&d@e:f!$'()*+", true }, { "/%25%3D%3f", true },
		{ "//", false }, { "//admin/x", false }, { "/a//b", false }, { "/a//", false },
		{ "/pub/..%2fadmin/x", false }, { "/admin%2Fx", false }, { "/a%5cb", false },
		{ "/a%5Cb", false }, { "/a\\b", false }, { "/pub/..;/admin/x", false },
		{ "/admin;a/x", false }, { "/a;", false }, { "/a%3bb", false }, { "/%00", false },
		{ "/a%0d%0ab", false }, { "/a%1f", false }, { "/a%7F", false }, { "/a\x01", false },
		{ "/%2e", false }, { "/.%2e/a", false }, { "/a/%2E./b", false },
		{ "/a/%2e%2e", false }, { "/pub/%2e%2E/admin", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t n = strlen(cases[i].path);
		char *path = guard_copy(cases[i].path, n);

		if (path_is_unambiguous((struct slice){ path, n }) != cases[i].unambiguous)
			fail_msg("%s", cases[i].path);
		guard_free(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unambiguous),
		cmocka_unit_test(normal_forms),
		cmocka_unit_test(normal_forms_are_idempotent),
		cmocka_unit_test(decoding),
	};

	return cmocka_run_group_tests_name("path", tests, NULL, NULL);
}
