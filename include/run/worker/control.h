/* The control thread of the worker process: starts the workers, carries out the messages
 * of the supervisor (drain, new configuration) and serves the admin address. It has its
 * own loop and communicates with the workers through mailboxes. */
#ifndef RUN_WORKER_CONTROL_H
#define RUN_WORKER_CONTROL_H

#include "run/options.h"

/* Runs the worker process until it ends. `channel` carries one-byte messages from and to
 * the supervisor, `setup_channel` what they announce (run/handover.h). Takes over
 * `config` and both descriptors. Returns the exit status. */
int control_run(const struct run_options *options, struct config *config, int channel,
		int setup_channel);

#endif
