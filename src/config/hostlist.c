/* The `host` of a route: one host, or a list. */
#include "reader.h"

#include "http/host.h"
#include "value.h"

#define FORM "'host: HOST', or 'host: [HOST, …]'"

/* A wildcard stands for whole labels at the beginning, and nowhere else. */
static const char *pattern_fault(struct config_reader *r, struct slice text)
{
	if (slice_equal(text, SLICE("*")))
		return "'*' is no host; remove the key to match any host";
	if (text.ptr[0] == '.')
		return arena_format(
			&r->scratch,
			"'%.*s' begins with a dot; write \"*%.*s\" to match all "
			"names below it",
			REPORT_ARG(text), REPORT_ARG(text));
	if (text.ptr[0] == '~')
		return "'host' takes no regular expression; write the hosts in a list, or "
		       "\"*.\" and a name to match all names below it";
	if (slice_starts(text, SLICE("*.")))
		text = slice_after(text, 2);
	if (text.len == 0 || text.ptr[0] == '[' || memchr(text.ptr, '*', text.len))
		return "a '*' stands for whole labels before a name, and nowhere else; write "
		       "\"*.NAME\", or the hosts in a list";
	return NULL;
}

static const char *host_fault(struct config_reader *r, struct slice text)
{
	const char *fault = memchr("*.~", text.ptr[0], 3) ||
					    memchr(text.ptr, '*', text.len)
				    ? pattern_fault(r, text)
				    : NULL;
	struct slice name = slice_starts(text, SLICE("*.")) ? slice_after(text, 2) : text;
	const char *colon = memrchr(text.ptr, ':', text.len);

	if (!fault)
		fault = value_text_fault(KIND_HOST, SLICE("host"), name, &r->scratch);
	if (!fault && colon && text.ptr[text.len - 1] != ']')
		fault = arena_format(&r->scratch,
				     "hosts are matched without the port; write '%.*s'",
				     (int)(colon - text.ptr), text.ptr);
	return fault;
}

/* False: reported. */
static bool host_read(struct config_reader *r, const struct node *n, struct slice *host)
{
	const char *fault;
	bool wildcard;
	char *copy;

	if (!scalar_check(r, n, FORM) || !suspect_text(r, n, KEY_OF(route, host)))
		return false;
	fault = host_fault(r, n->text);
	if (fault) {
		report_error(&r->report, n->at, "%s", fault);
		return false;
	}
	wildcard = n->text.ptr[0] == '*';
	copy = arena_alloc(r->memory, n->text.len + HOST_GROWTH);
	copy[0] = '.';
	*host = (struct slice){
		copy, wildcard + host_normalize(copy + wildcard,
						slice_after(n->text, wildcard ? 2 : 0))
	};
	return true;
}

/* False: the list has the host already, which is reported. */
static bool host_is_new(struct config_reader *r, struct names *all, const struct node *n,
			struct slice host)
{
	struct names_entry *e;

	if (names_find(all, host)) {
		report_error(&r->report, n->at,
			     "'%.*s' is in this list already; remove one of the two",
			     REPORT_ARG(n->text));
		return false;
	}
	e = arena_alloc(&r->scratch, sizeof(*e));
	names_put(all, e, host);
	return true;
}

bool hosts_read(struct config_reader *r, const struct node *n, struct config_route *route)
{
	const struct node *list = list_of(r, n);
	struct names all = { 0 };
	struct slice *hosts;
	bool good = true;

	if (!children_check(r, list, NODE_LIST, CONFIG_HOSTS_MAX, FORM))
		return false;
	hosts = arena_alloc(r->memory, list->child_n * sizeof(hosts[0]));
	for (const struct node *one = list->children; one; one = one->next) {
		struct slice *host = &hosts[route->host_n];

		if (host_read(r, one, host) && host_is_new(r, &all, one, *host))
			route->host_n++;
		else
			good = false;
	}
	route->hosts = hosts;
	names_done(&all);
	return good;
}
