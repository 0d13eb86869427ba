/* The supervisor: reads the configuration, opens listening sockets and logs, starts the
 * worker process, passes it their descriptors, and starts another worker process if it
 * dies.
 *
 *   supervisor ──fork──▶ worker process: worker threads and a control thread
 *       │  ▲                   │  ▲
 *       │  └─ ready, adopted ──┘  │    two socketpairs (run/handover.h). Their end means "drain",
 *       └─ descriptors, messages ─┘    so no worker process outlives its supervisor
 *
 * Signals:
 *   SIGTERM, SIGINT, SIGQUIT  drain and end; a second one kills the worker processes
 *   SIGHUP   reload: read the file again, open what is new, pass it to the worker process; if a
 *            step fails, the current configuration continues
 *   SIGUSR1  reopen the access log, with the current configuration
 *   SIGUSR2  upgrade: execute the program file again, which may be a new version, with the same
 *            process id and listening sockets; its worker process replaces the current one
 *            (upgrade.h)
 * Other signals that end a process by default and are not sent by an operator (SIGPIPE, SIGALRM,
 * SIGXFSZ …) are ignored in all processes.
 *
 * As process 1 of a container it reaps orphaned processes. */
#ifndef RUN_SUPERVISOR_SUPERVISOR_H
#define RUN_SUPERVISOR_SUPERVISOR_H

#include "run/options.h"

/* Runs until it is told to end. Takes over the configuration. Returns the exit status. */
int supervisor_run(const struct run_options *options, struct config *config);

#endif
