/* The monitors of all configuration versions, and the DNS thread that they share. The
 * monitor of the current version is active; the others are stopped and become idle.
 *
 * A configuration version is freed here, when all workers have released and flushed it,
 * no response of /metrics reads it and its monitor is idle.
 *
 * Owner: the control thread. */
#ifndef RUN_WORKER_MONITORS_H
#define RUN_WORKER_MONITORS_H

#include "run/worker/configversion.h"
#include "run/worker/monitor.h"

struct monitors {
	struct tick *tick;
	struct config_versions *config_versions;
	struct quota *descriptors;
	struct worker *workers;
	unsigned worker_n;
	struct dns_thread *dns; /* NULL: names are not resolved again */
};

/* The fields above `dns` are set. Called before the sandbox is closed, because it starts
 * a thread and reads the system's list of nameservers. Returns 0 or a negative errno. */
int monitors_open(struct monitors *m);

/* After the current version changed and all workers have adopted it: starts its monitor
 * and stops the previous one. Without memory there is no monitor, which is logged. */
void monitors_change(struct monitors *m);

/* Frees the configuration versions that are no longer used. */
void monitors_sweep(struct monitors *m);

/* Stops all monitors. */
void monitors_stop(struct monitors *m);

/* After all workers have ended: frees the monitors and the DNS thread, but not the
 * configuration versions. */
void monitors_done(struct monitors *m);

#endif
