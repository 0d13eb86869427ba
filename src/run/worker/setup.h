/* The receiving side of run/handover.h: turns the setup that the supervisor sends into a
 * configuration version that the workers can prepare. */
#ifndef RUN_WORKER_SETUP_H
#define RUN_WORKER_SETUP_H

#include "run/errorlogs.h"
#include "run/worker/configversion.h"

struct setup {
	struct config_version *config_version; /* NULL: it failed, and the reason is logged */
	int admin_fd;    /* listening socket of a new admin address; -1: none */
	bool admin_kept; /* the current admin address stays open */
	struct error_logs error_logs; /* of a reload */
};

/* Receives a whole setup; blocks. `config`: the configuration of the first setup, which
 * is taken over; NULL: the setup brings its own. Returns 0, or a negative errno if the
 * supervisor has ended or closed the channel. */
int setup_receive(struct setup *setup, struct config_versions *all, int setup_channel,
		  struct config *config);

#endif
