#include "watch/resolver.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* After a failure, if the floor is not longer; twice as long each time. */
#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 30000

struct name {
	struct resolver *resolver;
	struct list node;
	unsigned upstream, server;
	struct timer next;
	struct resolver_query ask;
	bool asking;
	bool failing;
	bool again;        /* to be told although nothing has changed */
	uint32_t retry_ms;
	bool more;         /* it has more than are used, which was told */
	unsigned n;
	struct config_address *addresses; /* the last that was told */
	uint64_t lookups, failures, changes, responded_ms;
};

struct resolver {
	struct resolver_options options;
	struct list names;
	bool stopped;
};

static const struct config_resolver *limits_of(const struct name *name)
{
	return &name->resolver->options.config->resolver;
}

/* ---- what an answer changes -------------------------------------------------- */

static bool same_address(const struct config_address *a, const struct config_address *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

static const struct config_address *find(const struct config_address *a,
					 const struct config_address *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (same_address(a, &list[i]))
			return &list[i];
	return NULL;
}

/* What was not answered may still be as it was. */
static unsigned keep_unsure(const struct name *name, const struct dns_lookup *l,
			    struct config_address *now, unsigned n)
{
	for (unsigned i = 0; i < name->n && n < DNS_ADDRESSES_MAX; i++) {
		const struct config_address *old = &name->addresses[i];
		bool unsure = old->sa.ss_family == AF_INET ? l->unsure_v4 : l->unsure_v6;

		if (unsure && !find(old, now, n))
			now[n++] = *old;
	}
	return n;
}

static bool differs(const struct name *name, const struct config_address *now, unsigned n)
{
	if (n != name->n)
		return true;
	for (unsigned i = 0; i < n; i++) {
		const struct config_address *old = &name->addresses[i];

		/* Mostly they are where they were. */
		if (!same_address(&now[i], old))
			old = find(&now[i], name->addresses, name->n);

		if (!old || old->weight != now[i].weight)
			return true;
	}
	return false;
}

/* True: the name stands for something else than before. */
static bool take_addresses(struct name *name, const struct dns_lookup *l)
{
	struct config_address *now = calloc(l->n + name->n, sizeof(*now));
	unsigned n;

	if (!now)
		return false; /* it is asked for again */
	for (n = 0; n < l->n; n++) {
		now[n].len = dns_sockaddr(&l->addresses[n], &now[n].sa);
		now[n].weight = l->addresses[n].weight;
	}
	n = keep_unsure(name, l, now, n);
	if (!differs(name, now, n)) {
		free(now);
		return false;
	}
	free(name->addresses);
	name->addresses = now;
	name->n = n;
	name->changes++;
	return true;
}

/* ---- asking ------------------------------------------------------------------ */

static void ask_at(struct name *name, uint64_t pause_ms)
{
	struct tick *tick = name->resolver->options.tick;

	timer_set(&tick->wheel, &name->next, tick->now_ms + pause_ms);
}

static void next_expired(struct timer *t)
{
	struct name *name = CONTAINER(t, struct name, next);
	struct resolver *r = name->resolver;

	ASSERT(!name->asking);
	name->asking = true;
	name->lookups++;
	r->options.ask(r->options.owner, &name->ask);
}

static void ask_soon(struct name *name)
{
	uint32_t floor_ms = limits_of(name)->ttl_min_ms;
	uint32_t first_ms = floor_ms > RETRY_FIRST_MS ? floor_ms : RETRY_FIRST_MS;

	name->retry_ms = 2 * name->retry_ms < RETRY_MAX_MS ? 2 * name->retry_ms : RETRY_MAX_MS;
	if (name->retry_ms < first_ms)
		name->retry_ms = first_ms;
	ask_at(name, name->retry_ms);
}

static void ask_when_old(struct name *name, uint32_t ttl_s)
{
	const struct config_resolver *limits = limits_of(name);
	uint64_t ttl_ms = (uint64_t)ttl_s * 1000;

	if (ttl_ms > limits->ttl_max_ms)
		ttl_ms = limits->ttl_max_ms;
	if (ttl_ms < limits->ttl_min_ms)
		ttl_ms = limits->ttl_min_ms;
	name->retry_ms = 0;
	ask_at(name, ttl_ms);
}

static void tell(struct name *name, const struct resolver_news *what)
{
	struct resolver *r = name->resolver;
	struct resolver_news news = *what;

	news.upstream = name->upstream;
	news.server = name->server;
	news.addresses = name->addresses;
	news.n = name->n;
	r->options.told(r->options.owner, &news);
}

static void failed(struct name *name, const struct dns_lookup *l)
{
	bool was_failing = name->failing, again = name->again;

	name->failures++;
	name->failing = true;
	name->again = false;
	ask_soon(name);
	if (!was_failing || again)
		tell(name, &(struct resolver_news){ .changed = again,
						    .failure = was_failing ? NULL : l->failure });
}

static void succeeded(struct name *name, const struct dns_lookup *l)
{
	bool was_failing = name->failing;
	bool changed = take_addresses(name, l) || name->again;
	bool more = l->more && !name->more;

	name->more = l->more;
	name->failing = name->again = false;
	name->responded_ms = name->resolver->options.tick->now_ms;
	if (l->unsure_v4 || l->unsure_v6)
		ask_soon(name);
	else
		ask_when_old(name, l->ttl_s);
	if (changed || was_failing || more)
		tell(name, &(struct resolver_news){ .changed = changed, .recovered = was_failing,
						    .more = more });
}

static void name_free(struct name *name)
{
	list_remove(&name->node);
	dns_lookup_done(&name->ask.lookup);
	free(name->addresses);
	free(name);
}

static void answered(struct resolver_query *a)
{
	struct name *name = CONTAINER(a, struct name, ask);

	name->asking = false;
	if (name->resolver->stopped) {
		name_free(name);
		return;
	}
	if (a->lookup.n == 0)
		failed(name, &a->lookup);
	else
		succeeded(name, &a->lookup);
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

static const struct name *name_before(const struct resolver *before, const struct config_server *s)
{
	if (!before || !s->unresolved)
		return NULL;
	LIST_EACH(&before->names, node)
	{
		const struct name *name = LIST_ITEM(node, struct name, node);

		if (name->n > 0 && strcmp(name->ask.lookup.name, s->host) == 0 &&
		    name->ask.lookup.service == s->srv && name->ask.lookup.port == s->port)
			return name;
	}
	return NULL;
}

/* What the configuration says, but where it could not be resolved: who knew it better is asked,
 * and the workers are told, as they may not have had it. */
static bool begin_with(struct name *name, const struct config_server *s,
		       const struct name *before)
{
	unsigned n = before ? before->n : s->address_n;
	const struct config_address *addresses = before ? before->addresses : s->addresses;

	name->failing = s->unresolved;
	name->again = before != NULL;
	name->addresses = calloc(n + 1, sizeof(name->addresses[0])); /* not nothing */
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
	strcpy(name->ask.lookup.name, s->host);
	name->ask.lookup.service = s->srv;
	name->ask.lookup.port = s->port;
	name->ask.lookup.family = family_of(&r->options.config->resolver);
	name->ask.answered = answered;
	list_init(&name->node);
	if (!begin_with(name, s, name_before(r->options.before, s))) {
		name_free(name);
		return false;
	}
	list_append(&r->names, &name->node);
	timer_init(&name->next, next_expired);
	ask_at(name, 0);
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
	r->options.before = NULL;
	if (good)
		return r;
	resolver_stop(r);
	resolver_free(r);
	return NULL;
}

void resolver_again(struct resolver *r, unsigned upstream, unsigned server)
{
	LIST_EACH(&r->names, node)
	{
		struct name *name = LIST_ITEM(node, struct name, node);

		if (name->upstream != upstream || name->server != server)
			continue;
		name->again = true;
		if (!name->asking)
			ask_soon(name);
	}
}

void resolver_stop(struct resolver *r)
{
	r->stopped = true;
	LIST_EACH(&r->names, node)
	{
		struct name *name = LIST_ITEM(node, struct name, node);

		timer_stop(&r->options.tick->wheel, &name->next);
		if (!name->asking)
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
		   void (*row)(void *owner, const struct resolver_row *row), void *owner)
{
	LIST_EACH(&r->names, node)
	{
		const struct name *name = LIST_ITEM(node, struct name, node);

		row(owner, &(struct resolver_row){
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
