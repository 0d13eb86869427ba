#include "http/forwarding.h"

#include "element.h"
#include "octet.h"

static const struct {
	struct slice name;
	bool prefix, address;
} names[] = {
#define FORWARDING(text, prefix_, address_) \
	{ { text, sizeof(text) - 1 }, prefix_, address_ },
#include "http/forwarding.def"
#undef FORWARDING
};

/* Folds case, and maps every separator to "-", as CGI does. */
static char normal_char(char c)
{
	return OCTET_IS_ALNUM(c) ? (char)(c | 0x20) : '-';
}

static bool begins_with(struct slice name, struct slice known)
{
	for (size_t i = 0; i < known.len; i++)
		if (normal_char(name.ptr[i]) != normal_char(known.ptr[i]))
			return false;
	return true;
}

/* Its index in `names`; COUNT(names): none. */
static size_t index_of(struct slice name)
{
	size_t i = 0;

	for (; i < COUNT(names); i++) {
		struct slice known = names[i].name;
		bool longer = name.len > known.len && names[i].prefix &&
			      normal_char(name.ptr[known.len]) == '-';

		if ((name.len == known.len || longer) && begins_with(name, known))
			break;
	}
	return i;
}

bool forwarding_is_field(struct slice name)
{
	return forwarding_may_be_field(name) && index_of(name) < COUNT(names);
}

static bool is_certificate(struct slice name)
{
	return slice_equal_nocase(name, SLICE("Client-Cert")) ||
	       slice_equal_nocase(name, SLICE("Client-Cert-Chain"));
}

/* True: X-Forwarded-For or Forwarded names another client than this address field. The proxy
 * let one of the two pass unseen; X-Forwarded-For counts, as more proxies write it. */
static bool contradicts_client(const struct forwarding *f, const struct field *field)
{
	const struct forwarding_chain *chain = f->list.hops > 0 ? &f->list : &f->elements;
	size_t i = chain->hops > 0 ? index_of(field->name) : COUNT(names);
	struct ip ip;

	return i < COUNT(names) && names[i].address &&
	       (!ip_parse(&ip, field->value) || ip_compare(&ip, &chain->client) != 0);
}

bool forwarding_passes(const struct forwarding *f, const struct field *field)
{
	if (!f->peer->trusted)
		return false;
	switch (field->header) {
	case HEADER_FORWARDED:
	case HEADER_X_FORWARDED_FOR:
	case HEADER_X_FORWARDED_HOST:
	case HEADER_X_FORWARDED_PORT:
	case HEADER_X_FORWARDED_PROTO:
		return false; /* forwarding_emit() writes them */
	}
	for (size_t i = 0; i < field->name.len; i++)
		if (normal_char(field->name.ptr[i]) == '-' && field->name.ptr[i] != '-')
			return false;
	if (f->peer->certificate.len > 0 && is_certificate(field->name))
		return false;
	return !contradicts_client(f, field);
}

/* ---- list members ------------------------------------------------------------ */

/* Walks all fields of one name, as one list, from its end. */
struct walk {
	const struct head *head;
	enum header id;
	unsigned field;    /* index of the current field; field_n: none yet */
	struct slice rest; /* the part of its value that was not walked yet */
};

static struct walk walk_begin(const struct head *h, enum header id)
{
	return (struct walk){ h, id, h->field_n, { NULL, 0 } };
}

/* The previous non-empty member. False: there is none. */
static bool walk_next(struct walk *w, struct slice *member)
{
	for (;;) {
		const char *comma;

		while (w->rest.len == 0) {
			if (w->field == 0)
				return false;
			if (field_is_part(&w->head->fields[--w->field], w->id))
				w->rest = w->head->fields[w->field].value;
		}
		comma = memrchr(w->rest.ptr, ',', w->rest.len);
		*member = slice_trim(
			comma ? slice_after(w->rest, (size_t)(comma + 1 - w->rest.ptr))
			      : w->rest);
		w->rest.len = comma ? (size_t)(comma - w->rest.ptr) : 0;
		if (member->len > 0)
			return true;
	}
}

/* Adds a hop to the chain. False: the walk ends here. */
static bool chain_take(struct forwarding_chain *c, const struct forwarding_peer *peer,
		       struct slice node, unsigned field, struct slice first)
{
	struct ip ip;

	if (!node_parse(node, &ip))
		return false;
	c->client = ip;
	c->field = field;
	c->first = first;
	return ++c->hops < FORWARDING_HOPS_MAX &&
	       ip_ranges_contain(peer->proxies, peer->proxy_n, &ip);
}

/* ---- X-Forwarded-For -------------------------------------------------------- */

/* False: no X-Forwarded-For. */
static bool list_read(struct forwarding *f, const struct head *h)
{
	struct walk w = walk_begin(h, HEADER_X_FORWARDED_FOR);
	struct slice member;
	bool any = false, more = true;

	while (more && walk_next(&w, &member)) {
		const struct slice *value = &h->fields[w.field].value;

		any = true;
		more = chain_take(&f->list, f->peer, member, w.field,
				  slice_after(*value, (size_t)(member.ptr - value->ptr)));
	}
	return any;
}

/* ---- Forwarded -------------------------------------------------------------- */

/* Quoted strings can be parsed only from the front: all elements are read, and the last
 * FORWARDING_HOPS_MAX are kept. *at: the client's element. False: no Forwarded, or
 * malformed. */
static bool elements_read(struct forwarding *f, const struct head *h, struct element *at)
{
	struct element last[FORWARDING_HOPS_MAX], e;
	const struct field *first = head_find(h, HEADER_FORWARDED);
	unsigned n = 0, field = first ? (unsigned)(first - h->fields) : h->field_n;
	struct slice rest = first && !first->per_hop ? first->value
						     : (struct slice){ NULL, 0 };
	bool more = true;
	int got;

	while ((got = element_next(h, &field, &rest, &e)) > 0)
		last[n++ % FORWARDING_HOPS_MAX] = e;
	for (unsigned k = 1; got == 0 && more && k <= n; k++) {
		e = last[(n - k) % FORWARDING_HOPS_MAX];
		more = chain_take(&f->elements, f->peer, e.node, e.field, e.from);
		if (f->elements.hops == k)
			*at = e;
	}
	return f->elements.hops > 0;
}

/* ---- the request as the client sent it ---------------------------------------- */

static bool is_proto(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!OCTET_IS_ALNUM(s.ptr[i]) && (i == 0 || !memchr("+-.", s.ptr[i], 3)))
			return false;
	return s.len > 0 && OCTET_IS_ALPHA(s.ptr[0]);
}

static bool is_host(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!octet_is(s.ptr[i], OCTET_HOST) && !memchr(":[]%", s.ptr[i], 4))
			return false;
	return s.len > 0;
}

/* The member of a list that is `hops` from its end, or its first one; empty if not
 * good(). */
static struct slice member_at(const struct head *h, enum header id, unsigned hops,
			      bool (*good)(struct slice s))
{
	struct walk w = walk_begin(h, id);
	struct slice member = { NULL, 0 };

	do
		if (!walk_next(&w, &member))
			break;
	while (--hops > 0);
	return good(member) ? member : (struct slice){ NULL, 0 };
}

static struct slice first_non_empty(struct slice a, struct slice b, struct slice c)
{
	return a.len > 0 ? a : b.len > 0 ? b : c;
}

/* The port in the host, or else the default one of the scheme. */
static struct slice port_of(struct slice host, struct slice proto)
{
	const char *colon = host.len > 0 ? memrchr(host.ptr, ':', host.len) : NULL;
	struct slice port = { NULL, 0 };

	if (colon)
		port = slice_after(host, (size_t)(colon + 1 - host.ptr));
	if (host.len == 0 || node_is_port(port))
		return port;
	if (slice_equal_nocase(proto, SLICE("https")) ||
	    slice_equal_nocase(proto, SLICE("wss")))
		return SLICE("443");
	if (slice_equal_nocase(proto, SLICE("http")) ||
	    slice_equal_nocase(proto, SLICE("ws")))
		return SLICE("80");
	return (struct slice){ NULL, 0 };
}

/* For a trusted peer. */
static void fields_read(struct forwarding *f, const struct head *h)
{
	struct element at = { .field = 0 };
	bool any = list_read(f, h), elements = elements_read(f, h, &at);
	const struct forwarding_chain *c = any ? &f->list : &f->elements;
	unsigned hops = c->hops > 0 ? c->hops : 1;

	if (any && elements &&
	    (c->hops == 0 || ip_compare(&f->elements.client, &f->list.client) != 0)) {
		f->elements.hops = 0;
		at = (struct element){ .field = 0 };
	}
	if (!is_proto(at.proto))
		at.proto.len = 0;
	if (!is_host(at.host))
		at.host.len = 0;
	if (c->hops > 0)
		f->client = (struct slice){ f->text, ip_text(&c->client, f->text) };
	f->proto = first_non_empty(member_at(h, HEADER_X_FORWARDED_PROTO, hops, is_proto),
				   at.proto, f->proto);
	f->host = first_non_empty(member_at(h, HEADER_X_FORWARDED_HOST, hops, is_host),
				  at.host, f->host);
	f->port = member_at(h, HEADER_X_FORWARDED_PORT, hops, node_is_port);
}

void forwarding_read(struct forwarding *f, const struct head *h,
		     const struct forwarding_peer *peer)
{
	f->peer = peer;
	f->client = peer->text;
	f->proto = peer->https ? SLICE("https") : SLICE("http");
	f->host = h->authority;
	f->port.len = 0;
	f->list.hops = f->elements.hops = 0;
	if (!peer->trusted && h->authority.len > 0 &&
	    !octet_is(h->authority.ptr[h->authority.len - 1], OCTET_DIGIT)) {
		f->port = peer->https ? SLICE("443") : SLICE("80");
		return;
	}
	if (peer->trusted)
		fields_read(f, h);
	if (f->port.len == 0)
		f->port = port_of(f->host, f->proto);
}
