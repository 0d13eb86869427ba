/* The servers of upstreams in the admin API: GET lists them, PUT gives orders about one. */
#include <stdlib.h>

#include "adminapi.h"
#include "base/errorlog.h"
#include "json.h"
#include "orders.h"

/* Most bytes of one server: three names, the rest of the object, the end of the list. */
#define SERVER_BYTES (JSON_STRING_MAX(64 + REGISTRY_NAME_MAX + SOCK_TEXT_MAX) + 512)

/* UPSTREAM[/servers/SERVER]; *server is empty without that. */
static bool target_split(struct slice rest, char upstream[API_NAME_BYTES],
			 char server[API_NAME_BYTES])
{
	static const struct slice between = SLICE("/servers/");
	const char *at = memmem(rest.ptr, rest.len, between.ptr, between.len);
	size_t n = at ? (size_t)(at - rest.ptr) : rest.len;

	server[0] = '\0';
	return api_name((struct slice){ rest.ptr, n }, upstream) &&
	       !memchr(rest.ptr, '/', n) &&
	       (!at || api_name(slice_after(rest, n + between.len), server));
}

/* ---- GET ----------------------------------------------------------------------- */

struct server_list {
	struct chunks chunks;
	struct config_version *version; /* is kept */
	char upstream_name[API_NAME_BYTES], server_name[API_NAME_BYTES]; /* empty: all */
	bool begun, first_written;
	unsigned upstream;                  /* index */
	const struct registry_entry *entry; /* the next; NULL: the first of the upstream */
};

static struct server_list *server_list_of(struct chunks *c)
{
	return CONTAINER(c, struct server_list, chunks);
}

static bool name_fits(const char *wanted, const char *name)
{
	return wanted[0] == '\0' || strcmp(wanted, name) == 0;
}

/* The sums over the workers that use the server. */
struct server_sums {
	uint64_t in_flight, requests, failures, weight;
	unsigned status[SERVER_STATUS_DOWN + 1];
};

static void sums_read(struct server_sums *s, const struct registry *r,
		      const struct registry_entry *entry)
{
	*s = (struct server_sums){ 0 };
	for (unsigned w = 0; w < r->worker_n; w++) {
		const struct registry_record *record = registry_record(r, entry, w);
		uint64_t status = stat_read(&record->status);

		if (!atomic_load(&record->entered) || status > SERVER_STATUS_DOWN)
			continue;
		s->status[status]++;
		s->in_flight += stat_read(&record->in_flight);
		s->requests += stat_read(&record->requests);
		s->failures += stat_read(&record->failures);
		s->weight = stat_read(&record->weight);
	}
}

static void put_server(struct emit *e, const struct config_upstream *u,
		       const struct registry *r, const struct registry_entry *entry)
{
	struct server_sums s;

	sums_read(&s, r, entry);
	json_member(e, "{\"upstream\":", slice_of(u->name));
	json_member(e, ",\"protocol\":",
		    u->protocol == CONFIG_HTTP ? SLICE("http") : SLICE("memcached"));
	json_member(e, ",\"server\":", slice_of(entry->name));
	json_member(e, ",\"address\":", slice_of(entry->address));
	json_member(e, ",\"state\":", slice_of(server_order_text(registry_order(entry))));
	json_number(e, ",\"weight\":", s.weight);
	json_flag(e, ",\"weight_is_set\":", atomic_load(&entry->weight_order) > 0);
	json_number(e, ",\"workers\":{\"up\":", s.status[SERVER_STATUS_UP]);
	json_number(e, ",\"ejected\":", s.status[SERVER_STATUS_EJECTED]);
	json_number(e, ",\"down\":", s.status[SERVER_STATUS_DOWN]);
	json_number(e, "},\"in_flight\":", s.in_flight);
	json_number(e, ",\"requests\":", s.requests);
	json_number(e, ",\"failures\":", s.failures);
	emit_slice(e, SLICE("}"));
}

static bool is_listed(const struct server_list *l, const struct config_upstream *u,
		      const struct registry_entry *entry)
{
	return orders_in_use(entry) && name_fits(l->upstream_name, u->name) &&
	       (name_fits(l->server_name, entry->name) ||
		name_fits(l->server_name, entry->address));
}

/* Goes on to the next server. False: there is none. */
static bool servers_step(struct server_list *l, struct emit *e)
{
	const struct config *c = l->version->config;
	const struct registry *r;

	if (l->upstream == c->upstream_n)
		return false;
	r = l->version->upstreams_shared[l->upstream]->registry;
	if (!l->begun)
		l->entry = atomic_load(&r->first);
	l->begun = l->entry != NULL;
	if (!l->begun) {
		l->upstream++;
		return true;
	}
	if (is_listed(l, &c->upstreams[l->upstream], l->entry)) {
		emit_slice(e, l->first_written ? SLICE(",\n") : SLICE("{\"servers\":[\n"));
		put_server(e, &c->upstreams[l->upstream], r, l->entry);
		l->first_written = true;
	}
	l->entry = atomic_load(&l->entry->next);
	if (l->entry)
		return true;
	l->upstream++;
	l->begun = false;
	return true;
}

static enum chunks_next servers_read(struct chunks *c, char *room, size_t size, size_t *n)
{
	struct server_list *l = server_list_of(c);
	struct emit e = { room, room + size, false };
	bool more = true;

	for (unsigned i = 0; i < 256 && more && e.end - e.at >= SERVER_BYTES; i++)
		more = servers_step(l, &e);
	if (!more)
		emit_slice(&e, l->first_written ? SLICE("\n]}\n") : SLICE("{\"servers\":[]}\n"));
	ASSERT(!e.overflow);
	*n = (size_t)(e.at - room);
	return more ? CHUNK_MORE : CHUNK_END;
}

static void servers_free(struct chunks *c)
{
	struct server_list *l = server_list_of(c);

	l->version->readers_n--;
	free(l);
}

/* Whether the list is empty because of its names. */
static bool has_any(const struct server_list *l)
{
	for (unsigned i = 0; i < l->version->config->upstream_n; i++)
		REGISTRY_EACH(l->version->upstreams_shared[i]->registry, entry)
			if (is_listed(l, &l->version->config->upstreams[i], entry))
				return true;
	return false;
}

void api_upstreams_get(const struct api_request *q, struct admin_api_response *r)
{
	static const struct chunks_source source = { servers_read, servers_free };
	struct server_list *l = calloc(1, sizeof(*l));

	if (!l) {
		api_fail(r, 503, "out of memory");
		return;
	}
	l->version = q->admin->shared->config_versions->current;
	if (q->rest.len > 0 &&
	    (!target_split(q->rest, l->upstream_name, l->server_name) || !has_any(l))) {
		api_fail(r, 404, "no upstream of this name has such a server");
		free(l);
		return;
	}
	l->version->readers_n++;
	l->chunks = (struct chunks){ .source = &source,
				     .type = SLICE("application/json"),
				     .status = 200 };
	r->chunks = &l->chunks;
}

/* ---- PUT ----------------------------------------------------------------------- */

static bool state_read(const char *text, struct order *order)
{
	for (int i = SERVER_ORDER_UP; i <= SERVER_ORDER_DOWN; i++) {
		if (strcmp(text, server_order_text((enum server_order)i)) != 0)
			continue;
		order->has_state = true;
		order->state = (enum server_order)i;
		return true;
	}
	return false;
}

static bool weight_read(const char *text, struct order *order)
{
	uint64_t n = 0;

	order->has_weight = true;
	if (strcmp(text, "configured") == 0)
		return true;
	if (!api_number(text, ORDER_WEIGHT_MAX, &n) || n == 0)
		return false;
	order->weight = (uint32_t)n;
	return true;
}

static bool order_read(struct slice query, struct order *order)
{
	char value[API_NAME_BYTES];
	struct slice name;

	*order = (struct order){ 0 };
	while (api_query_next(&query, &name, value)) {
		bool good = slice_equal(name, SLICE("state"))	 ? state_read(value, order)
			    : slice_equal(name, SLICE("weight")) ? weight_read(value, order)
								 : false;

		if (!good)
			return false;
	}
	return order->has_state || order->has_weight;
}

static void order_log(const struct api_request *q, const char *upstream, const char *server,
		      const struct order *order)
{
	static const char *const states[] = {
		[SERVER_ORDER_UP] = "is used again",
		[SERVER_ORDER_DRAIN] = "is drained",
		[SERVER_ORDER_DOWN] = "is taken down",
	};
	char peer[SOCK_TEXT_MAX];

	peer_text(&q->client->peer, peer, sizeof(peer));
	if (order->has_state)
		errorlog_put(EVENT_ADMIN_CHANGE,
			     "upstream %s: server %s %s, by the admin API from %s", upstream,
			     server, states[order->state], peer);
	if (order->has_weight && order->weight > 0)
		errorlog_put(EVENT_ADMIN_CHANGE,
			     "upstream %s: server %s has the weight %u, by the admin API from %s",
			     upstream, server, order->weight, peer);
	else if (order->has_weight)
		errorlog_put(EVENT_ADMIN_CHANGE,
			     "upstream %s: server %s has its configured weight, by the admin API "
			     "from %s",
			     upstream, server, peer);
}

static void order_respond(const struct order *order, unsigned n, struct admin_api_response *r)
{
	struct emit e = { r->json, r->json + ADMIN_API_BYTES - 1, false };

	json_number(&e, "{\"servers\":", n);
	if (order->has_state)
		json_member(&e, ",\"state\":", slice_of(server_order_text(order->state)));
	if (order->has_weight && order->weight > 0)
		json_number(&e, ",\"weight\":", order->weight);
	else if (order->has_weight)
		emit_slice(&e, SLICE(",\"weight\":\"configured\""));
	emit_slice(&e, SLICE("}\n"));
	*e.at = '\0';
	r->status = 200;
}

void api_server_put(const struct api_request *q, struct admin_api_response *r)
{
	char upstream[API_NAME_BYTES], server[API_NAME_BYTES];
	struct order order;
	unsigned n;

	if (!order_read(q->head->query, &order)) {
		api_fail(r, 400,
			 "write ?state=up, drain or down, or ?weight=1 to 1000 or configured");
	} else if (!api_may_change(q, r)) {
		return;
	} else if (!target_split(q->rest, upstream, server) || server[0] == '\0') {
		api_fail(r, 404, "write /api/upstreams/NAME/servers/SERVER");
	} else {
		switch (orders_give(q->admin, upstream, server, &order, &n)) {
		case ORDERS_DONE:
			order_log(q, upstream, server, &order);
			order_respond(&order, n, r);
			break;
		case ORDERS_NO_SERVER:
			api_fail(r, 404, "no upstream of this name has such a server");
			break;
		case ORDERS_BY_WEIGHT:
			api_fail(r, 409,
				 "the weight of a memcached server decides which keys it has; "
				 "change it in the file of every client");
			break;
		}
	}
}
