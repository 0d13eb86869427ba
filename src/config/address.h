/* Shared by address.c (parsing and resolving addresses) and lookups.c (the servers of upstreams,
 * whose names are resolved all together).
 *
 * Errors: each function that returns a text returns NULL, or what is wrong and the remedy. */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include "reader.h"

/* The parts of "HOST:PORT"; they point into the text. */
struct host_port {
	struct slice host; /* without brackets */
	struct slice port;
	bool is_v6;
};

/* Characters that no address has: spaces, control characters, variables. */
const char *address_char_fault(struct slice text);
const char *address_host_fault(struct arena *memory, const struct host_port *p);
const char *address_split(struct arena *memory, struct slice text, bool to_listen,
			  struct host_port *p);
const char *address_of_unix(struct arena *memory, struct slice text, struct config_address *a);

/* Resolves with getaddrinfo(): /etc/hosts, nameservers, and other sources of the system. Blocks.
 * Stores at most `max` addresses. */
const char *address_resolve_host(struct arena *memory, const struct host_port *p,
				 int family, struct config_address *addresses,
				 unsigned max, unsigned *n);

/* Copies the addresses of a snapshot's record; `text` becomes the text of each. */
void address_from_record(const char *text, struct slice record,
			 struct config_address *addresses, unsigned max, unsigned *n);
extern const char address_not_in_snapshot[];

#endif
