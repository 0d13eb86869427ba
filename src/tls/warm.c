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

/* Handshakes of one server with two clients. FRIEND has the P-256 certificate, and trusts both
 * kinds; STRANGER has the RSA certificate, which the server does not trust, and trusts that one
 * only. */
enum warm_client { FRIEND, STRANGER, WARM_CLIENTS };

static const struct warm_kind {
	enum warm_client client;
	long version;
	bool rsa;     /* the client takes no other kind of certificate */
	bool auth;    /* by the name for which the server requires a certificate */
	bool h2_only; /* what the server does not speak */
	bool fails;
} kinds[] = {
	{ .version = TLS1_3_VERSION },
	{ .version = TLS1_2_VERSION },
	{ .version = TLS1_3_VERSION, .rsa = true },
	{ .version = TLS1_2_VERSION, .rsa = true },
	{ .version = TLS1_3_VERSION, .auth = true },
	{ .version = TLS1_2_VERSION, .auth = true },
	{ .version = TLS1_3_VERSION, .client = STRANGER, .fails = true },
	{ .version = TLS1_3_VERSION,
	  .client = STRANGER,
	  .rsa = true,
	  .auth = true,
	  .fails = true },
	{ .version = TLS1_2_VERSION,
	  .client = STRANGER,
	  .rsa = true,
	  .auth = true,
	  .fails = true },
	{ .version = TLS1_3_VERSION, .h2_only = true, .fails = true },
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

static const struct tls_pair pairs[] = {
	{ SLICE("P-256 of warm.invalid"), SLICE(WARM_P256), SLICE(WARM_P256) },
	{ SLICE("RSA of warm.invalid"), SLICE(WARM_RSA), SLICE(WARM_RSA) },
};

static struct tls_context *warm_server(char *error, size_t error_size)
{
	static const struct slice names[] = { SLICE("auth.warm.invalid") };
	static const struct tls_policy policy = { .names = names,
						  .names_n = 1,
						  .client_auth = TLS_AUTH_REQUIRE,
						  .ca = SLICE(WARM_P256) };
	const struct tls_server_options o = { .name = SLICE("warm"),
					      .pairs = pairs,
					      .pairs_n = COUNT(pairs),
					      .default_first = true,
					      .policies = &policy,
					      .policies_n = 1,
					      .protocols = { TLS_HTTP_1_1 },
					      .tickets = true,
					      .keylog_fd = -1 };

	return tls_server_context(&o, error, error_size);
}

static struct tls_context *warm_client(enum warm_client which, char *error,
				       size_t error_size)
{
	const struct tls_client_options o = {
		.name = SLICE("warm"),
		.verify = true,
		.ca = which == FRIEND ? SLICE(WARM_P256 WARM_RSA) : SLICE(WARM_RSA),
		.pair = which == FRIEND ? &pairs[0] : &pairs[1],
		.resume = true,
		.protocols = { TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};

	return tls_client_context(&o, error, error_size);
}

static bool warm_choose(SSL *client, const struct warm_kind *kind)
{
	if (kind->rsa && SSL_set1_sigalgs_list(client, "RSA-PSS+SHA256:RSA+SHA256") != 1)
		return false;
	if (kind->h2_only &&
	    SSL_set_alpn_protos(client, (const unsigned char *)"\x02h2", 3) != 0)
		return false;
	return SSL_set_max_proto_version(client, kind->version) == 1;
}

static bool pair_open(struct warm_pair *p, struct tls_context *server,
		      struct tls_context *client, const struct warm_kind *kind)
{
	struct slice name = SLICE("warm.invalid");
	struct slice sni = kind->auth ? SLICE("auth.warm.invalid") : name;
	enum tls_fault fault;
	BIO *ends[2];

	*p = (struct warm_pair){
		.server_hooks = { .now_ms = NOW_MS },
		.client_hooks = { .now_ms = NOW_MS, .session = warm_session },
	};
	p->server = tls_object_accept(server, &p->server_hooks, sni, &fault);
	p->client = tls_object_connect(client, &p->client_hooks, name, sni);
	if (!p->server || !p->client || !warm_choose(p->client, kind) ||
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
	struct warm_pair first, second = { 0 };
	bool good;

	good = pair_open(&first, server, client, kind) &&
	       pair_shake(&first) == !kind->fails;
	if (good && first.session) {
		good = pair_open(&second, server, client, kind) &&
		       SSL_set_session(second.client, first.session) == 1 &&
		       pair_shake(&second) && SSL_session_reused(second.client);
		pair_close(&second);
	}
	pair_close(&first);
	return good;
}

static bool warm_all(struct tls_context *server, struct tls_context *const *clients,
		     char *error, size_t error_size)
{
	for (size_t i = 0; i < COUNT(kinds); i++) {
		if (warm_shake(&kinds[i], server, clients[kinds[i].client]))
			continue;
		snprintf(error, error_size,
			 "the TLS library fails in a handshake with itself (kind %zu)",
			 i);
		return false;
	}
	return true;
}

bool tls_warm(char *error, size_t error_size)
{
	static pthread_once_t zone = PTHREAD_ONCE_INIT;
	struct tls_context *server, *clients[WARM_CLIENTS] = { NULL };
	bool good;

	if (!tls_library_init()) {
		snprintf(error, error_size, "the TLS library cannot be initialised");
		return false;
	}
	/* Once: each tzset() looks at the file again. */
	pthread_once(&zone, tzset);
	server = warm_server(error, error_size);
	good = server;
	for (unsigned i = 0; i < WARM_CLIENTS && good; i++)
		good = (clients[i] = warm_client(i, error, error_size));
	good = good && warm_all(server, clients, error, error_size);
	tls_context_unref(server);
	for (unsigned i = 0; i < WARM_CLIENTS; i++)
		tls_context_unref(clients[i]);
	return good;
}
