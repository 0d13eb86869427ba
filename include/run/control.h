/* The control thread of the worker process: starts the workers, listens to the supervisor,
 * serves the admin address. It has a loop of its own and talks to workers through their
 * mailboxes. */
#ifndef RUN_CONTROL_H
#define RUN_CONTROL_H

#include "run/supervisor.h"

/* The whole life of the worker process, which begins with `config`; `channel` leads to the
 * supervisor, and what its words speak of comes by `setup_channel`. All are taken over. Returns the
 * exit status. */
int control_run(const struct run_options *options, struct config *config, int channel,
		int setup_channel);

#endif
