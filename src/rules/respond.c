/* The action `respond`: a response of the configuration. */
#include "http/forward.h"
#include "page.h"
#include "proxy/action.h"

struct config_respond {
	uint32_t status;
	struct slice content_type; /* as written; empty: that of the page */
	struct page page;
};

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_STATUS, KEY_BODY, KEY_FILE, KEY_TYPE };

static const struct key respond_keys[] = {
	[KEY_STATUS] = KEY_ROW(struct config_respond, status, COUNT, status, "200", 200,
			       599, NULL, ANY, "response status; not 205 and 304"),
	[KEY_BODY] = NODE_ROW(
		body, "TEXT", "none",
		"the body; without it and without `file` it is status and reason. "
		"At most 64 KiB"),
	[KEY_FILE] = NODE_ROW(
		file, "FILE", "none",
		"the body is the content of this file, relative to the folder of the "
		"configuration file. It is read with the configuration, and again as "
		"`certificates.watch` says. At most 64 KiB"),
	[KEY_TYPE] = KEY_ROW(
		struct config_respond, content_type, VALUE, content_type, "", 0, 0, NULL,
		ANY,
		"Content-Type; not set: that of the name of the file (.html, .json, "
		".txt …), or text/plain"),
};

static const struct section respond_section = { "routes[].respond.", respond_keys,
						COUNT(respond_keys) };
static const struct section *const respond_sections[] = { &respond_section, NULL };

/* "404 Not Found" */
static void page_of_status(struct arena *memory, struct config_respond *c)
{
	const char *text = arena_format(memory, "%u %s\n", c->status,
					status_phrase((int)c->status));

	c->page = (struct page){ .body = slice_of(text), .type = SLICE("text/plain") };
}

static bool has_body(const struct config_respond *c)
{
	return c->status != 204;
}

static void body_read(struct config_reader *r, const struct section_values *values,
		      struct config_respond *c)
{
	const struct node *body = values->of[KEY_BODY], *file = values->of[KEY_FILE];

	if (body && file)
		report_error(
			reader_report(r), node_pos(file),
			"a response has either 'body' or 'file'; remove one of the two");
	else if ((body || file) && !has_body(c))
		report_error(
			reader_report(r), node_pos(body ? body : file),
			"a response with status 204 has no body; remove this key");
	else if (body)
		page_text_read(r, body, &c->page);
	else if (file)
		page_file_read(r, file, "'file: FILE'", &c->page);
	else if (has_body(c))
		page_of_status(reader_memory(r), c);
}

static void respond_read(struct config_reader *r, const struct node *n,
			 struct config_route *route)
{
	struct config_respond *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values;

	route->options = c;
	if (!section_read(r, n, &respond_section, c, &values))
		return;
	if (c->status == 205 || c->status == 304)
		report_error(
			reader_report(r), values.of[KEY_STATUS]->at,
			"this status is an answer to the state of a client; write 200, 204 or "
			"another status");
	else
		body_read(r, &values, c);
}

static void respond_print(FILE *out, const struct config *config,
			  const struct config_route *route)
{
	const struct config_respond *c = route->options;

	(void)config;
	print_indent(out, ACTION_DEPTH);
	fputs("respond:\n", out);
	print_section(out, &respond_section, c, ACTION_DEPTH + 1, PROTOCOL_ANY);
	if (!has_body(c))
		return;
	print_indent(out, ACTION_DEPTH + 1);
	if (c->page.path)
		print_text(out, "file", slice_of(c->page.path));
	else
		print_text(out, "body", c->page.body);
}

/* ---- requests ----------------------------------------------------------------- */

static void respond_start(struct exchange *x, const struct request_view *view)
{
	const struct config_respond *c = view->route->options;

	exchange_respond(x,
			 &(struct exchange_response){
				 .status = (int)c->status,
				 .ending = ENDING_COMPLETE,
				 .content_type = c->content_type.len > 0 ? c->content_type
									 : c->page.type,
				 .body = c->page.body,
			 });
}

const struct action action_respond = {
	.config = {
		.key = NODE_ROW(respond, "{ status: N, body: TEXT, … }", "one action",
				"action: responds with a status and a body of the configuration"),
		.sections = respond_sections,
		.read = respond_read,
		.print = respond_print,
	},
	.start = respond_start,
};
