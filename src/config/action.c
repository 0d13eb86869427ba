#include "reader.h"

#include "nearest.h"

/* Each of many names is compared with each of many upstreams: for the first few only. */
#define SUGGESTIONS_MAX 100

static void upstream_unknown(struct reader *r, const struct node *n)
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

static unsigned upstream_find(struct reader *r, const struct node *n,
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
	CONTAINER(e, struct taken, entry)->used = true;
	index = CONTAINER(e, struct taken, entry)->index;
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

void proxy_read(struct reader *r, const struct node *n, struct config_proxy *p)
{
	struct found found;

	if (section_read(r, n, SECTION_proxy, p, &found))
		p->upstream = upstream_find(r, found.nodes[KEY_proxy_upstream],
					    CONFIG_HTTP);
}

/* What no request can make good is told now. */
static void key_literal_check(struct reader *r, const struct node *n,
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

static void key_read(struct reader *r, const struct node *n, struct template *t)
{
	const char *text = template_read(r, n, "'key: TEXT'", t);

	if (text)
		key_literal_check(r, n, t, text);
}

void memcached_read(struct reader *r, const struct node *n, struct config_memcached *m,
		    bool in_join)
{
	static const enum key_id of_answers[] = { KEY_memcached_content_type,
						  KEY_memcached_miss };
	struct found found;

	if (!section_read(r, n, SECTION_memcached, m, &found))
		return;
	m->upstream = upstream_find(r, found.nodes[KEY_memcached_upstream],
				    CONFIG_MEMCACHED);
	if (found.nodes[KEY_memcached_key])
		key_read(r, found.nodes[KEY_memcached_key], &m->key);
	for (size_t i = 0; in_join && i < COUNT(of_answers); i++)
		if (found.nodes[of_answers[i]])
			report_error(&r->report, found.nodes[of_answers[i]]->key->at,
				     "'%s' has no effect in a join; remove it",
				     keys[of_answers[i]].name.ptr);
}

/* "http://HOST[:PORT][/PATH]" */
static const char *url_read(struct reader *r, struct slice text, struct config_block *b)
{
	struct config_address *address;
	struct slice host, path;
	const char *slash;
	unsigned n;

	if (!slice_starts(text, SLICE("http://")))
		return "this is not an http URL; write http://HOST:PORT/PATH";
	host = slice_after(text, strlen("http://"));
	slash = memchr(host.ptr, '/', host.len);
	path = slash ? slice_after(host, (size_t)(slash - host.ptr)) : SLICE("/");
	if (slash)
		host.len = (size_t)(slash - host.ptr);
	for (size_t i = 0; i < path.len; i++)
		if (path.ptr[i] <= ' ' || path.ptr[i] > '~' || path.ptr[i] == '#')
			return "a URL cannot contain spaces, control characters or '#'; write "
			       "them as %XX";
	if (host.len == 0)
		return "this URL has no host; write http://HOST:PORT/PATH";
	b->host = (struct slice){ arena_text(r->memory, host), host.len };
	b->path = (struct slice){ arena_text(r->memory, path), path.len };
	if (!memchr(host.ptr, ':', host.len) || host.ptr[host.len - 1] == ']')
		host = slice_of(arena_format(r->memory, "%.*s:80", REPORT_ARG(host)));
	address = arena_take(r->memory, sizeof(*address));
	b->address = address;
	return address_answer(r, host, false, address, 1, &n);
}

void block_read(struct reader *r, const struct node *n, struct config_block *b)
{
	struct found found;
	const struct node *url;
	const char *fault;

	if (!section_read(r, n, SECTION_block, b, &found))
		return;
	url = found.nodes[KEY_block_url];
	if (!url || !scalar_check(r, url, "http://HOST:PORT/PATH") ||
	    !suspect_text(r, url, &keys[KEY_block_url]))
		return;
	fault = url_read(r, url->text, b);
	if (fault)
		report_error(&r->report, url->at, "%s", fault);
}

void cpu_read(struct reader *r, const struct node *n, struct config_cpu *c)
{
	struct found found;

	if (section_read(r, n, SECTION_cpu, c, &found) && c->ms > c->ms_max)
		report_error(&r->report, node_pos(n),
			     "'ms' is greater than 'ms_max'; write 'ms_max: %u'", c->ms);
}
