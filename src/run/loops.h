/* The loops of a worker process, one of the control thread and one of each worker: all of one
 * engine, as the sandbox has a list for each, and as many rings as there are threads are a
 * matter of memory. Where rings are wanted and one of them is not to be had, none is used.
 *
 * What is tried here is what is then used, by this process, as its user and without its
 * capabilities: each worker process decides anew.
 */
#ifndef RUN_LOOPS_H
#define RUN_LOOPS_H

#include "run/worker.h"

/* Starts the threads of all workers, which open their loops, and opens that of the control
 * thread. Sets shared->engine. Returns 0, or a negative errno: told why. */
int loops_open(struct tick *control, struct workers *shared);

/* After that: the workers open what else they need. */
void loops_release(struct workers *shared);

/* A worker, on its thread: opens its loop, and waits until it may go on with it. w->error is
 * 0 or a negative errno. */
void loops_join(struct worker *w);

#endif
