#include "address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/un.h>

#define HOST_MAX 255

const char *address_of_unix(struct arena *memory, struct slice text,
			    struct config_address *a)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct slice path = slice_after(text, strlen("unix:"));

	if (path.len == 0 || path.ptr[0] != '/')
		return arena_format(memory,
				    "the path in '%.*s' does not begin with '/'; write "
				    "unix:/PATH",
				    REPORT_ARG(text));
	if (path.len >= sizeof(un.sun_path))
		return arena_format(
			memory,
			"the path of this socket has %zu bytes; use a path of at most %zu",
			path.len, sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, path.ptr, path.len);
	*a = (struct config_address){ .weight = 0 };
	memcpy(&a->sa, &un, sizeof(un));
	a->len = sizeof(un);
	return NULL;
}

static const char *split_ipv6(struct arena *memory, struct slice text,
			      struct host_port *p)
{
	const char *end = memchr(text.ptr, ']', text.len);

	if (!end || end + 1 == text.ptr + text.len || end[1] != ':')
		return arena_format(
			memory,
			"'%.*s' is not an address with a port; write \"[IPV6]:PORT\"",
			REPORT_ARG(text));
	p->is_v6 = true;
	p->host = (struct slice){ text.ptr + 1, (size_t)(end - text.ptr) - 1 };
	p->port = slice_after(text, p->host.len + 3);
	return NULL;
}

static const char *split_host_port(struct arena *memory, struct slice text,
				   bool to_listen, struct host_port *p)
{
	const char *colon = memrchr(text.ptr, ':', text.len);

	if (memmem(text.ptr, text.len, "://", 3))
		return arena_format(memory, "'%.*s' is a URL; write only its HOST:PORT",
				    REPORT_ARG(text));
	if (text.ptr[0] == '[')
		return split_ipv6(memory, text, p);
	if (!colon && strspn(text.ptr, "0123456789") == text.len)
		return arena_format(memory, "'%.*s' has no host; write 127.0.0.1:%.*s",
				    REPORT_ARG(text), REPORT_ARG(text));
	if (!colon)
		return arena_format(memory, "'%.*s' has no port; write %.*s:PORT",
				    REPORT_ARG(text), REPORT_ARG(text));
	p->host = (struct slice){ text.ptr, (size_t)(colon - text.ptr) };
	p->port = slice_after(text, p->host.len + 1);
	if (p->host.len == 0 || slice_equal(p->host, SLICE("*")))
		return arena_format(
			memory,
			to_listen
				? "'%.*s' has no host; write 127.0.0.1:%.*s, or "
				  "0.0.0.0:%.*s for all IPv4 addresses"
				: "'%.*s' has no host; write 127.0.0.1:%.*s",
			REPORT_ARG(text), REPORT_ARG(p->port), REPORT_ARG(p->port));
	if (memchr(p->host.ptr, ':', p->host.len))
		return arena_format(
			memory,
			"an IPv6 address must be in brackets; write \"[%.*s]:%.*s\"",
			REPORT_ARG(p->host), REPORT_ARG(p->port));
	return NULL;
}

static const char *port_fault(struct arena *memory, struct slice port)
{
	unsigned long number = 0;

	for (size_t i = 0; i < port.len && number <= 65535; i++) {
		if (!isdigit((unsigned char)port.ptr[i]))
			number = 65536;
		else
			number = number * 10 + (unsigned long)(port.ptr[i] - '0');
	}
	if (number >= 1 && number <= 65535)
		return NULL;
	return arena_format(memory,
			    "'%.*s' is not a port; write a number from 1 to 65535",
			    REPORT_ARG(port));
}

const char *address_host_fault(struct arena *memory, const struct host_port *p)
{
	size_t i = 0;

	while (i < p->host.len && (isalnum((unsigned char)p->host.ptr[i]) ||
				   strchr(p->is_v6 ? ":.%_-" : ".-_", p->host.ptr[i])))
		i++;
	if (i == p->host.len && i > 0 && i <= HOST_MAX)
		return NULL;
	return arena_format(memory,
			    "'%.*s' is not a host; write a host name or an IP address",
			    REPORT_ARG(p->host));
}

static const char *resolve_host(struct arena *memory, const struct host_port *p,
				int family, struct addrinfo **list)
{
	struct addrinfo hints = {
		.ai_family = p->is_v6 ? AF_INET6 : family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | (p->is_v6 ? AI_NUMERICHOST : 0),
	};
	const char *host = arena_text(memory, p->host);
	int error = getaddrinfo(host, arena_text(memory, p->port), &hints, list);

	if (error == 0)
		return NULL;
	if (p->is_v6)
		return arena_format(
			memory,
			"'%.*s' is not an IPv6 address; write it as in \"[::1]:%.*s\"",
			REPORT_ARG(p->host), REPORT_ARG(p->port));
	return arena_format(
		memory,
		"'%.*s' cannot be resolved (%s); check the name, or write an IP "
		"address",
		REPORT_ARG(p->host), gai_strerror(error));
}

const char *address_split(struct arena *memory, struct slice text, bool to_listen,
			  struct host_port *p)
{
	const char *fault = split_host_port(memory, text, to_listen, p);

	if (!fault)
		fault = port_fault(memory, p->port);
	return fault ? fault : address_host_fault(memory, p);
}

const char *address_resolve_host(struct arena *memory, const struct host_port *p,
				 int family, struct config_address *addresses,
				 unsigned max, unsigned *n)
{
	struct addrinfo *list;
	const char *fault = resolve_host(memory, p, family, &list);

	if (fault)
		return fault;
	*n = 0;
	for (struct addrinfo *a = list; a && *n < max; a = a->ai_next) {
		ASSERT(a->ai_addrlen <= sizeof(addresses->sa));
		addresses[*n] = (struct config_address){ .weight = 0 };
		memcpy(&addresses[*n].sa, a->ai_addr, a->ai_addrlen);
		addresses[(*n)++].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return NULL;
}

const char *address_char_fault(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (iscntrl((unsigned char)text.ptr[i]) || text.ptr[i] == ' ')
			return "an address cannot contain spaces or control characters; remove "
			       "them";
	if (memmem(text.ptr, text.len, "${", 2))
		return "an address cannot contain variables; write the address itself";
	return NULL;
}

const char *address_resolve(struct arena *memory, struct slice text, bool to_listen,
			    struct config_address *addresses, unsigned max, unsigned *n)
{
	const char *fault = address_char_fault(text), *copy;
	struct host_port p = { 0 };

	ASSERT(text.len > 0 && max > 0);
	if (fault)
		return fault;
	copy = arena_text(memory, text);
	text.ptr = copy;
	*n = 1;
	if (slice_starts(text, SLICE("unix:"))) {
		fault = address_of_unix(memory, text, addresses);
	} else {
		fault = address_split(memory, text, to_listen, &p);
		if (!fault)
			fault = address_resolve_host(memory, &p, AF_UNSPEC, addresses,
						     max, n);
	}
	for (unsigned i = 0; !fault && i < *n; i++)
		addresses[i].text = copy;
	return fault;
}

/* ---- the snapshot -------------------------------------------------------------- */

void address_from_record(const char *text, struct slice record,
			 struct config_address *addresses, unsigned max, unsigned *n)
{
	*n = (unsigned)(record.len / sizeof(*addresses));
	ASSERT(*n <= max);
	memcpy(addresses, record.ptr, record.len);
	for (unsigned i = 0; i < *n; i++)
		addresses[i].text = text;
}

const char address_not_in_snapshot[] = "missing in the snapshot; restart fairlead";

const char *address_lookup(struct config_reader *r, struct slice text, bool to_listen,
			   struct config_address *addresses, unsigned max, unsigned *n)
{
	enum record_kind kind = to_listen ? RECORD_LISTEN : RECORD_URL;
	struct slice record;
	const char *fault;

	if (r->snapshot.replayed) {
		if (!snapshot_find(&r->snapshot, kind, text, &record))
			return address_not_in_snapshot;
		address_from_record(arena_text(r->memory, text), record, addresses, max,
				    n);
		return NULL;
	}
	fault = address_resolve(r->memory, text, to_listen, addresses, max, n);
	if (!fault)
		snapshot_add(&r->snapshot, kind, text,
			     (struct slice){ (const char *)addresses,
					     *n * sizeof(*addresses) });
	return fault;
}
