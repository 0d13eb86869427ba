#include "reader.h"

#include "nearest.h"

static void upstream_unknown(struct reader *r, const struct node *n)
{
	const struct config *c = r->config;
	struct nearest near = { .word = n->text };

	for (unsigned i = 0; i < c->upstream_n; i++)
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

	if (!n || !scalar_check(r, n, "the name of an upstream"))
		return 0;
	for (unsigned i = 0; i < r->config->upstream_n; i++) {
		const struct config_upstream *u = &r->config->upstreams[i];

		if (!slice_equal(slice_of(u->name), n->text))
			continue;
		if (u->protocol != protocol)
			report_error(
				&r->report, n->at,
				"'%s' speaks %s, and this needs %s; name another upstream, "
				"or write 'protocol: %s' in '%s'",
				u->name, other, wanted, wanted, u->name);
		return i;
	}
	upstream_unknown(r, n);
	return 0;
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
				&r->report,
				node_text_place(n, (size_t)(s.ptr + j - text)),
				"a key cannot have a space or control character; write "
				"'_' or '%%%02X'",
				c);
			return;
		}
	}
	if (bytes > CONFIG_KEY_MAX)
		report_error(&r->report, n->at,
			     "this key has %zu bytes of text; write at most %d", bytes,
			     CONFIG_KEY_MAX);
}

static void key_read(struct reader *r, const struct node *n, struct template *t)
{
	struct slice text;
	size_t column;
	const char *why;

	if (!scalar_check(r, n, "'key: TEXT'"))
		return;
	text = (struct slice){ arena_text(r->memory, n->text), n->text.len };
	if (template_compile(t, text, &column, &why) == 0)
		key_literal_check(r, n, t, text.ptr);
	else
		report_error(&r->report, node_text_place(n, column), "%s", why);
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
				     "'%s' means nothing within a join; remove it",
				     keys[of_answers[i]].name.ptr);
}

/* "http://HOST[:PORT][/PATH]" */
static const char *url_read(struct reader *r, struct slice text, struct config_block *b)
{
	struct slice host, path;
	const char *slash;
	unsigned n;

	if (!slice_starts(text, SLICE("http://")))
		return "this is no http URL; write http://HOST:PORT/PATH";
	host = slice_after(text, strlen("http://"));
	slash = memchr(host.ptr, '/', host.len);
	path = slash ? slice_after(host, (size_t)(slash - host.ptr)) : SLICE("/");
	if (slash)
		host.len = (size_t)(slash - host.ptr);
	for (size_t i = 0; i < path.len; i++)
		if (path.ptr[i] <= ' ' || path.ptr[i] > '~' || path.ptr[i] == '#')
			return "a URL has no spaces, control characters or '#'; write them as "
			       "%XX";
	if (host.len == 0)
		return "this URL has no host; write http://HOST:PORT/PATH";
	b->host = (struct slice){ arena_text(r->memory, host), host.len };
	b->path = (struct slice){ arena_text(r->memory, path), path.len };
	if (!memchr(host.ptr, ':', host.len) || host.ptr[host.len - 1] == ']')
		host = slice_of(arena_format(r->memory, "%.*s:80", REPORT_ARG(host)));
	return address_answer(r, host, false, &b->address, 1, &n);
}

void block_read(struct reader *r, const struct node *n, struct config_block *b)
{
	struct found found;
	const struct node *url;
	const char *fault;

	if (!section_read(r, n, SECTION_block, b, &found))
		return;
	url = found.nodes[KEY_block_url];
	if (!url || !scalar_check(r, url, "http://HOST:PORT/PATH"))
		return;
	fault = url_read(r, url->text, b);
	if (fault)
		report_error(&r->report, url->at, "%s", fault);
}

void cpu_read(struct reader *r, const struct node *n, struct config_cpu *c)
{
	struct found found;

	if (section_read(r, n, SECTION_cpu, c, &found) && c->ms > c->ms_max)
		report_error(&r->report, node_place(n),
			     "'ms' is more than 'ms_max'; write 'ms_max: %u'", c->ms);
}
