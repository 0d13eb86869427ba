/* The access log, as the supervisor opens it for the worker processes. */
#ifndef RUN_SUPERVISOR_ACCESSLOG_H
#define RUN_SUPERVISOR_ACCESSLOG_H

#include "config/config.h"

/* Opens it for appending. Returns its descriptor; -1: the configuration has none; -2: it
 * failed, and the reason is logged. */
int access_log_open(const struct config *config);

/* Closes *fd unless it is -1, and sets it to -1. */
void access_log_close(int *fd);

#endif
