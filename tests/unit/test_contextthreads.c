/* tsan: contexts shared by threads: handshakes of several on one, while another makes and frees
 * contexts of the same certificates, as the control thread does at a reload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../../src/tls/object.h"
#include "base/check.h"
#include "lib/pki.h"
#include "tls/warm.h"

/* The library is not built for the thread sanitizer, which sees its copies and comparisons but not
 * its locks. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:libcrypto.so\ncalled_from_lib:libssl.so\n";
}

#define THREADS 3
#define SHAKES 30
#define CONTEXTS 20

static struct pki *ca, *pairs[2];
static uint64_t now_ms;

static struct tls_context *make_server(void)
{
	static const struct slice names[] = { SLICE("admin.example") };
	const struct tls_pair both[] = { pairs[0]->pair, pairs[1]->pair };
	const struct tls_policy policy = { .names = names,
					   .names_n = 1,
					   .client_auth = TLS_AUTH_REQUIRE,
					   .ca = ca->certificate_pem,
					   .crl = { 0 } };
	const struct tls_server_options o = { .name = SLICE("listener"),
					      .pairs = both,
					      .pairs_n = 2,
					      .default_first = true,
					      .policies = &policy,
					      .policies_n = 1,
					      .tickets = true,
					      .keylog_fd = -1 };
	char error[256];

	return tls_server_context(&o, error, sizeof(error));
}

static struct tls_context *make_client(void)
{
	const struct tls_client_options o = { .name = SLICE("upstream"),
					      .verify = true,
					      .ca = ca->certificate_pem,
					      .pair = &pairs[0]->pair,
					      .resume = true,
					      .keylog_fd = -1 };
	char error[256];

	return tls_client_context(&o, error, sizeof(error));
}

struct shaker {
	struct tls_context *server, *client;
	struct tls_hooks server_hooks, client_hooks;
	SSL_SESSION *session;
	unsigned resumed, good;
};

static bool session_taken(struct tls_hooks *h, SSL_SESSION *session)
{
	struct shaker *s = CONTAINER(h, struct shaker, client_hooks);

	SSL_SESSION_free(s->session);
	s->session = session;
	return true;
}

static void shake_once(struct shaker *s, unsigned i)
{
	struct slice name = i % 3 ? SLICE("a.example") : SLICE("admin.example");
	enum tls_fault fault;
	int x = 0, y = 0;
	BIO *ends[2];
	SSL *a, *b;
	char byte;

	s->server_hooks = (struct tls_hooks){ .now_ms = now_ms };
	s->client_hooks = (struct tls_hooks){ .now_ms = now_ms,
					      .session = session_taken };
	a = tls_object_accept(s->server, &s->server_hooks, name, &fault);
	b = tls_object_connect(s->client, &s->client_hooks, name, SLICE(""));
	if (i % 3 == 2 && s->session)
		SSL_set_session(b, s->session);
	BIO_new_bio_pair(&ends[0], 65536, &ends[1], 65536);
	SSL_set_bio(a, ends[0], ends[0]);
	SSL_set_bio(b, ends[1], ends[1]);
	for (unsigned turn = 0; turn < 10 && (x != 1 || y != 1); turn++) {
		y = SSL_do_handshake(b);
		x = SSL_do_handshake(a);
		ERR_clear_error();
	}
	s->good += x == 1 && y == 1 && SSL_write(a, "x", 1) == 1 &&
		   SSL_read(b, &byte, 1) == 1;
	s->resumed += (unsigned)SSL_session_reused(a);
	/* Else the library holds the session for broken. */
	SSL_set_shutdown(b, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(a);
	SSL_free(b);
	ERR_clear_error();
}

static void *shake_many(void *arg)
{
	struct shaker *s = arg;

	for (unsigned i = 0; i < SHAKES; i++)
		shake_once(s, i);
	SSL_SESSION_free(s->session);
	tls_context_unref(s->server);
	tls_context_unref(s->client);
	return NULL;
}

static void *make_many(void *unused)
{
	for (unsigned i = 0; i < CONTEXTS; i++) {
		tls_context_unref(make_server());
		tls_context_unref(make_client());
		tls_library_bytes();
	}
	return unused;
}

static void threads_share_contexts(void **state)
{
	struct tls_context *server = make_server(), *client = make_client();
	struct shaker shakers[THREADS] = { 0 };
	pthread_t threads[THREADS + 1];

	(void)state;
	assert_true(server && client);
	for (unsigned i = 0; i < THREADS; i++) {
		shakers[i].server = tls_context_ref(server);
		shakers[i].client = tls_context_ref(client);
		assert_int_equal(
			pthread_create(&threads[i], NULL, shake_many, &shakers[i]), 0);
	}
	assert_int_equal(pthread_create(&threads[THREADS], NULL, make_many, NULL), 0);
	/* The handshakes have the last reference. */
	tls_context_unref(server);
	tls_context_unref(client);
	for (unsigned i = 0; i <= THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(shakers[i].good, SHAKES);
		assert_int_equal(shakers[i].resumed, SHAKES / 3);
	}
}

static int make_pki(void **state)
{
	(void)state;
	now_ms = (uint64_t)time(NULL) * 1000;
	ca = pki_new("ca", &(struct pki_options){ .common_name = "CA", .ca = true });
	for (unsigned i = 0; i < 2; i++)
		pairs[i] = pki_new(
			"pair",
			&(struct pki_options){ .san = "DNS:a.example,DNS:admin.example",
					       .issuer = ca,
					       .key = i ? PKI_RSA : PKI_P256 });
	return 0;
}

static int free_pki(void **state)
{
	(void)state;
	pki_free(pairs[0]);
	pki_free(pairs[1]);
	pki_free(ca);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_share_contexts),
	};

	return cmocka_run_group_tests(tests, make_pki, free_pki);
}
