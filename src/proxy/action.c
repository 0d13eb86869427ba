#include "proxy/action.h"

#include <string.h>

#include "base/hash.h"
#include "http/kepthead.h"
#include "proxy/identity.h"
#include "proxy/rule.h"
#include "proxy/value.h"
#include "route/variable.h"
#include "split.h"

/* Most bytes of one decoded value in a hash, such as a query parameter. */
#define HASH_SCRATCH_BYTES 1024

/* Of the number by which a cookie of `sticky` names a server. */
#define STICKY_DIGITS 16

/* ---- proxy ---------------------------------------------------------------- */

/* The Host field for the server: that of the configuration, else that of the request. An
 * HTTP/1.0 request need not have one, but many servers refuse a request without it: Host is
 * then the first configured server of the upstream. */
static struct slice host_for(const struct generation *g, const struct config_proxy *proxy,
			     const struct head *h)
{
	const char *address = g->config->upstreams[proxy->upstream].servers[0].address;

	if (proxy->host.len > 0 || h->authority.len > 0)
		return proxy->host;
	return strncmp(address, "unix:", 5) == 0 ? SLICE("localhost") : slice_of(address);
}

struct buf *action_emit_request(struct exchange *x, const struct request_view *view,
				const struct config_proxy *proxy, const struct head *h,
				const struct request_changes *changes)
{
	const struct config_upstream *u = &x->generation->config->upstreams[proxy->upstream];
	struct forward_request r = {
		.path = changes && changes->path.len > 0 ? changes->path : proxy->path,
		.host = host_for(x->generation, proxy, h),
		.framing = h->framing,
		.length = h->length,
		.upgrade = h->upgrade,
		.forwarding = view->forwarding,
		.forwarded = u->forwarded,
		.via = u->via,
		.changes = changes ? changes->fields : NULL,
	};
	struct log_record_fields own;
	struct field_block b;

	log_record_next_try(x->relay.record, &x->proxy->random);
	log_record_request_fields(&own, x->relay.record);
	r.own = own.fields;
	r.own_n = own.n;
	upstream_begin_block(generation_upstream(x->generation, proxy->upstream), &b,
			     forward_request_max(h, &r));
	forward_request(&b.sink, h, &r);
	return field_block_end(&b);
}

uint64_t action_hash_of(const struct template *t, const struct request_view *view)
{
	uint64_t hash = HASH_BEGIN;
	char scratch[HASH_SCRATCH_BYTES];

	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *part = &t->parts[i];
		struct slice value;

		if (!variable_value(part->variable, part->text, view, scratch,
				    sizeof(scratch), &value))
			return 0;
		hash = hash_bytes(hash, value);
	}
	return hash > 0 ? hash : 1;
}

uint64_t action_hash(const struct generation *g, const struct request_view *view,
		     unsigned upstream)
{
	const struct config_upstream *u = &g->config->upstreams[upstream];
	uint64_t server;

	if (u->balance == CONFIG_HASH)
		return action_hash_of(&u->hash, view);
	if (u->sticky.on && cookie_number(view, u->sticky.cookie, STICKY_DIGITS, &server))
		return server;
	return 0;
}

static bool is_https(const struct request_view *view)
{
	struct slice proto = view->forwarding->proto;

	return slice_equal_nocase(proto, SLICE("https")) ||
	       slice_equal_nocase(proto, SLICE("wss"));
}

static void proxy_start(struct exchange *x, const struct request_view *view)
{
	struct generation *g = x->generation;
	const struct config_proxy *proxy = view->route->proxy;
	const struct head *h = view->head;
	struct place_cookie place = { .name = NULL };
	struct config_proxy part;
	struct fetch *f;
	struct request_changes changes = { .fields = NULL };
	struct buf *head, *preamble;

	if (h->framing == FRAMING_LENGTH && relay_refuses_body(&x->relay, h->length)) {
		exchange_fail(x, ENDING_BODY_TOO_LARGE);
		return;
	}
	if (view->route->rules && !rules_change_request(x, view, &changes))
		return;
	if (proxy->split) {
		part = *proxy;
		part.upstream = split_choose(proxy, view, &x->proxy->random, &place);
		proxy = &part;
	}
	head = action_emit_request(x, view, proxy, h,
				   view->route->rules ? &changes : NULL);
	if (!head || !action_preamble(x, proxy->upstream, &preamble)) {
		buf_put(head);
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	f = fetch_new(&(struct fetch_options){
		.generation = g,
		.waiter = &x->task,
		.route = view->route,
		.upstream = proxy->upstream,
		.head = head,
		.preamble = preamble,
		.method = h->method,
		.framing = h->framing,
		.length = h->length,
		.hash = action_hash(g, view, proxy->upstream),
		.held_list = &x->client->held,
		.times = &x->relay.times.lease,
		.record = x->relay.record,
		.first = x->down->uses == 1,
		.hold_on_return = identity_presented(h),
		.upgrade = h->upgrade,
		.secure = is_https(view),
		.place = place,
	});
	exchange_relay(x, f ? &f->source : NULL, f);
}

static uint32_t proxy_queue_timeout_ms(const struct config *config,
				       const struct config_route *route)
{
	return config->upstreams[route->proxy->upstream].queue_timeout_ms;
}

const struct action action_proxy = {
	.config = {
		.key = NODE_ROW(proxy, "{ upstream: NAME, … }", "one action",
				"action: forwards the request to an HTTP upstream"),
		.has_policy = true,
		.read = proxy_action_read,
		.print = proxy_action_print,
	},
	.start = proxy_start,
	.queue_timeout_ms = proxy_queue_timeout_ms,
};

/* ---- memcached ------------------------------------------------------------ */

bool action_key(const struct request_view *view, const struct config_memcached *m, char *key,
		struct slice *result)
{
	long n = variable_expand(&m->key, view, key, MEMCACHE_KEY_MAX);

	if (n < 0)
		return false;
	*result = (struct slice){ key, (size_t)n };
	return memcache_key_valid(*result);
}

static void memcached_start(struct exchange *x, const struct request_view *view)
{
	const struct config_memcached *m = view->route->memcached;
	char scratch[MEMCACHE_KEY_MAX];
	struct slice key;

	if (!action_key(view, m, scratch, &key)) {
		exchange_fail(x, ENDING_KEY_INVALID);
		return;
	}
	if (m->miss_next && !exchange_keep_head(x, view->head, KEPT_ALL)) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	exchange_relay(x, value_get(x->generation, m, key, &x->task), NULL);
}

static uint32_t memcached_queue_timeout_ms(const struct config *config,
					   const struct config_route *route)
{
	return config->upstreams[route->memcached->upstream].queue_timeout_ms;
}

const struct action action_memcached = {
	.config = {
		.key = NODE_ROW(memcached, "{ upstream: NAME, key: TEXT, … }", "one action",
				"action: responds to GET and HEAD with the value of a memcached "
				"key; 404 if there is none, 405 for other methods"),
		.read = memcached_action_read,
		.print = memcached_action_print,
	},
	.reads_only = true,
	.start = memcached_start,
	.queue_timeout_ms = memcached_queue_timeout_ms,
};

/* ---- work of an action ----------------------------------------------------- */

static const struct action *action_at(unsigned i)
{
	return CONTAINER(config_actions[i], const struct action, config);
}

static bool has_work(unsigned i)
{
	return action_at(i)->work_bytes > 0;
}

struct slab *action_works(struct proxy *p, const struct action *a)
{
	unsigned i = 0;

	while (config_actions[i] != &a->config)
		i++;
	ASSERT(has_work(i));
	return &p->works[i];
}

void *action_begin_work(struct exchange *x)
{
	x->work = slab_take(action_works(x->proxy, action_of(x->route)));
	if (x->work)
		exchange_set_state(x, EXCHANGE_WORKING);
	else
		exchange_fail(x, ENDING_NO_MEMORY);
	return x->work;
}

void action_works_init(struct proxy *p)
{
	for (unsigned i = 0; config_actions[i]; i++) {
		ASSERT(i < ACTIONS_MAX);
		if (has_work(i))
			slab_init(&p->works[i], config_actions[i]->key.name.ptr,
				  action_at(i)->work_bytes, 0);
	}
}

void action_works_done(struct proxy *p)
{
	for (unsigned i = 0; config_actions[i]; i++)
		if (has_work(i))
			slab_done(&p->works[i]);
}

void action_works_trim(struct proxy *p)
{
	for (unsigned i = 0; config_actions[i]; i++)
		if (has_work(i))
			slab_trim(&p->works[i]);
}

bool action_works_idle(const struct proxy *p)
{
	for (unsigned i = 0; config_actions[i]; i++)
		if (p->works[i].taken > 0)
			return false;
	return true;
}

static void close_first(unsigned n)
{
	while (n-- > 0)
		if (action_at(n)->close)
			action_at(n)->close();
}

bool actions_open(void)
{
	for (unsigned i = 0; config_actions[i]; i++) {
		if (!action_at(i)->open || action_at(i)->open())
			continue;
		close_first(i);
		return false;
	}
	return true;
}

void actions_close(void)
{
	unsigned n = 0;

	while (config_actions[n])
		n++;
	close_first(n);
}

/* --------------------------------------------------------------------------- */

void action_start(struct exchange *x, const struct request_view *view)
{
	const struct action *a;

	ASSERT(x->state == EXCHANGE_ROUTING && !x->relay.source && !x->work);
	if (!view->route) {
		exchange_fail(x, ENDING_NO_ROUTE);
		return;
	}
	if (exchange_unwanted(x)) {
		exchange_abandon(x);
		return;
	}
	if (view->head->forwards_limited && view->head->max_forwards == 0) {
		exchange_max_forwards_reached(x);
		return;
	}
	a = action_of(view->route);
	if (a->reads_only && x->relay.method != METHOD_GET && x->relay.method != METHOD_HEAD)
		exchange_fail(x, ENDING_METHOD_NOT_ALLOWED);
	else
		a->start(x, view);
}
