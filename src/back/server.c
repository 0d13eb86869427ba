/* The set of servers of an upstream: added, changed and removed by configuration,
 * resolver and prober. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "hashring.h"
#include "io/sock.h"

/* The new set of servers, in the order of the configuration. */
struct server_table {
	struct upstream *upstream;
	unsigned n, max;
	struct server **servers;
	struct group *groups;
};

/* Capacity for n servers, and for old ones that are kept instead of some. False: no
 * memory. */
static bool table_open(struct server_table *t, struct upstream *u, uint64_t n)
{
	t->upstream = u;
	n += u->server_n;
	t->max = n < UPSTREAM_SERVERS_MAX ? (unsigned)n : UPSTREAM_SERVERS_MAX;
	/* + 1: malloc(0) may be NULL. */
	t->servers = malloc((t->max + 1) * sizeof(t->servers[0]));
	t->groups = malloc((group_count(t->max) + 1) * sizeof(t->groups[0]));
	if (t->servers && t->groups)
		return true;
	free(t->servers);
	free(t->groups);
	return false;
}

static void table_add(struct server_table *t, struct server *s)
{
	ASSERT(t->n < t->max);
	s->stays = true;
	t->servers[t->n++] = s;
}

static void free_reaped(struct reap *reap)
{
	free(CONTAINER(reap, struct server, reap));
}

static uint64_t server_hash(const char *name, const char *address)
{
	uint64_t hash = hash_bytes(HASH_BEGIN, slice_of(name));

	hash = hash_bytes(hash, SLICE(" "));
	return hash_mix(hash_bytes(hash, slice_of(address)));
}

static struct slice hash_slice(const uint64_t *hash)
{
	return (struct slice){ (const char *)hash, sizeof(*hash) };
}

static void server_register(struct server *s)
{
	struct upstream *u = s->upstream;
	char address[SOCK_TEXT_MAX];

	sock_text((const struct sockaddr *)&s->sa, address, sizeof(address));
	s->hash = server_hash(s->name, address);
	names_put(&u->by_hash, &s->entry, hash_slice(&s->hash));
	s->registry_entry = registry_enter(u->registry, u->worker, s->name, address);
	s->record = s->registry_entry
			    ? registry_record(u->registry, s->registry_entry, u->worker)
			    : registry_dummy_record(u->worker);
}

static struct server *server_new(struct upstream *u, const char *name,
				 const struct config_address *a)
{
	size_t name_n = strlen(name) + 1;
	struct server *s = calloc(1, sizeof(*s) + name_n);

	if (!s)
		return NULL;
	s->upstream = u;
	s->id = u->next_id++;
	s->sa = a->sa;
	s->len = a->len;
	list_init(&s->idle);
	list_init(&s->held);
	list_init(&s->node);
	list_init(&s->reap.node);
	s->reap.free = free_reaped;
	rank_init(s);
	server_ejection_init(s);
	memcpy(s->name, name, name_n);
	server_register(s);
	if (u->started)
		server_slow_start(s);
	return s;
}

/* ---- leaving -------------------------------------------------------------- */

static void server_reap(struct server *s)
{
	list_remove(&s->node);
	if (s->registry_entry)
		registry_leave(s->registry_entry);
	tick_reap(s->upstream->tick, &s->reap);
}

static void server_leave(struct server *s)
{
	struct upstream *u = s->upstream;

	s->leaving = true;
	names_remove(&u->by_hash, &s->entry);
	server_ejection_stop(s);
	rank_stop(s);
	if (s->registry_entry)
		registry_withdraw(u->registry, s->registry_entry, u->worker,
				  u->config.requests, s->permits);
	s->permits = 0;
	LIST_EACH(&s->idle, node)
		origin_end(LIST_ITEM(node, struct origin, node));
	LIST_EACH(&s->held, node)
		origin_end(LIST_ITEM(node, struct origin, node));
	list_append(&u->leaving, &s->node);
	if (s->origin_n == 0)
		server_reap(s);
}

void server_origin_dead(struct server *s)
{
	s->origin_n--;
	if (s->leaving && s->origin_n == 0)
		server_reap(s);
}

/* ---- the table ------------------------------------------------------------ */

static bool server_matches(const struct server *s, const char *name,
			   const struct config_address *a)
{
	return strcmp(s->name, name) == 0 &&
	       sock_equal((const struct sockaddr *)&s->sa, (const struct sockaddr *)&a->sa);
}

static struct server *server_find(const struct upstream *u, const char *name,
				  const struct config_address *a)
{
	char address[SOCK_TEXT_MAX];
	const struct names_entry *e;
	struct server *s;
	uint64_t hash;

	sock_text((const struct sockaddr *)&a->sa, address, sizeof(address));
	hash = server_hash(name, address);
	e = names_find(&u->by_hash, hash_slice(&hash));
	s = e ? CONTAINER(e, struct server, entry) : NULL;
	return s && server_matches(s, name, a) ? s : NULL;
}

static void table_put(struct server_table *t, struct server *s, unsigned index)
{
	const struct server_name *server_name = &t->upstream->server_name[index];

	s->index = index;
	s->weight = server_name->weight * s->weight_factor;
	s->backup = server_name->backup;
	table_add(t, s);
}

/* Adds the servers of one name, `most` at most. */
static void table_add_name(struct server_table *t, unsigned index,
			     const struct config_address *addresses, unsigned n,
			     unsigned most)
{
	struct upstream *u = t->upstream;
	struct server_name *server_name = &u->server_name[index];

	server_name->incomplete = false;
	for (unsigned i = 0; i < n && most > 0; i++) {
		struct server *s = server_find(u, server_name->name, &addresses[i]);

		if (s && s->stays)
			continue;
		if (!s)
			s = server_new(u, server_name->name, &addresses[i]);
		if (!s) {
			server_name->incomplete = true;
			continue;
		}
		s->weight_factor = addresses[i].weight ? addresses[i].weight : 1u;
		table_put(t, s, index);
		most--;
	}
}

/* The name could not be resolved: adds its old servers. False: there are none. */
static bool table_keep_name(struct server_table *t, unsigned index, unsigned most)
{
	const struct upstream *u = t->upstream;
	unsigned before = t->n;

	u->server_name[index].incomplete = false;
	for (unsigned i = 0; i < u->server_n && most > t->n - before; i++)
		if (strcmp(u->servers[i]->name, u->server_name[index].name) == 0)
			table_put(t, u->servers[i], index);
	return t->n > before;
}

/* Adds the old servers of the names from ≤ index < to. */
static void table_keep_range(struct server_table *t, unsigned from, unsigned to)
{
	const struct upstream *u = t->upstream;

	for (unsigned i = 0; i < u->server_n; i++)
		if (u->servers[i]->index >= from && u->servers[i]->index < to)
			table_add(t, u->servers[i]);
}

/* If a new server could not be allocated, keeps the old ones of that name. */
static void table_keep_unreplaced(struct server_table *t)
{
	const struct upstream *u = t->upstream;

	for (unsigned i = 0; i < u->server_n && t->n < t->max; i++) {
		struct server *s = u->servers[i];

		if (s->index < u->config.server_n &&
		    u->server_name[s->index].incomplete && !s->stays)
			table_add(t, s);
	}
}

/* Makes the new set of servers the current one. Servers that are not in it leave. */
static void table_commit(struct server_table *t)
{
	struct upstream *u = t->upstream;

	table_keep_unreplaced(t);
	for (unsigned i = 0; i < u->server_n; i++)
		if (!u->servers[i]->stays)
			server_leave(u->servers[i]);
	for (unsigned i = 0; i < t->n; i++)
		t->servers[i]->stays = false;
	free(u->servers);
	free(u->groups);
	u->servers = t->servers;
	u->groups = t->groups;
	u->server_n = t->n;
	rank_build(u);
	upstream_balance_build(u);
	upstream_schedule_queue(u);
}

/* ---- what changes --------------------------------------------------------- */

bool upstream_resolved(struct upstream *u, unsigned index,
		       const struct config_address *addresses, unsigned n)
{
	struct server_table t = { 0 };
	unsigned others = 0;

	ASSERT(n > 0);
	if (u->closing || index >= u->config.server_n)
		return true;
	if (!table_open(&t, u, n))
		return false;
	for (unsigned i = 0; i < u->server_n; i++)
		others += u->servers[i]->index != index;
	table_keep_range(&t, 0, index);
	table_add_name(&t, index, addresses, n, UPSTREAM_SERVERS_MAX - others);
	table_keep_range(&t, index + 1, u->config.server_n);
	table_commit(&t);
	return !u->server_name[index].incomplete;
}

void upstream_probed(struct upstream *u, unsigned index, const struct config_address *address,
		     bool up)
{
	struct server *s;

	if (u->closing || index >= u->config.server_n)
		return;
	s = server_find(u, u->server_name[index].name, address);
	if (!s)
		return;
	if (up && s->probed_down)
		server_slow_start(s);
	rank_set_probed_down(s, !up);
	server_set_status(s);
	upstream_schedule_queue(u);
}

/* Health checks were turned off: no probe will ever report these servers as up. */
static void probe_results_forget(struct upstream *u)
{
	for (unsigned i = 0; i < u->server_n; i++) {
		struct server *s = u->servers[i];

		if (!s->probed_down)
			continue;
		rank_set_probed_down(s, false);
		server_set_status(s);
	}
}

bool upstream_prepare(struct upstream *u, const struct config_upstream *config)
{
	struct server_name *server_name;

	if (config->server_n <= u->server_names_max)
		return true;
	server_name = realloc(u->server_name, config->server_n * sizeof(*server_name));
	if (!server_name)
		return false;
	u->server_name = server_name;
	u->server_names_max = config->server_n;
	return true;
}

static uint64_t address_count(const struct config_upstream *config)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < config->server_n; i++)
		n += config->servers[i].address_n;
	return n;
}

static void server_names_set(struct upstream *u, const struct config_upstream *config)
{
	for (unsigned i = 0; i < config->server_n; i++) {
		struct server_name *server_name = &u->server_name[i];

		server_name->weight = config->servers[i].weight;
		server_name->backup = config->servers[i].backup;
		snprintf(server_name->name, sizeof(server_name->name), "%s",
			 config->servers[i].name);
	}
}

bool upstream_reconfigure(struct upstream *u, const struct config_upstream *config)
{
	struct server_table t = { 0 };
	bool complete = true;

	ASSERT(config->server_n > 0 && config->server_n <= CONFIG_SERVERS_MAX);
	if (u->closing)
		return true;
	if (!upstream_prepare(u, config) || !table_open(&t, u, address_count(config)))
		return false;
	server_names_set(u, config);
	u->config = *config;
	u->config.servers = NULL;
	if (config->name)
		snprintf(u->name, sizeof(u->name), "%s", config->name);
	u->config.name = u->name;
	for (unsigned i = 0; i < config->server_n; i++) {
		const struct config_server *s = &config->servers[i];
		unsigned most = UPSTREAM_SERVERS_MAX - t.n - (config->server_n - 1 - i);

		if (!s->unresolved || !table_keep_name(&t, i, most))
			table_add_name(&t, i, s->addresses, s->address_n, most);
		complete &= !u->server_name[i].incomplete;
	}
	table_commit(&t);
	if (!config->health.on)
		probe_results_forget(u);
	return complete;
}

bool upstream_servers_init(struct upstream *u, const struct config_upstream *config)
{
	bool all = upstream_reconfigure(u, config);

	u->started = true;
	upstream_stagger(u);
	return all;
}

/* Puts back the permits that were granted to this worker, unless a new upstream of the
 * same name is attached already: it has the same records, so that these permits are its
 * own. */
static void server_unregister(const struct upstream *u, struct server *s)
{
	if (!s->registry_entry)
		return;
	if (registry_attached(u->registry, u->worker, u))
		registry_withdraw(u->registry, s->registry_entry, u->worker,
				  u->config.requests, s->permits);
	registry_leave(s->registry_entry);
}

void upstream_servers_done(struct upstream *u)
{
	for (unsigned i = 0; i < u->server_n; i++) {
		ASSERT(u->servers[i]->open_n == 0 && u->servers[i]->leased_n == 0);
		server_ejection_stop(u->servers[i]);
		rank_stop(u->servers[i]);
		server_unregister(u, u->servers[i]);
		free(u->servers[i]);
	}
	names_done(&u->by_hash);
	hashring_free(u->ring);
	free(u->groups);
	free(u->servers);
	free(u->server_name);
}
