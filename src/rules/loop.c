/* The rules `cdn_loop` and `via_loop`: 508 for a request that has been here already.
 *
 * cdn_loop (RFC 8586): the request to the upstream gets a further CDN-Loop field with our name; one
 * that arrives with the name in CDN-Loop has come in a circle. No proxy on the way may remove it.
 *
 * via_loop: Via (RFC 9110 7.6.3) has a member for each proxy on the way, and requests to the
 * upstream get one with `via` of the upstream. One that arrives with that name too often has come
 * in a circle. */
#include "proxy/action.h"
#include "proxy/rule.h"

struct config_loop {
	struct slice name;
};

static const char form[] = "'cdn_loop: NAME'";

struct config_via_loop {
	uint32_t times;
};

#define VIA_TIMES_MAX 100

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

/* ---- Via ------------------------------------------------------------------------ */

static const void *via_read(struct config_reader *r, const struct node *n,
			    struct config_route *route)
{
	struct config_via_loop *c = arena_alloc(reader_memory(r), sizeof(*c));
	bool number = true;

	(void)route;
	if (!scalar_check(r, n, "'via_loop: 1'"))
		return NULL;
	if (slice_equal(n->text, SLICE("off")))
		return NULL;
	for (size_t i = 0; i < n->text.len; i++) {
		char digit = n->text.ptr[i];

		number &= digit >= '0' && digit <= '9' && c->times <= VIA_TIMES_MAX;
		if (number)
			c->times = c->times * 10 + (uint32_t)(digit - '0');
	}
	if (!number || c->times == 0 || c->times > VIA_TIMES_MAX)
		report_error(
			reader_report(r), n->at,
			"this is how often Via may have the name before a request is refused: 1 "
			"to %d, or off; write 'via_loop: 1'",
			VIA_TIMES_MAX);
	return c;
}

static void via_print(FILE *out, const struct config *config, const void *options)
{
	const struct config_via_loop *c = options;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	fprintf(out, "via_loop: %u\n", c->times);
}

/* The length of the first member of a list whose members may have comments: a comma in parentheses
 * ends none. */
static size_t via_member_span(struct slice list)
{
	unsigned depth = 0;
	size_t i = 0;

	for (; i < list.len && (list.ptr[i] != ',' || depth > 0); i++) {
		if (list.ptr[i] == '\\' && depth > 0)
			i++;
		else if (list.ptr[i] == '(')
			depth++;
		else if (list.ptr[i] == ')' && depth > 0)
			depth--;
	}
	return i < list.len ? i : list.len;
}

/* The next word of a member: "1.1 name (comment)". */
static struct slice via_word(struct slice *member)
{
	struct slice rest = slice_trim(*member);
	size_t n = 0;

	while (n < rest.len && rest.ptr[n] != ' ' && rest.ptr[n] != '\t' &&
	       rest.ptr[n] != '(')
		n++;
	*member = slice_after(rest, n);
	return (struct slice){ rest.ptr, n };
}

/* The name that a request to one of the route's upstreams gets. */
static bool via_is_ours(const struct rule_use *u, struct slice name)
{
	const struct config *config = u->exchange->generation->config;
	const struct config_proxy *proxy = u->exchange->route->proxy;
	const struct config_split *split = proxy->split;

	for (unsigned i = 0; split && i < split->part_n; i++)
		if (slice_equal_nocase(name,
				       config->upstreams[split->parts[i].upstream].via))
			return true;
	return slice_equal_nocase(name, config->upstreams[proxy->upstream].via);
}

/* How many members have our name. */
static unsigned via_count(const struct rule_use *u, struct slice list)
{
	unsigned n = 0;

	while (list.len > 0) {
		struct slice member = { list.ptr, via_member_span(list) }, name;

		list = slice_after(list, member.len + (member.len < list.len ? 1 : 0));
		via_word(&member); /* the protocol */
		name = via_word(&member);
		n += name.len > 0 && via_is_ours(u, name);
	}
	return n;
}

static enum rule_verdict via_check(const struct rule_use *u,
				   const struct request_view *view)
{
	const struct config_via_loop *c = u->options;
	const struct head *h = view->head;
	unsigned times = 0;

	/* A join has upstreams of its own. */
	if (view->route->action != &action_proxy.config)
		return RULE_GOES_ON;
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (f->header == HEADER_VIA)
			times += via_count(u, f->value);
	if (times < c->times)
		return RULE_GOES_ON;
	exchange_fail(u->exchange, ENDING_LOOP);
	return RULE_ENDED;
}

const struct rule rule_via_loop = {
	.config = {
		.key = NODE_ROW(via_loop, "N or off", "off",
				"rule, `proxy` only: 508 for a request whose Via fields have the "
				"name of this proxy (`via` of the upstream) that often already: it "
				"has come in a circle"),
		.of_proxy = true,
		.read = via_read,
		.print = via_print,
	},
	.check = via_check,
};

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
