/* From the configuration of a listener to what its connections share. */
#include "config/tls.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define TICKET_KEY_BYTES 80

bool config_uses_tls(const struct config *c)
{
	for (unsigned i = 0; i < c->upstream_n; i++)
		if (c->upstreams[i].tls)
			return true;
	return c->tls_n > 0;
}

/* Arrays that the options point to. */
struct option_arrays {
	struct tls_pair *pairs;
	struct tls_policy *policies;
	uint8_t (*ticket_keys)[TICKET_KEY_BYTES];
};

static void arrays_free(struct option_arrays *a, unsigned ticket_key_n)
{
	free(a->pairs);
	free(a->policies);
	if (a->ticket_keys)
		explicit_bzero(a->ticket_keys, ticket_key_n * sizeof(a->ticket_keys[0]));
	free(a->ticket_keys);
}

static bool arrays_make(struct option_arrays *a, const struct config_tls *t)
{
	a->pairs = calloc(t->pair_n, sizeof(a->pairs[0]));
	a->policies = calloc(t->policy_n, sizeof(a->policies[0]));
	a->ticket_keys = calloc(t->ticket_key_n + 1, sizeof(a->ticket_keys[0]));
	if (!a->pairs || !a->policies || !a->ticket_keys)
		return false;
	for (unsigned i = 0; i < t->pair_n; i++)
		a->pairs[i] = (struct tls_pair){ slice_of(t->pairs[i]->chain_path),
						 t->pairs[i]->chain, t->pairs[i]->key };
	for (unsigned i = 0; i < t->policy_n; i++) {
		const struct config_client_auth *p = &t->policies[i];

		a->policies[i] = (struct tls_policy){
			.names = p->names,
			.names_n = p->name_n,
			.client_auth = p->mode,
			.ca = p->ca ? p->ca->bytes : SLICE(""),
			.crl = p->crl ? p->crl->bytes : SLICE(""),
			.ca_name = slice_of(p->ca ? p->ca->path : ""),
			.crl_name = slice_of(p->crl ? p->crl->path : ""),
			.depth = p->depth,
			.tag = p->forward,
		};
	}
	for (unsigned i = 0; i < t->ticket_key_n; i++) {
		ASSERT(t->ticket_keys[i]->bytes.len == TICKET_KEY_BYTES);
		memcpy(a->ticket_keys[i], t->ticket_keys[i]->bytes.ptr, TICKET_KEY_BYTES);
	}
	return true;
}

struct tls_context *config_tls_context(const struct config *c, const struct config_tls *t,
				       int keylog_fd, char *error, size_t error_size)
{
	struct option_arrays arrays = { NULL };
	struct tls_server_options options = {
		.name = slice_of(t->name),
		.pairs_n = t->pair_n,
		.default_first = !t->default_none,
		.policies_n = t->policy_n,
		.min_version = t->min_version,
		.groups = t->groups,
		.groups_n = t->group_n,
		.protocols = { t->http2 ? TLS_HTTP_2 : TLS_HTTP_1_1,
			       t->http2 && t->http1 ? TLS_HTTP_1_1 : TLS_NO_PROTOCOL },
		.tickets = !t->tickets_off,
		.ticket_keys_n = t->ticket_key_n,
		.ticket_lifetime_s = t->ticket_lifetime_ms / 1000,
		.records = t->records,
		.record_bytes = t->record_bytes,
		.ja4 = c->uses_ja4,
		.keylog_fd = keylog_fd,
	};
	struct tls_context *context = NULL;

	memcpy(options.ticket_secret, c->ticket_secret, sizeof(options.ticket_secret));
	if (arrays_make(&arrays, t)) {
		options.pairs = arrays.pairs;
		options.policies = arrays.policies;
		options.ticket_keys =
			(const uint8_t(*)[TICKET_KEY_BYTES])arrays.ticket_keys;
		context = tls_server_context(&options, error, error_size);
	} else {
		snprintf(error, error_size, "out of memory");
	}
	arrays_free(&arrays, t->ticket_key_n);
	explicit_bzero(options.ticket_secret, sizeof(options.ticket_secret));
	return context;
}

/* ---- equality ---------------------------------------------------------------- */

static bool digests_equal(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, CONFIG_DIGEST_BYTES) == 0;
}

static bool file_equal(const struct config_file *a, const struct config_file *b)
{
	return a == b || (a && b && digests_equal(a->digest, b->digest));
}

static bool names_equal(const struct slice *a, unsigned n, const struct slice *b,
			unsigned m)
{
	bool equal = n == m;

	for (unsigned i = 0; i < n && equal; i++)
		equal = slice_equal(a[i], b[i]);
	return equal;
}

static bool policies_equal(const struct config_tls *t, const struct config_tls *u)
{
	bool equal = t->policy_n == u->policy_n;

	for (unsigned i = 0; i < t->policy_n && equal; i++) {
		const struct config_client_auth *a = &t->policies[i],
						*b = &u->policies[i];

		equal = names_equal(a->names, a->name_n, b->names, b->name_n) &&
			a->mode == b->mode && file_equal(a->ca, b->ca) &&
			file_equal(a->crl, b->crl) && a->depth == b->depth &&
			a->forward == b->forward;
	}
	return equal;
}

/* Paths count as well: messages name them. */
static bool pairs_equal(const struct config_tls *t, const struct config_tls *u)
{
	bool equal = t->pair_n == u->pair_n;

	for (unsigned i = 0; i < t->pair_n && equal; i++)
		equal = digests_equal(t->pairs[i]->digest, u->pairs[i]->digest) &&
			strcmp(t->pairs[i]->chain_path, u->pairs[i]->chain_path) == 0;
	return equal;
}

static bool ticket_keys_equal(const struct config_tls *t, const struct config_tls *u)
{
	bool equal = t->ticket_key_n == u->ticket_key_n;

	for (unsigned i = 0; i < t->ticket_key_n && equal; i++)
		equal = file_equal(t->ticket_keys[i], u->ticket_keys[i]);
	return equal;
}

bool config_tls_equal(const struct config *c, const struct config_tls *t,
		      const struct config *d, const struct config_tls *u)
{
	return c->uses_ja4 == d->uses_ja4 && strcmp(t->name, u->name) == 0 && pairs_equal(t, u) &&
	       policies_equal(t, u) &&
	       names_equal(t->groups, t->group_n, u->groups, u->group_n) &&
	       t->default_none == u->default_none && t->min_version == u->min_version &&
	       t->tickets_off == u->tickets_off && ticket_keys_equal(t, u) &&
	       t->ticket_lifetime_ms == u->ticket_lifetime_ms &&
	       t->record_bytes == u->record_bytes && t->records == u->records &&
	       strcmp(t->keylog, u->keylog) == 0 &&
	       memcmp(c->ticket_secret, d->ticket_secret, sizeof(c->ticket_secret)) == 0;
}

/* ---- the end of the keys ----------------------------------------------------- */

static void forget(struct slice *secret)
{
	explicit_bzero((void *)(uintptr_t)secret->ptr, secret->len);
	*secret = SLICE("");
}

static void snapshot_forget(struct config *c)
{
	void *bytes = (void *)(uintptr_t)c->snapshot.ptr;

	if (!bytes)
		return;
	explicit_bzero(bytes, c->snapshot.len);
	free(bytes);
	c->snapshot = (struct slice){ NULL, 0 };
}

/* Not the secret of tickets, which config_tls_equal() reads: it is in each context as well. */
void config_forget_keys(struct config *c)
{
	if (c->pairs)
		snapshot_forget(c);
	for (struct config_pair *pair = c->pairs; pair; pair = pair->next) {
		bool one_file = pair->key.ptr == pair->chain.ptr;

		if (pair->key.len > 0)
			forget(&pair->key);
		if (one_file)
			pair->chain = SLICE("");
	}
}
