#include "lib/proxyrig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simtls.h"

#define LOG_FD 77

/* ---- origins ---------------------------------------------------------------- */

char proxyrig_pattern(size_t i)
{
	return (char)('a' + (i * 7 + i / 1000) % 26);
}

static void send_pattern(struct sim_peer *a, size_t from, size_t n)
{
	char *bytes = malloc(n + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = proxyrig_pattern(from + i);
	sim_peer_send(a, (struct slice){ bytes, n });
	free(bytes);
}

static void send_length(struct sim_peer *a, size_t promised, size_t n)
{
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", promised);
	sim_peer_send_text(a, head);
	send_pattern(a, 0, n);
}

static void send_chunked(struct sim_peer *a, size_t n, bool whole)
{
	char line[32];
	size_t at = 0;

	sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	while (at < n) {
		size_t some = 1 + simrig_draw(a->rig, n - at);

		snprintf(line, sizeof(line), "%zx\r\n", some);
		sim_peer_send_text(a, line);
		send_pattern(a, at, some);
		sim_peer_send_text(a, "\r\n");
		at += some;
	}
	sim_peer_send_text(a, whole ? "0\r\nX-Sum: 42\r\n\r\n" : "5\r\nab");
}

/* Returns the end of the request's body; NULL: the body is incomplete. */
static const char *body_end(const char *head, const char *body, const char *end)
{
	const char *length = strcasestr(head, "\r\nContent-Length:");
	const char *chunked = strcasestr(head, "\r\nTransfer-Encoding: chunked");
	size_t n;

	if (length && length < body) {
		n = strtoul(length + 17, NULL, 10);
		return (size_t)(end - body) >= n ? body + n : NULL;
	}
	if (!chunked || chunked > body)
		return body;
	while (body < end) {
		const char *line = memchr(body, '\n', (size_t)(end - body));

		if (!line)
			return NULL;
		n = strtoul(body, NULL, 16);
		if (n == 0) { /* the last chunk, then trailers */
			const char *last = strstr(line - 1, "\r\n\r\n");

			return last ? last + 4 : NULL;
		}
		if ((size_t)(end - line) < n + 3)
			return NULL;
		body = line + 1 + n + 2;
	}
	return NULL;
}

static bool path_is(const char *path, const char *name)
{
	if (strncmp(path, "/pair/", 6) == 0 || strncmp(path, "/half/", 6) == 0)
		path += 5;
	if (strncmp(path, "/again/", 7) == 0)
		path += 6;
	return strncmp(path, name, strlen(name)) == 0;
}

/* The paths that are handled when the request's head has arrived. True: the connection is not
 * read on. */
static bool respond_to_head(struct proxyrig *r, struct sim_peer *a, const char *path)
{
	if (path_is(path, "/early")) {
		size_t n = path_is(path, "/early-long") ? 300000 : 5;

		send_length(a, n, n); /* and reads the body */
		return false;
	}
	if (path_is(path, "/reject")) {
		sim_peer_send_text(a, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n"
				      "Connection: close\r\n\r\n");
		sim_peer_shutdown(a);
	} else if (path_is(path, "/busy")) {
		sim_peer_send_text(a, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
	} else if (path_is(path, "/deaf")) {
		a->stopped_reading = true;
		io_cancel(a->rig->tick.loop, &a->recv.op);
	} else if (path_is(path, "/reset-head") ||
		   (path_is(path, "/swallow-reset") && a->step > 0)) {
		r->stale_close++;
		sim_peer_reset_now(a);
	} else if (path_is(path, "/closed") ||
		   (path_is(path, "/swallow/") && a->step > 0)) {
		r->stale_close++;
		sim_peer_close(a);
	} else if (path_is(path, "/never")) {
		a->on_input = NULL;
	} else if (path_is(path, "/continue")) {
		sim_peer_send_text(a, "HTTP/1.1 100 Continue\r\n\r\n");
		return false;
	} else {
		return false;
	}
	return true;
}

/* All but the last 10 bytes at once, those after a pause. */
static void respond_burst(struct sim_peer *a, uint32_t pause_ms)
{
	char text[24060];
	int n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: 24010\r\n\r\n");

	for (int i = 0; i < 24000; i++)
		text[n++] = proxyrig_pattern((size_t)i);
	a->uncut = true;
	a->pause_ms = pause_ms;
	sim_peer_send(a, (struct slice){ text, (size_t)n });
	send_pattern(a, 24000, 10);
}

static void tunnel_echo(struct sim_peer *a)
{
	sim_peer_send(a, (struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	a->in_used = a->in_n;
	if (a->eof)
		sim_peer_close(a);
}

static void respond_upgrade(struct sim_peer *a)
{
	sim_peer_send_text(a,
			   "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			   "Upgrade: echo\r\n\r\nhello");
	a->on_input = tunnel_echo;
	tunnel_echo(a);
}

static void respond_interim(struct sim_peer *a, unsigned n)
{
	while (n-- > 0)
		sim_peer_send_text(a, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
	send_length(a, 2, 2);
}

/* The paths with malformed or incomplete responses. True: this is one of them. */
static bool respond_faulty(struct sim_peer *a, const char *path)
{
	if (path_is(path, "/half-head"))
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nContent-Le");
	else if (path_is(path, "/bad"))
		sim_peer_send_text(a, "HTTP/1.1 2x0 OK\r\n\r\n");
	else if (path_is(path, "/both"))
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
	else if (path_is(path, "/uninvited"))
		sim_peer_send_text(
			a, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			   "Upgrade: echo\r\n\r\n");
	else if (path_is(path, "/short"))
		send_length(a, 100, 10);
	else if (path_is(path, "/reset-body") || path_is(path, "/stall"))
		send_length(a, 100, 10);
	else if (path_is(path, "/broken-chunk"))
		send_chunked(a, 50, false);
	else if (path_is(path, "/no-chunk"))
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				      "no size\r\n");
	else
		return false;
	if (path_is(path, "/reset-body"))
		sim_peer_reset(a);
	else if (!path_is(path, "/stall"))
		sim_peer_close(a);
	a->on_input = NULL;
	return true;
}

static void respond(struct sim_peer *a, const char *path, const char *body,
		    const char *end)
{
	const char *number = strrchr(path, '/') + 1;
	size_t n = strtoul(number, NULL, 10);
	char head[128];

	if (respond_faulty(a, path) || path_is(path, "/early"))
		return;
	if (path_is(path, "/length/")) {
		send_length(a, n, n);
	} else if (path_is(path, "/chunked/")) {
		send_chunked(a, n, true);
	} else if (path_is(path, "/until-close/")) {
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nX: y\r\n\r\n");
		send_pattern(a, 0, n);
		sim_peer_close(a);
	} else if (path_is(path, "/last")) {
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
				      "Connection: close\r\n\r\nok");
		sim_peer_close(a);
	} else if (path_is(path, "/status/")) {
		snprintf(head, sizeof(head), "HTTP/1.1 %zu Some\r\n%s\r\n", n,
			 n == 204 || n == 304 ? "" : "Content-Length: 0\r\n");
		sim_peer_send_text(a, head);
	} else if (path_is(path, "/ntlm")) {
		sim_peer_send_text(a, "HTTP/1.1 401 X\r\nWWW-Authenticate: NTLM\r\n"
				      "Content-Length: 0\r\n\r\n");
	} else if (path_is(path, "/moved")) {
		sim_peer_send_text(a, "HTTP/1.1 302 X\r\nLocation: //127.0.0.1:6000/x?y\r\n"
				      "Set-Cookie: a=\"; Path=/y; Domain=127.0.0.1\r\n"
				      "Content-Length: 0\r\n\r\n");
	} else if (path_is(path, "/forbidden")) {
		sim_peer_send_text(a, "HTTP/1.1 403 X\r\nContent-Length: 7\r\n\r\nnot you");
	} else if (path_is(path, "/interim/")) {
		respond_interim(a, (unsigned)n);
	} else if (path_is(path, "/more")) {
		send_length(a, 2, 20);
	} else if (path_is(path, "/head")) {
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	} else if (path_is(path, "/swallow-whole") && a->step > 1) {
		((struct proxyrig *)a->owner)->stale_close++;
		sim_peer_close(a);
	} else if (path_is(path, "/keep-alive/")) {
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
			 "Keep-Alive: max=9, timeout=%zu\r\n\r\n", n);
		sim_peer_send_text(a, head);
	} else if (path_is(path, "/echo") || strstr(path, "/swallow")) {
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
			 (size_t)(end - body));
		sim_peer_send_text(a, head);
		sim_peer_send(a, (struct slice){ body, (size_t)(end - body) });
	} else if (path_is(path, "/upgrade")) {
		respond_upgrade(a);
	} else if (path_is(path, "/burst/")) {
		respond_burst(a, (uint32_t)n);
	} else if (path_is(path, "/slow/")) {
		a->pause_ms = (uint32_t)n;
		send_length(a, 30, 30);
	} else {
		send_length(a, 2, 2);
	}
}

/* Handles one request. False: it is incomplete, or the connection is not read on. */
static bool origin_read_request(struct sim_peer *a)
{
	struct proxyrig *r = a->owner;
	const char *head = a->in + a->in_used, *end = a->in + a->in_n, *body, *after;
	char path[64];

	body = strstr(head, "\r\n\r\n");
	if (!body || a->fd < 0)
		return false;
	body += 4;
	assert_int_equal(sscanf(head, "%*s %63s", path), 1);
	if (!a->head_seen) {
		a->head_seen = true;
		a->fails = r->fail_next > 0 && strncmp(path, "/again/", 7) == 0;
		r->fail_next -= a->fails;
		r->requests++;
	}
	if (a->fails)
		strcpy(path, r->fail_path);
	if (!a->head_handled) {
		a->head_handled = true;
		if (respond_to_head(r, a, path)) {
			a->on_input = NULL;
			return false;
		}
	}
	after = body_end(head, body, end);
	if (!after)
		return false;
	a->head_seen = a->head_handled = false;
	a->step++;
	a->in_used = (size_t)(after - a->in);
	respond(a, path, body, after);
	return a->on_input != NULL;
}

/* A header of the PROXY protocol, version 1; the first bytes decide. False: it is incomplete. */
static bool origin_skip_header(struct sim_peer *a)
{
	const char *end;

	if (a->in_used > 0 || strncmp(a->in, "PROXY ", a->in_n < 6 ? a->in_n : 6) != 0)
		return true;
	end = strstr(a->in, "\r\n");
	a->in_used = end ? (size_t)(end + 2 - a->in) : 0;
	return end != NULL;
}

static void origin_on_input(struct sim_peer *a)
{
	if (!origin_skip_header(a))
		return;
	while (origin_read_request(a))
		if (a->on_input != origin_on_input)
			return;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* ---- memcached -------------------------------------------------------------- */

/* The counter with this key; made if it is not there and `makes`. */
static struct proxyrig_counter *counter_of(struct proxyrig *r, const char *key, bool makes)
{
	unsigned i = 0;

	while (i < r->counter_n && strcmp(r->counters[i].key, key) != 0)
		i++;
	if (i < r->counter_n)
		return &r->counters[i];
	if (!makes)
		return NULL;
	assert_true(i < sizeof(r->counters) / sizeof(r->counters[0]));
	assert_true(strlen(key) < sizeof(r->counters[i].key));
	strcpy(r->counters[i].key, key);
	r->counter_n++;
	return &r->counters[i];
}

/* "ma KEY NTTL J1 v", "ma KEY MD v", "mg KEY v". */
static void counter_reply_to(struct sim_peer *a, const char *line, const char *key)
{
	struct proxyrig *r = a->owner;
	bool reads = strncmp(line, "mg", 2) == 0, back = strstr(line, " MD ");
	struct proxyrig_counter *c = counter_of(r, key, !reads && !back);
	char number[32], text[64];

	r->counter_commands++;
	if (c && back)
		c->n -= c->n > 0;
	else if (c && !reads)
		c->n++;
	if (r->counters_silent)
		return;
	snprintf(number, sizeof(number), "%llu", c ? (unsigned long long)c->n : 0);
	snprintf(text, sizeof(text), "VA %zu\r\n%s\r\n", strlen(number), number);
	sim_peer_send_text(a, r->counter_reply ? r->counter_reply
			      : c              ? text
			      : reads          ? "EN\r\n"
					       : "NF\r\n");
}

static bool memcached_read_query(struct sim_peer *a)
{
	char *line = a->in + a->in_used, *end = strstr(line, "\r\n"), key[256], text[600];

	if (!end || a->fd < 0)
		return false;
	assert_int_equal(sscanf(line, "%*s %255s", key), 1);
	a->in_used = (size_t)(end + 2 - a->in);
	*end = '\0';
	if (strncmp(key, "fl:rate:", 8) == 0)
		counter_reply_to(a, line, key);
	else if (path_is(key, "miss"))
		sim_peer_send_text(a, "END\r\n");
	else if (path_is(key, "error"))
		sim_peer_send_text(a, "SERVER_ERROR out of sorts\r\n");
	else if (path_is(key, "bad"))
		sim_peer_send_text(a, "VALUE bad 0 x\r\n");
	else if (path_is(key, "closed"))
		sim_peer_close(a);
	else if (path_is(key, "never"))
		return false;
	else {
		snprintf(text, sizeof(text), "VALUE %s 0 %zu\r\nvalue of %s\r\nEND\r\n", key,
			 strlen(key) + 9, key);
		sim_peer_send_text(a, text);
	}
	return true;
}

static void memcached_on_input(struct sim_peer *a)
{
	while (memcached_read_query(a))
		;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* ---- the proxy -------------------------------------------------------------- */

static const char config_text[] =
	"listen: [127.0.0.1:8080]\n"
	"access_log: { path: log, format: json }\n"
	"study: true\n"
	"upstreams:\n"
	"  app:\n"
	"    servers: [127.0.0.1:6000]\n"
	"%s"
	"  pair:\n"
	"    servers: [127.0.0.1:6001, 127.0.0.1:6002]\n"
	"  nobody:\n"
	"    servers: [%s:6999]\n"
	"  cache:\n"
	"    protocol: memcached\n"
	"    servers: [127.0.0.1:11212]\n"
	"    timeout: 2s\n"
	"    connections_per_server: 2\n"
	"  trio:\n"
	"    servers:\n" /* the weight makes the first one the first choice */
	"      - { address: 127.0.0.1:6000, weight: 1000 }\n"
	"      - 127.0.0.1:6001\n"
	"      - 127.0.0.1:6002\n"
	"routes:\n"
	"  - prefix: /again/\n"
	"    proxy: { upstream: trio }\n"
	"%s"
	"  - { prefix: /half/, proxy: { upstream: app }, half_close: allow }\n"
	"  - prefix: /pair/\n"
	"    proxy: { upstream: pair }\n"
	"  - prefix: /nobody\n"
	"    proxy: { upstream: nobody }\n"
	"  - prefix: /cache/\n"
	"    memcached: { upstream: cache, key: \"${path.rest}\", content_type: text/plain }\n"
	"  - prefix: /next/\n"
	"    memcached: { upstream: cache, key: \"${path.rest}\", miss: next }\n"
	"  - path: /page\n"
	"    join:\n"
	"      check:\n"
	"        memcached: { upstream: cache, key: \"${cookie.session}\" }\n"
	"        login: /login/\n"
	"      parts:\n"
	"        user: { memcached: { upstream: cache, key: \"${query.key}\" } }\n"
	"        news: { proxy: { upstream: app, path: \"/length/10\" } }\n"
	"  - path: /parts\n"
	"    join:\n"
	"      parts:\n"
	"        one: { proxy: { upstream: app, path: /chunked/50 } }\n"
	"        two: { proxy: { upstream: app, path: /never } }\n"
	"        three: { proxy: { upstream: nobody, path: / } }\n"
	"  - { path: /undecided, match: { query: { q: \"~(a+)+[PQ]\" } }, "
	"proxy: { upstream: app } }\n"
	"  - { prefix: /secure/, redirect: https }\n"
	"  - { path: /secure/length, proxy: { upstream: app, path: /length/10 } }\n"
	"  - { prefix: /old/, redirect: { to: \"https://new.example/${path.rest}\", "
	"status: 301 } }\n"
	"  - { prefix: /, host: nowhere, proxy: { upstream: nobody } }\n"
	"  - { prefix: /, host: app, proxy: { upstream: app } }\n"
	"limits:\n"
	"  request_body: 1MiB\n"
	"%s";

static void rig_client_accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct proxyrig *r = l->owner;

	proxy_accepted(&r->proxy, fd, peer, &r->settings);
}

static bool rig_make_room(struct listener *l)
{
	return proxy_evict_client(&((struct proxyrig *)l->owner)->proxy);
}

static const struct listener_events listener_events = { rig_client_accepted,
							rig_make_room };

static void read_config(struct proxyrig *r, const struct proxyrig_options *o)
{
	char text[8192];
	int n = snprintf(text, sizeof(text), config_text, o->upstream ? o->upstream : "",
			 o->nameless ? "nowhere.invalid" : "127.0.0.1",
			 o->again ? o->again : "", o->limits ? o->limits : "");

	assert_true(n < (int)sizeof(text));
	if (!o->strange_clients)
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "trusted_proxies: [127.0.0.1]\n");
	if (o->nameless) /* no nameserver listens there */
		n += snprintf(text + n, sizeof(text) - (size_t)n, "resolver: 127.0.0.1:1\n");
	r->config = config_read_text("test", (struct slice){ text, (size_t)n }, stderr);
	assert_non_null(r->config);
	assert_true(r->config->upstream_n <= PROXYRIG_UPSTREAMS);
}

/* As if the file had `tls` for each upstream. */
static void secure_upstreams(struct proxyrig *r)
{
	assert_true(tick_use_tls(&r->sim.tick, NULL, 1000));
	r->tls.context = simtls_client_context(); /* config_free() gives it back */
	r->origin_context = simtls_server_context();
	for (unsigned i = 0; i < r->config->upstream_n; i++) {
		struct config_upstream *u = &r->config->upstreams[i];

		u->tls = &r->tls;
		for (unsigned k = 0; k < u->server_n; k++)
			u->servers[k].tls_name = "origin.test";
	}
}

static const struct config_access_log log_config = { .path = "log",
						     .format = CONFIG_LOG_JSON,
						     .all_routes = true,
						     .sample = CONFIG_SAMPLE_ALL };

void proxyrig_open(struct proxyrig *r, const struct proxyrig_options *o)
{
	memset(r, 0, sizeof(*r));
	simrig_open(&r->sim, o->seed, o->buffers ? o->buffers : 32);
	r->settings.paths_strict = o->paths_strict;
	if (o->proxy_protocol > 0) {
		r->proxies_range.first = (struct ip){ 4, { o->proxy_protocol } };
		r->proxies_range.last = (struct ip){ 4, { o->proxy_protocol, 255, 255, 255 } };
		r->proxies = (struct config_addresses){ .range_n = 1, .ranges = &r->proxies_range };
		r->settings.proxy_protocol = &r->proxies;
	}
	read_config(r, o);
	if (o->tls_origins)
		secure_upstreams(r);
	quota_init(&r->clients, o->clients ? o->clients : 1000);
	quota_init(&r->descriptors, o->descriptors ? o->descriptors : 1000);
	assert_true(limits_init(&r->limits, 1024, (const uint8_t *)"0123456789abcdef"));
	for (unsigned i = 0; i < r->config->upstream_n; i++) {
		quota_init(&r->lines[i], r->config->upstreams[i].queue);
		r->registries[i] = registry_new("", 1, NULL, NULL);
		assert_non_null(r->registries[i]);
		r->upstream_views[i] = (struct upstream_view){ &r->upstream_stats[i],
							       &r->lines[i],
							       r->registries[i] };
	}
	assert_int_equal(access_init(&r->access, &r->sim.tick, &r->stats, &log_config,
				     &r->proxy.random, LOG_FD), 0);
	assert_int_equal(
		proxy_init(&r->proxy,
			   &(struct proxy_options){
				   .tick = &r->sim.tick,
				   .generation = { .config = r->config,
						   .upstream_views = r->upstream_views },
				   .stats = &r->stats,
				   .clients = &r->clients,
				   .descriptors = &r->descriptors,
				   .limits = &r->limits,
				   .logs = { 1, { &r->access } },
			   }),
		0);
	listener_start(&r->listener, &r->sim.tick, simrig_listen(&r->sim, PROXYRIG_PORT),
		       &r->clients, &r->stats, &listener_events, r);
	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++)
		sim_server_open(&r->origins[i], &r->sim, PROXYRIG_ORIGIN + i,
				origin_on_input, r);
	sim_server_open(&r->memcached, &r->sim, PROXYRIG_MEMCACHED, memcached_on_input,
			r);
	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++)
		r->origins[i].tls = r->origin_context;
	r->memcached.tls = r->origin_context;
}

static bool proxyrig_gone(struct proxyrig *r)
{
	return listener_stopped(&r->listener) && proxy_idle(&r->proxy);
}

uint64_t proxyrig_failures(const struct proxyrig *r, unsigned upstream)
{
	const struct registry *registry = r->registries[upstream];
	uint64_t n = 0;

	REGISTRY_EACH(registry, row)
		n += registry_record(registry, row, 0)->failures;
	return n;
}

void proxyrig_end(struct proxyrig *r)
{
	listener_stop(&r->listener);
	proxy_drain(&r->proxy);
	if (!SIMRIG_REACHED(&r->sim, proxyrig_gone(r), 3000)) {
		listener_abandon(&r->listener);
		proxy_close(&r->proxy);
		SIMRIG_UNTIL(&r->sim, proxyrig_gone(r), 3000);
	}
}

void proxyrig_close(struct proxyrig *r)
{
	proxyrig_end(r);
	simrig_close_peers(&r->sim);
	assert_int_equal(r->clients.used, 0);
	assert_int_equal(r->descriptors.used, 0);
	for (unsigned i = 0; i < r->config->upstream_n; i++) {
		assert_int_equal(r->lines[i].used, 0);
		assert_int_equal(r->upstream_stats[i].connections, 0);
		assert_int_equal(r->upstream_stats[i].connections_idle, 0);
		assert_int_equal(r->upstream_stats[i].waiting, 0);
	}
	assert_int_equal(r->stats.connections, 0);
	assert_int_equal(r->stats.connections_idle, 0);
	assert_int_equal(r->stats.requests_in_flight, 0);
	assert_int_equal(r->stats.tunnels, 0);
	proxy_done(&r->proxy);
	limits_done(&r->limits);
	access_done(&r->access);
	simrig_assert_buffers(&r->sim);
	simrig_close(&r->sim);
	for (unsigned i = 0; i < r->config->upstream_n; i++)
		registry_free(r->registries[i]);
	config_free(r->config);
	tls_context_unref(r->origin_context);
}

struct slice proxyrig_log(struct proxyrig *r)
{
	struct slice s = { NULL, 0 };

	access_flush(&r->access);
	(void)SIMRIG_REACHED(&r->sim, access_idle(&r->access), 1000);
	s.ptr = sim_written(r->sim.tick.loop, LOG_FD, &s.len);
	return s;
}

unsigned proxyrig_logged(struct proxyrig *r, const char *text)
{
	struct slice s = proxyrig_log(r);
	size_t n = strlen(text);
	unsigned count = 0;

	for (size_t i = 0; i + n <= s.len; i++)
		count += memcmp(s.ptr + i, text, n) == 0;
	return count;
}

/* ---- responses -------------------------------------------------------------- */

struct slice client_response_field(const struct client_response *a, const char *name)
{
	char key[64];
	const char *at, *end;
	int n = snprintf(key, sizeof(key), "\r\n%s: ", name);

	at = memmem(a->head.ptr, a->head.len, key, (size_t)n);
	if (!at)
		return (struct slice){ NULL, 0 };
	at += n;
	end = strstr(at, "\r\n");
	return (struct slice){ at, (size_t)(end - at) };
}

/* False: the body is incomplete. */
static bool client_response_read_chunked(struct client_response *a, const char **at,
					 const char *end)
{
	const char *body = *at;

	a->room = malloc((size_t)(end - body) + 1);
	assert_non_null(a->room);
	a->body = (struct slice){ a->room, 0 };
	while (body < end) {
		const char *line = memchr(body, '\n', (size_t)(end - body));
		size_t n;

		if (!line)
			return false;
		n = strtoul(body, NULL, 16);
		if (n == 0) {
			const char *last = strstr(line - 1, "\r\n\r\n");

			*at = last ? last + 4 : end;
			return last != NULL;
		}
		if ((size_t)(end - line) < n + 3)
			return false;
		memcpy(a->room + a->body.len, line + 1, n);
		a->body.len += n;
		assert_memory_equal(line + 1 + n, "\r\n", 2);
		body = line + n + 3;
	}
	return false;
}

static bool client_response_read(struct client_response *a, const char **at,
				 const char *end, bool head, bool eof)
{
	const char *body = strstr(*at, "\r\n\r\n");
	struct slice length;
	size_t n;

	*a = (struct client_response){ .status = 0 };
	if (!body)
		return false;
	body += 4;
	assert_memory_equal(*at, "HTTP/1.1 ", 9);
	a->status = atoi(*at + 9);
	a->head = (struct slice){ *at, (size_t)(body - *at) };
	a->close = slice_equal(client_response_field(a, "Connection"), SLICE("close"));
	length = client_response_field(a, "Content-Length");
	if (a->status < 200 || a->status == 204 || a->status == 304 || head) {
		*at = body;
	} else if (length.ptr) {
		n = strtoul(length.ptr, NULL, 10);
		if ((size_t)(end - body) < n)
			return false;
		a->body = (struct slice){ body, n };
		*at = body + n;
	} else if (client_response_field(a, "Transfer-Encoding").ptr) {
		*at = body;
		return client_response_read_chunked(a, at, end);
	} else {
		a->close = true;
		a->body = (struct slice){ body, (size_t)(end - body) };
		*at = end;
		return eof;
	}
	return true;
}

unsigned client_responses_read(const struct sim_peer *a,
			       struct client_response *responses, unsigned max,
			       uint64_t heads, struct slice *rest)
{
	const char *at = a->in, *end = a->in + a->in_n, *before = at;
	unsigned n = 0;

	while (n < max) {
		before = at;
		if (!client_response_read(&responses[n], &at, end, heads >> n & 1,
					  a->eof)) {
			free(responses[n].room);
			at = before;
			break;
		}
		if (responses[n].status >= 200 || responses[n].status == 101)
			n++;
		if (n > 0 && responses[n - 1].status == 101)
			break;
	}
	*rest = (struct slice){ at, (size_t)(end - at) };
	return n;
}

void client_responses_free(struct client_response *responses, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(responses[i].room);
}
