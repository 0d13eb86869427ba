#include "http/host.h"

#include <arpa/inet.h>

#include "line.h"
#include "octet.h"

bool host_valid(struct slice authority)
{
	return line_authority_valid(authority);
}

/* Removes ":" port, if there is one; colons within the brackets of an IPv6 address
 * stay. */
static struct slice without_port(struct slice authority)
{
	size_t n = authority.len;

	while (n > 0 && octet_is(authority.ptr[n - 1], OCTET_DIGIT))
		n--;
	if (n > 0 && authority.ptr[n - 1] == ':')
		authority.len = n - 1;
	return authority;
}

/* Writes "[ADDRESS]" in the form of RFC 5952. 0: not an IPv6 address. */
static size_t ipv6_write(char *out, struct slice host)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;
	size_t n = host.len - 2;

	if (host.len < 2 || n >= sizeof(text))
		return 0;
	memcpy(text, host.ptr + 1, n);
	text[n] = '\0';
	if (inet_pton(AF_INET6, text, &address) != 1)
		return 0;
	inet_ntop(AF_INET6, &address, text, sizeof(text));
	n = strlen(text);
	out[0] = '[';
	memcpy(out + 1, text, n);
	out[n + 1] = ']';
	return n + 2;
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

size_t host_normalize(char *out, struct slice authority)
{
	struct slice host = without_port(authority);
	size_t n = 0, written;

	if (host.len > 0 && host.ptr[0] == '[') {
		n = ipv6_write(out, host);
		if (n > 0)
			return n;
	}
	for (size_t i = 0; i < host.len; n += written) {
		written = octet_normalize(out + n, host, &i);
		if (written == 1)
			out[n] = to_lower(out[n]);
	}
	/* Removes a final dot, except that of the root alone ("."). */
	return n > 1 && out[n - 1] == '.' ? n - 1 : n;
}
