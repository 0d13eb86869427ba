/* What the operator is told when a worker ejects a server, and takes it back: a line to standard
 * error. What the prober finds is not a worker's to tell. On the control thread. */
#ifndef RUN_NOTICE_H
#define RUN_NOTICE_H

#include <stdio.h>

#include "back/roster.h"

/* A roster's `changed`: writes a line for each worker and server that is thought of otherwise
 * than when it was written about last. */
void notice_changed(struct message *m);

/* The same, to `out`. */
void notice_write(struct roster *r, FILE *out);

#endif
