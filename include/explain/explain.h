/* What a configuration does with a request, without sending it: which route matches and why the
 * earlier ones do not, which rules apply, and how the server would be chosen.
 *
 * It is found by the same functions as in a worker: the request is written as HTTP/1.1 and parsed,
 * and routes are found by route/. What is known only at run time (health, load, contents of a
 * cache) is named, not guessed.
 * Owner: the caller. Limits: EXPLAIN_FIELDS_MAX fields, EXPLAIN_BYTES_MAX of the request.
 * Errors: a request that cannot be written is reported by its text. */
#ifndef EXPLAIN_EXPLAIN_H
#define EXPLAIN_EXPLAIN_H

#include "config/config.h"

#define EXPLAIN_FIELDS_MAX 64
#define EXPLAIN_BYTES_MAX 65536

struct explain_request {
	const char *method, *url; /* http://HOST/PATH or https://HOST/PATH */
	const char *client;       /* address of the peer, or "unix" */
	unsigned field_n;
	const char *fields[EXPLAIN_FIELDS_MAX]; /* "Name: value" */
};

/* Prints the explanation. NULL: done; otherwise what is wrong with the request, with a remedy. */
const char *explain(const struct config *c, const struct explain_request *r, FILE *out);

#endif
