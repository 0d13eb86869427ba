/* What the answer of a nameserver says: addresses, or the servers of a service, and for how
 * long that holds (RFC 1035 4, RFC 2782, RFC 3596).
 *
 * Bytes to meaning, and nothing else: no sockets, no state. c-ares reads the records; how
 * long they hold is the least of all records of the answer section, so that an alias that
 * soon points elsewhere is followed in time. */
#ifndef DNS_ANSWER_H
#define DNS_ANSWER_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/slice.h"

#define DNS_NAME_MAX 255
#define DNS_RECORDS_MAX 4096 /* of addresses: more do not fit into a message */

/* The numbers of the types (RFC 1035 3.2.2). */
enum dns_type { DNS_A = 1, DNS_AAAA = 28, DNS_SRV = 33 };

struct dns_address {
	uint16_t family; /* AF_INET, AF_INET6 */
	uint16_t port;   /* host order */
	uint8_t bytes[16];
	uint16_t weight; /* among the servers of a service, >= 1; else 1 */
};

struct dns_service {
	char target[DNS_NAME_MAX + 1];
	uint16_t priority, weight, port;
};

/* The addresses of an answer to a dns_question for A or AAAA, with port 0. Returns how many, at
 * most `max`; more are dropped. 0: the name has none. -1: it makes no sense. */
int dns_read_addresses(struct slice answer, enum dns_type type, struct dns_address *addresses,
		       unsigned max, uint32_t *ttl_s) MUST_USE;

/* Likewise of an answer to a dns_question for SRV: those of the lowest priority number, which
 * alone are to be asked while there are any (RFC 2782). A target of "." is none. */
int dns_read_services(struct slice answer, struct dns_service *services, unsigned max,
		      uint32_t *ttl_s) MUST_USE;

/* Fills in a socket address; returns its length. */
socklen_t dns_sockaddr(const struct dns_address *a, struct sockaddr_storage *sa);

#endif
