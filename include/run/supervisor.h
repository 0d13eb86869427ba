/* The process that stays: reads the configuration, binds, opens, starts the worker process,
 * hands it descriptors, and starts another if it dies.
 *
 *   supervisor ──fork──▶ worker process: worker threads, and a control thread
 *       │  ▲                  ▲
 *       │  └── ready ─────────┤   socketpairs, kept open: their end is the command to
 *       └── descriptors, words ┘   drain, so that no worker outlives its supervisor
 *
 * Signals: SIGTERM, SIGINT, SIGQUIT drain, a second one ends at once. SIGUSR1: the access log is
 * opened anew, under the configuration in force. SIGHUP: the file is read again and checked; what
 * is new is opened and handed down, and if anything fails all stays as it was. SIGUSR2: the
 * program, which may be another by now, is started in the place of this one, with the same process
 * id and listening sockets; its worker process takes the place of the one that is there
 * (upgrade.h). Others that would end it and that nobody sends on purpose (SIGPIPE, SIGALRM,
 * SIGXFSZ …) are ignored everywhere.
 *
 * As process 1 it reaps whoever is left to it. */
#ifndef RUN_SUPERVISOR_H
#define RUN_SUPERVISOR_H

#include "config/config.h"
#include "io/io.h"

/* Descriptors kept for what is neither client nor origin: listeners, logs, loops, admin. */
#define SUPERVISOR_RESERVED_FDS 200u

struct run_options {
	enum io_engine_kind engine; /* AUTO: a worker process takes what it gets */
	unsigned workers;           /* >= 1 */
	size_t descriptors;         /* the limit in force */
	char **argv;                /* of the program, for the one that takes its place */
	bool next;                  /* it has taken the place of another */
};

/* Runs until told to end. Takes over the configuration. Returns the exit status. */
int supervisor_run(const struct run_options *options, struct config *config);

#endif
