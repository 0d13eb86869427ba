/* The rule `rewrite_location`: URLs of a response lead to where the client sees them, as with
 * proxy_redirect of nginx and ProxyPassReverse of Apache.
 *
 * A server redirects to its own address and to the path that it was sent. By default the inverse is
 * applied: an authority of the upstream is removed, so that the URL is relative to that of the
 * request, and the path becomes the one that the rule `rewrite` has made this path of. Prefixes can
 * be configured, which come first.
 *
 * The rest of a URL stays as it is; one that no prefix matches stays whole. A path never becomes an
 * authority (reference.h).
 *
 * Limits: LOCATION_PAIRS_MAX prefixes; a URL for which the list of changes has no room stays. */
#include "proxy/action.h"
#include "proxy/rule.h"
#include "reference.h"
#include "rewrite.h"
#include "route/location.h"

#define LOCATION_PAIRS_MAX 32

struct location_pair {
	const char *from; /* as written */
	struct reference reference;
	struct template to;
};

struct config_rewrite_location {
	bool inverse;
	unsigned n;
	struct location_pair *of; /* not moved: --print knows references by address */
};

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_DEFAULT, KEY_REPLACE };

static const struct key location_keys[] = {
	[KEY_DEFAULT] = KEY_ROW(
		struct config_rewrite_location, default, WORD, inverse, "on", 0, 0,
		"off|on", ANY,
		"the inverse of how the request was sent: an address of the upstream, and "
		"`host` of `proxy`, are removed, and the path is what `rewrite` has made this "
		"path of (`strip` and `add`)"),
	[KEY_REPLACE] = NODE_ROW(
		replace, "[{ from: URL, to: TEXT }, …]", "none",
		"prefixes that are replaced, of which the first that matches counts, before "
		"`default`"),
};

static const struct section location_section = { "routes[].rewrite_location.",
						 location_keys, COUNT(location_keys) };

enum { KEY_FROM, KEY_TO };

static const struct key pair_keys[] = {
	[KEY_FROM] =
		KEY_ROW(struct location_pair, from, STRING, from, NULL, 0, 0, NULL, ANY,
			"begin of a URL: http://HOST, https://HOST or /PATH, by segment"),
	[KEY_TO] = NODE_ROW(
		to, "TEXT", "required",
		"what takes its place: https://HOST, http://HOST or /PATH; may contain "
		"variables, such as https://${host}/ (of the host no other one)"),
};

static const struct section pair_section = { "routes[].rewrite_location.replace[].",
					     pair_keys, COUNT(pair_keys) };
static const struct section *const location_sections[] = { &location_section,
							   &pair_section, NULL };

static void replacement_read(struct config_reader *r, const struct node *n,
			     struct template *to)
{
	if (template_read(r, n, "'to: /PATH'", to) && location_fault(to))
		report_error(
			reader_report(r), n->at,
			"this is no path, and no URL whose host is text or ${host}; write "
			"'to: /PATH' or 'to: https://HOST/'");
}

static void pair_read(struct config_reader *r, const struct node *n,
		      struct location_pair *pair)
{
	struct section_values values;
	const struct node *from;

	if (!section_read(r, n, &pair_section, pair, &values))
		return;
	from = values.of[KEY_FROM];
	if (pair->from && !reference_parse(&pair->reference, slice_of(pair->from)))
		report_error(reader_report(r), from->at,
			     "this is no URL and no path; write 'from: http://HOST/' or "
			     "'from: /PATH'");
	if (values.of[KEY_TO])
		replacement_read(r, values.of[KEY_TO], &pair->to);
}

static void pairs_read(struct config_reader *r, const struct node *list,
		       struct config_rewrite_location *c)
{
	c->of = arena_alloc(reader_memory(r), list->child_n * sizeof(c->of[0]));
	for (const struct node *one = list->children; one; one = one->next)
		pair_read(r, one, &c->of[c->n++]);
}

static const void *location_read(struct config_reader *r, const struct node *n,
				 struct config_route *route)
{
	static const char form[] = "'rewrite_location: on', or { replace: [{ from: "
				   "http://HOST/, to: / }] }";
	struct config_rewrite_location *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values;
	const struct node *list;

	rule_keeps_head(route);
	if (n->kind == NODE_SCALAR) {
		if (!scalar_check(r, n, form) || slice_equal(n->text, SLICE("off")))
			return NULL;
		c->inverse = slice_equal(n->text, SLICE("on"));
		if (!c->inverse)
			report_error(reader_report(r), n->at,
				     "'rewrite_location' is on, off or a map; write %s",
				     form);
		return c;
	}
	if (!section_read(r, n, &location_section, c, &values))
		return NULL;
	list = values.of[KEY_REPLACE];
	if (list && children_check(r, list, NODE_LIST, LOCATION_PAIRS_MAX,
				   "'replace: [{ from: http://HOST/, to: / }]'"))
		pairs_read(r, list, c);
	return c;
}

static void location_print(FILE *out, const struct config *config, const void *options)
{
	const struct config_rewrite_location *c = options;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	fputs("rewrite_location:\n", out);
	print_section(out, &location_section, c, ACTION_DEPTH + 1, PROTOCOL_ANY);
	if (c->n == 0)
		return;
	print_indent(out, ACTION_DEPTH + 1);
	fputs("replace:\n", out);
	for (unsigned i = 0; i < c->n; i++) {
		print_indent(out, ACTION_DEPTH + 2);
		fputs("- ", out);
		print_template(out, "to", &c->of[i].to);
		print_section(out, &pair_section, &c->of[i], ACTION_DEPTH + 3,
			      PROTOCOL_ANY);
	}
}

/* ---- the inverse ---------------------------------------------------------------- */

/* True: requests are sent to this authority by this scheme (empty: any), and the client has not
 * asked for it. */
static bool is_of_upstream(const struct rule_use *u, unsigned upstream,
			   const struct reference *r)
{
	const struct config_upstream *c =
		&u->exchange->generation->config->upstreams[upstream];
	struct slice scheme = c->tls ? SLICE("https") : SLICE("http");

	if (r->scheme.len > 0 && !slice_equal_nocase(r->scheme, scheme))
		return false;
	for (unsigned i = 0; i < c->server_n; i++)
		if (authority_equal(r->authority, slice_of(c->servers[i].address),
				    scheme))
			return true;
	return authority_equal(r->authority, u->exchange->route->proxy->host, scheme);
}

/* True: the client has asked for this authority. It may be led to HTTPS there, which is another
 * place than that of its request; the other way round the server does not know of the client's
 * HTTPS. */
static bool is_of_client(const struct request_view *view, const struct reference *r)
{
	struct slice scheme = view->forwarding->proto;
	bool https = slice_equal_nocase(r->scheme, SLICE("https"));

	return (!https || slice_equal_nocase(scheme, SLICE("https"))) &&
	       (authority_equal(r->authority, view->head->authority, r->scheme) ||
		authority_equal(r->authority, view->forwarding->host, r->scheme));
}

static bool authority_is_ours(const struct rule_use *u, const struct request_view *view,
			      const struct reference *r)
{
	const struct config_proxy *proxy = u->exchange->route->proxy;
	const struct config_split *split = proxy->split;

	if (r->authority.len == 0 || is_of_client(view, r))
		return true;
	for (unsigned i = 0; split && i < split->part_n; i++)
		if (is_of_upstream(u, split->parts[i].upstream, r))
			return true;
	return is_of_upstream(u, proxy->upstream, r);
}

/* True: the URL says what the client needs already. */
static bool is_seen_so(const struct request_view *view, const struct reference *r)
{
	return r->authority.len == 0 ||
	       (slice_equal_nocase(r->scheme, view->forwarding->proto) &&
		is_of_client(view, r));
}

static bool inverse_write(const struct rule_use *u, const struct request_view *view,
			  const struct reference *r, struct emit *e)
{
	struct slice strip, add, below;
	struct slice path = slice_starts(r->rest, SLICE("/")) ? r->rest : SLICE("/");

	if (u->exchange->route->action != &action_proxy.config ||
	    !authority_is_ours(u, view, r))
		return false;
	rewrite_prefixes(u->exchange->route, &strip, &add);
	if (!path_below(path, add, &below) ||
	    (strip.len + add.len == 0 && is_seen_so(view, r)))
		return false;
	emit_path_below(e, strip, path.ptr == r->rest.ptr ? below : r->rest);
	return true;
}

/* ---- prefixes -------------------------------------------------------------------- */

static bool pair_matches(const struct location_pair *pair, const struct reference *r,
			 struct slice *below)
{
	const struct reference *from = &pair->reference;

	if ((from->authority.len == 0) != (r->authority.len == 0))
		return false;
	if (r->authority.len > 0 &&
	    (!slice_equal_nocase(from->scheme, r->scheme) ||
	     !authority_equal(from->authority, r->authority, r->scheme)))
		return false;
	return path_below(r->rest, from->rest, below);
}

static bool pair_write(const struct location_pair *pair, const struct request_view *view,
		       struct slice below, struct emit *e)
{
	char to[LOCATION_MAX];
	long n = location_write(&pair->to, false, view, to);

	if (n < 0)
		return false;
	emit_path_below(e, (struct slice){ to, (size_t)n }, below);
	return true;
}

/* Writes what takes the place of a URL. False: it stays. */
static bool url_write(const struct rule_use *u, const struct request_view *view,
		      struct slice url, struct emit *e)
{
	const struct config_rewrite_location *c = u->options;
	struct reference r;
	struct slice below;

	if (!reference_parse(&r, url))
		return false;
	for (const struct location_pair *p = c->of; p < c->of + c->n; p++)
		if (pair_matches(p, &r, &below))
			return pair_write(p, view, below, e);
	return c->inverse && inverse_write(u, view, &r, e);
}

/* ---- responses -------------------------------------------------------------------- */

/* "5; url='URL'", as HTML describes it. False: it has no URL. */
static bool refresh_url(struct slice value, struct slice *url)
{
	static const struct slice words[] = { { "url", 3 }, { "=", 1 } };
	const char *quote;
	size_t n = 0;

	while (n < value.len && value.ptr[n] != ';' && value.ptr[n] != ',')
		n++;
	*url = slice_trim(slice_after(value, n < value.len ? n + 1 : n));
	for (size_t i = 0; i < COUNT(words); i++) {
		struct slice word = { url->ptr, words[i].len };

		if (url->len < word.len || !slice_equal_nocase(word, words[i]))
			return false;
		*url = slice_trim(slice_after(*url, word.len));
	}
	if (url->len == 0 || (url->ptr[0] != '\'' && url->ptr[0] != '"'))
		return true;
	quote = memchr(url->ptr + 1, url->ptr[0], url->len - 1);
	*url = slice_after(*url, 1);
	if (quote)
		url->len = (size_t)(quote - url->ptr);
	return true;
}

/* The URL in a field. False: it has none. */
static bool field_url(const struct field *f, struct slice *url)
{
	*url = f->value;
	if (f->header == HEADER_LOCATION ||
	    slice_equal_nocase(f->name, SLICE("Content-Location")))
		return true;
	return slice_equal_nocase(f->name, SLICE("Refresh")) &&
	       refresh_url(f->value, url);
}

static void field_rewrite(const struct rule_use *u, const struct request_view *view,
			  const struct field *f, struct slice url,
			  struct field_changes *c)
{
	struct emit e = { c->text.at, c->text.end, false };
	struct slice before = { f->value.ptr, (size_t)(url.ptr - f->value.ptr) };
	struct slice after = slice_after(f->value, before.len + url.len), value;

	emit_slice(&e, before);
	if (!url_write(u, view, url, &e))
		return;
	emit_slice(&e, after);
	value = (struct slice){ c->text.at, (size_t)(e.at - c->text.at) };
	if (!e.overflow && !slice_equal(value, f->value) && field_replace(c, f, value))
		c->text.at = e.at;
}

static void location_response(const struct rule_use *u, const struct request_view *view,
			      const struct head *h, struct field_changes *c)
{
	struct slice url;

	if (!view)
		return;
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (!f->per_hop && field_url(f, &url))
			field_rewrite(u, view, f, url, c);
}

const struct rule rule_rewrite_location = {
	.config = {
		.key = NODE_ROW(rewrite_location, "on, off or { replace: …, … }", "off",
				"rule, `proxy` only: Location, Content-Location and Refresh of "
				"responses lead to where the client sees them"),
		.sections = location_sections,
		.of_proxy = true,
		.read = location_read,
		.print = location_print,
	},
	.response = location_response,
};
