/* The configuration of a sim world: limits, retry policies and the YAML text, all drawn. A reload
 * draws another text with the same limits. Owner: struct simworld. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/simworld.h"

static void config_add_servers(struct simworld *w, struct strbuf *x, unsigned port,
			       unsigned n, bool http)
{
	strbuf_addf(x, "    servers: [127.0.0.1:%u", port);
	for (unsigned i = 1; i < n; i++)
		strbuf_addf(x, ", { address: 127.0.0.1:%u, weight: %u%s }", port + i,
			    1 + (unsigned)simworld_draw(w, 4),
			    http && simworld_chance(w, 6) ? ", backup: true" : "");
	strbuf_addf(x, "]\n    keepalive: %u\n",
		    simworld_chance(w, 2) ? (unsigned)simworld_draw(w, 4) : 100);
	strbuf_addf(x, "    queue: %u\n    queue_timeout: %s\n",
		    w->faults.scarce ? (unsigned)simworld_draw(w, 4) : 1000,
		    w->faults.scarce ? "100ms" : "300s");
	strbuf_addf(x, "    connect_timeout: %s\n",
		    w->faults.faulty_origins ? "200ms" : "20s");
}

static const char *const balances[] = {
	"round_robin", "least_connections", "random", "hash\n    hash: \"${path}\"",
	"hash\n    hash: \"${header.X-No}\"\n    hash_balance_factor: 120"
};
#define BALANCES_WITHOUT_HASH 3
static const char *const reuses[] = { "never", "safe", "always" };
static const char *const eject_ons[] = { "connection", "gateway", "server_error" };

static void config_add_upstream(struct simworld *w, struct strbuf *x, unsigned u)
{
	unsigned balance = (unsigned)simworld_draw(w, COUNT(balances));

	strbuf_addf(x, "  u%u:\n", u);
	config_add_servers(w, x, SIMWORLD_ORIGIN_PORT + SIMWORLD_SERVERS * u,
			   w->connections[u] > 0 || w->requests_max[u] > 0
				   ? w->server_n[u]
				   : 1 + (unsigned)simworld_draw(w, w->server_n[u]),
			   true);
	strbuf_addf(x, "    connections: %u\n    response_timeout: %s\n    balance: %s\n",
		    w->connections[u], w->faults.faulty_origins ? "500ms" : "60s",
		    balances[balance]);
	strbuf_addf(x, "    reuse: %s\n    idle_timeout: %ums\n", reuses[w->reuse[u]],
		    simworld_chance(w, 3) ? 1 + (unsigned)simworld_draw(w, 300) : 4000);
	if (w->requests_max[u] > 0)
		strbuf_addf(x, "    requests: %u\n", w->requests_max[u]);
	if (balance < BALANCES_WITHOUT_HASH)
		strbuf_addf(x, "    sticky: { cookie: server, key: sim }\n");
	strbuf_addf(x,
		    "    eject_on: %s\n    eject_failures: %u\n    eject_time: %ums\n"
		    "    eject_max_percent: %u\n",
		    eject_ons[simworld_draw(w, COUNT(eject_ons))],
		    1 + (unsigned)simworld_draw(w, 3),
		    1 + (unsigned)simworld_draw(w, 500),
		    simworld_chance(w, 2) ? 50 : 100);
	if (simworld_chance(w, 3))
		strbuf_addf(x, "    eject_rate: %u\n    slow_start: 300ms\n",
			    1 + (unsigned)simworld_draw(w, 100));
}

static void config_add_retry_policy(struct simworld *w, struct strbuf *x,
				    const struct retry_policy *policy)
{
	bool must_succeed = simworld_must_succeed(w);

	if (must_succeed && simworld_chance(w, 2))
		strbuf_addf(x, ", deadline: 3000s");
	else if (!must_succeed && simworld_chance(w, 4))
		strbuf_addf(x, ", deadline: %ums",
			    200 + (unsigned)simworld_draw(w, 1000));
	if (policy->hedged)
		strbuf_addf(x, ", hedge: { percentile: %u, budget_percent: %u }",
			    50 + (unsigned)simworld_draw(w, 46),
			    (unsigned)simworld_draw(w, 101));
	if (policy->tries == 0)
		return;
	strbuf_addf(x,
		    ", retry: { tries: %u, methods: %s, body: %uB, backoff: %ums, "
		    "budget_percent: %u, budget_per_second: %u",
		    policy->tries, policy->all_methods ? "all" : "idempotent",
		    policy->body, 1 + (unsigned)simworld_draw(w, 50), policy->percent,
		    policy->per_second);
	strbuf_addf(x, ", on: [503, reset%s]",
		    policy->all_conditions ? ", connect, timeout, malformed" : "");
	if (must_succeed || simworld_chance(w, 2))
		strbuf_addf(x, ", per_try_timeout: %s", must_succeed ? "60s" : "150ms");
	strbuf_addf(x, " }");
}

/* Where each request must succeed, none is refused: it only waits. The choices are not drawn. */
void simworld_add_key_limits(struct simworld *w, struct strbuf *x, unsigned u)
{
	bool must_succeed = simworld_must_succeed(w);
	unsigned choice = simworld_choice(w, 1000 + u, 8);

	/* Some reloads change whether the counters are shared, without a draw. */
	bool shared = w->cache_n > 0 && simworld_choice(w, 2000 + u + 10 * w->reloads_n, 4) > 0;

	if (choice < 2)
		strbuf_addf(x, ", rate_limit: { requests: %u/s, burst: %u, delay: %s%s }",
			    must_succeed ? 100 : 30, 1 + choice * 3,
			    must_succeed ? "60s" : "40ms",
			    !shared ? "" : simworld_choice(w, 3000 + u, 2)
				    ? ", shared: cache"
				    : ", shared: { upstream: cache, timeout: 300ms }");
	if (choice == 1 || choice == 2)
		strbuf_addf(x, ", concurrency_limit: { requests: %u }",
			    must_succeed ? 1000 : 2);
}

bool simworld_limits(const struct simworld *w, unsigned u)
{
	return simworld_choice(w, 1000 + u, 8) <= 2;
}

static void config_add_cache(struct simworld *w, struct strbuf *x)
{
	strbuf_addf(x, "  cache:\n    protocol: memcached\n");
	config_add_servers(w, x, SIMWORLD_CACHE_PORT, w->cache_n, false);
	strbuf_addf(x,
		    "    timeout: %s\n    connections_per_server: %u\n    pipeline: %u\n",
		    w->faults.faulty_caches ? "300ms" : "60s", w->links, w->pipeline);
}

static void config_add_limits(struct simworld *w, struct strbuf *x)
{
	bool faulty = w->faults.faulty_origins || w->faults.faulty_clients;

	strbuf_addf(x, "limits:\n  window: 32KiB\n");
	strbuf_addf(x,
		    "  header_timeout: %s\n  receive_timeout: %s\n  send_timeout: %s\n",
		    faulty ? "2s" : "60s", faulty ? "2s" : "60s", faulty ? "2s" : "60s");
	strbuf_addf(x, "  idle_timeout: %s\n", simworld_chance(w, 2) ? "2s" : "60s");
	/* A pacer pauses for ten seconds. */
	if (simworld_must_succeed(w))
		strbuf_addf(x, "  min_receive_rate: none\n");
}

/* Where each request must succeed, only policies that do not fail for lack of time or budget. */
static void draw_retry_policy(struct simworld *w, struct retry_policy *policy)
{
	bool must_succeed = simworld_must_succeed(w);

	policy->hedged = simworld_chance(w, 2);
	if (simworld_chance(w, 3))
		return;
	policy->tries = 1 + (unsigned)simworld_draw(w, 4);
	policy->all_methods = simworld_chance(w, 3);
	policy->all_conditions = !simworld_chance(w, 4);
	policy->body = simworld_chance(w, 2) ? 16384 : (uint32_t)simworld_draw(w, 2000);
	policy->ample_budget = must_succeed || simworld_chance(w, 2);
	policy->percent = policy->ample_budget ? 100 : (unsigned)simworld_draw(w, 60);
	policy->per_second = policy->ample_budget ? 1000000
						  : (unsigned)simworld_draw(w, 3);
}

/* Reloads do not change these, because the limits are checked at all times. */
void simworld_draw_upstreams(struct simworld *w)
{
	w->half_close = simworld_chance(w, 2);
	w->upstream_n = 1 + (unsigned)simworld_draw(w, SIMWORLD_UPSTREAMS);
	for (unsigned u = 0; u < w->upstream_n; u++) {
		w->server_n[u] = 1 + (unsigned)simworld_draw(w, SIMWORLD_SERVERS);
		w->connections[u] = simworld_chance(w, 2)
					    ? 1 + (uint32_t)simworld_draw(w, 4)
					    : 0;
		w->requests_max[u] = simworld_chance(w, 3)
					     ? 1 + (uint32_t)simworld_draw(w, 4)
					     : 0;
		w->reuse[u] = simworld_chance(w, 6)   ? CONFIG_REUSE_NEVER
			      : simworld_chance(w, 2) ? CONFIG_REUSE_SAFE
						      : CONFIG_REUSE_ALWAYS;
		draw_retry_policy(w, &w->policies[u]);
	}
	if (simworld_chance(w, 2)) {
		w->cache_n = 1 + (unsigned)simworld_draw(w, SIMWORLD_SERVERS);
		w->links = 1 + (uint32_t)simworld_draw(w, 3);
		w->pipeline = simworld_chance(w, 2) ? 1 + (uint32_t)simworld_draw(w, 3)
						    : 64;
	}
}

/* Routes that no request uses, because none has their path, host, or conditions: they change the
 * indexes of the routes behind them, and upstreams come and go with them. */
static void config_add_decoys(struct strbuf *x, unsigned n, const char *upstream)
{
	static const char *const decoys[] = {
		"prefix: /decoy/",
		"prefix: /, match: { header: { X-Decoy: \"~.\" } }",
		"prefix: /, host: [decoy, \"*.decoy\"]",
		"prefix: /, match: { method: [GET, POST], not: { client: 0.0.0.0/0 } }",
	};

	for (unsigned i = 0; i < n; i++)
		strbuf_addf(x, "  - { %s, proxy: { upstream: %s } }\n",
			    decoys[i % COUNT(decoys)], upstream);
}

static void config_add_routes(struct simworld *w, struct strbuf *x, bool spare)
{
	strbuf_addf(x, "routes:\n");
	config_add_decoys(x, (unsigned)simworld_draw(w, 4), spare ? "spare" : "u0");
	if (w->cache_n > 0)
		strbuf_addf(x,
			    "  - prefix: /c0/\n    memcached: { upstream: cache, "
			    "key: \"c0-${path.rest}\" }\n%s"
			    "  - prefix: /n0/\n    memcached: { upstream: cache, "
			    "key: \"n0-${path.rest}\", miss: next }\n%s",
			    w->half_close ? "    half_close: allow\n" : "",
			    w->half_close ? "    half_close: allow\n" : "");
	for (unsigned u = 0; u < w->upstream_n; u++)
		simrules_add_routes(w, x, u);
	for (unsigned u = 0; u < w->upstream_n; u++)
		for (int after_cache = u == 0 && w->cache_n > 0; after_cache >= 0;
		     after_cache--) {
			strbuf_addf(x, "  - { prefix: /%s%u/, proxy: { ",
				    after_cache ? "n" : "u", u);
			/* As if there were no split, but for its cookie. */
			strbuf_addf(x,
				    u % 2 == 0 ? "upstream: u%u }"
					       : "split: [{ upstream: u%u }, { upstream: u0, "
						 "weight: 0 }], split_cookie: part }",
				    u);
			config_add_retry_policy(w, x, &w->policies[u]);
			simworld_add_key_limits(w, x, u);
			simmirror_add_rule(w, x);
			if (w->half_close)
				strbuf_addf(x, ", half_close: allow");
			/* Rules that change nothing which a client or server looks at. */
			if (w->seed % 4 == 2)
				strbuf_addf(x,
					    ", "
					    "cdn_loop: here, via_loop: 1, rewrite: { strip: /none }, "
					    "rewrite_location: on, rewrite_cookies: { secure: on }, "
					    "request_fields: { set: { X-Sim: \"${path}\" } }, "
					    "response_fields: { remove: [X-None], "
					    "set: { X-Sim: \"${path}\" } }");
			strbuf_addf(x, " }\n");
		}
}

struct config *simworld_draw_config(struct simworld *w)
{
	bool backwards = simworld_chance(w, 2), spare = simworld_chance(w, 2);
	struct config *config;
	struct strbuf x = { 0 };

	strbuf_addf(&x, "listen: [127.0.0.1:%u]\naccess_log: { path: log, format: json }\nupstreams:\n", SIMWORLD_PROXY_PORT);
	if (spare)
		strbuf_addf(&x, "  spare: { servers: [127.0.0.1:1] }\n");
	for (unsigned u = 0; u < w->upstream_n; u++)
		config_add_upstream(w, &x, backwards ? w->upstream_n - 1 - u : u);
	if (w->cache_n > 0)
		config_add_cache(w, &x);
	simrules_add_upstream(w, &x);
	simmirror_add_upstream(w, &x);
	config_add_routes(w, &x, spare);
	config_add_limits(w, &x);
	/* What the seed draws otherwise is the same in a run with ids and in one without. */
	if (w->seed % 3 == 1)
		strbuf_addf(&x, "request_id: { accept: %s, response: %s }\n",
			    w->seed % 2 ? "all" : "none", w->seed % 5 < 3 ? "on" : "off");
	if (w->seed % 7 == 2)
		strbuf_addf(&x, "tracing: { accept: %s, sample: 50%% }\n",
			    w->seed % 2 ? "all" : "none");
	if (w->verbose)
		printf("%s", x.data);
	config = config_read_text("test", (struct slice){ x.data, x.len }, NULL);
	if (!config) /* says why */
		config = config_read_text("test", (struct slice){ x.data, x.len },
					  stderr);
	ASSERT(config);
	free(x.data);
	return config;
}
