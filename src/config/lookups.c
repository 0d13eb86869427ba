/* The addresses of servers, and what their names stand for.
 *
 * Names are asked for when all were read, many at once, and none for longer than NAMES_MS in
 * all: nameservers that keep silent must not keep the rest from being served. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <time.h>

#include "address.h"

#define NAMES_MS 5000
#define ASKED_MAX 64 /* at once */

/* A name of a server. */
struct pending {
	struct pending *next;
	struct config_server *server;
	const char *upstream;
	struct source_pos at;
	struct parts parts;
	const char *why; /* NULL: it has addresses */
	bool ready;      /* its addresses are known without asking */
	bool silent;
	bool system;     /* the C library may know it from elsewhere */
};

/* A question on its way. */
struct asked {
	struct dns_lookup lookup;
	struct reader *reader;
	struct pending *pending; /* NULL: free */
};

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
		dns_set_servers(r->dns, r->config->resolver.servers);
	ASSERT(r->dns);
	return r->dns;
}

/* ---- snapshots --------------------------------------------------------------- */

/* All that depends on its address and not only on its text, as it was found. */
struct kept {
	bool again; /* it can change */
	bool srv;
	bool unresolved;
	uint16_t port;
	unsigned host_at; /* where the host begins in the text */
	unsigned host_n;
};

static const char *take_kept(struct reader *r, struct config_server *s)
{
	struct slice text = slice_of(s->address), answer;
	struct kept kept;

	if (!answer_find(&r->answers, ANSWER_NAME, text, &answer) || answer.len < sizeof(kept))
		return address_nothing_kept;
	memcpy(&kept, answer.ptr, sizeof(kept));
	answer = slice_after(answer, sizeof(kept));
	s->addresses = arena_take(r->memory, answer.len);
	address_take(s->address, answer, s->addresses, CONFIG_ADDRESSES_MAX, &s->address_n);
	s->srv = kept.srv;
	s->unresolved = kept.unresolved;
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
	struct kept kept = { .again = s->host != NULL, .srv = s->srv, .port = s->port,
			     .unresolved = s->unresolved };

	if (s->host) {
		kept.host_at = s->srv ? (unsigned)strlen("srv:") : 0;
		kept.host_n = (unsigned)strlen(s->host);
	}
	memcpy(answer, &kept, sizeof(kept));
	memcpy(answer + sizeof(kept), s->addresses, bytes);
	answer_keep(&r->answers, ANSWER_NAME, slice_of(s->address),
		    (struct slice){ answer, sizeof(kept) + bytes });
}

/* ---- what was known before --------------------------------------------------- */

static void put_known(FILE *out, const char *name, const struct config_address *a)
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

/* False: it was written already, of another upstream. */
static bool is_first(struct arena *memory, struct names *written, const char *name)
{
	struct names_entry *e;

	if (names_find(written, slice_of(name)))
		return false;
	e = arena_take(memory, sizeof(*e));
	names_put(written, e, slice_of(name));
	return true;
}

static void put_server(FILE *out, const struct config_server *s, struct arena *memory,
		       struct names *written)
{
	if (!s->host || s->address_n == 0 || !is_first(memory, written, s->address))
		return;
	for (unsigned i = 0; i < s->address_n; i++)
		put_known(out, s->address, &s->addresses[i]);
}

void config_write_addresses(const struct config *c, FILE *out)
{
	struct arena memory = { 0 };
	struct names written = { 0 };

	for (unsigned i = 0; i < c->upstream_n; i++)
		for (unsigned k = 0; k < c->upstreams[i].server_n; k++)
			put_server(out, &c->upstreams[i].servers[k], &memory, &written);
	names_done(&written);
	arena_free(&memory);
}

static struct slice take_word(struct slice *rest, char end)
{
	const char *at = memchr(rest->ptr, end, rest->len);
	struct slice word = { rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len };

	*rest = slice_after(*rest, at ? word.len + 1 : word.len);
	return word;
}

/* Room for all addresses of a name, until it is known how many there are. */
static struct config_address *room_of(struct reader *r)
{
	if (!r->room)
		r->room = arena_take(&r->scratch, CONFIG_ADDRESSES_MAX * sizeof(r->room[0]));
	return r->room;
}

static void take_room(struct reader *r, struct config_server *s)
{
	s->addresses = arena_copy(r->memory, r->room, s->address_n * sizeof(r->room[0]));
}

/* The lines of a name stand one behind the other. */
struct known {
	struct names_entry entry;
	struct slice lines; /* from its first on */
};

static void read_known(struct reader *r)
{
	struct slice rest = r->known, last = { NULL, 0 };

	while (rest.len > 0) {
		struct slice lines = rest, line = take_word(&rest, '\n');
		struct slice name = take_word(&line, ' ');
		struct known *k;

		if (slice_equal(name, last) || names_find(&r->known_names, name))
			continue;
		last = name;
		k = arena_take(&r->scratch, sizeof(*k));
		k->lines = lines;
		names_put(&r->known_names, &k->entry, name);
	}
}

/* Nothing, if the name is not there. */
static struct slice known_of(struct reader *r, struct slice name)
{
	struct names_entry *e;

	if (r->known_names.n == 0)
		read_known(r);
	e = names_find(&r->known_names, name);
	return e ? CONTAINER(e, struct known, entry)->lines : (struct slice){ NULL, 0 };
}

static void take_known(struct reader *r, struct config_server *s)
{
	struct config_address *room = room_of(r);
	struct slice rest = known_of(r, slice_of(s->address));

	while (rest.len > 0 && s->address_n < CONFIG_ADDRESSES_MAX) {
		struct slice line = take_word(&rest, '\n'), name = take_word(&line, ' ');
		struct slice weight = take_word(&line, ' ');
		unsigned n;

		if (!slice_equal(name, slice_of(s->address)))
			break;
		if (line.len == 0 ||
		    address_resolve(&r->scratch, line, false, &room[s->address_n], 1, &n))
			continue;
		room[s->address_n++].weight = (uint16_t)atoi(arena_text(&r->scratch, weight));
	}
	take_room(r, s);
}

/* ---- asking ------------------------------------------------------------------ */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void take_result(struct reader *r, const struct dns_lookup *l, struct pending *p)
{
	struct config_server *s = p->server;
	struct config_address *room = room_of(r);

	p->why = l->failure;
	p->silent = l->timed_out;
	for (s->address_n = 0; s->address_n < l->n; s->address_n++) {
		struct config_address *a = &room[s->address_n];

		if (s->address_n == CONFIG_ADDRESSES_MAX)
			break;
		*a = (struct config_address){ .weight = 0 };
		a->len = dns_sockaddr(&l->addresses[s->address_n], &a->sa);
		a->weight = l->addresses[s->address_n].weight;
	}
	take_room(r, s);
}

static void answered(struct dns_lookup *l)
{
	struct asked *a = CONTAINER(l, struct asked, lookup);

	take_result(a->reader, l, a->pending);
	dns_lookup_done(l);
	a->pending = NULL;
	a->reader->asked_n--;
}

static void ask(struct reader *r, struct asked *a, struct pending *p)
{
	strcpy(a->lookup.name, p->server->host);
	a->lookup.service = p->server->srv;
	a->lookup.port = p->server->port;
	a->lookup.family = families[r->config->resolver.family].dns;
	a->lookup.done = answered;
	a->reader = r;
	a->pending = p;
	r->asked_n++;
	dns_query(dns_of(r), &a->lookup);
}

static struct pending *next_name(struct pending *p)
{
	while (p && p->ready)
		p = p->next;
	return p;
}

/* In the order in which they were read. */
static void ask_all(struct reader *r, uint64_t end_ms)
{
	struct asked *asked = arena_take(&r->scratch, ASKED_MAX * sizeof(*asked));
	struct pending *next = next_name(r->pending);
	uint64_t ms = now_ms();

	while ((next || r->asked_n > 0) && ms < end_ms) {
		for (unsigned i = 0; i < ASKED_MAX && next; i++) {
			if (asked[i].pending)
				continue;
			ask(r, &asked[i], next);
			next = next_name(next->next);
		}
		if (r->asked_n > 0)
			dns_wait(dns_of(r), -1, (int)(end_ms - ms));
		ms = now_ms();
	}
	if (r->dns)
		dns_cancel(r->dns);
	for (; next; next = next_name(next->next))
		next->silent = true;
}

/* ---- what comes of it -------------------------------------------------------- */

/* Who is known to the system and to no nameserver is known to the C library. That of names
 * which no nameserver has said anything of would wait for the same ones. */
static void ask_library(struct reader *r, struct pending *p)
{
	struct config_server *s = p->server;

	if (address_by_library(r->memory, &p->parts, families[r->config->resolver.family].af,
			       room_of(r), CONFIG_ADDRESSES_MAX, &s->address_n))
		return;
	take_room(r, s);
	p->why = NULL;
}

static const char *cannot(struct reader *r, const struct pending *p)
{
	return arena_format(
		r->memory,
		"'%.*s' cannot be resolved (%s); check the name and 'resolver', or "
		"write an IP address",
		REPORT_ARG(p->parts.host), p->why);
}

static void conclude(struct reader *r, struct pending *p)
{
	struct config_server *s = p->server;
	const struct config_resolver *resolver = &r->config->resolver;

	if (p->why && (resolver->strict || resolver->off || r->strict)) {
		report_error(&r->report, p->at, "%s", cannot(r, p));
		return;
	}
	if (p->why) {
		s->unresolved = true;
		s->address_n = 0;
		take_known(r, s);
		report_warning(
			&r->report, p->at,
			"'%.*s' cannot be resolved (%s): upstream '%s' %s, and the name is queried "
			"again; check the name and 'resolver'",
			REPORT_ARG(p->parts.host), p->why, p->upstream,
			s->address_n > 0 ? "keeps its previous addresses"
					 : "starts without it");
	}
	if (resolver->off)
		s->host = NULL;
	for (unsigned i = 0; i < s->address_n; i++)
		s->addresses[i].text = s->address;
	keep(r, s);
}

void lookups_resolve(struct reader *r)
{
	uint64_t end_ms = now_ms() + NAMES_MS;

	if (!r->pending)
		return;
	ask_all(r, end_ms);
	for (struct pending *p = r->pending; p; p = p->next) {
		if (p->silent && p->server->address_n == 0)
			p->why = "no nameserver answers in time";
		if (p->why && p->system && !p->silent && now_ms() < end_ms)
			ask_library(r, p);
		conclude(r, p);
	}
}

/* ---- servers ----------------------------------------------------------------- */

static void put_off(struct reader *r, const struct server_entry *where,
		    const struct pending *what)
{
	struct pending *p = arena_take(&r->scratch, sizeof(*p)), **end = &r->pending;

	*p = *what;
	p->server = where->server;
	p->upstream = where->upstream;
	p->at = where->at;
	if (r->pending_last)
		end = &r->pending_last->next;
	*end = p;
	r->pending_last = p;
}

static const char *service_read(struct reader *r, const struct server_entry *where,
				enum config_protocol protocol)
{
	struct config_server *s = where->server;
	struct parts p = { .host = slice_after(slice_of(s->address), strlen("srv:")) };
	const char *why = address_host_fault(r->memory, &p);

	if (why)
		return why;
	if (protocol == CONFIG_MEMCACHED)
		return "'srv:' cannot be used in memcached upstreams, which hash keys by server "
		       "name; list each server instead";
	s->host = p.host.ptr;
	s->srv = true;
	put_off(r, where, &(struct pending){ .parts = p });
	return NULL;
}

static const char *read_at_once(struct reader *r, const struct server_entry *where,
				const struct parts *p, int family)
{
	struct config_server *s = where->server;
	struct config_address *room = room_of(r);
	const char *fault;

	s->address_n = 1;
	if (p)
		fault = address_by_library(r->memory, p, family, room, CONFIG_ADDRESSES_MAX,
					   &s->address_n);
	else
		fault = address_of_unix(r->memory, slice_of(s->address), room);
	if (fault)
		return fault;
	take_room(r, s);
	put_off(r, where, &(struct pending){ .ready = true });
	return NULL;
}

static const char *tcp_read(struct reader *r, const struct server_entry *where)
{
	struct config_server *s = where->server;
	const struct config_resolver *resolver = &r->config->resolver;
	struct parts p = { 0 };
	const char *fault = address_split(r->memory, slice_of(s->address), false, &p);

	if (fault)
		return fault;
	if (is_number(r, &p))
		return read_at_once(r, where, &p, AF_UNSPEC);
	s->host = arena_text(r->memory, p.host);
	s->port = (uint16_t)atoi(arena_text(&r->scratch, p.port));
	if (dns_in_hosts(dns_of(r), s->host)) {
		s->host = NULL;
		return read_at_once(r, where, &p, families[resolver->family].af);
	}
	put_off(r, where, &(struct pending){ .parts = p, .system = !resolver->servers });
	return NULL;
}

const char *lookups_read(struct reader *r, const struct server_entry *where,
			 struct slice text, enum config_protocol protocol)
{
	struct config_server *s = where->server;
	const char *fault = address_blank_fault(text);

	if (fault)
		return fault;
	s->address = arena_text(r->memory, text);
	if (r->answers.given)
		return take_kept(r, s);
	if (slice_starts(text, SLICE("unix:")))
		return read_at_once(r, where, NULL, AF_UNIX);
	if (slice_starts(text, SLICE("srv:")))
		return service_read(r, where, protocol);
	return tcp_read(r, where);
}
