/* Another program in the place of this one, without a moment in which nobody listens.
 *
 *   this supervisor ─ tries ──▶ the program at our path, in a child: reads and checks the
 *          │                    configuration, keeps a snapshot
 *          ▼ it can
 *   exec: the same process id, the same listening sockets, the same worker processes
 *          ▼
 *   next supervisor ─ starts ─▶ its worker process; when that is ready the one of before is told
 *                               to retire. If it is not to be had, the one of before goes on
 *
 * What could fail was tried before there is no way back; what comes after the exec goes by the
 * snapshot and needs no file. */
#ifndef RUN_UPGRADE_H
#define RUN_UPGRADE_H

#include "config/config.h"

/* What main() is to do, as the environment says. */
enum upgrade_role {
	UPGRADE_NONE, /* it was started by somebody */
	UPGRADE_TRIAL, /* by a supervisor that wants to know whether we could take its place */
	UPGRADE_NEXT, /* in its place */
};
enum upgrade_role upgrade_role(void);

/* UPGRADE_TRIED: what names stood for in the configuration of before, as config_known() wrote it;
 * stays. */
struct slice upgrade_known_addresses(void);

/* UPGRADE_TRIED: what was read is kept for the next. 0, or a negative errno. */
int upgrade_write_snapshot(const struct config *config);

/* UPGRADE_NEXT: what was kept. NULL: told why. */
struct config *upgrade_config(void);

#endif
