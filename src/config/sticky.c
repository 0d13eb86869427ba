/* `sticky` of an upstream: a cookie that keeps a client at its server. */
#include <ctype.h>

#include "reader.h"
#include "tls/digest.h"
#include "value.h"

bool cookie_name_check(struct config_reader *r, const struct node *n)
{
	bool good = n->text.len <= CONFIG_COOKIE_MAX;

	for (size_t i = 0; good && i < n->text.len; i++)
		good = isalnum((unsigned char)n->text.ptr[i]) ||
		       memchr("!#$%&'*+-.^_`|~", n->text.ptr[i], 15);
	if (!good)
		report_error(
			&r->report, n->at,
			"'%.*s' is not the name of a cookie; write 1 to %d letters, digits, "
			"'-' or '_'",
			REPORT_ARG(n->text), CONFIG_COOKIE_MAX);
	return good;
}

/* Of the key, or else of the secret that is made at the start; and of the name, so that the cookies
 * of two upstreams with the same servers say nothing about each other. */
static void secret_make(const struct config *c, struct config_upstream *u)
{
	struct slice key = slice_of(u->sticky.key),
		     made = { (const char *)c->ticket_secret, sizeof(c->ticket_secret) };
	const struct slice parts[] = { SLICE("fairlead sticky\n"), slice_of(u->name),
				       SLICE("\n"), key.len > 0 ? key : made };

	_Static_assert(sizeof(u->sticky.secret) == TLS_DIGEST_BYTES, "a digest");
	tls_digest(parts, COUNT(parts), u->sticky.secret);
}

static void path_check(struct config_reader *r, const struct node *n)
{
	if (n && (n->text.len > CONFIG_COOKIE_PATH_MAX ||
		  (n->text.len > 0 && memchr(n->text.ptr, ';', n->text.len))))
		report_error(
			&r->report, n->at,
			"the Path of a cookie has no ';' and at most %d bytes; write '/'",
			CONFIG_COOKIE_PATH_MAX);
}

void sticky_read(struct config_reader *r, const struct node *n, struct config_upstream *u)
{
	struct config_sticky *s = &u->sticky;
	struct section_values values;
	const struct node *name;

	if (!n || (n->kind == NODE_SCALAR && value_is_off(n->text)) ||
	    (n->inherited && (u->protocol != CONFIG_HTTP || u->balance == CONFIG_HASH)))
		return;
	if (u->protocol != CONFIG_HTTP) {
		report_error(
			&r->report, n->key->at,
			"'sticky' applies to http upstreams, and the protocol of '%s' is "
			"memcached; remove it",
			u->name);
		return;
	}
	if (!section_read(r, n, &section_sticky, s, &values))
		return;
	name = values.of[KEY_sticky_cookie];
	path_check(r, values.of[KEY_sticky_path]);
	if (!name || !scalar_check(r, name, "'cookie: NAME'") ||
	    !cookie_name_check(r, name))
		return;
	if (u->balance == CONFIG_HASH)
		report_error(
			&r->report, n->key->at,
			"'balance: hash' chooses the server already; remove one of the two");
	s->cookie = arena_text(r->memory, name->text);
	s->on = true;
	secret_make(r->config, u);
}
