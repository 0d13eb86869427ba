/* Mode, owner and group of a unix socket that is listened on, as the configuration has them. Until
 * it has a mode a new one is its owner's alone. */
#ifndef RUN_RIGHTS_H
#define RUN_RIGHTS_H

#include "config/config.h"

/* It is bound. False: told why. */
bool rights_apply(const struct config_rights *r);

#endif
