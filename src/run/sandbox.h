/* A filter on system calls (seccomp) for all threads of the worker process: what they need
 * once everything is opened, and nothing else. Anything else kills the process, and the
 * supervisor says so.
 *
 * It is closed when all threads stand ready and none has begun, so nothing that only a
 * start needs is on the list: no thread, no ring, no descriptor that is not a stream socket
 * can be made, nothing opened or executed. Not in a build with sanitizers, which do more
 * than they tell. */
#ifndef RUN_SANDBOX_H
#define RUN_SANDBOX_H

#include "run/supervisor.h"

/* Before the first thread is made: lets the C library do without calls that are not allowed. */
void sandbox_prepare(void);

/* `setup_channel`: the one socket that descriptors may come from. Returns 0, or a
 * negative errno and what failed. For good. */
int sandbox_close(enum io_engine_kind engine, const struct config *config,
		  int setup_channel, const char **what);

/* A line for -V. */
const char *sandbox_describe(void);

#endif
