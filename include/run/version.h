/* The output of -V. */
#ifndef RUN_VERSION_H
#define RUN_VERSION_H

#include <stdio.h>

#define FAIRLEAD_VERSION "0.1.0"

/* Prints version, libraries, kernel, and the kernel features that each engine would
 * use. */
void version_print(FILE *out);

#endif
