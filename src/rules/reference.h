/* URI references in the fields of responses (RFC 3986 4.1): the parts that a proxy maps. Pure.
 *
 * Only those are of interest that begin with "http://", "https://", "//" or "/": the others are
 * relative to the URL of the request, or have another scheme, and a proxy does not change what they
 * mean. */
#ifndef RULES_REFERENCE_H
#define RULES_REFERENCE_H

#include "base/slice.h"
#include "http/emit.h"

struct reference {
	struct slice scheme;    /* empty: none */
	struct slice authority; /* host, perhaps with a port; empty: none */
	struct slice rest;      /* path, query and fragment; empty, or begins with "/", "?", "#" */
};

/* False: it is none of those. */
bool reference_parse(struct reference *r, struct slice text);

/* True: the same host and port; `scheme`, of both, has the port of one that names none. */
bool authority_equal(struct slice a, struct slice b, struct slice scheme);

/* True: the path is `prefix` or is below it, by segment; a "/" at the end of `prefix` says nothing.
 * *below: what follows, which is empty or begins with "/", "?" or "#". */
bool path_below(struct slice path, struct slice prefix, struct slice *below);

/* Writes `prefix`, then what path_below() has found. What is no authority does not become one: if
 * `prefix` is "/" or empty, the result begins with one slash. */
void emit_path_below(struct emit *e, struct slice prefix, struct slice below);

#endif
