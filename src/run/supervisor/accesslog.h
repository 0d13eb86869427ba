/* The logs, as the supervisor opens them: the access logs for the worker processes, the error log
 * for itself as well. */
#ifndef RUN_SUPERVISOR_ACCESSLOG_H
#define RUN_SUPERVISOR_ACCESSLOG_H

#include "config/config.h"
#include "run/errorlogs.h"

/* Descriptors, by index of config->logs; -1: not open. */
struct access_logs {
	int fds[CONFIG_LOGS_MAX];
};

#define ACCESS_LOGS_NONE { { -1, -1, -1, -1, -1, -1, -1, -1 } }

/* Opens those of the configuration that are not open. False: some failed, and the reason is
 * logged. */
bool access_logs_open(struct access_logs *logs, const struct config *config);

/* Closes those that are open. */
void access_logs_close(struct access_logs *logs);

/* Connects the sockets of daemons that were gone again; processes that have them share them. */
void access_logs_reconnect(const struct access_logs *logs, const struct config *config);

/* Likewise the error log. */
bool error_logs_open(struct error_logs *logs, const struct config *config);

#endif
