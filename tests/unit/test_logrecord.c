/* The id of a request: whose is taken over, which are valid, and that a server sees one only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/uuid.h"
#include "http/forwarding.h"
#include "http/sink.h"
#include "proxy/logrecord.h"

static struct head head;
static struct log_record record;
static struct config config;
static struct random numbers;

static void head_read(const char *text)
{
	const struct head_limits limits = { .bytes = 4096, .fields = 100 };
	uint32_t scanned = 0;

	assert_int_equal(head_parse_request(&head, text, strlen(text), &limits, &scanned),
			 VERDICT_OK);
}

static struct slice identify(const char *fields, enum config_accept accept, bool trusted)
{
	static char text[1024]; /* the head points into it */

	config.request_id = (struct config_request_id){ .on = true, .field = "X-Request-Id",
							.accept = accept, .request = true };
	strcpy(text, "GET / HTTP/1.1\r\nHost: h\r\n");
	strcat(strcat(text, fields), "\r\n");
	head_read(text);
	memset(&record, 0, sizeof(record));
	record.config = &config;
	log_record_identify(&record, &head, trusted, &numbers, 1);
	return log_record_id(&record);
}

static bool is_taken(const char *fields, enum config_accept accept, bool trusted)
{
	struct slice id = identify(fields, accept, trusted);

	if (slice_equal(id, SLICE("a-b.c_d:e/f+g=h@1")))
		return true;
	assert_int_equal(id.len, UUID_TEXT);
	return false;
}

static void test_whose(void **state)
{
	static const char good[] = "x-request-id: a-b.c_d:e/f+g=h@1\r\n";

	(void)state;
	assert_true(is_taken(good, CONFIG_ACCEPT_TRUSTED, true));
	assert_false(is_taken(good, CONFIG_ACCEPT_TRUSTED, false));
	assert_true(is_taken(good, CONFIG_ACCEPT_ALL, false));
	assert_false(is_taken(good, CONFIG_ACCEPT_NONE, true));
	assert_false(is_taken("", CONFIG_ACCEPT_ALL, true));
	assert_false(is_taken("X-Request-Id: a-b.c_d:e/f+g=h@1\r\nX-Request-ID: b\r\n",
			      CONFIG_ACCEPT_ALL, true));
}

static void test_which(void **state)
{
	static const char *const bad[] = { "", "a b", "a\"", "a\\", "a,b", "a{", "\xc3\xa9" };
	char fields[256], longest[LOG_RECORD_ID_MAX + 2];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		strcat(strcat(strcpy(fields, "X-Request-Id: "), bad[i]), "\r\n");
		assert_int_equal(identify(fields, CONFIG_ACCEPT_ALL, true).len, UUID_TEXT);
	}
	memset(longest, 'x', sizeof(longest));
	longest[LOG_RECORD_ID_MAX + 1] = '\0';
	strcat(strcat(strcpy(fields, "X-Request-Id: "), longest), "\r\n");
	assert_int_equal(identify(fields, CONFIG_ACCEPT_ALL, true).len, UUID_TEXT);
	longest[LOG_RECORD_ID_MAX] = '\0';
	strcat(strcat(strcpy(fields, "X-Request-Id: "), longest), "\r\n");
	assert_int_equal(identify(fields, CONFIG_ACCEPT_ALL, true).len, LOG_RECORD_ID_MAX);
}

/* What the server is sent. */
static const char *forwarded(void)
{
	static char out[2048];
	const struct forwarding_peer peer = { .text = SLICE("192.0.2.7") };
	struct sink s = sink_http1(out, sizeof(out) - 1);
	struct log_record_fields own;
	struct forwarding forwarding;
	struct forward_request r = { .forwarding = &forwarding };

	forwarding_read(&forwarding, &head, &peer);
	log_record_request_fields(&own, &record);
	r.own = own.fields;
	r.own_n = own.n;
	forward_request(&s, &head, &r);
	assert_true((size_t)(s.out.at - out) <= forward_request_max(&head, &r));
	*s.out.at = '\0';
	return out;
}

static void test_fields(void **state)
{
	struct log_record_fields own;

	(void)state;
	identify("X-REQUEST-ID: forged\r\nX-Other: 1\r\n", CONFIG_ACCEPT_TRUSTED, false);
	assert_null(strstr(forwarded(), "forged"));
	assert_non_null(strstr(forwarded(), "\r\nX-Request-Id: 00000000-0001-7"));
	assert_non_null(strstr(forwarded(), "\r\nX-Other: 1\r\n"));
	config.request_id.request = false;
	assert_null(strcasestr(forwarded(), "x-request-id"));
	log_record_response_fields(&own, &record);
	assert_int_equal(own.n, 0);
	config.request_id.response = true;
	log_record_response_fields(&own, &record);
	assert_int_equal(own.n, 1);
	log_record_response_fields(&own, NULL);
	assert_int_equal(own.n, 0);
}

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "traceparent: 00-" TRACE "-b7ad6b7169203331-"

static bool is_continued(const char *fields, enum config_accept accept, bool trusted)
{
	identify(fields, CONFIG_ACCEPT_NONE, false);
	config.tracing = (struct config_tracing){ .on = true, .accept = accept };
	log_record_trace(&record, &head, trusted, &numbers);
	assert_memory_not_equal(record.trace.span_id, "b7ad6b7169203331", SPAN_ID_TEXT);
	assert_int_equal(record.has_parent,
			 slice_equal(log_record_trace_id(&record), SLICE(TRACE)));
	return record.has_parent;
}

static void test_traces(void **state)
{
	static const char fields[] = PARENT "01\r\ntracestate: a=1\r\n";

	(void)state;
	assert_true(is_continued(fields, CONFIG_ACCEPT_TRUSTED, true));
	assert_int_equal(record.trace.flags, 1);
	assert_non_null(strstr(forwarded(), "\r\ntraceparent: 00-" TRACE "-"));
	assert_null(strstr(forwarded(), "b7ad6b7169203331"));
	assert_non_null(strstr(forwarded(), "\r\ntracestate: a=1\r\n"));
	assert_true(is_continued(PARENT "00\r\n", CONFIG_ACCEPT_ALL, false));
	assert_int_equal(record.trace.flags, 0);
	/* A trace of its own: the state of the other one does not go on. */
	assert_false(is_continued(fields, CONFIG_ACCEPT_TRUSTED, false));
	assert_null(strstr(forwarded(), "tracestate"));
	assert_null(strstr(forwarded(), TRACE));
	assert_non_null(strstr(forwarded(), "\r\ntraceparent: 00-"));
	assert_false(is_continued(fields, CONFIG_ACCEPT_NONE, true));
	assert_false(is_continued("", CONFIG_ACCEPT_ALL, true));
	assert_false(is_continued(PARENT "01\r\n" PARENT "01\r\n", CONFIG_ACCEPT_ALL, true));
	assert_false(is_continued(PARENT "1\r\n", CONFIG_ACCEPT_ALL, true));
}

static void test_samples(void **state)
{
	unsigned sampled = 0;

	(void)state;
	is_continued("", CONFIG_ACCEPT_ALL, true);
	assert_int_equal(record.trace.flags, 0);
	config.tracing.sample = CONFIG_SAMPLE_ALL / 4;
	for (unsigned i = 0; i < 4000; i++) {
		log_record_trace(&record, &head, true, &numbers);
		sampled += record.trace.flags;
	}
	assert_in_range(sampled, 850, 1150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whose),
		cmocka_unit_test(test_which),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_traces),
		cmocka_unit_test(test_samples),
	};

	random_init(&numbers, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
