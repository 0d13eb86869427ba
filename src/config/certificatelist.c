/* What `fairlead -t` says of the certificates of listeners and upstreams: their names, when they
 * expire, and which names two of them have. */
#include "config/tls.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/names.h"
#include "config/arena.h"
#include "config/upstreamtls.h"

#define DAY_S 86400
#define SOON_DAYS 14

/* A name that a certificate of the listener serves. */
struct served_name {
	struct names_entry entry;
	const struct config_pair *pair;
	bool ecdsa;
};

struct certificate_list {
	const struct config *config;
	const char *owner; /* the address of a listener, or an upstream */
	FILE *out, *errors;
	struct names names; /* struct served_name, in scratch memory */
	struct arena scratch;
	int64_t now_s;
	const struct config_pair *warned[2]; /* the last two that serve the same name */
};

void config_date(int64_t seconds, char text[CONFIG_DATE_BYTES])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(text, CONFIG_DATE_BYTES, "%Y-%m-%d", &tm) == 0)
		snprintf(text, CONFIG_DATE_BYTES, "?");
}

bool config_expires_within(int64_t not_before, int64_t not_after, int64_t now_s,
			   unsigned days)
{
	int64_t rest = not_after - now_s, lifetime = not_after - not_before;

	return rest <= (int64_t)days * DAY_S && (int64_t)days * DAY_S * 3 < lifetime;
}

/* Once for two certificates, by their first common name. */
static void warn_name(struct certificate_list *l, const struct served_name *a,
		      const struct served_name *b)
{
	if (l->warned[0] == a->pair && l->warned[1] == b->pair)
		return;
	l->warned[0] = a->pair;
	l->warned[1] = b->pair;
	fprintf(l->errors,
		"%s: warning: %s: %s and %s both serve %.*s; the one that expires last is used, so "
		"remove the other\n",
		l->config->file, l->owner, a->pair->chain_path, b->pair->chain_path,
		SLICE_ARG(b->entry.name));
}

/* An ECDSA and an RSA certificate may have the same names: clients get the one they support. */
static void add_name(struct certificate_list *l, const struct config_pair *pair,
		     bool ecdsa, struct slice name)
{
	const struct names_entry *found = names_find(&l->names, name);
	const struct served_name *other =
		found ? CONTAINER(found, struct served_name, entry) : NULL;
	struct served_name *served = arena_alloc(&l->scratch, sizeof(*served));

	*served = (struct served_name){ .pair = pair, .ecdsa = ecdsa };
	names_put(&l->names, &served->entry,
		  (struct slice){ arena_text(&l->scratch, name), name.len });
	if (other && other->pair != pair && other->ecdsa == ecdsa)
		warn_name(l, other, served);
}

static void print_names(FILE *out, const struct tls_certificate *c)
{
	for (size_t i = 0; i < c->names_n; i++)
		fprintf(out, "%s%s", i > 0 ? ", " : "", c->names[i]);
	if (c->names_n == 0)
		fputs("no name", out);
}

static void warn_expiry(struct certificate_list *l, const struct config_pair *pair,
			const struct tls_certificate *c, const char *date)
{
	const char *what = NULL;

	if (c->not_before > l->now_s)
		what = "is not valid yet; check the clock, or use another certificate: it expires";
	else if (c->not_after <= l->now_s)
		what = "has expired, so clients refuse it; replace it: it expired";
	else if (config_expires_within(c->not_before, c->not_after, l->now_s, SOON_DAYS))
		what = "expires soon; replace it: it expires";
	if (what)
		fprintf(l->errors, "%s: warning: %s: %s %s on %s\n", l->config->file,
			l->owner, pair->chain_path, what, date);
}

static void list_pair(struct certificate_list *l, const struct config_pair *pair)
{
	struct tls_pair bytes = { .name = slice_of(pair->chain_path),
				  .chain = pair->chain,
				  .key = pair->key };
	struct tls_certificate *c;
	char error[512], date[CONFIG_DATE_BYTES];

	if (!tls_certificate_read(&bytes, &c, error, sizeof(error)))
		return; /* it was read before */
	config_date(c->not_after, date);
	fprintf(l->out, "%s: %s: ", l->owner, pair->chain_path);
	print_names(l->out, c);
	fprintf(l->out, " (%s, until %s)\n", c->ecdsa ? "ECDSA" : "RSA", date);
	warn_expiry(l, pair, c, date);
	for (size_t i = 0; i < c->names_n; i++)
		add_name(l, pair, c->ecdsa, slice_of(c->names[i]));
	tls_certificate_free(c);
}

static void list_done(struct certificate_list *l)
{
	names_done(&l->names);
	arena_free(&l->scratch);
}

static void list_upstream(struct certificate_list l, const struct config_upstream *u)
{
	char owner[CONFIG_NAME_MAX + 16];

	snprintf(owner, sizeof(owner), "upstream %s", u->name);
	l.owner = owner;
	list_pair(&l, u->tls->pair);
	list_done(&l);
}

void config_list_certificates(const struct config *c, FILE *out, FILE *errors)
{
	const struct certificate_list empty = {
		.config = c, .out = out, .errors = errors, .now_s = time(NULL)
	};

	for (unsigned i = 0; i < c->tls_n; i++) {
		struct certificate_list l = empty;

		l.owner = c->tls[i]->name;
		for (unsigned k = 0; k < c->tls[i]->pair_n; k++)
			list_pair(&l, c->tls[i]->pairs[k]);
		list_done(&l);
	}
	for (unsigned i = 0; i < c->upstream_n; i++)
		if (c->upstreams[i].tls && c->upstreams[i].tls->pair)
			list_upstream(empty, &c->upstreams[i]);
}
