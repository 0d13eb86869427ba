#include "servertls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

bool server_tls_prepare(struct server_tls *t, const struct config_upstream *config)
{
	unsigned max = config->server_n + 1;
	void *names;

	if (!config->tls || max <= t->names_max)
		return true;
	names = realloc(t->names, max * sizeof(t->names[0]));
	if (!names)
		return false;
	t->names = names;
	t->names_max = max;
	return true;
}

static void name_set(struct server_tls *t, unsigned index, struct slice name)
{
	ASSERT(index < t->names_max && name.len < CONFIG_TLS_NAME_MAX);
	snprintf(t->names[index], CONFIG_TLS_NAME_MAX, "%.*s", SLICE_ARG(name));
}

static void context_set(struct server_tls *t, struct tls_context *context)
{
	if (context == t->context)
		return;
	tls_context_unref(t->context);
	t->context = context ? tls_context_ref(context) : NULL;
	t->epoch++;
}

void server_tls_configure(struct server_tls *t, const struct config_upstream *config)
{
	const struct config_upstream_tls *tls = config->tls;

	ASSERT(!tls || tls->context);
	context_set(t, tls ? tls->context : NULL);
	t->name_n = tls ? config->server_n : 0;
	for (unsigned i = 0; i < t->name_n; i++)
		name_set(t, i, slice_of(config->servers[i].tls_name));
	if (tls)
		name_set(t, t->name_n, tls->sni);
}

void server_tls_done(struct server_tls *t)
{
	tls_context_unref(t->context);
	free(t->names);
	*t = (struct server_tls){ 0 };
}

uint64_t server_tls_identity(const struct server_tls *t, unsigned index)
{
	uint64_t hash;

	if (!t->context)
		return 0;
	ASSERT(index < t->name_n);
	hash = hash_mix(hash_bytes(HASH_BEGIN, slice_of(t->names[index])) + t->epoch);
	return hash ? hash : 1;
}

void server_tls_dial(const struct server_tls *t, unsigned index, struct tls_saved *saved,
		     struct dial_options *options)
{
	if (!t->context)
		return;
	ASSERT(index < t->name_n);
	options->context = t->context;
	options->name = slice_of(t->names[index]);
	options->sni = slice_of(t->names[t->name_n]);
	options->saved = saved;
}

void server_tls_count(struct upstream_stats *stats, const struct dial *d)
{
	const struct tls *tls;

	if (d->state == DIAL_FAILED) {
		stat_add(&stats->tls_failures, d->fault != TLS_FAULT_NONE);
		return;
	}
	tls = conn_tls(d->options.conn);
	if (!tls)
		return;
	stat_add(&stats->tls_handshakes, 1);
	stat_add(&stats->tls_resumed, tls->resumed);
}
