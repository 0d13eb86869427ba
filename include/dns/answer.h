/* Parses DNS answers: addresses (A, AAAA) or the servers of a service (SRV), and how long
 * they are valid (RFC 1035 4, RFC 2782, RFC 3596).
 *
 * Pure: no sockets, no state. c-ares parses the records. The time to live is the least of
 * all records of the answer section, so that a change of an alias (CNAME) is noticed in
 * time. */
#ifndef DNS_ANSWER_H
#define DNS_ANSWER_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/slice.h"

#define DNS_NAME_MAX 255
#define DNS_RECORDS_MAX 4096 /* address records: more do not fit into a message */

/* RFC 1035 3.2.2, RFC 3596, RFC 2782. */
enum dns_type { DNS_A = 1, DNS_AAAA = 28, DNS_SRV = 33 };

struct dns_address {
	uint16_t family; /* AF_INET, AF_INET6 */
	uint16_t port;   /* host order */
	uint8_t bytes[16];
	uint16_t weight; /* of an SRV record, >= 1; else 1 */
};

struct dns_service {
	char target[DNS_NAME_MAX + 1];
	uint16_t priority, weight, port;
};

/* Parses the answer to a question for A or AAAA into addresses with port 0. Returns how
 * many, at most `max`; more are dropped. 0: the name has none. -1: the answer is
 * malformed. */
int dns_read_addresses(struct slice answer, enum dns_type type, struct dns_address *addresses,
		       unsigned max, uint32_t *ttl_s) MUST_USE;

/* The same for SRV. Returns only the records of the lowest priority number: the others
 * are for use when these cannot be reached (RFC 2782). A target of "." means that there
 * is no service. */
int dns_read_services(struct slice answer, struct dns_service *services, unsigned max,
		      uint32_t *ttl_s) MUST_USE;

/* Fills in a socket address; returns its length. */
socklen_t dns_sockaddr(const struct dns_address *a, struct sockaddr_storage *sa);

#endif
