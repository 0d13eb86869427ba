/* What the operator is told when a worker ejects a server, and takes it back: a line to standard
 * error. What the prober finds is not a worker's to tell. On the control thread. */
#ifndef RUN_SERVEREVENTS_H
#define RUN_SERVEREVENTS_H

#include <stdio.h>

#include "back/registry.h"

/* A registry's `changed`: writes a line for each worker and server that is thought of otherwise
 * than when it was written about last. */
void server_events_changed(struct mail *m);

/* The same, to `out`. */
void server_events_write(struct registry *r, FILE *out);

#endif
