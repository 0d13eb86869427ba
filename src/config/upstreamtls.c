/* Reads `tls` of an upstream. */
#include "config/upstreamtls.h"

#include <stdlib.h>
#include <string.h>

#include "base/ip.h"
#include "contents.h"
#include "http/host.h"
#include "reader.h"
#include "value.h"

#define PINS_FORM "'pins: [sha256/BASE64]'"
#define PIN_PREFIX "sha256/"
#define PIN_BASE64 44 /* of 32 bytes */

/* ---- names ------------------------------------------------------------------- */

/* The brackets of an IPv6 address, and the dot at the end of a name, are no part of it. */
static struct slice name_bare(struct slice name)
{
	if (name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']')
		return (struct slice){ name.ptr + 1, name.len - 2 };
	if (name.len > 1 && name.ptr[name.len - 1] == '.')
		name.len--;
	return name;
}

/* In lower case. Empty: it is neither a host name nor an address. */
static struct slice name_copy(struct config_reader *r, struct slice name)
{
	char *copy = arena_alloc(r->memory, name.len + HOST_GROWTH + 1);

	name = name_bare(name);
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!letter && !(c >= '0' && c <= '9') && !strchr("-._:", c))
			return SLICE("");
		copy[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	return (struct slice){ copy, name.len < CONFIG_TLS_NAME_MAX ? name.len : 0 };
}

/* `_https._tcp.example.com` is a service of example.com. */
static struct slice service_domain(struct slice name)
{
	while (name.len > 0 && name.ptr[0] == '_') {
		const char *dot = memchr(name.ptr, '.', name.len);

		name = slice_after(name, dot ? (size_t)(dot + 1 - name.ptr) : name.len);
	}
	return name;
}

/* The host of a server as configured; empty: a unix socket. */
static struct slice host_of(const struct config_server *s)
{
	struct slice text = slice_of(s->address);
	const char *colon;

	if (slice_starts(text, SLICE("unix:")))
		return SLICE("");
	if (slice_starts(text, SLICE("srv:")))
		return service_domain(slice_after(text, strlen("srv:")));
	colon = memrchr(text.ptr, ':', text.len);
	return (struct slice){ text.ptr, colon ? (size_t)(colon - text.ptr) : text.len };
}

static bool is_word(const struct node *n, const char *word)
{
	return n->kind == NODE_SCALAR && slice_equal(n->text, slice_of(word));
}

static void name_read(struct config_reader *r, const struct node *n, const char *form,
		      struct slice *name)
{
	if (!scalar_check(r, n, form) || is_word(n, "auto"))
		return;
	*name = name_copy(r, n->text);
	if (name->len == 0)
		report_error(&r->report, n->at,
			     "'%.*s' is not the name of a host; write %s",
			     REPORT_ARG(n->text), form);
}

static bool name_is_address(struct slice name)
{
	struct ip unused;

	return ip_parse(&unused, name);
}

static void sni_read(struct config_reader *r, const struct node *n,
		     struct config_upstream_tls *t)
{
	static const char form[] = "'sni: auto', 'sni: off' or 'sni: NAME'";

	t->sni_off = n->kind == NODE_SCALAR && value_is_off(n->text);
	if (t->sni_off)
		return;
	name_read(r, n, form, &t->sni);
	if (name_is_address(t->sni))
		report_error(&r->report, n->at,
			     "'%.*s' is an address, which SNI cannot have; write %s",
			     REPORT_ARG(n->text), form);
}

/* ---- pins -------------------------------------------------------------------- */

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* False: it is not the base64 of 32 bytes. */
static bool pin_decode(struct slice text, uint8_t pin[CONFIG_DIGEST_BYTES])
{
	uint32_t bits = 0;
	unsigned n = 0;

	if (text.len != PIN_BASE64 || text.ptr[PIN_BASE64 - 1] != '=')
		return false;
	for (unsigned i = 0; i < PIN_BASE64 - 1; i++) {
		int digit = base64_digit(text.ptr[i]);

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		if (i % 4 > 0)
			pin[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	return n == CONFIG_DIGEST_BYTES && (bits & 3) == 0;
}

static void pins_read(struct config_reader *r, const struct node *list,
		      struct config_upstream_tls *t)
{
	static const struct slice prefix = SLICE(PIN_PREFIX);
	uint8_t(*pins)[CONFIG_DIGEST_BYTES];
	struct slice *texts;

	if (list->kind == NODE_LIST && list->child_n == 0)
		return;
	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, CONFIG_PINS_MAX, PINS_FORM))
		return;
	pins = arena_alloc(r->memory, list->child_n * sizeof(pins[0]));
	texts = arena_alloc(r->memory, list->child_n * sizeof(texts[0]));
	for (const struct node *n = list->children; n; n = n->next) {
		if (!scalar_check(r, n, PIN_PREFIX "BASE64"))
			continue;
		if (slice_starts(n->text, prefix) &&
		    pin_decode(slice_after(n->text, prefix.len), pins[t->pin_n]))
			texts[t->pin_n++] = slice_of(arena_text(r->memory, n->text));
		else
			report_error(&r->report, n->at,
				     "'%.*s' is not a pin; write " PIN_PREFIX
				     "BASE64, of the SHA-256 of a public key",
				     REPORT_ARG(n->text));
	}
	t->pins = (const uint8_t(*)[CONFIG_DIGEST_BYTES])pins;
	t->pin_texts = texts;
}

/* ---- the settings ------------------------------------------------------------ */

static void issuers_read(struct config_reader *r, const struct node *map,
			 const struct node *n, struct config_upstream_tls *t)
{
	t->ca_system = !n || is_word(n, "system");
	if (t->verify)
		t->ca = t->ca_system ? file_of_system(r, n ? n : map)
				     : file_read(r, n, "'ca: system' or 'ca: FILE'");
}

static void unverified_check(struct config_reader *r, const struct section_values *values,
			     const struct config_upstream *u)
{
	static const enum key_id idle[] = { KEY_upstream_tls_ca, KEY_upstream_tls_pins };
	const struct node *verify = values->of[KEY_upstream_tls_verify];

	report_warning(
		&r->report, verify->at,
		"the certificates of '%s' are not verified, so that others can read and "
		"change its traffic; write 'ca: FILE' with their issuer instead",
		u->name);
	for (size_t i = 0; i < COUNT(idle); i++)
		if (values->of[idle[i]])
			report_error(
				&r->report, values->of[idle[i]]->key->at,
				"'%s' has no effect with 'verify: off'; remove one of the two",
				node_name(values->of[idle[i]]));
}

static void digest_set(const struct config_upstream *u, struct config_upstream_tls *t)
{
	static const struct slice none = SLICE("");
	const uint8_t flags[] = { t->verify,           t->sni_off,
				  t->resume,           (uint8_t)t->min_version,
				  (uint8_t)t->records, u->protocol == CONFIG_HTTP,
				  t->ca != NULL,       t->pair != NULL,
				  (uint8_t)t->pin_n,   (uint8_t)t->sni.len };
	const struct slice parts[] = {
		{ (const char *)flags, sizeof(flags) },
		t->ca ? (struct slice){ (const char *)t->ca->digest, CONFIG_DIGEST_BYTES }
		      : none,
		t->pair ? (struct slice){ (const char *)t->pair->digest,
					  CONFIG_DIGEST_BYTES }
			: none,
		{ (const char *)t->pins, t->pin_n * sizeof(t->pins[0]) },
		t->sni,
	};

	tls_digest(parts, COUNT(parts), t->digest);
}

/* What only the library knows. Upstreams with the same settings are checked once. Issuers that
 * cannot be used leave the previous ones in force. */
static void context_check(struct config_reader *r, const struct node *n,
			  const struct node *ca, const struct config_upstream *u)
{
	struct config_upstream_tls *t = u->tls;
	struct tls_context *context;
	char error[512], key[sizeof("tls ") + CONFIG_DIGEST_BYTES] = "tls ";
	struct slice key_slice = { key, sizeof(key) };

	memcpy(key + sizeof("tls "), t->digest, CONFIG_DIGEST_BYTES);
	if (stored_find(r, key_slice))
		return;
	context = config_upstream_context(u, error, sizeof(error));
	if (!context && file_revert(r, ca ? ca : n, t->ca, error)) {
		digest_set(u, t);
		memcpy(key + sizeof("tls "), t->digest, CONFIG_DIGEST_BYTES);
		context = config_upstream_context(u, error, sizeof(error));
	}
	if (!context)
		report_error(&r->report, node_pos(n),
			     "TLS to the servers cannot be set up (%s); check 'ca' and "
			     "'certificate'",
			     error);
	tls_context_unref(context);
	stored_put(r, key_slice, r);
}

static void settings_read(struct config_reader *r, const struct node *n,
			  const struct node *map, struct config_upstream *u)
{
	struct config_upstream_tls *t = arena_alloc(r->memory, sizeof(*t));
	unsigned errors = r->report.n;
	struct section_values values;

	if (!section_read(r, map, &section_upstream_tls, t, &values))
		return;
	issuers_read(r, n, values.of[KEY_upstream_tls_ca], t);
	if (values.of[KEY_upstream_tls_name])
		name_read(r, values.of[KEY_upstream_tls_name],
			  "'name: auto' or 'name: NAME'", &t->name);
	if (values.of[KEY_upstream_tls_sni])
		sni_read(r, values.of[KEY_upstream_tls_sni], t);
	if (values.of[KEY_upstream_tls_certificate] &&
	    !is_word(values.of[KEY_upstream_tls_certificate], "none"))
		t->pair = pair_read(r, values.of[KEY_upstream_tls_certificate],
				    &t->certificate);
	if (values.of[KEY_upstream_tls_pins])
		pins_read(r, values.of[KEY_upstream_tls_pins], t);
	if (!t->verify)
		unverified_check(r, &values, u);
	u->tls = t;
	if (r->report.n > errors)
		return;
	digest_set(u, t);
	if (!r->contents->replayed)
		context_check(r, n, values.of[KEY_upstream_tls_ca], u);
}

void upstream_tls_read(struct config_reader *r, const struct node *n,
		       struct config_upstream *u)
{
	if (!n || (n->kind == NODE_SCALAR && value_is_off(n->text)))
		return;
	if (n->kind == NODE_MAP)
		settings_read(r, n, n, u);
	else if (is_word(n, "true") || is_word(n, "on") || is_word(n, "yes"))
		settings_read(r, n, NULL, u);
	else
		report_error(
			&r->report, n->at,
			"'tls' takes true, off or a map; write 'tls: true', or 'tls: { ca: "
			"FILE }'");
}

void upstream_tls_names(struct config_reader *r, const struct node *n,
			struct config_upstream *u)
{
	const struct config_upstream_tls *t = u->tls;

	for (unsigned i = 0; t && i < u->server_n; i++) {
		struct config_server *s = &u->servers[i];
		struct slice name = t->name;

		if (name.len == 0 && s->address)
			name = name_copy(r, host_of(s));
		s->tls_name = arena_text(r->memory, name);
		if (name.len > 0 || !t->verify || !s->address)
			continue;
		report_error(
			&r->report, node_pos(n),
			"'%.*s' has no host name that its certificate could have; write "
			"'tls: { name: NAME }'",
			REPORT_ARG(slice_of(s->address)));
	}
}

/* ---- the context ------------------------------------------------------------- */

struct tls_context *config_upstream_context(const struct config_upstream *u, char *error,
					    size_t error_size)
{
	const struct config_upstream_tls *t = u->tls;
	struct tls_pair pair;

	if (t->pair)
		pair = (struct tls_pair){ slice_of(t->pair->chain_path), t->pair->chain,
					  t->pair->key };
	return tls_client_context(
		&(struct tls_client_options){
			.name = slice_of(u->name),
			.verify = t->verify,
			.ca = t->ca ? t->ca->bytes : SLICE(""),
			.ca_name = t->ca ? slice_of(t->ca->path) : SLICE(""),
			.pair = t->pair ? &pair : NULL,
			.pins = t->pins,
			.pins_n = t->pin_n,
			.min_version = t->min_version,
			.resume = t->resume,
			.no_sni = t->sni_off,
			.protocols = { u->protocol == CONFIG_HTTP ? TLS_HTTP_1_1
								  : TLS_NO_PROTOCOL },
			.records = t->records,
			.keylog_fd = -1,
		},
		error, error_size);
}

static struct slice digest_slice(const struct config_upstream_tls *t)
{
	return (struct slice){ (const char *)t->digest, CONFIG_DIGEST_BYTES };
}

static void contexts_index(const struct config *c, struct names *made)
{
	for (unsigned i = 0; c && i < c->upstream_n; i++) {
		struct config_upstream_tls *t = c->upstreams[i].tls;

		if (t && t->context && !names_find(made, digest_slice(t)))
			names_put(made, &t->by_digest, digest_slice(t));
	}
}

static bool context_take(const struct config_upstream *u, struct names *made, char *error,
			 size_t error_size)
{
	struct names_entry *e = names_find(made, digest_slice(u->tls));

	if (e) {
		u->tls->context = tls_context_ref(
			CONTAINER(e, struct config_upstream_tls, by_digest)->context);
		return true;
	}
	u->tls->context = config_upstream_context(u, error, error_size);
	if (u->tls->context)
		names_put(made, &u->tls->by_digest, digest_slice(u->tls));
	return u->tls->context;
}

bool config_upstream_contexts(struct config *c, struct config *previous, char *error,
			      size_t error_size)
{
	struct names made = { 0 };
	bool all = true;

	contexts_index(previous, &made);
	for (unsigned i = 0; i < c->upstream_n && all; i++)
		if (c->upstreams[i].tls)
			all = context_take(&c->upstreams[i], &made, error, error_size);
	names_done(&made);
	return all;
}

void config_upstream_contexts_drop(struct config *c)
{
	for (unsigned i = 0; i < c->upstream_n; i++) {
		struct config_upstream_tls *t = c->upstreams[i].tls;

		if (t)
			tls_context_unref(t->context);
		if (t)
			t->context = NULL;
	}
}
