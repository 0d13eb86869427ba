/* Contexts by what handshakes make of them: a server's and a client's object of the library, with
 * memory between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "../../src/tls/object.h"
#include "base/check.h"
#include "lib/pki.h"
#include "tls/context.h"
#include "tls/warm.h"

#define NOW_MS 1800000000000u

static struct pki *ca, *site;
static char error[512];

static struct tls_context *server(void)
{
	struct tls_server_options o = {
		.name = SLICE("listener"),
		.pairs = &site->pair,
		.pairs_n = 1,
		.default_first = true,
		.protocols = { TLS_HTTP_2, TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};

	return tls_server_context(&o, error, sizeof(error));
}

static struct tls_context *client(enum tls_protocol protocol)
{
	struct tls_client_options o = {
		.name = SLICE("upstream"),
		.protocols = { protocol },
		.keylog_fd = -1,
	};

	return tls_client_context(&o, error, sizeof(error));
}

/* Both sides in turn until neither goes on. True: both are done. */
static bool shake(SSL *a, SSL *b)
{
	BIO *ends[2];
	int x = 0, y = 0;

	assert_int_equal(BIO_new_bio_pair(&ends[0], 65536, &ends[1], 65536), 1);
	SSL_set_bio(a, ends[0], ends[0]);
	SSL_set_bio(b, ends[1], ends[1]);
	for (int i = 0; i < 10 && (x != 1 || y != 1); i++) {
		x = SSL_do_handshake(a);
		ERR_clear_error();
		y = SSL_do_handshake(b);
		ERR_clear_error();
	}
	return x == 1 && y == 1;
}

static void protocols_are_negotiated(void **state)
{
	struct tls_context *s = server(), *c = client(TLS_HTTP_1_1);
	struct tls_hooks sh = { .now_ms = NOW_MS }, ch = { .now_ms = NOW_MS };
	enum tls_fault fault;
	const unsigned char *protocol;
	unsigned len;
	SSL *a, *b;

	(void)state;
	assert_non_null(s);
	assert_non_null(c);
	a = tls_object_accept(s, &sh, SLICE("a.example"), &fault);
	b = tls_object_connect(c, &ch, SLICE("a.example"), SLICE(""));
	assert_true(shake(a, b));
	assert_string_equal(SSL_get_version(a), "TLSv1.3");
	assert_string_equal(SSL_get_cipher(a), "TLS_AES_128_GCM_SHA256");
	SSL_get0_alpn_selected(a, &protocol, &len);
	assert_int_equal(len, 8);
	SSL_free(a);
	SSL_free(b);
	tls_context_unref(s);
	tls_context_unref(c);
}

static int make_pki(void **state)
{
	(void)state;
	ca = pki_new("ca", &(struct pki_options){ .common_name = "Test CA", .ca = true });
	site = pki_new("site.pem",
		       &(struct pki_options){ .san = "DNS:a.example,DNS:*.b.example",
					      .issuer = ca });
	return 0;
}

static int free_pki(void **state)
{
	(void)state;
	pki_free(site);
	pki_free(ca);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(protocols_are_negotiated),
	};

	return cmocka_run_group_tests(tests, make_pki, free_pki);
}
