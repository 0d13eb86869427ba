#include "watch/prober.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "config/upstreamtls.h"
#include "health.h"
#include "probe.h"

/* The first probes are spread over this time, or over the interval if that is shorter. */
#define FIRST_MS 1000

/* One server (an address of a configured name) and its state. */
struct target {
	struct prober *prober;
	unsigned upstream, server;
	struct config_address address;
	struct list node;       /* on prober->targets or ->leaving */
	bool leaving;
	bool overdue;    /* `next` expired during a probe */
	bool unreported; /* not all workers have been notified of its state */
	struct health health;
	struct timer next;
	struct probe probe;
	struct tls_saved saved;
	char *request;
	uint64_t started_ms;
	uint64_t probes, failures;
	uint32_t last_ms;
};

struct prober {
	struct prober_options options;
	struct list targets;
	struct list leaving; /* removed targets whose probe is not idle yet */
	struct random random; /* of jitter */
	uint64_t skipped;
	bool stopped;
	struct head head;       /* scratch of probes */
};

static const struct config_health *health_of(const struct target *t)
{
	return &t->prober->options.config->upstreams[t->upstream].health;
}

/* ---- probing ----------------------------------------------------------------- */

static void schedule_next(struct target *t)
{
	const struct config_health *h = health_of(t);
	struct tick *tick = t->prober->options.tick;

	timer_set(&tick->wheel, &t->next,
		  tick->now_ms + health_pause_ms(h->interval_ms, h->jitter,
						 random_next(&t->prober->random)));
}

/* The address to probe: that of the server, with the port of the health check if it has
 * one. */
static struct sockaddr_storage probe_address(const struct target *t)
{
	struct sockaddr_storage sa = t->address.sa;
	uint16_t port = htons((uint16_t)health_of(t)->port);

	if (port && sa.ss_family == AF_INET)
		memcpy((char *)&sa + offsetof(struct sockaddr_in, sin_port), &port, sizeof(port));
	else if (port && sa.ss_family == AF_INET6)
		memcpy((char *)&sa + offsetof(struct sockaddr_in6, sin6_port), &port,
		       sizeof(port));
	return sa;
}

static void target_probe(struct target *t)
{
	struct prober *p = t->prober;
	struct sockaddr_storage sa = probe_address(t);

	schedule_next(t);
	if (p->options.descriptors && !quota_take(p->options.descriptors)) {
		p->skipped++; /* says nothing about the server */
		return;
	}
	t->started_ms = p->options.tick->now_ms;
	probe_start(&t->probe, &sa, t->address.len);
}

static void next_expired(struct timer *timer)
{
	struct target *t = CONTAINER(timer, struct target, next);

	if (t->probe.state == PROBE_IDLE)
		target_probe(t);
	else
		t->overdue = true;
}

static void target_report(struct target *t, bool first, const char *why)
{
	struct prober *p = t->prober;

	t->unreported = !p->options.notify(p->options.owner,
					   &(struct prober_event){
						   .upstream = t->upstream,
						   .server = t->server,
						   .address = &t->address,
						   .up = t->health.state == HEALTH_UP,
						   .first = first,
						   .why = why,
					   });
}

static void probe_decided(struct probe *probe, const char *why)
{
	struct target *t = CONTAINER(probe, struct target, probe);
	const struct config_health *h = health_of(t);
	bool first = t->health.state == HEALTH_UNKNOWN;

	t->probes++;
	t->failures += why != NULL;
	t->last_ms = (uint32_t)(t->prober->options.tick->now_ms - t->started_ms);
	if (health_update(&t->health, !why, h->rise, h->fall) || t->unreported)
		target_report(t, first,
			      t->health.state == HEALTH_UP ? NULL
			      : why                        ? why
							   : "still down");
}

static void probe_skipped(struct probe *probe)
{
	CONTAINER(probe, struct target, probe)->prober->skipped++;
}

/* ---- targets ----------------------------------------------------------------- */

static void target_free(struct target *t)
{
	ASSERT(t->probe.state == PROBE_IDLE && !timer_armed(&t->next));
	list_remove(&t->node);
	tls_saved_drop(&t->saved);
	free(t->request);
	free(t);
}

/* Called when the tick frees the connection of the probe. */
static void probe_ended(struct probe *probe)
{
	struct target *t = CONTAINER(probe, struct target, probe);
	struct prober *p = t->prober;

	if (p->options.descriptors)
		quota_put(p->options.descriptors);
	if (t->leaving) {
		target_free(t);
	} else if (t->overdue) {
		t->overdue = false;
		target_probe(t);
	}
}

static void target_leave(struct target *t)
{
	timer_stop(&t->prober->options.tick->wheel, &t->next);
	t->leaving = true;
	list_remove(&t->node);
	list_append(&t->prober->leaving, &t->node);
	if (t->probe.state == PROBE_IDLE)
		target_free(t);
	else
		probe_cancel(&t->probe);
}

/* The Host of an HTTP health check, unless configured: the server as configured. */
static struct slice host_field(const struct config_upstream *u,
			       const struct config_server *s)
{
	struct slice host = u->health.host.len > 0 ? u->health.host : slice_of(s->address);

	if (slice_starts(host, SLICE("unix:")))
		return SLICE("localhost");
	return slice_starts(host, SLICE("srv:")) ? slice_after(host, 4) : host;
}

static char *request_new(const struct config_upstream *u, unsigned server)
{
	struct slice host = host_field(u, &u->servers[server]);
	char *text = NULL;
	bool good = true;

	switch (u->health.type) {
	case CONFIG_HEALTH_MEMCACHED:
		return strdup("version\r\n");
	case CONFIG_HEALTH_TCP:
		return strdup("");
	case CONFIG_HEALTH_AUTO:
	case CONFIG_HEALTH_HTTP:
		good = asprintf(&text,
				"GET %.*s HTTP/1.1\r\nHost: %.*s\r\n"
				"User-Agent: fairlead (health check)\r\n"
				"Accept: */*\r\nConnection: close\r\n\r\n",
				SLICE_ARG(u->health.path), SLICE_ARG(host)) >= 0;
		break;
	}
	return good ? text : NULL;
}

static bool target_new(struct prober *p, unsigned upstream, unsigned server,
		       const struct config_address *address)
{
	const struct config_upstream *u = &p->options.config->upstreams[upstream];
	struct target *t = calloc(1, sizeof(*t));
	char *request = request_new(u, server);
	uint32_t spread = u->health.interval_ms < FIRST_MS ? u->health.interval_ms : FIRST_MS;

	if (!t || !request) {
		free(t);
		free(request);
		return false;
	}
	t->prober = p;
	t->upstream = upstream;
	t->server = server;
	t->address = *address;
	t->address.text = NULL; /* not copied */
	t->request = request;
	t->probe.tick = p->options.tick;
	t->probe.health = &u->health;
	t->probe.lenient = u->lenient;
	if (u->tls) {
		t->probe.context = u->tls->context;
		t->probe.name = slice_of(u->servers[server].tls_name);
		t->probe.sni = u->tls->sni;
		t->probe.saved = &t->saved;
	}
	t->probe.proxy_protocol = u->proxy_protocol;
	t->probe.request = slice_of(request);
	t->probe.head = &p->head;
	t->probe.decided = probe_decided;
	t->probe.skipped = probe_skipped;
	t->probe.ended = probe_ended;
	probe_init(&t->probe);
	list_init(&t->node);
	list_append(&p->targets, &t->node);
	timer_init(&t->next, next_expired);
	timer_set(&p->options.tick->wheel, &t->next,
		  p->options.tick->now_ms +
			  random_below(&p->random, (uint64_t)spread + 1));
	return true;
}

static bool same_address(const struct config_address *a, const struct config_address *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

static bool is_among(const struct config_address *a, const struct config_address *list,
		     unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (same_address(a, &list[i]))
			return true;
	return false;
}

static bool is_known(const struct prober *p, unsigned upstream, unsigned server,
		     const struct config_address *address)
{
	LIST_EACH(&p->targets, node)
	{
		const struct target *t = LIST_ITEM(node, struct target, node);

		if (t->upstream == upstream && t->server == server &&
		    same_address(&t->address, address))
			return true;
	}
	return false;
}

void prober_resolved(struct prober *p, unsigned upstream, unsigned server,
		     const struct config_address *addresses, unsigned n)
{
	if (p->stopped || !p->options.config->upstreams[upstream].health.on)
		return;
	LIST_EACH(&p->targets, node)
	{
		struct target *t = LIST_ITEM(node, struct target, node);

		if (t->upstream == upstream && t->server == server &&
		    !is_among(&t->address, addresses, n))
			target_leave(t);
	}
	/* If memory is short the address is not probed, and stays in use. */
	for (unsigned i = 0; i < n; i++)
		if (!is_known(p, upstream, server, &addresses[i]) &&
		    !target_new(p, upstream, server, &addresses[i]))
			return;
}

/* ---- the prober -------------------------------------------------------------- */

static bool add_upstream(struct prober *p, const struct config_upstream *u)
{
	if (!u->health.on)
		return true;
	for (unsigned i = 0; i < u->server_n; i++)
		for (unsigned k = 0; k < u->servers[i].address_n; k++)
			if (!target_new(p, u->index, i, &u->servers[i].addresses[k]))
				return false;
	return true;
}

struct prober *prober_new(const struct prober_options *options)
{
	struct prober *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->options = *options;
	random_init(&p->random, options->seed);
	list_init(&p->targets);
	list_init(&p->leaving);
	for (unsigned i = 0; i < options->config->upstream_n; i++) {
		if (add_upstream(p, &options->config->upstreams[i]))
			continue;
		prober_stop(p); /* no probe was started yet */
		prober_free(p);
		return NULL;
	}
	return p;
}

void prober_stop(struct prober *p)
{
	p->stopped = true;
	LIST_EACH(&p->targets, node)
		target_leave(LIST_ITEM(node, struct target, node));
}

bool prober_idle(const struct prober *p)
{
	return p->stopped && list_empty(&p->leaving);
}

void prober_free(struct prober *p)
{
	ASSERT(prober_idle(p) && list_empty(&p->targets));
	free(p);
}

void prober_each(const struct prober *p,
		 void (*each)(void *owner, const struct prober_stats *stats), void *owner)
{
	LIST_EACH(&p->targets, node)
	{
		const struct target *t = LIST_ITEM(node, struct target, node);

		each(owner, &(struct prober_stats){
				    .upstream = t->upstream,
				    .server = t->server,
				    .address = (const struct sockaddr *)&t->address.sa,
				    .state = t->health.state,
				    .probes = t->probes,
				    .failures = t->failures,
				    .last_ms = t->last_ms,
			    });
	}
}

uint64_t prober_skipped(const struct prober *p)
{
	return p->skipped;
}
