#include "limitkey.h"

#include "base/hash.h"
#include "base/ip.h"
#include "route/variable.h"

#define KEY_BYTES_MAX 2048

void limit_key_read(struct config_reader *r, const struct node *rule,
		    const struct node *key, const struct node *prefix,
		    struct limit_key *k)
{
	k->place = hash_mix((uint64_t)rule->at.file << 40 ^
			    (uint64_t)rule->at.line << 16 ^ rule->at.column);
	if (!key)
		return;
	template_read(r, key, "'key: \"${header.X-Api-Key}\"'", &k->key);
	for (unsigned i = 0; i < k->key.part_n; i++)
		if (k->key.parts[i].variable == VARIABLE_AUTH_USER)
			report_error(reader_report(r), node_pos(key),
				     "limits are applied before the user is known; write "
				     "another key, such as ${client.address}");
	if (prefix)
		report_error(reader_report(r), node_pos(prefix),
			     "'ipv6_prefix' has no effect with 'key'; remove it");
}

void limit_key_print(FILE *out, const struct limit_key *k, const struct section *s,
		     unsigned prefix, const void *options)
{
	struct section behind = { s->path, s->rows + prefix + 1, s->row_n - prefix - 1 };

	if (k->key.part_n > 0) {
		print_indent(out, ACTION_DEPTH + 1);
		print_template(out, "key", &k->key);
	}
	print_section(out, k->key.part_n > 0 ? &behind : s, options, ACTION_DEPTH + 1,
		      PROTOCOL_MEMCACHED);
}

/* The network of an IPv6 address in `text`; other text as it is. */
static struct slice address_key(const struct limit_key *k, struct slice text,
				struct ip *ip)
{
	if (!ip_parse(ip, text) || ip->family != 6)
		return text;
	*ip = ip_network(ip, k->ipv6_prefix).first;
	return (struct slice){ (const char *)ip->bytes, sizeof(ip->bytes) };
}

bool limit_key_hash(const struct limit_key *k, const struct request_view *view,
		    uint64_t seed, uint64_t *hash)
{
	char text[KEY_BYTES_MAX];
	struct slice key;
	struct ip ip;
	long n;

	if (k->key.part_n == 0) {
		key = address_key(k, view->client, &ip);
	} else {
		n = variable_expand(&k->key, view, text, sizeof(text));
		if (n == -1)
			return false;
		/* Longer ones are one key: nobody gets a bucket of his own by length. */
		key = (struct slice){ text, n < 0 ? 0 : (size_t)n };
	}
	*hash = hash_mix(hash_bytes(hash_mix(seed ^ k->place), key));
	return true;
}
