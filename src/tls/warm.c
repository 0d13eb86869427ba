#include "tls/warm.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/check.h"
#include "library.h"
#include "object.h"
#include "warmpair.h"

/* In 2030, when the certificates are valid: the clock of the machine may be wrong. */
#define NOW_MS 1900000000000u
#define PIPE_BYTES 32768
#define TURNS_MAX 10

/* One handshake of each. */
static const struct warm_kind {
	bool rsa;
	long version;
	bool client_certificate, untrusted, no_protocol;
} kinds[] = {
	{ .version = TLS1_3_VERSION },
	{ .version = TLS1_2_VERSION },
	{ .version = TLS1_3_VERSION, .rsa = true },
	{ .version = TLS1_2_VERSION, .rsa = true },
	{ .version = TLS1_3_VERSION, .client_certificate = true },
	{ .version = TLS1_2_VERSION, .client_certificate = true, .rsa = true },
	{ .version = TLS1_3_VERSION, .untrusted = true },
	{ .version = TLS1_3_VERSION, .client_certificate = true, .untrusted = true },
	{ .version = TLS1_3_VERSION, .no_protocol = true },
};

/* Both ends of a handshake. */
struct warm_pair {
	struct tls_hooks server_hooks, client_hooks;
	SSL *server, *client;
	SSL_SESSION *session; /* of the client; NULL: none came */
};

static bool warm_session(struct tls_hooks *h, SSL_SESSION *session)
{
	struct warm_pair *p = CONTAINER(h, struct warm_pair, client_hooks);

	SSL_SESSION_free(p->session);
	p->session = session;
	return true;
}

static struct tls_pair warm_file(bool rsa)
{
	struct slice text = rsa ? SLICE(warm_rsa) : SLICE(warm_p256);

	return (struct tls_pair){ SLICE("warm.invalid"), text, text };
}

static struct tls_context *warm_server(const struct warm_kind *kind, char *error,
				       size_t error_size)
{
	const struct tls_pair pair = warm_file(kind->rsa);
	/* The client has the other kind of key, so that both verify both. */
	const struct tls_policy policy = {
		.client_auth = TLS_AUTH_REQUIRE,
		.ca = warm_file(!kind->rsa == !kind->untrusted).chain,
	};
	const struct tls_server_options o = {
		.name = SLICE("warm"),
		.pairs = &pair,
		.pairs_n = 1,
		.policies = &policy,
		.policies_n = kind->client_certificate,
		.protocols = { TLS_HTTP_1_1 },
		.tickets = true,
		.keylog_fd = -1,
	};

	return tls_server_context(&o, error, error_size);
}

static struct tls_context *warm_client(const struct warm_kind *kind, char *error,
				       size_t error_size)
{
	const struct tls_pair pair = warm_file(!kind->rsa);
	bool untrusted = kind->untrusted && !kind->client_certificate;
	const struct tls_client_options o = {
		.name = SLICE("warm"),
		.verify = true,
		.ca = warm_file(kind->rsa != untrusted).chain,
		.pair = kind->client_certificate ? &pair : NULL,
		.resume = true,
		.protocols = { kind->no_protocol ? TLS_HTTP_2 : TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};

	return tls_client_context(&o, error, error_size);
}

static bool pair_open(struct warm_pair *p, struct tls_context *server,
		      struct tls_context *client, long version)
{
	enum tls_fault fault;
	BIO *ends[2];

	*p = (struct warm_pair){
		.server_hooks = { .now_ms = NOW_MS },
		.client_hooks = { .now_ms = NOW_MS, .session = warm_session },
	};
	p->server = tls_object_accept(server, &p->server_hooks, SLICE("warm.invalid"),
				      &fault);
	p->client = tls_object_connect(client, &p->client_hooks, SLICE("warm.invalid"),
				       SLICE(""));
	if (!p->server || !p->client ||
	    SSL_set_max_proto_version(p->client, version) != 1 ||
	    BIO_new_bio_pair(&ends[0], PIPE_BYTES, &ends[1], PIPE_BYTES) != 1)
		return false;
	SSL_set_bio(p->server, ends[0], ends[0]);
	SSL_set_bio(p->client, ends[1], ends[1]);
	return true;
}

/* True: the handshake was made, and tickets have arrived. */
static bool pair_shake(struct warm_pair *p)
{
	int server = 0, client = 0;
	char byte;

	for (unsigned i = 0; i < TURNS_MAX && (server != 1 || client != 1); i++) {
		client = SSL_do_handshake(p->client);
		ERR_clear_error();
		server = SSL_do_handshake(p->server);
		ERR_clear_error();
	}
	return server == 1 && client == 1 && SSL_write(p->server, "", 1) == 1 &&
	       SSL_read(p->client, &byte, 1) == 1;
}

static void pair_close(struct warm_pair *p)
{
	SSL_SESSION_free(p->session);
	SSL_free(p->server);
	SSL_free(p->client);
	ERR_clear_error();
}

/* A full handshake of this kind and, if it succeeds and has left a ticket, a resumed one. */
static bool warm_shake(const struct warm_kind *kind, struct tls_context *server,
		       struct tls_context *client)
{
	bool shall_fail = kind->untrusted || kind->no_protocol;
	struct warm_pair first, second = { 0 };
	bool good;

	good = pair_open(&first, server, client, kind->version) &&
	       pair_shake(&first) == !shall_fail;
	if (good && first.session) {
		good = pair_open(&second, server, client, kind->version) &&
		       SSL_set_session(second.client, first.session) == 1 &&
		       pair_shake(&second) && SSL_session_reused(second.client);
		pair_close(&second);
	}
	pair_close(&first);
	return good;
}

bool tls_warm(char *error, size_t error_size)
{
	static pthread_once_t zone = PTHREAD_ONCE_INIT;

	if (!tls_library_init()) {
		snprintf(error, error_size, "the TLS library cannot be initialised");
		return false;
	}
	/* Once: each tzset() looks at the file again. */
	pthread_once(&zone, tzset);
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct tls_context *server = warm_server(&kinds[i], error, error_size);
		struct tls_context *client =
			server ? warm_client(&kinds[i], error, error_size) : NULL;
		bool good = client && warm_shake(&kinds[i], server, client);

		if (client && !good)
			snprintf(
				error, error_size,
				"the TLS library fails in a handshake with itself (kind %zu)",
				i);
		tls_context_unref(server);
		tls_context_unref(client);
		if (!good)
			return false;
	}
	return true;
}
