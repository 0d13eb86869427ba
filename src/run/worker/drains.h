/* Servers that an operator has drained: registry_entry.drained, which the workers read when they
 * have a message.
 *
 * Owner: the control thread. Limits, errors: none. */
#ifndef RUN_WORKER_DRAINS_H
#define RUN_WORKER_DRAINS_H

#include "run/worker/admin.h"

/* Servers in use that have this name, or this address, in an HTTP upstream of the current
 * configuration. Returns how many there are, each address of a name counted. */
unsigned drains_set(struct admin *a, const char *upstream, const char *server, bool drained);

/* Each drained server in use. */
void drains_each(const struct config_version *version,
		 void (*each)(void *owner, const char *upstream,
			      const struct registry_entry *server),
		 void *owner);

#endif
