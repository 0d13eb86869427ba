#include "config/config.h"

#include "config/rule.h"
#include "http/lenient.h"
#include "printlogs.h"
#include "printmatch.h"
#include "printtls.h"
#include "value.h"

#define INDENT "  "

/* Of the configuration that config_print() prints. */
static _Thread_local const struct config_reference *references;

/* What was written for a field, or for the text of a template; NULL: its value. */
static const char *reference_of(const void *of)
{
	for (const struct config_reference *ref = references; ref; ref = ref->next)
		if (ref->of == of)
			return ref->written;
	return NULL;
}

/* What was written for a text that is printed; NULL: itself. */
static const char *reference_for(struct slice text)
{
	for (const struct config_reference *ref = references; ref; ref = ref->next)
		if (!ref->of && slice_equal(ref->value, text))
			return ref->written;
	return NULL;
}

void print_indent(FILE *out, unsigned depth)
{
	while (depth-- > 0)
		fputs(INDENT, out);
}

/* The first code point of valid UTF-8, and its length *n. */
static uint32_t code_point(const unsigned char *s, size_t len, size_t *n)
{
	uint32_t c = s[0];

	*n = c < 0x80 ? 1 : (c < 0xe0 ? 2 : (c < 0xf0 ? 3 : 4));
	ASSERT(*n <= len);
	c = *n == 1 ? c : c & (0x7fu >> *n);
	for (size_t i = 1; i < *n; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

/* The content of a double-quoted scalar. dollar: text of a template, where "$" is doubled. */
static void print_escaped(FILE *out, struct slice text, bool dollar)
{
	for (size_t i = 0, n; i < text.len; i += n) {
		uint32_t c = code_point((const unsigned char *)text.ptr + i, text.len - i,
					&n);

		if (c == '$' && dollar)
			fputs("$$", out);
		else if (c == '"' || c == '\\')
			fprintf(out, "\\%c", (char)c);
		else if (c >= ' ' && c <= '~')
			fputc((int)c, out);
		else
			fprintf(out, "\\U%08X", (unsigned)c);
	}
}

void print_quoted(FILE *out, struct slice text)
{
	const char *written = reference_for(text);

	print_escaped(out, written ? slice_of(written) : text, false);
}

void print_text(FILE *out, const char *key, struct slice text)
{
	fprintf(out, "%s: \"", key);
	print_quoted(out, text);
	fputs("\"\n", out);
}

void print_template(FILE *out, const char *key, const struct template *t)
{
	fprintf(out, "%s: ", key);
	print_template_text(out, t);
}

void print_template_text(FILE *out, const struct template *t)
{
	fputc('"', out);
	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *part = &t->parts[i];

		if (part->variable == VARIABLE_NONE && reference_of(part->text.ptr)) {
			print_escaped(out, slice_of(reference_of(part->text.ptr)), false);
			continue;
		}
		if (part->variable == VARIABLE_NONE) {
			print_escaped(out, part->text, true);
			continue;
		}
		fprintf(out, "${%.*s%s", SLICE_ARG(variable_text(part->variable)),
			part->text.len > 0 ? "." : "");
		print_escaped(out, part->text, false);
		fputc('}', out);
	}
	fputs("\"\n", out);
}

/* A comment behind keys that a reload cannot change. */
static const char *restart_comment(const struct key *k)
{
	return key_needs_restart(k) ? " # a change requires an upgrade or a restart" : "";
}

void print_key(FILE *out, const struct key *k, const void *from, unsigned depth)
{
	const char *field = (const char *)from + k->offset;
	char number[VALUE_TEXT_MAX];
	struct slice text = { NULL, 0 };

	if (k->kind != KIND_NODE && reference_of(field)) {
		print_indent(out, depth);
		fprintf(out, "%s: \"", k->name.ptr);
		print_escaped(out, slice_of(reference_of(field)), false);
		fputs("\"\n", out);
		return;
	}
	switch (k->kind) {
	case KIND_NODE:
		return;
	case KIND_COUNT:
	case KIND_DURATION:
	case KIND_SIZE:
	case KIND_WORD:
		value_format(k, value_number(k, from), number);
		print_indent(out, depth);
		fprintf(out, "%s: %s%s\n", k->name.ptr, number, restart_comment(k));
		return;
	case KIND_STRING:
		text = slice_of(*(const char *const *)field);
		break;
	case KIND_PATH:
	case KIND_HOST:
	case KIND_VALUE:
	case KIND_URI:
		text = *(const struct slice *)field;
		break;
	}
	if (text.len == 0)
		return;
	print_indent(out, depth);
	fprintf(out, "%s: \"", k->name.ptr);
	print_quoted(out, text);
	fprintf(out, "\"%s\n", restart_comment(k));
}

/* The scalar keys of a section, except those of the protocol `without`. */
void print_section(FILE *out, const struct section *s, const void *from, unsigned depth,
		   enum key_protocol without)
{
	for (size_t i = 0; i < s->row_n; i++)
		if (s->rows[i].protocol == PROTOCOL_ANY || s->rows[i].protocol != without)
			print_key(out, &s->rows[i], from, depth);
}

static void print_health(FILE *out, const struct config_health *h)
{
	print_indent(out, 2);
	fputs(h->on ? "health_check:\n" : "health_check: off\n", out);
	if (h->on)
		print_section(out, &section_health, h, 3,
			      h->type == CONFIG_HEALTH_HTTP ? PROTOCOL_MEMCACHED
							    : PROTOCOL_HTTP);
}

static void print_lenient(FILE *out, const struct config_upstream *u)
{
	const char *comma = "";

	if (u->protocol != CONFIG_HTTP)
		return;
	print_indent(out, 2);
	fputs("lenient: [", out);
	for (unsigned i = 0; i < LENIENTS; i++) {
		if (!(u->lenient >> i & 1))
			continue;
		fprintf(out, "%s%s", comma, lenient_word((enum lenient)i));
		comma = ", ";
	}
	fputs("]\n", out);
}

static void print_sticky(FILE *out, const struct config_sticky *s)
{
	if (!s->on)
		return;
	print_indent(out, 2);
	fputs("sticky:\n", out);
	print_indent(out, 3);
	print_text(out, "cookie", slice_of(s->cookie));
	print_section(out, &section_sticky, s, 3, PROTOCOL_ANY);
}

static void print_upstream(FILE *out, const struct config_upstream *u)
{
	fprintf(out, INDENT "%s:\n" INDENT INDENT "servers:\n", u->name);
	for (unsigned i = 0; i < u->server_n; i++) {
		const struct config_server *s = &u->servers[i];

		fputs(INDENT INDENT INDENT "- ", out);
		print_text(out, "address", slice_of(s->address));
		/* The default of `name` is the address. */
		if (s->name != s->address) {
			print_indent(out, 4);
			print_text(out, "name", slice_of(s->name));
		}
		print_section(out, &section_server, s, 4,
			      u->protocol == CONFIG_HTTP ? PROTOCOL_MEMCACHED
							 : PROTOCOL_HTTP);
	}
	if (u->balance == CONFIG_HASH) {
		print_indent(out, 2);
		print_template(out, "hash", &u->hash);
	}
	print_section(out, &section_upstream, u, 2,
		      u->protocol == CONFIG_HTTP ? PROTOCOL_MEMCACHED : PROTOCOL_HTTP);
	if (u->protocol == CONFIG_HTTP) {
		print_indent(out, 2);
		print_text(out, "via", u->via.len > 0 ? u->via : SLICE("off"));
	}
	print_lenient(out, u);
	print_sticky(out, &u->sticky);
	print_health(out, &u->health);
	if (u->tls)
		print_upstream_tls(out, u->tls, 2);
}

static void print_split(FILE *out, const struct config *c, const struct config_split *split,
			unsigned depth)
{
	print_indent(out, depth);
	fputs("split:\n", out);
	for (unsigned i = 0; i < split->part_n; i++) {
		print_indent(out, depth + 1);
		fputs("- ", out);
		print_text(out, "upstream",
			   slice_of(c->upstreams[split->parts[i].upstream].name));
		print_section(out, &section_split, &split->parts[i], depth + 2, PROTOCOL_ANY);
	}
	if (split->by.part_n == 0)
		return;
	print_indent(out, depth);
	print_template(out, "split_by", &split->by);
}

void print_proxy(FILE *out, const struct config *c, const struct config_proxy *p,
		 unsigned depth)
{
	print_indent(out, depth);
	fprintf(out, "proxy:\n");
	if (p->split) {
		print_split(out, c, p->split, depth + 1);
	} else {
		print_indent(out, depth + 1);
		print_text(out, "upstream", slice_of(c->upstreams[p->upstream].name));
	}
	print_section(out, &section_proxy, p, depth + 1, PROTOCOL_ANY);
}

void print_memcached(FILE *out, const struct config *c, const struct config_memcached *m,
		     unsigned depth, bool in_part)
{
	print_indent(out, depth);
	fprintf(out, "memcached:\n");
	print_indent(out, depth + 1);
	print_text(out, "upstream", slice_of(c->upstreams[m->upstream].name));
	print_indent(out, depth + 1);
	print_template(out, "key", &m->key);
	if (in_part)
		print_key(out, KEY_OF(memcached, command), m, depth + 1);
	else
		print_section(out, &section_memcached, m, depth + 1, PROTOCOL_ANY);
}

static void print_retry(FILE *out, const struct config_retry *retry)
{
	const char *comma = "";

	fputs(INDENT INDENT "retry:\n" INDENT INDENT INDENT "on: [", out);
	for (unsigned i = 0; i < CONFIG_RETRY_CONDITIONS; i++) {
		if (!(retry->on >> i & 1))
			continue;
		fprintf(out, "%s%s", comma, config_retry_word((enum config_retry_on)i));
		comma = ", ";
	}
	fputs("]\n", out);
	print_section(out, &section_retry, retry, 3, PROTOCOL_ANY);
}

/* The keys of a route that only some actions have. */
static void print_policy(FILE *out, const struct config_route *route)
{
	print_key(out, KEY_OF(route, request_body), route, ACTION_DEPTH);
	print_key(out, KEY_OF(route, response_timeout), route, ACTION_DEPTH);
	print_key(out, KEY_OF(route, idle_timeout), route, ACTION_DEPTH);
	print_key(out, KEY_OF(route, receive_timeout), route, ACTION_DEPTH);
	print_key(out, KEY_OF(route, min_receive_rate), route, ACTION_DEPTH);
	print_key(out, KEY_OF(route, deadline), route, ACTION_DEPTH);
	if (route->retry)
		print_retry(out, route->retry);
	if (!route->hedge)
		return;
	fputs(INDENT INDENT "hedge:\n", out);
	print_section(out, &section_hedge, route->hedge, 3, PROTOCOL_ANY);
}

void proxy_action_print(FILE *out, const struct config *c,
			const struct config_route *route)
{
	print_proxy(out, c, route->proxy, ACTION_DEPTH);
}

void memcached_action_print(FILE *out, const struct config *c,
			    const struct config_route *route)
{
	print_memcached(out, c, route->memcached, ACTION_DEPTH, false);
}

static void print_hosts(FILE *out, const struct config_route *route)
{
	print_indent(out, ACTION_DEPTH);
	fputs("host:\n", out);
	for (unsigned i = 0; i < route->host_n; i++) {
		struct slice host = route->hosts[i];

		print_indent(out, ACTION_DEPTH + 1);
		fprintf(out, "- \"%s", host.ptr[0] == '.' ? "*" : "");
		print_quoted(out, host);
		fputs("\"\n", out);
	}
}

static void print_route(FILE *out, const struct config *c,
			const struct config_route *route)
{
	fputs(INDENT "- ", out);
	print_text(out, route->prefix ? "prefix" : "path", route->path);
	if (route->host_n > 0)
		print_hosts(out, route);
	if (route->match) {
		print_indent(out, ACTION_DEPTH);
		fputs("match:\n", out);
		print_match(out, route->match, ACTION_DEPTH + 1);
	}
	route->action->print(out, c, route);
	for (unsigned i = 0; route->rules && i < route->rules->n; i++)
		route->rules->of[i].rule->print(out, c, route->rules->of[i].options);
	print_key(out, KEY_OF(route, half_close), route, ACTION_DEPTH);
	print_key(out, KEY_OF(route, send_timeout), route, ACTION_DEPTH);
	print_key(out, KEY_OF(route, min_send_rate), route, ACTION_DEPTH);
	print_route_logs(out, c, route);
	if (route->action->has_policy)
		print_policy(out, route);
}

static void print_rights(FILE *out, const struct config *c,
			 const struct config_address *a, unsigned depth)
{
	const struct config_rights *r = config_rights_of(c, a);
	const char *const values[] = { r ? r->mode : "", r ? r->owner : "",
				       r ? r->group : "" };
	static const char *const names[] = { "mode", "owner", "group" };

	for (size_t i = 0; i < COUNT(names); i++) {
		if (values[i][0] == '\0')
			continue;
		print_indent(out, depth);
		print_text(out, names[i], slice_of(values[i]));
	}
}

void print_addresses(FILE *out, const struct config_addresses *t, unsigned depth)
{
	for (unsigned i = 0; i < t->text_n; i++) {
		print_indent(out, depth);
		fputs("- \"", out);
		print_quoted(out, slice_of(t->texts[i]));
		fputs("\"\n", out);
	}
}

/* The two sockets of a port without host are printed as one entry. */
static void print_versions(FILE *out, const struct config_address *a)
{
	if (a->http2)
		fprintf(out, INDENT INDENT "http: [%s]\n", a->http1 ? "2, 1.1" : "2");
}

static void print_listen(FILE *out, const struct config *c,
			 const struct config_address *a)
{
	if (a->half == CONFIG_HALF_IPV6)
		return;
	fputs(INDENT "- ", out);
	print_text(
		out, "address",
		slice_of(a->half == CONFIG_HALF_IPV4 ? strrchr(a->text, ':') : a->text));
	if (a->paths_strict)
		fputs(INDENT INDENT "paths: strict\n", out);
	print_versions(out, a);
	if (a->proxy_protocol) {
		fputs(INDENT INDENT "proxy_protocol:\n" INDENT INDENT INDENT "from:\n", out);
		print_addresses(out, a->proxy_protocol, 4);
	}
	print_rights(out, c, a, 2);
	if (c->listen_tls[a - c->listens])
		print_tls(out, c->listen_tls[a - c->listens], 2);
}

static void print_listens(FILE *out, const struct config *c)
{
	fputs("listen:\n", out);
	for (unsigned i = 0; i < c->listen_n; i++) {
		print_listen(out, c, &c->listens[i]);
	}
	if (c->has_admin && config_rights_of(c, &c->admin)) {
		fputs("admin:\n" INDENT, out);
		print_text(out, "address", slice_of(c->admin.text));
		print_rights(out, c, &c->admin, 1);
	} else if (c->has_admin) {
		print_text(out, "admin", slice_of(c->admin.text));
	}
	if (c->has_control)
		print_text(out, "control", slice_of(c->control.text));
}

static void print_groups(FILE *out, const struct config *c)
{
	if (c->group_n > 0)
		fputs("addresses:\n", out);
	for (unsigned i = 0; i < c->group_n; i++) {
		fprintf(out, INDENT "%s:\n", c->groups[i].name);
		print_addresses(out, c->groups[i].list, 2);
	}
}

static void print_trust(FILE *out, const struct config_addresses *t)
{
	if (t->text_n > 0)
		fputs("trusted_proxies:\n", out);
	print_addresses(out, t, 1);
}

static void print_resolver(FILE *out, const struct config_resolver *r)
{
	if (r->off) {
		fputs("resolver: off # a change requires an upgrade or a restart\n", out);
		return;
	}
	fputs("resolver:\n" INDENT "servers: ", out);
	if (r->servers) {
		fputs("[\"", out);
		for (const char *at = r->servers; *at; at++)
			fputs(*at == ',' ? "\", \"" : (char[]){ *at, '\0' }, out);
		fputs("\"]\n", out);
	} else {
		fputs("system\n", out);
	}
	print_section(out, &section_resolver, r, 1, PROTOCOL_ANY);
}

static void print_request_id(FILE *out, const struct config_request_id *id)
{
	fputs(id->on ? "request_id:\n" : "request_id: off\n", out);
	if (id->on)
		print_section(out, &section_request_id, id, 1, PROTOCOL_ANY);
}

static void print_tracing(FILE *out, const struct config *c)
{
	const struct config_tracing *t = &c->tracing;

	fputs(t->on ? "tracing:\n" : "tracing: off\n", out);
	if (!t->on)
		return;
	print_section(out, &section_tracing, t, 1, PROTOCOL_ANY);
	fprintf(out, INDENT "sample: %.10g%%\n", t->sample / 1e4);
	if (!t->export.on)
		return;
	fputs(INDENT "export:\n" INDENT INDENT, out);
	print_text(out, "upstream", slice_of(c->upstreams[t->export.upstream].name));
	print_section(out, &section_export, &t->export, 2, PROTOCOL_ANY);
}

void config_print(const struct config *c, FILE *out)
{
	references = c->references;
	print_section(out, &section_top, c, 0, PROTOCOL_ANY);
	print_listens(out, c);
	print_logs(out, c);
	print_error_logs(out, c);
	print_request_id(out, &c->request_id);
	print_tracing(out, c);
	print_resolver(out, &c->resolver);
	print_groups(out, c);
	print_trust(out, &c->trust);
	fputs("certificates:\n", out);
	print_section(out, &section_certificates, c, 1, PROTOCOL_ANY);
	fputs(c->upstream_n > 0 ? "upstreams:\n" : "upstreams: {}\n", out);
	for (unsigned i = 0; i < c->upstream_n; i++)
		print_upstream(out, &c->upstreams[i]);
	fputs("routes:\n", out);
	for (unsigned i = 0; i < c->route_n; i++)
		print_route(out, c, &c->routes[i]);
	fputs("limits:\n", out);
	print_section(out, &section_limits, &c->limits, 1, PROTOCOL_ANY);
	references = NULL;
}
