/* Start of the program: chooses engine, number of workers and limits from the
 * configuration and the command line, then runs the supervisor. */
#ifndef RUN_START_H
#define RUN_START_H

#include "config/config.h"

#define START_WORKERS_MAX 256

struct start_options {
	const char *engine; /* overrides the configuration; NULL: not given */
	unsigned workers;   /* overrides the configuration; 0: not given */
	char **argv;
};

/* Takes over the configuration. Runs until the supervisor ends. Returns the exit
 * status. */
int start(struct config *config, const struct start_options *options);

#endif
