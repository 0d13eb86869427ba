/* The system call filter (seccomp) of the worker process, for all its threads. It permits
 * the calls that are needed after everything is opened; any other call kills the process,
 * and the supervisor logs that.
 *
 * It is closed when all threads are ready and none has begun, so calls that only the
 * start needs are not permitted: no thread, no ring and no descriptor other than a stream
 * socket can be made, nothing can be opened or executed. If names are resolved, UDP
 * sockets can be made as well.
 *
 * Builds with sanitizers have no filter, since sanitizers make undocumented calls. */
#ifndef RUN_WORKER_SANDBOX_H
#define RUN_WORKER_SANDBOX_H

#include "run/options.h"

/* Called before the first thread is made: lets the C library make the calls now that
 * would not be permitted later. */
void sandbox_prepare(void);

/* Installs the filter, permanently. `setup_channel`: the only socket that descriptors can
 * be received from. Returns 0, or a negative errno and in *what the step that failed. */
int sandbox_close(enum io_engine_kind engine, const struct config *config,
		  int setup_channel, const char **what);

/* A line of the output of -V. */
const char *sandbox_describe(void);

#endif
