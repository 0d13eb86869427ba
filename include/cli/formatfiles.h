/* `fairlead fmt`: lays files out, prints or replaces them. */
#ifndef CLI_FORMATFILES_H
#define CLI_FORMATFILES_H

#include "cli/arguments.h"

/* Returns the exit status. */
int files_format(const struct arguments *a);

#endif
