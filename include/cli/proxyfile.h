/* The configuration file that `fairlead proxy` stands for. */
#ifndef CLI_PROXYFILE_H
#define CLI_PROXYFILE_H

#include "base/check.h"
#include "cli/arguments.h"

/* Writes the file. Returns 0, or an exit status: an option is wrong, which was reported. */
int proxy_file_write(const struct arguments *a, FILE *out) MUST_USE;

#endif
