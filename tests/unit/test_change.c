#include "http/change.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/forward.h"
#include "http/forwarding.h"

static const struct head_limits limits = { 16384, HEAD_FIELDS_MAX, 0 };
static struct field_changes changes;
static struct head head;
static char out[8192];

static const char response[] = "HTTP/1.1 200 OK\r\n"
			       "Server: s\r\n"
			       "Set-Cookie: a=1\r\n"
			       "X-A: 1\r\n"
			       "set-cookie: b=2\r\n"
			       "Content-Length: 3\r\n"
			       "\r\n";

static int begin(void **state)
{
	uint32_t scanned = 0;

	(void)state;
	field_changes_begin(&changes);
	assert_int_equal(head_parse_response(&head, response, sizeof(response) - 1,
					     &limits, &scanned),
			 VERDICT_OK);
	return 0;
}

/* What forward_response() writes with the changes, in an area of exactly the size it asks for. */
static const char *forwarded(void)
{
	struct forward_response r = { .framing = FRAMING_LENGTH,
				      .length = 3,
				      .date = SLICE("now"),
				      .via = SLICE("v"),
				      .changes = &changes };
	size_t max = forward_response_max(&head, &r);
	struct sink s = sink_http1(out, max);

	assert_true(max < sizeof(out));
	forward_response(&s, &head, &r);
	assert_false(s.out.overflow);
	*s.out.at = '\0';
	return out;
}

#define OK "HTTP/1.1 200 OK\r\n"
#define SERVER "Server: s\r\n"
#define COOKIES "Set-Cookie: a=1\r\nX-A: 1\r\nset-cookie: b=2\r\n"
#define OURS "Date: now\r\nContent-Length: 3\r\nVia: 1.1 v\r\n"

static void test_none(void **state)
{
	(void)state;
	assert_string_equal(forwarded(), OK SERVER COOKIES OURS "\r\n");
}

static void test_add_set_remove(void **state)
{
	(void)state;
	assert_true(field_add(&changes, SLICE("Set-Cookie"), SLICE("c=3")));
	assert_true(field_set(&changes, SLICE("server"), SLICE("t")));
	assert_true(field_remove(&changes, SLICE("X-a")));
	assert_string_equal(forwarded(), OK "Set-Cookie: a=1\r\nset-cookie: b=2\r\n" OURS
					    "Set-Cookie: c=3\r\nserver: t\r\n\r\n");
}

/* Fields that the proxy writes are changed too, whether they are written whole or in parts. */
static void test_our_own(void **state)
{
	(void)state;
	assert_true(field_remove(&changes, SLICE("Via")));
	assert_true(field_set(&changes, SLICE("Date"), SLICE("then")));
	assert_string_equal(forwarded(),
			    OK SERVER COOKIES "Content-Length: 3\r\nDate: then\r\n\r\n");
}

static void test_later_wins(void **state)
{
	(void)state;
	assert_true(field_set(&changes, SLICE("X-B"), SLICE("1")));
	assert_true(field_set(&changes, SLICE("x-b"), SLICE("2")));
	assert_true(field_add(&changes, SLICE("X-B"), SLICE("3")));
	assert_true(field_add(&changes, SLICE("X-C"), SLICE("4")));
	assert_true(field_remove(&changes, SLICE("X-C")));
	assert_true(field_remove(&changes, SLICE("Server")));
	assert_true(field_add(&changes, SLICE("Server"), SLICE("5")));
	assert_string_equal(forwarded(),
			    OK COOKIES OURS "x-b: 2\r\nX-B: 3\r\nServer: 5\r\n\r\n");
}

static void test_replace(void **state)
{
	(void)state;
	assert_true(
		field_replace(&changes, &head.fields[3], SLICE("b=2; Path=/long/one")));
	assert_string_equal(forwarded(),
			    OK SERVER "Set-Cookie: a=1\r\nX-A: 1\r\n"
				      "set-cookie: b=2; Path=/long/one\r\n" OURS "\r\n");
	/* What is removed has no value. */
	assert_true(field_remove(&changes, SLICE("Set-Cookie")));
	assert_string_equal(forwarded(), OK SERVER "X-A: 1\r\n" OURS "\r\n");
}

/* Of requests also what CGI and its like take for the same: not of responses, nor of our own fields. */
static void test_alike(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nX_User-Id: 1\r\n"
				      "x-user.id: 2\r\nX-UserId: 3\r\nX-User-Id2: 4\r\n"
				      "X_Gone: 5\r\nX_More: 6\r\nx_own: 7\r\n\r\n";
	const struct forwarding_peer peer = { .text = SLICE("192.0.2.1") };
	const struct forward_field own = { SLICE("X-Own"), SLICE("o") };
	struct forwarding forwarding;
	struct forward_request r = { .changes = &changes,
				     .forwarding = &forwarding,
				     .own = &own,
				     .own_n = 1,
				     .via = SLICE("v") };
	struct sink s = sink_http1(out, sizeof(out));
	uint32_t scanned = 0;

	(void)state;
	assert_int_equal(head_parse_request(&head, request, sizeof(request) - 1, &limits,
					    &scanned),
			 VERDICT_OK);
	forwarding_read(&forwarding, &head, &peer);
	assert_true(field_set(&changes, SLICE("X-User-ID"), SLICE("ours")));
	assert_true(field_remove(&changes, SLICE("X-Gone")));
	assert_true(field_add(&changes, SLICE("X-More"), SLICE("8")));
	assert_true(field_remove(&changes, SLICE("X_Forwarded_For")));
	forward_request(&s, &head, &r);
	*s.out.at = '\0';
	assert_string_equal(out, "GET / HTTP/1.1\r\nHost: a\r\nX-UserId: 3\r\nX-User-Id2: 4\r\n"
				 "X_More: 6\r\nX-Own: o\r\nVia: 1.1 v\r\n"
				 "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n"
				 "X-Forwarded-Host: a\r\nX-Forwarded-Port: 80\r\n"
				 "X-User-ID: ours\r\nX-More: 8\r\n\r\n");
	assert_true(field_changes_hide(&changes, SLICE("X!USER!ID")));
	assert_false(field_changes_hide(&changes, SLICE("X-More")));
	assert_false(field_changes_hide(NULL, SLICE("X-Gone")));
}

static void test_reply(void **state)
{
	struct forward_reply r = { .status = 404,
				   .content_type = SLICE("text/plain"),
				   .has_body = true,
				   .proxy_name = SLICE("fairlead"),
				   .proxy_status = SLICE("error"),
				   .changes = &changes };
	struct sink s = sink_http1(out, sizeof(out));

	(void)state;
	assert_true(field_set(&changes, SLICE("Content-Type"), SLICE("text/html")));
	assert_true(field_remove(&changes, SLICE("Proxy-Status")));
	forward_reply(&s, &r);
	*s.out.at = '\0';
	assert_string_equal(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"
				 "Content-Type: text/html\r\n\r\n");
}

static void test_limits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FIELD_CHANGES_MAX; i++)
		assert_true(field_add(&changes, SLICE("A"), SLICE("")));
	assert_false(field_add(&changes, SLICE("A"), SLICE("")));
	assert_int_equal(changes.n, FIELD_CHANGES_MAX);
	assert_string_not_equal(forwarded(), "");
}

static void test_names(void **state)
{
	static const char *const refused[] = {
		"",          "a b",        "a:",
		"a\r\nb",    "Connection", "content-length",
		"TE",        "trailer",    "Transfer-encoding",
		"Keep-Alive"
	};
	static const char *const requests[] = { "Host", "expect" };

	(void)state;
	for (size_t i = 0; i < COUNT(refused); i++) {
		assert_non_null(field_change_fault(slice_of(refused[i]), false));
		assert_non_null(field_change_fault(slice_of(refused[i]), true));
	}
	for (size_t i = 0; i < COUNT(requests); i++) {
		assert_null(field_change_fault(slice_of(requests[i]), false));
		assert_non_null(field_change_fault(slice_of(requests[i]), true));
	}
	assert_null(field_change_fault(SLICE("X-Real-IP"), true));
}

static void test_values(void **state)
{
	(void)state;
	assert_true(field_value_valid(SLICE("")));
	assert_true(field_value_valid(SLICE("a\tb \xc3\xa4")));
	assert_false(field_value_valid(SLICE(" a")));
	assert_false(field_value_valid(SLICE("a\t")));
	assert_false(field_value_valid(SLICE("a\r\nb: c")));
	assert_false(field_value_valid((struct slice){ "a\0b", 3 }));
	assert_false(field_value_valid(SLICE("a\x7f")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_none, begin),
		cmocka_unit_test_setup(test_add_set_remove, begin),
		cmocka_unit_test_setup(test_our_own, begin),
		cmocka_unit_test_setup(test_later_wins, begin),
		cmocka_unit_test_setup(test_replace, begin),
		cmocka_unit_test_setup(test_alike, begin),
		cmocka_unit_test_setup(test_reply, begin),
		cmocka_unit_test_setup(test_limits, begin),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
