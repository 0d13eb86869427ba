/* The action `block`: fetches a URL with blocking calls, on the worker's thread. Shows what a
 * blocking call does to an event loop. */
#include "study/study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/action.h"

#define BLOCK_RESPONSE_MAX 65536
#define BLOCK_TIMEOUT_MS 60000

/* ---- configuration ---------------------------------------------------------- */

enum { KEY_BLOCK_URL };

static const struct key block_keys[] = {
	[KEY_BLOCK_URL] = NODE_ROW(url, "http://HOST:PORT/PATH", "required",
				   "URL to fetch"),
};

static const struct section block_section = { "routes[].block.", block_keys,
					      COUNT(block_keys) };
static const struct section *const block_sections[] = { &block_section, NULL };

/* "http://HOST[:PORT][/PATH]" */
static const char *url_read(struct config_reader *r, struct slice text,
			    struct config_block *b)
{
	struct config_address *address;
	struct slice host, path;
	const char *slash;
	struct arena *memory = reader_memory(r);
	unsigned n;

	if (!slice_starts(text, SLICE("http://")))
		return "this is not an http URL; write http://HOST:PORT/PATH";
	host = slice_after(text, strlen("http://"));
	slash = memchr(host.ptr, '/', host.len);
	path = slash ? slice_after(host, (size_t)(slash - host.ptr)) : SLICE("/");
	if (slash)
		host.len = (size_t)(slash - host.ptr);
	for (size_t i = 0; i < path.len; i++)
		if (path.ptr[i] <= ' ' || path.ptr[i] > '~' || path.ptr[i] == '#')
			return "a URL cannot contain spaces, control characters or '#'; write "
			       "them as %XX";
	if (host.len == 0)
		return "this URL has no host; write http://HOST:PORT/PATH";
	b->host = (struct slice){ arena_text(memory, host), host.len };
	b->path = (struct slice){ arena_text(memory, path), path.len };
	if (!memchr(host.ptr, ':', host.len) || host.ptr[host.len - 1] == ']')
		host = slice_of(arena_format(memory, "%.*s:80", REPORT_ARG(host)));
	address = arena_alloc(memory, sizeof(*address));
	b->address = address;
	return address_lookup(r, host, false, address, 1, &n);
}

static void block_read(struct config_reader *r, const struct node *n,
		       struct config_route *route)
{
	struct config_block *b = arena_alloc(reader_memory(r), sizeof(*b));
	struct section_values values;
	const struct node *url;
	const char *fault;

	route->options = b;
	if (!section_read(r, n, &block_section, b, &values))
		return;
	url = values.of[KEY_BLOCK_URL];
	if (!url || !scalar_check(r, url, "http://HOST:PORT/PATH") ||
	    !suspect_text(r, url, &block_keys[KEY_BLOCK_URL]))
		return;
	fault = url_read(r, url->text, b);
	if (fault)
		report_error(reader_report(r), url->at, "%s", fault);
}

static void block_print(FILE *out, const struct config *c,
			const struct config_route *route)
{
	const struct config_block *b = route->options;

	(void)c;
	print_indent(out, ACTION_DEPTH);
	fputs("block:\n", out);
	print_indent(out, ACTION_DEPTH + 1);
	fputs("url: \"http://", out);
	print_quoted(out, b->host);
	print_quoted(out, b->path);
	fputs("\"\n", out);
}

/* ---- requests --------------------------------------------------------------- */

/* Finds the body of a response that ended with its connection. False: it is malformed, or
 * chunked. */
static bool response_body(struct exchange *x, const char *bytes, size_t n,
			  struct slice *body)
{
	struct head *h = &x->proxy->response;
	uint32_t scanned = 0;

	if (head_parse_response(h, bytes, n, &x->generation->head_limits, &scanned) != VERDICT_OK)
		return false;
	*body = (struct slice){ bytes + h->bytes, n - h->bytes };
	if (h->framing == FRAMING_LENGTH && h->length < body->len)
		body->len = h->length;
	return h->framing != FRAMING_CHUNKED;
}

static void block_start(struct exchange *x, const struct request_view *view)
{
	const struct config_block *b = view->route->options;
	char request[1024];
	char *response = malloc(BLOCK_RESPONSE_MAX);
	struct slice body = { NULL, 0 };
	int n = snprintf(request, sizeof(request),
			 "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n\r\n",
			 SLICE_ARG(b->path), SLICE_ARG(b->host));
	long got = -1;

	/* The whole worker blocks here: it serves no other client until the server has
	 * responded. */
	if (response && n < (int)sizeof(request))
		got = sock_query((const struct sockaddr *)&b->address->sa,
				 b->address->len, (struct slice){ request, (size_t)n },
				 response, BLOCK_RESPONSE_MAX, BLOCK_TIMEOUT_MS);
	if (got > 0 && response_body(x, response, (size_t)got, &body))
		exchange_reply(x, SLICE("text/plain"), body);
	else
		exchange_fail(x, ENDING_ORIGIN_REFUSED);
	free(response);
}

const struct action action_block = {
	.config = {
		.key = NODE_ROW(block, "{ url: http://… }", "one action",
				"action, `study` only: fetches a URL with blocking calls, which "
				"stops the whole worker meanwhile"),
		.study = true,
		.sections = block_sections,
		.read = block_read,
		.print = block_print,
	},
	.start = block_start,
};
