/* Opens the loops of a worker process: one for the control thread, one for each worker.
 * All use the same engine, because the sandbox permits the system calls of one. If
 * io_uring is wanted and one ring cannot be opened, no loop uses io_uring.
 *
 * The loops that are opened here as a test are the ones that are used, in this process,
 * as its user and without capabilities. So each worker process decides by itself. */
#ifndef RUN_WORKER_LOOPS_H
#define RUN_WORKER_LOOPS_H

#include "run/worker/worker.h"

/* Starts the threads of all workers, which open their loops, and opens the loop of the
 * control thread. Sets shared->engine. Returns 0 or a negative errno, and logs the
 * reason. */
int loops_open(struct tick *control, struct workers *shared);

/* After loops_open(): the workers continue, and open what else they need. */
void loops_release(struct workers *shared);

/* On a worker's thread: takes its CPU (config->cpu_affinity), opens its loop and waits for
 * loops_release(). w->error is 0 or a negative errno. */
void loops_join(struct worker *w);

/* On the thread of the tick, after its loop was opened: prepares it for secured connections, if the
 * configuration uses TLS. `handshakes`: quota of clients' handshakes; NULL: none. Returns 0 or
 * -ENOMEM. */
int loops_use_tls(struct tick *t, const struct config *config, struct quota *handshakes);

#endif
