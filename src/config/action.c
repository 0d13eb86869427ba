#include "config/action.h"

#include "config/nearest.h"
#include "reader.h"

/* The search for a similar name compares with all upstreams, so their number is limited. */
#define SUGGESTIONS_MAX 100

static void upstream_unknown(struct config_reader *r, const struct node *n)
{
	const struct config *c = r->config;
	struct nearest near = { .word = n->text };
	bool suggests = r->suggestions++ < SUGGESTIONS_MAX;

	for (unsigned i = 0; i < c->upstream_n && suggests; i++)
		nearest_offer(&near, slice_of(c->upstreams[i].name));
	if (near.best.len > 0)
		report_error(&r->report, n->at, "unknown upstream '%.*s'; write '%.*s'",
			     REPORT_ARG(n->text), REPORT_ARG(near.best));
	else
		report_error(&r->report, n->at,
			     "unknown upstream '%.*s'; define it under 'upstreams'",
			     REPORT_ARG(n->text));
}

unsigned upstream_find(struct config_reader *r, const struct node *n,
		       enum config_protocol protocol)
{
	const char *wanted = protocol == CONFIG_HTTP ? "http" : "memcached";
	const char *other = protocol == CONFIG_HTTP ? "memcached" : "http";
	const struct config_upstream *u;
	struct names_entry *e;
	unsigned index;

	if (!n || !scalar_check(r, n, "the name of an upstream") || r->upstreams_refused)
		return 0;
	e = names_find(&r->upstreams, n->text);
	if (!e) {
		upstream_unknown(r, n);
		return 0;
	}
	CONTAINER(e, struct defined_name, entry)->used = true;
	index = CONTAINER(e, struct defined_name, entry)->index;
	if (index == INDEX_REFUSED)
		return 0;
	u = &r->config->upstreams[index];
	if (u->protocol != protocol)
		report_error(
			&r->report, n->at,
			"the protocol of '%s' is %s, but this action needs %s; use another "
			"upstream, or write 'protocol: %s' in '%s'",
			u->name, other, wanted, wanted, u->name);
	return index;
}

void proxy_read(struct config_reader *r, const struct node *n, struct config_proxy *p)
{
	struct section_values values;

	if (!section_read(r, n, &section_proxy, p, &values))
		return;
	if (values.of[KEY_proxy_upstream])
		p->upstream = upstream_find(r, values.of[KEY_proxy_upstream],
					    CONFIG_HTTP);
	split_read(r, n, &values, p);
}

/* Reports literal text that makes the key invalid in every request. */
static void key_literal_check(struct config_reader *r, const struct node *n,
			      const struct template *t, const char *text)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < t->part_n; i++) {
		struct slice s = t->parts[i].text;

		if (t->parts[i].variable != VARIABLE_NONE)
			continue;
		bytes += s.len;
		for (size_t j = 0; j < s.len; j++) {
			unsigned char c = (unsigned char)s.ptr[j];

			if (c > ' ' && c != 0x7f)
				continue;
			report_error(
				&r->report, node_text_pos(n, (size_t)(s.ptr + j - text)),
				"a memcached key cannot contain a space or control character; "
				"write '_' or '%%%02X' instead",
				c);
			return;
		}
	}
	if (bytes > CONFIG_KEY_MAX)
		report_error(&r->report, n->at,
			     "this key has %zu bytes of text; shorten it to at most %d",
			     bytes, CONFIG_KEY_MAX);
}

static void key_read(struct config_reader *r, const struct node *n, struct template *t)
{
	const char *text = template_read(r, n, "'key: TEXT'", t);

	if (text)
		key_literal_check(r, n, t, text);
}

void memcached_read(struct config_reader *r, const struct node *n,
		    struct config_memcached *m, bool in_part)
{
	static const enum key_id response_keys[] = { KEY_memcached_content_type,
						     KEY_memcached_miss };
	struct section_values values;

	if (!section_read(r, n, &section_memcached, m, &values))
		return;
	m->upstream = upstream_find(r, values.of[KEY_memcached_upstream],
				    CONFIG_MEMCACHED);
	if (values.of[KEY_memcached_key])
		key_read(r, values.of[KEY_memcached_key], &m->key);
	for (size_t i = 0; in_part && i < COUNT(response_keys); i++)
		if (values.of[response_keys[i]])
			report_error(&r->report, values.of[response_keys[i]]->key->at,
				     "'%s' has no effect in a join; remove it",
				     section_memcached.rows[response_keys[i]].name.ptr);
}

void proxy_action_read(struct config_reader *r, const struct node *n,
		       struct config_route *route)
{
	struct config_proxy *p = arena_alloc(r->memory, sizeof(*p));

	route->proxy = p;
	proxy_read(r, n, p);
}

void memcached_action_read(struct config_reader *r, const struct node *n,
			   struct config_route *route)
{
	struct config_memcached *m = arena_alloc(r->memory, sizeof(*m));

	route->memcached = m;
	memcached_read(r, n, m, false);
	route->passes_on = m->miss_next;
}
