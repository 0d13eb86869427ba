/* The error log of a configuration, in both processes. The supervisor opens its files and sockets;
 * a worker process inherits them, and gets those of a reload with its setup. */
#ifndef RUN_ERRORLOGS_H
#define RUN_ERRORLOGS_H

#include "config/config.h"

/* Descriptors, by index of config->error_logs; -1: not open, or standard error. */
struct error_logs {
	int fds[CONFIG_ERROR_LOGS_MAX];
};

#define ERROR_LOGS_NONE { { -1, -1, -1, -1 } }

/* Lines go there from now on: errorlog_configure(). Takes over the descriptors. */
void error_logs_adopt(struct error_logs *logs, const struct config *config);

/* Closes those that are open. */
void error_logs_close(struct error_logs *logs);

#endif
