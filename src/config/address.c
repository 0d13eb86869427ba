#include "reader.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/un.h>

#define HOST_MAX 255

/* "HOST:PORT" taken apart. */
struct parts {
	struct slice host; /* without brackets */
	struct slice port;
	bool is_v6;
};

static const char *unix_resolve(struct arena *memory, struct slice text,
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
		return arena_format(memory,
				    "the path of this socket has %zu bytes; write one "
				    "of at most %zu",
				    path.len, sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, path.ptr, path.len);
	memcpy(&a->sa, &un, sizeof(un));
	a->len = sizeof(un);
	return NULL;
}

static const char *split_v6(struct arena *memory, struct slice text, struct parts *p)
{
	const char *end = memchr(text.ptr, ']', text.len);

	if (!end || end + 1 == text.ptr + text.len || end[1] != ':')
		return arena_format(memory, "'%.*s' is no address; write \"[IPV6]:PORT\"",
				    REPORT_ARG(text));
	p->is_v6 = true;
	p->host = (struct slice){ text.ptr + 1, (size_t)(end - text.ptr) - 1 };
	p->port = slice_after(text, p->host.len + 3);
	return NULL;
}

static const char *split(struct arena *memory, struct slice text, bool to_listen,
			 struct parts *p)
{
	const char *colon = memrchr(text.ptr, ':', text.len);

	if (memmem(text.ptr, text.len, "://", 3))
		return arena_format(memory, "'%.*s' is a URL; write only its HOST:PORT",
				    REPORT_ARG(text));
	if (text.ptr[0] == '[')
		return split_v6(memory, text, p);
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
			to_listen ? "'%.*s' has no host; write 0.0.0.0:%.*s, or "
				    "\"[::]:%.*s\" for all families"
				  : "'%.*s' has no host; write 127.0.0.1:%.*s",
			REPORT_ARG(text), REPORT_ARG(p->port), REPORT_ARG(p->port));
	if (memchr(p->host.ptr, ':', p->host.len))
		return arena_format(memory,
				    "an IPv6 address stands in brackets; write "
				    "\"[%.*s]:%.*s\"",
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
	return arena_format(memory, "'%.*s' is no port; write a number from 1 to 65535",
			    REPORT_ARG(port));
}

static const char *host_fault(struct arena *memory, const struct parts *p)
{
	size_t i = 0;

	while (i < p->host.len && (isalnum((unsigned char)p->host.ptr[i]) ||
				   strchr(p->is_v6 ? ":.%_-" : ".-_", p->host.ptr[i])))
		i++;
	if (i == p->host.len && i > 0 && i <= HOST_MAX)
		return NULL;
	return arena_format(memory, "'%.*s' is no host; write a name or an address",
			    REPORT_ARG(p->host));
}

static const char *lookup(struct arena *memory, const struct parts *p, int family,
			  struct addrinfo **list, bool *silent)
{
	struct addrinfo hints = {
		.ai_family = p->is_v6 ? AF_INET6 : family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | (p->is_v6 ? AI_NUMERICHOST : 0),
	};
	const char *host = arena_text(memory, p->host);
	int error = getaddrinfo(host, arena_text(memory, p->port), &hints, list);

	*silent = error == EAI_AGAIN;
	if (error == 0)
		return NULL;
	if (p->is_v6)
		return arena_format(memory,
				    "'%.*s' is no IPv6 address; write it as in "
				    "\"[::1]:%.*s\"",
				    REPORT_ARG(p->host), REPORT_ARG(p->port));
	return arena_format(memory,
			    "'%.*s' cannot be resolved (%s); check the name, or write "
			    "an address",
			    REPORT_ARG(p->host), gai_strerror(error));
}

static const char *split_tcp(struct arena *memory, struct slice text, bool to_listen,
			     struct parts *p)
{
	const char *fault = split(memory, text, to_listen, p);

	if (!fault)
		fault = port_fault(memory, p->port);
	return fault ? fault : host_fault(memory, p);
}

/* By the C library: /etc/hosts, nameservers, and what else the system knows. */
static const char *library_resolve(struct arena *memory, const struct parts *p, int family,
				   struct config_address *addresses, unsigned max,
				   unsigned *n, bool *silent)
{
	struct addrinfo *list;
	const char *fault = lookup(memory, p, family, &list, silent);

	if (fault)
		return fault;
	*n = 0;
	for (struct addrinfo *a = list; a && *n < max; a = a->ai_next) {
		ASSERT(a->ai_addrlen <= sizeof(addresses->sa));
		memcpy(&addresses[*n].sa, a->ai_addr, a->ai_addrlen);
		addresses[(*n)++].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return NULL;
}

static const char *blank_fault(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (iscntrl((unsigned char)text.ptr[i]) || text.ptr[i] == ' ')
			return "an address has no spaces or control characters; remove them";
	if (memmem(text.ptr, text.len, "${", 2))
		return "an address takes no variables; write it as it is";
	return NULL;
}

const char *address_resolve(struct arena *memory, struct slice text, bool to_listen,
			    struct config_address *addresses, unsigned max, unsigned *n)
{
	const char *fault = blank_fault(text), *copy;
	struct parts p = { 0 };
	bool silent;

	ASSERT(text.len > 0 && max > 0);
	if (fault)
		return fault;
	copy = arena_text(memory, text);
	text.ptr = copy;
	*n = 1;
	if (slice_starts(text, SLICE("unix:"))) {
		fault = unix_resolve(memory, text, addresses);
	} else {
		fault = split_tcp(memory, text, to_listen, &p);
		if (!fault)
			fault = library_resolve(memory, &p, AF_UNSPEC, addresses, max, n,
						&silent);
	}
	for (unsigned i = 0; !fault && i < *n; i++)
		addresses[i].text = copy;
	return fault;
}

/* ---- what was kept ------------------------------------------------------------- */

/* Texts point into the memory of the reader that kept them. */
static void take_addresses(const char *text, struct slice answer,
			   struct config_address *addresses, unsigned max, unsigned *n)
{
	*n = (unsigned)(answer.len / sizeof(*addresses));
	ASSERT(*n <= max);
	memcpy(addresses, answer.ptr, answer.len);
	for (unsigned i = 0; i < *n; i++)
		addresses[i].text = text;
}

static const char nothing_kept[] = "nothing was kept of it; restart";

const char *address_answer(struct reader *r, struct slice text, bool to_listen,
			   struct config_address *addresses, unsigned max, unsigned *n)
{
	enum answer_kind kind = to_listen ? ANSWER_LISTEN : ANSWER_SERVER;
	struct slice answer;
	const char *fault;

	if (r->answers.given) {
		if (!answer_find(&r->answers, kind, text, &answer))
			return nothing_kept;
		take_addresses(arena_text(r->memory, text), answer, addresses, max, n);
		return NULL;
	}
	fault = address_resolve(r->memory, text, to_listen, addresses, max, n);
	if (!fault)
		answer_keep(&r->answers, kind, text,
			    (struct slice){ (const char *)addresses, *n * sizeof(*addresses) });
	return fault;
}

/* ---- servers ----------------------------------------------------------------- */

static const struct {
	int af;
	enum dns_family dns;
} families[] = {
	[CONFIG_FAMILY_ANY] = { AF_UNSPEC, DNS_ANY },
	[CONFIG_FAMILY_IPV4] = { AF_INET, DNS_V4 },
	[CONFIG_FAMILY_IPV6] = { AF_INET6, DNS_V6 },
};

static bool is_number(struct reader *r, const struct parts *p)
{
	struct in_addr addr;

	return p->is_v6 || inet_aton(arena_text(&r->scratch, p->host), &addr);
}

/* NULL: no memory, of which reading a configuration dies elsewhere. */
static struct dns *dns_of(struct reader *r)
{
	if (!r->dns && dns_new(&r->dns) == 0)
		dns_servers(r->dns, r->config->resolver.servers);
	ASSERT(r->dns);
	return r->dns;
}

struct waiting {
	struct dns_lookup lookup;
	bool done;
};

static void lookup_done(struct dns_lookup *l)
{
	CONTAINER(l, struct waiting, lookup)->done = true;
}

/* By nameservers, for as long as they may take. Once they have kept silent nothing more is
 * asked: a file with many names is then refused at once. */
static const char *dns_resolve(struct reader *r, struct config_server *s)
{
	struct waiting *w = arena_take(&r->scratch, sizeof(*w));

	if (r->dns_silent)
		return "no nameserver answers in time";
	strcpy(w->lookup.name, s->host);
	w->lookup.service = s->srv;
	w->lookup.port = s->port;
	w->lookup.family = families[r->config->resolver.family].dns;
	w->lookup.done = lookup_done;
	dns_ask(dns_of(r), &w->lookup);
	while (!w->done)
		dns_wait(dns_of(r), -1, -1);
	r->dns_silent = w->lookup.silent;
	for (s->address_n = 0; s->address_n < w->lookup.n; s->address_n++) {
		struct config_address *a = &s->addresses[s->address_n];

		if (s->address_n == CONFIG_ADDRESSES_MAX)
			break;
		a->len = dns_sockaddr(&w->lookup.addresses[s->address_n], &a->sa);
		a->weight = w->lookup.addresses[s->address_n].weight;
	}
	return w->lookup.failure;
}

static const char *cannot(struct reader *r, struct slice host, const char *why)
{
	return arena_format(r->memory,
			    "'%.*s' cannot be resolved (%s); check the name and the "
			    "'resolver', or write an address",
			    REPORT_ARG(host), why);
}

static const char *service_resolve(struct reader *r, enum config_protocol protocol,
				   struct config_server *s)
{
	struct parts p = { .host = slice_after(slice_of(s->address), strlen("srv:")) };
	const char *why = host_fault(r->memory, &p);

	if (why)
		return why;
	if (protocol == CONFIG_MEMCACHED)
		return "keys are placed on the servers that are written; write each of them, and "
		       "not 'srv:'";
	s->host = p.host.ptr;
	s->srv = true;
	why = dns_resolve(r, s);
	if (r->config->resolver.off)
		s->host = NULL;
	return why ? cannot(r, p.host, why) : NULL;
}

static const char *name_resolve(struct reader *r, const struct parts *p,
				struct config_server *s)
{
	const struct config_resolver *resolver = &r->config->resolver;
	const char *why;
	bool in_hosts;

	s->host = arena_text(r->memory, p->host);
	s->port = (uint16_t)atoi(arena_text(&r->scratch, p->port));
	in_hosts = dns_in_hosts(dns_of(r), s->host);
	if (resolver->servers && !in_hosts) {
		why = dns_resolve(r, s);
		return why ? cannot(r, p->host, why) : NULL;
	}
	if (!in_hosts && r->dns_silent)
		return cannot(r, p->host, "no nameserver answers in time");
	if (resolver->off || in_hosts)
		s->host = NULL;
	return library_resolve(r->memory, p, families[resolver->family].af, s->addresses,
			       CONFIG_ADDRESSES_MAX, &s->address_n, &r->dns_silent);
}

static const char *tcp_resolve(struct reader *r, struct config_server *s)
{
	struct parts p = { 0 };
	bool silent;
	const char *fault = split_tcp(r->memory, slice_of(s->address), false, &p);

	if (fault)
		return fault;
	if (is_number(r, &p))
		return library_resolve(r->memory, &p, AF_UNSPEC, s->addresses,
				       CONFIG_ADDRESSES_MAX, &s->address_n, &silent);
	return name_resolve(r, &p, s);
}

static const char *resolve(struct reader *r, enum config_protocol protocol,
			   struct config_server *s)
{
	s->address_n = 1;
	if (slice_starts(slice_of(s->address), SLICE("unix:")))
		return unix_resolve(r->memory, slice_of(s->address), s->addresses);
	if (slice_starts(slice_of(s->address), SLICE("srv:")))
		return service_resolve(r, protocol, s);
	return tcp_resolve(r, s);
}

/* All that depends on its address and not only on its text, as it was found. */
struct kept {
	bool again; /* it can change */
	bool srv;
	uint16_t port;
	unsigned host_at; /* where the host begins in the text */
	unsigned host_n;
};

static const char *take_kept(struct reader *r, struct config_server *s)
{
	struct slice text = slice_of(s->address), answer;
	struct kept kept;

	if (!answer_find(&r->answers, ANSWER_NAME, text, &answer) || answer.len < sizeof(kept))
		return nothing_kept;
	memcpy(&kept, answer.ptr, sizeof(kept));
	answer = slice_after(answer, sizeof(kept));
	s->addresses = arena_take(r->memory, answer.len);
	take_addresses(s->address, answer, s->addresses, CONFIG_ADDRESSES_MAX,
		       &s->address_n);
	s->srv = kept.srv;
	s->port = kept.port;
	if (kept.again)
		s->host = arena_text(r->memory, (struct slice){ text.ptr + kept.host_at,
								kept.host_n });
	return NULL;
}

static void keep(struct reader *r, const struct config_server *s)
{
	size_t bytes = s->address_n * sizeof(s->addresses[0]);
	char *answer = arena_take(&r->scratch, sizeof(struct kept) + bytes);
	struct kept kept = { .again = s->host != NULL, .srv = s->srv, .port = s->port };

	if (s->host) {
		kept.host_at = s->srv ? (unsigned)strlen("srv:") : 0;
		kept.host_n = (unsigned)strlen(s->host);
	}
	memcpy(answer, &kept, sizeof(kept));
	memcpy(answer + sizeof(kept), s->addresses, bytes);
	answer_keep(&r->answers, ANSWER_NAME, slice_of(s->address),
		    (struct slice){ answer, sizeof(kept) + bytes });
}

const char *server_resolve(struct reader *r, struct slice text,
			   enum config_protocol protocol, struct config_server *s)
{
	const char *fault = blank_fault(text);

	if (fault)
		return fault;
	s->address = arena_text(r->memory, text);
	if (r->answers.given)
		return take_kept(r, s);
	if (!r->room)
		r->room = arena_take(&r->scratch,
				     CONFIG_ADDRESSES_MAX * sizeof(r->room[0]));
	s->addresses = r->room;
	fault = resolve(r, protocol, s);
	s->addresses = arena_copy(r->memory, r->room, s->address_n * sizeof(r->room[0]));
	for (unsigned i = 0; !fault && i < s->address_n; i++)
		s->addresses[i].text = s->address;
	if (!fault)
		keep(r, s);
	return fault;
}
