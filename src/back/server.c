/* The set of servers of an upstream: added, changed and removed by configuration,
 * resolver and prober. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "hashring.h"
#include "io/sock.h"
#include "sticky.h"

/* No new requests for it, if there is another server: its health check, or the operator. */
static void server_set_down(struct server *s)
{
	bool down = s->health_down || s->order != SERVER_ORDER_UP;

	if (down == s->probed_down)
		return;
	if (!down)
		server_slow_start(s);
	rank_set_probed_down(s, down);
	server_set_status(s);
}

static void orders_read(struct upstream *u)
{
	for (unsigned i = 0; i < u->table.n; i++) {
		struct server *s = server_at(u, i);

		rank_set_order(s, registry_order(s->member.registry_entry));
		server_set_down(s);
	}
}

/* Returns true if the weight has changed: the ranks are to be built again. */
static bool server_weigh(struct server *s)
{
	uint32_t configured = s->upstream->server_name[s->member.index].weight;
	uint32_t weight = registry_weight(s->member.registry_entry, configured) *
			  s->weight_factor;
	bool changed = weight != s->weight;

	s->weight = weight;
	stat_set(&s->member.record->weight, weight);
	return changed;
}

void upstream_ordered(struct upstream *u)
{
	bool weighed = false;

	if (u->closing)
		return;
	for (unsigned i = 0; i < u->table.n; i++)
		weighed |= server_weigh(server_at(u, i));
	if (weighed) {
		rank_build(u);
		upstream_balance_build(u);
	}
	orders_read(u);
	upstream_schedule_queue(u);
	CHECK_STATE(upstream_check(u));
}

/* A new set of servers, and memory for its groups. */
struct upstream_change {
	struct upstream *upstream;
	struct server_change set;
	struct group *groups;
};

/* Capacity for n servers, and for old ones that are kept instead of some. False: no
 * memory. */
static bool change_open(struct upstream_change *c, struct upstream *u, uint64_t n)
{
	unsigned max;

	n += u->table.n;
	max = n < UPSTREAM_SERVERS_MAX ? (unsigned)n : UPSTREAM_SERVERS_MAX;
	c->upstream = u;
	c->groups = malloc((group_count(max) + 1) * sizeof(c->groups[0]));
	if (c->groups && server_table_prepare(&c->set, max))
		return true;
	free(c->groups);
	return false;
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

static void server_enter(struct server *s)
{
	char address[SOCK_TEXT_MAX];

	sock_text((const struct sockaddr *)&s->sa, address, sizeof(address));
	s->hash = server_hash(s->name, address);
	member_enter(&s->upstream->table, &s->member, hash_slice(&s->hash), s->name,
		     address);
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
	rank_init(s);
	server_ejection_init(s);
	memcpy(s->name, name, name_n);
	server_enter(s);
	if (u->started)
		server_slow_start(s);
	return s;
}

/* ---- leaving -------------------------------------------------------------- */

/* Puts back the permits that were granted to this worker, unless a new upstream of the
 * same name is attached already: it has the same records, so that these permits are its
 * own. */
static void permits_withdraw(struct server *s)
{
	const struct upstream *u = s->upstream;

	if (s->member.registry_entry &&
	    registry_attached(u->table.registry, u->table.worker, u))
		registry_withdraw(u->table.registry, s->member.registry_entry,
				  u->table.worker, u->table.config.requests, s->permits);
	s->permits = 0;
}

static void server_left(struct member *m)
{
	struct server *s = server_of(m);

	server_ejection_stop(s);
	rank_stop(s);
	permits_withdraw(s);
	LIST_EACH(&s->idle, node)
		origin_end(LIST_ITEM(node, struct origin, node));
	LIST_EACH(&s->held, node)
		origin_end(LIST_ITEM(node, struct origin, node));
}

static void server_freed(struct member *m)
{
	free(server_of(m));
}

const struct server_table_events upstream_members = { .left = server_left,
						      .freed = server_freed };

/* ---- a new set ------------------------------------------------------------ */

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
	struct member *m;
	uint64_t hash;

	sock_text((const struct sockaddr *)&a->sa, address, sizeof(address));
	hash = server_hash(name, address);
	m = server_table_find(&u->table, hash_slice(&hash));
	return m && server_matches(server_of(m), name, a) ? server_of(m) : NULL;
}

static void change_put(struct upstream_change *c, struct server *s, unsigned index)
{
	s->member.index = index;
	(void)server_weigh(s);
	s->backup = c->upstream->server_name[index].backup;
	server_change_add(&c->set, &s->member);
}

/* Adds the servers of one name, `most` at most. */
static void change_add_name(struct upstream_change *c, unsigned index,
			    const struct config_address *addresses, unsigned n,
			    unsigned most)
{
	struct upstream *u = c->upstream;
	struct server_name *server_name = &u->server_name[index];

	server_name->incomplete = false;
	for (unsigned i = 0; i < n && most > 0; i++) {
		struct server *s = server_find(u, server_name->name, &addresses[i]);

		if (s && s->member.stays)
			continue;
		if (!s)
			s = server_new(u, server_name->name, &addresses[i]);
		if (!s) {
			server_name->incomplete = true;
			continue;
		}
		s->weight_factor = addresses[i].weight ? addresses[i].weight : 1u;
		change_put(c, s, index);
		most--;
	}
}

/* The name could not be resolved: adds its old servers. False: there are none. */
static bool change_keep_name(struct upstream_change *c, unsigned index, unsigned most)
{
	const struct upstream *u = c->upstream;
	unsigned before = c->set.n;

	u->server_name[index].incomplete = false;
	for (unsigned i = 0; i < u->table.n && most > c->set.n - before; i++)
		if (strcmp(server_at(u, i)->name, u->server_name[index].name) == 0)
			change_put(c, server_at(u, i), index);
	return c->set.n > before;
}

/* Adds the old servers of the names from ≤ index < to. */
static void change_keep_range(struct upstream_change *c, unsigned from, unsigned to)
{
	const struct upstream *u = c->upstream;

	for (unsigned i = 0; i < u->table.n; i++)
		if (u->table.members[i]->index >= from && u->table.members[i]->index < to)
			server_change_add(&c->set, u->table.members[i]);
}

/* If a new server could not be allocated, keeps the old ones of that name. */
static void change_keep_unreplaced(struct upstream_change *c)
{
	const struct upstream *u = c->upstream;

	for (unsigned i = 0; i < u->table.n && c->set.n < c->set.max; i++) {
		struct member *m = u->table.members[i];

		if (m->index < u->table.config.server_n &&
		    u->server_name[m->index].incomplete && !m->stays)
			server_change_add(&c->set, m);
	}
}

/* Makes the new set of servers the current one. Servers that are not in it leave. */
static void change_commit(struct upstream_change *c)
{
	struct upstream *u = c->upstream;

	change_keep_unreplaced(c);
	server_table_commit(&u->table, &c->set);
	free(u->groups);
	u->groups = c->groups;
	rank_build(u);
	orders_read(u);
	upstream_balance_build(u);
	upstream_schedule_queue(u);
	CHECK_STATE(upstream_check(u));
}

/* ---- what changes --------------------------------------------------------- */

bool upstream_resolved(struct upstream *u, unsigned index,
		       const struct config_address *addresses, unsigned n)
{
	struct upstream_change c = { 0 };
	unsigned others = 0;

	ASSERT(n > 0);
	if (u->closing || index >= u->table.config.server_n)
		return true;
	if (!change_open(&c, u, n))
		return false;
	for (unsigned i = 0; i < u->table.n; i++)
		others += u->table.members[i]->index != index;
	change_keep_range(&c, 0, index);
	change_add_name(&c, index, addresses, n, UPSTREAM_SERVERS_MAX - others);
	change_keep_range(&c, index + 1, u->table.config.server_n);
	change_commit(&c);
	return !u->server_name[index].incomplete;
}

void upstream_probed(struct upstream *u, unsigned index, const struct config_address *address,
		     bool up)
{
	struct server *s;

	if (u->closing || index >= u->table.config.server_n)
		return;
	s = server_find(u, u->server_name[index].name, address);
	if (!s)
		return;
	s->health_down = !up;
	server_set_down(s);
	upstream_schedule_queue(u);
}

/* Health checks were turned off: no probe will ever report these servers as up. */
static void probe_results_forget(struct upstream *u)
{
	for (unsigned i = 0; i < u->table.n; i++) {
		struct server *s = server_at(u, i);

		if (!s->health_down)
			continue;
		s->health_down = false;
		rank_set_probed_down(s, s->order != SERVER_ORDER_UP);
		server_set_status(s);
	}
}

bool upstream_prepare(struct upstream *u, const struct config_upstream *config)
{
	struct server_name *server_name;

	if (!server_tls_prepare(&u->table.tls, config))
		return false;
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

static void end_unlike_of(struct list *idle, uint64_t identity)
{
	LIST_EACH(idle, node) {
		struct origin *o = LIST_ITEM(node, struct origin, node);

		if (o->tls_identity != identity)
			origin_end(o);
	}
}

/* Ends idle origins that were opened under other settings of TLS. */
static void end_unlike(struct upstream *u)
{
	for (unsigned i = 0; i < u->table.n; i++) {
		struct server *s = server_at(u, i);

		end_unlike_of(&s->idle, s->member.tls_identity);
		end_unlike_of(&s->held, s->member.tls_identity);
	}
}

bool upstream_reconfigure(struct upstream *u, const struct config_upstream *config)
{
	struct upstream_change c = { 0 };
	bool complete = true;

	ASSERT(config->server_n > 0 && config->server_n <= CONFIG_SERVERS_MAX);
	if (u->closing)
		return true;
	if (!upstream_prepare(u, config) || !change_open(&c, u, address_count(config)))
		return false;
	server_names_set(u, config);
	server_table_configure(&u->table, config);
	for (unsigned i = 0; i < config->server_n; i++) {
		const struct config_server *s = &config->servers[i];
		unsigned most = UPSTREAM_SERVERS_MAX - c.set.n -
				(config->server_n - 1 - i);

		if (!s->unresolved || !change_keep_name(&c, i, most))
			change_add_name(&c, i, s->addresses, s->address_n, most);
		complete &= !u->server_name[i].incomplete;
	}
	change_commit(&c);
	end_unlike(u);
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

void upstream_servers_done(struct upstream *u)
{
	for (unsigned i = 0; i < u->table.n; i++)
		ASSERT(server_at(u, i)->open_n == 0 && server_at(u, i)->leased_n == 0);
	server_table_clear(&u->table);
	hashring_free(u->ring);
	sticky_done(u);
	free(u->groups);
	free(u->server_name);
}
