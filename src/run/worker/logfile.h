/* The access logs of a worker: files, pipes, sockets or devices that the supervisor has
 * opened. Each time one is opened there is a new log_file; the previous one is closed when
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

/* Opens the logs of a configuration that is being prepared: wc->access, which takes over the
 * descriptors of wc->logs. Returns 0 or a negative errno; -EBUSY: the limit. */
int log_files_open(struct worker *w, struct worker_config *wc);

/* The configuration is not adopted: closes what log_files_open() has opened. */
void log_files_drop(struct worker_config *wc);

/* The configuration is adopted: w->logs become its logs. Those that it keeps continue under its
 * settings. */
void log_files_switch(struct worker *w, struct worker_config *wc);

/* No line is unwritten: closes the log and its descriptor, and frees it. */
void log_file_close(struct access *a);

/* Closes replaced logs that are written. Returns true if none remains. */
bool log_files_sweep(struct worker *w);

#endif
