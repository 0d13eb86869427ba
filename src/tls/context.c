#include "tls/context.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "certificate.h"
#include "contextparts.h"
#include "library.h"
#include "object.h"
#include "settings.h"

#define REASON_MAX 256

static struct tls_context *context_new(bool server, enum tls_records records,
				       int keylog_fd)
{
	static atomic_uint_least64_t serial;
	struct tls_context *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	library();
	ERR_clear_error();
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

static bool context_fail(struct slice name, char *error, size_t error_size)
{
	char reason[REASON_MAX];

	snprintf(error, error_size, "%.*s: TLS cannot be set up: %s", SLICE_ARG(name),
		 library_error(reason, sizeof(reason)));
	return false;
}

static bool server_certificates(struct tls_context *c, const struct tls_server_options *o,
				char *error, size_t error_size)
{
	ASSERT(o->pairs_n > 0);
	c->certificates = calloc(o->pairs_n, sizeof(*c->certificates));
	if (!c->certificates)
		return context_fail(o->name, error, error_size);
	for (; c->certificates_n < o->pairs_n; c->certificates_n++) {
		c->certificates[c->certificates_n] =
			certificate_new(&o->pairs[c->certificates_n], error, error_size);
		if (!c->certificates[c->certificates_n])
			return false;
	}
	return true;
}

static bool server_fill(struct tls_context *c, const struct tls_server_options *o,
			char *error, size_t error_size)
{
	struct slice missing[32];
	size_t missing_n;

	context_protocols(c, o->protocols);
	c->record_bytes = o->record_bytes;
	if (c->records == TLS_RECORDS_NULL)
		return true;
	c->library = SSL_CTX_new(TLS_server_method());
	if (!c->library || !settings_apply(c->library, o->min_version) ||
	    !settings_groups(c->library, o->groups, o->groups_n, missing, &missing_n))
		return context_fail(o->name, error, error_size);
	object_callbacks(c->library, true);
	return server_certificates(c, o, error, error_size);
}

struct tls_context *tls_server_context(const struct tls_server_options *o, char *error,
				       size_t error_size)
{
	struct tls_context *c = context_new(true, o->records, o->keylog_fd);

	if (!c)
		context_fail(o->name, error, error_size);
	else if (server_fill(c, o, error, error_size))
		return c;
	tls_context_unref(c);
	return NULL;
}

static bool client_fill(struct tls_context *c, const struct tls_client_options *o,
			char *error, size_t error_size)
{
	size_t missing_n;

	context_protocols(c, o->protocols);
	c->verify = o->verify;
	if (c->records == TLS_RECORDS_NULL)
		return true;
	c->library = SSL_CTX_new(TLS_client_method());
	if (!c->library || !settings_apply(c->library, o->min_version) ||
	    !settings_groups(c->library, NULL, 0, NULL, &missing_n))
		return context_fail(o->name, error, error_size);
	object_callbacks(c->library, false);
	return true;
}

struct tls_context *tls_client_context(const struct tls_client_options *o, char *error,
				       size_t error_size)
{
	struct tls_context *c = context_new(false, o->records, o->keylog_fd);

	if (!c)
		context_fail(o->name, error, error_size);
	else if (client_fill(c, o, error, error_size))
		return c;
	tls_context_unref(c);
	return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void tls_context_unref(struct tls_context *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	SSL_CTX_free(c->library);
	for (size_t i = 0; i < c->certificates_n; i++)
		certificate_unref(c->certificates[i]);
	free(c->certificates);
	free(c);
}

const struct tls_certificate *tls_context_certificate(const struct tls_context *c,
						      size_t i)
{
	return i < c->certificates_n ? &c->certificates[i]->seen : NULL;
}
