/* Addresses as text. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "io/sock.h"

static const char *const addresses[] = {
	"0.0.0.0", "1.9.10.99", "100.101.109.110", "127.0.0.1", "199.200.209.250",
	"255.255.255.255",
};

static void test_text_ipv4(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		struct sockaddr_storage ss = { .ss_family = AF_INET };
		struct sockaddr_in in = { .sin_family = AF_INET };
		char text[SOCK_TEXT_MAX];
		struct peer peer;

		assert_int_equal(inet_pton(AF_INET, addresses[i], &in.sin_addr), 1);
		memcpy(&ss, &in, sizeof(in));
		peer_from(&peer, &ss);
		assert_int_equal(peer_text(&peer, text, sizeof(text)), strlen(addresses[i]));
		assert_string_equal(text, addresses[i]);
	}
}

/* An IPv4-mapped address is shown as IPv4. */
static void test_text_ipv6(void **state)
{
	static const char *const pairs[][2] = {
		{ "2001:db8::1", "2001:db8::1" },
		{ "::ffff:10.0.0.255", "10.0.0.255" },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct sockaddr_storage ss = { .ss_family = AF_INET6 };
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
		char text[SOCK_TEXT_MAX];
		struct peer peer;

		assert_int_equal(inet_pton(AF_INET6, pairs[i][0], &in6.sin6_addr), 1);
		memcpy(&ss, &in6, sizeof(in6));
		peer_from(&peer, &ss);
		peer_text(&peer, text, sizeof(text));
		assert_string_equal(text, pairs[i][1]);
	}
}

/* Equal: same family and same address, port and scope, or same path. */
static void test_equal(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = 1, .sin_addr = { 7 } };
	struct sockaddr_in port = a, addr = a, same = a;
	struct sockaddr_in6 b = { .sin6_family = AF_INET6, .sin6_port = 1 };
	struct sockaddr_in6 scope = b, addr6 = b, same6 = b;
	struct sockaddr_un c = { AF_UNIX, "/a" }, path = { AF_UNIX, "/b" };

	(void)state;
	port.sin_port = 2;
	addr.sin_addr.s_addr = 8;
	memset(same.sin_zero, 1, sizeof(same.sin_zero));
	scope.sin6_scope_id = 1;
	addr6.sin6_addr.s6_addr[15] = 1;
	same6.sin6_flowinfo = 1;
	assert_true(sock_equal((void *)&a, (void *)&same));
	assert_false(sock_equal((void *)&a, (void *)&port));
	assert_false(sock_equal((void *)&a, (void *)&addr));
	assert_false(sock_equal((void *)&a, (void *)&b));
	assert_true(sock_equal((void *)&b, (void *)&same6));
	assert_false(sock_equal((void *)&b, (void *)&scope));
	assert_false(sock_equal((void *)&b, (void *)&addr6));
	assert_true(sock_equal((void *)&c, (void *)&c));
	assert_false(sock_equal((void *)&c, (void *)&path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_ipv4),
		cmocka_unit_test(test_text_ipv6),
		cmocka_unit_test(test_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
