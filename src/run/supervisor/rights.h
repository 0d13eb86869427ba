/* Mode, owner and group of a unix listening socket, as configured. A socket whose mode is
 * configured is created with access for its owner only, until the mode is set. */
#ifndef RUN_SUPERVISOR_RIGHTS_H
#define RUN_SUPERVISOR_RIGHTS_H

#include "config/config.h"

/* The socket is bound. Returns false if it failed, and logs the reason. */
bool rights_apply(const struct config_rights *r);

#endif
