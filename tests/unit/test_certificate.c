/* What tls_certificate_read() makes of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "base/check.h"
#include "lib/pki.h"
#include "tls/context.h"
#include "tls/session.h"
#include "tls/warm.h"

static char error[512];

static struct tls_certificate *read_pair(struct slice chain, struct slice key)
{
	const struct tls_pair pair = { SLICE("site.pem"), chain, key };
	struct tls_certificate *c;
	bool good = tls_certificate_read(&pair, &c, error, sizeof(error));

	assert_int_equal(good, c != NULL);
	assert_int_equal(ERR_peek_error(), 0);
	return c;
}

static char *joined_texts[64];
static size_t joined_n;

/* Freed at the end of the program. */
static struct slice joined(struct slice a, struct slice b)
{
	char *text = malloc(a.len + b.len + 1);

	assert_true(text && joined_n < COUNT(joined_texts));
	joined_texts[joined_n++] = text;
	*slice_append(slice_append(text, a), b) = '\0';
	return (struct slice){ text, a.len + b.len };
}

static void names_and_validity(void **state)
{
	static const struct {
		const char *common_name, *san;
		const char *names[4];
		const char *subject;
	} cases[] = {
		{ NULL,
		  "DNS:A.Example,DNS:*.b.example",
		  { "a.example", "*.b.example" },
		  "" },
		{ "common.example",
		  "DNS:a.example",
		  { "a.example" },
		  "CN=common.example" },
		{ "Common.example", NULL, { "common.example" }, "CN=Common.example" },
		{ "John Doe", NULL, { NULL }, "CN=John Doe" },
		{ "common.example", "email:a@b.example", { NULL }, "CN=common.example" },
		{ NULL,
		  "IP:192.0.2.7,IP:2001:db8::1,DNS:a.example",
		  { "192.0.2.7", "2001:db8::1", "a.example" },
		  "" },
		{ "tab\there", NULL, { NULL }, "CN=tab\\09here" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct pki *p = pki_new(
			"site.pem",
			&(struct pki_options){ .common_name = cases[i].common_name,
					       .san = cases[i].san,
					       .from_days = -3,
					       .to_days = 4 });
		struct tls_certificate *c = read_pair(p->chain_pem, p->key_pem);
		size_t n = 0;

		assert_non_null(c);
		for (; cases[i].names[n]; n++) {
			assert_true(n < c->names_n);
			assert_string_equal(c->names[n], cases[i].names[n]);
		}
		assert_int_equal(c->names_n, n);
		assert_string_equal(c->subject, cases[i].subject);
		assert_true(slice_equal(c->file, SLICE("site.pem")));
		assert_true(llabs(c->not_before - (time(NULL) - 3 * 86400)) < 60);
		assert_true(llabs(c->not_after - (time(NULL) + 4 * 86400)) < 60);
		assert_true(c->ecdsa);
		tls_certificate_free(c);
		pki_free(p);
	}
}

static void kinds_of_keys(void **state)
{
	static const enum pki_key keys[] = { PKI_P256, PKI_P384, PKI_RSA, PKI_ED25519 };

	(void)state;
	for (size_t i = 0; i < COUNT(keys); i++) {
		struct pki *p = pki_new(
			"p",
			&(struct pki_options){ .san = "DNS:a.example", .key = keys[i] });
		struct tls_certificate *c = read_pair(p->chain_pem, p->key_pem);

		assert_non_null(c);
		assert_int_equal(c->ecdsa, keys[i] <= PKI_P384);
		tls_certificate_free(c);
		pki_free(p);
	}
}

/* The forms in which files come: one for both, the key first, other blocks and text around, the
 * encodings before PKCS #8. */
static void forms_of_files(void **state)
{
	static const struct slice parameters = SLICE("-----BEGIN EC PARAMETERS-----\n"
						     "BggqhkjOPQMBBw==\n"
						     "-----END EC PARAMETERS-----\n");
	struct pki *p = pki_new("p", &(struct pki_options){ .san = "DNS:a.example" });
	struct pki *rsa = pki_new(
		"rsa", &(struct pki_options){ .san = "DNS:a.example", .key = PKI_RSA });
	struct slice old = pki_key_traditional(p), old_rsa = pki_key_traditional(rsa);
	const struct slice files[] = {
		joined(p->chain_pem, p->key_pem),
		joined(p->key_pem, p->chain_pem),
		joined(parameters, joined(p->chain_pem, old)),
		joined(SLICE("Bag Attributes\n  name: x\n"),
		       joined(p->key_pem, p->chain_pem)),
		joined(rsa->chain_pem, old_rsa),
		joined(joined(p->chain_pem, rsa->chain_pem), p->key_pem),
	};

	(void)state;
	for (size_t i = 0; i < COUNT(files); i++) {
		struct tls_certificate *c = read_pair(files[i], files[i]);

		if (!c)
			fail_msg("%zu: %s", i, error);
		tls_certificate_free(c);
	}
	pki_text_free(old);
	pki_text_free(old_rsa);
	pki_free(p);
	pki_free(rsa);
}

static void faults_have_a_remedy(void **state)
{
	struct pki *p = pki_new("p", &(struct pki_options){ .san = "DNS:a.example" });
	struct pki *q = pki_new("q", &(struct pki_options){ .san = "DNS:a.example" });
	struct slice encrypted = pki_key_encrypted(p), many = p->chain_pem;
	const struct slice broken = { p->chain_pem.ptr, p->chain_pem.len / 2 };
	char *damaged = strndup(p->chain_pem.ptr, p->chain_pem.len);

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		many = joined(many, q->chain_pem);
	memcpy(damaged + 60, "AAAAAAAAAAAAAAAA", 16);
	const struct {
		struct slice chain, key;
		const char *text;
	} cases[] = {
		{ SLICE(""), p->key_pem, "site.pem: no certificate in the file; put" },
		{ p->key_pem, p->key_pem, "site.pem: no certificate in the file; put" },
		{ p->chain_pem, SLICE(""), "site.pem: no private key in the file; put" },
		{ p->chain_pem, p->chain_pem,
		  "site.pem: no private key in the file; put" },
		{ p->chain_pem, encrypted,
		  "site.pem: the private key is encrypted; remove" },
		{ p->chain_pem, q->key_pem,
		  "site.pem: the private key does not belong to" },
		{ joined(q->chain_pem, p->chain_pem), p->key_pem,
		  "site.pem: the private key does not belong to" },
		{ many, p->key_pem,
		  "site.pem: more than 10 certificates in the file; put" },
		{ broken, p->key_pem, "site.pem: " },
		{ slice_of(damaged), p->key_pem, "site.pem: " },
		{ p->chain_pem, { p->key_pem.ptr, p->key_pem.len / 2 }, "site.pem: " },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_null(read_pair(cases[i].chain, cases[i].key));
		if (strncmp(error, cases[i].text, strlen(cases[i].text)) != 0)
			fail_msg("%zu: %s", i, error);
		assert_null(strstr(error, "no reason"));
	}
	pki_text_free(encrypted);
	free(damaged);
	pki_free(p);
	pki_free(q);
}

/* Any cut of a file is refused or, from where key and certificate are whole, taken. */
static void files_cut_anywhere(void **state)
{
	struct pki *p = pki_new("p", &(struct pki_options){ .san = "DNS:a.example" });
	struct slice file = joined(p->key_pem, p->chain_pem);

	(void)state;
	for (size_t n = 0; n <= file.len; n++) {
		struct tls_certificate *c = read_pair((struct slice){ file.ptr, n },
						      (struct slice){ file.ptr, n });

		assert_int_equal(c != NULL, n >= file.len - 1);
		tls_certificate_free(c);
	}
	pki_free(p);
}

/* Thousands of pairs with the same issuer: what one of them costs. */
static void memory_of_many(void **state)
{
	enum { MANY = 200 };
	struct pki *ca =
		pki_new("ca", &(struct pki_options){ .common_name = "CA", .ca = true });
	struct pki *issuer = pki_new(
		"issuer", &(struct pki_options){
				  .common_name = "Issuer", .ca = true, .issuer = ca });
	struct pki *p[MANY];
	struct tls_certificate *c[MANY];
	size_t before;

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		p[i] = pki_new("p", &(struct pki_options){
					    .san = "DNS:a.example,DNS:www.a.example",
					    .issuer = issuer });
	before = tls_library_bytes();
	for (unsigned i = 0; i < MANY; i++)
		c[i] = read_pair(p[i]->chain_pem, p[i]->key_pem);
	print_message("%zu bytes of the library for each pair\n",
		      (tls_library_bytes() - before) / MANY);
	assert_true((tls_library_bytes() - before) / MANY < 9000);
	for (unsigned i = 0; i < MANY; i++) {
		tls_certificate_free(c[i]);
		pki_free(p[i]);
	}
	pki_free(issuer);
	pki_free(ca);
}

static int free_joined(void **state)
{
	(void)state;
	while (joined_n > 0)
		free(joined_texts[--joined_n]);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_validity),
		cmocka_unit_test(kinds_of_keys),
		cmocka_unit_test(forms_of_files),
		cmocka_unit_test(faults_have_a_remedy),
		cmocka_unit_test(files_cut_anywhere),
		cmocka_unit_test(memory_of_many),
	};

	return cmocka_run_group_tests(tests, NULL, free_joined);
}
