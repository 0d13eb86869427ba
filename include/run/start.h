/* From the configuration and the command line to what runs: which engine, how many workers,
 * how many descriptors. */
#ifndef RUN_START_H
#define RUN_START_H

#include "config/config.h"

#define START_WORKERS_MAX 256

struct start_options {
	const char *engine; /* instead of the configuration's; NULL: none */
	unsigned workers;   /* likewise; 0: none */
	char **argv;
};

/* Takes over the configuration and runs until told to end; returns the exit status. */
int start(struct config *config, const struct start_options *options);

#endif
