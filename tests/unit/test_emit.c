#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/sink.h"
#include "lib/guard.h"

static char out[256];

static void numbers(void **state)
{
	struct emit e = { out, out + sizeof(out), false };

	(void)state;
	emit_number(&e, 0);
	emit_slice(&e, SLICE(" "));
	emit_number(&e, 1000);
	emit_slice(&e, SLICE(" "));
	emit_number(&e, UINT64_MAX);
	assert_memory_equal(out, "0 1000 18446744073709551615", e.at - out);
	assert_false(e.overflow);
}

static void head_with_each_operation(struct sink *s)
{
	s->ops->request(s, &(struct sink_request){ .method = SLICE("GET"),
						   .path = SLICE("/a"),
						   .query = SLICE("?b"),
						   .authority = SLICE("h:1") });
	sink_field(s, SLICE("A"), SLICE("1"));
	sink_field(s, SLICE("Empty"), SLICE(""));
	s->ops->begin(s, SLICE("B"));
	emit_slice(&s->out, SLICE("2, "));
	emit_number(&s->out, 3);
	s->ops->finish(s);
	s->ops->end(s);
	s->ops->status(s, 404, SLICE("Not Found"));
	s->ops->end(s);
}

/* The text of HTTP/1; into any smaller area nothing is written beyond its end. */
static void http1(void **state)
{
	static const char text[] = "GET /a?b HTTP/1.1\r\nHost: h:1\r\nA: 1\r\nEmpty: \r\n"
				   "B: 2, 3\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n";
	struct sink s = sink_http1(out, sizeof(text) - 1);

	(void)state;
	head_with_each_operation(&s);
	assert_false(s.out.overflow);
	assert_ptr_equal(s.out.at, s.out.end);
	assert_memory_equal(out, text, sizeof(text) - 1);
	for (size_t size = 0; size < sizeof(text) - 1; size++) {
		char *p = guard_copy(out, size);

		s = sink_http1(p, size);
		head_with_each_operation(&s);
		assert_true(s.out.overflow && s.out.at <= s.out.end);
		assert_memory_equal(p, text, (size_t)(s.out.at - p));
		guard_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(http1),
	};

	return cmocka_run_group_tests_name("emit", tests, NULL, NULL);
}
