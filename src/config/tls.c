/* Reads `tls` of a listener. */
#include "config/tls.h"

#include "contents.h"
#include "http/host.h"
#include "reader.h"
#include "value.h"

#define CERTIFICATES_FORM "'certificates: [FILE]'"
#define AUTH_FORM "'client_auth: { ca: FILE }'"
#define TICKETS_FORM "'tickets: auto', 'tickets: off' or 'tickets: { keys: [FILE] }'"
#define KEYS_FORM "'keys: [FILE]'"
#define GROUPS_FORM "'groups: auto' or 'groups: [X25519, P-256]'"
#define NAMES_FORM "'names: [HOST]'"

#define TICKET_KEY_BYTES 80

static bool is_word(const struct node *n, const char *word)
{
	return n->kind == NODE_SCALAR && slice_equal(n->text, slice_of(word));
}

/* ---- certificates ------------------------------------------------------------ */

static void tls_certificates_read(struct config_reader *r, const struct node *n,
				  struct config_tls *t)
{
	struct pair_list list = { NULL, 0 };
	unsigned errors = r->report.n;

	n = list_of(r, n);
	if (!children_check(r, n, NODE_LIST, CONFIG_CERTIFICATES_MAX, CERTIFICATES_FORM))
		return;
	list.all = arena_alloc(&r->scratch,
			       CONFIG_CERTIFICATES_MAX * sizeof(list.all[0]));
	t->certificates = arena_alloc(r->memory, n->child_n * sizeof(t->certificates[0]));
	for (const struct node *e = n->children; e; e = e->next)
		certificates_read(r, e, &list, &t->certificates[t->certificate_n++]);
	if (list.n == 0 && r->report.n == errors)
		report_error(&r->report, node_pos(n),
			     "no certificate can be used; check the files");
	t->pair_n = list.n;
	t->pairs = arena_copy(r->memory, list.all, list.n * sizeof(list.all[0]));
}

/* ---- groups ------------------------------------------------------------------ */

static void groups_read(struct config_reader *r, const struct node *n,
			struct config_tls *t)
{
	if (is_word(n, "auto"))
		return;
	n = list_of(r, n);
	if (!children_check(r, n, NODE_LIST, CONFIG_GROUPS_MAX, GROUPS_FORM))
		return;
	t->groups = arena_alloc(r->memory, n->child_n * sizeof(t->groups[0]));
	for (const struct node *e = n->children; e; e = e->next)
		if (scalar_check(r, e, "X25519"))
			t->groups[t->group_n++] = (struct slice){
				arena_text(r->memory, e->text), e->text.len
			};
}

/* ---- client_auth ------------------------------------------------------------- */

/* HOST or *.HOST, in lower case. False: it is neither. */
static bool policy_name(struct config_reader *r, struct slice text, struct slice *name)
{
	bool wildcard = slice_starts(text, SLICE("*."));
	struct slice host = wildcard ? slice_after(text, 2) : text;
	char *out;
	size_t n;

	if (memchr(host.ptr, ':', host.len) || memchr(host.ptr, '*', host.len) ||
	    !host_valid(host))
		return false;
	out = arena_alloc(r->memory, 2 + host.len + HOST_GROWTH);
	memcpy(out, "*.", 2);
	n = host_normalize(out + 2, host);
	*name = wildcard ? (struct slice){ out, n + 2 } : (struct slice){ out + 2, n };
	return n > 0;
}

static void policy_names_read(struct config_reader *r, const struct node *n,
			      struct config_client_auth *p)
{
	struct slice *names;

	n = list_of(r, n);
	if (!children_check(r, n, NODE_LIST, CONFIG_POLICY_NAMES_MAX, NAMES_FORM))
		return;
	names = arena_alloc(r->memory, n->child_n * sizeof(names[0]));
	for (const struct node *e = n->children; e; e = e->next) {
		if (!scalar_check(r, e, "HOST"))
			continue;
		if (policy_name(r, e->text, &names[p->name_n]))
			p->name_n++;
		else
			report_error(
				&r->report, e->at,
				"'%.*s' is not the name of a host; write HOST or *.HOST "
				"without a port",
				REPORT_ARG(e->text));
	}
	p->names = names;
}

static void policy_read(struct config_reader *r, const struct node *n,
			struct config_client_auth *p)
{
	struct section_values values;

	if (!section_read(r, n, &section_client_auth, p, &values) || !n)
		return;
	if (values.of[KEY_client_auth_names])
		policy_names_read(r, values.of[KEY_client_auth_names], p);
	if (values.of[KEY_client_auth_ca])
		p->ca = file_read(r, values.of[KEY_client_auth_ca], "FILE");
	else if (p->mode != TLS_AUTH_OFF)
		report_error(
			&r->report, node_pos(n),
			"'ca' is missing; write 'ca: FILE' with the issuers of clients' "
			"certificates");
	if (values.of[KEY_client_auth_crl])
		p->crl = file_read(r, values.of[KEY_client_auth_crl], "FILE");
}

static bool have_name(const struct config_client_auth *p, struct slice name)
{
	for (unsigned i = 0; i < p->name_n; i++)
		if (slice_equal(p->names[i], name))
			return true;
	return false;
}

/* Reports names that an earlier policy has. */
static void policy_unique_check(struct config_reader *r, const struct node *n,
				const struct config_tls *t,
				const struct config_client_auth *p)
{
	for (const struct config_client_auth *other = t->policies; other < p; other++)
		for (unsigned i = 0; i < p->name_n; i++)
			if (have_name(other, p->names[i]))
				report_error(&r->report, node_pos(n),
					     "'%.*s' is in two entries of 'client_auth'; "
					     "remove it from one",
					     REPORT_ARG(p->names[i]));
}

static void policies_read_list(struct config_reader *r, const struct node *n,
			       struct config_tls *t)
{
	bool has_default = false;

	for (const struct node *e = n->children; e; e = e->next) {
		struct config_client_auth p = { .mode = TLS_AUTH_OFF };

		policy_read(r, e, &p);
		if (p.name_n > 0) {
			t->policies[t->policy_n++] = p;
			policy_unique_check(r, e, t, &t->policies[t->policy_n - 1]);
			continue;
		}
		if (has_default)
			report_error(
				&r->report, node_pos(e),
				"two entries of 'client_auth' have no 'names'; write "
				"'names: [HOST]' in one of them");
		has_default = true;
		t->policies[0] = p;
	}
}

static void client_auth_read(struct config_reader *r, const struct node *n,
			     struct config_tls *t)
{
	unsigned policy_n = 2; /* the default and that of a map */

	if (n && n->kind == NODE_LIST)
		policy_n = n->child_n + 1;
	t->policies = arena_alloc(r->memory, policy_n * sizeof(t->policies[0]));
	t->policy_n = 1;
	policy_read(r, NULL, &t->policies[0]);
	t->policies[0].mode = TLS_AUTH_OFF;
	if (!n || (n->kind == NODE_SCALAR && value_is_off(n->text)))
		return;
	n = list_of(r, n);
	if (children_check(r, n, NODE_LIST, CONFIG_POLICIES_MAX, AUTH_FORM))
		policies_read_list(r, n, t);
}

/* ---- tickets ----------------------------------------------------------------- */

static void ticket_key_read(struct config_reader *r, const struct node *n,
			    struct config_tls *t)
{
	const struct config_file *f = file_read(r, n, "FILE");

	if (f && f->bytes.len != TICKET_KEY_BYTES &&
	    !file_revert(r, n, f, "it has not 80 bytes"))
		report_error(
			&r->report, n->at,
			"'%s' has %zu bytes instead of 80; run 'openssl rand -out %s 80'",
			f->path, f->bytes.len, f->path);
	if (f)
		t->ticket_keys[t->ticket_key_n++] = f;
}

static void ticket_keys_read(struct config_reader *r, const struct node *n,
			     struct config_tls *t)
{
	n = list_of(r, n);
	if (!children_check(r, n, NODE_LIST, CONFIG_TICKET_KEYS_MAX, KEYS_FORM))
		return;
	t->ticket_keys = arena_alloc(r->memory, n->child_n * sizeof(t->ticket_keys[0]));
	for (const struct node *e = n->children; e; e = e->next)
		ticket_key_read(r, e, t);
}

static void tickets_read(struct config_reader *r, const struct node *n,
			 struct config_tls *t)
{
	bool is_map = n && n->kind == NODE_MAP;
	struct section_values values;

	section_read(r, is_map ? n : NULL, &section_tickets, t, &values);
	if (is_map && values.of[KEY_tickets_keys])
		ticket_keys_read(r, values.of[KEY_tickets_keys], t);
	if (!n || is_map || is_word(n, "auto"))
		return;
	t->tickets_off = n->kind == NODE_SCALAR && value_is_off(n->text);
	if (!t->tickets_off)
		report_error(&r->report, n->at,
			     "'tickets' takes auto, off or a map; write " TICKETS_FORM);
}

/* ---- what only the library knows ---------------------------------------------- */

static void groups_check(struct config_reader *r, const struct node *n,
			 const struct tls_context *context)
{
	struct slice name;

	for (size_t i = 0; tls_context_missing_group(context, i, &name); i++)
		report_warning(&r->report, node_pos(n),
			       "OpenSSL has no group '%.*s', so it is not offered; remove it",
			       REPORT_ARG(name));
}

/* A context with the first certificate and this policy for all names. */
static struct tls_context *policy_context(const struct config_reader *r,
					  const struct config_tls *t,
					  const struct config_client_auth *p, char *error,
					  size_t error_size)
{
	struct config_client_auth policy = *p;
	struct config_tls one = *t;

	policy.name_n = 0;
	one.pair_n = 1;
	one.policy_n = 1;
	one.policies = &policy;
	return config_tls_context(r->config, &one, -1, error, error_size);
}

/* The certificates were checked already, when they were read. Issuers and revocation lists that
 * cannot be used leave the previous ones in force. */
static void context_check(struct config_reader *r, const struct node *n,
			  const struct config_tls *t)
{
	char error[512];

	for (unsigned i = 0; i < t->policy_n; i++) {
		const struct config_client_auth *p = &t->policies[i];
		struct tls_context *context = policy_context(r, t, p, error,
							     sizeof(error));

		if (!context &&
		    (file_revert(r, n, p->crl, error) | file_revert(r, n, p->ca, error)))
			context = policy_context(r, t, p, error, sizeof(error));
		if (!context)
			report_error(&r->report, node_pos(n), "%s", error);
		else if (i == 0)
			groups_check(r, n, context);
		tls_context_unref(context);
	}
}

/* ---- the whole --------------------------------------------------------------- */

struct config_tls *listen_tls_read(struct config_reader *r, const struct node *map,
					 const char *name)
{
	struct config_tls *t = arena_alloc(r->memory, sizeof(*t));
	struct section_values values;
	unsigned errors = r->report.n;

	t->index = r->config->tls_n;
	t->name = name;
	if (!section_read(r, map, &section_tls, t, &values) || !tls_begin(r, map))
		return NULL;
	if (values.of[KEY_tls_certificates])
		tls_certificates_read(r, values.of[KEY_tls_certificates], t);
	if (values.of[KEY_tls_groups])
		groups_read(r, values.of[KEY_tls_groups], t);
	if (t->keylog[0] != '\0') {
		t->keylog_path = contents_path(r, values.of[KEY_tls_keylog]);
		t->keylog = contents_written(r, values.of[KEY_tls_keylog]);
	}
	client_auth_read(r, values.of[KEY_tls_client_auth], t);
	tickets_read(r, values.of[KEY_tls_tickets], t);
	if (r->report.n == errors && !r->contents->replayed)
		context_check(r, map, t);
	return r->report.n == errors ? t : NULL;
}
