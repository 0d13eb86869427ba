/* Reads `request_id` and `tracing`. */
#include "reader.h"

#include <string.h>

#include "http/forwarding.h"
#include "value.h"

static bool name_is_valid(struct slice name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_'))
			return false;
	}
	return name.len > 0;
}

/* The proxy writes or reads the field itself. */
static bool name_is_reserved(struct slice name)
{
	static const struct slice names[] = {
#define HEADER(id, text, per_hop) { text, sizeof(text) - 1 },
#include "http/header.def"
#undef HEADER
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (slice_equal_nocase(names[i], name))
			return true;
	return forwarding_may_be_field(name) && forwarding_is_field(name);
}

const char *own_field_fault(struct config_reader *r, struct slice name, const char *example)
{
	if (!name_is_valid(name))
		return arena_format(&r->scratch,
				    "'%.*s' is not the name of a field; write letters, digits and "
				    "'-', as in %s",
				    REPORT_ARG(name), example);
	if (name_is_reserved(name))
		return arena_format(&r->scratch,
				    "'%.*s' has a meaning of its own; write another name, such as "
				    "%s",
				    REPORT_ARG(name), example);
	return NULL;
}

void request_id_read(struct config_reader *r, const struct node *n)
{
	struct config_request_id *id = &r->config->request_id;
	bool map = n && n->kind == NODE_MAP;
	struct section_values values;
	const char *fault;

	section_read(r, map ? n : NULL, &section_request_id, id, &values);
	id->on = map || (n && n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("on")));
	if (n && !id->on && (n->kind != NODE_SCALAR || !value_is_off(n->text)))
		report_error(&r->report, n->at,
			     "'request_id' takes off, on or a map; write on, or { field: "
			     "X-Request-Id }");
	n = values.of[KEY_request_id_field];
	fault = n && n->kind == NODE_SCALAR
			? own_field_fault(r, slice_of(id->field), "X-Request-Id")
			: NULL;
	if (fault)
		report_error(&r->report, n->at, "%s", fault);
}

static void export_read(struct config_reader *r, const struct node *n, struct config_export *e)
{
	struct section_values values;

	e->on = section_read(r, n, &section_export, e, &values);
	if (!e->on)
		return;
	e->upstream = upstream_find(r, values.of[KEY_export_upstream], CONFIG_HTTP);
	n = values.of[KEY_export_service];
	if (n && strlen(e->service) > CONFIG_SERVICE_MAX)
		report_error(&r->report, n->at,
			     "this name has %zu bytes; shorten it to at most %d",
			     strlen(e->service), CONFIG_SERVICE_MAX);
	n = values.of[KEY_export_path];
	if (n && e->path.len > 0 && e->path.ptr[0] != '/')
		report_error(&r->report, n->at,
			     "this is a URL, and the server is that of 'upstream'; write 'path: "
			     "/v1/traces'");
}

void tracing_read(struct config_reader *r, const struct node *n)
{
	struct config_tracing *t = &r->config->tracing;
	bool map = n && n->kind == NODE_MAP;
	struct section_values values;

	section_read(r, map ? n : NULL, &section_tracing, t, &values);
	t->on = map || (n && n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("on")));
	if (n && !t->on && (n->kind != NODE_SCALAR || !value_is_off(n->text)))
		report_error(&r->report, n->at,
			     "'tracing' takes off, on or a map; write on, or { sample: 1%% }");
	if (values.of[KEY_tracing_sample])
		percent_read(r, values.of[KEY_tracing_sample], "'sample: 1%'", &t->sample);
	if (values.of[KEY_tracing_export])
		export_read(r, values.of[KEY_tracing_export], &t->export);
}
