#include "policy.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/check.h"

#define DEPTH 3 /* if the options have none */

static bool policy_digest(struct policy *p, const struct tls_policy *o)
{
	const unsigned char mode[] = { (unsigned char)o->client_auth,
				       (unsigned char)o->depth };
	const struct slice parts[] = { { (const char *)mode, sizeof(mode) },
				       o->ca,
				       o->crl };

	return shared_digest(p->digest, SHARED_POLICY, parts, COUNT(parts));
}

/* CAs whose names a client gets, to choose its certificate. */
static bool policy_send_names(struct policy *p)
{
	STACK_OF(X509_NAME) *names = trust_names(p->trust);

	SSL_CTX_set_client_CA_list(p->library, names);
	return names;
}

static bool policy_verify(struct policy *p, const struct tls_policy *o)
{
	int mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;

	if (o->client_auth == TLS_AUTH_REQUIRE)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(p->library, mode, NULL);
	SSL_CTX_set_verify_depth(p->library, o->depth ? (int)o->depth : DEPTH);
	SSL_CTX_set_options(p->library, SSL_OP_NO_TICKET);
	/* extendedKeyUsage, if the certificate has it, must name clientAuth (RFC 5280 4.2.1.12). */
	return SSL_CTX_set_purpose(p->library, X509_PURPOSE_SSL_CLIENT) == 1 &&
	       SSL_CTX_set_num_tickets(p->library, 0) == 1 &&
	       trust_use(p->trust, p->library) && policy_send_names(p);
}

bool policy_init(struct policy *p, SSL_CTX *library, const struct tls_policy *o,
		 char *error, size_t error_size)
{
	struct slice ca_name = o->ca_name.len > 0 ? o->ca_name : SLICE("client_auth.ca");
	struct slice crl_name = o->crl_name.len > 0 ? o->crl_name
						    : SLICE("client_auth.crl");

	p->client_auth = o->client_auth;
	p->tag = o->tag;
	p->library = library;
	if (!policy_digest(p, o)) {
		snprintf(error, error_size, "%.*s: out of memory", SLICE_ARG(ca_name));
		return false;
	}
	if (o->client_auth == TLS_AUTH_OFF) {
		SSL_CTX_set_verify(library, SSL_VERIFY_NONE, NULL);
		return true;
	}
	p->trust = trust_new(ca_name, o->ca, crl_name, o->crl, error, error_size);
	if (!p->trust)
		return false;
	if (policy_verify(p, o))
		return true;
	ERR_clear_error();
	snprintf(error, error_size, "%.*s: out of memory", SLICE_ARG(ca_name));
	return false;
}

void policy_done(struct policy *p)
{
	SSL_CTX_free(p->library);
	trust_unref(p->trust);
	*p = (struct policy){ 0 };
}
