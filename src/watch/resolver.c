#include "watch/resolver.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* Time to the next lookup after a failure, unless the minimum of the time to live is
 * longer; doubled each time. */
#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 30000

struct name {
	struct resolver *resolver;
	struct list node;
	unsigned upstream, server;
	struct timer next;
	struct resolver_query query;
	bool querying;
	bool failing;
	bool report_again; /* notify even if nothing has changed */
	uint32_t retry_ms;
	bool truncated; /* as reported: more addresses than are used */
	unsigned n;
	struct config_address *addresses; /* as reported last */
	uint64_t lookups, failures, changes, responded_ms;
};

struct resolver {
	struct resolver_options options;
	struct list names;
	bool stopped;
};

static const struct config_resolver *resolver_limits(const struct name *name)
{
	return &name->resolver->options.config->resolver;
}

/* ---- the addresses of a name ------------------------------------------------- */

static bool same_address(const struct config_address *a, const struct config_address *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

static const struct config_address *address_find(const struct config_address *a,
						 const struct config_address *list,
						 unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (same_address(a, &list[i]))
			return &list[i];
	return NULL;
}

/* If the answer for a family is missing, keeps the old addresses of that family. */
static unsigned keep_incomplete(const struct name *name, const struct dns_lookup *l,
				struct config_address *now, unsigned n)
{
	for (unsigned i = 0; i < name->n && n < DNS_ADDRESSES_MAX; i++) {
		const struct config_address *old = &name->addresses[i];
		bool incomplete = old->sa.ss_family == AF_INET ? l->incomplete_v4
							       : l->incomplete_v6;

		if (incomplete && !address_find(old, now, n))
			now[n++] = *old;
	}
	return n;
}

static bool addresses_differ(const struct name *name, const struct config_address *now,
			     unsigned n)
{
	if (n != name->n)
		return true;
	for (unsigned i = 0; i < n; i++) {
		const struct config_address *old = &name->addresses[i];

		/* Usually the order has not changed. */
		if (!same_address(&now[i], old))
			old = address_find(&now[i], name->addresses, name->n);

		if (!old || old->weight != now[i].weight)
			return true;
	}
	return false;
}

/* True: the addresses of the name have changed. */
static bool name_update_addresses(struct name *name, const struct dns_lookup *l)
{
	struct config_address *now = calloc(l->n + name->n, sizeof(*now));
	unsigned n;

	if (!now)
		return false; /* the next lookup tries again */
	for (n = 0; n < l->n; n++) {
		now[n].len = dns_sockaddr(&l->addresses[n], &now[n].sa);
		now[n].weight = l->addresses[n].weight;
	}
	n = keep_incomplete(name, l, now, n);
	if (!addresses_differ(name, now, n)) {
		free(now);
		return false;
	}
	free(name->addresses);
	name->addresses = now;
	name->n = n;
	name->changes++;
	return true;
}

/* ---- querying ------------------------------------------------------------------ */

static void query_after(struct name *name, uint64_t pause_ms)
{
	struct tick *tick = name->resolver->options.tick;

	timer_set(&tick->wheel, &name->next, tick->now_ms + pause_ms);
}

static void next_expired(struct timer *t)
{
	struct name *name = CONTAINER(t, struct name, next);
	struct resolver *r = name->resolver;

	ASSERT(!name->querying);
	name->querying = true;
	name->lookups++;
	r->options.query(r->options.owner, &name->query);
}

static void query_retry(struct name *name)
{
	uint32_t floor_ms = resolver_limits(name)->ttl_min_ms;
	uint32_t first_ms = floor_ms > RETRY_FIRST_MS ? floor_ms : RETRY_FIRST_MS;

	name->retry_ms = 2 * name->retry_ms < RETRY_MAX_MS ? 2 * name->retry_ms : RETRY_MAX_MS;
	if (name->retry_ms < first_ms)
		name->retry_ms = first_ms;
	query_after(name, name->retry_ms);
}

static void query_at_ttl(struct name *name, uint32_t ttl_s)
{
	const struct config_resolver *limits = resolver_limits(name);
	uint64_t ttl_ms = (uint64_t)ttl_s * 1000;

	if (ttl_ms > limits->ttl_max_ms)
		ttl_ms = limits->ttl_max_ms;
	if (ttl_ms < limits->ttl_min_ms)
		ttl_ms = limits->ttl_min_ms;
	name->retry_ms = 0;
	query_after(name, ttl_ms);
}

static void name_report(struct name *name, const struct resolver_event *what)
{
	struct resolver *r = name->resolver;
	struct resolver_event event = *what;

	event.upstream = name->upstream;
	event.server = name->server;
	event.addresses = name->addresses;
	event.n = name->n;
	r->options.notify(r->options.owner, &event);
}

static void lookup_failed(struct name *name, const struct dns_lookup *l)
{
	bool was_failing = name->failing, again = name->report_again;

	name->failures++;
	name->failing = true;
	name->report_again = false;
	query_retry(name);
	if (!was_failing || again)
		name_report(name, &(struct resolver_event){
					  .changed = again,
					  .failure = was_failing ? NULL : l->failure });
}

static void lookup_succeeded(struct name *name, const struct dns_lookup *l)
{
	bool was_failing = name->failing;
	bool changed = name_update_addresses(name, l) || name->report_again;
	bool truncated = l->truncated && !name->truncated;

	name->truncated = l->truncated;
	name->failing = name->report_again = false;
	name->responded_ms = name->resolver->options.tick->now_ms;
	if (l->incomplete_v4 || l->incomplete_v6)
		query_retry(name);
	else
		query_at_ttl(name, l->ttl_s);
	if (changed || was_failing || truncated)
		name_report(name, &(struct resolver_event){ .changed = changed,
							    .recovered = was_failing,
							    .truncated = truncated });
}

static void name_free(struct name *name)
{
	list_remove(&name->node);
	dns_lookup_done(&name->query.lookup);
	free(name->addresses);
	free(name);
}

static void query_done(struct resolver_query *a)
{
	struct name *name = CONTAINER(a, struct name, query);

	name->querying = false;
	if (name->resolver->stopped) {
		name_free(name);
		return;
	}
	if (a->lookup.n == 0)
		lookup_failed(name, &a->lookup);
	else
		lookup_succeeded(name, &a->lookup);
	dns_lookup_done(&a->lookup);
}

/* ---- the resolver ------------------------------------------------------------ */

static enum dns_family family_of(const struct config_resolver *r)
{
	switch (r->family) {
	case CONFIG_FAMILY_ANY:
		return DNS_ANY;
	case CONFIG_FAMILY_IPV4:
		return DNS_V4;
	case CONFIG_FAMILY_IPV6:
		return DNS_V6;
	}
	return DNS_ANY;
}

static const struct name *name_in_previous(const struct resolver *previous,
					   const struct config_server *s)
{
	if (!previous || !s->unresolved)
		return NULL;
	LIST_EACH(&previous->names, node) {
		const struct name *name = LIST_ITEM(node, struct name, node);

		if (name->n > 0 && strcmp(name->query.lookup.name, s->host) == 0 &&
		    name->query.lookup.service == s->srv &&
		    name->query.lookup.port == s->port)
			return name;
	}
	return NULL;
}

/* The initial addresses: those of the configuration; for a name that could not be
 * resolved those of the previous resolver, of which the workers are notified: they may
 * not have them. */
static bool name_init_addresses(struct name *name, const struct config_server *s,
				const struct name *previous)
{
	unsigned n = previous ? previous->n : s->address_n;
	const struct config_address *addresses = previous ? previous->addresses
							  : s->addresses;

	name->failing = s->unresolved;
	name->report_again = previous != NULL;
	name->addresses = calloc(n + 1,
				 sizeof(name->addresses[0])); /* calloc(0) may be NULL */
	if (!name->addresses)
		return false;
	for (name->n = 0; name->n < n; name->n++) {
		name->addresses[name->n] = addresses[name->n];
		name->addresses[name->n].text = NULL;
		if (name->addresses[name->n].weight == 0)
			name->addresses[name->n].weight = 1;
	}
	return true;
}

static bool name_new(struct resolver *r, const struct config_upstream *u, unsigned server)
{
	const struct config_server *s = &u->servers[server];
	struct name *name = calloc(1, sizeof(*name));

	if (!name)
		return false;
	ASSERT(strlen(s->host) <= DNS_NAME_MAX);
	name->resolver = r;
	name->upstream = u->index;
	name->server = server;
	strcpy(name->query.lookup.name, s->host);
	name->query.lookup.service = s->srv;
	name->query.lookup.port = s->port;
	name->query.lookup.family = family_of(&r->options.config->resolver);
	name->query.done = query_done;
	list_init(&name->node);
	if (!name_init_addresses(name, s, name_in_previous(r->options.previous, s))) {
		name_free(name);
		return false;
	}
	list_append(&r->names, &name->node);
	timer_init(&name->next, next_expired);
	query_after(name, 0);
	return true;
}

struct resolver *resolver_new(const struct resolver_options *options)
{
	const struct config *config = options->config;
	struct resolver *r = calloc(1, sizeof(*r));
	bool good = r != NULL;

	if (!good)
		return NULL;
	r->options = *options;
	list_init(&r->names);
	for (unsigned i = 0; i < config->upstream_n; i++)
		for (unsigned k = 0; k < config->upstreams[i].server_n && good; k++)
			if (config->upstreams[i].servers[k].host)
				good = name_new(r, &config->upstreams[i], k);
	r->options.previous = NULL;
	if (good)
		return r;
	resolver_stop(r);
	resolver_free(r);
	return NULL;
}

void resolver_notify_again(struct resolver *r, unsigned upstream, unsigned server)
{
	LIST_EACH(&r->names, node)
	{
		struct name *name = LIST_ITEM(node, struct name, node);

		if (name->upstream != upstream || name->server != server)
			continue;
		name->report_again = true;
		if (!name->querying)
			query_retry(name);
	}
}

void resolver_stop(struct resolver *r)
{
	r->stopped = true;
	LIST_EACH(&r->names, node)
	{
		struct name *name = LIST_ITEM(node, struct name, node);

		timer_stop(&r->options.tick->wheel, &name->next);
		if (!name->querying)
			name_free(name);
	}
}

bool resolver_idle(const struct resolver *r)
{
	return r->stopped && list_empty(&r->names);
}

void resolver_free(struct resolver *r)
{
	ASSERT(resolver_idle(r));
	free(r);
}

void resolver_each(const struct resolver *r,
		   void (*each)(void *owner, const struct resolver_stats *stats),
		   void *owner)
{
	LIST_EACH(&r->names, node)
	{
		const struct name *name = LIST_ITEM(node, struct name, node);

		each(owner, &(struct resolver_stats){
				    .upstream = name->upstream,
				    .server = name->server,
				    .addresses = name->n,
				    .lookups = name->lookups,
				    .failures = name->failures,
				    .changes = name->changes,
				    .responded_ms = name->responded_ms,
			    });
	}
}
