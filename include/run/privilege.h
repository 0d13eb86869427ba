/* Privileges of the processes.
 *
 *   supervisor       binds, opens, signals and starts worker processes; keeps the few
 *                    capabilities for that, if it has them
 *   worker process   its own user, no capabilities, and no way to regain them
 */
#ifndef RUN_PRIVILEGE_H
#define RUN_PRIVILEGE_H

#include "config/config.h"

/* The supervisor, after it raised its limits: drops the capabilities it does not need.
 * Returns 0 or a negative errno. */
int privilege_trim(void);

/* Of a process that has private keys: no core file is written, and processes of the same user
 * cannot trace it or read its memory (PR_SET_DUMPABLE). Not with sanitizers, which need that. */
void privilege_hide_memory(void);

/* The worker process, before it starts threads: changes to the configured user if it is
 * root, and drops all capabilities. Returns 0, or a negative errno and in *what the step
 * that failed. */
int privilege_drop(const struct config *config, const char **what);

#endif
