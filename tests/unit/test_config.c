#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "config/config.h"
#include "study/study.h"
#include "lib/guard.h"

#define LISTEN_AND_ROUTES           \
	"listen: [127.0.0.1:8080]\n" \
	"routes: [{ prefix: /, proxy: { upstream: app } }]\n"

#define LEAST                                                                          \
	"listen: [127.0.0.1:8080]\n"                                                   \
	"upstreams: { app: { servers: [127.0.0.1:6000] }, mc: { protocol: memcached, " \
	"servers: [127.0.0.1:11211] } }\n"                                             \
	"routes: [{ prefix: /, proxy: { upstream: app } }]\n"

/* Each key at least once, with another value than its default. */
static const char all_keys[] =
	"workers: 3\n"
	"engine: epoll\n"
	"listen:\n"
	"  - 127.0.0.1:8080\n"
	"  - { address: \"[::1]:8080\" }\n"
	"  - \"unix:/run/\\\"fair\\\"\\u00e9\"\n"
	"admin: localhost:9180\n"
	"access_log: { path: \"/var/log/a \\\"b\\\" \\\\ \\u00e9\\U0001F600\\u0085.log\", "
	"format: json }\n"
	"user: 4000000001\n"
	"group: root\n"
	"sandbox: off\n"
	"study: true\n"
	"resolver: { servers: [127.0.0.1:5353, \"[::1]:54\", 10.0.0.1, \"::2\"], ttl_min: 2s, "
	"ttl_max: 10m, family: ipv4 }\n"
	"addresses: { home: [10.1.0.0/16, unix], work: ['@home', 192.0.2.1] }\n"
	"trusted_proxies: [10.0.0.0/8, unix, \"::ffff:192.0.2.0/120\", \"2001:db8::/32\", "
	"'@home', '@work']\n"
	"upstreams:\n"
	"  app:\n"
	"    servers:\n"
	"      - 127.0.0.1:6000\n"
	"      - { address: \"[::1]:6001\", name: b, weight: 2, backup: true }\n"
	"      - { name: c, address: unix:/run/app }\n"
	"    forwarded: on\n"
	"    via: edge-1.example\n"
	"    balance: hash\n"
	"    hash: \"a${header.X-A}\"\n"
	"    hash_balance_factor: 150\n"
	"    slow_start: 30s\n"
	"    requests: 12\n"
	"    eject_on: gateway\n"
	"    eject_failures: off\n"
	"    eject_rate: 50\n"
	"    eject_time: 3s\n"
	"    eject_max_percent: 0\n"
	"    health_check: { path: /ok, host: x:81, status: \"200-299, 404\", port: 82, interval: "
	"2s, jitter: 0, timeout: 100ms, rise: 1, fall: 9 }\n"
	"    connect_timeout: 1500ms\n"
	"    response_timeout: 2m\n"
	"    keepalive: 0\n"
	"    connections: 17\n"
	"    queue: 0\n"
	"    queue_timeout: 0.25s\n"
	"  'null':\n"
	"    servers: [127.0.0.1:11211]\n"
	"    protocol: memcached\n"
	"    health_check: { type: tcp }\n"
	"    timeout: 1.5h\n"
	"    pipeline: 1\n"
	"    connections_per_server: 65535\n"
	"    value_max: 512MiB\n"
	"routes:\n"
	"  - path: /cache\n"
	"    host: Example.ORG\n"
	"    memcached: { upstream: 'null', key: \"a$$b\\u00e9${path.rest}${cookie.s}\", "
	"content_type: 'text/plain; a=\"b\"', command: mg, miss: next }\n"
	"  - path: /sync\n"
	"    methods: [POST, GET]\n"
	"    rate_limit: { requests: 100/m, burst: 5, key: \"${header.X-D}\", delay: 1500ms, "
	"shared: { upstream: 'null', timeout: 20ms } }\n"
	"    concurrency_limit: { requests: 7, ipv6_prefix: 48, dry_run: on }\n"
	"    request_fields: { remove: [X-A, X-B], set: { X-C: \"$${path}${header.X-D}\" }, "
	"add: { X-E: [a, b, c], \"|f'\": \"a \\\"b\" } }\n"
	"    response_fields: { set: { X-G: h, Server: '-' } }\n"
	"    cdn_loop: edge\n"
	"    proxy: { upstream: app, path: /%20, host: example.org:81 }\n"
	"    deadline: 5s\n"
	"    retry: { on: [connect, malformed, 429], tries: 16, per_try_timeout: 1500ms, "
	"methods: all, budget_percent: 0, budget_per_second: 7, body: none, backoff: 1ms }\n"
	"    hedge: { percentile: 99, budget_percent: 3, budget_per_second: 4 }\n"
	"  - path: /block\n"
	"    block: { url: \"http://[::1]:6000/x?y=z\" }\n"
	"  - path: /block2\n"
	"    half_close: allow\n"
	"    block: { url: http://127.0.0.1 }\n"
	"  - path: /cpu\n"
	"    cpu: { ms: 10, ms_max: 20, on: pool }\n"
	"  - path: /page\n"
	"    join:\n"
	"      check:\n"
	"        memcached: { upstream: 'null', key: \"${header.X-Session}\" }\n"
	"        login: https://example.org/login\n"
	"      parts:\n"
	"        cached: { memcached: { upstream: 'null', key: foo, command: mg } }\n"
	"        origin: { proxy: { upstream: app } }\n"
	"  - prefix: /api\n"
	"    join: { parts: { one: { proxy: { upstream: app, path: / } } } }\n"
	"  - prefix: /rewritten\n"
	"    proxy: { upstream: app }\n"
	"    rewrite: { strip: /a, pattern: '^(\\d)$', to: '/x${1}$$', add: /b }\n"
	"  - prefix: /replaced\n"
	"    proxy: { upstream: app }\n"
	"    rewrite: { replace: '/a${path.rest}$$' }\n"
	"    via_loop: 3\n"
	"    mirror: { upstream: app, share: 0.25%, request_body: none, requests: 7, "
	"timeout: 90s, host: m.example }\n"
	"    rewrite_location: { default: off, replace: [{ from: //a/b, to: '/c$$${path}' }, "
	"{ from: https://d, to: 'https://${host}' }] }\n"
	"    rewrite_cookies: { default: off, secure: on, http_only: off, same_site: none, "
	"path: [{ from: /, to: '/$a' }], domain: [{ from: '*', to: off }, { from: b, to: c }] }\n"
	"  - path: /text\n"
	"    respond: { status: 404, body: \"a\\n\\\"$b\", content_type: text/x }\n"
	"  - { path: /none, respond: { status: 204 } }\n"
	"  - prefix: /\n"
	"    proxy: { upstream: app }\n"
	"limits: { connections: 10, request_head: 2KiB, headers: 7, request_body: none, "
	"window: 32KiB, buffers: 1GiB, backlog: 5, header_timeout: 1ms, idle_timeout: 2s, "
	"send_timeout: 3m, receive_timeout: 24h, drain_timeout: 90s }\n";

/* Removes the lines that contain `what`. */
static void lines_remove(char *lines, const char *what)
{
	char *next;

	for (char *line = lines; *line; line = next) {
		char *end = strchr(line, '\n') + 1;
		char *found = strstr(line, what);

		next = end;
		if (found && found < end) {
			memmove(line, end, strlen(end) + 1);
			next = line;
		}
	}
}

static struct config *read_accepted(struct slice text)
{
	char *errors = NULL;
	size_t size;
	FILE *out = open_memstream(&errors, &size);
	struct config *c = config_read_text("some.yaml", text, out);

	fclose(out);
	lines_remove(errors, ": warning: no route uses ");
	assert_string_equal(errors, "");
	assert_non_null(c);
	free(errors);
	return c;
}

static struct slice print(const struct config *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	config_print(c, out);
	fclose(out);
	return (struct slice){ text, size };
}

static void test_defaults(void **state)
{
	struct config *c = read_accepted(SLICE(LEAST));
	const struct config_upstream *app = &c->upstreams[0], *mc = &c->upstreams[1];
	const struct config_limits *l = &c->limits;

	(void)state;
	assert_string_equal(c->file, "some.yaml");
	assert_int_equal(c->workers, 0);
	assert_int_equal(c->engine, CONFIG_ENGINE_AUTO);
	assert_false(c->has_admin);
	assert_int_equal(c->log_n, 0);
	assert_string_equal(c->user, "nobody");
	assert_int_not_equal(c->uid, 0);
	assert_int_not_equal(c->gid, 0);
	assert_true(c->sandbox);
	assert_false(c->study);
	assert_int_equal(app->protocol, CONFIG_HTTP);
	assert_int_equal(app->balance, CONFIG_ROUND_ROBIN);
	assert_int_equal(app->requests, 0);
	assert_int_equal(app->slow_start_ms, 0);
	assert_int_equal(app->eject_on, CONFIG_EJECT_ON_CONNECTION);
	assert_int_equal(app->eject_failures, 5);
	assert_int_equal(app->eject_rate, 0);
	assert_int_equal(app->eject_time_ms, 10000);
	assert_int_equal(app->eject_max_percent, 50);
	assert_false(app->servers[0].backup);
	assert_int_equal(app->connect_timeout_ms, 1000);
	assert_int_equal(app->response_timeout_ms, 60000);
	assert_int_equal(app->keepalive, 256);
	assert_int_equal(app->connections, 0);
	assert_int_equal(app->queue, 1024);
	assert_int_equal(app->queue_timeout_ms, 1000);
	assert_int_equal(app->servers[0].weight, 1);
	assert_string_equal(app->servers[0].name, "127.0.0.1:6000");
	assert_false(app->health.on);
	assert_null(app->servers[0].host);
	assert_false(c->resolver.off);
	assert_null(c->resolver.servers);
	assert_int_equal(c->resolver.ttl_min_ms, 1000);
	assert_int_equal(c->resolver.ttl_max_ms, 300000);
	assert_int_equal(c->resolver.family, CONFIG_FAMILY_ANY);
	assert_false(c->trust.unix_sockets);
	assert_int_equal(c->trust.range_n, 0);
	assert_int_equal(mc->index, 1);
	assert_int_equal(mc->protocol, CONFIG_MEMCACHED);
	assert_int_equal(mc->timeout_ms, 5000);
	assert_int_equal(mc->pipeline, 64);
	assert_int_equal(mc->links, 4);
	assert_int_equal(mc->value_max, 1 << 20);
	assert_int_equal(c->routes[0].line, 3);
	assert_int_equal(l->connections, 0);
	assert_int_equal(l->request_head, 16384);
	assert_int_equal(l->headers, 100);
	assert_int_equal(l->request_body, 64 << 20);
	assert_int_equal(l->window, 256 << 10);
	assert_int_equal(l->buffers, 256 << 20);
	assert_int_equal(l->backlog, 4096);
	assert_int_equal(l->header_timeout_ms, 10000);
	assert_int_equal(l->idle_timeout_ms, 60000);
	assert_int_equal(l->send_timeout_ms, 30000);
	assert_int_equal(l->receive_timeout_ms, 30000);
	assert_int_equal(l->drain_timeout_ms, 30000);
	config_free(c);
}

static void test_retry_defaults(void **state)
{
	struct config *c = read_accepted(SLICE(
		"listen: [127.0.0.1:8080]\n"
		"upstreams: { app: { servers: [127.0.0.1:6000] } }\n"
		"routes: [{ prefix: /, proxy: { upstream: app }, retry: {}, hedge: {} }]\n"));
	const struct config_route *route = c->routes;

	(void)state;
	assert_int_equal(route->deadline_ms, 0);
	assert_int_equal(route->retry->on,
			 1u << CONFIG_RETRY_CONNECT | 1u << CONFIG_RETRY_RESET |
				 1u << CONFIG_RETRY_TIMEOUT | 1u << CONFIG_RETRY_502 |
				 1u << CONFIG_RETRY_503 | 1u << CONFIG_RETRY_504);
	assert_int_equal(route->retry->tries, 3);
	assert_int_equal(route->retry->per_try_timeout_ms, 0);
	assert_false(route->retry->all_methods);
	assert_int_equal(route->retry->budget.percent, 20);
	assert_int_equal(route->retry->budget.per_second, 10);
	assert_int_equal(route->retry->body, 16384);
	assert_int_equal(route->retry->backoff_ms, 25);
	assert_int_equal(route->hedge->percentile, 95);
	assert_int_equal(route->hedge->budget.percent, 10);
	assert_int_equal(route->hedge->budget.per_second, 1);
	config_free(c);
}

static void check_upstreams(const struct config *c)
{
	const struct config_upstream *app = &c->upstreams[0], *mc = &c->upstreams[1];

	assert_int_equal(c->upstream_n, 2);
	assert_string_equal(app->name, "app");
	assert_int_equal(app->server_n, 3);
	assert_string_equal(app->servers[1].name, "b");
	assert_string_equal(app->servers[1].address, "[::1]:6001");
	assert_int_equal(app->servers[1].weight, 2);
	assert_string_equal(app->servers[2].name, "c");
	assert_int_equal(app->servers[2].addresses[0].sa.ss_family, AF_UNIX);
	assert_int_equal(app->balance, CONFIG_HASH);
	assert_int_equal(app->hash.part_n, 2);
	assert_int_equal(app->hash.parts[1].variable, VARIABLE_HEADER);
	assert_int_equal(app->hash_balance_factor, 150);
	assert_int_equal(app->slow_start_ms, 30000);
	assert_int_equal(app->requests, 12);
	assert_int_equal(app->eject_on, CONFIG_EJECT_ON_GATEWAY);
	assert_int_equal(app->eject_failures, 0);
	assert_int_equal(app->eject_rate, 50);
	assert_int_equal(app->eject_time_ms, 3000);
	assert_int_equal(app->eject_max_percent, 0);
	assert_true(app->servers[1].backup);
	assert_false(app->servers[2].backup);
	assert_int_equal(app->connect_timeout_ms, 1500);
	assert_int_equal(app->response_timeout_ms, 120000);
	assert_int_equal(app->keepalive, 0);
	assert_int_equal(app->connections, 17);
	assert_int_equal(app->queue, 0);
	assert_int_equal(app->queue_timeout_ms, 250);
	assert_string_equal(mc->name, "null");
	assert_int_equal(mc->timeout_ms, 5400000);
	assert_int_equal(mc->pipeline, 1);
	assert_int_equal(mc->links, 65535);
	assert_int_equal(mc->value_max, 512 << 20);
}

static void assert_slice(struct slice s, const char *text)
{
	assert_true(slice_equal(s, slice_of(text)));
}

static void check_watch(const struct config *c)
{
	const struct config_health *app = &c->upstreams[0].health, *mc = &c->upstreams[1].health;

	assert_string_equal(c->resolver.servers, "127.0.0.1:5353,[::1]:54,10.0.0.1:53,[::2]:53");
	assert_int_equal(c->resolver.ttl_min_ms, 2000);
	assert_int_equal(c->resolver.ttl_max_ms, 600000);
	assert_int_equal(c->resolver.family, CONFIG_FAMILY_IPV4);
	assert_true(app->on && mc->on);
	assert_int_equal(app->type, CONFIG_HEALTH_HTTP);
	assert_slice(app->path, "/ok");
	assert_slice(app->host, "x:81");
	assert_int_equal(app->status_n, 2);
	assert_int_equal(app->statuses[0].first, 200);
	assert_int_equal(app->statuses[0].last, 299);
	assert_int_equal(app->statuses[1].first, 404);
	assert_int_equal(app->statuses[1].last, 404);
	assert_int_equal(app->port, 82);
	assert_int_equal(app->interval_ms, 2000);
	assert_int_equal(app->jitter, 0);
	assert_int_equal(app->timeout_ms, 100);
	assert_int_equal(app->rise, 1);
	assert_int_equal(app->fall, 9);
	assert_int_equal(mc->type, CONFIG_HEALTH_TCP);
	assert_int_equal(mc->interval_ms, 5000);
	assert_int_equal(mc->jitter, 10);
}

static void check_routes(const struct config *c)
{
	const struct config_route *r = c->routes;
	const struct config_block *blocks[] = { r[2].options, r[3].options };
	const struct config_cpu *cpu = r[4].options;
	const struct config_join *j = r[5].options, *unchecked = r[6].options;

	assert_int_equal(c->route_n, 12);
	assert_slice(r[0].path, "/cache");
	assert_int_equal(r[0].host_n, 1);
	assert_slice(r[0].hosts[0], "example.org");
	assert_false(r[0].prefix);
	assert_ptr_equal(r[0].action, &action_memcached.config);
	assert_true(r[0].passes_on);
	assert_int_equal(r[0].memcached->upstream, 1);
	assert_int_equal(r[0].memcached->key.part_n, 4);
	assert_slice(r[0].memcached->content_type, "text/plain; a=\"b\"");
	assert_true(r[0].memcached->meta);
	assert_true(r[0].memcached->miss_next);
	assert_slice(r[1].proxy->path, "/%20");
	assert_slice(r[1].proxy->host, "example.org:81");
	assert_int_equal(r[1].deadline_ms, 5000);
	assert_int_equal(r[1].retry->on, 1u << CONFIG_RETRY_CONNECT |
						 1u << CONFIG_RETRY_MALFORMED |
						 1u << CONFIG_RETRY_429);
	assert_int_equal(r[1].retry->tries, 16);
	assert_int_equal(r[1].retry->per_try_timeout_ms, 1500);
	assert_true(r[1].retry->all_methods);
	assert_int_equal(r[1].retry->budget.percent, 0);
	assert_int_equal(r[1].retry->budget.per_second, 7);
	assert_int_equal(r[1].retry->body, 0);
	assert_int_equal(r[1].retry->backoff_ms, 1);
	assert_int_equal(r[1].hedge->percentile, 99);
	assert_int_equal(r[1].hedge->budget.percent, 3);
	assert_int_equal(r[1].hedge->budget.per_second, 4);
	assert_null(r[11].retry);
	assert_null(r[11].hedge);
	assert_slice(blocks[0]->host, "[::1]:6000");
	assert_slice(blocks[0]->path, "/x?y=z");
	assert_int_equal(blocks[0]->address->sa.ss_family, AF_INET6);
	assert_false(r[2].half_close);
	assert_true(r[3].half_close);
	assert_slice(blocks[1]->host, "127.0.0.1");
	assert_slice(blocks[1]->path, "/");
	assert_int_equal(((const struct sockaddr_in *)&blocks[1]->address->sa)->sin_port,
			 htons(80));
	assert_int_equal(cpu->ms, 10);
	assert_int_equal(cpu->ms_max, 20);
	assert_true(cpu->on_pool);
	assert_non_null(j->check);
	assert_int_equal(j->check->memcached.upstream, 1);
	assert_slice(j->login, "https://example.org/login");
	assert_int_equal(j->part_n, 2);
	assert_string_equal(j->parts[0].name, "cached");
	assert_true(j->parts[0].is_memcached);
	assert_true(j->parts[0].memcached.meta);
	assert_false(j->parts[1].is_memcached);
	assert_null(unchecked->check);
	assert_true(r[11].prefix);
	assert_int_equal(r[11].proxy->path.len, 0);
}

/* Ranges are sorted, and merged if they overlap. */
static void check_trust(const struct config *c)
{
	static const struct {
		const char *ip;
		bool is;
	} cases[] = {
		{ "9.255.255.255", false }, { "10.0.0.0", true },   { "10.255.255.255", true },
		{ "192.0.1.255", false },   { "192.0.2.9", true },  { "2001:db8::1", true },
		{ "2001:db9::", false },    { "::10.0.0.1", false },
	};

	assert_true(c->trust.unix_sockets);
	assert_int_equal(c->trust.text_n, 6);
	assert_int_equal(c->trust.range_n, 3);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct ip ip;

		assert_true(ip_parse(&ip, slice_of(cases[i].ip)));
		assert_int_equal(ip_ranges_contain(c->trust.ranges, c->trust.range_n, &ip),
				 cases[i].is);
	}
	assert_true(c->upstreams[0].forwarded);
	assert_slice(c->upstreams[0].via, "edge-1.example");
}

static void test_all_keys(void **state)
{
	struct config *c = read_accepted(SLICE(all_keys));

	(void)state;
	assert_int_equal(c->workers, 3);
	assert_int_equal(c->engine, CONFIG_ENGINE_EPOLL);
	assert_int_equal(c->listen_n, 3);
	assert_int_equal(c->listens[1].sa.ss_family, AF_INET6);
	assert_string_equal(((struct sockaddr_un *)&c->listens[2].sa)->sun_path,
			    "/run/\"fair\"\u00e9");
	assert_true(c->has_admin);
	assert_int_equal(c->log_n, 1);
	assert_int_equal(c->logs[0].format, CONFIG_LOG_JSON);
	assert_string_equal(c->logs[0].path,
			    "/var/log/a \"b\" \\ \u00e9\U0001F600\xc2\x85.log");
	assert_int_equal(c->uid, 4000000001u);
	assert_int_equal(c->gid, 0);
	assert_false(c->sandbox);
	assert_int_equal(c->limits.connections, 10);
	assert_int_equal(c->limits.request_body, 0);
	assert_int_equal(c->limits.header_timeout_ms, 1);
	assert_int_equal(c->limits.receive_timeout_ms, 86400000);
	check_upstreams(c);
	check_watch(c);
	check_trust(c);
	check_routes(c);
	config_free(c);
}

/* A printed configuration, when read, prints the same. */
static void test_print(void **state)
{
	static const char *const texts[] = { LEAST, all_keys };

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct config *c = read_accepted(slice_of(texts[i]));
		struct slice once = print(c), twice;

		config_free(c);
		c = read_accepted(once);
		twice = print(c);
		assert_string_equal(once.ptr, twice.ptr);
		if (texts[i] == all_keys) {
			check_upstreams(c);
			check_watch(c);
			check_routes(c);
		}
		config_free(c);
		free((char *)once.ptr);
		free((char *)twice.ptr);
	}
}

/* A snapshot is read to the same configuration, without a file or a nameserver. */
static void test_snapshot(void **state)
{
	struct config *c = read_accepted(slice_of(all_keys)), *again;
	struct slice once = print(c), twice;

	(void)state;
	again = config_read_snapshot(c->snapshot, stderr);
	assert_non_null(again);
	twice = print(again);
	assert_string_equal(once.ptr, twice.ptr);
	assert_int_equal(again->uid, c->uid);
	for (unsigned i = 0; i < c->upstream_n; i++)
		for (unsigned k = 0; k < c->upstreams[i].server_n; k++)
			assert_int_equal(c->upstreams[i].servers[k].address_n,
					 again->upstreams[i].servers[k].address_n);
	config_free(c);
	config_free(again);
	free((char *)once.ptr);
	free((char *)twice.ptr);
}

/* A snapshot that is cut at any byte is refused or read, without reading beyond its end. */
static void test_snapshot_cut(void **state)
{
	struct config *c = read_accepted(SLICE(LEAST));
	FILE *nowhere = fopen("/dev/null", "w");

	(void)state;
	for (size_t n = 0; n <= c->snapshot.len; n++)
		config_free(config_read_snapshot((struct slice){ c->snapshot.ptr, n }, nowhere));
	fclose(nowhere);
	config_free(c);
}

static void test_restart_needed(void **state)
{
	struct config
		*a = read_accepted(SLICE(LEAST)),
		*b = read_accepted(SLICE(
			LEAST
			"workers: 3\n"
			"user: root\nlimits: { buffers: 64MiB, idle_timeout: 7s }\n"));
	char text[2048] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_int_equal(config_restart_needed(a, a, out), 0);
	assert_int_equal(config_restart_needed(a, b, out), 3);
	fclose(out);
	assert_non_null(strstr(text, "'workers'"));
	assert_non_null(strstr(text, "'user'"));
	assert_non_null(strstr(text, "'limits.buffers'"));
	config_free(a);
	config_free(b);
}

/* `resolver: off` starts no resolver thread, and none can start later; the other way round no
 * restart is needed. */
static void test_restart_for_names(void **state)
{
	struct config *off = read_accepted(SLICE(LEAST "resolver: off\n")),
		      *on = read_accepted(SLICE(LEAST));
	char text[256] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_int_equal(config_restart_needed(on, off, out), 0);
	assert_int_equal(config_restart_needed(off, on, out), 1);
	fclose(out);
	assert_non_null(strstr(text, "'resolver: off' stays as it was"));
	config_free(off);
	config_free(on);
}

static void test_print_shows_defaults(void **state)
{
	static const char *const lines[] = {
		"workers: auto # a change requires an upgrade or a restart\n",
		"engine: auto # a change requires an upgrade or a restart\n",
		"access_log: off\n",       "    response_timeout: 1m\n",
		"connections: auto # a change requires an upgrade or a restart\n",
		"  request_body: 64MiB\n",
		"    queue_timeout: 1s\n", "    value_max: 1MiB\n",
		"  drain_timeout: 30s\n",    "    health_check: off\n",
		"resolver:\n  servers: system\n  ttl_min: 1s\n",
	};
	struct config *c = read_accepted(SLICE(LEAST));
	struct slice text = print(c);

	(void)state;
	for (size_t i = 0; i < COUNT(lines); i++)
		assert_non_null(strstr(text.ptr, lines[i]));
	config_free(c);
	free((char *)text.ptr);
}

/* Reads `text`: the result is either a configuration or errors. */
static void read_any(struct slice text)
{
	char *errors = NULL;
	size_t size;
	FILE *out = open_memstream(&errors, &size);
	struct config *c = config_read_text("some.yaml", text, out);

	fclose(out);
	lines_remove(errors, ": warning: ");
	assert_true((c == NULL) == (errors[0] != '\0'));
	config_free(c);
	free(errors);
}

static void test_cut_anywhere(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof(all_keys); n++) {
		char *text = guard_copy(all_keys, n);

		read_any((struct slice){ text, n });
		guard_free(text);
	}
}

/* Unix sockets only, so that no damaged name is looked up. */
static void test_damaged_anywhere(void **state)
{
	static const char text[] =
		"listen: [unix:/l]\nadmin: unix:/a\nstudy: true\n"
		"upstreams:\n  a: { servers: [unix:/s, {address: unix:/t, weight: 2}] }\n"
		"  m: { protocol: memcached, servers: [unix:/m], timeout: 1.5s }\n"
		"routes:\n  - path: /x\n    memcached: { upstream: m, key: \"a${path}$$\" }\n"
		"  - path: /p\n    join: { parts: { x: { proxy: { upstream: a } } } }\n"
		"  - prefix: /\n    proxy: { upstream: a, path: /%20 }\n"
		"limits: { window: 64KiB }\n";
	static const char damage[] = "\0\n \"'{}[],:-$&*!?#%~\xff\xc3";

	(void)state;
	config_free(read_accepted(SLICE(text)));
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		char *copy = guard_copy(text, sizeof(text) - 1);

		for (size_t j = 0; j < sizeof(damage) - 1; j++) {
			copy[i] = damage[j];
			read_any((struct slice){ copy, sizeof(text) - 1 });
		}
		guard_free(copy);
	}
}

/* The short forms of `resolver`. */
static void test_resolvers(void **state)
{
	static const struct {
		const char *text, *servers;
		bool off;
	} ways[] = {
		{ "resolver: system\n", NULL, false },
		{ "resolver: off\n", NULL, true },
		{ "resolver: 10.0.0.1\n", "10.0.0.1:53", false },
		{ "resolver: [10.0.0.1, '[::1]:5']\n", "10.0.0.1:53,[::1]:5", false },
		{ "resolver: { servers: '[::1]' }\n", "[::1]:53", false },
		{ "resolver: { servers: system, ttl_max: 2s }\n", NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(ways); i++) {
		char text[1024];
		struct config *c;
		struct slice printed;

		snprintf(text, sizeof(text), LEAST "%s", ways[i].text);
		c = read_accepted(slice_of(text));
		printed = print(c);
		config_free(c);
		c = read_accepted(printed);
		assert_int_equal(c->resolver.off, ways[i].off);
		if (ways[i].servers)
			assert_string_equal(c->resolver.servers, ways[i].servers);
		else
			assert_null(c->resolver.servers);
		config_free(c);
		free((char *)printed.ptr);
	}
}

/* A name in /etc/hosts is resolved once: no `host` for later lookups. */
static void test_hosts(void **state)
{
	struct config *c = read_accepted(SLICE(
		LISTEN_AND_ROUTES "upstreams: { app: { servers: [localhost:1] } }\n"));

	(void)state;
	assert_null(c->upstreams[0].servers[0].host);
	assert_true(c->upstreams[0].servers[0].address_n > 0);
	config_free(c);
}

static void test_file(void **state)
{
	char name[] = "/tmp/fairlead-test-XXXXXX";
	int fd = mkstemp(name);
	struct config *c;

	(void)state;
	assert_int_equal(write(fd, LEAST, sizeof(LEAST) - 1), sizeof(LEAST) - 1);
	close(fd);
	c = config_read(name, stderr);
	unlink(name);
	assert_non_null(c);
	assert_string_equal(c->file, name);
	assert_int_equal(c->route_n, 1);
	config_free(c);
}

static void test_byte_order_mark(void **state)
{
	(void)state;
	config_free(read_accepted(SLICE("\xef\xbb\xbf" LEAST)));
}

static void test_reference(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	config_reference(out);
	fclose(out);
	assert_non_null(
		strstr(text, "\n| `workers` | number | `auto` | 1 to 256, or auto | "));
	assert_non_null(
		strstr(text, "\n| `limits.window` | size: B, KiB, MiB, GiB | `256KiB` | "
			     "32KiB to 1GiB | "));
	assert_non_null(strstr(text, "| `upstreams.NAME.servers` | "));
	assert_non_null(strstr(text, "auto\\|io_uring\\|epoll"));
	assert_non_null(strstr(text, "\n| `${cookie.NAME}` | "));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_retry_defaults),
		cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_print_shows_defaults),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_snapshot_cut),
		cmocka_unit_test(test_restart_needed),
		cmocka_unit_test(test_restart_for_names),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_damaged_anywhere),
		cmocka_unit_test(test_resolvers),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_byte_order_mark),
		cmocka_unit_test(test_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
