/* Answers of nameservers. An input is the query type (first octet) and the message. At most as
 * many entries are returned as were asked for; a smaller array gets a prefix of them; each entry
 * is usable; and no byte behind the message is read. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "dns/answer.h"
#include "lib/fuzz.h"
#include "lib/guard.h"

#define MAX 8

static void check_services(struct slice message)
{
	struct dns_service all[MAX], few[2];
	uint32_t ttl_s, few_ttl_s;
	int n = dns_read_services(message, all, MAX, &ttl_s);
	int m = dns_read_services(message, few, 2, &few_ttl_s);

	ASSERT(n >= -1 && n <= MAX && m == (n > 2 ? 2 : n));
	for (int i = 0; i < n; i++) {
		ASSERT(strlen(all[i].target) > 0 && all[i].port > 0);
		ASSERT(all[i].priority == all[0].priority);
	}
	for (int i = 0; i < m; i++)
		ASSERT(strcmp(all[i].target, few[i].target) == 0 && all[i].port == few[i].port);
	ASSERT(n <= 0 || (ttl_s <= INT32_MAX && ttl_s == few_ttl_s));
}

static void check_addresses(struct slice message, enum dns_type type)
{
	struct dns_address all[MAX], few[2];
	uint32_t ttl_s, few_ttl_s;
	int n = dns_read_addresses(message, type, all, MAX, &ttl_s);
	int m = dns_read_addresses(message, type, few, 2, &few_ttl_s);

	ASSERT(n >= -1 && n <= MAX && m == (n > 2 ? 2 : n));
	for (int i = 0; i < n; i++)
		ASSERT(all[i].family == (type == DNS_A ? AF_INET : AF_INET6));
	for (int i = 0; i < m; i++)
		ASSERT(memcmp(&all[i], &few[i], sizeof(all[i])) == 0);
	ASSERT(n <= 0 || (ttl_s <= INT32_MAX && ttl_s == few_ttl_s));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct fuzz f = fuzz_begin(bytes, n);
	unsigned type = fuzz_octet(&f) % 3;
	char *copy = guard_copy(f.at, f.left);
	struct slice message = { copy, f.left };

	if (type == 0)
		check_services(message);
	else
		check_addresses(message, type == 1 ? DNS_A : DNS_AAAA);
	guard_free(copy);
	return 0;
}
