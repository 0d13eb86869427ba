/* Texts that look like a feature that a key does not have: each is reported, and the remedy removes
 * the message. And values that have several spellings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/check.h"
#include "config/config.h"
#include "http/lenient.h"

#define REST                                                                              \
	"upstreams: { app: { servers: [127.0.0.1:1] }, mc: { protocol: memcached, servers: " \
	"[127.0.0.1:2] } }\n"
#define MC "  - { path: /mc, memcached: { upstream: mc, key: k } }\n"
#define ALL "  - { prefix: /, proxy: { upstream: app } }\n"

static char *messages_of(const char *text, struct config **c)
{
	char *all = NULL;
	size_t size;
	FILE *out = open_memstream(&all, &size);

	*c = config_read_text("f", slice_of(text), out);
	fclose(out);
	return all;
}

/* Routes, from line 4 on: the message about the first text, and none about the second, which
 * applies its remedy. */
static const struct {
	const char *text, *message, *corrected;
} routes[] = {
	{ "  - { path: /api/*, proxy: { upstream: app } }\n",
	  "f:4:18: warning: 'path' takes no patterns, so '*' is matched literally; "
	  "write 'prefix: /api/' to match all paths that begin with it\n",
	  "  - { prefix: /api/, proxy: { upstream: app } }\n" },
	{ "  - { prefix: /api/*, proxy: { upstream: app } }\n",
	  "f:4:20: warning: 'prefix' takes no patterns, so '*' is matched literally; "
	  "write 'prefix: /api/' to match all paths that begin with it\n",
	  "  - { prefix: /api/, proxy: { upstream: app } }\n" },
	{ "  - { path: \"/u/{id}/x\", proxy: { upstream: app } }\n",
	  "f:4:17: warning: 'path' takes no patterns, so '{id}' is matched "
	  "literally; write 'prefix: /u/' to match all paths that begin with it\n",
	  "  - { prefix: /u/, proxy: { upstream: app } }\n" },
	{ "  - { path: /u/:id, proxy: { upstream: app } }\n",
	  "f:4:16: warning: 'path' takes no patterns, so ':id' is matched literally; "
	  "write 'prefix: /u/' to match all paths that begin with it\n",
	  "  - { prefix: /u/, proxy: { upstream: app } }\n" },
	{ "  - { path: \"/u(/.*)?$\", proxy: { upstream: app } }\n",
	  "f:4:13: 'path' contains '?'; write only the part before it\n"
	  "f:4:16: warning: 'path' takes no patterns, so '(/.*)' is matched literally; write "
	  "'prefix: /u' to match all paths that begin with it\n",
	  "  - { prefix: /u, proxy: { upstream: app } }\n" },
	{ "  - { path: \"/u/(a|b)\", proxy: { upstream: app } }\n",
	  "f:4:17: warning: 'path' takes no patterns, so '(a|b)' is matched "
	  "literally; write 'prefix: /u/' to match all paths that begin with it\n",
	  "  - { prefix: /u/, proxy: { upstream: app } }\n" },
	{ "  - { path: \"/u/${host}\", proxy: { upstream: app } }\n",
	  "f:4:17: 'path' cannot contain variables; write the text itself\n",
	  "  - { path: /u/x, proxy: { upstream: app } }\n" },
	{ "  - { path: \"http://h/u\", proxy: { upstream: app } }\n",
	  "f:4:13: 'path' takes no URL; write '/u'\n",
	  "  - { path: /u, proxy: { upstream: app } }\n" },
	{ "  - { path: /a, proxy: { upstream: app, path: \"/${path.rest}\" } }\n",
	  "f:4:49: 'path' cannot contain variables; write the text itself\n",
	  "  - { path: /a, proxy: { upstream: app, path: /b } }\n" },
	{ "  - { path: /a, proxy: { upstream: app, path: /x/$1 } }\n",
	  "f:4:50: warning: 'path' takes no patterns or variables, so '$1' is sent "
	  "literally; write the path itself\n",
	  "  - { path: /a, proxy: { upstream: app, path: /x/y } }\n" },
	{ "  - { path: /a, proxy: { upstream: app, path: $uri } }\n",
	  "f:4:47: warning: 'path' takes no patterns or variables, so '$uri' is sent literally; "
	  "write the path itself\n"
	  "f:4:47: 'path' does not begin with '/'; write '/$uri'\n",
	  "  - { path: /a, proxy: { upstream: app, path: /x } }\n" },
	{ "  - { path: /a, proxy: { upstream: app, path: /x$uri } }\n",
	  "f:4:49: warning: 'path' takes no patterns or variables, so '$uri' is sent "
	  "literally; write the path itself\n",
	  "  - { path: /a, proxy: { upstream: app, path: /x } }\n" },
	{ "  - { path: /a, proxy: { upstream: app, path: 'https://h/x' } }\n",
	  "f:4:47: 'path' takes no URL; write '/x'\n",
	  "  - { path: /a, proxy: { upstream: app, path: /x } }\n" },
	{ "  - { path: /a, proxy: { upstream: app, host: 'https://h:8/x' } }\n",
	  "f:4:47: 'host' takes no URL; write 'h:8'\n",
	  "  - { path: /a, proxy: { upstream: app, host: 'h:8' } }\n" },
	{ "  - { path: /a, host: _, proxy: { upstream: app } }\n",
	  "f:4:23: warning: 'host' matches only a host with this name; remove the "
	  "key to match any host\n",
	  "  - { path: /a, proxy: { upstream: app } }\n" },
	{ "  - { path: /a, host: 'http://h/', proxy: { upstream: app } }\n",
	  "f:4:23: 'host' takes no URL; write 'h'\n",
	  "  - { path: /a, host: h, proxy: { upstream: app } }\n" },
	{ "  - { path: /a, memcached: { upstream: mc, key: \"a{path}\" } }\n",
	  "f:4:51: warning: '{path}' is literal text; write '${path}' for a "
	  "variable\n",
	  "  - { path: /a, memcached: { upstream: mc, key: \"a${path}\" } }\n" },
	{ "  - { path: /a, memcached: { upstream: mc, key: a, content_type: json } }\n",
	  "f:4:66: warning: 'json' is not a media type; write TYPE/SUBTYPE, as in "
	  "text/plain\n",
	  "  - { path: /a, memcached: { upstream: mc, key: a, content_type: text/json } }\n" },
	/* Paths that look unusual, but are not suspicious. */
	{ "  - { path: /odata/$metadata, proxy: { upstream: app, path: '/a:b/c;d=e/~f/@g' } }\n",
	  "",
	  "  - { path: /odata/$metadata, proxy: { upstream: app, path: '/a[]' } }\n" },
};

static void test_routes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(routes); i++) {
		for (int corrected = 0; corrected < 2; corrected++) {
			char text[1024];
			struct config *c;
			char *errors;

			snprintf(text, sizeof(text),
				 "listen: 8080\n" REST "routes:\n%s" MC ALL,
				 corrected ? routes[i].corrected : routes[i].text);
			errors = messages_of(text, &c);
			assert_string_equal(errors, corrected ? "" : routes[i].message);
			config_free(c);
			free(errors);
		}
	}
}

/* The first line of a file, the message about it, and the line with the remedy applied. */
static void test_top_level(void **state)
{
	static const struct {
		const char *line, *message, *corrected;
	} rows[] = {
		{ "access_log: { path: stdout }\n",
		  "f:1:21: warning: 'stdout' is taken as the name of a file; write \"-\" for "
		  "standard output\n",
		  "access_log: { path: \"-\" }\n" },
		{ "access_log: { path: off }\n",
		  "f:1:21: 'path' is the name of a file; write 'access_log: off' to disable "
		  "the log\n",
		  "access_log: off\n" },
		{ "access_log: { path: 'syslog:server=h' }\n",
		  "f:1:21: 'path' is the name of a file; write /PATH, or \"-\" for standard "
		  "output; or 'syslog: ADDRESS' or 'journald: on' instead of it\n",
		  "access_log: { journald: on }\n" },
		{ "access_log: { path: journald }\n",
		  "f:1:21: 'path' is the name of a file; write /PATH, or \"-\" for standard "
		  "output; or 'syslog: ADDRESS' or 'journald: on' instead of it\n",
		  "access_log: { syslog: 'unix:/dev/log' }\n" },
		{ "access_log: { path: '/log/${host}' }\n",
		  "f:1:27: 'path' cannot contain variables; write the text itself\n",
		  "access_log: { path: /log/x }\n" },
		{ "admin: ':9180'\n",
		  "f:1:8: ':9180' has no host; write 127.0.0.1:9180, or 0.0.0.0:9180 for all "
		  "IPv4 addresses\n",
		  "admin: 127.0.0.1:9180\n" },
		{ "admin: '*:9180'\n",
		  "f:1:8: '*:9180' has no host; write 127.0.0.1:9180, or 0.0.0.0:9180 for "
		  "all IPv4 addresses\n",
		  "admin: 0.0.0.0:9180\n" },
		{ "admin: 9180\n", "f:1:8: '9180' has no host; write 127.0.0.1:9180\n",
		  "admin: 127.0.0.1:9180\n" },
		{ "control: 'unix:/run/${x}'\n",
		  "f:1:10: an address cannot contain variables; write the address itself\n",
		  "control: unix:/run/x\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (int corrected = 0; corrected < 2; corrected++) {
			char text[1024];
			struct config *c;
			char *errors;

			snprintf(text, sizeof(text),
				 "%slisten: [8080]\n" REST "routes:\n" MC ALL,
				 corrected ? rows[i].corrected : rows[i].line);
			errors = messages_of(text, &c);
			assert_string_equal(errors, corrected ? "" : rows[i].message);
			config_free(c);
			free(errors);
		}
	}
}

/* The warning is printed when the file is read, not again when its snapshot is read. */
static void test_unused_upstream(void **state)
{
	static const char text[] = "listen: 8080\n" REST "routes:\n" ALL;
	struct config *c, *again;
	char *errors = messages_of(text, &c), *more = NULL;
	size_t size;
	FILE *out;

	(void)state;
	assert_string_equal(errors, "f:2:47: warning: no route uses 'mc'; use it in a route, or "
				    "remove it\n");
	free(errors);
	assert_non_null(c);
	out = open_memstream(&more, &size);
	again = config_read_snapshot(c->snapshot, out);
	fclose(out);
	assert_non_null(again);
	assert_string_equal(more, "");
	free(more);
	config_free(again);
	config_free(c);
	errors = messages_of("listen: 8080\n" REST "routes:\n" MC ALL, &c);
	assert_string_equal(errors, "");
	config_free(c);
	free(errors);
}

static struct config *read_accepted(const char *text)
{
	struct config *c;
	char *errors = messages_of(text, &c);

	assert_string_equal(errors, "");
	free(errors);
	return c;
}

/* A port without host listens on both address families, and is printed as one entry. */
static void test_ports_without_host(void **state)
{
	static const char *const ways[] = { "8080", "\":8080\"", "[8080]", "[\":8080\"]", "'*:8080'",
					    "[{ address: 8080 }]" };

	(void)state;
	for (size_t i = 0; i < COUNT(ways); i++) {
		char text[1024], *printed = NULL;
		struct config *c;
		size_t size;
		FILE *out;

		snprintf(text, sizeof(text), "listen: %s\n" REST "routes:\n" MC ALL, ways[i]);
		c = read_accepted(text);
		assert_int_equal(c->listen_n, 2);
		assert_string_equal(c->listens[0].text, "0.0.0.0:8080");
		assert_string_equal(c->listens[1].text, "[::]:8080");
		assert_int_equal(c->listens[0].sa.ss_family, AF_INET);
		assert_int_equal(c->listens[1].sa.ss_family, AF_INET6);
		assert_int_equal(c->listens[0].half, CONFIG_HALF_IPV4);
		assert_int_equal(c->listens[1].half, CONFIG_HALF_IPV6);
		out = open_memstream(&printed, &size);
		config_print(c, out);
		fclose(out);
		config_free(c);
		assert_non_null(strstr(printed, "listen:\n  - address: \":8080\"\n"));
		assert_null(strstr(printed, "[::]"));
		c = read_accepted(printed);
		assert_int_equal(c->listen_n, 2);
		config_free(c);
		free(printed);
	}
}

/* Synonyms of on and off, days, a single value instead of a list, anchors and merge keys. */
static void test_spellings(void **state)
{
	static const char text[] =
		"x-common: &common { servers: 127.0.0.1:1, keepalive: 7, connect_timeout: 2s }\n"
		"x-hosts: &hosts [127.0.0.1:2, 127.0.0.1:3]\n"
		"listen: 127.0.0.1:80\n"
		"study: Yes\n"
		"sandbox: no\n"
		"access_log: { format: No }\n"
		"trusted_proxies: unix\n"
		"upstreams:\n"
		"  a: { forwarded: true, via: no, <<: *common, keepalive: &n 9 }\n"
		"  b: { <<: [*common, { keepalive: 8, queue: *n }] }\n"
		"  c: { servers: *hosts, response_timeout: 1d, health_check: false }\n"
		"  d: { servers: { address: 127.0.0.1:4, backup: false }, lenient: lf,\n"
		"       eject_failures: no, slow_start: False, requests: no }\n"
		"routes:\n"
		"  - { path: /a, proxy: &p { upstream: a }, retry: { on: 503 } }\n"
		"  - { path: /b, proxy: { <<: *p, upstream: b } }\n"
		"  - { path: /c, proxy: { upstream: c } }\n"
		"  - { path: /d, proxy: { upstream: d } }\n"
		"  - { path: /e, proxy: *p }\n";
	struct config *c = read_accepted(text);

	(void)state;
	assert_true(c->study && !c->sandbox && c->trust.unix_sockets);
	assert_int_equal(c->log_n, 0);
	assert_true(c->upstreams[0].forwarded && c->upstreams[0].via.len == 0);
	assert_int_equal(c->upstreams[0].keepalive, 9);
	assert_int_equal(c->upstreams[0].connect_timeout_ms, 2000);
	assert_int_equal(c->upstreams[1].keepalive, 7);
	assert_int_equal(c->upstreams[1].queue, 9);
	assert_int_equal(c->upstreams[2].server_n, 2);
	assert_int_equal(c->upstreams[2].response_timeout_ms, 86400000);
	assert_int_equal(c->upstreams[3].server_n, 1);
	assert_int_equal(c->upstreams[3].lenient, 1u << LENIENT_COLON | 1u << LENIENT_LF);
	assert_int_equal(c->upstreams[3].eject_failures, 0);
	assert_int_equal(c->upstreams[3].slow_start_ms, 0);
	assert_int_equal(c->routes[0].retry->on, 1u << CONFIG_RETRY_503);
	assert_int_equal(c->routes[1].proxy->upstream, 1);
	assert_int_equal(c->routes[4].proxy->upstream, 0);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_top_level),
		cmocka_unit_test(test_unused_upstream),
		cmocka_unit_test(test_ports_without_host),
		cmocka_unit_test(test_spellings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
