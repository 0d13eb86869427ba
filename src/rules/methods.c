/* The rule `methods`: 405 with Allow for other methods (RFC 9110 15.5.6). */
#include "proxy/action.h"
#include "proxy/rule.h"

#define METHODS_MAX 32

struct config_methods {
	unsigned n;
	struct slice of[METHODS_MAX]; /* with HEAD, if GET is one of them */
};

static bool methods_contain(const struct config_methods *m, struct slice name)
{
	for (unsigned i = 0; i < m->n; i++)
		if (slice_equal(m->of[i], name))
			return true;
	return false;
}

/* ---- configuration ----------------------------------------------------------- */

static const char example[] = "'methods: [GET, POST]'";

/* Methods are case-sensitive; those of the RFCs are in upper case. */
static bool is_method(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!((text.ptr[i] >= 'A' && text.ptr[i] <= 'Z') || text.ptr[i] == '-'))
			return false;
	return text.len > 0 && text.len < CONFIG_NAME_MAX;
}

static void method_read(struct config_reader *r, const struct node *n,
			struct config_methods *m)
{
	if (!scalar_check(r, n, "the name of a method, as in [GET, POST]"))
		return;
	if (!is_method(n->text))
		report_error(
			reader_report(r), n->at,
			"a method has capital letters and '-'; write GET, HEAD, POST, PUT, "
			"PATCH, DELETE, OPTIONS or another one");
	else if (methods_contain(m, n->text))
		report_error(reader_report(r), n->at,
			     "this method is already in the list; remove one of the two");
	else
		m->of[m->n++] = (struct slice){ arena_text(reader_memory(r), n->text),
						n->text.len };
}

/* "GET, HEAD": those that the action has as well. */
static struct slice allow_text(struct arena *memory, const struct config_methods *m,
			       bool reads_only)
{
	const char *text = "";

	for (unsigned i = 0; i < m->n; i++) {
		if (reads_only && !slice_equal(m->of[i], SLICE("GET")) &&
		    !slice_equal(m->of[i], SLICE("HEAD")))
			continue;
		text = arena_format(memory, "%s%s%.*s", text, text[0] ? ", " : "",
				    SLICE_ARG(m->of[i]));
	}
	return slice_of(text);
}

static const void *methods_read(struct config_reader *r, const struct node *n,
				struct config_route *route)
{
	struct config_methods *m = arena_alloc(reader_memory(r), sizeof(*m));
	const struct action *action = action_of(route);

	if (!children_check(r, n, NODE_LIST, METHODS_MAX - 1, example))
		return NULL;
	for (const struct node *one = n->children; one; one = one->next)
		method_read(r, one, m);
	if (methods_contain(m, SLICE("GET")) && !methods_contain(m, SLICE("HEAD")))
		m->of[m->n++] = SLICE("HEAD");
	route->allow = allow_text(reader_memory(r), m, action->reads_only);
	if (route->allow.len == 0 && m->n > 0 && !n->inherited)
		report_error(
			reader_report(r), n->at,
			"'%s' responds to GET and HEAD only; write 'methods: [GET]', or "
			"remove the list",
			action->config.key.name.ptr);
	return m;
}

static void methods_print(FILE *out, const struct config *c, const void *options)
{
	const struct config_methods *m = options;

	(void)c;
	print_indent(out, ACTION_DEPTH);
	fputs("methods: [", out);
	for (unsigned i = 0; i < m->n; i++)
		fprintf(out, "%s%.*s", i > 0 ? ", " : "", SLICE_ARG(m->of[i]));
	fputs("]\n", out);
}

/* ---- requests ----------------------------------------------------------------- */

static enum rule_verdict methods_check(const struct rule_use *u,
				       const struct request_view *view)
{
	if (methods_contain(u->options, view->head->method_token))
		return RULE_GOES_ON;
	exchange_fail(u->exchange, ENDING_METHOD_NOT_ALLOWED);
	return RULE_ENDED;
}

const struct rule rule_methods = {
	.config = {
		.key = NODE_ROW(methods, "[METHOD, …]", "any",
				"rule: methods that the route allows; others get 405 with Allow. "
				"With GET also HEAD"),
		.read = methods_read,
		.print = methods_print,
	},
	.check = methods_check,
};
