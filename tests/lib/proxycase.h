/* Test cases for a whole proxy: one request each, and how its exchange ends. With them the steps
 * and assertions that the tests of proxy/ share.
 *
 * Owner: one test program. A failed test prints the case, the seed and the number of the failing
 * allocation; SEED=N in the environment runs that seed only. */
#ifndef LIB_PROXYCASE_H
#define LIB_PROXYCASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/proxyrig.h"

#define PROXYCASE_SEEDS (SIMRIG_SEEDS / 2)

#define GET(path) "GET " path " HTTP/1.1\r\nHost: app\r\n\r\n"
#define POST(path, n) \
	"POST " path " HTTP/1.1\r\nHost: app\r\nContent-Length: " #n "\r\n\r\n"
#define UPGRADE \
	"GET /upgrade HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

/* The upstream of the route /again/: its index in the rig. It has three servers. */
#define AGAIN_UPSTREAM 4
/* Lines of that route. */
#define RETRY(more) "    retry: { backoff: 10ms, " more " }\n"

/* What the client does after it has sent the request. */
enum client_action {
	CLIENT_WAITS,
	CLIENT_SHUTS_DOWN, /* its sending side */
	CLIENT_RESETS,
	CLIENT_STOPS_READING,
};

struct proxycase {
	const char *name, *request;
	int status;     /* of the response; 0: none is seen */
	bool truncated; /* the response begins and is visibly incomplete */
	enum ending ending;
	const char *fields; /* text that the response's head contains; NULL: any head */
	enum client_action client;
	bool stranger;   /* the client is not in `trusted_proxies` */
	bool proxy_ends; /* the proxy is shut down after the request */
	bool last;       /* no further request on the connection gets a response */
	const char *limits, *upstream, *again; /* see struct proxyrig_options */
	uint32_t from_ms, to_ms;               /* time until the response; to_ms 0: any */
};

extern const struct proxycase proxycases[];
extern const unsigned proxycase_n;

/* The endings that were asserted so far, by enum ending. */
extern bool proxycase_reached[96];

/* What is running, for the report of a failure. */
extern struct proxycase_position {
	const char *name;
	uint64_t seed;
	unsigned failing_take; /* 0: no allocation fails */
} proxycase_now;

/* Opens the rig for a case. With each third seed the servers of upstreams speak TLS. */
void proxycase_open(struct proxyrig *r, const struct proxycase *c, uint64_t seed);

/* Sends the request of a case, and does what its client does next. */
void proxycase_start(struct proxyrig *r, const struct proxycase *c,
		     struct sim_peer *client);

/* True: a whole response was received, or the connection has visibly ended. */
bool proxycase_decided(const struct sim_peer *client);

/* Connects a client and sends `request`. */
struct sim_peer *proxycase_request(struct proxyrig *r, const char *request);

/* Waits for the response and asserts its status, and that its head contains `fields`. */
void proxycase_assert_response(struct proxyrig *r, struct sim_peer *client, int status,
			       const char *fields);

/* Asserts that an exchange with this ending was logged. */
void proxycase_assert_ending(struct proxyrig *r, enum ending ending);

/* Asserts that a body is the first n bytes of proxyrig_pattern(). */
void proxycase_assert_pattern(struct slice body, size_t n);

/* Forgets what the client has received so far. */
void proxycase_discard_input(struct sim_peer *client);

/* Until sim_peer_resume_reading(). */
void proxycase_stop_reading(struct proxyrig *r, struct sim_peer *peer);

uint64_t proxycase_elapsed_ms(struct proxyrig *r, uint64_t from_ms);

/* Runs a test with a fresh rig for each of the seeds 1 to n; `name` is for the report. */
void proxycase_some_seeds(unsigned n, void (*test)(struct proxyrig *r), const char *name,
			  struct proxyrig_options options);
void proxycase_each_seed(void (*test)(struct proxyrig *r), const char *name,
			 struct proxyrig_options options);

/* True: the environment asks for another seed only. */
bool proxycase_skips(uint64_t seed);

/* A row for proxycase_run(): a test whose failures are reported with proxycase_now. */
#define PROXYCASE_TEST(f) cmocka_unit_test_teardown(f, proxycase_report)
int proxycase_report(void **state);

/* Runs the tests; returns how many have failed. */
int proxycase_run(const char *group, const struct CMUnitTest *tests, size_t n);

#endif
