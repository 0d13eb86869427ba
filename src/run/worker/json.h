/* JSON of the admin API, written with http/emit.h. Pure. Errors: emit.overflow. */
#ifndef RUN_WORKER_JSON_H
#define RUN_WORKER_JSON_H

#include "http/emit.h"

/* Most bytes of a string of n octets: each may be escaped, and there are two quotes. */
#define JSON_STRING_MAX(n) (6 * (n) + 2)

/* A string. Octets beyond ASCII are written as \u00HH. */
void json_string(struct emit *e, struct slice text);

/* `before` is written as it is, such as `,"name":`. */
void json_member(struct emit *e, const char *before, struct slice text);
void json_number(struct emit *e, const char *before, uint64_t n);
void json_flag(struct emit *e, const char *before, bool value);

#endif
