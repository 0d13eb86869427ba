/* Upgrade: a new program replaces the running supervisor, without a moment in which no
 * process accepts connections.
 *
 *   supervisor ─ fork ─▶ trial: a child executes the new program, which reads and checks the
 *       │                configuration and writes a snapshot of it
 *       ▼ the trial succeeded
 *   exec of the new program: same process id, same listening sockets, same child processes
 *       ▼
 *   new supervisor ─ starts ─▶ its worker process. When that is ready, the previous worker
 *                              process drains gracefully. If it cannot start, the previous
 *                              worker process continues.
 *
 * Every step that can fail is tried before the exec, which cannot be undone. After the
 * exec the configuration comes from the snapshot; no file is read.
 *
 * The programs pass their state through environment variables, which hold descriptor
 * numbers (upgradestate.h). */
#ifndef RUN_SUPERVISOR_UPGRADE_H
#define RUN_SUPERVISOR_UPGRADE_H

#include "config/config.h"

/* The role of this process, from its environment. */
enum upgrade_role {
	UPGRADE_NONE,  /* not started by a supervisor */
	UPGRADE_TRIAL, /* executed by a supervisor to check whether it can take over */
	UPGRADE_NEXT,  /* executed in place of the previous supervisor */
};
enum upgrade_role upgrade_role(void);

/* UPGRADE_TRIAL: the resolved addresses of the current configuration, as written by
 * config_write_addresses(); empty if there are none. Valid until the process ends. */
struct slice upgrade_known_addresses(void);

/* UPGRADE_TRIAL: the certificates and the secret of tickets of the current configuration, as
 * written by config_write_contents(); empty if there are none. Valid until the process ends. */
struct slice upgrade_known_contents(void);

/* UPGRADE_TRIAL: writes the snapshot for the next program. Returns 0 or a negative errno,
 * and logs the reason. */
int upgrade_write_snapshot(const struct config *config);

/* UPGRADE_NEXT: reads the snapshot. NULL: it failed, and logged the reason. */
struct config *upgrade_config(void);

#endif
