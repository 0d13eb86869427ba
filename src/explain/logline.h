/* Reads a line of the json access log: an object whose members are strings, numbers and objects of
 * these. Pure. */
#ifndef SRC_EXPLAIN_LOGLINE_H
#define SRC_EXPLAIN_LOGLINE_H

#include <stdbool.h>

#include "base/slice.h"

/* The member with this name: of a string the content, as it is in the line. False: there is none,
 * or the line is no object. */
bool logline_member(struct slice line, const char *name, struct slice *value);

/* Writes the content of a string without escapes, as much as fits, and a NUL. */
void logline_text(struct slice value, char *out, size_t size);

#endif
