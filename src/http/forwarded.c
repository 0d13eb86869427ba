/* The fields that forwarding.h writes. */
#include "http/forwarding.h"

#include "element.h"

static bool peer_has_address(const struct forwarding *f)
{
	return !slice_equal(f->peer->text, SLICE("unix"));
}

/* "for=" and a node identifier (RFC 7239 6). */
static void node_emit(struct emit *e, struct slice text)
{
	bool v6 = memchr(text.ptr, ':', text.len) != NULL;

	emit_slice(e, v6 ? SLICE("for=\"[") : SLICE("for="));
	emit_slice(e, slice_equal(text, SLICE("unix")) ? SLICE("unknown") : text);
	if (v6)
		emit_slice(e, SLICE("]\""));
}

static void host_proto_emit(struct emit *e, struct slice host, struct slice proto)
{
	if (host.len > 0) {
		emit_slice(e, SLICE(";host=\""));
		emit_slice(e, host);
		emit_slice(e, SLICE("\""));
	}
	emit_slice(e, SLICE(";proto="));
	emit_slice(e, proto);
}

/* The members of X-Forwarded-For from the client on, as received, or as elements of
 * Forwarded. */
static void list_emit(struct emit *e, const struct head *h, const struct forwarding *f,
		      bool rfc7239)
{
	bool first = true;

	for (unsigned i = f->list.field; i < h->field_n; i++) {
		struct slice rest = i == f->list.field ? f->list.first
						       : h->fields[i].value;

		while (field_is_part(&h->fields[i], HEADER_X_FORWARDED_FOR) &&
		       rest.len > 0) {
			const char *comma = memchr(rest.ptr, ',', rest.len);
			size_t n = comma ? (size_t)(comma - rest.ptr) : rest.len;
			struct slice member = slice_trim((struct slice){ rest.ptr, n });
			char text[IP_TEXT_MAX];
			struct ip ip;

			rest = slice_after(rest, comma ? n + 1 : n);
			if (member.len == 0)
				continue;
			if (!first)
				emit_slice(e, SLICE(", "));
			if (rfc7239 && node_parse(member, &ip))
				node_emit(e, (struct slice){ text, ip_text(&ip, text) });
			else
				emit_slice(e, member);
			if (rfc7239 && first)
				host_proto_emit(e, f->host, f->proto);
			first = false;
		}
	}
}

/* The addresses in Forwarded from the client on, as members of X-Forwarded-For. */
static void addresses_emit(struct emit *e, const struct head *h,
			   const struct forwarding *f)
{
	struct slice rest = f->elements.first;
	unsigned field = f->elements.field;
	struct element element;
	bool first = true;

	while (element_next(h, &field, &rest, &element) > 0) {
		char text[IP_TEXT_MAX];
		struct ip ip;

		if (!node_parse(element.node, &ip))
			continue;
		if (!first)
			emit_slice(e, SLICE(", "));
		emit_slice(e, (struct slice){ text, ip_text(&ip, text) });
		first = false;
	}
}

static void x_forwarded_for_emit(struct sink *s, const struct head *h,
				 const struct forwarding *f)
{
	bool chained = f->list.hops > 0 || f->elements.hops > 0;
	struct emit *e = &s->out;

	if (!chained) {
		sink_field(s, SLICE("X-Forwarded-For"), f->peer->text);
		return;
	}
	s->ops->begin(s, SLICE("X-Forwarded-For"));
	if (f->list.hops > 0)
		list_emit(e, h, f, false);
	else
		addresses_emit(e, h, f);
	if (peer_has_address(f)) {
		emit_slice(e, SLICE(", "));
		emit_slice(e, f->peer->text);
	}
	s->ops->finish(s);
}

/* The elements of Forwarded as received, or those of X-Forwarded-For; then one for our
 * peer. */
static void forwarded_emit(struct sink *s, const struct head *h,
			   const struct forwarding *f)
{
	bool chained = f->list.hops > 0 || f->elements.hops > 0;
	struct emit *e = &s->out;

	s->ops->begin(s, SLICE("Forwarded"));
	if (f->elements.hops > 0)
		emit_slice(e, f->elements.first);
	else if (f->list.hops > 0)
		list_emit(e, h, f, true);
	for (unsigned i = f->elements.field + 1; f->elements.hops > 0 && i < h->field_n;
	     i++) {
		if (!field_is_part(&h->fields[i], HEADER_FORWARDED) ||
		    h->fields[i].value.len == 0)
			continue;
		emit_slice(e, SLICE(", "));
		emit_slice(e, h->fields[i].value);
	}
	if (chained)
		emit_slice(e, SLICE(", "));
	node_emit(e, f->peer->text);
	if (chained)
		host_proto_emit(e, h->authority,
				f->peer->https ? SLICE("https") : SLICE("http"));
	else
		host_proto_emit(e, f->host, f->proto);
	s->ops->finish(s);
}

void forwarding_emit(struct sink *s, const struct head *h, const struct forwarding *f,
		     bool rfc7239)
{
	x_forwarded_for_emit(s, h, f);
	sink_field(s, SLICE("X-Forwarded-Proto"), f->proto);
	if (f->host.len > 0)
		sink_field(s, SLICE("X-Forwarded-Host"), f->host);
	if (f->port.len > 0)
		sink_field(s, SLICE("X-Forwarded-Port"), f->port);
	if (f->peer->certificate.len > 0)
		sink_field(s, SLICE("Client-Cert"), f->peer->certificate);
	if (f->peer->chain.len > 0)
		sink_field(s, SLICE("Client-Cert-Chain"), f->peer->chain);
	if (rfc7239 || f->elements.hops > 0)
		forwarded_emit(s, h, f);
}

size_t forwarding_max(const struct head *h, const struct forwarding *f)
{
	/* The field names; the addresses with their punctuation in both fields; the host
	 * three times, the authority once, both schemes. */
	return 320 + (f->list.hops + f->elements.hops) * (2 * IP_TEXT_MAX + 32) +
	       3 * f->host.len + h->authority.len + 2 * f->peer->text.len +
	       2 * f->proto.len + f->port.len + f->peer->certificate.len +
	       f->peer->chain.len;
}
