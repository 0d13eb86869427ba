/* Events of the error log: when a worker ejects a server and when it uses it again. State
 * changes by health checks are logged by the monitor. Runs on the control thread. */
#ifndef RUN_WORKER_SERVEREVENTS_H
#define RUN_WORKER_SERVEREVENTS_H

#include "back/registry.h"

/* The `changed` callback of a registry: writes a line for each worker and server whose
 * status differs from the one logged last. */
void server_events_changed(struct mail *m);

#endif
