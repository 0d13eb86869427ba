#include "dns/answer.h"

#include <ares.h>
#include <netinet/in.h>

#define HEADER_BYTES 12
#define RECORD_BYTES 10 /* of a record, between its name and its data */

static unsigned read_be(const unsigned char *at, unsigned bytes)
{
	unsigned n = 0;

	while (bytes-- > 0)
		n = n << 8 | *at++;
	return n;
}

/* The byte after the name at `at`; NULL: malformed. */
static const unsigned char *skip_name(const unsigned char *at, struct slice answer)
{
	const unsigned char *begin = (const unsigned char *)answer.ptr;
	char *name;
	long n;

	if (at >= begin + answer.len ||
	    ares_expand_name(at, begin, (int)answer.len, &name, &n) != ARES_SUCCESS)
		return NULL;
	ares_free_string(name);
	return at + n;
}

static const unsigned char *skip_questions(struct slice answer)
{
	const unsigned char *at = (const unsigned char *)answer.ptr;
	const unsigned char *end = at + answer.len;
	unsigned questions = read_be(at + 4, 2);

	at += HEADER_BYTES;
	while (at && questions-- > 0) {
		at = skip_name(at, answer);
		if (at)
			at = end - at >= 4 ? at + 4 : NULL;
	}
	return at;
}

/* The least time to live of the records of the answer section. A value with the highest
 * bit set counts as 0 (RFC 2181 8). False: malformed. */
static bool least_ttl(struct slice answer, uint32_t *ttl_s)
{
	const unsigned char *at, *end = (const unsigned char *)answer.ptr + answer.len;
	unsigned records;

	*ttl_s = UINT32_MAX;
	if (answer.len < HEADER_BYTES)
		return false;
	records = read_be((const unsigned char *)answer.ptr + 6, 2);
	at = skip_questions(answer);
	while (at && records-- > 0) {
		uint32_t record_ttl_s;

		at = skip_name(at, answer);
		if (!at || end - at < RECORD_BYTES)
			return false;
		record_ttl_s = read_be(at + 4, 4);
		if (record_ttl_s > INT32_MAX)
			record_ttl_s = 0;
		if (record_ttl_s < *ttl_s)
			*ttl_s = record_ttl_s;
		if (end - at - RECORD_BYTES < (long)read_be(at + 8, 2))
			return false;
		at += RECORD_BYTES + read_be(at + 8, 2);
	}
	return at != NULL;
}

static int read_v4(struct slice answer, struct dns_address *addresses, unsigned max)
{
	struct ares_addrttl found[DNS_RECORDS_MAX];
	int n = COUNT(found), kept;
	int status = ares_parse_a_reply((const unsigned char *)answer.ptr, (int)answer.len, NULL,
					found, &n);

	if (status == ARES_ENODATA)
		return 0;
	if (status != ARES_SUCCESS)
		return -1;
	for (kept = 0; kept < n && kept < (int)max; kept++) {
		addresses[kept] = (struct dns_address){ .family = AF_INET, .weight = 1 };
		memcpy(addresses[kept].bytes, &found[kept].ipaddr, 4);
	}
	return kept;
}

static int read_v6(struct slice answer, struct dns_address *addresses, unsigned max)
{
	struct ares_addr6ttl found[DNS_RECORDS_MAX];
	int n = COUNT(found), kept;
	int status = ares_parse_aaaa_reply((const unsigned char *)answer.ptr, (int)answer.len,
					   NULL, found, &n);

	if (status == ARES_ENODATA)
		return 0;
	if (status != ARES_SUCCESS)
		return -1;
	for (kept = 0; kept < n && kept < (int)max; kept++) {
		addresses[kept] = (struct dns_address){ .family = AF_INET6, .weight = 1 };
		memcpy(addresses[kept].bytes, &found[kept].ip6addr, 16);
	}
	return kept;
}

int dns_read_addresses(struct slice answer, enum dns_type type, struct dns_address *addresses,
		       unsigned max, uint32_t *ttl_s)
{
	ASSERT(type != DNS_SRV);
	if (!least_ttl(answer, ttl_s))
		return -1;
	return type == DNS_A ? read_v4(answer, addresses, max) :
			       read_v6(answer, addresses, max);
}

static bool is_target(const struct ares_srv_reply *r)
{
	return r->host[0] != '\0' && strcmp(r->host, ".") != 0 &&
	       strlen(r->host) <= DNS_NAME_MAX && r->port > 0;
}

static unsigned first_priority(const struct ares_srv_reply *list)
{
	unsigned first = UINT16_MAX;

	for (; list; list = list->next)
		if (is_target(list) && list->priority < first)
			first = list->priority;
	return first;
}

int dns_read_services(struct slice answer, struct dns_service *services, unsigned max,
		      uint32_t *ttl_s)
{
	struct ares_srv_reply *list = NULL;
	unsigned n = 0, first;
	int status;

	if (!least_ttl(answer, ttl_s))
		return -1;
	status = ares_parse_srv_reply((const unsigned char *)answer.ptr, (int)answer.len, &list);
	if (status == ARES_ENODATA)
		return 0;
	if (status != ARES_SUCCESS)
		return -1;
	first = first_priority(list);
	for (const struct ares_srv_reply *r = list; r && n < max; r = r->next) {
		if (!is_target(r) || r->priority != first)
			continue;
		strcpy(services[n].target, r->host);
		services[n].priority = r->priority;
		/* Weight 0 means a very small chance, not none (RFC 2782). */
		services[n].weight = r->weight > 0 ? r->weight : 1;
		services[n++].port = r->port;
	}
	ares_free_data(list);
	return (int)n;
}

socklen_t dns_sockaddr(const struct dns_address *a, struct sockaddr_storage *sa)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(a->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(a->port) };

	memset(sa, 0, sizeof(*sa));
	if (a->family == AF_INET) {
		memcpy(&in.sin_addr, a->bytes, 4);
		memcpy(sa, &in, sizeof(in));
		return sizeof(in);
	}
	memcpy(&in6.sin6_addr, a->bytes, 16);
	memcpy(sa, &in6, sizeof(in6));
	return sizeof(in6);
}
