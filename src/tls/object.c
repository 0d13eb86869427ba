#include "object.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "contextparts.h"

static struct tls_hooks *object_hooks(const SSL *ssl)
{
	return SSL_get_app_data(ssl);
}

/* The server's order counts (RFC 7301 3.2). No overlap: the alert no_application_protocol, so that
 * nobody speaks a protocol that the other side did not agree to. */
static int protocol_chosen(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *offered, unsigned offered_len,
			   void *unused)
{
	const struct tls_context *c = object_hooks(ssl)->context;
	unsigned char *chosen;

	(void)unused;
	if (c->protocols_len == 0 ||
	    SSL_select_next_proto(&chosen, out_len, c->protocols, c->protocols_len,
				  offered, offered_len) != OPENSSL_NPN_NEGOTIATED) {
		object_hooks(ssl)->fault = TLS_FAULT_PROTOCOL;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	*out = chosen;
	/* A client of HTTP/2 opens one connection, others open several. */
	if (*out_len == 2)
		SSL_set_num_tickets(ssl, 1);
	return SSL_TLSEXT_ERR_OK;
}

static void secret_known(const SSL *ssl, const char *line)
{
	struct tls_hooks *h = object_hooks(ssl);

	if (h->secret)
		h->secret(h, line);
}

static int session_made(SSL *ssl, SSL_SESSION *session)
{
	struct tls_hooks *h = object_hooks(ssl);

	return h->session && h->session(h, session);
}

void object_callbacks(SSL_CTX *library, bool server)
{
	SSL_CTX_set_keylog_callback(library, secret_known);
	if (server)
		SSL_CTX_set_alpn_select_cb(library, protocol_chosen, NULL);
	else
		SSL_CTX_sess_set_new_cb(library, session_made);
}

static SSL *object_new(struct tls_context *c, struct tls_hooks *h)
{
	SSL *ssl;

	ERR_clear_error();
	h->context = c;
	h->fault = TLS_FAULT_NONE;
	ssl = SSL_new(c->library);
	if (ssl && SSL_set_app_data(ssl, h) != 1) {
		SSL_free(ssl);
		ssl = NULL;
	}
	return ssl;
}

SSL *tls_object_accept(struct tls_context *c, struct tls_hooks *h, struct slice name,
		       enum tls_fault *fault)
{
	SSL *ssl = object_new(c, h);

	ASSERT(c->server);
	(void)name;
	if (ssl && certificate_use(c->certificates[0], ssl, NULL)) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	ERR_clear_error();
	*fault = TLS_FAULT_NO_MEMORY;
	return NULL;
}

SSL *tls_object_connect(struct tls_context *c, struct tls_hooks *h, struct slice name,
			struct slice sni)
{
	SSL *ssl = object_new(c, h);

	ASSERT(!c->server);
	(void)name;
	(void)sni;
	if (ssl && (c->protocols_len == 0 ||
		    SSL_set_alpn_protos(ssl, c->protocols, c->protocols_len) == 0)) {
		SSL_set_connect_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	ERR_clear_error();
	return NULL;
}

enum tls_fault tls_object_verify_fault(long result)
{
	switch (result) {
	case X509_V_OK:
		return TLS_FAULT_NONE;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return TLS_FAULT_CERTIFICATE_NAME;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLS_FAULT_CERTIFICATE_EXPIRED;
	default: /* not an enum */
		return TLS_FAULT_CERTIFICATE_UNTRUSTED;
	}
}
