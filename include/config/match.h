/* Further conditions of a route: the key `match`.
 *
 * Compiled when the file is read, tested by route/match.h. Owner: the configuration. Immutable; all
 * threads may read it.
 * Limits: MATCH_CONDITIONS_MAX entries in each map, MATCH_TESTS_MAX tests of one value. */
#ifndef CONFIG_MATCH_H
#define CONFIG_MATCH_H

#include "base/pattern.h"
#include "config/config.h"

#define MATCH_CONDITIONS_MAX 64
#define MATCH_TESTS_MAX 1000

enum config_test_kind { TEST_ANY, TEST_EXACT, TEST_PREFIX, TEST_PATTERN };

struct config_test {
	enum config_test_kind kind;
	struct slice text; /* of a pattern: as written */
	const char *written; /* what is shown in its place: it has a reference; or NULL */
	const struct pattern *pattern;
};

enum config_condition_kind {
	CONDITION_METHOD,
	CONDITION_TLS, /* `tls: on` or off */
	CONDITION_CLIENT,
	CONDITION_HEADER,
	CONDITION_COOKIE,
	CONDITION_QUERY,
	CONDITION_VARIABLE, /* of `tls` */
	CONDITION_NOT,
};

struct config_condition {
	enum config_condition_kind kind;
	struct slice name;      /* HEADER, COOKIE, QUERY */
	enum variable variable; /* VARIABLE */
	bool on;                /* TLS */
	/* One of them must pass. METHOD: each is exact. */
	unsigned test_n;
	const struct config_test *tests;
	const struct config_addresses *client; /* CLIENT */
	const struct config_match * not ;  /* NOT: this must not hold */
};

/* Holds if all conditions do. They are in the order of their kinds, which is that of their cost. */
struct config_match {
	unsigned n;
	const struct config_condition *conditions;
};

/* A compiled pattern of a configuration. */
struct config_pattern {
	struct config_pattern *next;
	struct pattern *pattern;
};

#endif
