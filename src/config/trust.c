/* Reads the lists `trusted_proxies` and `proxy_protocol.from`. */
#include "reader.h"

#define TRUST_MAX NODE_CHILDREN_MAX

/* The prefix length, such as 8; above `max`: the text is not a number, or too large. */
static unsigned bits_of(struct slice text, unsigned max)
{
	unsigned bits = 0;

	if (text.len == 0 || text.len > 3)
		return max + 1;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return max + 1;
		bits = bits * 10 + (unsigned)(text.ptr[i] - '0');
	}
	return bits;
}

/* Parses ADDRESS or ADDRESS/BITS. Returns NULL, or what is wrong and the remedy. */
static const char *network_read(struct config_reader *r, struct slice text,
				struct ip_range *range)
{
	const char *slash = memchr(text.ptr, '/', text.len);
	struct slice address = { text.ptr,
				 slash ? (size_t)(slash - text.ptr) : text.len };
	struct slice bits_text = slice_after(text, slash ? address.len + 1 : text.len);
	unsigned max, bits, mapped;
	char first[IP_TEXT_MAX];
	struct ip ip;

	if (!ip_parse(&ip, address))
		return arena_format(
			&r->scratch,
			"'%.*s' is not an IP address; write ADDRESS, ADDRESS/BITS or unix, "
			"as in 10.0.0.0/8 or 2001:db8::/32",
			REPORT_ARG(text));
	/* The first 96 bits of ::ffff:10.0.0.0/104 are the prefix of IPv4-mapped addresses. */
	mapped = ip.family == 4 && memchr(address.ptr, ':', address.len) ? 96 : 0;
	max = ip.family == 4 ? 32 : 128;
	bits = slash ? bits_of(bits_text, max + mapped) : max + mapped;
	if (bits > max + mapped || bits < mapped)
		return arena_format(
			&r->scratch,
			"'%.*s' has an invalid prefix length; write /%u to /%u, or remove "
			"it for a single address",
			REPORT_ARG(text), mapped, max + mapped);
	*range = ip_network(&ip, bits - mapped);
	if (ip_compare(&range->first, &ip) == 0)
		return NULL;
	ip_text(&range->first, first);
	return arena_format(
		&r->scratch,
		"'%.*s' has host bits set; write %s/%u for the network, or '%.*s' "
		"for the single address",
		REPORT_ARG(text), first, bits - mapped, REPORT_ARG(address));
}

static void trusted_peer_read(struct config_reader *r, const struct node *n,
			      const char *form, struct config_trust *t)
{
	const char *fault;

	if (!scalar_check(r, n, arena_format(&r->scratch, "an address, as in %s", form)))
		return;
	t->texts[t->text_n++] = arena_text(r->memory, n->text);
	if (slice_equal(n->text, SLICE("unix"))) {
		t->unix_sockets = true;
		return;
	}
	fault = network_read(r, n->text, &t->ranges[t->range_n++]);
	if (fault)
		report_error(&r->report, n->at, "%s", fault);
}

void trust_read(struct config_reader *r, const struct node *list, const char *form,
		struct config_trust *t)
{
	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, TRUST_MAX, form))
		return;
	t->texts = arena_alloc(r->memory, list->child_n * sizeof(t->texts[0]));
	t->ranges = arena_alloc(r->memory, list->child_n * sizeof(t->ranges[0]));
	for (const struct node *n = list->children; n; n = n->next)
		trusted_peer_read(r, n, form, t);
	if (r->report.n == 0)
		t->range_n = ip_ranges_sort(t->ranges, t->range_n);
}
