#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/guard.h"
#include "route/location.h"

#define A10 "aaaaaaaaaa"
#define A100 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10
#define A1000 A100 A100 A100 A100 A100 A100 A100 A100 A100 A100

static struct template compiled(struct template_part *parts, const char *text)
{
	struct template t;
	const char *why;
	size_t column;

	assert_int_equal(template_compile(&t, parts, slice_of(text), &column, &why), 0);
	return t;
}

static const struct row {
	const char *text;     /* of the template */
	const char *request;  /* target and Host */
	const char *location; /* NULL: none */
	bool drop_query;
} rows[] = {
	{ "https://${host}${path}", "/a/b?c=d%20e&f", "https://one.example/a/b?c=d%20e&f",
	  false },
	{ "https://${host}${path}", "/a/b?c", "https://one.example/a/b", true },
	{ "https://${host}${path}", "/?", "https://one.example/?", false },
	{ "https://${host}:8443${path}", "/", "https://one.example:8443/", false },
	/* The path is as received: neither decoded nor encoded twice. */
	{ "https://${host}${path}", "/%41/../%2f%25", "https://one.example/%41/../%2f%25",
	  false },
	{ "https://${host}${path}", "/{a}|\"<b>\\?{",
	  "https://one.example/%7Ba%7D%7C%22%3Cb%3E%5C?%7B", false },
	/* The host in an absolute target is that of the request (RFC 9112 3.2.2). */
	{ "https://${host}${path}", "http://Two.example:80/x", "https://two.example/x",
	  false },
	{ "https://new.example${path}", "http://two.example//evil.example/",
	  "https://new.example//evil.example/", false },
	{ "https://new.example${path}", "*", NULL, false },
	{ "https://${host}${path}", "*", NULL, false },
	{ "https://new.example/x", "*", "https://new.example/x", false },
	/* Hosts that are valid in a request, and mean something else elsewhere. */
	{ "https://${host}${path}", "http://a%40evil.example/", NULL, false },
	{ "https://${host}${path}", "http://evil.example%2f.one.example/", NULL, false },
	{ "https://${host}${path}", "http://one.example%5c.evil.example/", NULL, false },
	{ "https://${host}${path}", "http://a;b/", NULL, false },
	{ "https://${host}${path}", "http://[2001:DB8::1]:80/", "https://[2001:db8::1]/",
	  false },
	{ "/x?${host}", "http://a&b/", NULL, false },
	/* Decoded values are encoded again: no line break, no parameter, no other host. */
	{ "https://n/${path.rest}", "/p/a%0d%0aSet-Cookie:%20x",
	  "https://n/a%0D%0ASet-Cookie:%20x", false },
	{ "https://n/${path.rest}", "/p/a%3fb%23c%25d%00%ff",
	  "https://n/a%3Fb%23c%25d%00%FF", false },
	{ "https://n/?u=${query.u}", "/?u=a%26b=c%2B%0a", "https://n/?u=a%26b%3Dc%2B%0A",
	  true },
	{ "https://n/?u=1", "/?a=b", "https://n/?u=1&a=b", false },
	{ "https://n/?u=1", "/", "https://n/?u=1", false },
	{ "https://n/${header.x}", "/", "https://n/a%09b%22", false },
	{ "https://n/${cookie.none}", "/", NULL, false },
	{ "/${path.rest}", "/p/a", "/a", false },
	{ "/${path.rest}", "/p//evil.example/", "/evil.example/", false },
	{ "/${path.rest}", "/p/%2f/%2Fevil.example//x", "/evil.example//x", false },
	{ "/${path.rest}", "/p/%2f", "/", false },
	{ "/${path.rest}", "/p/%5cevil.example/", "/%5Cevil.example/", false },
	{ "/q${path}", "*", "/q*", false },
	/* At most LOCATION_MAX bytes. */
	{ "/${path.rest}", "/p/" A1000 A1000 A1000 A1000 A1000 A1000 A1000 A1000,
	  "/" A1000 A1000 A1000 A1000 A1000 A1000 A1000 A1000, false },
	{ "/${path.rest}", "/p/" A1000 A1000 A1000 A1000 A1000 A1000 A1000 A1000 A1000,
	  NULL, false },
	{ "/x${path}", "/" A1000 A1000 A1000 A1000 A1000 A1000 A1000 A1000 A1000, NULL,
	  false },
};

static const struct head_limits limits = { .bytes = 16384, .fields = 16 };
static struct config_route route = { .path = SLICE("/p/"), .prefix = true };

static bool parse(struct head *h, char *text, size_t size, const char *target)
{
	uint32_t scanned = 0;
	int n = snprintf(text, size,
			 "%s %s HTTP/1.1\r\nHost: one.example\r\nX: a\tb\"\r\n\r\n",
			 target[0] == '*' ? "OPTIONS" : "GET", target);

	return head_parse_request(h, text, (size_t)n, &limits, &scanned) == VERDICT_OK;
}

static void test_rows(void **state)
{
	char zeros[LOCATION_MAX] = { 0 };
	char *out = guard_copy(zeros, sizeof(zeros));

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		static char text[16384], scratch[16384];
		static struct head h;
		struct template_part parts[TEMPLATE_PARTS_MAX];
		struct template t = compiled(parts, rows[i].text);
		struct request_view v = { 0 };
		long n;

		if (!parse(&h, text, sizeof(text), rows[i].request))
			fail_msg("'%s' is refused", rows[i].request);
		request_view_init(&v, &h, SLICE("192.0.2.1"), scratch);
		v.route = slice_starts(v.path, route.path) ? &route : NULL;
		assert_null(location_fault(&t));
		n = location_write(&t, !rows[i].drop_query, &v, out);
		if (n >= 0 && rows[i].location)
			out[n < LOCATION_MAX ? n : LOCATION_MAX - 1] = '\0';
		if (!rows[i].location)
			assert_int_equal(n, -1);
		else
			assert_string_equal(out, rows[i].location);
	}
	guard_free(out);
}

static void test_no_host(void **state)
{
	static struct head h;
	char text[] = "GET /a HTTP/1.0\r\n\r\n", scratch[256], out[LOCATION_MAX];
	struct template_part parts[TEMPLATE_PARTS_MAX];
	struct template t = compiled(parts, "https://${host}${path}");
	struct request_view v = { 0 };
	uint32_t scanned = 0;

	(void)state;
	assert_int_equal(head_parse_request(&h, text, strlen(text), &limits, &scanned),
			 VERDICT_OK);
	request_view_init(&v, &h, SLICE("192.0.2.1"), scratch);
	assert_int_equal(location_write(&t, true, &v, out), -1);
	t = compiled(parts, "https://new.example${path}");
	assert_int_equal(location_write(&t, true, &v, out),
			 (long)strlen("https://new.example/a"));
}

/* Templates that could lead elsewhere than they say; the texts are tested by test_config_errors. */
static void test_faults(void **state)
{
	static const char *const faulty[] = {
		"",
		"x",
		"${path}",
		"//x/",
		"ftp://x/",
		"https://",
		"https:///x",
		"https://?",
		"https://${path}",
		"https://${query.a}",
		"https://x${query.a}",
		"https://x:${query.a}/",
		"https://a@b/",
		"https://a\\b/",
		"/a\\b",
		"/#a",
		"/\xc3\xa4",
		"https://${host}${path.rest}/",
	};
	static const char *const good[] = {
		"https://x",
		"http://x:80/",
		"https://www.${host}",
		"https://${host}",
		"https://x?${query.a}",
		"https://x/${query.a}",
		"https://x${path}${path}",
		"/",
		"/${path.rest}",
		"/a%20b",
	};
	struct template_part parts[TEMPLATE_PARTS_MAX];
	struct template t;

	(void)state;
	for (size_t i = 0; i < COUNT(faulty); i++) {
		t = compiled(parts, faulty[i]);
		if (!location_fault(&t))
			fail_msg("'%s' is accepted", faulty[i]);
	}
	for (size_t i = 0; i < COUNT(good); i++) {
		t = compiled(parts, good[i]);
		if (location_fault(&t))
			fail_msg("'%s': %s", good[i], location_fault(&t));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_no_host),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
