/* The keys of the rule `mirror`: read and printed. */
#include "mirror.h"

enum {
	KEY_UPSTREAM,
	KEY_SHARE,
	KEY_REQUEST_BODY,
	KEY_REQUESTS,
	KEY_TIMEOUT,
	KEY_HOST,
};

static const struct key mirror_keys[] = {
	[KEY_UPSTREAM] = NODE_ROW(upstream, "NAME", "required",
				  "HTTP upstream that gets these requests as well"),
	[KEY_SHARE] = NODE_ROW(share, "PERCENT", "100%",
			       "share of the requests, chosen at random"),
	[KEY_REQUEST_BODY] = KEY_ROW(
		struct config_mirror, request_body, SIZE, body, "16KiB", 1,
		MIRROR_BODY_MAX, "none", ANY,
		"requests with larger bodies are not mirrored; a body is kept while it is sent to "
		"the server, and sent to the mirror when it is whole; none: only requests "
		"without a body are mirrored"),
	[KEY_REQUESTS] = KEY_ROW(
		struct config_mirror, requests, COUNT, requests, "100", 1, 100000, NULL,
		ANY,
		"most mirrored requests at once, in a worker, of all routes together; above that "
		"no further one is mirrored"),
	[KEY_TIMEOUT] =
		KEY_ROW(struct config_mirror, timeout, DURATION, timeout_ms, "5s", 1,
			86400000, NULL, ANY,
			"time limit of the mirrored request, to the end of its response"),
	[KEY_HOST] = KEY_ROW(
		struct config_mirror, host, HOST, proxy.host, "", 0, 0, NULL, ANY,
		"Host field of the mirrored request; not set: that of the request to the server"),
};

static const struct section mirror_section = { "routes[].mirror.", mirror_keys,
					       COUNT(mirror_keys) };
const struct section *const mirror_sections[] = { &mirror_section, NULL };

const void *mirror_read(struct config_reader *r, const struct node *n,
			struct config_route *route)
{
	struct config_mirror *m = arena_alloc(reader_memory(r), sizeof(*m));
	struct section_values values;

	(void)route;
	if (n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("off")))
		return NULL;
	if (!section_read(r, n, &mirror_section, m, &values))
		return m;
	m->proxy.upstream = upstream_find(r, values.of[KEY_UPSTREAM], CONFIG_HTTP);
	m->share = CONFIG_SAMPLE_ALL;
	if (values.of[KEY_SHARE])
		percent_read(r, values.of[KEY_SHARE], "'share: 5%'", &m->share);
	return m;
}

void mirror_print(FILE *out, const struct config *c, const void *options)
{
	const struct config_mirror *m = options;

	print_indent(out, ACTION_DEPTH);
	fputs("mirror:\n", out);
	print_indent(out, ACTION_DEPTH + 1);
	print_text(out, "upstream", slice_of(c->upstreams[m->proxy.upstream].name));
	print_indent(out, ACTION_DEPTH + 1);
	fprintf(out, "share: %.10g%%\n", m->share / 1e4);
	print_section(out, &mirror_section, m, ACTION_DEPTH + 1, PROTOCOL_ANY);
}
