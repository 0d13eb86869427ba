/* Lays a configuration file out: `fairlead fmt`.
 *
 * Only spaces and line ends between the parts of a line change: two spaces for each level, lists
 * indented below their key, one space behind "-", no trailing spaces, one blank line at most.
 * Comments move with the line that follows them. Values, quotes and what is in one line of brackets
 * stay as they are. The result has the same YAML events as the text, or there is none. */
#ifndef CONFIG_FORMAT_H
#define CONFIG_FORMAT_H

#include <stdio.h>

#include "base/check.h"
#include "base/slice.h"

/* Writes the layout of `text` to `out`; `name` is that of the file in `errors`. False: it is not
 * YAML, or it would become something else; reported, and nothing was written. */
bool config_format(struct slice text, const char *name, FILE *out, FILE *errors) MUST_USE;

#endif
