/* The rules `rate_limit` and `concurrency_limit`, between a client and an origin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/rules/limitkey.h"
#include "lib/proxycase.h"

#define GET_KEY(path, key) "GET " path " HTTP/1.1\r\nHost: app\r\nX-Key: " key "\r\n\r\n"

static void assert_get(struct proxyrig *r, const char *request, int status,
		       const char *fields)
{
	struct sim_peer *client = proxycase_request(r, request);

	proxycase_assert_response(r, client, status, fields);
	sim_peer_close_now(client);
}

/* Nothing is counted as in flight any more. */
static void assert_no_counts(struct proxyrig *r)
{
	const struct limit_table *t = &r->limits.counts;

	SIMRIG_UNTIL(&r->sim, r->proxy.rules.taken == 0, 5000);
	for (size_t i = 0; i < (size_t)t->lines * LIMIT_LINE; i++)
		assert_int_equal(t->words[i], 0);
}

static void each_seed(void (*test)(struct proxyrig *r), const char *again)
{
	proxycase_each_seed(test, again, (struct proxyrig_options){ .again = again });
}

/* ---- rate_limit --------------------------------------------------------------- */

static void refuses(struct proxyrig *r)
{
	assert_get(r, GET("/again/length"), 200,
		   "\r\nRateLimit: \"default\";r=1;t=30\r\n");
	assert_get(r, GET("/again/length"), 200,
		   "\r\nRateLimit-Policy: \"default\";q=2;w=60\r\n");
	assert_int_equal(r->stats.rate_limits_exceeded, 0);
	assert_get(r, GET("/again/length"), 429, "\r\nRetry-After: 30\r\n");
	proxycase_assert_ending(r, ENDING_RATE_LIMITED);
	assert_int_equal(r->stats.rate_limits_exceeded, 1);
	/* Not a point in time that is later than Retry-After. */
	assert_get(r, GET("/again/length"), 429,
		   "\r\nRateLimit: \"default\";r=0;t=30\r\n");
	assert_int_equal(r->requests, 2);
	/* Other routes have nothing of it. */
	assert_get(r, GET("/length"), 200, "");
	simrig_run(&r->sim, 30100);
	assert_get(r, GET("/again/length"), 200,
		   "\r\nRateLimit: \"default\";r=0;t=30\r\n");
	assert_get(r, GET("/again/length"), 429, "error=http_request_denied");
}

static void test_refuses(void **state)
{
	(void)state;
	each_seed(refuses, "    rate_limit: 2/m\n");
}

static void keys(struct proxyrig *r)
{
	assert_get(r, GET_KEY("/again/length", "a"), 200, "");
	assert_get(r, GET_KEY("/again/length", "a"), 429, "");
	assert_get(r, GET_KEY("/again/length", "b"), 200, "");
	assert_get(r, GET_KEY("/again/length", "b"), 429, "");
	/* Without a key nothing is limited. */
	assert_get(r, GET("/again/length"), 200, "");
	assert_get(r, GET("/again/length"), 200, "");
}

static void test_keys(void **state)
{
	(void)state;
	each_seed(keys, "    rate_limit: { requests: 1/h, key: \"${header.X-Key}\" }\n");
}

/* Each waits for its turn, and none is sent earlier. */
static void delays(struct proxyrig *r)
{
	uint64_t from_ms = r->sim.tick.now_ms;
	struct sim_peer *clients[4];

	for (unsigned i = 0; i < 4; i++) {
		clients[i] = proxycase_request(r, GET("/again/length"));
		SIMRIG_UNTIL(&r->sim, r->stats.requests == i + 1, 1000);
	}
	for (unsigned i = 0; i < 3; i++) {
		proxycase_assert_response(r, clients[i], 200, "");
		assert_in_range(proxycase_elapsed_ms(r, from_ms), i * 1000,
				i * 1000 + 400);
	}
	assert_int_equal(r->stats.requests_delayed, 2);
	proxycase_assert_response(r, clients[3], 429, "\r\nRetry-After: 3\r\n");
}

static void test_delays(void **state)
{
	(void)state;
	each_seed(delays, "    rate_limit: { requests: 1/s, burst: 1, delay: 2s }\n");
}

/* One that leaves while it waits. */
static void leaves(struct proxyrig *r)
{
	struct sim_peer *client;

	assert_get(r, GET("/again/length"), 200, "");
	client = proxycase_request(r, GET("/again/length"));
	SIMRIG_UNTIL(&r->sim, r->stats.requests_delayed == 1, 1000);
	if (simrig_draw(&r->sim, 2))
		sim_peer_reset_now(client);
	else
		sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, r->proxy.rules.taken == 0, 2500);
	assert_int_equal(r->requests, 1);
}

static void test_leaves(void **state)
{
	(void)state;
	each_seed(leaves, "    rate_limit: { requests: 1/m, burst: 1, delay: 60s }\n");
}

static void dry_run(struct proxyrig *r)
{
	for (unsigned i = 0; i < 3; i++)
		assert_get(r, GET("/again/length"), 200, "");
	assert_int_equal(r->stats.rate_limits_exceeded, 2);
}

static void test_dry_run(void **state)
{
	(void)state;
	each_seed(dry_run, "    rate_limit: { requests: 1/h, dry_run: on }\n");
}

/* ---- shared -------------------------------------------------------------------- */

#define SHARED(more) "    rate_limit: { requests: 2/m, " more " }\n"

/* As another process does, after the first request has made the counter. */
static void others_count(struct proxyrig *r, uint64_t n)
{
	assert_true(r->counter_n > 0);
	r->counters[0].n += n;
}

static void shared(struct proxyrig *r)
{
	assert_get(r, GET("/again/length"), 200, "\r\nRateLimit: \"default\";r=1;t=");
	assert_int_equal(r->counter_commands, 2);
	assert_int_equal(r->counters[0].n, 1);
	others_count(r, 1);
	assert_get(r, GET("/again/length"), 429, "\r\nRateLimit: \"default\";r=0;t=");
	proxycase_assert_ending(r, ENDING_RATE_LIMITED);
	/* It is not counted there. */
	SIMRIG_UNTIL(&r->sim, r->counter_commands == 5, 1000);
	assert_int_equal(r->counters[0].n, 2);
	/* The bucket has none left either: nobody is asked. */
	assert_get(r, GET("/again/length"), 429, "\r\nRetry-After: ");
	simrig_run(&r->sim, 10);
	assert_int_equal(r->counter_commands, 5);
	assert_int_equal(r->stats.rate_limits_exceeded, 2);
	assert_int_equal(r->stats.rate_limits_shared, 2);
	assert_int_equal(r->stats.rate_limits_unshared, 0);
	/* Two windows later all is forgotten. */
	simrig_run(&r->sim, 120100);
	assert_get(r, GET("/again/length"), 200, "");
	assert_int_equal(r->requests, 2);
}

static void test_shared(void **state)
{
	(void)state;
	each_seed(shared, SHARED("shared: cache"));
}

/* Two keys, two rules, two windows: each has counters of its own, and no key shows its text. */
static void shared_keys(struct proxyrig *r)
{
	assert_get(r, GET_KEY("/again/length", "secret"), 200, "");
	assert_get(r, GET_KEY("/again/length", "other"), 200, "");
	assert_int_equal(r->counter_n, 2);
	assert_string_not_equal(r->counters[0].key, r->counters[1].key);
	simrig_run(&r->sim, 60100);
	assert_get(r, GET_KEY("/again/length", "secret"), 200, "");
	assert_int_equal(r->counter_n, 3);
	for (unsigned i = 0; i < r->counter_n; i++) {
		assert_null(strstr(r->counters[i].key, "secret"));
		assert_int_equal(r->counters[i].n, 1);
		assert_true(memcache_key_valid(slice_of(r->counters[i].key)));
	}
	/* Only the number of the window differs. */
	assert_memory_equal(r->counters[0].key, r->counters[2].key, 8 + 64);
}

static void test_shared_keys(void **state)
{
	(void)state;
	each_seed(shared_keys, SHARED("shared: cache, key: \"${header.X-Key}\""));
}

/* What the memcached says cannot be right, or it says nothing: the bucket has decided. */
static void useless(struct proxyrig *r, const char *reply)
{
	r->counter_reply = reply;
	assert_get(r, GET("/again/length"), 200,
		   "\r\nRateLimit: \"default\";r=1;t=30\r\n");
	assert_int_equal(r->stats.rate_limits_unshared, 1);
	assert_get(r, GET("/again/length"), 200, "");
	assert_get(r, GET("/again/length"), 429, "");
	assert_int_equal(r->stats.rate_limits_unshared, 2);
	assert_int_equal(r->stats.rate_limits_shared, 0);
	assert_int_equal(r->requests, 2);
}

static const char *useless_reply;

static void useless_one(struct proxyrig *r)
{
	useless(r, useless_reply);
}

static void test_useless(void **state)
{
	static const char *const replies[] = {
		"SERVER_ERROR out of memory storing object\r\n",
		"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
		"ERROR\r\n",
		"NS\r\n",
		"HD\r\n",
		"VA 3\r\nabc\r\n",
		"VA 0\r\n\r\n",
		"VA 1\r\n0\r\n",
		"VA 2\r\n-1\r\n",
		"VA 3\r\n1 1\r\n",
		"VA 4\r\n9999\r\n", /* over 2 * WINDOW_PROCESSES * 2 */
		"VA 20\r\n18446744073709551615\r\n",
		"VA 30\r\n000000000000000000000000000001\r\n",
		"VALUE fl 0 1\r\n1\r\nEND\r\n",
		"VA 1\r\n1xx",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(replies); i++) {
		useless_reply = replies[i];
		each_seed(useless_one, SHARED("shared: cache"));
	}
}

/* A counter that has become shorter has a space at its end. */
static void padded(struct proxyrig *r)
{
	r->counter_reply = "VA 2\r\n2 \r\n";
	assert_get(r, GET("/again/length"), 429, "");
	assert_int_equal(r->stats.rate_limits_shared, 1);
}

static void test_padded(void **state)
{
	(void)state;
	each_seed(padded, SHARED("shared: cache"));
}

/* No reply: the request waits for `timeout` and no longer; those of the next second do not. */
static void silent(struct proxyrig *r)
{
	uint64_t from_ms = r->sim.tick.now_ms;

	r->counters_silent = true;
	assert_get(r, GET("/again/length"), 200, "");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 1500, 1500 + 400);
	assert_int_equal(r->stats.rate_limits_unshared, 1);
	from_ms = r->sim.tick.now_ms;
	assert_get(r, GET("/again/length"), 200, "");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 0, 900);
	assert_int_equal(r->counter_commands, 2);
	assert_int_equal(r->stats.rate_limits_unshared, 2);
	/* Then one is sent as a trial, and tells that there are replies again. */
	r->counters_silent = false;
	simrig_run(&r->sim, 121000);
	for (unsigned i = 0; i < 2; i++)
		assert_get(r, GET("/again/length"), 200, "");
	assert_int_equal(r->stats.rate_limits_shared, 2);
}

static void test_silent(void **state)
{
	(void)state;
	each_seed(silent, SHARED("shared: { upstream: cache, timeout: 1500ms }"));
}

static void unreachable(struct proxyrig *r)
{
	uint64_t from_ms = r->sim.tick.now_ms;

	sim_server_close(&r->memcached);
	for (unsigned i = 0; i < 2; i++)
		assert_get(r, GET("/again/length"), 200, "");
	assert_get(r, GET("/again/length"), 429, "");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 0, 2000);
	assert_int_equal(r->stats.rate_limits_unshared, 2);
	assert_int_equal(r->counter_commands, 0);
}

static void test_unreachable(void **state)
{
	(void)state;
	each_seed(unreachable, SHARED("shared: { upstream: cache, timeout: 1s }"));
}

/* Others have used the limit up: the request waits until it would be within it, and stays counted. */
static void shared_delays(struct proxyrig *r)
{
	uint64_t from_ms;

	assert_get(r, GET("/again/length"), 200, "");
	others_count(r, 1);
	from_ms = r->sim.tick.now_ms;
	assert_get(r, GET("/again/length"), 200, "");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 10, 2000);
	assert_int_equal(r->stats.requests_delayed, 1);
	assert_int_equal(r->counters[0].n, 3);
}

static void test_shared_delays(void **state)
{
	(void)state;
	each_seed(shared_delays,
		  "    rate_limit: { requests: 2/s, delay: 60s, shared: cache }\n");
}

static void shared_dry_run(struct proxyrig *r)
{
	assert_get(r, GET("/again/length"), 200, "");
	others_count(r, 5);
	assert_get(r, GET("/again/length"), 200, "");
	assert_int_equal(r->stats.rate_limits_exceeded, 1);
	simrig_run(&r->sim, 100);
	assert_int_equal(r->counters[0].n, 7);
	assert_false(proxyrig_logged(r, "RateLimit"));
}

static void test_shared_dry_run(void **state)
{
	(void)state;
	each_seed(shared_dry_run, SHARED("dry_run: on, shared: cache"));
}

/* One that leaves while it waits for the counters. */
static void leaves_asked(struct proxyrig *r)
{
	struct sim_peer *client;

	r->counters_silent = true;
	client = proxycase_request(r, GET("/again/length"));
	SIMRIG_UNTIL(&r->sim, r->counter_commands == 2, 1000);
	assert_int_equal(r->proxy.rules.taken, 1);
	if (simrig_draw(&r->sim, 2))
		sim_peer_reset_now(client);
	else
		sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, r->proxy.rules.taken == 0, 2500);
	assert_int_equal(r->requests, 0);
}

static void test_leaves_asked(void **state)
{
	(void)state;
	each_seed(leaves_asked, SHARED("shared: { upstream: cache, timeout: 10s }"));
}

/* ---- concurrency_limit -------------------------------------------------------- */

static void at_once(struct proxyrig *r)
{
	struct sim_peer *first = proxycase_request(r, GET("/again/never")), *second;

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	second = proxycase_request(r, GET("/again/never"));
	SIMRIG_UNTIL(&r->sim, r->requests == 2, 1000);
	assert_get(r, GET("/again/length"), 429, "\r\nRetry-After: 1\r\n");
	proxycase_assert_ending(r, ENDING_CONCURRENCY_LIMITED);
	assert_int_equal(r->stats.concurrency_limits_exceeded, 1);
	sim_peer_reset_now(first);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 1, 1000);
	assert_get(r, GET("/again/length"), 200, "");
	assert_get(r, GET("/again/length"), 200, "");
	sim_peer_reset_now(second);
	assert_no_counts(r);
}

static void test_at_once(void **state)
{
	(void)state;
	each_seed(at_once, "    concurrency_limit: { requests: 2 }\n");
}

static void at_once_dry(struct proxyrig *r)
{
	struct sim_peer *first = proxycase_request(r, GET("/again/never"));

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	assert_get(r, GET("/again/length"), 200, "");
	assert_int_equal(r->stats.concurrency_limits_exceeded, 1);
	sim_peer_reset_now(first);
	assert_no_counts(r);
}

static void test_at_once_dry(void **state)
{
	(void)state;
	each_seed(at_once_dry, "    concurrency_limit: { requests: 1, dry_run: on }\n");
}

/* ---- keys ---------------------------------------------------------------------- */

static const struct limits keyed = { .key = "0123456789abcdef" };

static uint64_t hash_of(const struct limit_key *k, const char *address)
{
	struct request_view view = { .client = slice_of(address) };
	struct limit_text text;

	assert_true(limit_key_text(k, &view, &text));
	return limit_text_hash(&text, &keyed);
}

/* The addresses of an IPv6 network are one client; IPv4 addresses are each their own. */
static void test_networks(void **state)
{
	struct limit_key k = { .ipv6_prefix = 64 };
	struct limits other = keyed;
	uint64_t hash = hash_of(&k, "2001:db8::1");
	struct limit_text text;

	(void)state;
	assert_int_equal(hash_of(&k, "2001:db8::ffff:1:2"), hash);
	assert_int_not_equal(hash_of(&k, "2001:db8:0:1::1"), hash);
	k.ipv6_prefix = 48;
	assert_int_equal(hash_of(&k, "2001:db8:0:1::1"), hash);
	k.ipv6_prefix = 128;
	assert_int_not_equal(hash_of(&k, "2001:db8::2"), hash_of(&k, "2001:db8::1"));
	assert_int_not_equal(hash_of(&k, "192.0.2.1"), hash_of(&k, "192.0.2.2"));
	assert_int_equal(hash_of(&k, "192.0.2.1"), hash_of(&k, "192.0.2.1"));
	/* Another rule, another process. */
	hash = hash_of(&k, "192.0.2.1");
	k.identity = 1;
	assert_int_not_equal(hash_of(&k, "192.0.2.1"), hash);
	other.key[15]++;
	assert_true(limit_key_text(
		&k, &(struct request_view){ .client = SLICE("192.0.2.1") }, &text));
	assert_int_not_equal(limit_text_hash(&text, &other),
			     limit_text_hash(&text, &keyed));
}

/* ---- variables ------------------------------------------------------------------- */

static struct limit_key key_of(const char *text)
{
	static struct template_part parts[4][TEMPLATE_PARTS_MAX];
	static unsigned n;
	struct limit_key k = { .ipv6_prefix = 64 };
	const char *why;
	size_t column;

	assert_int_equal(
		template_compile(&k.key, parts[n++ % 4], slice_of(text), &column, &why),
		0);
	return k;
}

/* The key of a request with these fields. False: it is not limited. */
static bool text_of(const struct limit_key *k, const char *target, const char *fields,
		    const char *address, struct limit_text *text)
{
	static struct head h;
	static const struct head_limits limits = { 65536, 100, 0 };
	static char request[16384];
	struct request_view view = { .head = &h, .client = slice_of(address) };
	uint32_t scanned = 0;

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target,
		 fields);
	assert_int_equal(
		head_parse_request(&h, request, strlen(request), &limits, &scanned),
		VERDICT_OK);
	return limit_key_text(k, &view, text);
}

static bool same_key(const struct limit_key *k, const char *target, const char *fields,
		     const char *other_target, const char *other_fields)
{
	static struct limit_text a, b;

	assert_true(text_of(k, target, fields, "192.0.2.1", &a));
	assert_true(text_of(k, other_target, other_fields, "192.0.2.1", &b));
	return a.n == b.n && memcmp(a.bytes, b.bytes, a.n) == 0;
}

/* Who sends a value beside his own neither evades his limit by it, nor charges its owner. */
static void test_several_values(void **state)
{
	static const struct {
		const char *key, *target, *own, *others, *several[6];
	} cases[] = {
		{ "${header.X-Key}",
		  "/",
		  "X-Key: me\r\n",
		  "X-Key: you\r\n",
		  { "X-Key: me\r\nX-Key: you\r\n", "X-Key: you\r\nX-Key: me\r\n",
		    "X-Key: me\r\nX_Key: you\r\n", "X_Key: you\r\n",
		    "X-Key: me\r\nX-Key:\r\n" } },
		{ "${cookie.id}",
		  "/",
		  "Cookie: id=me\r\n",
		  "Cookie: id=you\r\n",
		  { "Cookie: id=me; id=you\r\n", "Cookie: id=you; a=b; id=me\r\n",
		    "Cookie: id=me\r\nCookie: id=you\r\n", "Cookie: id=me; id=\r\n" } },
	};
	struct limit_text text, other;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct limit_key k = key_of(cases[i].key);

		for (unsigned j = 0; cases[i].several[j]; j++) {
			assert_false(same_key(&k, "/", cases[i].several[j], "/",
					      cases[i].own));
			assert_false(same_key(&k, "/", cases[i].several[j], "/",
					      cases[i].others));
			/* By address, whatever they are. */
			assert_true(same_key(&k, "/", cases[i].several[j], "/",
					     cases[i].several[0]));
			text_of(&k, "/", cases[i].several[j], "192.0.2.1", &text);
			text_of(&k, "/", cases[i].several[j], "192.0.2.2", &other);
			assert_true(text.n != other.n ||
				    memcmp(text.bytes, other.bytes, text.n) != 0);
		}
		assert_false(same_key(&k, "/", cases[i].own, "/", cases[i].others));
		assert_false(text_of(&k, "/", "", "192.0.2.1", &text));
	}
}

static void test_several_parameters(void **state)
{
	struct limit_key k = key_of("${query.k}");
	struct limit_text text;

	(void)state;
	assert_false(same_key(&k, "/?k=a&k=b", "", "/?k=a", ""));
	assert_false(same_key(&k, "/?k=a&k=b", "", "/?k=b", ""));
	assert_true(same_key(&k, "/?k=a&k=b", "", "/?k=%zz&x&k=a", ""));
	/* The same value twice is one. */
	assert_true(same_key(&k, "/?k=a&k=a", "", "/?k=%61", ""));
	assert_false(text_of(&k, "/?k=%zz", "", "192.0.2.1", &text));
	k = key_of("${header.X-Key}");
	assert_true(same_key(&k, "/", "X-Key: a\r\nX-Key: a\r\n", "/", "X-Key: a\r\n"));
	k = key_of("${cookie.id}");
	assert_true(same_key(&k, "/", "Cookie: id=a; id=a\r\n", "/", "Cookie: id=a\r\n"));
}

/* The end of one value is not the beginning of the next. */
static void test_parts(void **state)
{
	struct limit_key k = key_of("${header.A}${header.B}");
	static char big[2][5000];

	(void)state;
	assert_false(same_key(&k, "/", "A: x\r\nB: yz\r\n", "/", "A: xy\r\nB: z\r\n"));
	assert_true(same_key(&k, "/", "A: x\r\nB: yz\r\n", "/", "B: yz\r\nA: x\r\n"));
	/* All that are too long are one. */
	for (unsigned i = 0; i < 2; i++) {
		memset(big[i], 'a' + (int)i, sizeof(big[i]));
		memcpy(big[i], "B: b\r\nA: ", 9);
		memcpy(big[i] + 4000, "\r\n", 3);
	}
	assert_true(same_key(&k, "/", big[0], "/", big[1]));
	assert_false(same_key(&k, "/", big[0], "/", "A: x\r\nB: yz\r\n"));
}

/* ---- which rule ------------------------------------------------------------------ */

#define FILE_BEGIN \
	"listen: [127.0.0.1:8080]\nupstreams: { app: { servers: [127.0.0.1:1] } }\n"

/* The identities of the first rules of all routes, by their order. */
static unsigned identities_of(const char *routes, uint64_t identities[8])
{
	char text[2000];
	struct config *config;
	unsigned n = 0;

	snprintf(text, sizeof(text), FILE_BEGIN "%s", routes);
	config = config_read_text("test", slice_of(text), NULL);
	assert_non_null(config);
	for (unsigned i = 0; i < config->route_n && n < 8; i++)
		if (config->routes[i].rules)
			/* The key is the first member of the options. */
			identities[n++] = ((const struct limit_key *)config->routes[i]
						   .rules->of[0]
						   .options)
						  ->identity;
	config_free(config);
	return n;
}

#define ROUTE(match, rest) "  - { " match ", proxy: { upstream: app }" rest " }\n"

/* A reload that moves rules leaves each what it has counted. */
static void test_moved(void **state)
{
	uint64_t before[8], after[8];

	(void)state;
	assert_int_equal(
		identities_of("routes:\n" ROUTE("path: /login", ", rate_limit: 10/m")
				      ROUTE("prefix: /", ", rate_limit: 10/m"),
			      before),
		2);
	assert_int_equal(
		identities_of("routes:\n" ROUTE("path: /new", ", rate_limit: 10/m") ROUTE(
				      "path: /login", ", rate_limit: { requests: 20/m }")
				      ROUTE("prefix: /", ", rate_limit: 10/m"),
			      after),
		3);
	assert_int_equal(after[1], before[0]);
	assert_int_equal(after[2], before[1]);
	assert_int_not_equal(before[0], before[1]);
	assert_int_not_equal(after[0], after[1]);
	/* Another kind of rule. */
	assert_int_equal(
		identities_of("routes:\n" ROUTE("path: /login",
						", concurrency_limit: { requests: 1 }"),
			      after),
		1);
	assert_int_not_equal(after[0], before[0]);
}

static void test_conditions_tell(void **state)
{
	uint64_t of[8];

	(void)state;
	assert_int_equal(
		identities_of(
			"routes:\n" ROUTE("path: /a, match: { method: [POST] }",
					  ", rate_limit: 1/s")
				ROUTE("path: /a, match: { header: { X-A: b } }",
				      ", rate_limit: 1/s") ROUTE("path: /a, host: b",
								 ", rate_limit: 1/s")
					ROUTE("prefix: /a, host: b", ", rate_limit: 1/s")
						ROUTE("path: /a", ", rate_limit: 1/s"),
			of),
		5);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(of[i], of[j]);
}

/* Written once is one limit: for the routes that inherit it, and for all hosts of an entry. */
static void test_inherited(void **state)
{
	uint64_t of[8];

	(void)state;
	assert_int_equal(
		identities_of(
			"defaults: { route: { rate_limit: 9/s } }\n"
			"hosts:\n"
			"  [a, b]:\n"
			"    rate_limit: 5/s\n"
			"    routes:\n"
			"      - { path: /x, proxy: { upstream: app } }\n"
			"      - { path: /y, proxy: { upstream: app }, rate_limit: 1/s }\n"
			"  c: { proxy: { upstream: app } }\n"
			"routes:\n" ROUTE("path: /x", ""),
			of),
		6);
	/* a/x a/y b/x b/y c / */
	assert_int_equal(of[0], of[2]);
	assert_int_equal(of[1], of[3]);
	assert_int_equal(of[4], of[5]);
	assert_int_not_equal(of[0], of[1]);
	assert_int_not_equal(of[0], of[4]);
	assert_int_not_equal(of[1], of[4]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_delays),
		cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_at_once_dry),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_shared_keys),
		cmocka_unit_test(test_useless),
		cmocka_unit_test(test_padded),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_shared_delays),
		cmocka_unit_test(test_shared_dry_run),
		cmocka_unit_test(test_leaves_asked),
		cmocka_unit_test(test_several_values),
		cmocka_unit_test(test_several_parameters),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_conditions_tell),
		cmocka_unit_test(test_inherited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
