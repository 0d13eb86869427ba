/* The rule `rewrite`: another path for the request to the upstream; the query is kept.
 *
 * What is rewritten is the normal form of the path, by which the route was matched: so no spelling
 * of a path escapes the rewrite. The result begins with "/", of several one is left; it has no dot
 * segment, and no octet that may not stand in a path: otherwise the response is 400, and nothing is
 * sent. */
#include "rewrite.h"

#include "base/pattern.h"
#include "http/emit.h"
#include "http/path.h"
#include "proxy/action.h"
#include "proxy/rule.h"
#include "route/variable.h"

#define REWRITE_BYTES_MAX 16384 /* of a path */
#define TO_PARTS_MAX 16

/* A part of `to`: text, or a group of the pattern. */
struct to_part {
	struct slice text;
	int group; /* -1: text */
};

struct config_rewrite {
	struct slice strip, add; /* prefixes; empty: none */
	struct template replace; /* no parts: none */
	const struct pattern *pattern;
	const char *pattern_text, *to_text; /* as written */
	unsigned to_n;
	struct to_part to[TO_PARTS_MAX];
};

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_STRIP, KEY_PATTERN, KEY_TO, KEY_ADD, KEY_REPLACE };

static const struct key rewrite_keys[] = {
	[KEY_STRIP] = KEY_ROW(
		struct config_rewrite, strip, PATH, strip, "", 0, 0, NULL, ANY,
		"prefix that is removed from the path, by segment; other paths stay"),
	[KEY_PATTERN] = NODE_ROW(
		pattern, "PATTERN", "none",
		"regular expression (PCRE2) that matches anywhere in the path; "
		"where it matches, the path becomes that of `to`. After `strip`"),
	[KEY_TO] = NODE_ROW(
		to, "TEXT", "none",
		"`pattern` only: the new path; ${1} to ${9} are the groups of the "
		"pattern, ${0} is all that it matched, $$ is a dollar sign"),
	[KEY_ADD] = KEY_ROW(struct config_rewrite, add, PATH, add, "", 0, 0, NULL, ANY,
			    "prefix that is put before the path, as the last step"),
	[KEY_REPLACE] = NODE_ROW(
		replace, "TEXT", "none",
		"the whole new path, in place of the other keys; may contain "
		"variables, whose values are percent-encoded where a path requires "
		"it; 400 if one has no value"),
};

static const struct section rewrite_section = { "routes[].rewrite.", rewrite_keys,
						COUNT(rewrite_keys) };
static const struct section *const rewrite_sections[] = { &rewrite_section, NULL };

/* The part of `to` at the front of `text`, which has *used bytes. NULL, or what is wrong. */
static const char *to_part_read(struct slice text, unsigned groups, struct to_part *part,
				size_t *used)
{
	const char *dollar = memchr(text.ptr, '$', text.len);
	size_t before = dollar ? (size_t)(dollar - text.ptr) : text.len;

	*part = (struct to_part){ { text.ptr, before }, -1 };
	*used = before;
	if (before > 0)
		return NULL;
	if (text.len > 1 && text.ptr[1] == '$') {
		part->text.len = 1;
		*used = 2;
		return NULL;
	}
	if (text.len < 4 || text.ptr[1] != '{' || text.ptr[2] < '0' ||
	    text.ptr[2] > '9' || text.ptr[3] != '}')
		return "this is no group of the pattern; write ${1}, or $$ for a dollar sign";
	part->group = text.ptr[2] - '0';
	*used = 4;
	return (unsigned)part->group < groups
		       ? NULL
		       : "the pattern has fewer groups; put parentheses around what this group is";
}

static void to_read(struct config_reader *r, const struct node *n,
		    struct config_rewrite *c)
{
	struct slice text = { arena_text(reader_memory(r), n->text), n->text.len };
	const char *fault = NULL;

	c->to_text = text.ptr;
	if (text.ptr[0] != '/')
		fault = "a path begins with '/'; write '/' before it";
	else if (memchr(text.ptr, '?', text.len) || memchr(text.ptr, '#', text.len))
		fault = "a path has no query and no fragment, and the query is kept; remove the "
			"part from '?' or '#' on";
	for (size_t at = 0, used; !fault && at < text.len; at += used) {
		if (c->to_n == TO_PARTS_MAX)
			fault = "more than 16 groups and pieces of text; shorten it";
		else
			fault = to_part_read(slice_after(text, at),
					     pattern_groups(c->pattern),
					     &c->to[c->to_n++], &used);
	}
	if (fault)
		report_error(reader_report(r), n->at, "%s", fault);
}

static void pattern_and_to_read(struct config_reader *r,
				const struct section_values *values,
				struct config_rewrite *c)
{
	const struct node *pattern = values->of[KEY_PATTERN], *to = values->of[KEY_TO];

	if (!pattern != !to) {
		report_error(reader_report(r), node_pos(pattern ? pattern : to),
			     "'pattern' and 'to' belong together; write both, as in "
			     "'pattern: \"^/u/([0-9]+)$\", to: \"/users/${1}\"'");
		return;
	}
	if (!pattern || !scalar_check(r, pattern, "'pattern: PATTERN'") ||
	    !scalar_check(r, to, "'to: TEXT'"))
		return;
	c->pattern_text = arena_text(reader_memory(r), pattern->text);
	c->pattern = pattern_read(r, pattern, pattern->text);
	if (c->pattern)
		to_read(r, to, c);
}

static void replace_read(struct config_reader *r, const struct section_values *values,
			 struct config_rewrite *c)
{
	const struct node *n = values->of[KEY_REPLACE];
	struct slice first;

	if (!n || !template_read(r, n, "'replace: /PATH'", &c->replace))
		return;
	first = c->replace.parts[0].variable == VARIABLE_NONE ? c->replace.parts[0].text
							      : SLICE("");
	if (!slice_starts(first, SLICE("/")))
		report_error(reader_report(r), n->at,
			     "a path begins with '/'; write '/' before it");
	if (values->of[KEY_STRIP] || values->of[KEY_PATTERN] || values->of[KEY_ADD])
		report_error(reader_report(r), node_pos(n),
			     "'replace' is the whole path; remove the other keys");
}

static const void *rewrite_read(struct config_reader *r, const struct node *n,
				struct config_route *route)
{
	struct config_rewrite *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values;

	if (!section_read(r, n, &rewrite_section, c, &values))
		return NULL;
	pattern_and_to_read(r, &values, c);
	replace_read(r, &values, c);
	if (route->action == &action_proxy.config && route->proxy->path.len > 0 &&
	    !n->inherited)
		report_error(
			reader_report(r), n->key->at,
			"'rewrite' and 'path' of 'proxy' both set the path; remove one of the "
			"two");
	return c;
}

static void rewrite_print(FILE *out, const struct config *config, const void *options)
{
	const struct config_rewrite *c = options;
	bool nothing = c->strip.len + c->add.len == 0 && !c->pattern &&
		       c->replace.part_n == 0;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	fprintf(out, "rewrite:%s\n", nothing ? " {}" : "");
	print_section(out, &rewrite_section, c, ACTION_DEPTH + 1, PROTOCOL_ANY);
	if (c->pattern) {
		print_indent(out, ACTION_DEPTH + 1);
		print_text(out, "pattern", slice_of(c->pattern_text));
		print_indent(out, ACTION_DEPTH + 1);
		print_text(out, "to", slice_of(c->to_text));
	}
	if (c->replace.part_n > 0) {
		print_indent(out, ACTION_DEPTH + 1);
		print_template(out, "replace", &c->replace);
	}
}

void rewrite_prefixes(const struct config_route *route, struct slice *strip,
		      struct slice *add)
{
	*strip = *add = SLICE("");
	for (unsigned i = 0; i < route->rules->n; i++) {
		const struct config_rewrite *c = route->rules->of[i].options;

		if (route->rules->of[i].rule != &rule_rewrite.config || c->pattern ||
		    c->replace.part_n > 0)
			continue;
		*strip = c->strip;
		*add = c->add;
	}
}

/* ---- requests ----------------------------------------------------------------- */

/* "/api/x" without "/api" or "/api/" is "/x", without "/ap" it stays. */
static struct slice prefix_strip(struct slice path, struct slice prefix)
{
	if (prefix.len > 0 && prefix.ptr[prefix.len - 1] == '/')
		prefix.len--;
	if (!slice_starts(path, prefix) ||
	    (path.len > prefix.len && path.ptr[prefix.len] != '/'))
		return path;
	path = slice_after(path, prefix.len);
	return path.len > 0 ? path : SLICE("/");
}

/* False: whether the pattern matches is not known, since it needs too many steps. */
static bool pattern_apply(const struct config_rewrite *c, struct slice path,
			  struct emit *e)
{
	struct slice groups[PATTERN_GROUPS_MAX];

	switch (pattern_match(c->pattern, path, groups, pattern_groups(c->pattern))) {
	case PATTERN_DIFFERS:
		emit_slice(e, path);
		return true;
	case PATTERN_GAVE_UP:
		return false;
	case PATTERN_MATCHES:
		break;
	}
	for (const struct to_part *part = c->to; part < c->to + c->to_n; part++)
		emit_uri(e, part->group < 0 ? part->text : groups[part->group]);
	return true;
}

/* ${path} is the text of a path already; other values are not. */
static bool replace_apply(const struct template *t, const struct request_view *view,
			  struct emit *e)
{
	char scratch[REWRITE_BYTES_MAX / 4];

	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *part = &t->parts[i];
		struct slice value;

		/* Both in normal form: to decode a %2F would make another path of it, which no
		 * rule of another route has seen. */
		if (part->variable == VARIABLE_PATH) {
			emit_uri(e, view->path);
			continue;
		}
		if (part->variable == VARIABLE_PATH_REST) {
			emit_uri(e, slice_after(view->path, view->route->path.len));
			continue;
		}
		if (!variable_value(part->variable, part->text, view, scratch,
				    sizeof(scratch), &value))
			return false;
		if (part->variable == VARIABLE_NONE)
			emit_uri(e, value);
		else
			emit_uri_decoded(e, value);
	}
	return true;
}

static bool path_write(const struct config_rewrite *c, const struct request_view *view,
		       struct emit *e)
{
	struct slice path = prefix_strip(view->path, c->strip), add = c->add;

	if (c->replace.part_n > 0)
		return replace_apply(&c->replace, view, e);
	/* "/v1/" before "/x" is "/v1/x". */
	if (add.len > 0 && add.ptr[add.len - 1] == '/')
		add.len--;
	emit_slice(e, add);
	if (c->pattern)
		return pattern_apply(c, path, e);
	emit_slice(e, path);
	return true;
}

/* True: a path in normal form, which no server resolves to another place. */
static bool path_good(struct slice path, char *scratch)
{
	if (path.len == 0 || path.ptr[0] != '/' || memchr(path.ptr, '?', path.len))
		return false;
	return path_normalize(scratch, path) == path.len;
}

static bool rewrite_request(const struct rule_use *u, const struct request_view *view,
			    struct request_changes *changes)
{
	struct emit *text = &changes->fields->text;
	struct emit e = { text->at, text->at + REWRITE_BYTES_MAX, false };
	struct slice path = { text->at, 0 };

	if (slice_equal(view->path, SLICE("*")))
		return true;
	if ((size_t)(text->end - text->at) < 2 * REWRITE_BYTES_MAX ||
	    !path_write(u->options, view, &e) || e.overflow) {
		exchange_fail(u->exchange, ENDING_REWRITE_INVALID);
		return false;
	}
	path.len = (size_t)(e.at - path.ptr);
	/* "//host" is no path to whoever resolves it as a reference (RFC 3986 4.2), such as a
	 * client that the server redirects to it. */
	while (slice_starts(path, SLICE("//")))
		path = slice_after(path, 1);
	if (!path_good(path, e.at)) {
		exchange_fail(u->exchange, ENDING_REWRITE_INVALID);
		return false;
	}
	text->at = e.at;
	changes->path = path;
	return true;
}

const struct rule rule_rewrite = {
	.config = {
		.key = NODE_ROW(rewrite, "{ strip: /PATH, add: /PATH, … }", "none",
				"rule, `proxy` only: another path for the request to the upstream; "
				"the query is kept; 400 if the result is no path"),
		.sections = rewrite_sections,
		.of_proxy = true,
		.read = rewrite_read,
		.print = rewrite_print,
	},
	.request = rewrite_request,
};
