/* The keys of the rule `auth_request`: read and printed. */
#include "authrequest.h"
#include "http/change.h"

enum {
	KEY_UPSTREAM,
	KEY_PATH,
	KEY_HOST,
	KEY_FIELDS,
	KEY_REQUEST_FIELDS,
	KEY_RESPONSE_FIELDS,
	KEY_TIMEOUT,
	KEY_ON_ERROR,
};

static const struct key auth_request_keys[] = {
	[KEY_UPSTREAM] = NODE_ROW(upstream, "NAME", "required",
				  "HTTP upstream that decides whether a request goes on"),
	[KEY_PATH] = KEY_ROW(struct config_auth_request, path, URI, uri, NULL, 0, 0, NULL,
			     ANY, "path of the request to it, perhaps with a query"),
	[KEY_HOST] = KEY_ROW(struct config_auth_request, host, HOST, proxy.host, "", 0, 0,
			     NULL, ANY,
			     "Host field of the request to it; not set: as received"),
	[KEY_FIELDS] = NODE_ROW(
		fields, "all or [NAME, …]", "all",
		"fields of the client's request that are sent to it, beside X-Forwarded-* and "
		"X-Original-*"),
	[KEY_REQUEST_FIELDS] = NODE_ROW(
		request_fields, "[NAME, …]", "none",
		"fields of its 2xx response that go on to the server; what the client sends under "
		"these names is removed"),
	[KEY_RESPONSE_FIELDS] = NODE_ROW(
		response_fields, "[NAME, …]", "[Set-Cookie]",
		"fields of its 2xx response that are added to the response to the client"),
	[KEY_TIMEOUT] =
		KEY_ROW(struct config_auth_request, timeout, DURATION, timeout_ms, "5s",
			1, 86400000, NULL, ANY,
			"time limit of its response, with all attempts; see `on_error`"),
	[KEY_ON_ERROR] = KEY_ROW(
		struct config_auth_request, on_error, WORD, pass_on_error, "refuse", 0, 0,
		"refuse|pass", ANY,
		"what happens without a response, or with another status than 2xx, 401, 403 or a "
		"redirect; refuse: 503; pass: the request goes on"),
};

static const struct section auth_request_section = { "routes[].auth_request.",
						     auth_request_keys,
						     COUNT(auth_request_keys) };
const struct section *const auth_request_sections[] = { &auth_request_section, NULL };

/* ---- reading ------------------------------------------------------------------ */

static bool names_contain(const struct auth_names *names, struct slice name)
{
	for (unsigned i = 0; i < names->n; i++)
		if (slice_equal_nocase(names->of[i], name))
			return true;
	return false;
}

static void name_read(struct config_reader *r, const struct node *n, bool request,
		      struct auth_names *names)
{
	const char *fault;

	if (!scalar_check(r, n, "the name of a field, as in [X-User]"))
		return;
	fault = field_change_fault(n->text, request);
	if (fault)
		report_error(reader_report(r), n->at, "%s", fault);
	else if (names_contain(names, n->text))
		report_error(reader_report(r), n->at,
			     "this field is already in the list; remove one of the two");
	else
		names->of[names->n++] = (struct slice){
			arena_text(reader_memory(r), n->text), n->text.len
		};
}

/* `request`: the fields are those of a request. An empty list is none, also where a list would be
 * inherited. */
static void names_read(struct config_reader *r, const struct node *list, bool request,
		       const char *form, struct auth_names *names)
{
	bool none = list->kind == NODE_LIST && list->child_n == 0;

	if (none || !children_check(r, list, NODE_LIST, AUTH_NAMES_MAX, form))
		return;
	for (const struct node *n = list->children; n; n = n->next)
		name_read(r, n, request, names);
}

static void sent_read(struct config_reader *r, const struct node *n,
		      struct config_auth_request *a)
{
	a->sends_all = !n ||
		       (n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("all")));
	if (!a->sends_all)
		names_read(r, n, true, "'fields: all' or 'fields: [Cookie]'", &a->sent);
}

/* Splits "/path?query". */
static void uri_split(struct config_reader *r, const struct node *n,
		      struct config_auth_request *a)
{
	const char *mark = a->uri.len > 0 ? memchr(a->uri.ptr, '?', a->uri.len) : NULL;

	if (a->uri.len > 0 && a->uri.ptr[0] != '/')
		report_error(reader_report(r), n->at,
			     "this is a URL, and the server is that of 'upstream'; write "
			     "'path: /PATH'");
	a->path = a->uri;
	a->query = SLICE("");
	if (!mark)
		return;
	a->path.len = (size_t)(mark - a->uri.ptr);
	a->query = slice_after(a->uri, a->path.len);
}

const void *auth_request_read(struct config_reader *r, const struct node *n,
			      struct config_route *route)
{
	struct config_auth_request *a = arena_alloc(reader_memory(r), sizeof(*a));
	struct section_values values;
	const struct node *const *of = values.of;

	(void)route;
	if (!section_read(r, n, &auth_request_section, a, &values))
		return a;
	a->proxy.upstream = upstream_find(r, of[KEY_UPSTREAM], CONFIG_HTTP);
	uri_split(r, of[KEY_PATH], a);
	sent_read(r, of[KEY_FIELDS], a);
	if (of[KEY_REQUEST_FIELDS])
		names_read(r, of[KEY_REQUEST_FIELDS], true, "'request_fields: [X-User]'",
			   &a->request_fields);
	if (of[KEY_RESPONSE_FIELDS])
		names_read(r, of[KEY_RESPONSE_FIELDS], false,
			   "'response_fields: [Set-Cookie]'", &a->response_fields);
	else
		a->response_fields.of[a->response_fields.n++] = SLICE("Set-Cookie");
	a->route.deadline_ms = a->route.response_timeout_ms = a->timeout_ms;
	return a;
}

/* ---- printing ------------------------------------------------------------------ */

static void print_names(FILE *out, const char *key, const struct auth_names *names)
{
	print_indent(out, ACTION_DEPTH + 1);
	fprintf(out, "%s: [", key);
	for (unsigned i = 0; i < names->n; i++)
		fprintf(out, "%s\"%.*s\"", i > 0 ? ", " : "", SLICE_ARG(names->of[i]));
	fputs("]\n", out);
}

void auth_request_print(FILE *out, const struct config *c, const void *options)
{
	const struct config_auth_request *a = options;

	print_indent(out, ACTION_DEPTH);
	fputs("auth_request:\n", out);
	print_indent(out, ACTION_DEPTH + 1);
	print_text(out, "upstream", slice_of(c->upstreams[a->proxy.upstream].name));
	print_section(out, &auth_request_section, a, ACTION_DEPTH + 1, PROTOCOL_ANY);
	if (!a->sends_all)
		print_names(out, "fields", &a->sent);
	print_names(out, "request_fields", &a->request_fields);
	print_names(out, "response_fields", &a->response_fields);
}
