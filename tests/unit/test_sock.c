/* Addresses as text. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "io/sock.h"

static const char *const addresses[] = {
	"0.0.0.0", "1.9.10.99", "100.101.109.110", "127.0.0.1", "199.200.209.250",
	"255.255.255.255",
};

static void text_of_v4(void **state)
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

/* One that came in through a socket for both is shown as v4. */
static void text_of_v6(void **state)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_of_v4),
		cmocka_unit_test(text_of_v6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
