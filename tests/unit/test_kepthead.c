#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http/kepthead.h"

static const struct head_limits limits = { 16384, HEAD_FIELDS_MAX, 0 };
static struct head head, again;

/* Of struct head without its fields, on 64 bits. */
#define HEAD_BYTES 192

static const char *const heads[] = {
	"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /a/b?c=d&e HTTP/1.1\r\nHost: h:80\r\nA: b\r\nUser-Agent: c/1\r\nEmpty:\r\n"
	"Referer: http://h/\r\nLast: 1\r\n\r\n",
	"POST /? HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775807\r\n"
	"Expect: 100-continue\r\n\r\n",
	"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
	"Connection: TE, a, close\r\nA: b\r\n\r\n",
	/* The parts of the target: with and without a path, an authority of its own. */
	"GET http://h:1/p?q HTTP/1.1\r\nHost: other\r\n\r\n",
	"GET http://h?q HTTP/1.1\r\nHost: other\r\n\r\n",
	"OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 7\r\n\r\n",
	"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
	"\r\nGET / HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
	"GET / HTTP/1.7\r\nHost: h\r\nUpgrade: websocket, x/1\r\nConnection: upgrade\r\n\r\n",
};

static void check_same_slice(struct slice a, struct slice b)
{
	assert_true(slice_equal(a, b));
	assert_true(a.len == 0 || a.ptr != b.ptr);
}

static void check_same(const struct head *a, const struct head *b)
{
	/* A member that is new is kept and compared here, or belongs to responses only. */
	assert_int_equal(offsetof(struct head, fields), HEAD_BYTES);
	check_same_slice(a->method_token, b->method_token);
	check_same_slice(a->target, b->target);
	check_same_slice(a->line, b->line);
	assert_int_equal(a->method, b->method);
	assert_int_equal(a->target_form, b->target_form);
	check_same_slice(a->path, b->path);
	check_same_slice(a->query, b->query);
	check_same_slice(a->authority, b->authority);
	assert_int_equal(a->minor, b->minor);
	assert_int_equal(a->bytes, b->bytes);
	assert_int_equal(a->framing, b->framing);
	assert_int_equal(a->length, b->length);
	assert_int_equal(a->keep_alive, b->keep_alive);
	assert_int_equal(a->upgrade, b->upgrade);
	assert_int_equal(a->expect_continue, b->expect_continue);
	assert_int_equal(a->te_trailers, b->te_trailers);
	assert_int_equal(a->forwards_limited, b->forwards_limited);
	assert_int_equal(a->max_forwards, b->max_forwards);
	check_same_slice(a->upgrade_token, b->upgrade_token);
	assert_int_equal(a->field_n, b->field_n);
	for (unsigned i = 0; i < a->field_n; i++) {
		check_same_slice(a->fields[i].name, b->fields[i].name);
		check_same_slice(a->fields[i].value, b->fields[i].value);
		assert_int_equal(a->fields[i].header, b->fields[i].header);
		assert_int_equal(a->fields[i].per_hop, b->fields[i].per_hop);
	}
}

static void parse(const char *text)
{
	uint32_t scanned = 0;

	if (head_parse_request(&head, text, strlen(text), &limits, &scanned) !=
	    VERDICT_OK)
		fail_msg("%s: %s", text, fault_text(head.fault));
}

static struct kept_head *keep(uint64_t which)
{
	struct kept_choice choice;
	struct kept_head *k;

	kept_head_choose(&choice, &head, which);
	k = malloc(choice.bytes);
	kept_head_write(k, &choice);
	return k;
}

/* A head that was kept is the same when the bytes it was parsed from are gone. */
static void restored(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(heads); i++) {
		size_t n = strlen(heads[i]) + 1;
		char *text = memcpy(malloc(n), heads[i], n);
		struct kept_head *k;

		parse(text);
		k = keep(KEPT_ALL);
		memset(text, 0xa5, n);
		free(text);
		memset(&again, 0xa5, sizeof(again));
		kept_head_restore(k, &again);
		parse(heads[i]);
		check_same(&again, &head);
		free(k);
	}
}

static void expect_text(struct slice s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.ptr, text, s.len);
}

/* What the log needs. */
static void some_fields(void **state)
{
	const uint64_t which = KEPT_FIELD(HEADER_REFERER) | KEPT_FIELD(HEADER_USER_AGENT);
	struct kept_head *k;

	(void)state;
	parse(heads[1]);
	k = keep(which);
	assert_false(k->whole);
	assert_int_equal(k->field_n, 2);
	expect_text(kept_head_line(k), "GET /a/b?c=d&e HTTP/1.1");
	expect_text(kept_head_authority(k), "h:80");
	expect_text(kept_head_value(k, HEADER_USER_AGENT), "c/1");
	expect_text(kept_head_value(k, HEADER_REFERER), "http://h/");
	free(k);
	parse(heads[0]);
	k = keep(which);
	expect_text(kept_head_value(k, HEADER_REFERER), "");
	free(k);
	parse(heads[11]);
	k = keep(which);
	expect_text(kept_head_line(k), "GET / HTTP/1.7");
	free(k);
}

/* A request of another version of HTTP, which nobody has parsed. */
static void not_received_as_http1(void **state)
{
	struct kept_head *k;

	(void)state;
	memset(&head, 0, offsetof(struct head, fields));
	head.method_token = SLICE("GET");
	head.method = METHOD_GET;
	head.target = SLICE("/a?b");
	head.path = (struct slice){ head.target.ptr, 2 };
	head.query = slice_after(head.target, 2);
	head.line = SLICE("GET /a?b HTTP/2.0");
	head.authority = SLICE("h");
	head.minor = 1;
	head.fields[head.field_n++] = (struct field){ .name = SLICE("user-agent"),
						      .value = SLICE("x"),
						      .header = HEADER_USER_AGENT };
	k = keep(KEPT_ALL);
	expect_text(kept_head_line(k), "GET /a?b HTTP/2.0");
	kept_head_restore(k, &again);
	check_same(&again, &head);
	free(k);
}

/* The most fields, and the block has no byte too few (sanitizers). */
static void many_fields(void **state)
{
	char text[8192];
	size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: h\r\n");
	struct kept_head *k;

	(void)state;
	for (int i = 1; i < HEAD_FIELDS_MAX; i++)
		n += (size_t)sprintf(text + n, "f%d: v%d\r\n", i, i);
	sprintf(text + n, "\r\n");
	parse(text);
	k = keep(KEPT_ALL);
	kept_head_restore(k, &again);
	check_same(&again, &head);
	assert_int_equal(again.field_n, HEAD_FIELDS_MAX);
	free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(restored),
		cmocka_unit_test(some_fields),
		cmocka_unit_test(not_received_as_http1),
		cmocka_unit_test(many_fields),
	};

	return cmocka_run_group_tests_name("kepthead", tests, NULL, NULL);
}
