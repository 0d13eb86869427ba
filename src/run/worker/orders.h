/* What an operator has ordered about servers: registry_entry.order and weight_order, which the
 * workers read when they have a message.
 *
 * Orders are kept with the server's registry entry: over reloads, as long as the server is in the
 * file. They are forgotten with the worker process.
 *
 * Owner: the control thread. Limits: none. Errors: enum orders_fault. */
#ifndef RUN_WORKER_ORDERS_H
#define RUN_WORKER_ORDERS_H

#include "run/worker/admin.h"

/* The configured limits of a weight. */
#define ORDER_WEIGHT_MAX 1000

struct order {
	bool has_state;
	enum server_order state;
	bool has_weight;
	uint32_t weight; /* 0: as configured */
};

enum orders_fault {
	ORDERS_DONE,
	ORDERS_NO_SERVER, /* no upstream of this name has such a server */
	ORDERS_BY_WEIGHT, /* a weight for a memcached server: keys would move to other servers */
};

/* For the servers in use that have this name, or this address, in an upstream of the current
 * configuration. *n: how many there are, each address of a name counted. */
enum orders_fault orders_give(struct admin *a, const char *upstream, const char *server,
			      const struct order *order, unsigned *n);

/* Whether a worker uses it, and a name has been set. */
bool orders_in_use(const struct registry_entry *entry);

/* Each server in use that is drained or down. */
void orders_each(const struct config_version *version,
		 void (*each)(void *owner, const char *upstream,
			      const struct registry_entry *server),
		 void *owner);

#endif
