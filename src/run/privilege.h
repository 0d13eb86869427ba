/* What each process may do beyond what everybody may.
 *
 *   supervisor       binds, opens, signals and starts worker processes; keeps the few
 *                    capabilities for that, if it has them
 *   worker process   a user of its own, no capability, and no way to get one
 */
#ifndef RUN_PRIVILEGE_H
#define RUN_PRIVILEGE_H

#include "config/config.h"

/* The supervisor, when limits have been raised. 0 or a negative errno. */
int privilege_trim(void);

/* The worker process, before it has threads. Only root becomes somebody else. Returns 0,
 * or a negative errno and what failed. */
int privilege_drop(const struct config *config, const char **what);

#endif
