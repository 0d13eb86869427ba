#include "object.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "contextparts.h"
#include "library.h"

#define KEYLOG_LINE_MAX 512
#define HOST_MAX 256

static struct tls_hooks *object_hooks(const SSL *ssl)
{
	return SSL_get_app_data(ssl);
}

/* ---- callbacks of the library ------------------------------------------------- */

/* The server's order counts (RFC 7301 3.2). No overlap: the alert no_application_protocol, so that
 * nobody speaks a protocol that the other side did not agree to. */
static int protocol_chosen(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *offered, unsigned offered_len,
			   void *unused)
{
	const struct tls_context *c = object_hooks(ssl)->context;
	unsigned char *chosen;

	(void)unused;
	if (SSL_select_next_proto(&chosen, out_len, c->protocols, c->protocols_len,
				  offered, offered_len) != OPENSSL_NPN_NEGOTIATED) {
		object_hooks(ssl)->fault = TLS_FAULT_PROTOCOL;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* The name was read from the ClientHello before the object was made. The library tells the client
 * that it was used (RFC 6066 3). */
static int name_used(SSL *ssl, int *alert, void *unused)
{
	(void)ssl;
	(void)alert;
	(void)unused;
	return SSL_TLSEXT_ERR_OK;
}

/* One write(), so that lines of several threads do not mix. */
static void keylog_write(int fd, const char *line)
{
	char text[KEYLOG_LINE_MAX];
	size_t len = strlen(line);
	ssize_t written;

	if (len + 1 > sizeof(text))
		return;
	memcpy(text, line, len);
	text[len] = '\n';
	written = write(fd, text, len + 1);
	(void)written;
	OPENSSL_cleanse(text, len);
}

static void secret_known(const SSL *ssl, const char *line)
{
	keylog_write(object_hooks(ssl)->context->keylog_fd, line);
}

static int session_made(SSL *ssl, SSL_SESSION *session)
{
	struct tls_hooks *h = object_hooks(ssl);

	return h->session && h->session(h, session);
}

/* Returns what SSL_CTX_set_tlsext_ticket_key_evp_cb(3) asks for. */
static int ticket_keyed(SSL *ssl, unsigned char *name, unsigned char *iv,
			EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	struct tls_hooks *h = object_hooks(ssl);
	struct tickets *t = h->context->tickets;
	enum ticket_result result =
		seal ? tickets_seal(t, h->now_ms, name, iv, cipher, mac)
		     : tickets_open(t, h->now_ms, name, iv, cipher, mac);

	switch (result) {
	case TICKET_OK:
		/* Renewed with TLS 1.3 always: a client should use a ticket once (RFC 8446 C.4). */
		return !seal && SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
	case TICKET_OLD:
		return 2;
	case TICKET_UNKNOWN:
		h->ticket_missed = true;
		return 0;
	case TICKET_FAILED:
		break;
	}
	ERR_clear_error();
	/* A handshake without a ticket is better than none. */
	return 0;
}

/* ---- verification ------------------------------------------------------------- */

enum tls_fault tls_object_verify_fault(long result)
{
	switch (result) {
	case X509_V_OK:
		return TLS_FAULT_NONE;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLS_FAULT_CERTIFICATE_EXPIRED;
	case X509_V_ERR_CERT_REVOKED:
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
	case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
	case X509_V_ERR_CRL_NOT_YET_VALID:
	case X509_V_ERR_CRL_HAS_EXPIRED:
	case X509_V_ERR_CRL_PATH_VALIDATION_ERROR:
	case X509_V_ERR_DIFFERENT_CRL_SCOPE:
		return TLS_FAULT_CERTIFICATE_REVOKED;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return TLS_FAULT_CERTIFICATE_NAME;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
		return TLS_FAULT_CERTIFICATE_UNTRUSTED;
	case X509_V_ERR_APPLICATION_VERIFICATION:
		return TLS_FAULT_CERTIFICATE_PIN;
	}
	return TLS_FAULT_CERTIFICATE;
}

static bool is_pinned(const struct tls_context *c, X509 *x)
{
	unsigned char *der = NULL, digest[32];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	bool found = false;

	if (len > 0 &&
	    EVP_Digest(der, (size_t)len, digest, NULL, library()->sha256, NULL) == 1)
		for (size_t i = 0; i < c->pins_n && !found; i++)
			found = memcmp(digest, c->pins[i], sizeof(digest)) == 0;
	OPENSSL_free(der);
	return found;
}

/* In the chain that was verified. Without verification the rest of the chain is the peer's to
 * choose, so that only its own certificate counts. */
static bool has_pin(const struct tls_context *c, X509_STORE_CTX *x)
{
	STACK_OF(X509) *chain = c->trust ? X509_STORE_CTX_get0_chain(x) : NULL;

	if (!c->trust)
		return is_pinned(c, X509_STORE_CTX_get0_cert(x));
	for (int i = 0; i < sk_X509_num(chain); i++)
		if (is_pinned(c, sk_X509_value(chain, i)))
			return true;
	return false;
}

static int peer_verified(X509_STORE_CTX *x, void *unused)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(x,
						    SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_hooks *h = object_hooks(ssl);
	const struct tls_context *c = h->context;
	int good = 1;

	(void)unused;
	if (c->server || c->trust) {
		X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(x),
					   (time_t)(h->now_ms / 1000));
		good = X509_verify_cert(x);
	}
	if (good == 1 && c->pins_n > 0 && !has_pin(c, x)) {
		X509_STORE_CTX_set_error(x, X509_V_ERR_APPLICATION_VERIFICATION);
		good = 0;
	}
	if (good != 1)
		h->fault = tls_object_verify_fault(X509_STORE_CTX_get_error(x));
	return good == 1;
}

void object_callbacks(SSL_CTX *library, const struct tls_context *c)
{
	if (c->keylog_fd >= 0)
		SSL_CTX_set_keylog_callback(library, secret_known);
	SSL_CTX_set_cert_verify_callback(library, peer_verified, NULL);
	if (!c->server)
		SSL_CTX_sess_set_new_cb(library, session_made);
	if (c->server)
		SSL_CTX_set_tlsext_servername_callback(library, name_used);
	if (c->server && c->protocols_len > 0)
		SSL_CTX_set_alpn_select_cb(library, protocol_chosen, NULL);
	if (c->tickets)
		SSL_CTX_set_tlsext_ticket_key_evp_cb(library, ticket_keyed);
}

/* ---- objects ------------------------------------------------------------------ */

static SSL *object_new(SSL_CTX *library, struct tls_context *c, struct tls_hooks *h)
{
	SSL *ssl;

	ERR_clear_error();
	h->context = c;
	h->fault = TLS_FAULT_NONE;
	ssl = SSL_new(library);
	if (ssl && SSL_set_app_data(ssl, h) != 1) {
		SSL_free(ssl);
		ssl = NULL;
	}
	return ssl;
}

/* What a session must have in common with a connection that resumes it: listener, requested name
 * (RFC 6066 3), certificates, and how clients are verified. */
static bool object_set_identity(SSL *ssl, const struct tls_context *c, struct slice name,
				const struct certset *set, const struct policy *policy)
{
	struct slice parts[3 + KEY_KINDS] = {
		c->name,
		name,
		{ (const char *)policy->digest, sizeof(policy->digest) },
	};
	uint8_t digest[SHARED_DIGEST];

	for (unsigned i = 0; i < KEY_KINDS; i++)
		if (set->of[i])
			parts[3 + i] = (struct slice){
				(const char *)set->of[i]->shared.digest, SHARED_DIGEST
			};
	return shared_digest(digest, SHARED_SESSION, parts, COUNT(parts)) &&
	       SSL_set_session_id_context(ssl, digest, sizeof(digest)) == 1;
}

static bool object_prepare(SSL *ssl, const struct tls_context *c, struct slice name,
			   const struct certset *set, const struct policy *policy)
{
	for (unsigned i = 0; i < KEY_KINDS; i++)
		if (set->of[i] && !certificate_use(set->of[i], ssl, NULL))
			return false;
	return object_set_identity(ssl, c, name, set, policy);
}

SSL *tls_object_accept(struct tls_context *c, struct tls_hooks *h, struct slice name,
		       enum tls_fault *fault)
{
	const struct certset *set = certtable_find(&c->table, name);
	const struct policy *policy;
	SSL *ssl;

	ASSERT(c->server);
	if (!set && !c->default_first) {
		*fault = TLS_FAULT_NAME;
		return NULL;
	}
	h->policy = (uint8_t)tls_context_policy(c, name);
	policy = &c->policies[h->policy];
	ssl = object_new(policy->library, c, h);
	if (ssl && object_prepare(ssl, c, name, set ? set : &c->table.first, policy)) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	ERR_clear_error();
	*fault = TLS_FAULT_NO_MEMORY;
	return NULL;
}

/* True: the text is an address, which has no SNI (RFC 6066 3). */
static bool is_address(const char *text)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, text, address) == 1 ||
	       inet_pton(AF_INET6, text, address) == 1;
}

/* Names are those of subjectAltName only, with `*` for one whole label (RFC 9525 6.3, 6.4). */
static bool object_set_peer(SSL *ssl, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	X509_VERIFY_PARAM_set_hostflags(param,
					X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
	return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

static bool object_set_names(SSL *ssl, const struct tls_context *c, struct slice name,
			     struct slice sni)
{
	char host[HOST_MAX], sent[HOST_MAX];

	if (name.len >= sizeof(host) || sni.len >= sizeof(sent))
		return false;
	/* Neither a certificate nor SNI has the dot of a fully qualified name. */
	if (name.len > 0 && name.ptr[name.len - 1] == '.')
		name.len--;
	/* Without a name every certificate would be the right one. */
	ASSERT(name.len > 0 || !c->trust);
	*slice_append(host, name) = '\0';
	*slice_append(sent, sni.len > 0 ? sni : name) = '\0';
	if (c->trust && !object_set_peer(ssl, host))
		return false;
	return c->no_sni || sent[0] == '\0' || is_address(sent) ||
	       SSL_set_tlsext_host_name(ssl, sent) == 1;
}

SSL *tls_object_connect(struct tls_context *c, struct tls_hooks *h, struct slice name,
			struct slice sni)
{
	SSL *ssl = object_new(c->library, c, h);

	ASSERT(!c->server);
	if (ssl && object_set_names(ssl, c, name, sni) &&
	    (c->protocols_len == 0 ||
	     SSL_set_alpn_protos(ssl, c->protocols, c->protocols_len) == 0)) {
		SSL_set_connect_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	ERR_clear_error();
	return NULL;
}
