/* Parses the parts of Forwarded (RFC 7239) and X-Forwarded-For. Private to http. */
#ifndef SRC_HTTP_ELEMENT_H
#define SRC_HTTP_ELEMENT_H

#include "base/ip.h"
#include "http/head.h"

/* The field belongs to the list of this header, and is not hop-by-hop. */
static inline bool field_is_part(const struct field *f, enum header id)
{
	return f->header == id && !f->per_hop;
}

/* A decimal number from 1 to 65535. */
bool node_is_port(struct slice s);

/* An address, with or without a port. IPv6: in brackets, or bare without a port. */
bool node_parse(struct slice s, struct ip *ip) MUST_USE;

/* An element of Forwarded; a missing parameter is empty. */
struct element {
	struct slice node, proto, host;
	unsigned field;    /* index in head.fields */
	struct slice from; /* the value of that field, from this element on */
};

/* The next non-empty element, starting at *rest of the value of *field. 1: found; 0:
 * there is none; negative: malformed. */
int element_next(const struct head *h, unsigned *field, struct slice *rest,
		 struct element *e) MUST_USE;

#endif
