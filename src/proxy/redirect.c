/* The action `redirect`: responds with the Location of another URL. */
#include "proxy/action.h"

#include "config/action.h"
#include "route/location.h"

struct config_redirect {
	struct template to; /* of `to: https`: made of its parts */
	bool to_https;      /* `to: https`: requests by https go on to the next route */
	bool drop_query;
	uint32_t port;   /* of `to: https`; 0: not set */
	uint32_t status; /* index in statuses */
};

static const uint16_t statuses[] = { 301, 302, 303, 307, 308 };

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_TO, KEY_PORT, KEY_STATUS };

static const struct key redirect_keys[] = {
	[KEY_TO] = NODE_ROW(
		to, "https or TEXT", "required",
		"https: the same host, path and query, by https; requests that came by https "
		"already go on to the next route that matches. Or text that begins with "
		"https://HOST, http://HOST or /, may contain variables, of which only `${host}` "
		"may be in HOST; 400 if a variable has no value. Values are percent-encoded where "
		"a URL requires it"),
	[KEY_PORT] = KEY_ROW(struct config_redirect, port, COUNT, port, "443", 1, 65535,
			     NULL, ANY,
			     "`to: https` only: port of the URL; 443 is not written"),
	[KEY_STATUS] = KEY_ROW(
		struct config_redirect, status, WORD, status, "308", 0, 0,
		"301|302|303|307|308", ANY,
		"response status; 308 and 307 keep the method and body of a request, which "
		"clients replace by GET after 303, and may replace after 301 and 302"),
	KEY_ROW(struct config_redirect, query, WORD, drop_query, "keep", 0, 0,
		"keep|drop", ANY,
		"keep: the query of the request is added to the URL, behind a query that `to` has; "
		"drop: it is not"),
};

static const struct section redirect_section = { "routes[].redirect.", redirect_keys,
						 COUNT(redirect_keys) };
/* Without the keys of `to: https`; for printing. */
static const struct section redirect_to_text = { "routes[].redirect.",
						 redirect_keys + KEY_STATUS,
						 COUNT(redirect_keys) - KEY_STATUS };
static const struct section *const redirect_sections[] = { &redirect_section, NULL };

/* "https://${host}${path}", with the port if it is not the default one. */
static void https_template(struct arena *memory, struct config_redirect *c)
{
	struct template_part parts[4];
	unsigned n = 0;

	parts[n++] = (struct template_part){ VARIABLE_NONE, SLICE("https://") };
	parts[n++] = (struct template_part){ VARIABLE_HOST, SLICE("") };
	if (c->port != 443)
		parts[n++] = (struct template_part){
			VARIABLE_NONE, slice_of(arena_format(memory, ":%u", c->port))
		};
	parts[n++] = (struct template_part){ VARIABLE_PATH, SLICE("") };
	c->to = (struct template){ n, arena_copy(memory, parts, n * sizeof(parts[0])) };
}

static void to_read(struct config_reader *r, const struct node *n,
		    struct config_redirect *c)
{
	const char *fault;

	if (n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("https"))) {
		c->to_https = true;
		https_template(reader_memory(r), c);
		return;
	}
	if (!template_read(r, n, "'to: https', or 'to: \"https://HOST${path}\"'", &c->to))
		return;
	fault = location_fault(&c->to);
	if (fault)
		report_error(reader_report(r), n->at, "%s", fault);
}

static void redirect_read(struct config_reader *r, const struct node *n,
			  struct config_route *route)
{
	struct config_redirect *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values = { { NULL } };

	route->options = c;
	if (n->kind == NODE_SCALAR && !node_is_null(n)) {
		section_read(r, NULL, &redirect_section, c, &values);
		values.of[KEY_TO] = n;
	} else if (!section_read(r, n, &redirect_section, c, &values)) {
		return;
	}
	if (!values.of[KEY_TO])
		return;
	to_read(r, values.of[KEY_TO], c);
	route->passes_on = c->to_https;
	if (values.of[KEY_PORT] && !c->to_https)
		report_error(
			reader_report(r), node_pos(values.of[KEY_PORT]),
			"'port' has an effect only with 'to: https'; write it in 'to', behind "
			"the host");
}

static void redirect_print(FILE *out, const struct config *config,
			   const struct config_route *route)
{
	const struct config_redirect *c = route->options;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	fputs("redirect:\n", out);
	print_indent(out, ACTION_DEPTH + 1);
	if (c->to_https)
		fputs("to: https\n", out);
	else
		print_template(out, "to", &c->to);
	print_section(out, c->to_https ? &redirect_section : &redirect_to_text, c,
		      ACTION_DEPTH + 1, PROTOCOL_ANY);
}

/* ---- requests ----------------------------------------------------------------- */

/* By the client's own words if a trusted proxy is between us, so that there is no loop. */
static bool redirect_passes(const struct request_view *view)
{
	const struct config_redirect *c = view->route->options;
	struct slice proto = view->forwarding->proto;

	return c->to_https && (slice_equal_nocase(proto, SLICE("https")) ||
			       slice_equal_nocase(proto, SLICE("wss")));
}

static void redirect_start(struct exchange *x, const struct request_view *view)
{
	const struct config_redirect *c = view->route->options;
	char location[LOCATION_MAX];
	long n = location_write(&c->to, !c->drop_query, view, location);

	if (n < 0)
		exchange_fail(x, ENDING_REDIRECT_INVALID);
	else
		exchange_redirect(x, statuses[c->status],
				  (struct slice){ location, (size_t)n }, ENDING_REDIRECT);
}

const struct action action_redirect = {
	.config = {
		.key = NODE_ROW(redirect, "https, TEXT or { to: …, … }", "one action",
				"action: responds with a redirect to another URL; a single "
				"value is that of `to`"),
		.sections = redirect_sections,
		.read = redirect_read,
		.print = redirect_print,
	},
	.passes = redirect_passes,
	.start = redirect_start,
};
