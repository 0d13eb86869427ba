/* What the supervisor has sent: an config_version that is ready to be made by the workers. */
#ifndef RUN_SETUP_H
#define RUN_SETUP_H

#include "run/configversion.h"

struct setup {
	struct config_version
		*config_version; /* NULL: not all of it could be taken; told why */
	int admin_fd;            /* -1: none, or */
	bool admin_kept;         /* the one that is there */
};

/* Takes all of it. `config` is that of the first setup, and taken over; those that follow
 * bring their own. 0, or a negative errno: the supervisor is gone, or has given up. */
int setup_receive(struct setup *setup, struct config_versions *all, int setup_channel,
		  struct config *config);

#endif
