/* Route actions for the study of concurrency (docs/concurrency.md), not for production. They need
 * `study: true`. The program is complete without this folder: `make STUDY=no`.
 *
 *   block  a blocking call on the worker's thread: shows what that does to the other clients
 *   cpu    uses CPU time, on the worker's thread or on a pool of threads
 *   join   several fetches at once, one JSON response made of them */
#ifndef STUDY_STUDY_H
#define STUDY_STUDY_H

#include "proxy/action.h"

struct config_block {
	const struct config_address *address;
	struct slice host, path; /* of the url */
};

struct config_cpu {
	uint32_t ms; /* 1 … 10,000; ?ms= overrides up to ms_max */
	uint32_t ms_max;
	bool on_pool;
};

/* The check, then all parts concurrently, then one JSON response made of them. */
#define JOIN_PARTS_MAX 8
struct config_part {
	const char *name; /* of its member in the JSON response */
	bool is_memcached;
	struct config_memcached memcached;
	struct config_proxy proxy;
};

struct config_join {
	struct config_part *check; /* memcached; a missing value fails it; NULL: no check */
	struct slice login; /* redirect target if the check fails */
	unsigned part_n;
	struct config_part *parts;
};

extern const struct action action_block, action_cpu, action_join;

#endif
