/* The access log of a worker: a file, pipe, socket or device that the supervisor has
 * opened. Each time it is opened there is a new log_file; the previous one is closed when
 * its lines are written.
 *
 * Limit: a worker keeps at most LOG_FILES_MAX replaced logs with unwritten lines, each with
 * a descriptor and buffers; then a configuration with another log is refused.
 *
 * Owner: the worker, on its thread. */
#ifndef RUN_WORKER_LOGFILE_H
#define RUN_WORKER_LOGFILE_H

#include "run/worker/worker.h"

#define LOG_FILES_MAX 8

/* Opens the log of a configuration that is being prepared: wc->access, which takes over
 * wc->log_fd. Does nothing if there is none. Returns 0 or a negative errno; -EBUSY: the
 * limit. */
int log_file_open(struct worker *w, struct worker_config *wc);

/* The configuration is adopted: w->access becomes its log, unless it keeps the current
 * one. */
void log_file_switch(struct worker *w, struct worker_config *wc);

/* No line is unwritten: closes the log and its descriptor, and frees it. */
void log_file_close(struct access *a);

/* Closes replaced logs that are written. Returns true if none remains. */
bool log_files_sweep(struct worker *w);

#endif
