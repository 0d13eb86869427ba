/* How this run was started: found once by start(), immutable since, read by the supervisor
 * and by the worker processes that it forks.
 *
 * The supervisor (run/supervisor) and the worker process (run/worker) do not know each other's
 * code: they share the folder run, and speak through run/handover.h. */
#ifndef RUN_OPTIONS_H
#define RUN_OPTIONS_H

#include "config/config.h"
#include "io/io.h"

/* Descriptors reserved for other uses than clients and origins: listeners, logs, loops,
 * admin. */
#define RUN_RESERVED_FDS 200u

struct run_options {
	enum io_engine_kind engine; /* AUTO: each worker process chooses */
	unsigned workers;           /* >= 1 */
	enum config_affinity affinity;
	size_t descriptors;         /* limit of open descriptors (RLIMIT_NOFILE) */
	char **argv;                /* for the exec of an upgrade */
	uint64_t watchdog_ms;       /* of the service manager (WatchdogSec=); 0: none */
	bool next;                  /* executed by the previous program at an upgrade */
	/* What a forked worker process runs: control_run(). Returns the exit status. */
	int (*worker_process)(const struct run_options *options, struct config *config,
			      int channel, int setup_channel);
};

#endif
