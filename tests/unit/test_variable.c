#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/guard.h"
#include "route/variable.h"

/* One request for all rows; it has cookies and some fields twice. */
static struct head head;
static struct config_route route = { .path = SLICE("/s/"), .prefix = true };
static struct request_view view;
static const struct client_tls tls = {
	.version = SLICE("TLSv1.3"), .cipher = SLICE("TLS_X"), .alpn = SLICE("http/1.1"),
	.ja4 = SLICE("t13d"),
	.resumed = SLICE("false"), .subject = SLICE("CN=a"), .issuer = SLICE("CN=b"),
	.san = SLICE("DNS:a"), .serial = SLICE("0A"), .fingerprint = SLICE("00ff"),
};

static void add_field(enum header id, const char *name, const char *value)
{
	head.fields[head.field_n++] = (struct field){ .name = slice_of(name),
						      .value = slice_of(value),
						      .header = (uint8_t)id };
}

static int setup(void **state)
{
	(void)state;
	head.method_token = SLICE("PROPFIND");
	head.path = SLICE("/s/%7Ea%20b%2Fc");
	head.query = SLICE("?a=1&b=x+y%26&a=2&flag&e=&%63=3&bad=%4&=none&b%ZZ=4");
	add_field(HEADER_HOST, "Host", "Example.org:80");
	add_field(HEADER_COOKIE, "Cookie", "sid=42; q=\"x y\";  sp = v ;flag; sid=43");
	add_field(HEADER_USER_AGENT, "User-Agent", "late=0");
	add_field(HEADER_OTHER, "X-One", "first");
	add_field(HEADER_OTHER, "x-one", "second");
	add_field(HEADER_OTHER, "X-Empty", "");
	add_field(HEADER_COOKIE, "cookie", "late=1; eq=a=b; Sid=7; e=");
	view = (struct request_view){ .head = &head,
				      .path = SLICE("/s/~a%20b%2Fc"),
				      .host = SLICE("example.org"),
				      .client = SLICE("192.0.2.1"),
				      .route = &route,
				      .tls = &tls };
	return 0;
}

static const struct row {
	const char *text;
	const char *value; /* NULL: none */
} rows[] = {
	{ "", "" },
	{ "foo", "foo" },
	{ "a$$b", "a$b" },
	{ "${path}", "/s/%7Ea%20b%2Fc" },
	{ "s:${path.rest}", "s:~a b/c" },
	{ "${query.a}", "1" },
	{ "${query.b}", "x y&" },
	{ "${query.c}", "3" },
	{ "${query.flag}.", "." },
	{ "${query.e}.", "." },
	{ "${query.A}", NULL },
	{ "${query.none}", NULL },
	{ "${query.bad}", NULL },
	{ "${header.x-one}", "first" },
	{ "${header.X-ONE}", "first" },
	{ "${header.X-Empty}.", "." },
	{ "${header.X-Two}", NULL },
	{ "${cookie.sid}", "42" },
	{ "${cookie.Sid}", "7" },
	{ "${cookie.q}", "\"x y\"" },
	{ "${cookie.sp}", "v" },
	{ "${cookie.flag}", NULL },
	{ "${cookie.late}", "1" },
	{ "${cookie.eq}", "a=b" },
	{ "${cookie.e}.", "." },
	{ "${cookie.none}", NULL },
	{ "${host}", "example.org" },
	{ "${method}", "PROPFIND" },
	{ "${client.address}", "192.0.2.1" },
	{ "${method}:${query.b}:${path.rest}", "PROPFIND:x y&:~a b/c" },
	{ "x${cookie.none}", NULL },
	{ "${tls.version} ${tls.cipher} ${tls.alpn}", "TLSv1.3 TLS_X http/1.1" },
	{ "${tls.sni}", NULL },
	{ "${tls.ja4}", "t13d" },
	{ "${tls.resumed}", "false" },
	{ "${tls.client.subject}/${tls.client.issuer}", "CN=a/CN=b" },
	{ "${tls.client.san} ${tls.client.serial}", "DNS:a 0A" },
	{ "${tls.client.fingerprint}", "00ff" },
};

static struct template compiled(struct template_part *scratch, const char *text)
{
	struct template t;
	const char *why;
	size_t column;

	assert_int_equal(template_compile(&t, scratch, slice_of(text), &column, &why), 0);
	return t;
}

/* For every size of the output: the value if it fits, else -2. */
static void test_rows(void **state)
{
	char zeros[64] = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct template_part scratch[TEMPLATE_PARTS_MAX];
		struct template t = compiled(scratch, rows[i].text);
		long n = rows[i].value ? (long)strlen(rows[i].value) : -1;

		for (size_t size = 0; size < sizeof(zeros); size++) {
			char *out = guard_copy(zeros, size);
			long got = variable_expand(&t, &view, out, size);

			if (n >= 0 && (long)size < n)
				assert_int_equal(got, -2);
			else
				assert_true(got == n || (n < 0 && size < 2 && got == -2));
			if (got > 0)
				assert_memory_equal(out, rows[i].value, (size_t)n);
			guard_free(out);
		}
	}
}

static void test_value(void **state)
{
	struct slice value;
	char scratch[8];

	(void)state;
	assert_true(
		variable_value(VARIABLE_COOKIE, SLICE("sid"), &view, NULL, 0, &value));
	assert_true(slice_equal(value, SLICE("42")));
	assert_true(value.ptr > head.fields[1].value.ptr);
	assert_true(
		variable_value(VARIABLE_QUERY, SLICE("b"), &view, scratch, 4, &value));
	assert_true(slice_equal(value, SLICE("x y&")));
	assert_ptr_equal(value.ptr, scratch);
	assert_false(
		variable_value(VARIABLE_QUERY, SLICE("b"), &view, scratch, 3, &value));
	assert_false(
		variable_value(VARIABLE_COOKIE, SLICE("x"), &view, scratch, 8, &value));
}

static void test_path_rest(void **state)
{
	struct head h = { .path = SLICE("/s/x") };
	struct request_view v = { .head = &h, .path = SLICE("/s/x"), .route = &route };
	struct config_route exact = { .path = SLICE("/s/x") };
	struct slice value, none = { NULL, 0 };
	char scratch[8];

	(void)state;
	assert_true(variable_value(VARIABLE_PATH_REST, none, &v, scratch, 8, &value));
	assert_true(slice_equal(value, SLICE("x")));
	v.path = SLICE("/s/x%2");
	assert_false(variable_value(VARIABLE_PATH_REST, none, &v, scratch, 8, &value));
	v.path = SLICE("/s/%00");
	assert_true(variable_value(VARIABLE_PATH_REST, none, &v, scratch, 8, &value));
	assert_true(slice_equal(value, SLICE("\0")));
	v.path = SLICE("/s/x");
	v.route = &exact;
	assert_true(variable_value(VARIABLE_PATH_REST, none, &v, scratch, 8, &value));
	assert_int_equal(value.len, 0);
	v.route = NULL;
	assert_false(variable_value(VARIABLE_PATH_REST, none, &v, scratch, 8, &value));
	h.target_form = TARGET_ASTERISK;
	v = (struct request_view){ .head = &h, .path = SLICE("*"), .route = &route };
	assert_false(variable_value(VARIABLE_PATH_REST, none, &v, scratch, 8, &value));
}

/* Cookies and queries that end anywhere, at an unreadable page. */
static void test_cut_anywhere(void **state)
{
	static const char cookies[] = " ; a=\"1\" ;; =x; b = 2;c";
	static const char query[] = "?a=%41&b+c=%4g&&=1&c";
	static const char *const names[] = { "a", "b", "c", "b c", "x" };

	(void)state;
	for (size_t n = 0; n < sizeof(cookies); n++) {
		char *c = guard_copy(cookies, n);
		char *q = guard_copy(query, n < sizeof(query) ? n : 0);
		struct head h = { .query = { q, n < sizeof(query) ? n : 0 },
				  .field_n = 1 };
		struct request_view v = { .head = &h };
		struct slice value;
		char scratch[8];

		h.fields[0] =
			(struct field){ SLICE("Cookie"), { c, n }, HEADER_COOKIE, false };
		for (size_t i = 0; i < COUNT(names); i++) {
			struct slice name = slice_of(names[i]);

			variable_value(VARIABLE_COOKIE, name, &v, scratch, 8, &value);
			variable_value(VARIABLE_QUERY, name, &v, scratch, 8, &value);
		}
		guard_free(c);
		guard_free(q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_value),
		cmocka_unit_test(test_path_rest),
		cmocka_unit_test(test_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
