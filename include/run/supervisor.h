/* The process that stays: reads the configuration, binds, opens, starts the one worker
 * process, hands it descriptors, and starts another if it dies.
 *
 *   supervisor ──fork──▶ worker process: worker threads, and a control thread
 *       │  ▲                  ▲
 *       │  └── ready ─────────┤   one socketpair, kept open: its end is the order
 *       └── descriptors, drain ┘   to drain, so that no worker outlives its supervisor
 *
 * Signals: SIGTERM, SIGINT drain, a second one ends at once; SIGHUP is noted. SIGPIPE is
 * ignored everywhere. */
#ifndef RUN_SUPERVISOR_H
#define RUN_SUPERVISOR_H

#include "config/config.h"
#include "io/io.h"

/* Descriptors kept for what is neither client nor origin: listeners, logs, loops, admin. */
#define SUPERVISOR_RESERVED_FDS 200u

struct run_options {
	const struct config *config;
	enum io_engine_kind engine; /* not AUTO */
	unsigned workers;           /* >= 1 */
	size_t descriptors;         /* the limit in force */
};

/* Runs until told to end. Returns the exit status. */
int supervisor_run(const struct run_options *options);

#endif
