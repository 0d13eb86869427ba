/* The rule `cdn_loop`: 508 for a request that has been here already (RFC 8586).
 *
 * The request to the upstream gets a further CDN-Loop field with our name; one that arrives with
 * the name in CDN-Loop has come in a circle. */
#include "proxy/rule.h"

struct config_loop {
	struct slice name;
};

static const char form[] = "'cdn_loop: NAME'";

/* A name as in Via and CDN-Loop: a host or a token (RFC 8586 2). */
static bool is_loop_name(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
			return false;
	}
	return s.len > 0 && s.len < CONFIG_NAME_MAX;
}

static const void *loop_read(struct config_reader *r, const struct node *n,
			     struct config_route *route)
{
	struct config_loop *c = arena_alloc(reader_memory(r), sizeof(*c));

	(void)route;
	if (!scalar_check(r, n, form))
		return NULL;
	if (!is_loop_name(n->text))
		report_error(
			reader_report(r), n->at,
			"the name has at most 63 letters, digits, '-', '_' and '.'; write the "
			"name of the site, such as edge.example.org");
	c->name = (struct slice){ arena_text(reader_memory(r), n->text), n->text.len };
	return c;
}

static void loop_print(FILE *out, const struct config *config, const void *options)
{
	const struct config_loop *c = options;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	print_text(out, "cdn_loop", c->name);
}

/* "a, b; v=1": a member is the name, perhaps with parameters. */
static bool list_has_name(struct slice rest, struct slice name)
{
	while (rest.len > 0) {
		const char *comma = memchr(rest.ptr, ',', rest.len);
		struct slice member = { rest.ptr,
					comma ? (size_t)(comma - rest.ptr) : rest.len };
		const char *semicolon = memchr(member.ptr, ';', member.len);

		rest = slice_after(rest, member.len + (comma ? 1 : 0));
		if (semicolon)
			member.len = (size_t)(semicolon - member.ptr);
		if (slice_equal_nocase(slice_trim(member), name))
			return true;
	}
	return false;
}

static enum rule_verdict loop_check(const struct rule_use *u,
				    const struct request_view *view)
{
	const struct config_loop *c = u->options;
	const struct head *h = view->head;

	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		if (!slice_equal_nocase(f->name, SLICE("CDN-Loop")) ||
		    !list_has_name(f->value, c->name))
			continue;
		exchange_fail(u->exchange, ENDING_LOOP);
		return RULE_ENDED;
	}
	return RULE_GOES_ON;
}

static bool loop_request(const struct rule_use *u, const struct request_view *view,
			 struct request_changes *changes)
{
	const struct config_loop *c = u->options;

	(void)view;
	if (field_add(changes->fields, SLICE("CDN-Loop"), c->name))
		return true;
	exchange_fail(u->exchange, ENDING_NO_MEMORY);
	return false;
}

const struct rule rule_cdn_loop = {
	.config = {
		.key = NODE_ROW(cdn_loop, "NAME", "none",
				"rule, `proxy` only: the request gets this name in CDN-Loop "
				"(RFC 8586), and one that has it already gets 508: it has come "
				"in a circle"),
		.of_proxy = true,
		.read = loop_read,
		.print = loop_print,
	},
	.check = loop_check,
	.request = loop_request,
};
