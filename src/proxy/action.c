#include "proxy/action.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "join.h"
#include "proxy/identity.h"
#include "retry.h"
#include "route/variable.h"

/* Most bytes of one decoded value in a hash, such as a query parameter. */
#define HASH_SCRATCH_BYTES 1024

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
				const struct config_proxy *proxy, const struct head *h)
{
	const struct config_upstream *u = &x->generation->config->upstreams[proxy->upstream];
	struct emit_request r = {
		.path = proxy->path,
		.host = host_for(x->generation, proxy, h),
		.framing = h->framing,
		.length = h->length,
		.upgrade = h->upgrade,
		.forwarding = view->forwarding,
		.forwarded = u->forwarded,
		.via = u->via,
	};
	struct buf *b = buf_new(io_bufs(x->proxy->tick->loop), emit_request_max(h, &r));
	struct emit e;

	if (!b)
		return NULL;
	e = (struct emit){ b->data, b->data + b->size, false };
	emit_request(&e, h, &r);
	ASSERT(!e.overflow);
	b->end = (uint32_t)(e.at - b->data);
	return b;
}

static uint64_t request_hash(const struct template *t, const struct request_view *view)
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

	return u->balance == CONFIG_HASH ? request_hash(&u->hash, view) : 0;
}

static void start_proxy(struct exchange *x, const struct request_view *view)
{
	struct generation *g = x->generation;
	const struct config_proxy *proxy = &view->route->proxy;
	const struct head *h = view->head;
	struct buf *request;
	uint64_t hash;

	if (h->framing == FRAMING_LENGTH && generation_refuses_body(g, h->length)) {
		exchange_fail(x, ENDING_BODY_TOO_LARGE);
		return;
	}
	exchange_set_state(x, EXCHANGE_REQUESTING);
	request = action_emit_request(x, view, proxy, h);
	if (!request) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	hash = action_hash(g, view, proxy->upstream);
	if (retry_wanted(view->route))
		retry_begin(x, request, hash, h);
	else
		x->fetch = attempt_origin(g,
					&(struct attempt_request){
						.upstream = proxy->upstream,
						.request = request,
						.method = h->method,
						.framing = h->framing,
						.length = h->length,
						.hash = hash,
						.first = x->client->requests == 1,
						.held_list = &x->client->held,
						.hold_on_return = identity_presented(h),
					},
					&x->client->task);
	if (!x->fetch)
		exchange_fail(x, ENDING_NO_MEMORY);
}

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

static void start_memcached(struct exchange *x, const struct request_view *view)
{
	struct generation *g = x->generation;
	const struct config_memcached *m = &view->route->memcached;
	char scratch[MEMCACHE_KEY_MAX];
	struct slice key;

	if (x->method != METHOD_GET && x->method != METHOD_HEAD) {
		exchange_fail(x, ENDING_METHOD_NOT_ALLOWED);
		return;
	}
	if (!action_key(view, m, scratch, &key)) {
		exchange_fail(x, ENDING_KEY_INVALID);
		return;
	}
	x->fetch = attempt_memcached(g, m->upstream, m->meta ? MEMCACHE_MG : MEMCACHE_GET, key,
				   &x->client->task);
	exchange_set_state(x, EXCHANGE_REQUESTING);
	if (!x->fetch)
		exchange_fail(x, ENDING_NO_MEMORY);
}

/* ---- block ----------------------------------------------------------------
 * Requires `study: true`. Shows what a blocking call does to an event loop. */

#define BLOCK_RESPONSE_MAX 65536
#define BLOCK_TIMEOUT_MS 60000

/* Finds the body of a response that ended with its connection. False: it is malformed, or
 * chunked. */
static bool response_body(struct exchange *x, const char *bytes, size_t n,
			  struct slice *body)
{
	struct head *h = &x->proxy->response;
	uint32_t scanned = 0;

	if (head_parse_response(h, bytes, n, &x->generation->head_limits, &scanned) != VERDICT_OK)
		return false;
	*body = (struct slice){ bytes + h->bytes, n - h->bytes };
	if (h->framing == FRAMING_LENGTH && h->length < body->len)
		body->len = h->length;
	return h->framing != FRAMING_CHUNKED;
}

static void start_block(struct exchange *x, const struct request_view *view)
{
	const struct config_block *b = &view->route->block;
	char request[1024];
	char *response = malloc(BLOCK_RESPONSE_MAX);
	struct slice body = { NULL, 0 };
	int n = snprintf(request, sizeof(request),
			 "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n\r\n",
			 SLICE_ARG(b->path), SLICE_ARG(b->host));
	long got = -1;

	/* The whole worker blocks here: it serves no other client until the server has
	 * responded. */
	if (response && n < (int)sizeof(request))
		got = sock_query((const struct sockaddr *)&b->address->sa,
				 b->address->len, (struct slice){ request, (size_t)n },
				 response, BLOCK_RESPONSE_MAX, BLOCK_TIMEOUT_MS);
	if (got > 0 && response_body(x, response, (size_t)got, &body))
		exchange_reply(x, 200, ENDING_COMPLETE, SLICE("text/plain"), body);
	else
		exchange_fail(x, ENDING_ORIGIN_REFUSED);
	free(response);
}

/* ---- cpu ------------------------------------------------------------------ */

static void reply_cpu(struct exchange *x, const char *where, uint32_t ms, uint64_t rounds)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "%u ms of CPU on the %s: %llu rounds\n", ms, where,
			 (unsigned long long)rounds);

	exchange_reply(x, 200, ENDING_COMPLETE, SLICE("text/plain"),
		       (struct slice){ text, (size_t)n });
}

static void job_finished(struct job *j)
{
	struct exchange *x = j->owner;

	if (!x) {
		slab_put(j->slab, j);
		return;
	}
	j->returned = true;
	tick_run(x->proxy->tick, &x->client->task);
}

void action_abandon_job(struct job **slot)
{
	struct job *j = *slot;

	*slot = NULL;
	if (!j)
		return;
	j->owner = NULL;
	if (j->returned)
		slab_put(j->slab, j);
}

void action_cpu_step(struct exchange *x)
{
	ASSERT(x->state == EXCHANGE_BURNING && x->job->owner == x);
	if (x->job->returned)
		reply_cpu(x, "pool", x->job->ms, x->job->rounds);
}

/* The value of "?ms=" if it is a number, at most ms_max; else the configured time. */
static uint32_t wanted_ms(const struct config_cpu *cpu, const struct request_view *view)
{
	char scratch[16];
	struct slice value;
	uint32_t ms = 0;

	if (!variable_value(VARIABLE_QUERY, SLICE("ms"), view, scratch, sizeof(scratch),
			    &value) ||
	    value.len == 0 || value.len > 6)
		return cpu->ms;
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return cpu->ms;
		ms = ms * 10 + (uint32_t)(value.ptr[i] - '0');
	}
	return ms < cpu->ms_max ? ms : cpu->ms_max;
}

static void start_cpu(struct exchange *x, const struct request_view *view)
{
	struct proxy *p = x->proxy;
	const struct config_cpu *cpu = &view->route->cpu;
	uint32_t ms = wanted_ms(cpu, view);

	if (!cpu->on_pool) {
		reply_cpu(x, "worker", ms, pool_burn(ms));
		return;
	}
	x->job = slab_take(&p->jobs);
	if (!x->job) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	exchange_set_state(x, EXCHANGE_BURNING);
	x->job->slab = &p->jobs;
	x->job->owner = x;
	x->job->ms = ms;
	x->job->reply_to = &p->tick->mailbox;
	x->job->done = job_finished;
	pool_submit(p->pool, x->job);
}

/* --------------------------------------------------------------------------- */

void action_start(struct exchange *x, const struct request_view *view)
{
	ASSERT(x->state == EXCHANGE_ROUTING && !x->fetch && !x->retry && !x->job && !x->join);
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
	switch (view->route->action) {
	case CONFIG_PROXY:
		start_proxy(x, view);
		break;
	case CONFIG_MEMCACHED_GET:
		start_memcached(x, view);
		break;
	case CONFIG_BLOCK:
		start_block(x, view);
		break;
	case CONFIG_CPU:
		start_cpu(x, view);
		break;
	case CONFIG_JOIN:
		join_start(x, view);
		break;
	}
}
