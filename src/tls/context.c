#include "tls/context.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "contextparts.h"
#include "library.h"
#include "object.h"
#include "provider.h"
#include "settings.h"

#define REASON_MAX 256
#define POLICIES_MAX 255 /* struct tls has a byte for the index */

/* Where an error goes. */
struct complaint {
	struct slice name; /* of the listener or upstream */
	char *text;
	size_t size;
};

/* The reason that the library's queue has, or want of memory. */
static bool context_fail(const struct complaint *to)
{
	char reason[REASON_MAX];

	snprintf(to->text, to->size, "%.*s: TLS cannot be set up: %s",
		 SLICE_ARG(to->name),
		 ERR_peek_error() ? library_error(reason, sizeof(reason))
				  : "out of memory");
	return false;
}

static struct tls_context *context_new(bool server, enum tls_records records,
				       int keylog_fd)
{
	static atomic_uint_least64_t serial;
	struct tls_context *c = calloc(1, sizeof(*c));

	library();
	ERR_clear_error();
	if (!c)
		return NULL;
	c->refs = 1;
	c->serial = atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed) + 1;
	c->server = server;
	c->records = records;
	c->keylog_fd = keylog_fd;
	return c;
}

/* The list of protocols as the ClientHello has it. */
static void context_protocols(struct tls_context *c, const enum tls_protocol *protocols)
{
	static const struct slice names[] = {
		[TLS_HTTP_1_1] = SLICE("\x08http/1.1"),
		[TLS_HTTP_2] = SLICE("\x02h2"),
	};
	char *at = (char *)c->protocols;

	for (unsigned i = 0; i < 2 && protocols[i] != TLS_NO_PROTOCOL; i++)
		at = slice_append(at, names[protocols[i]]);
	c->protocols_len = (unsigned)(at - (char *)c->protocols);
	ASSERT(c->protocols_len <= sizeof(c->protocols));
}

/* A copy of a text of the options; ptr NULL: no memory. */
static struct slice text_keep(struct tls_context *c, struct slice text)
{
	struct text *t = malloc(sizeof(*t) + text.len + 1);

	if (!t)
		return (struct slice){ 0 };
	*slice_append(t->bytes, text) = '\0';
	t->next = c->texts;
	c->texts = t;
	return (struct slice){ t->bytes, text.len };
}

/* ---- server ----------------------------------------------------------------- */

/* An SSL_CTX with everything but certificates and policy. NULL: see context_fail(). */
static SSL_CTX *server_library(struct tls_context *c, const struct tls_server_options *o)
{
	SSL_CTX *library = SSL_CTX_new_ex(NULL, provider_wanted(), TLS_server_method());

	if (!library || !settings_apply(library, o->min_version) ||
	    !settings_groups(library, o->groups, o->groups_n, c->missing_groups,
			     &c->missing_groups_n)) {
		SSL_CTX_free(library);
		return NULL;
	}
	/* A ticket costs 25 µs, and is used once (RFC 8446 C.4). A client that opens several
	 * connections gets one on each of them, so it has as many as it needs the next time. */
	SSL_CTX_set_num_tickets(library, c->tickets ? 1 : 0);
	if (c->tickets)
		SSL_CTX_set_timeout(library, tickets_lifetime_s(c->tickets));
	else
		SSL_CTX_set_options(library, SSL_OP_NO_TICKET);
	object_callbacks(library, c);
	return library;
}

static bool server_add_policy(struct tls_context *c, const struct tls_server_options *o,
			      const struct tls_policy *policy, const struct complaint *to)
{
	SSL_CTX *library = server_library(c, o);

	if (!library && o->groups_n > 0 && c->missing_groups_n == o->groups_n) {
		snprintf(to->text, to->size,
			 "%.*s: OpenSSL has none of these groups; use "
			 "X25519, P-256 or P-384",
			 SLICE_ARG(to->name));
		return false;
	}
	if (!library)
		return context_fail(to);
	for (size_t i = 0; i < policy->names_n; i++) {
		struct slice name = text_keep(c, policy->names[i]);

		/* The first policy that has a name keeps it. */
		if (!name.ptr ||
		    (!nametable_at(&c->policy_names, name) &&
		     !nametable_add(&c->policy_names, name, (uint32_t)c->policies_n))) {
			SSL_CTX_free(library);
			return context_fail(to);
		}
	}
	return policy_init(&c->policies[c->policies_n++], library, policy, to->text,
			   to->size);
}

static bool server_policies(struct tls_context *c, const struct tls_server_options *o,
			    const struct complaint *to)
{
	static const struct tls_policy none = { .client_auth = TLS_AUTH_OFF };
	bool has_default = o->policies_n > 0 && o->policies[0].names_n == 0;

	if (o->policies_n >= POLICIES_MAX) {
		snprintf(to->text, to->size, "%.*s: more than %d policies for clients",
			 SLICE_ARG(to->name), POLICIES_MAX - 1);
		return false;
	}
	c->policies = calloc(o->policies_n + 1, sizeof(*c->policies));
	if (!c->policies)
		return context_fail(to);
	if (!has_default && !server_add_policy(c, o, &none, to))
		return false;
	for (size_t i = 0; i < o->policies_n; i++) {
		/* Else nobody would be asked for a certificate by it. */
		ASSERT(i == 0 || o->policies[i].names_n > 0);
		if (!server_add_policy(c, o, &o->policies[i], to))
			return false;
	}
	return true;
}

/* The library takes a weak key when it decodes it, and refuses it when it is used: try each. */
static bool certificate_acceptable(const struct tls_context *c,
				   const struct certificate *certificate,
				   const struct complaint *to)
{
	const struct policy *first = &c->policies[0];
	SSL *ssl = SSL_new(first->library);
	char reason[REASON_MAX];
	bool good = ssl && certificate_use(certificate, ssl, NULL);

	if (!good)
		snprintf(to->text, to->size,
			 "%.*s: %s; use a key of ECDSA P-256, or RSA with 2,048 bits",
			 SLICE_ARG(certificate->seen.file),
			 library_error(reason, sizeof(reason)));
	SSL_free(ssl);
	ERR_clear_error();
	return good;
}

static bool server_certificates(struct tls_context *c, const struct tls_server_options *o,
				const struct complaint *to)
{
	ASSERT(o->pairs_n > 0);
	c->certificates = calloc(o->pairs_n, sizeof(*c->certificates));
	if (!c->certificates)
		return context_fail(to);
	for (; c->certificates_n < o->pairs_n; c->certificates_n++) {
		struct certificate *new = certificate_new(&o->pairs[c->certificates_n],
							  to->text, to->size);

		c->certificates[c->certificates_n] = new;
		if (!new)
			return false;
		if (!certificate_acceptable(c, new, to)) {
			c->certificates_n++;
			return false;
		}
	}
	return certtable_init(&c->table, c->certificates, c->certificates_n) ||
	       context_fail(to);
}

static bool server_groups_kept(struct tls_context *c)
{
	for (size_t i = 0; i < c->missing_groups_n; i++) {
		c->missing_groups[i] = text_keep(c, c->missing_groups[i]);
		if (!c->missing_groups[i].ptr)
			return false;
	}
	return true;
}

static bool server_fill(struct tls_context *c, const struct tls_server_options *o,
			const struct complaint *to)
{
	context_protocols(c, o->protocols);
	c->default_first = o->default_first;
	c->ja4 = o->ja4;
	c->record_bytes = o->record_bytes;
	c->name = text_keep(c, o->name);
	c->missing_groups = calloc(o->groups_n + 1, sizeof(*c->missing_groups));
	if (!c->name.ptr || !c->missing_groups)
		return context_fail(to);
	/* Neither keys nor certificates. */
	if (c->records == TLS_RECORDS_NULL)
		return true;
	if (o->tickets && !(c->tickets = tickets_new(o)))
		return context_fail(to);
	return server_policies(c, o, to) && server_certificates(c, o, to) &&
	       (server_groups_kept(c) || context_fail(to));
}

struct tls_context *tls_server_context(const struct tls_server_options *o, char *error,
				       size_t error_size)
{
	const struct complaint to = { o->name, error, error_size };
	struct tls_context *c = context_new(true, o->records, o->keylog_fd);

	if (!c)
		context_fail(&to);
	else if (server_fill(c, o, &to))
		return c;
	tls_context_unref(c);
	return NULL;
}

/* ---- client ----------------------------------------------------------------- */

static bool client_trust(struct tls_context *c, const struct tls_client_options *o,
			 const struct complaint *to)
{
	struct slice ca_name = o->ca_name.len > 0 ? o->ca_name : SLICE("tls.ca");

	if (!o->verify) {
		/* A pin alone: the callback compares it with the server's own certificate. */
		SSL_CTX_set_verify(c->library,
				   o->pins_n ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
		return true;
	}
	SSL_CTX_set_verify(c->library, SSL_VERIFY_PEER, NULL);
	c->trust = trust_new(ca_name, o->ca, ca_name, (struct slice){ 0 }, to->text,
			     to->size);
	if (!c->trust)
		return false;
	return (SSL_CTX_set_purpose(c->library, X509_PURPOSE_SSL_SERVER) == 1 &&
		trust_use(c->trust, c->library)) ||
	       context_fail(to);
}

static bool client_pins(struct tls_context *c, const struct tls_client_options *o)
{
	if (o->pins_n == 0)
		return true;
	c->pins = calloc(o->pins_n, sizeof(*c->pins));
	if (!c->pins)
		return false;
	memcpy(c->pins, o->pins, o->pins_n * sizeof(*c->pins));
	c->pins_n = o->pins_n;
	return true;
}

static bool client_certificate(struct tls_context *c, const struct tls_client_options *o,
			       const struct complaint *to)
{
	char reason[REASON_MAX];

	if (!o->pair)
		return true;
	c->certificate = certificate_new(o->pair, to->text, to->size);
	if (!c->certificate)
		return false;
	if (certificate_use(c->certificate, NULL, c->library))
		return true;
	snprintf(to->text, to->size, "%.*s: %s", SLICE_ARG(o->pair->name),
		 library_error(reason, sizeof(reason)));
	return false;
}

static bool client_fill(struct tls_context *c, const struct tls_client_options *o,
			const struct complaint *to)
{
	size_t missing_n;

	context_protocols(c, o->protocols);
	c->no_sni = o->no_sni;
	if (c->records == TLS_RECORDS_NULL)
		return true;
	c->library = SSL_CTX_new_ex(NULL, provider_wanted(), TLS_client_method());
	if (!c->library || !settings_apply(c->library, o->min_version) ||
	    !settings_groups(c->library, NULL, 0, NULL, &missing_n) || !client_pins(c, o))
		return context_fail(to);
	if (o->resume)
		SSL_CTX_set_session_cache_mode(
			c->library, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	else
		SSL_CTX_set_options(c->library, SSL_OP_NO_TICKET);
	object_callbacks(c->library, c);
	return client_trust(c, o, to) && client_certificate(c, o, to);
}

struct tls_context *tls_client_context(const struct tls_client_options *o, char *error,
				       size_t error_size)
{
	const struct complaint to = { o->name, error, error_size };
	struct tls_context *c = context_new(false, o->records, o->keylog_fd);

	if (!c)
		context_fail(&to);
	else if (client_fill(c, o, &to))
		return c;
	tls_context_unref(c);
	return NULL;
}

/* ---- both ------------------------------------------------------------------- */

struct tls_context *tls_context_ref(struct tls_context *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

static void context_free(struct tls_context *c)
{
	struct text *next;

	for (size_t i = 0; i < c->policies_n; i++)
		policy_done(&c->policies[i]);
	free(c->policies);
	nametable_free(&c->policy_names);
	certtable_done(&c->table);
	for (size_t i = 0; i < c->certificates_n; i++)
		certificate_unref(c->certificates[i]);
	free(c->certificates);
	tickets_free(c->tickets);
	free(c->missing_groups);
	SSL_CTX_free(c->library);
	certificate_unref(c->certificate);
	trust_unref(c->trust);
	free(c->pins);
	for (; c->texts; c->texts = next) {
		next = c->texts->next;
		free(c->texts);
	}
	free(c);
}

void tls_context_unref(struct tls_context *c)
{
	if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
		context_free(c);
}

const struct tls_certificate *tls_context_certificate(const struct tls_context *c,
						      size_t i)
{
	if (!c->server)
		return i == 0 && c->certificate ? &c->certificate->seen : NULL;
	return i < c->certificates_n ? &c->certificates[i]->seen : NULL;
}

unsigned tls_context_tag(const struct tls_context *c, unsigned policy)
{
	return policy < c->policies_n ? c->policies[policy].tag : 0;
}

unsigned tls_context_policy(const struct tls_context *c, struct slice host)
{
	uint32_t policy;

	return nametable_find(&c->policy_names, host, &policy) ? policy : 0;
}

bool tls_context_missing_group(const struct tls_context *c, size_t i, struct slice *name)
{
	if (i >= c->missing_groups_n)
		return false;
	*name = c->missing_groups[i];
	return true;
}
