/* The set of servers of a memcached upstream, and the mapping of keys to them (ketama). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/sock.h"
#include "memcachelink.h"

struct memcache_server *memcache_server_of(const struct memcache *m,
					   const struct memcache_call *call)
{
	struct slice key = { call->key, call->key_len };

	return memcache_server_at(m, ketama_server(m->ketama, key));
}

static struct ketama *ketama_build(const struct config_upstream *upstream)
{
	struct ketama_server *servers = calloc(upstream->server_n, sizeof(servers[0]));
	struct ketama *ketama;

	ASSERT(upstream->server_n > 0 && upstream->server_n <= CONFIG_SERVERS_MAX);
	if (!servers)
		return NULL;
	for (unsigned i = 0; i < upstream->server_n; i++) {
		servers[i].name = config_server_name(&upstream->servers[i],
						     CONFIG_MEMCACHED);
		servers[i].weight = upstream->servers[i].weight;
	}
	ketama = ketama_new(servers, upstream->server_n);
	free(servers);
	return ketama;
}

/* ---- addresses ------------------------------------------------------------ */

static const struct memcache_address *find_address(const struct memcache_server *s,
						   const struct sockaddr_storage *sa)
{
	for (unsigned i = 0; i < s->address_n; i++)
		if (sock_equal((const struct sockaddr *)&s->addresses[i].sa,
			       (const struct sockaddr *)sa))
			return &s->addresses[i];
	return NULL;
}

static void update_probed_down(struct memcache_server *s)
{
	s->probed_down = true;
	for (unsigned i = 0; i < s->address_n; i++)
		s->probed_down &= s->addresses[i].down;
	s->probed_down |= s->ordered_down;
}

static void set_addresses(struct memcache_server *s, const struct config_address *addresses,
			  unsigned n)
{
	struct memcache_server old = *s;

	s->address_n = n < MEMCACHE_ADDRESSES_MAX ? n : MEMCACHE_ADDRESSES_MAX;
	s->address = 0;
	for (unsigned i = 0; i < s->address_n; i++) {
		const struct memcache_address *was = find_address(&old, &addresses[i].sa);

		s->addresses[i] = (struct memcache_address){ addresses[i].sa, addresses[i].len,
							     was && was->down };
		if (was && was == &old.addresses[old.address])
			s->address = i;
		if (!was)
			s->retry_ms = 0; /* a new address may work */
	}
	update_probed_down(s);
	server_report_status(s);
}

/* Health checks were turned off: no probe would report the server as up. A server without
 * an address stays down. */
static void addresses_set_up(struct memcache_server *s)
{
	for (unsigned i = 0; i < s->address_n; i++)
		s->addresses[i].down = false;
	update_probed_down(s);
	server_report_status(s);
}

static bool link_is_current(const struct memcache_link *l)
{
	return !member_is_leaving(&l->server->member) &&
	       l->tls_identity == l->server->member.tls_identity &&
	       find_address(l->server, &l->sa);
}

/* Retires links of leaving servers, links to addresses that their server no longer has, and
 * those that were opened under other settings of TLS. */
static void retire_links(struct memcache *m)
{
	LIST_EACH(&m->links_all, node)
	{
		struct memcache_link *l = LIST_ITEM(node, struct memcache_link, all);

		if (l->state != LINK_CLOSING && !l->retired && !link_is_current(l))
			link_retire(l);
	}
}

void memcache_resolved(struct memcache *m, unsigned index,
		       const struct config_address *addresses, unsigned n)
{
	ASSERT(n > 0);
	if (m->closing || index >= m->table.n)
		return;
	set_addresses(memcache_server_at(m, index), addresses, n);
	retire_links(m);
}

void memcache_probed(struct memcache *m, unsigned index, const struct config_address *address,
		     bool up)
{
	struct memcache_server *s;
	struct memcache_address *a;

	if (m->closing || index >= m->table.n)
		return;
	s = memcache_server_at(m, index);
	a = (struct memcache_address *)(uintptr_t)find_address(s, &address->sa);
	if (!a)
		return;
	a->down = !up;
	update_probed_down(s);
	if (up)
		s->retry_ms = 0;
	if (up || s->probed_down)
		server_set_state(s, up ? SERVER_UP : SERVER_DOWN);
	server_report_status(s);
	if (!up && s->probed_down)
		server_reject_queue(s);
}

static void server_read_order(struct memcache_server *s)
{
	bool down = registry_order(s->member.registry_entry) != SERVER_ORDER_UP;

	if (down == s->ordered_down)
		return;
	s->ordered_down = down;
	update_probed_down(s);
	if (!down)
		s->retry_ms = 0;
	server_report_status(s);
	if (s->probed_down)
		server_reject_queue(s);
}

void memcache_ordered(struct memcache *m)
{
	for (unsigned i = 0; i < m->table.n && !m->closing; i++)
		server_read_order(memcache_server_at(m, i));
}

/* ---- servers -------------------------------------------------------------- */

static struct list *buckets_new(uint32_t pipeline)
{
	struct list *buckets = calloc(pipeline, sizeof(*buckets));

	for (uint32_t i = 0; buckets && i < pipeline; i++)
		list_init(&buckets[i]);
	return buckets;
}

static struct memcache_server *server_new(struct memcache *m, struct slice name,
					  uint32_t pipeline)
{
	struct memcache_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->memcache = m;
	s->pipeline = pipeline;
	s->buckets = buckets_new(pipeline);
	list_init(&s->queue);
	list_init(&s->scheduled);
	snprintf(s->name, sizeof(s->name), "%.*s", SLICE_ARG(name));
	if (!s->buckets) {
		free(s);
		return NULL;
	}
	member_enter(&m->table, &s->member, slice_of(s->name), s->name, "");
	s->ordered_down = registry_order(s->member.registry_entry) != SERVER_ORDER_UP;
	return s;
}

/* Sets the most calls in flight on a link; *buckets has that length and is taken over. */
static void set_pipeline(struct memcache_server *s, struct list **buckets, uint32_t pipeline)
{
	struct list *old = s->buckets;

	LIST_EACH(&s->memcache->links_all, node)
	{
		struct memcache_link *l = LIST_ITEM(node, struct memcache_link, all);

		if (l->server == s)
			list_remove(&l->rank);
	}
	s->buckets = *buckets;
	s->pipeline = pipeline;
	s->least = 0;
	*buckets = NULL;
	free(old);
	LIST_EACH(&s->memcache->links_all, node)
	{
		struct memcache_link *l = LIST_ITEM(node, struct memcache_link, all);

		if (l->server == s)
			link_rank(l);
	}
}

/* Moves the waiting calls to the new servers of their keys. */
static void queue_move_calls(struct memcache_server *s)
{
	while (s->waiting > 0) {
		struct memcache_call *call = LIST_ITEM(s->queue.next,
						       struct memcache_call, node);

		server_dequeue(s, call);
		call->server = memcache_server_of(s->memcache, call);
		if (server_reject_if_down(call->server, call))
			continue;
		server_enqueue(call->server, call, false);
		server_schedule(call->server);
	}
}

/* ---- leaving -------------------------------------------------------------- */

static void server_left(struct member *member)
{
	struct memcache_server *s = CONTAINER(member, struct memcache_server, member);

	queue_move_calls(s);
	list_remove(&s->scheduled);
	if (member->registry_entry)
		registry_withdraw(member->table->registry, member->registry_entry,
				  member->table->worker, 0, 0);
}

static void server_freed(struct member *member)
{
	struct memcache_server *s = CONTAINER(member, struct memcache_server, member);

	free(s->buckets);
	free(s);
}

bool memcache_servers_init(struct memcache *m)
{
	static const struct server_table_events events = { .left = server_left,
							   .freed = server_freed };

	return server_table_init(&m->table, m->options.tick, m->options.registry,
				 m->options.worker, &events);
}

/* ---- another configuration ------------------------------------------------ */

/* A reconfiguration: all its memory is allocated before anything changes. */
struct memcache_change {
	struct ketama *ketama;
	struct server_change set;
	struct list **buckets; /* of each server, if `pipeline` changes; else NULL */
};

static struct memcache_server *find_server(const struct memcache *m, struct slice name)
{
	struct member *member = server_table_find(&m->table, name);

	return member ? CONTAINER(member, struct memcache_server, member) : NULL;
}

/* Adds the server of that index. False: no memory. */
static bool change_add_server(struct memcache *m, const struct config_upstream *config,
			      struct memcache_change *c)
{
	unsigned at = c->set.n;
	struct slice name = config_server_name(&config->servers[at], CONFIG_MEMCACHED);
	struct memcache_server *s = find_server(m, name);

	if (!s)
		s = server_new(m, name, config->pipeline);
	if (!s)
		return false;
	server_change_add(&c->set, &s->member);
	if (s->pipeline == config->pipeline)
		return true;
	c->buckets[at] = buckets_new(config->pipeline);
	return c->buckets[at];
}

static bool change_prepare(struct memcache *m, const struct config_upstream *config,
			   struct memcache_change *c)
{
	c->ketama = ketama_build(config);
	c->buckets = calloc(config->server_n, sizeof(c->buckets[0]));
	if (!c->ketama || !c->buckets || !server_tls_prepare(&m->table.tls, config) ||
	    !server_table_prepare(&c->set, config->server_n))
		return false;
	while (c->set.n < config->server_n)
		if (!change_add_server(m, config, c))
			return false;
	return true;
}

static void change_drop(struct memcache_change *c)
{
	for (unsigned i = 0; c->buckets && i < c->set.n; i++)
		free(c->buckets[i]);
	free(c->buckets);
	server_table_drop(&c->set);
	ketama_free(c->ketama);
}

/* Gives each server of the new set what the configuration says. */
static void change_configure(struct memcache *m, struct memcache_change *c,
			     const struct config_upstream *config)
{
	for (unsigned i = 0; i < c->set.n; i++) {
		struct member *member = c->set.members[i];
		struct memcache_server *s = CONTAINER(member, struct memcache_server,
						      member);
		const struct config_server *named = &config->servers[i];

		member->index = i;
		stat_set(&member->record->weight, named->weight);
		if (!named->unresolved || s->address_n == 0)
			set_addresses(s, named->addresses, named->address_n);
		if (!config->health.on)
			addresses_set_up(s); /* no probe would do so */
		if (c->buckets[i])
			set_pipeline(s, &c->buckets[i], config->pipeline);
	}
	free(c->buckets);
	server_table_configure(&m->table, config);
}

static void change_commit(struct memcache *m, const struct config_upstream *config,
			  struct memcache_change *c)
{
	change_configure(m, c, config);
	ketama_free(m->ketama);
	m->ketama = c->ketama;
	/* The calls of servers that leave are mapped to the new servers. */
	server_table_commit(&m->table, &c->set);
	LIST_EACH(&m->unplaced, node) {
		struct memcache_call *call = LIST_ITEM(node, struct memcache_call,
						       event_node);

		call->server = memcache_server_of(m, call);
	}
	retire_links(m);
	memcache_schedule_queues(m);
}

bool memcache_reconfigure(struct memcache *m, const struct config_upstream *config)
{
	struct memcache_change c = { 0 };

	if (m->closing)
		return true;
	if (!change_prepare(m, config, &c)) {
		change_drop(&c);
		return false;
	}
	change_commit(m, config, &c);
	return true;
}

void memcache_servers_done(struct memcache *m)
{
	server_table_clear(&m->table);
	server_table_done(&m->table);
	ketama_free(m->ketama);
}
