/* The monitors of all configurations that somebody still reads, and the thread that asks
 * nameservers for them: that of the one in force tells, the others come to their end.
 *
 * An config_version is freed here, when no worker has anything of it, nobody reads its
 * metrics and its monitor is idle.
 *
 * Owner: the control thread. */
#ifndef RUN_MONITORS_H
#define RUN_MONITORS_H

#include "run/configversion.h"
#include "run/monitor.h"

struct monitors {
	struct tick *tick;
	struct config_versions *config_versions;
	struct quota *descriptors;
	struct worker *workers;
	unsigned worker_n;
	struct dns_thread *dns; /* NULL: names are not resolved again */
};

/* The fields above `dns` are filled in. Before the sandbox is closed: makes a thread, and reads
 * what the system says of its nameservers. Returns 0 or a negative errno. */
int monitors_open(struct monitors *m);

/* Another config_version is in force; all workers have it. Without memory it goes without, and says
 * so. */
void monitors_change(struct monitors *m);

/* Frees the config_versions that have ended. */
void monitors_sweep(struct monitors *m);

/* Nothing more is told. */
void monitors_stop(struct monitors *m);

/* The workers are gone. Lookouts and thread are freed, config_versions are not. */
void monitors_done(struct monitors *m);

#endif
