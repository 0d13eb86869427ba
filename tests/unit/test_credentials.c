/* Authorization: Basic, decoded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../src/rules/credentials.h"
#include "base/check.h"

static const struct {
	const char *value, *user, *password; /* user NULL: none */
} rows[] = {
	{ "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin",
	  "open sesame" }, /* RFC 7617 2 */
	{ "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame" },
	{ "BASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame" },
	{ "Basic dGVzdDoxMjPCow==", "test", "123\xc2\xa3" }, /* RFC 7617 2.1 */
	{ "Basic YTpiOmM=", "a", "b:c" },
	{ "Basic YTo=", "a", "" },
	{ "Basic YTpi", "a", "b" },
	{ "Basic +/+/Og==", "\xfb\xff\xbf", "" },
	/* No name, no colon, nothing. */
	{ "Basic OmI=", NULL, NULL },
	{ "Basic YWJj", NULL, NULL },
	{ "Basic ", NULL, NULL },
	{ "Basic", NULL, NULL },
	{ "", NULL, NULL },
	/* Other schemes. */
	{ "Bearer YTpi", NULL, NULL },
	{ "BasicYTpi", NULL, NULL },
	{ "Basic\tYTpi", NULL, NULL },
	/* Not the one encoding: padding left out, too much of it, bits that mean nothing, other
	 * characters, other text behind it. */
	{ "Basic YTo", NULL, NULL },
	{ "Basic YTpi====", NULL, NULL },
	{ "Basic YTpiYg=a", NULL, NULL },
	{ "Basic YTp=", NULL, NULL },
	{ "Basic YTq=", NULL, NULL },
	{ "Basic YTr=", NULL, NULL },
	{ "Basic -_-_Og==", NULL, NULL },
	{ "Basic YT i", NULL, NULL },
	{ "Basic YTpi, Basic YTpi", NULL, NULL },
	{ "Basic A===", NULL, NULL },
	{ "Basic ====", NULL, NULL },
	/* Control characters: libcrypt would stop at a NUL. */
	{ "Basic YTpiAGM=", NULL, NULL },
	{ "Basic YTpiCg==", NULL, NULL },
	{ "Basic YQE6Yg==", NULL, NULL },
	{ "Basic YTp/", NULL, NULL },
};

static bool read_fields(struct credentials *c, const char *first, const char *second)
{
	static struct head h;

	h.field_n = 0;
	h.fields[h.field_n++] = (struct field){ .name = SLICE("Host"),
						.value = SLICE("x") };
	if (first)
		h.fields[h.field_n++] = (struct field){ .name = SLICE("authorization"),
							.value = slice_of(first) };
	if (second)
		h.fields[h.field_n++] = (struct field){ .name = SLICE("Authorization"),
							.value = slice_of(second) };
	return credentials_read(&h, c);
}

static void test_values(void **state)
{
	struct credentials c;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (read_fields(&c, rows[i].value, NULL) != (rows[i].user != NULL))
			fail_msg("%s", rows[i].value);
		if (!rows[i].user)
			continue;
		assert_true(slice_equal(c.user, slice_of(rows[i].user)));
		assert_string_equal(c.password.ptr, rows[i].password);
		assert_int_equal(c.password.len, strlen(rows[i].password));
	}
}

static void test_fields(void **state)
{
	struct credentials c;

	(void)state;
	assert_false(read_fields(&c, NULL, NULL));
	assert_true(read_fields(&c, NULL, "Basic YTpi"));
	assert_false(read_fields(&c, "Basic YTpi", "Basic YTpi"));
}

/* "u…u:p…p" */
static bool read_long(struct credentials *c, size_t user, size_t password)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static char text[2000], plain[1500];
	size_t n = user + 1 + password, at = 6;

	memset(plain, 'u', user);
	plain[user] = ':';
	memset(plain + user + 1, 'p', password);
	memcpy(text, "Basic ", 6);
	for (size_t i = 0; i < n; i += 3) {
		unsigned bits = (unsigned)plain[i] << 16 |
				(i + 1 < n ? (unsigned)plain[i + 1] << 8 : 0) |
				(i + 2 < n ? (unsigned)plain[i + 2] : 0);

		for (unsigned k = 0; k < 4; k++)
			text[at++] = k <= n - i ? digits[bits >> (18 - 6 * k) & 63] : '=';
	}
	text[at] = '\0';
	return read_fields(c, text, NULL);
}

static void test_bounds(void **state)
{
	struct credentials c;

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		assert_true(read_long(&c, CREDENTIALS_USER_MAX - i,
				      CREDENTIALS_PASSWORD_MAX));
		assert_int_equal(c.user.len, CREDENTIALS_USER_MAX - i);
		assert_int_equal(strlen(c.password.ptr), CREDENTIALS_PASSWORD_MAX);
		assert_false(read_long(&c, CREDENTIALS_USER_MAX + 1 + i, 1));
		assert_false(read_long(&c, 1, CREDENTIALS_PASSWORD_MAX + 1 + i));
		assert_false(read_long(&c, CREDENTIALS_USER_MAX,
				       CREDENTIALS_PASSWORD_MAX + 1 + i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
