/* Contents of files in a configuration: certificates, issuers, keys of tickets; what happens to
 * those that cannot be used; watching. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/tls.h"
#include "lib/tlsfiles.h"
#include "tls/digest.h"

#define FILE_NAME "some.yaml"
#define HEAD "listen: [{ address: 127.0.0.1:8080, tls: "
#define REST                                               \
	" }]\n"                                            \
	"upstreams: { app: { servers: [127.0.0.1:1] } }\n" \
	"routes: [{ prefix: /, proxy: { upstream: app } }]\n"
#define TLS(map) HEAD map REST

static char *messages; /* of the last reading */

static void messages_free(void)
{
	free(messages);
	messages = NULL;
}

/* NULL: refused. */
static struct config *read_after(const char *text, const struct config *previous)
{
	struct config_options how = { .previous = previous ? previous->snapshot
							   : SLICE("") };
	size_t size;
	FILE *errors;
	struct config *c;

	messages_free();
	tls_file_write(FILE_NAME, slice_of(text));
	errors = open_memstream(&messages, &size);
	c = config_read_with(FILE_NAME, &how, errors);
	fclose(errors);
	return c;
}

static struct config *read_good(const char *text)
{
	struct config *c = read_after(text, NULL);

	if (!c || messages[0])
		fail_msg("%s", messages);
	return c;
}

static enum config_contents look(const struct config *current, struct config **next)
{
	size_t size;
	FILE *errors;
	enum config_contents found;

	messages_free();
	errors = open_memstream(&messages, &size);
	found = config_read_contents(current, next, errors);
	fclose(errors);
	return found;
}

static void write_pair(const char *name, const char *san, int from_days, int to_days)
{
	struct slice text = tls_file_pair(san, from_days, to_days);

	tls_file_write(name, text);
	free((void *)(uintptr_t)text.ptr);
}

static bool same_pair(const struct config *a, const struct config *b)
{
	return slice_equal(a->tls[0]->pairs[0]->chain, b->tls[0]->pairs[0]->chain) &&
	       slice_equal(a->tls[0]->pairs[0]->key, b->tls[0]->pairs[0]->key);
}

static struct tls_context *context_of(const struct config *c)
{
	char error[512];
	struct tls_context *context = config_tls_context(c, c->tls[0], -1, error,
							 sizeof(error));

	if (!context)
		fail_msg("%s", error);
	return context;
}

static void assert_no_change(const struct config *c);

/* ---- reading ------------------------------------------------------------------ */

static void test_forms(void **state)
{
	struct config *c = read_good(
		"listen:\n"
		"  - { address: 8443, tls: { certificates: [site.pem, { chain: chain.pem, "
		"key: key.pem }, pems, site.pem] } }\n"
		"  - 127.0.0.1:8080\n"
		"  - { address: 127.0.0.1:8444, tls: { certificates: pems, default: none,\n"
		"      client_auth: [{ names: [a.test, '*.B.test'], ca: ca.pem, crl: crl.pem,\n"
		"                      mode: optional, forward: chain }],\n"
		"      tickets: { keys: [ticket.key], lifetime: 1h }, min_version: 1.3 } }\n"
		"upstreams: { app: { servers: [127.0.0.1:1] } }\n"
		"routes: [{ prefix: /, proxy: { upstream: app } }]\n");
	const struct config_tls *t = c->tls[0];
	const struct config_client_auth *p = &c->tls[1]->policies[1];

	(void)state;
	assert_int_equal(c->tls_n, 2);
	assert_int_equal(c->listen_n, 4);
	assert_ptr_equal(c->listen_tls[0], t);
	assert_ptr_equal(c->listen_tls[1], t); /* the IPv6 half */
	assert_null(c->listen_tls[2]);
	assert_ptr_equal(c->listen_tls[3], c->tls[1]);
	assert_int_equal(c->tls[1]->index, 1);
	assert_int_equal(t->pair_n, 5);
	assert_ptr_equal(t->pairs[0], t->pairs[4]);
	assert_string_equal(t->pairs[1]->chain_path, "chain.pem");
	assert_string_equal(t->pairs[1]->key_path, "key.pem");
	assert_string_equal(t->pairs[2]->chain_path, "pems/a.pem");
	assert_ptr_equal(t->pairs[3], c->tls[1]->pairs[1]);
	assert_int_equal(t->policy_n, 1);
	assert_int_equal(t->policies[0].mode, TLS_AUTH_OFF);
	assert_int_equal(c->tls[1]->policy_n, 2);
	assert_int_equal(c->tls[1]->policies[0].mode, TLS_AUTH_OFF);
	assert_int_equal(p->mode, TLS_AUTH_OPTIONAL);
	assert_int_equal(p->forward, CONFIG_FORWARD_CHAIN);
	assert_true(slice_equal(p->names[1], SLICE("*.b.test")));
	assert_string_equal(p->ca->text, "ca.pem");
	assert_true(p->crl->bytes.len > 0);
	assert_int_equal(c->tls[1]->ticket_lifetime_ms, 3600000);
	assert_int_equal(c->tls[1]->ticket_keys[0]->bytes.len, 80);
	config_free(c);
}

/* Paths are relative to the folder of the file. */
static void test_relative(void **state)
{
	struct config *c;
	size_t size;
	FILE *errors;

	(void)state;
	messages_free();
	tls_file_write("pems/" FILE_NAME,
		       SLICE(TLS("{ certificates: [a.pem, ../site.pem] }")));
	errors = open_memstream(&messages, &size);
	c = config_read("pems/" FILE_NAME, errors);
	fclose(errors);
	assert_string_equal(messages, "");
	assert_string_equal(c->tls[0]->pairs[0]->chain_path, "pems/a.pem");
	config_free(c);
	unlink("pems/" FILE_NAME);
}

static const char everything[] = TLS(
	"{ certificates: [site.pem, pems, { chain: chain.pem, key: key.pem }], "
	"groups: [X25519, P-256], record_size: 4KiB, records: openssl, keylog: k.log,\n"
	"  client_auth: [{ ca: ca.pem }, { names: [b.test], mode: off }], "
	"tickets: { keys: ticket.key } }");

static char *printed(const struct config *c)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	config_print(c, out);
	fclose(out);
	return text;
}

static void assert_same(const struct config *a, const struct config *b)
{
	char *text = printed(a), *again = printed(b);

	assert_string_equal(text, again);
	assert_true(config_tls_equal(a, a->tls[0], b, b->tls[0]));
	assert_true(same_pair(a, b));
	assert_int_equal(a->refused_n, b->refused_n);
	free(text);
	free(again);
}

/* Everything comes from the snapshot, also when the files are not there. */
static void test_snapshot(void **state)
{
	struct config *c = read_good(everything), *again;

	(void)state;
	assert_int_equal(rename("site.pem", "gone"), 0);
	assert_int_equal(rename("pems", "gone2"), 0);
	again = config_read_snapshot(c->snapshot, stderr);
	assert_non_null(again);
	assert_same(c, again);
	tls_context_unref(context_of(again));
	config_free(again);
	assert_int_equal(rename("gone", "site.pem"), 0);
	assert_int_equal(rename("gone2", "pems"), 0);
	config_free(c);
}

static void test_snapshot_cut(void **state)
{
	FILE *nowhere = fopen("/dev/null", "w");
	struct config *c = read_good(TLS("{ certificates: [site.pem, pems], "
					 "client_auth: { ca: ca.pem } }"));

	(void)state;
	for (size_t n = 0; n < c->snapshot.len; n += n % 7 + 1)
		config_free(config_read_snapshot((struct slice){ c->snapshot.ptr, n },
						 nowhere));
	fclose(nowhere);
	config_free(c);
}

static void test_print(void **state)
{
	struct config *c = read_good(everything), *again;
	char *text = printed(c), *twice;

	(void)state;
	again = read_good(text);
	twice = printed(again);
	assert_string_equal(text, twice);
	free(text);
	free(twice);
	config_free(again);
	config_free(c);
}

static void test_exposed(void **state)
{
	struct config *c;

	(void)state;
	assert_int_equal(chmod("key.pem", 0644), 0);
	assert_int_equal(chmod("chain.pem", 0644), 0);
	c = read_after(TLS("{ certificates: { chain: chain.pem, key: key.pem } }"), NULL);
	assert_string_equal(messages, FILE_NAME
			    ":1:67: warning: all users can read the private key in "
			    "'key.pem'; run 'chmod o-r key.pem'\n");
	config_free(c);
	assert_int_equal(chmod("key.pem", 0640), 0);
	config_free(
		read_good(TLS("{ certificates: { chain: chain.pem, key: key.pem } }")));
	assert_int_equal(chmod("key.pem", 0600), 0);
}

/* A group that the library does not have is left out. */
static void test_groups(void **state)
{
	struct config *c = read_after(
		TLS("{ certificates: site.pem, groups: [X25519, nonsense] }"), NULL);

	(void)state;
	assert_string_equal(messages,
			    FILE_NAME ":1:37: warning: OpenSSL has no group 'nonsense', so it is "
				      "not offered; remove it\n");
	config_free(c);
}

/* ---- what cannot be used ------------------------------------------------------- */

static void make_noise(void)
{
	tls_file_write("now.pem", SLICE("noise\n"));
}

static void make_missing(void)
{
	unlink("now.pem");
}

static void make_expired(void)
{
	write_pair("now.pem", "DNS:site.test", -30, -1);
}

static void make_future(void)
{
	write_pair("now.pem", "DNS:site.test", 2, 30);
}

static void make_empty(void)
{
	tls_file_write("now.pem", SLICE(""));
}

static void make_fifo(void)
{
	unlink("now.pem");
	assert_int_equal(mkfifo("now.pem", 0600), 0);
}

static const struct refused_row {
	void (*make)(void);
	const char *reason;
	bool at_start; /* it may be used if there is no other */
} refused_rows[] = {
	{ make_noise, "no certificate in the file", false },
	{ make_missing, "cannot be read (No such file or directory)", false },
	{ make_expired, "now.pem has expired; use its successor", true },
	{ make_future, "now.pem is not valid yet; check the clock", true },
	{ make_empty, "no certificate in the file", false },
	{ make_fifo, "cannot be read (not a regular file)", false },
};

static const char one[] = TLS("{ certificates: now.pem }");

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(refused_rows); i++) {
		struct config *before, *after, *start;

		write_pair("now.pem", "DNS:site.test", 0, 0);
		before = read_good(one);
		refused_rows[i].make();
		after = read_after(one, before);
		if (!after ||
		    !strstr(messages,
			    "warning: the previous certificate stays in force: ") ||
		    !strstr(messages, refused_rows[i].reason))
			fail_msg("%zu: %s", i, messages);
		assert_true(same_pair(before, after));
		assert_int_equal(after->refused_n, 1);
		tls_context_unref(context_of(after));
		config_free(before);
		/* And once more. */
		before = after;
		after = read_after(one, before);
		assert_true(same_pair(before, after));
		assert_int_equal(after->refused_n, 2);
		config_free(before);
		config_free(after);
		start = read_after(one, NULL);
		assert_true((start != NULL) == refused_rows[i].at_start);
		config_free(start);
	}
}

static void test_replaced(void **state)
{
	struct config *before, *after;

	(void)state;
	write_pair("now.pem", "DNS:site.test", 0, 0);
	before = read_good(one);
	write_pair("now.pem", "DNS:site.test", 0, 0);
	after = read_after(one, before);
	assert_string_equal(messages, "");
	assert_false(same_pair(before, after));
	assert_int_equal(after->refused_n, 0);
	assert_memory_equal(before->ticket_secret, after->ticket_secret, 32);
	assert_false(config_tls_equal(before, before->tls[0], after, after->tls[0]));
	config_free(before);
	config_free(after);
}

/* A pair whose certificate was replaced before its key. */
static void test_half_replaced(void **state)
{
	static const char text[] =
		TLS("{ certificates: { chain: now.pem, key: key.pem } }");
	struct config *before, *after;

	(void)state;
	assert_int_equal(link("chain.pem", "now.new"), 0);
	assert_int_equal(rename("now.new", "now.pem"), 0);
	before = read_good(text);
	write_pair("now.pem", "DNS:other.test", 0, 0);
	after = read_after(text, before);
	assert_non_null(strstr(messages, "does not belong to the first certificate"));
	assert_true(same_pair(before, after));
	config_free(before);
	config_free(after);
}

static void test_file_kept(void **state)
{
	static const char text[] =
		TLS("{ certificates: site.pem, client_auth: { ca: ca.pem } }");
	struct config *before = read_good(text), *after;

	(void)state;
	assert_int_equal(rename("ca.pem", "gone"), 0);
	after = read_after(text, before);
	assert_non_null(strstr(messages,
			       "'ca.pem' cannot be read (No such file or directory), and "
			       "its previous content stays in force; check the file"));
	assert_true(config_tls_equal(before, before->tls[0], after, after->tls[0]));
	assert_int_equal(after->refused_n, 1);
	assert_int_equal(rename("gone", "ca.pem"), 0);
	config_free(before);
	config_free(after);
}

/* The same of files whose content cannot be used: reported once while they are watched. */
static void test_file_reverted(void **state)
{
	static const char text[] = TLS(
		"{ certificates: site.pem, client_auth: { ca: now.ca, crl: "
		"now.crl }, tickets: { keys: now.key } }");
	static const struct {
		const char *file, *copied, *reason;
	} files[] = {
		{ "now.ca", "ca.pem", "no certificate in the file" },
		{ "now.crl", "crl.pem", "no CRL of" },
		{ "now.key", "ticket.key", "it has not 80 bytes" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(files); i++)
		assert_int_equal(link(files[i].copied, files[i].file), 0);
	for (size_t i = 0; i < COUNT(files); i++) {
		struct config *before = read_good(text), *after;

		tls_file_write(files[i].file, SLICE("noise\n"));
		after = read_after(text, before);
		if (!after || !strstr(messages, files[i].reason) ||
		    !strstr(messages, "' cannot be used (") ||
		    !strstr(messages,
			    "), and its previous content stays in force; check the file"))
			fail_msg("%s: %s", files[i].file, messages);
		assert_true(
			config_tls_equal(before, before->tls[0], after, after->tls[0]));
		assert_int_equal(after->refused_n, 1);
		config_free(before);
		assert_no_change(after);
		assert_null(read_after(text, NULL));
		config_free(after);
		unlink(files[i].file);
		assert_int_equal(link(files[i].copied, files[i].file), 0);
	}
}

static void test_folder(void **state)
{
	static const char text[] = TLS("{ certificates: pems }");
	struct config *before = read_good(text), *after;

	(void)state;
	tls_file_write("pems/c.pem", SLICE("noise\n"));
	write_pair("pems/d.pem", "DNS:d.test", 0, 0);
	assert_null(read_after(text, NULL));
	after = read_after(text, before);
	assert_non_null(
		strstr(messages, "warning: a certificate is left out: pems/c.pem: no "));
	assert_int_equal(after->tls[0]->pair_n, 3);
	assert_string_equal(after->tls[0]->pairs[2]->chain_path, "pems/d.pem");
	assert_int_equal(after->refused_n, 1);
	config_free(before);
	before = after;
	unlink("pems/c.pem");
	unlink("pems/d.pem");
	after = read_after(text, before);
	assert_string_equal(messages, "");
	assert_int_equal(after->tls[0]->pair_n, 2);
	config_free(before);
	before = after;
	assert_int_equal(rename("pems", "gone"), 0);
	after = read_after(text, before);
	assert_int_equal(after->tls[0]->pair_n, 2);
	assert_int_equal(after->refused_n, 3);
	assert_int_equal(rename("gone", "pems"), 0);
	config_free(before);
	config_free(after);
	for (unsigned i = 0; i < 2; i++)
		rename(i ? "pems/y" : "pems/a.pem", i ? "pems/b.pem" : "pems/y");
	unlink("pems/b.pem");
	assert_null(read_after(TLS("{ certificates: pems }"), NULL));
	write_pair("pems/a.pem", "DNS:a.test", 0, 0);
	write_pair("pems/b.pem", "DNS:b.test", 0, 0);
}

/* A new folder without any certificate that can be used. */
static void test_folder_useless(void **state)
{
	struct config *before = read_good(TLS("{ certificates: site.pem }"));

	(void)state;
	assert_int_equal(mkdir("bad", 0700), 0);
	tls_file_write("bad/x.pem", SLICE("noise\n"));
	assert_null(read_after(TLS("{ certificates: bad }"), before));
	assert_non_null(strstr(messages, "no certificate can be used; check the files"));
	config_free(before);
}

/* What the next program takes over at an upgrade. */
static void test_known(void **state)
{
	static const char text[] = TLS(
		"{ certificates: [now.pem, pems], tickets: { keys: "
		"ticket.key } }");
	struct config_options how = { .strict = false };
	struct config *before, *after;
	char *known;
	size_t known_n;
	FILE *out;

	(void)state;
	write_pair("now.pem", "DNS:site.test", 0, 0);
	before = read_good(text);
	out = open_memstream(&known, &known_n);
	config_write_contents(before, out);
	fclose(out);
	make_noise();
	tls_file_write(FILE_NAME, slice_of(text));
	assert_null(config_read_with(FILE_NAME, &how, NULL));
	how.known_contents = (struct slice){ known, known_n };
	after = config_read_with(FILE_NAME, &how, NULL);
	assert_non_null(after);
	assert_true(same_pair(before, after));
	assert_memory_equal(before->ticket_secret, after->ticket_secret, 32);
	assert_int_equal(after->refused_n, 1);
	config_free(after);
	/* Cut anywhere it is read as far as it goes. */
	for (size_t n = 0; n < known_n; n += n % 11 + 1) {
		how.known_contents.len = n;
		config_free(config_read_with(FILE_NAME, &how, NULL));
	}
	config_free(before);
	free(known);
}

/* ---- watching ------------------------------------------------------------------ */

static void assert_no_change(const struct config *c)
{
	struct config *next;

	assert_int_equal(look(c, &next), CONFIG_CONTENTS_SAME);
	assert_null(next);
	assert_string_equal(messages, "");
}

/* Replaces *c by what is found. */
static void assert_change(struct config **c)
{
	struct config *next;

	if (look(*c, &next) != CONFIG_CONTENTS_NEW)
		fail_msg("no change: %s", messages);
	config_free(*c);
	*c = next;
}

static void test_watch(void **state)
{
	struct config *c;

	(void)state;
	write_pair("now.pem", "DNS:site.test", 0, 0);
	c = read_good(
		TLS("{ certificates: [now.pem, pems], tickets: { keys: ticket.key } }"));
	assert_no_change(c);
	/* Nothing but the files counts. */
	tls_file_write(FILE_NAME, SLICE("nonsense"));
	assert_no_change(c);
	write_pair("new.pem", "DNS:site.test", 0, 0);
	assert_int_equal(rename("new.pem", "now.pem"), 0);
	assert_change(&c);
	assert_string_equal(messages, "");
	assert_no_change(c);
	write_pair("new.pem", "DNS:site.test", 0, 0);
	assert_int_equal(symlink("new.pem", "link"), 0);
	assert_int_equal(rename("link", "now.pem"), 0);
	assert_change(&c);
	write_pair("new.pem", "DNS:site.test", 0, 0); /* behind the link */
	assert_change(&c);
	write_pair("pems/c.pem", "DNS:c.test", 0, 0);
	assert_change(&c);
	assert_int_equal(c->tls[0]->pair_n, 4);
	unlink("pems/c.pem");
	assert_change(&c);
	assert_int_equal(c->tls[0]->pair_n, 3);
	tls_file_write("ticket.key", SLICE("0123456789012345678901234567890123456789"
					   "abcdefghijabcdefghijabcdefghijabcdefghij"));
	assert_change(&c);
	assert_no_change(c);
	assert_int_equal(c->refused_n, 0);
	config_free(c);
}

/* Reported and counted once, until it is another content. */
static void test_watch_refused(void **state)
{
	struct config *c;

	(void)state;
	write_pair("now.pem", "DNS:site.test", 0, 0);
	c = read_good(one);
	make_noise();
	assert_change(&c);
	assert_non_null(strstr(messages, "stays in force"));
	assert_int_equal(c->refused_n, 1);
	assert_no_change(c);
	make_expired();
	assert_change(&c);
	assert_int_equal(c->refused_n, 2);
	assert_no_change(c);
	write_pair("now.pem", "DNS:site.test", 0, 0);
	assert_change(&c);
	assert_string_equal(messages, "");
	assert_int_equal(c->refused_n, 2);
	config_free(c);
}

static void test_watch_reverted(void **state)
{
	struct config *c;

	(void)state;
	assert_int_equal(link("ticket.key", "watched.key"), 0);
	c = read_good(TLS("{ certificates: site.pem, tickets: { keys: watched.key } }"));
	tls_file_write("watched.key", SLICE("short"));
	assert_change(&c);
	assert_non_null(
		strstr(messages, "'watched.key' cannot be used (it has not 80 bytes), and "
				 "its previous content stays in force; check the file"));
	assert_int_equal(c->refused_n, 1);
	assert_no_change(c);
	config_free(c);
}

/* ---- contexts ------------------------------------------------------------------ */

static void test_equal(void **state)
{
	static const char *const different[] = {
		TLS("{ certificates: [site.pem, pems] }"),
		TLS("{ certificates: [{ chain: site.pem, key: site.pem }, pems] }"),
		TLS("{ certificates: site.pem }"),
		TLS("{ certificates: pems }"),
		TLS("{ certificates: [pems, site.pem] }"),
		TLS("{ certificates: site.pem, default: none }"),
		TLS("{ certificates: site.pem, min_version: 1.3 }"),
		TLS("{ certificates: site.pem, groups: [P-256] }"),
		TLS("{ certificates: site.pem, client_auth: { ca: ca.pem } }"),
		TLS("{ certificates: site.pem, client_auth: { ca: site.pem } }"),
		TLS("{ certificates: site.pem, client_auth: { ca: ca.pem, mode: optional } }"),
		TLS("{ certificates: site.pem, client_auth: { ca: ca.pem, depth: 1 } }"),
		TLS("{ certificates: site.pem, client_auth: { ca: ca.pem, crl: crl.pem } }"),
		TLS("{ certificates: site.pem, client_auth: { ca: ca.pem, names: a } }"),
		TLS("{ certificates: site.pem, tickets: off }"),
		TLS("{ certificates: site.pem, tickets: { keys: ticket.key } }"),
		TLS("{ certificates: site.pem, tickets: { lifetime: 1h } }"),
		TLS("{ certificates: site.pem, record_size: 1KiB }"),
		TLS("{ certificates: site.pem, records: openssl }"),
		TLS("{ certificates: site.pem, keylog: k.log }"),
		"listen: [{ address: 127.0.0.1:1, tls: { certificates: site.pem } }]\n"
		"upstreams: { app: { servers: [127.0.0.1:1] } }\n"
		"routes: [{ prefix: /, proxy: { upstream: app } }]\n",
	};
	struct config *all[COUNT(different)];
	struct config *first = read_good(different[2]);

	(void)state;
	for (size_t i = 0; i < COUNT(all); i++)
		all[i] = read_after(different[i], first);
	for (size_t i = 0; i < COUNT(all); i++)
		for (size_t k = 0; k < COUNT(all); k++) {
			bool equal = config_tls_equal(all[i], all[i]->tls[0], all[k],
						      all[k]->tls[0]);

			/* The first two have the same contents. */
			if (equal != (i == k || (i < 2 && k < 2)))
				fail_msg("%s%s", different[i], different[k]);
		}
	for (size_t i = 0; i < COUNT(all); i++)
		config_free(all[i]);
	config_free(first);
}

static const struct listed_row {
	const char *map;
	const char *out[3];
	const char *warnings; /* their beginning; NULL: none */
} listed_rows[] = {
	{ "{ certificates: site.pem }",
	  { "127.0.0.1:8080: site.pem: site.test, *.site.test (ECDSA, until 2" },
	  NULL },
	{ "{ certificates: [pems, pems/a.pem] }",
	  { "127.0.0.1:8080: pems/a.pem: a.test (ECDSA, until ",
	    "127.0.0.1:8080: pems/b.pem: b.test (ECDSA, until " },
	  NULL },
	{ "{ certificates: old.pem }",
	  { "127.0.0.1:8080: old.pem: site.test (ECDSA, until 2" },
	  "some.yaml: warning: 127.0.0.1:8080: old.pem has expired, so clients refuse it; replace "
	  "it: it expired on 2" },
	{ "{ certificates: soon.pem }",
	  { "127.0.0.1:8080: soon.pem: site.test (ECDSA, until 2" },
	  "some.yaml: warning: 127.0.0.1:8080: soon.pem expires soon; replace it: it expires on "
	  "2" },
	{ "{ certificates: short.pem }",
	  { "127.0.0.1:8080: short.pem: site.test (ECDSA, until 2" },
	  NULL },
	{ "{ certificates: future.pem }",
	  { "127.0.0.1:8080: future.pem: site.test (ECDSA, until 2" },
	  "some.yaml: warning: 127.0.0.1:8080: future.pem is not valid yet; check the clock, or "
	  "use another certificate: it expires on 2" },
	{ "{ certificates: [site.pem, now.pem] }",
	  { "127.0.0.1:8080: now.pem: " },
	  "some.yaml: warning: 127.0.0.1:8080: site.pem and now.pem both serve *.site.test; the one "
	  "that expires last is used, so remove the other\n" },
};

static void test_list(void **state)
{
	(void)state;
	write_pair("future.pem", "DNS:site.test", 2, 30);
	write_pair("soon.pem", "DNS:site.test", -60, 13);
	write_pair("short.pem", "DNS:site.test", -2, 4);
	write_pair("now.pem", "DNS:*.site.test", 0, 0);
	for (size_t i = 0; i < COUNT(listed_rows); i++) {
		const struct listed_row *row = &listed_rows[i];
		char text[512], *out_text, *error_text;
		size_t out_size, error_size;
		FILE *out = open_memstream(&out_text, &out_size);
		FILE *errors = open_memstream(&error_text, &error_size);
		struct config *c;

		snprintf(text, sizeof(text), HEAD "%s" REST, row->map);
		c = read_good(text);
		config_list_certificates(c, out, errors);
		fclose(out);
		fclose(errors);
		for (unsigned k = 0; k < 3 && row->out[k]; k++)
			if (!strstr(out_text, row->out[k]))
				fail_msg("%s: %s", row->map, out_text);
		if (row->warnings
			    ? strncmp(error_text, row->warnings, strlen(row->warnings))
			    : error_text[0])
			fail_msg("%s: %s", row->map, error_text);
		free(out_text);
		free(error_text);
		config_free(c);
	}
}

static void test_list_upstream(void **state)
{
	struct config *c = read_good("listen: [127.0.0.1:8080]\n"
				     "upstreams: { app: { servers: [127.0.0.1:1], tls: { ca: "
				     "ca.pem, certificate: site.pem } } }\n"
				     "routes: [{ prefix: /, proxy: { upstream: app } }]\n");
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	config_list_certificates(c, out, out);
	fclose(out);
	assert_non_null(strstr(text, "upstream app: site.pem: site.test, *.site.test (ECDSA"));
	free(text);
	config_free(c);
}

static bool is_zero(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i])
			return false;
	return true;
}

static void test_forget(void **state)
{
	struct config *c = read_good(
		TLS("{ certificates: [site.pem, { chain: chain.pem, key: key.pem }] }"));
	struct slice both = c->tls[0]->pairs[0]->key, key = c->tls[0]->pairs[1]->key;

	(void)state;
	config_forget_keys(c);
	assert_true(is_zero(both));
	assert_true(is_zero(key));
	assert_int_equal(c->tls[0]->pairs[0]->chain.len, 0);
	assert_true(c->tls[0]->pairs[1]->chain.len > 0);
	config_forget_keys(c);
	config_free(c);
}

static void test_digest(void **state)
{
	static const uint8_t abc[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea };
	const struct slice parts[] = { SLICE("a"), SLICE(""), SLICE("bc") };
	uint8_t digest[TLS_DIGEST_BYTES];

	(void)state;
	tls_digest(parts, COUNT(parts), digest);
	assert_memory_equal(digest, abc, sizeof(abc));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_relative),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_snapshot_cut),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_exposed),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_half_replaced),
		cmocka_unit_test(test_file_kept),
		cmocka_unit_test(test_file_reverted),
		cmocka_unit_test(test_folder),
		cmocka_unit_test(test_folder_useless),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_refused),
		cmocka_unit_test(test_watch_reverted),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_upstream),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_digest),
	};
	int failed;

	tls_files_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_files_remove();
	messages_free();
	return failed;
}
