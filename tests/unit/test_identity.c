#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/identity.h"

static const struct head_limits limits = { 4096, 100, 0 };
static struct head head;

static void read_head(const char *first, const char *fields, bool request)
{
	static char text[1024];
	uint32_t scanned = 0;
	int n = snprintf(text, sizeof(text), "%s\r\n%s\r\n", first, fields);

	assert_int_equal(request ? head_parse_request(&head, text, (size_t)n, &limits, &scanned) :
				   head_parse_response(&head, text, (size_t)n, &limits, &scanned),
			 VERDICT_OK);
}

static void test_presented(void **state)
{
	static const struct {
		const char *fields;
		bool presented;
	} cases[] = {
		{ "", false },
		{ "Authorization: NTLM TlRM\r\n", true },
		{ "authorization: ntlm TlRM\r\n", true },
		{ "Authorization: Negotiate YII=\r\n", true },
		{ "Authorization: Negotiate\r\n", true },
		{ "Proxy-Authorization: NTLM x\r\n", true },
		{ "X: 1\r\nAuthorization: Basic NTLM\r\n", false },
		{ "Authorization: NTLMv2 x\r\n", false },
		{ "Authorization: Negotiated x\r\n", false },
		{ "Authorization: Bearer Negotiate\r\n", false },
		{ "X-Authorization: NTLM x\r\n", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char fields[256];

		snprintf(fields, sizeof(fields), "Host: a\r\n%s", cases[i].fields);
		read_head("GET / HTTP/1.1", fields, true);
		if (identity_presented(&head) != cases[i].presented)
			fail_msg("%s", cases[i].fields);
	}
}

static void test_challenged(void **state)
{
	static const struct {
		const char *line, *fields;
		bool challenged;
	} cases[] = {
		{ "HTTP/1.1 401 X", "WWW-Authenticate: NTLM\r\n", true },
		{ "HTTP/1.1 401 X", "WWW-Authenticate: negotiate\r\n", true },
		{ "HTTP/1.1 401 X", "www-authenticate: NTLM TlRMTVNTUAAC\r\n", true },
		{ "HTTP/1.1 401 X", "WWW-Authenticate: Basic realm=\"a\", NTLM\r\n", true },
		{ "HTTP/1.1 401 X", "WWW-Authenticate: Basic realm=a,Negotiate\r\n", true },
		{ "HTTP/1.1 401 X",
		  "WWW-Authenticate: Basic realm=a\r\nWWW-Authenticate: NTLM\r\n", true },
		{ "HTTP/1.1 407 X", "Proxy-Authenticate: NTLM\r\n", true },
		{ "HTTP/1.1 401 X", "WWW-Authenticate: Basic realm=NTLM\r\n", false },
		{ "HTTP/1.1 401 X", "WWW-Authenticate: Digest realm=\"a\"\r\n", false },
		{ "HTTP/1.1 401 X", "", false },
		{ "HTTP/1.1 200 X", "WWW-Authenticate: NTLM\r\n", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		read_head(cases[i].line, cases[i].fields, false);
		if (identity_challenged(&head) != cases[i].challenged)
			fail_msg("%s %s", cases[i].line, cases[i].fields);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_presented),
		cmocka_unit_test(test_challenged),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
