#include "proxy/trailers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/config.h"
#include "http/head.h"
#include "proxy/logrecord.h"

static const char config_text[] =
	"listen: [127.0.0.1:8080]\n"
	"upstreams: { app: { servers: [127.0.0.1:1] } }\n"
	"routes:\n"
	"  - prefix: /\n"
	"    auth_request: { upstream: app, path: /, request_fields: [X-Claim] }\n"
	"    request_fields: { remove: [X-Gone], set: { X-Set: a }, add: { X-More: b } }\n"
	"    response_fields: { remove: [X-Leak], add: { X-More: b } }\n"
	"    proxy: { upstream: app }\n"
	"request_id: on\n";

static const char trailers[] =
	"X-Claim: 1\r\nx_claim: 2\r\nX_Gone: 3\r\nx-SET: 4\r\nX.Set: 5\r\n"
	"X-More: 6\r\nX-Leak: 7\r\nX_Leak: 8\r\nX_Request_Id: 9\r\n\r\n";

static struct config *config;
static struct head head;

static int open_config(void **state)
{
	(void)state;
	config = config_read_text("test", SLICE(config_text), stderr);
	return config ? 0 : -1;
}

static int close_config(void **state)
{
	(void)state;
	config_free(config);
	return 0;
}

/* The first characters of the values of those that go on. */
static const char *left(const struct config_rules *rules, const struct log_record *record,
			bool of_request)
{
	static const struct head_limits limits = { 4096, HEAD_FIELDS_MAX, 0 };
	static char values[16];
	uint32_t scanned = 0;
	size_t n = 0;

	assert_int_equal(head_parse_trailers(&head, trailers, sizeof(trailers) - 1,
					     &limits, &scanned),
			 VERDICT_OK);
	trailers_hide(&head, rules, record, of_request);
	for (unsigned i = 0; i < head.field_n; i++)
		if (!head.fields[i].per_hop)
			values[n++] = head.fields[i].value.ptr[0];
	values[n] = '\0';
	return values;
}

static void test_rules(void **state)
{
	const struct config_rules *rules = config->routes[0].rules;
	struct log_record record = { .config = config, .id_bytes = 1 };

	(void)state;
	assert_string_equal(left(NULL, NULL, true), "123456789");
	assert_string_equal(left(NULL, NULL, false), "123456789");
	/* Of requests in any spelling; of responses the name. */
	assert_string_equal(left(rules, NULL, true), "6789");
	assert_string_equal(left(rules, NULL, false), "12345689");
	assert_string_equal(left(NULL, &record, true), "12345678");
	assert_string_equal(left(rules, &record, true), "678");
	assert_string_equal(left(NULL, &record, false), "123456789");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rules, open_config, close_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
