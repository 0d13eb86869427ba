#include "reader.h"

#include <ctype.h>

#include "http/lenient.h"
#include "value.h"

#define LENIENT_FORM "'lenient: [lf, folding]'"
#define SERVERS_FORM "'servers: [HOST:PORT, …]'"

/* NODE rows have no protocol in keys.def; `hash` and `via` are for HTTP only. */
static enum key_protocol protocol_of(const struct key *k)
{
	if (k == KEY_OF(upstream, hash) || k == KEY_OF(upstream, via))
		return PROTOCOL_HTTP;
	return k->protocol;
}

/* A key of the upstream or of a server that has no effect with the protocol is an error. */
static void protocol_check(struct config_reader *r, const struct section *s,
			   const struct section_values *values,
			   const struct config_upstream *u)
{
	enum key_protocol other = u->protocol == CONFIG_HTTP ? PROTOCOL_MEMCACHED
							     : PROTOCOL_HTTP;
	bool http = u->protocol == CONFIG_HTTP;

	for (size_t i = 0; i < s->row_n; i++) {
		if (!values->of[i] || values->of[i]->inherited ||
		    protocol_of(&s->rows[i]) != other)
			continue;
		report_error(
			&r->report, values->of[i]->key->at,
			"'%s' applies to %s upstreams, and the protocol of '%s' is %s; "
			"remove it, or write 'protocol: %s'",
			s->rows[i].name.ptr, http ? "memcached" : "http", u->name,
			http ? "http" : "memcached", http ? "memcached" : "http");
	}
}

static void server_name_read(struct config_reader *r, const struct node *n,
			     struct config_server *s)
{
	if (!scalar_check(r, n, "'name: NAME'") ||
	    !suspect_text(r, n, KEY_OF(server, name)))
		return;
	for (size_t i = 0; i < n->text.len; i++) {
		if (isgraph((unsigned char)n->text.ptr[i]) &&
		    n->text.len < CONFIG_NAME_MAX)
			continue;
		report_error(
			&r->report, n->at,
			"invalid server name; use 1 to %d printable ASCII characters "
			"without spaces",
			CONFIG_NAME_MAX - 1);
		return;
	}
	s->name = arena_text(r->memory, n->text);
}

static void server_address_read(struct config_reader *r, const struct node *n,
				const struct config_upstream *u, struct config_server *s)
{
	const char *fault;

	if (!scalar_check(r, n, "HOST:PORT"))
		return;
	fault = lookups_read(r, &(struct server_entry){ s, u->name, n->at }, n->text,
			     u->protocol);
	if (fault) {
		report_error(&r->report, n->at, "%s", fault);
		return;
	}
	if (!s->name)
		s->name = s->address;
}

static void server_read(struct config_reader *r, const struct node *n,
			const struct config_upstream *u, struct config_server *s)
{
	struct section_values values;
	bool is_map = n->kind == NODE_MAP;

	section_read(r, is_map ? n : NULL, &section_server, s, &values);
	protocol_check(r, &section_server, &values, u);
	if (!is_map) {
		server_address_read(r, n, u, s);
		return;
	}
	if (values.of[KEY_server_name])
		server_name_read(r, values.of[KEY_server_name], s);
	if (values.of[KEY_server_address])
		server_address_read(r, values.of[KEY_server_address], u, s);
}

struct slice config_server_name(const struct config_server *s,
				enum config_protocol protocol)
{
	static const struct slice usual = SLICE(":11211");
	struct slice name = slice_of(s->name);

	if (protocol != CONFIG_MEMCACHED || s->name != s->address ||
	    name.len <= usual.len)
		return name;
	if (slice_equal(slice_after(name, name.len - usual.len), usual))
		name.len -= usual.len;
	return name;
}

static void name_unique_check(struct config_reader *r, const struct config_upstream *u,
			      unsigned i, const struct node *n, struct names *all)
{
	struct names_entry *e;
	struct slice name;

	if (!u->servers[i].name) /* invalid, which has been reported */
		return;
	name = config_server_name(&u->servers[i], u->protocol);
	if (names_find(all, name)) {
		report_error(
			&r->report, n->at,
			"server '%.*s' is already in '%s'; remove it, or use another 'name'",
			REPORT_ARG(slice_of(u->servers[i].name)), u->name);
		return;
	}
	e = arena_alloc(&r->scratch, sizeof(*e));
	names_put(all, e, name);
}

static void servers_read(struct config_reader *r, const struct node *list,
			 struct config_upstream *u)
{
	struct names all = { 0 };

	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, CONFIG_SERVERS_MAX, SERVERS_FORM))
		return;
	u->servers = arena_alloc(r->memory, list->child_n * sizeof(u->servers[0]));
	for (const struct node *n = list->children; n; n = n->next) {
		server_read(r, n, u, &u->servers[u->server_n]);
		name_unique_check(r, u, u->server_n, n, &all);
		u->server_n++;
	}
	names_done(&all);
}

/* received-by of Via: a pseudonym or a host (RFC 9110 7.6.3). */
static void via_read(struct config_reader *r, const struct node *n, struct slice *via)
{
	struct slice text = SLICE("fairlead");

	if (n && !scalar_check(r, n, "'via: NAME', or off"))
		return;
	if (n)
		text = n->text;
	if (value_is_off(text))
		return;
	for (size_t i = 0; i < text.len; i++) {
		if ((isalnum((unsigned char)text.ptr[i]) ||
		     strchr("!#$%&'*+-.^_`|~:", text.ptr[i])) &&
		    text.len < CONFIG_NAME_MAX)
			continue;
		report_error(
			&r->report, n->at,
			"invalid name for Via; write at most %d letters, digits, '-' and "
			"'.', or off",
			CONFIG_NAME_MAX - 1);
		return;
	}
	*via = n ? (struct slice){ arena_text(r->memory, text), text.len } : text;
}

static void hash_read(struct config_reader *r, const struct node *n, struct template *t)
{
	if (!template_read(r, n, "'hash: \"${client.address}\"'", t))
		return;
	for (unsigned i = 0; i < t->part_n; i++)
		if (t->parts[i].variable != VARIABLE_NONE)
			return;
	report_error(&r->report, n->at,
		     "'hash' has the same value for all requests; use a variable, as in "
		     "\"${client.address}\"");
}

static void balance_check(struct config_reader *r, const struct node *n,
			  const struct section_values *values,
			  const struct config_upstream *u)
{
	const struct node *hash = values->of[KEY_upstream_hash];
	const struct node *load = values->of[KEY_upstream_hash_balance_factor];

	if (u->balance == CONFIG_HASH) {
		if (!hash)
			report_error(
				&r->report, node_pos(n),
				"'balance: hash' requires the key 'hash'; write 'hash: "
				"\"${client.address}\"'");
		return;
	}
	if (hash && !hash->inherited)
		report_error(
			&r->report, hash->key->at,
			"'hash' has no effect without 'balance: hash'; add that, or remove "
			"it");
	if (u->hash_balance_factor > 0)
		report_error(
			&r->report, load->key->at,
			"'hash_balance_factor' has no effect without 'balance: hash'; add that, or "
			"remove it");
}

/* At least one server must not be a backup. */
static void backup_check(struct config_reader *r, const struct node *list,
			 const struct config_upstream *u)
{
	for (unsigned i = 0; i < u->server_n; i++)
		if (!u->servers[i].backup)
			return;
	report_error(&r->report, list->at,
		     "all servers of '%s' are backups; remove 'backup' from at least one",
		     u->name);
}

static void lenient_unknown(struct config_reader *r, const struct node *n)
{
	char list[256] = "";

	for (unsigned i = 0; i < LENIENTS; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 i == 0 ? "" : i + 1 < LENIENTS ? ", " : " or ",
			 lenient_word((enum lenient)i));
	report_error(&r->report, n->at, "'%.*s' is not a value of 'lenient'; write %s",
		     REPORT_ARG(n->text), list);
}

static void lenient_word_read(struct config_reader *r, const struct node *n,
			      struct config_upstream *u)
{
	if (!scalar_check(r, n, "a word, as in " LENIENT_FORM))
		return;
	for (unsigned i = 0; i < LENIENTS; i++) {
		if (!slice_equal(n->text, slice_of(lenient_word((enum lenient)i))))
			continue;
		if (u->lenient >> i & 1)
			report_error(&r->report, n->at,
				     "'%.*s' is listed twice; remove one of the two",
				     REPORT_ARG(n->text));
		u->lenient |= (uint8_t)(1u << i);
		return;
	}
	lenient_unknown(r, n);
}

static void lenient_read(struct config_reader *r, const struct node *list,
			 struct config_upstream *u)
{
	u->lenient = 1u << LENIENT_COLON;
	if (!list || (list->kind == NODE_LIST && list->child_n == 0))
		return;
	list = list_of(r, list);
	if (u->protocol != CONFIG_HTTP && list->inherited)
		return;
	if (u->protocol != CONFIG_HTTP)
		report_error(
			&r->report, list->key->at,
			"'lenient' applies to http upstreams, and the protocol of '%s' is "
			"memcached; remove it",
			u->name);
	else if (children_check(r, list, NODE_LIST, LENIENTS, LENIENT_FORM))
		for (const struct node *n = list->children; n; n = n->next)
			lenient_word_read(r, n, u);
}

static void upstream_read(struct config_reader *r, const struct node *n,
			  struct config_upstream *u)
{
	struct section_values values;

	if (!section_read(r, n, &section_upstream, u, &values))
		return;
	protocol_check(r, &section_upstream, &values, u);
	health_read(r, values.of[KEY_upstream_health_check], u);
	lenient_read(r, values.of[KEY_upstream_lenient], u);
	upstream_tls_read(r, values.of[KEY_upstream_tls], u);
	sticky_read(r, values.of[KEY_upstream_sticky], u);
	if (values.of[KEY_upstream_servers])
		servers_read(r, values.of[KEY_upstream_servers], u);
	upstream_tls_names(r, values.of[KEY_upstream_tls], u);
	if (u->protocol != CONFIG_HTTP)
		return;
	via_read(r, values.of[KEY_upstream_via], &u->via);
	if (values.of[KEY_upstream_hash])
		hash_read(r, values.of[KEY_upstream_hash], &u->hash);
	if (u->balance != CONFIG_HASH && u->hash_balance_factor > 0 &&
	    values.of[KEY_upstream_hash_balance_factor]->inherited)
		u->hash_balance_factor = 0;
	balance_check(r, n, &values, u);
	if (u->server_n > 0)
		backup_check(r, values.of[KEY_upstream_servers], u);
}

/* Records an invalid upstream, so that its uses are not reported as unknown. */
static void upstream_refuse(struct config_reader *r, const struct node *n)
{
	struct defined_name *name;

	if (n->key->kind != NODE_SCALAR || names_find(&r->upstreams, n->key->text))
		return;
	name = arena_alloc(&r->scratch, sizeof(*name));
	name->node = n;
	name->index = INDEX_REFUSED;
	names_put(&r->upstreams, &name->entry, n->key->text);
}

static void named_upstream_read(struct config_reader *r, const struct node *n)
{
	struct config *c = r->config;
	struct config_upstream *u = &c->upstreams[c->upstream_n];
	struct defined_name *name = name_define(r, &r->upstreams, n);

	if (!name) {
		upstream_refuse(r, n);
		return;
	}
	u->name = arena_text(r->memory, n->key->text);
	u->index = name->index = c->upstream_n++;
	upstream_read(r, n, u);
}

void upstreams_unused(struct config_reader *r)
{
	const struct config *c = r->config;

	for (unsigned i = 0; i < c->upstream_n && !r->report.no_warnings; i++) {
		struct names_entry *e = names_find(&r->upstreams, slice_of(c->upstreams[i].name));
		const struct defined_name *name = CONTAINER(e, struct defined_name,
							    entry);

		if (!name->used)
			report_warning(
				&r->report, name->node->key->at,
				"no route uses '%s'; use it in a route, or remove it",
				c->upstreams[i].name);
	}
}

void upstreams_read(struct config_reader *r, const struct node *map)
{
	struct config *c = r->config;

	if (map->kind == NODE_MAP && map->child_n == 0)
		return;
	r->upstreams_refused =
		!children_check(r, map, NODE_MAP, CONFIG_UPSTREAMS_MAX,
				"'upstreams: { NAME: { servers: [HOST:PORT] } }'");
	if (r->upstreams_refused)
		return;
	c->upstreams = arena_alloc(r->memory, map->child_n * sizeof(c->upstreams[0]));
	for (const struct node *n = map->children; n; n = n->next)
		named_upstream_read(r, n);
}
