#include "limitkey.h"

#include <endian.h>

#include "base/ip.h"
#include "config/rule.h"
#include "route/variable.h"

/* What the text is made of: its byte behind the identity. */
enum { OF_ADDRESS = 'a', OF_VARIABLES = 'v', OF_SEVERAL = 's', TOO_LONG = 'l' };

void limit_key_read(struct config_reader *r, const struct node *rule,
		    const struct config_route *route, const struct node *key,
		    struct limit_key *k)
{
	k->identity = rule_identity(rule, route);
	if (!key)
		return;
	template_read(r, key, "'key: \"${header.X-Api-Key}\"'", &k->key);
	for (unsigned i = 0; i < k->key.part_n; i++)
		if (k->key.parts[i].variable == VARIABLE_AUTH_USER)
			report_error(reader_report(r), node_pos(key),
				     "limits are applied before the user is known; write "
				     "another key, such as ${client.address}");
}

void limit_key_print(FILE *out, const struct limit_key *k, const struct section *s,
		     const void *options)
{
	if (k->key.part_n > 0) {
		print_indent(out, ACTION_DEPTH + 1);
		print_template(out, "key", &k->key);
	}
	print_section(out, s, options, ACTION_DEPTH + 1, PROTOCOL_MEMCACHED);
}

/* ---- requests ----------------------------------------------------------------- */

/* The network of an IPv6 address in `text`; other text as it is. */
static struct slice address_key(const struct limit_key *k, struct slice text,
				struct ip *ip)
{
	if (!ip_parse(ip, text) || ip->family != 6)
		return text;
	*ip = ip_network(ip, k->ipv6_prefix).first;
	return (struct slice){ (const char *)ip->bytes, sizeof(ip->bytes) };
}

static void text_begin(struct limit_text *text, const struct limit_key *k, char what)
{
	const uint64_t identity = htole64(k->identity);

	memcpy(text->bytes, &identity, sizeof(identity));
	text->bytes[sizeof(identity)] = what;
	text->n = sizeof(identity) + 1;
}

static void text_of_address(struct limit_text *text, const struct limit_key *k,
			    const struct request_view *view, char what)
{
	struct ip ip;
	struct slice key = address_key(k, view->client, &ip);

	text_begin(text, k, what);
	if (key.len > sizeof(text->bytes) - text->n)
		key.len = 0;
	memcpy(text->bytes + text->n, key.ptr, key.len);
	text->n += key.len;
}

static bool key_is_ambiguous(const struct template *t, const struct request_view *view)
{
	for (unsigned i = 0; i < t->part_n; i++)
		if (variable_is_ambiguous(t->parts[i].variable, t->parts[i].text, view))
			return true;
	return false;
}

/* Appends a value with its length, so that the bytes of one cannot pass for those of another.
 * Returns what variable_expand() does. */
static long text_add_value(struct limit_text *text, const struct template_part *part,
			   const struct request_view *view)
{
	const struct template one = { 1, part };
	size_t space = sizeof(text->bytes) - text->n;
	char *at = text->bytes + text->n;
	long n = space < 2 ? -2 : variable_expand(&one, view, at + 2, space - 2);

	if (n < 0)
		return n;
	at[0] = (char)(n >> 8);
	at[1] = (char)n;
	text->n += 2 + (size_t)n;
	return n;
}

bool limit_key_text(const struct limit_key *k, const struct request_view *view,
		    struct limit_text *text)
{
	if (k->key.part_n == 0 || key_is_ambiguous(&k->key, view)) {
		text_of_address(text, k, view,
				k->key.part_n == 0 ? OF_ADDRESS : OF_SEVERAL);
		return true;
	}
	text_begin(text, k, OF_VARIABLES);
	for (unsigned i = 0; i < k->key.part_n; i++) {
		long n = text_add_value(text, &k->key.parts[i], view);

		if (n == -1)
			return false;
		if (n < 0) {
			text_begin(text, k, TOO_LONG);
			return true;
		}
	}
	return true;
}

uint64_t limit_text_hash(const struct limit_text *text, const struct limits *limits)
{
	return siphash(limits->key, (struct slice){ text->bytes, text->n });
}
