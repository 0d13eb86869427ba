/* What address.c (addresses as they are written) and lookups.c (those of servers, whose names may
 * change what they stand for) share. */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include "reader.h"

/* "HOST:PORT" taken apart. */
struct parts {
	struct slice host; /* without brackets */
	struct slice port;
	bool is_v6;
};

/* Each returns NULL, or what is wrong and the remedy. */
const char *address_blank_fault(struct slice text);
const char *address_host_fault(struct arena *memory, const struct parts *p);
const char *address_split(struct arena *memory, struct slice text, bool to_listen,
			  struct parts *p);
const char *address_of_unix(struct arena *memory, struct slice text, struct config_address *a);

/* By the C library: /etc/hosts, nameservers, and what else the system knows. Waits. */
const char *address_by_library(struct arena *memory, const struct parts *p, int family,
			       struct config_address *addresses, unsigned max, unsigned *n);

/* Those of a snapshot; their texts point into the memory of the reader that kept them. */
void address_take(const char *text, struct slice answer, struct config_address *addresses,
		  unsigned max, unsigned *n);
extern const char address_nothing_kept[];

#endif
