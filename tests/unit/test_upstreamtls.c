/* `tls` of upstreams: what is read, which names are verified, which settings share a context. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/upstreamtls.h"
#include "lib/tlsfiles.h"

#define LISTEN "listen: [127.0.0.1:8080]\n"
#define ROUTES "routes: [{ prefix: /, proxy: { upstream: a } }]\n"
#define PIN "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static char *messages; /* of the last reading */

static struct config *read_text(const char *text)
{
	size_t size;
	FILE *errors;
	struct config *c;

	free(messages);
	errors = open_memstream(&messages, &size);
	c = config_read_text("some.yaml", slice_of(text), errors);
	fclose(errors);
	if (!c)
		fail_msg("%s", messages);
	return c;
}

/* Upstream a with this value of `tls`, and upstream b with another one. */
static struct config *read_two(const char *a, const char *b)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 LISTEN "upstreams:\n"
			"  a: { servers: [A.test:443], tls: %s }\n"
			"  b: { servers: [A.test:443], tls: %s }\n" ROUTES,
		 a, b);
	return read_text(text);
}

static void test_forms(void **state)
{
	struct config *c = read_two("true", "off");
	const struct config_upstream_tls *t = c->upstreams[0].tls;

	(void)state;
	assert_null(c->upstreams[1].tls);
	assert_null(c->upstreams[1].servers[0].tls_name);
	assert_true(t->verify && t->ca_system && t->ca && t->resume);
	assert_false(t->sni_off);
	assert_int_equal(t->name.len + t->sni.len + t->pin_n, 0);
	assert_int_equal(t->min_version, TLS_1_2);
	assert_int_equal(t->records, TLS_RECORDS_OWN);
	assert_null(t->pair);
	assert_string_equal(c->upstreams[0].servers[0].tls_name, "a.test");
	config_free(c);

	c = read_two(
		"{ ca: ca.pem, name: B.test., sni: c.test, certificate: site.pem, "
		"pins: " PIN ", min_version: 1.3, resume: off, records: openssl }",
		"{ verify: off, sni: off, certificate: { chain: chain.pem, key: key.pem } }");
	t = c->upstreams[0].tls;
	assert_false(t->ca_system || t->resume);
	assert_string_equal(t->ca->text, "ca.pem");
	assert_string_equal(c->upstreams[0].servers[0].tls_name, "b.test");
	assert_true(slice_equal(t->sni, SLICE("c.test")));
	assert_string_equal(t->certificate.chain, "site.pem");
	assert_int_equal(t->min_version, TLS_1_3);
	assert_int_equal(t->records, TLS_RECORDS_OPENSSL);
	assert_int_equal(t->pin_n, 1);
	for (unsigned i = 0; i < CONFIG_DIGEST_BYTES; i++)
		assert_int_equal(t->pins[0][i], i);
	t = c->upstreams[1].tls;
	assert_true(t->sni_off && !t->verify && !t->ca);
	assert_string_equal(t->pair->key_path, "key.pem");
	assert_non_null(strstr(
		messages,
		"4:46: warning: the certificates of 'b' are not verified, so that others can read "
		"and change its traffic; write 'ca: FILE' with their issuer instead\n"));
	config_free(c);
}

/* The host as configured, or what is to be verified instead. */
static void test_names(void **state)
{
	static const struct {
		const char *server, *tls, *name;
	} rows[] = {
		{ "192.0.2.1:443", "true", "192.0.2.1" },
		{ "'[2001:DB8::1]:443'", "true", "2001:db8::1" },
		{ "Sub.Example.TEST:443", "true", "sub.example.test" },
		{ "example.test.:443", "true", "example.test" },
		{ "srv:_https._tcp.example.test", "true", "example.test" },
		{ "srv:plain.example.test", "true", "plain.example.test" },
		{ "unix:/tmp/x", "{ name: x.test }", "x.test" },
		{ "unix:/tmp/x", "{ verify: off }", "" },
		{ "example.test:443", "{ name: '[::1]' }", "::1" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[512];
		struct config *c;

		snprintf(text, sizeof(text),
			 LISTEN "upstreams: { a: { servers: [%s], tls: %s } }\n" ROUTES,
			 rows[i].server, rows[i].tls);
		c = read_text(text);
		assert_string_equal(c->upstreams[0].servers[0].tls_name, rows[i].name);
		config_free(c);
	}
}

/* Printed and read again, it is the same. */
static void test_print(void **state)
{
	struct config *c = read_two(
		"{ ca: ca.pem, name: b.test, sni: c.test, certificate: site.pem, pins: " PIN
		", min_version: 1.3, resume: off, records: openssl }",
		"{ verify: off, sni: off, certificate: { chain: chain.pem, key: key.pem } }");
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct config *again;

	(void)state;
	config_print(c, out);
	fclose(out);
	again = read_text(text);
	for (unsigned i = 0; i < 2; i++) {
		const struct config_upstream *a = &c->upstreams[i],
					     *b = &again->upstreams[i];

		assert_memory_equal(a->tls->digest, b->tls->digest, CONFIG_DIGEST_BYTES);
		assert_string_equal(a->servers[0].tls_name, b->servers[0].tls_name);
	}
	free(text);
	config_free(again);
	config_free(c);
}

static bool digests_equal(const struct config *c)
{
	return memcmp(c->upstreams[0].tls->digest, c->upstreams[1].tls->digest,
		      CONFIG_DIGEST_BYTES) == 0;
}

/* Each key that the context depends on makes another digest; the name does not. */
static void test_digest(void **state)
{
	static const char *const others[] = {
		"{ verify: off }",
		"{ ca: system }",
		"{ ca: site.pem }",
		"{ ca: ca.pem, sni: c.test }",
		"{ ca: ca.pem, sni: off }",
		"{ ca: ca.pem, certificate: site.pem }",
		"{ ca: ca.pem, pins: " PIN " }",
		"{ ca: ca.pem, min_version: 1.3 }",
		"{ ca: ca.pem, resume: off }",
		"{ ca: ca.pem, records: openssl }",
	};
	struct config *c = read_two("{ ca: ca.pem }", "{ ca: ca.pem, name: b.test }");

	(void)state;
	assert_true(digests_equal(c));
	config_free(c);
	for (size_t i = 0; i < COUNT(others); i++) {
		c = read_two("{ ca: ca.pem }", others[i]);
		if (digests_equal(c))
			fail_msg("%s has the digest of { ca: ca.pem }", others[i]);
		config_free(c);
	}
	c = read_text(LISTEN "upstreams:\n"
			     "  a: { servers: [127.0.0.1:1], tls: { ca: ca.pem } }\n"
			     "  b: { servers: [127.0.0.1:1], tls: { ca: ca.pem },\n"
			     "       protocol: memcached }\n" ROUTES);
	assert_false(digests_equal(c)); /* another ALPN */
	config_free(c);
}

/* The process that may not open files reads the same. */
static void test_snapshot(void **state)
{
	struct config *c = read_two("{ ca: ca.pem, certificate: site.pem }", "true");
	struct config *again = config_read_snapshot(c->snapshot, stderr);

	(void)state;
	assert_non_null(again);
	for (unsigned i = 0; i < 2; i++)
		assert_memory_equal(c->upstreams[i].tls->digest,
				    again->upstreams[i].tls->digest, CONFIG_DIGEST_BYTES);
	config_free(again);
	config_free(c);
}

static struct tls_context *context_of(const struct config *c, unsigned upstream)
{
	return c->upstreams[upstream].tls->context;
}

/* The same settings have one context, also over a reload. */
static void test_contexts(void **state)
{
	char error[512];
	struct config *c = read_two("{ ca: ca.pem }", "{ ca: ca.pem, name: b.test }");
	struct config *next = read_two("{ ca: ca.pem, certificate: site.pem }",
				       "{ ca: ca.pem }");
	const struct tls_certificate *sent;

	(void)state;
	assert_null(context_of(c, 0));
	assert_true(config_upstream_contexts(c, NULL, error, sizeof(error)));
	assert_non_null(context_of(c, 0));
	assert_ptr_equal(context_of(c, 0), context_of(c, 1));
	assert_true(config_upstream_contexts(next, c, error, sizeof(error)));
	assert_ptr_equal(context_of(next, 1), context_of(c, 0));
	assert_ptr_not_equal(context_of(next, 0), context_of(c, 0));
	assert_null(tls_context_certificate(context_of(next, 1), 0));
	sent = tls_context_certificate(context_of(next, 0), 0);
	assert_true(sent && slice_equal(sent->file, SLICE("site.pem")));
	assert_null(tls_context_certificate(context_of(next, 0), 1));
	config_free(c);
	assert_true(config_upstream_contexts(c = read_two("{ ca: ca.pem }", "off"), next,
					     error, sizeof(error)));
	assert_ptr_equal(context_of(c, 0), context_of(next, 1));
	config_free(next);
	config_free(c);
}

static int set_up(void **state)
{
	(void)state;
	tls_files_make();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(messages);
	tls_files_remove();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),    cmocka_unit_test(test_names),
		cmocka_unit_test(test_print),    cmocka_unit_test(test_digest),
		cmocka_unit_test(test_snapshot), cmocka_unit_test(test_contexts),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
