/* The rule `rewrite_cookies`: Domain, Path and flags of the cookies that a server sets, as with
 * proxy_cookie_domain, proxy_cookie_path and proxy_cookie_flags of nginx.
 *
 * A Set-Cookie field is read as browsers do (RFC 6265 5.2): name and value end at the first ";", in
 * quotes or not, and so do the attributes. Name and value stay as they are, and so do attributes
 * that nothing matches. By default a Path becomes the one that the rule `rewrite` has made it of,
 * and a Domain that is a server of the upstream is removed: browsers would refuse the cookie.
 *
 * What the prefix of a cookie's name promises is kept: no Path or Domain of a "__Host-" cookie is
 * changed, and no flag of a "__Secure-", "__Host-" or "__Http-" one removed. Cookies of fairlead
 * itself are not changed.
 *
 * Limits: COOKIE_PAIRS_MAX of each; a field for which the list of changes has no room stays. */
#include "proxy/action.h"
#include "proxy/rule.h"
#include "reference.h"
#include "rewrite.h"

#define COOKIE_PAIRS_MAX 32

enum flag { FLAG_KEEP, FLAG_ON, FLAG_OFF };
enum same_site {
	SAME_SITE_KEEP,
	SAME_SITE_LAX,
	SAME_SITE_STRICT,
	SAME_SITE_NONE,
	SAME_SITE_OFF
};

struct cookie_pair {
	const char *from, *to;
};

struct cookie_pairs {
	unsigned n;
	struct cookie_pair *of;
};

struct config_rewrite_cookies {
	bool inverse;
	uint8_t secure, http_only; /* enum flag */
	uint8_t same_site;         /* enum same_site */
	struct cookie_pairs domains, paths;
};

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_DEFAULT, KEY_DOMAIN, KEY_PATH, KEY_SECURE, KEY_HTTP_ONLY, KEY_SAME_SITE };

static const struct key cookies_keys[] = {
	[KEY_DEFAULT] = KEY_ROW(
		struct config_rewrite_cookies, default, WORD, inverse, "on", 0, 0,
		"off|on", ANY,
		"the inverse of how the request was sent: a Domain that is the host of a server, "
		"or `host` of `proxy`, is removed unless it is that of the request, and a Path "
		"becomes what `rewrite` has made it of (`strip` and `add`)"),
	[KEY_DOMAIN] = NODE_ROW(
		domain, "[{ from: NAME, to: NAME or off }, …]", "none",
		"values of Domain that are replaced, before `default`; from: \"*\": "
		"any; to: off: the attribute is removed"),
	[KEY_PATH] =
		NODE_ROW(path, "[{ from: /PATH, to: /PATH }, …]", "none",
			 "prefixes of Path that are replaced, by segment; the first that "
			 "matches counts, before `default`"),
	[KEY_SECURE] = KEY_ROW(struct config_rewrite_cookies, secure, WORD, secure,
			       "keep", 0, 0, "keep|on|off", ANY,
			       "the flag Secure; on: each cookie has it; off: none has"),
	[KEY_HTTP_ONLY] = KEY_ROW(struct config_rewrite_cookies, http_only, WORD,
				  http_only, "keep", 0, 0, "keep|on|off", ANY,
				  "the flag HttpOnly; likewise"),
	[KEY_SAME_SITE] = KEY_ROW(
		struct config_rewrite_cookies, same_site, WORD, same_site, "keep", 0, 0,
		"keep|lax|strict|none|off", ANY,
		"the attribute SameSite of each cookie; off: it is removed. Browsers take `none` "
		"only with Secure"),
};

static const struct section cookies_section = { "routes[].rewrite_cookies.", cookies_keys,
						COUNT(cookies_keys) };

enum { KEY_FROM, KEY_TO };

static const struct key pair_keys[] = {
	[KEY_FROM] = KEY_ROW(struct cookie_pair, from, STRING, from, NULL, 0, 0, NULL,
			     ANY, "the value that is replaced"),
	[KEY_TO] = KEY_ROW(struct cookie_pair, to, STRING, to, NULL, 0, 0, NULL, ANY,
			   "what takes its place"),
};

static const struct section domain_section = { "routes[].rewrite_cookies.domain[].",
					       pair_keys, COUNT(pair_keys) };
static const struct section path_section = { "routes[].rewrite_cookies.path[].",
					     pair_keys, COUNT(pair_keys) };
static const struct section *const cookies_sections[] = { &cookies_section,
							  &domain_section, &path_section,
							  NULL };

/* NULL, or why this cannot be the value of an attribute. */
static const char *attribute_fault(struct slice text, bool path)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] <= ' ' ||
		    (unsigned char)text.ptr[i] > '~' || memchr(";,\"", text.ptr[i], 3))
			return "an attribute of a cookie has no blank, ';', ',' and quote; remove "
			       "it";
	if (path && !slice_starts(text, SLICE("/")))
		return "a path begins with '/'; write '/' before it";
	return NULL;
}

static void attribute_check(struct config_reader *r, const struct node *n, bool path)
{
	const char *fault = n && n->kind == NODE_SCALAR ? attribute_fault(n->text, path)
							: NULL;

	if (fault)
		report_error(reader_report(r), n->at, "%s", fault);
}

static void pairs_read(struct config_reader *r, const struct node *list,
		       const struct section *section, const char *form,
		       struct cookie_pairs *pairs)
{
	struct section_values values;
	bool path = section == &path_section;

	if (!list || !children_check(r, list, NODE_LIST, COOKIE_PAIRS_MAX, form))
		return;
	pairs->of = arena_alloc(reader_memory(r), list->child_n * sizeof(pairs->of[0]));
	for (const struct node *n = list->children; n; n = n->next) {
		if (!section_read(r, n, section, &pairs->of[pairs->n++], &values))
			continue;
		attribute_check(r, values.of[KEY_FROM], path);
		attribute_check(r, values.of[KEY_TO], path);
	}
}

static const void *cookies_read(struct config_reader *r, const struct node *n,
				struct config_route *route)
{
	static const char form[] = "'rewrite_cookies: on', or { secure: on }";
	struct config_rewrite_cookies *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values;

	if (n->kind == NODE_SCALAR) {
		if (!scalar_check(r, n, form) || slice_equal(n->text, SLICE("off")))
			return NULL;
		c->inverse = slice_equal(n->text, SLICE("on"));
		if (c->inverse)
			rule_keeps_head(route);
		else
			report_error(reader_report(r), n->at,
				     "'rewrite_cookies' is on, off or a map; write %s",
				     form);
		return c;
	}
	if (!section_read(r, n, &cookies_section, c, &values))
		return NULL;
	if (c->inverse)
		rule_keeps_head(route);
	pairs_read(r, values.of[KEY_DOMAIN], &domain_section,
		   "'domain: [{ from: NAME, to: NAME }]'", &c->domains);
	pairs_read(r, values.of[KEY_PATH], &path_section,
		   "'path: [{ from: /PATH, to: /PATH }]'", &c->paths);
	return c;
}

static void print_pairs(FILE *out, const char *key, const struct section *section,
			const struct cookie_pairs *pairs)
{
	if (pairs->n == 0)
		return;
	print_indent(out, ACTION_DEPTH + 1);
	fprintf(out, "%s:\n", key);
	for (unsigned i = 0; i < pairs->n; i++) {
		print_indent(out, ACTION_DEPTH + 2);
		fputs("-\n", out);
		print_section(out, section, &pairs->of[i], ACTION_DEPTH + 3,
			      PROTOCOL_ANY);
	}
}

static void cookies_print(FILE *out, const struct config *config, const void *options)
{
	const struct config_rewrite_cookies *c = options;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	fputs("rewrite_cookies:\n", out);
	print_section(out, &cookies_section, c, ACTION_DEPTH + 1, PROTOCOL_ANY);
	print_pairs(out, "domain", &domain_section, &c->domains);
	print_pairs(out, "path", &path_section, &c->paths);
}

/* ---- attributes -------------------------------------------------------------------- */

/* A cookie while it is written. */
struct cookie {
	const struct rule_use *use;
	const struct request_view *view; /* NULL: not needed */
	struct emit *e;
	bool host_prefix, prefix; /* of its name */
	bool secure, http_only;   /* the attribute was there */
};

/* Some servers quote values. */
static struct slice unquote(struct slice value)
{
	if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
		return (struct slice){ value.ptr + 1, value.len - 2 };
	return value;
}

/* The host in "host:port"; IPv6 addresses are no domains. */
static struct slice host_part(struct slice authority)
{
	const char *colon = authority.len > 0 ? memchr(authority.ptr, ':', authority.len)
					      : NULL;

	return (struct slice){ authority.ptr,
			       colon ? (size_t)(colon - authority.ptr) : authority.len };
}

static bool is_host_of_upstream(const struct rule_use *u, struct slice domain)
{
	const struct config *config = u->exchange->generation->config;
	const struct config_proxy *proxy = u->exchange->route->proxy;
	const struct config_split *split = proxy->split;

	for (unsigned i = 0; i < (split ? split->part_n : 1); i++) {
		const struct config_upstream *c =
			&config->upstreams[split ? split->parts[i].upstream
						 : proxy->upstream];

		for (unsigned j = 0; j < c->server_n; j++)
			if (slice_equal_nocase(
				    domain, host_part(slice_of(c->servers[j].address))))
				return true;
	}
	return proxy->host.len > 0 && slice_equal_nocase(domain, host_part(proxy->host));
}

/* True: browsers take a cookie with this Domain from this host (RFC 6265 5.1.3). */
static bool covers(struct slice domain, struct slice host)
{
	size_t more = host.len - domain.len;

	if (host.len < domain.len || !slice_equal_nocase(slice_after(host, more), domain))
		return false;
	return more == 0 || host.ptr[more - 1] == '.';
}

/* Writes an attribute whose value was replaced. */
static void emit_attribute(struct emit *e, struct slice name, struct slice value)
{
	emit_slice(e, SLICE("; "));
	emit_slice(e, name);
	emit_slice(e, value);
}

/* True: the attribute was written, or removed. */
static bool domain_write(struct cookie *k, struct slice value)
{
	const struct config_rewrite_cookies *c = k->use->options;

	value = unquote(value);
	if (slice_starts(value, SLICE(".")))
		value = slice_after(value, 1);
	for (unsigned i = 0; i < c->domains.n; i++) {
		struct slice from = slice_of(c->domains.of[i].from);
		struct slice to = slice_of(c->domains.of[i].to);

		if (slice_starts(from, SLICE(".")))
			from = slice_after(from, 1);
		if (!slice_equal(from, SLICE("*")) && !slice_equal_nocase(value, from))
			continue;
		if (!slice_equal(to, SLICE("off")))
			emit_attribute(k->e, SLICE("Domain="), to);
		return true;
	}
	return c->inverse && is_host_of_upstream(k->use, value) && k->view &&
	       !covers(value, k->view->host);
}

/* True: it was written. */
static bool path_write(struct cookie *k, struct slice value)
{
	const struct config_rewrite_cookies *c = k->use->options;
	struct slice strip, add, below;

	value = unquote(value);
	for (unsigned i = 0; i < c->paths.n; i++) {
		if (!path_below(value, slice_of(c->paths.of[i].from), &below))
			continue;
		emit_attribute(k->e, SLICE("Path="), SLICE(""));
		emit_path_below(k->e, slice_of(c->paths.of[i].to), below);
		return true;
	}
	rewrite_prefixes(k->use->exchange->route, &strip, &add);
	if (!c->inverse || strip.len + add.len == 0 || !path_below(value, add, &below))
		return false;
	emit_attribute(k->e, SLICE("Path="), SLICE(""));
	emit_path_below(k->e, strip, below);
	return true;
}

static void same_site_write(struct cookie *k)
{
	static const struct slice values[] = {
		[SAME_SITE_LAX] = { "Lax", 3 },
		[SAME_SITE_STRICT] = { "Strict", 6 },
		[SAME_SITE_NONE] = { "None", 4 },
	};
	const struct config_rewrite_cookies *c = k->use->options;

	if (c->same_site != SAME_SITE_KEEP && c->same_site != SAME_SITE_OFF)
		emit_attribute(k->e, SLICE("SameSite="), values[c->same_site]);
}

/* True: the attribute was replaced or removed. */
static bool attribute_write(struct cookie *k, struct slice name, struct slice value)
{
	const struct config_rewrite_cookies *c = k->use->options;

	if (slice_equal_nocase(name, SLICE("Domain")))
		return !k->host_prefix && domain_write(k, value);
	if (slice_equal_nocase(name, SLICE("Path")))
		return !k->host_prefix && path_write(k, value);
	if (slice_equal_nocase(name, SLICE("Secure"))) {
		k->secure = true;
		return c->secure == FLAG_OFF && !k->prefix;
	}
	if (slice_equal_nocase(name, SLICE("HttpOnly"))) {
		k->http_only = true;
		return c->http_only == FLAG_OFF && !k->prefix;
	}
	/* It is written behind the others. */
	return slice_equal_nocase(name, SLICE("SameSite")) &&
	       c->same_site != SAME_SITE_KEEP;
}

/* ---- responses -------------------------------------------------------------------- */

/* The first part of *rest up to ";", which *rest loses, with the ";" behind it. */
static struct slice part_take(struct slice *rest)
{
	const char *end = rest->len > 0 ? memchr(rest->ptr, ';', rest->len) : NULL;
	struct slice part = { rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len };

	*rest = slice_after(*rest, part.len + (end ? 1 : 0));
	return part;
}

static void part_write(struct cookie *k, struct slice part)
{
	const char *equals = part.len > 0 ? memchr(part.ptr, '=', part.len) : NULL;
	struct slice name = { part.ptr, equals ? (size_t)(equals - part.ptr) : part.len };
	struct slice value = slice_after(part, name.len + (equals ? 1 : 0));

	if (attribute_write(k, slice_trim(name), slice_trim(value)))
		return;
	emit_slice(k->e, SLICE(";"));
	emit_slice(k->e, part);
}

static void cookie_write(const struct rule_use *u, const struct request_view *view,
			 struct slice field, struct emit *e)
{
	const struct config_rewrite_cookies *c = u->options;
	struct slice rest = field, cookie = part_take(&rest), name = slice_trim(cookie);
	struct cookie k = {
		.use = u,
		.view = view,
		.e = e,
		.host_prefix = slice_starts_nocase(name, SLICE("__Host-")),
		.prefix = slice_starts_nocase(name, SLICE("__Host-")) ||
			  slice_starts_nocase(name, SLICE("__Http-")) ||
			  slice_starts_nocase(name, SLICE("__Secure-")),
	};

	emit_slice(e, cookie);
	while (rest.len > 0)
		part_write(&k, part_take(&rest));
	if (c->secure == FLAG_ON && !k.secure)
		emit_attribute(e, SLICE("Secure"), SLICE(""));
	if (c->http_only == FLAG_ON && !k.http_only)
		emit_attribute(e, SLICE("HttpOnly"), SLICE(""));
	same_site_write(&k);
}

static void cookies_response(const struct rule_use *u, const struct request_view *view,
			     const struct head *h, struct field_changes *c)
{
	if (u->exchange->route->action != &action_proxy.config)
		return;
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		struct emit e = { c->text.at, c->text.end, false };
		struct slice value;

		if (f->per_hop || !slice_equal_nocase(f->name, SLICE("Set-Cookie")))
			continue;
		cookie_write(u, view, f->value, &e);
		value = (struct slice){ c->text.at, (size_t)(e.at - c->text.at) };
		if (!e.overflow && !slice_equal(value, f->value) &&
		    field_replace(c, f, value))
			c->text.at = e.at;
	}
}

const struct rule rule_rewrite_cookies = {
	.config = {
		.key = NODE_ROW(rewrite_cookies, "on, off or { domain: …, … }", "off",
				"rule, `proxy` only: Domain, Path and flags of the cookies that "
				"responses set"),
		.sections = cookies_sections,
		.of_proxy = true,
		.read = cookies_read,
		.print = cookies_print,
	},
	.response = cookies_response,
};
