/* Addresses of upstream servers, and the resolution of their host names.
 *
 * Names are resolved when the whole file has been read: up to LOOKUPS_MAX at once, all within
 * RESOLVE_MS_MAX. Nameservers that do not respond must not delay the start any longer. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <time.h>

#include "address.h"

#define RESOLVE_MS_MAX 5000
#define LOOKUPS_MAX 64 /* concurrent */

/* A server whose addresses are known, or still to be resolved. */
struct server_lookup {
	struct server_lookup *next;
	struct config_server *server;
	const char *upstream;
	struct source_pos at;
	struct host_port parts;
	const char *failure; /* NULL: resolved */
	bool ready;          /* needs no lookup */
	bool timed_out;      /* no nameserver responded */
	bool system;         /* the C library may resolve it from other sources */
};

/* A DNS lookup in flight. */
struct lookup_slot {
	struct dns_lookup lookup;
	struct config_reader *reader;
	struct server_lookup *server_lookup; /* NULL: the slot is free */
};

static const struct {
	int af;
	enum dns_family dns;
} families[] = {
	[CONFIG_FAMILY_ANY] = { AF_UNSPEC, DNS_ANY },
	[CONFIG_FAMILY_IPV4] = { AF_INET, DNS_V4 },
	[CONFIG_FAMILY_IPV6] = { AF_INET6, DNS_V6 },
};

static bool is_ip_address(struct config_reader *r, const struct host_port *p)
{
	struct in_addr addr;

	return p->is_v6 || inet_aton(arena_text(&r->scratch, p->host), &addr);
}

/* The resolver, created at the first use. Out of memory: see arena.h. */
static struct dns *dns_of(struct config_reader *r)
{
	if (!r->dns && dns_new(&r->dns) == 0)
		dns_set_servers(r->dns, r->config->resolver.servers);
	ASSERT(r->dns);
	return r->dns;
}

/* ---- the snapshot ------------------------------------------------------------ */

/* Value of a RECORD_SERVER: what resolution adds to the text of a server's address; the
 * config_address structs follow. */
struct server_record {
	bool dynamic; /* the name is resolved again at run time */
	bool srv;
	bool unresolved;
	uint16_t port;
	unsigned host_at; /* offset of the host in the text */
	unsigned host_n;  /* its length */
};

static const char *server_from_record(struct config_reader *r, struct config_server *s)
{
	struct slice text = slice_of(s->address), record;
	struct server_record saved;

	if (!snapshot_find(&r->snapshot, RECORD_SERVER, text, &record) ||
	    record.len < sizeof(saved))
		return address_not_in_snapshot;
	memcpy(&saved, record.ptr, sizeof(saved));
	record = slice_after(record, sizeof(saved));
	s->addresses = arena_alloc(r->memory, record.len);
	address_from_record(s->address, record, s->addresses, CONFIG_ADDRESSES_MAX,
			    &s->address_n);
	s->srv = saved.srv;
	s->unresolved = saved.unresolved;
	s->port = saved.port;
	if (saved.dynamic)
		s->host = arena_text(r->memory, (struct slice){ text.ptr + saved.host_at,
								saved.host_n });
	return NULL;
}

static void server_record_add(struct config_reader *r, const struct config_server *s)
{
	size_t bytes = s->address_n * sizeof(s->addresses[0]);
	char *record = arena_alloc(&r->scratch, sizeof(struct server_record) + bytes);
	struct server_record saved = { .dynamic = s->host != NULL,
				       .srv = s->srv,
				       .port = s->port,
				       .unresolved = s->unresolved };

	if (s->host) {
		saved.host_at = s->srv ? (unsigned)strlen("srv:") : 0;
		saved.host_n = (unsigned)strlen(s->host);
	}
	memcpy(record, &saved, sizeof(saved));
	memcpy(record + sizeof(saved), s->addresses, bytes);
	snapshot_add(&r->snapshot, RECORD_SERVER, slice_of(s->address),
		     (struct slice){ record, sizeof(saved) + bytes });
}

/* ---- known addresses, of an earlier configuration ---------------------------- */

static void print_address(FILE *out, const char *name, const struct config_address *a)
{
	bool is_v4 = a->sa.ss_family == AF_INET;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->sa;
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(a->sa.ss_family,
		  is_v4 ? (const void *)&in->sin_addr : (const void *)&in6->sin6_addr, text,
		  sizeof(text));
	fprintf(out, is_v4 ? "%s %u %s:%u\n" : "%s %u [%s]:%u\n", name, (unsigned)a->weight, text,
		ntohs(is_v4 ? in->sin_port : in6->sin6_port));
}

/* False: another upstream has the same name, which has been printed. */
static bool is_first_use(struct arena *memory, struct names *written, const char *name)
{
	struct names_entry *e;

	if (names_find(written, slice_of(name)))
		return false;
	e = arena_alloc(memory, sizeof(*e));
	names_put(written, e, slice_of(name));
	return true;
}

static void print_server(FILE *out, const struct config_server *s, struct arena *memory,
			 struct names *written)
{
	if (!s->host || s->address_n == 0 || !is_first_use(memory, written, s->address))
		return;
	for (unsigned i = 0; i < s->address_n; i++)
		print_address(out, s->address, &s->addresses[i]);
}

void config_write_addresses(const struct config *c, FILE *out)
{
	struct arena memory = { 0 };
	struct names written = { 0 };

	for (unsigned i = 0; i < c->upstream_n; i++)
		for (unsigned k = 0; k < c->upstreams[i].server_n; k++)
			print_server(out, &c->upstreams[i].servers[k], &memory, &written);
	names_done(&written);
	arena_free(&memory);
}

static struct slice cut_word(struct slice *rest, char end)
{
	const char *at = memchr(rest->ptr, end, rest->len);
	struct slice word = { rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len };

	*rest = slice_after(*rest, at ? word.len + 1 : word.len);
	return word;
}

/* Buffer for the addresses of one name, whose number is not known before. */
static struct config_address *address_buffer(struct config_reader *r)
{
	if (!r->address_buffer)
		r->address_buffer = arena_alloc(
			&r->scratch, CONFIG_ADDRESSES_MAX * sizeof(r->address_buffer[0]));
	return r->address_buffer;
}

static void addresses_store(struct config_reader *r, struct config_server *s)
{
	s->addresses = arena_copy(r->memory, r->address_buffer,
				  s->address_n * sizeof(r->address_buffer[0]));
}

/* Index entry of known_addresses; the lines of a name are adjacent. */
struct known_name {
	struct names_entry entry;
	struct slice lines; /* from the first line of the name to the end of all lines */
};

static void known_names_index(struct config_reader *r)
{
	struct slice rest = r->known_addresses, last = { NULL, 0 };

	while (rest.len > 0) {
		struct slice lines = rest, line = cut_word(&rest, '\n');
		struct slice name = cut_word(&line, ' ');
		struct known_name *known;

		if (slice_equal(name, last) || names_find(&r->known_names, name))
			continue;
		last = name;
		known = arena_alloc(&r->scratch, sizeof(*known));
		known->lines = lines;
		names_put(&r->known_names, &known->entry, name);
	}
}

/* Empty: the name is not known. */
static struct slice known_lines_of(struct config_reader *r, struct slice name)
{
	struct names_entry *e;

	if (r->known_names.n == 0)
		known_names_index(r);
	e = names_find(&r->known_names, name);
	return e ? CONTAINER(e, struct known_name, entry)->lines
		 : (struct slice){ NULL, 0 };
}

static void addresses_from_known(struct config_reader *r, struct config_server *s)
{
	struct config_address *buffer = address_buffer(r);
	struct slice rest = known_lines_of(r, slice_of(s->address));

	while (rest.len > 0 && s->address_n < CONFIG_ADDRESSES_MAX) {
		struct slice line = cut_word(&rest, '\n'), name = cut_word(&line, ' ');
		struct slice weight = cut_word(&line, ' ');
		unsigned n;

		if (!slice_equal(name, slice_of(s->address)))
			break;
		if (line.len == 0 || address_resolve(&r->scratch, line, false,
						     &buffer[s->address_n], 1, &n))
			continue;
		buffer[s->address_n++].weight =
			(uint16_t)atoi(arena_text(&r->scratch, weight));
	}
	addresses_store(r, s);
}

/* ---- DNS lookups ------------------------------------------------------------- */

static uint64_t monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void addresses_from_lookup(struct config_reader *r, const struct dns_lookup *l,
				  struct server_lookup *p)
{
	struct config_server *s = p->server;
	struct config_address *buffer = address_buffer(r);

	p->failure = l->failure;
	p->timed_out = l->timed_out;
	for (s->address_n = 0; s->address_n < l->n; s->address_n++) {
		struct config_address *a = &buffer[s->address_n];

		if (s->address_n == CONFIG_ADDRESSES_MAX)
			break;
		*a = (struct config_address){ .weight = 0 };
		a->len = dns_sockaddr(&l->addresses[s->address_n], &a->sa);
		a->weight = l->addresses[s->address_n].weight;
	}
	addresses_store(r, s);
}

static void lookup_finished(struct dns_lookup *l)
{
	struct lookup_slot *a = CONTAINER(l, struct lookup_slot, lookup);

	addresses_from_lookup(a->reader, l, a->server_lookup);
	dns_lookup_done(l);
	a->server_lookup = NULL;
	a->reader->lookups_running--;
}

static void lookup_start(struct config_reader *r, struct lookup_slot *a,
			 struct server_lookup *p)
{
	strcpy(a->lookup.name, p->server->host);
	a->lookup.service = p->server->srv;
	a->lookup.port = p->server->port;
	a->lookup.family = families[r->config->resolver.family].dns;
	a->lookup.done = lookup_finished;
	a->reader = r;
	a->server_lookup = p;
	r->lookups_running++;
	dns_query(dns_of(r), &a->lookup);
}

static struct server_lookup *next_unresolved(struct server_lookup *p)
{
	while (p && p->ready)
		p = p->next;
	return p;
}

/* Runs all lookups, in file order, until they are finished or `end_ms`. */
static void lookups_run(struct config_reader *r, uint64_t end_ms)
{
	struct lookup_slot *slots = arena_alloc(&r->scratch,
						LOOKUPS_MAX * sizeof(*slots));
	struct server_lookup *next = next_unresolved(r->lookups);
	uint64_t ms = monotonic_ms();

	while ((next || r->lookups_running > 0) && ms < end_ms) {
		for (unsigned i = 0; i < LOOKUPS_MAX && next; i++) {
			if (slots[i].server_lookup)
				continue;
			lookup_start(r, &slots[i], next);
			next = next_unresolved(next->next);
		}
		if (r->lookups_running > 0)
			dns_wait(dns_of(r), -1, (int)(end_ms - ms));
		ms = monotonic_ms();
	}
	if (r->dns)
		dns_cancel(r->dns);
	for (; next; next = next_unresolved(next->next))
		next->timed_out = true;
}

/* ---- results ----------------------------------------------------------------- */

/* Names that nameservers do not have may come from other sources of the system (nsswitch.conf).
 * Not called after a timeout: the C library would wait for the same nameservers. */
static void resolve_by_library(struct config_reader *r, struct server_lookup *p)
{
	struct config_server *s = p->server;

	if (address_resolve_host(r->memory, &p->parts,
				 families[r->config->resolver.family].af,
				 address_buffer(r), CONFIG_ADDRESSES_MAX, &s->address_n))
		return;
	addresses_store(r, s);
	p->failure = NULL;
}

static const char *unresolved_text(struct config_reader *r, const struct server_lookup *p)
{
	return arena_format(
		r->memory,
		"'%.*s' cannot be resolved (%s); check the name and 'resolver', or "
		"write an IP address",
		REPORT_ARG(p->parts.host), p->failure);
}

static void lookup_conclude(struct config_reader *r, struct server_lookup *p)
{
	struct config_server *s = p->server;
	const struct config_resolver *resolver = &r->config->resolver;

	if (p->failure && (resolver->strict || resolver->off || r->strict)) {
		report_error(&r->report, p->at, "%s", unresolved_text(r, p));
		return;
	}
	if (p->failure) {
		s->unresolved = true;
		s->address_n = 0;
		addresses_from_known(r, s);
		report_warning(
			&r->report, p->at,
			"'%.*s' cannot be resolved (%s): upstream '%s' %s, and the name is queried "
			"again; check the name and 'resolver'",
			REPORT_ARG(p->parts.host), p->failure, p->upstream,
			s->address_n > 0 ? "keeps its previous addresses"
					 : "starts without it");
	}
	if (resolver->off)
		s->host = NULL;
	for (unsigned i = 0; i < s->address_n; i++)
		s->addresses[i].text = s->address;
	server_record_add(r, s);
}

void lookups_resolve(struct config_reader *r)
{
	uint64_t end_ms = monotonic_ms() + RESOLVE_MS_MAX;

	if (!r->lookups)
		return;
	lookups_run(r, end_ms);
	for (struct server_lookup *p = r->lookups; p; p = p->next) {
		if (p->timed_out && p->server->address_n == 0)
			p->failure = "no nameserver answers in time";
		if (p->failure && p->system && !p->timed_out && monotonic_ms() < end_ms)
			resolve_by_library(r, p);
		lookup_conclude(r, p);
	}
}

/* ---- reading addresses ------------------------------------------------------- */

static void lookup_add(struct config_reader *r, const struct server_entry *where,
		       const struct server_lookup *what)
{
	struct server_lookup *p = arena_alloc(&r->scratch, sizeof(*p)),
			     **end = &r->lookups;

	*p = *what;
	p->server = where->server;
	p->upstream = where->upstream;
	p->at = where->at;
	if (r->lookups_last)
		end = &r->lookups_last->next;
	*end = p;
	r->lookups_last = p;
}

static const char *srv_server_read(struct config_reader *r,
				   const struct server_entry *where,
				   enum config_protocol protocol)
{
	struct config_server *s = where->server;
	struct host_port p = { .host = slice_after(slice_of(s->address),
						   strlen("srv:")) };
	const char *fault = address_host_fault(r->memory, &p);

	if (fault)
		return fault;
	if (protocol == CONFIG_MEMCACHED)
		return "'srv:' cannot be used in memcached upstreams, which hash keys by server "
		       "name; list each server instead";
	s->host = p.host.ptr;
	s->srv = true;
	lookup_add(r, where, &(struct server_lookup){ .parts = p });
	return NULL;
}

static const char *server_resolve_now(struct config_reader *r,
				      const struct server_entry *where,
				      const struct host_port *p, int family)
{
	struct config_server *s = where->server;
	struct config_address *buffer = address_buffer(r);
	const char *fault;

	s->address_n = 1;
	if (p)
		fault = address_resolve_host(r->memory, p, family, buffer,
					     CONFIG_ADDRESSES_MAX, &s->address_n);
	else
		fault = address_of_unix(r->memory, slice_of(s->address), buffer);
	if (fault)
		return fault;
	addresses_store(r, s);
	lookup_add(r, where, &(struct server_lookup){ .ready = true });
	return NULL;
}

static const char *tcp_server_read(struct config_reader *r,
				   const struct server_entry *where)
{
	struct config_server *s = where->server;
	const struct config_resolver *resolver = &r->config->resolver;
	struct host_port p = { 0 };
	const char *fault = address_split(r->memory, slice_of(s->address), false, &p);

	if (fault)
		return fault;
	if (is_ip_address(r, &p))
		return server_resolve_now(r, where, &p, AF_UNSPEC);
	s->host = arena_text(r->memory, p.host);
	s->port = (uint16_t)atoi(arena_text(&r->scratch, p.port));
	if (dns_in_hosts(dns_of(r), s->host)) {
		s->host = NULL;
		return server_resolve_now(r, where, &p, families[resolver->family].af);
	}
	lookup_add(r, where,
		   &(struct server_lookup){ .parts = p, .system = !resolver->servers });
	return NULL;
}

const char *lookups_read(struct config_reader *r, const struct server_entry *where,
			 struct slice text, enum config_protocol protocol)
{
	struct config_server *s = where->server;
	const char *fault = address_char_fault(text);

	if (fault)
		return fault;
	s->address = arena_text(r->memory, text);
	if (r->snapshot.replayed)
		return server_from_record(r, s);
	if (slice_starts(text, SLICE("unix:")))
		return server_resolve_now(r, where, NULL, AF_UNIX);
	if (slice_starts(text, SLICE("srv:")))
		return srv_server_read(r, where, protocol);
	return tcp_server_read(r, where);
}
