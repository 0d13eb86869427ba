/* What Forwarded (RFC 7239) and X-Forwarded-For are made of. Private to http. */
#ifndef SRC_HTTP_ELEMENT_H
#define SRC_HTTP_ELEMENT_H

#include "base/ip.h"
#include "http/head.h"

/* A part of the list that all fields of one name make. */
static inline bool field_is_part(const struct field *f, enum header id)
{
	return f->header == id && !f->per_hop;
}

/* 1 to 65535. */
bool node_is_port(struct slice s);

/* An address, with or without a port; one of IPv6 in brackets, or bare without a port. */
bool node_parse(struct slice s, struct ip *ip) MUST_USE;

/* One of Forwarded; what it does not say is empty. */
struct element {
	struct slice node, proto, host;
	unsigned field;
	struct slice from; /* the field's value, from here on */
};

/* The next element that is not empty, from `field` and *rest of its value on. 0: there is
 * none; negative: what comes is malformed. */
int element_next(const struct head *h, unsigned *field, struct slice *rest,
		 struct element *e) MUST_USE;

#endif
