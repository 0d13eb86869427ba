#include "io/sock.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static void assert_text(const struct peer *p, const char *expected)
{
	char text[SOCK_TEXT_MAX];
	size_t n;

	memset(text, 'x', sizeof(text));
	n = peer_text(p, text, sizeof(text));
	assert_string_equal(text, expected);
	assert_int_equal(n, strlen(expected));
}

/* As the C library prints it: every octet in every place. */
static void test_v4(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned n = 0; n < 256; n++) {
			struct peer p = { .addr = { 0, 9, 10, 255 }, .family = AF_INET };
			char expected[INET_ADDRSTRLEN];

			p.addr[i] = (unsigned char)n;
			inet_ntop(AF_INET, p.addr, expected, sizeof(expected));
			assert_text(&p, expected);
		}
	}
}

static void test_others(void **state)
{
	struct peer v6 = { .addr = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 }, .family = AF_INET6 };

	(void)state;
	assert_text(&v6, "2001:db8::1");
	assert_text(&(struct peer){ .family = AF_UNIX }, "unix");
}

/* What came in through a v6 socket is shown as v4. */
static void test_mapped(void **state)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(4711) };
	struct sockaddr_storage ss = { .ss_family = AF_INET6 };
	struct peer p;

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.100", &in6.sin6_addr), 1);
	memcpy(&ss, &in6, sizeof(in6));
	peer_from(&p, &ss);
	assert_text(&p, "192.0.2.100");
	assert_int_equal(p.port, 4711);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v4),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
