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

	return m->servers[ketama_server(m->ketama, key)];
}

/* The name by which keys are mapped. "host:11211" loses the port, as in lists of servers
 * that other clients of the same memcached have. */
static struct slice ketama_name(const struct config_server *server)
{
	static const struct slice usual = SLICE(":11211");
	struct slice name = slice_of(server->name);

	if (server->name != server->address || name.len <= usual.len)
		return name;
	if (slice_equal(slice_after(name, name.len - usual.len), usual))
		name.len -= usual.len;
	return name;
}

static struct ketama *ketama_build(const struct config_upstream *upstream)
{
	struct ketama_server *servers = calloc(upstream->server_n, sizeof(servers[0]));
	struct ketama *ketama;

	ASSERT(upstream->server_n > 0 && upstream->server_n <= CONFIG_SERVERS_MAX);
	if (!servers)
		return NULL;
	for (unsigned i = 0; i < upstream->server_n; i++) {
		servers[i].name = ketama_name(&upstream->servers[i]);
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

/* Retires links of leaving servers, and links to addresses that their server no longer
 * has. */
static void retire_links(struct memcache *m)
{
	LIST_EACH(&m->links_all, node)
	{
		struct memcache_link *l = LIST_ITEM(node, struct memcache_link, all);

		if (l->state != LINK_CLOSING && !l->retired &&
		    (l->server->leaving || !find_address(l->server, &l->sa)))
			link_retire(l);
	}
}

void memcache_resolved(struct memcache *m, unsigned index,
		       const struct config_address *addresses, unsigned n)
{
	ASSERT(n > 0);
	if (m->closing || index >= m->servers_n)
		return;
	set_addresses(m->servers[index], addresses, n);
	retire_links(m);
}

void memcache_probed(struct memcache *m, unsigned index, const struct config_address *address,
		     bool up)
{
	struct memcache_server *s;
	struct memcache_address *a;

	if (m->closing || index >= m->servers_n)
		return;
	s = m->servers[index];
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

/* ---- servers -------------------------------------------------------------- */

static void server_free(struct memcache_server *s)
{
	if (!s)
		return;
	if (s->registry_entry)
		registry_leave(s->registry_entry);
	free(s->buckets);
	free(s);
}

void server_link_gone(struct memcache_server *s)
{
	s->link_n--;
	if (s->leaving && s->link_n == 0)
		server_free(s);
}

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
	list_init(&s->leaving_node);
	snprintf(s->name, sizeof(s->name), "%.*s", SLICE_ARG(name));
	s->record = registry_dummy_record(m->options.worker);
	if (s->buckets)
		return s;
	server_free(s);
	return NULL;
}

static void server_register(struct memcache_server *s)
{
	const struct memcache_options *o = &s->memcache->options;

	s->registry_entry = registry_enter(o->registry, o->worker, s->name, "");
	if (s->registry_entry)
		s->record = registry_record(o->registry, s->registry_entry, o->worker);
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

/* ---- another configuration ------------------------------------------------ */

struct change_slot {
	bool is_new;
	struct list *buckets; /* if `pipeline` changes */
};

/* A reconfiguration: all its memory is allocated before anything changes. */
struct server_change {
	struct ketama *ketama;
	unsigned n;
	struct memcache_server **servers;
	struct change_slot *slots; /* of the servers */
};

static struct memcache_server *find_server(const struct memcache *m, struct slice name)
{
	const struct names_entry *e = names_find(&m->by_name, name);

	return e ? CONTAINER(e, struct memcache_server, entry) : NULL;
}

static bool change_prepare(struct memcache *m, const struct config_upstream *config,
			   struct server_change *c)
{
	c->ketama = ketama_build(config);
	c->servers = calloc(config->server_n, sizeof(c->servers[0]));
	c->slots = calloc(config->server_n, sizeof(c->slots[0]));
	if (!c->ketama || !c->servers || !c->slots)
		return false;
	for (; c->n < config->server_n; c->n++) {
		struct slice name = ketama_name(&config->servers[c->n]);
		struct memcache_server *s = find_server(m, name);

		c->slots[c->n].is_new = !s;
		if (!s)
			s = server_new(m, name, config->pipeline);
		if (!s)
			return false;
		c->servers[c->n] = s;
		if (s->pipeline == config->pipeline)
			continue;
		c->slots[c->n].buckets = buckets_new(config->pipeline);
		if (!c->slots[c->n].buckets) {
			c->n++;
			return false;
		}
	}
	return true;
}

static void change_drop(struct server_change *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (c->slots[i].is_new)
			server_free(c->servers[i]);
		free(c->slots[i].buckets);
	}
	free(c->slots);
	free(c->servers);
	ketama_free(c->ketama);
}

/* Makes the new set the current one; servers that leave are put on the list. */
static void change_swap_servers(struct memcache *m, struct server_change *c,
				struct list *leaving)
{
	for (unsigned i = 0; i < c->n; i++) {
		struct memcache_server *s = c->servers[i];

		s->stays = true;
		if (c->slots[i].is_new)
			names_put(&m->by_name, &s->entry, slice_of(s->name));
	}
	for (unsigned i = 0; i < m->servers_n; i++) {
		struct memcache_server *s = m->servers[i];

		if (s->stays)
			continue;
		s->leaving = true;
		names_remove(&m->by_name, &s->entry);
		list_append(leaving, &s->leaving_node);
	}
	free(m->servers);
	m->servers = c->servers;
	m->servers_n = c->n;
	for (unsigned i = 0; i < c->n; i++)
		c->servers[i]->stays = false;
}

static void server_leave(struct memcache_server *s)
{
	queue_move_calls(s);
	list_remove(&s->scheduled);
	if (s->registry_entry)
		registry_withdraw(s->memcache->options.registry, s->registry_entry,
				  s->memcache->options.worker, 0, 0);
	if (s->link_n == 0)
		server_free(s);
}

static void change_commit(struct memcache *m, const struct config_upstream *config,
			  struct server_change *c)
{
	struct list leaving, *left;

	list_init(&leaving);
	change_swap_servers(m, c, &leaving);
	ketama_free(m->ketama);
	m->ketama = c->ketama;
	m->config = *config;
	m->config.servers = NULL;
	snprintf(m->name, sizeof(m->name), "%s", config->name);
	m->config.name = m->name;
	for (unsigned i = 0; i < c->n; i++) {
		const struct config_server *s = &config->servers[i];

		if (c->slots[i].is_new)
			server_register(c->servers[i]);
		if (!s->unresolved || c->servers[i]->address_n == 0)
			set_addresses(c->servers[i], s->addresses, s->address_n);
		if (!config->health.on)
			addresses_set_up(c->servers[i]); /* no probe would do so */
		if (c->slots[i].buckets)
			set_pipeline(c->servers[i], &c->slots[i].buckets,
				     config->pipeline);
	}
	LIST_EACH(&m->unplaced, node) {
		struct memcache_call *call = LIST_ITEM(node, struct memcache_call,
						       event_node);

		call->server = memcache_server_of(m, call);
	}
	retire_links(m);
	while ((left = list_pop(&leaving)))
		server_leave(LIST_ITEM(left, struct memcache_server, leaving_node));
	free(c->slots);
	memcache_schedule_queues(m);
}

bool memcache_reconfigure(struct memcache *m, const struct config_upstream *config)
{
	struct server_change c = { 0 };

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
	for (unsigned i = 0; i < m->servers_n; i++)
		server_free(m->servers[i]);
	names_done(&m->by_name);
	free(m->servers);
	ketama_free(m->ketama);
}
