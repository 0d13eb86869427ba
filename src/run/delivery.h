/* What the supervisor has sent: an edition that is ready to be made by the workers. */
#ifndef RUN_DELIVERY_H
#define RUN_DELIVERY_H

#include "run/edition.h"

struct delivery {
	struct edition *edition; /* NULL: not all of it could be taken; told why */
	int admin_fd;            /* -1: none, or */
	bool admin_kept;         /* the one that is there */
};

/* Takes all of it. `config` is that of the first delivery, and taken over; those that follow
 * bring their own. 0, or a negative errno: the supervisor is gone, or has given up. */
int delivery_receive(struct delivery *d, struct editions *all, int parcels,
		     struct config *config);

#endif
