#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/guard.h"
#include "net/proxyheader.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2(command_and_family, length) SIGNATURE command_and_family length
#define IPV4 \
	"\xc0\0\2\1\xc6\x33\x64\2\x9c\x40\1\xbb" /* 192.0.2.1:40000, 198.51.100.2:443 */
#define TEXT(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}
#define A100 \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ENTRIES "\2\0\x0bone.example\x20\0\x0f\3\0\0\0\0\x21\0\7TLSv1.3"

static const struct row {
	struct slice bytes;
	enum verdict verdict;
	const char *text; /* of an accepted header: see describe() */
} rows[] = {
	{ TEXT("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n"), VERDICT_OK,
	  "192.0.2.1 40000 198.51.100.2 443" },
	{ TEXT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n"), VERDICT_OK,
	  "255.255.255.255 65535 255.255.255.255 0" },
	{ TEXT("PROXY TCP6 2001:DB8::1 ::2 1 2\r\n"), VERDICT_OK, "2001:db8::1 1 ::2 2" },
	{ TEXT("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n"), VERDICT_OK,
	  "192.0.2.1 1 192.0.2.2 2" },
	{ TEXT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	  VERDICT_OK,
	  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
	  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535" },
	{ TEXT("PROXY UNKNOWN\r\n"), VERDICT_OK, "local" },
	{ TEXT("PROXY UNKNOWN ffff::1 what ever\r\n"), VERDICT_OK, "local" },
	{ TEXT("PROXY\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY \r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4\r\n"), VERDICT_BAD, NULL },
	{ TEXT("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 ::1 ::2 1 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY UNKNOWN " A100 "\r\n"), VERDICT_BAD, NULL },
	{ TEXT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), VERDICT_BAD, NULL },
	{ TEXT("PROXY TCP4 192.0.2.1"), VERDICT_MORE, NULL },
	{ TEXT(""), VERDICT_MORE, NULL },

	{ TEXT(V2("\x21\x11", "\0\x0c") IPV4), VERDICT_OK,
	  "192.0.2.1 40000 198.51.100.2 443" },
	{ TEXT(V2("\x21\x21", "\0\x24") "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
					"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\2\0\1\0\2"),
	  VERDICT_OK, "2001:db8::1 1 192.0.2.2 2" },
	{ TEXT(V2("\x20\x11", "\0\x0c") IPV4), VERDICT_OK, "local" },
	{ TEXT(V2("\x20\0", "\0\0")), VERDICT_OK, "local" },
	{ TEXT(V2("\x21\0", "\0\1") "x"), VERDICT_OK, "local" },
	{ TEXT(V2("\x21\x12", "\0\x0c") IPV4), VERDICT_OK, "local" }, /* UDP */
	{ TEXT(V2("\x21\x11", "\0\x0b") IPV4), VERDICT_BAD, NULL },
	{ TEXT(V2("\x22\x11", "\0\x0c") IPV4), VERDICT_BAD, NULL },
	{ TEXT(V2("\x11\x11", "\0\x0c") IPV4), VERDICT_BAD, NULL },
	{ TEXT(V2("\x21\x11", "\x10\0")), VERDICT_BAD, NULL }, /* 4,112 bytes */
	{ TEXT(V2("\x21\x11", "\x0f\xf0")), VERDICT_MORE, NULL },
	{ TEXT("\r\n\r\n\r\n"), VERDICT_BAD, NULL },

	{ TEXT(V2("\x21\x11", "\0\x33") IPV4 ENTRIES "\4\0\0"
						     "\xee\0\1x"),
	  VERDICT_OK,
	  "192.0.2.1 40000 198.51.100.2 443 authority=one.example tls version=TLSv1.3" },
	{ TEXT(V2("\x21\x11", "\0\x33") IPV4 ENTRIES "\3\0\4"
						     "\x11\x22\x33\x44"),
	  VERDICT_BAD, NULL },
	{ TEXT(V2("\x21\x11", "\0\x11") IPV4 "\1\0\2h2"), VERDICT_OK,
	  "192.0.2.1 40000 198.51.100.2 443 alpn=h2" },
	{ TEXT(V2("\x21\x11", "\0\x11") IPV4 "\1\0\2\r\n"), VERDICT_OK,
	  "192.0.2.1 40000 198.51.100.2 443" },
	{ TEXT(V2("\x21\x11", "\0\x11") IPV4 "\1\0\3h2"), VERDICT_BAD, NULL },
	{ TEXT(V2("\x21\x11", "\0\x0e") IPV4 "\1\0"), VERDICT_BAD, NULL },
	{ TEXT(V2("\x21\x11", "\0\x13") IPV4 "\x20\0\4\1\0\0\0"), VERDICT_BAD, NULL },
	{ TEXT(V2("\x21\x11", "\0\x16") IPV4 "\x20\0\7\1\0\0\0\0\x21\0"), VERDICT_BAD,
	  NULL },
	/* A common name counts only if the certificate was verified. */
	{ TEXT(V2("\x21\x11", "\0\x1c") IPV4 "\x20\0\x0d\7\0\0\0\0\x22\0\1x\x23\0\1y"),
	  VERDICT_OK, "192.0.2.1 40000 198.51.100.2 443 tls cipher=y subject=x" },
	{ TEXT(V2("\x21\x11", "\0\x1c") IPV4 "\x20\0\x0d\7\0\0\0\1\x22\0\1x\x23\0\1y"),
	  VERDICT_OK, "192.0.2.1 40000 198.51.100.2 443 tls cipher=y" },
	{ TEXT(V2("\x21\x11", "\0\x1c") IPV4 "\x20\0\x0d\1\0\0\0\0\x22\0\1x\x23\0\1y"),
	  VERDICT_OK, "192.0.2.1 40000 198.51.100.2 443 tls cipher=y" },
	{ TEXT(V2("\x21\x11", "\0\x14") IPV4 "\x20\0\5\0\0\0\0\0"), VERDICT_OK,
	  "192.0.2.1 40000 198.51.100.2 443" },
};

static void add(char *out, size_t size, const char *name, struct slice value)
{
	size_t n = strlen(out);

	if (value.len > 0)
		snprintf(out + n, size - n, " %s=%.*s", name, SLICE_ARG(value));
}

static void describe(const struct proxy_header *h, char *out, size_t size)
{
	char source[SOCK_TEXT_MAX], destination[SOCK_TEXT_MAX];

	peer_text(&h->source, source, sizeof(source));
	peer_text(&h->destination, destination, sizeof(destination));
	if (h->local)
		snprintf(out, size, "local");
	else
		snprintf(out, size, "%s %u %s %u", source, h->source.port, destination,
			 h->destination.port);
	add(out, size, "alpn", h->alpn);
	add(out, size, "authority", h->authority);
	if (h->tls)
		snprintf(out + strlen(out), size - strlen(out), " tls");
	add(out, size, "version", h->version);
	add(out, size, "cipher", h->cipher);
	add(out, size, "subject", h->subject);
}

/* At each cut: MORE, or what the whole input gives; no byte behind the cut is read. */
static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *row = &rows[i];
		bool decided = false;

		for (size_t n = 0; n <= row->bytes.len; n++) {
			char *bytes = guard_copy(row->bytes.ptr, n), text[512];
			struct proxy_header h;
			enum verdict v = proxy_header_parse(&h, bytes, n);

			if (decided || v != VERDICT_MORE) {
				if (v != row->verdict)
					fail_msg("row %zu, %zu bytes: %d", i, n, v);
				decided = true;
			}
			if (v == VERDICT_OK) {
				describe(&h, text, sizeof(text));
				assert_string_equal(text, row->text);
				assert_int_equal(h.bytes, row->bytes.len);
			}
			guard_free(bytes);
		}
		assert_true(decided == (row->verdict != VERDICT_MORE));
	}
}

/* The bytes behind a header are not part of it. */
static void test_followed(void **state)
{
	const struct slice two[] = { TEXT("PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n"),
				     TEXT(V2("\x20\0", "\0\0") SIGNATURE) };
	struct proxy_header h;

	(void)state;
	for (size_t i = 0; i < COUNT(two); i++) {
		assert_int_equal(proxy_header_parse(&h, two[i].ptr, two[i].len),
				 VERDICT_OK);
		assert_int_equal(h.bytes, i == 0 ? 15 : 16);
	}
}

/* A checksum that another program has computed. */
static void test_checksum(void **state)
{
	static const char good[] = V2("\x21\x11", "\0\x33") IPV4 ENTRIES
		"\3\0\4"
		"\x8f\x42\xe1\xbb";
	char bytes[sizeof(good) - 1];
	struct proxy_header h;

	(void)state;
	assert_int_equal(proxy_header_parse(&h, good, sizeof(good) - 1), VERDICT_OK);
	assert_int_equal(h.bytes, sizeof(good) - 1);
	/* Any other byte behind the lengths makes it wrong. */
	for (size_t i = 16; i < sizeof(bytes); i++) {
		memcpy(bytes, good, sizeof(bytes));
		bytes[i] ^= 1;
		if (i >= sizeof(bytes) - 7 && i < sizeof(bytes) - 4)
			continue; /* the type and length of the checksum itself */
		assert_int_equal(proxy_header_parse(&h, bytes, sizeof(bytes)),
				 VERDICT_BAD);
	}
}

/* What is written is read to the same. */
static void test_written(void **state)
{
	struct peer v4 = { .addr = { 192, 0, 2, 1 }, .port = 40000, .family = AF_INET };
	struct peer v6 = { .addr = { 0x20, 1, [15] = 1 },
			   .port = 443,
			   .family = AF_INET6 };
	static char huge[2000];
	const struct proxy_header headers[] = {
		{ .source = v4, .destination = v4 },
		{ .source = v6, .destination = v6, .alpn = SLICE("http/1.1") },
		{ .source = v4,
		  .destination = v4,
		  .authority = SLICE("one.example"),
		  .alpn = SLICE("h2"),
		  .tls = true,
		  .version = SLICE("TLSv1.3"),
		  .cipher = SLICE("TLS_AES_128_GCM_SHA256"),
		  .subject = SLICE("Jane Doe") },
		{ .source = v4, .destination = v4, .tls = true },
		{ .local = true },
		{ .source = v4, .destination = v6 },
		{ .source = { .family = AF_UNIX }, .destination = { .family = AF_UNIX } },
	};
	char out[PROXY_HEADER_WRITE_MAX], wanted[512], got[512];
	struct proxy_header h;

	(void)state;
	for (size_t i = 0; i < COUNT(headers); i++) {
		bool local = i >= 4;
		size_t n = proxy_header_write_v2(&headers[i], out);

		assert_int_equal(proxy_header_parse(&h, out, n), VERDICT_OK);
		assert_int_equal(h.bytes, n);
		describe(local ? &(struct proxy_header){ .local = true } : &headers[i],
			 wanted, sizeof(wanted));
		describe(&h, got, sizeof(got));
		assert_string_equal(got, wanted);
		n = proxy_header_write_v1(&headers[i], out);
		assert_true(n <= PROXY_HEADER_V1_MAX);
		assert_int_equal(proxy_header_parse(&h, out, n), VERDICT_OK);
		assert_int_equal(h.bytes, n);
		assert_true(h.local == local);
	}
	/* Entries that do not fit are left out. */
	memset(huge, 'x', sizeof(huge));
	for (size_t len = 0; len < sizeof(huge); len++) {
		struct slice text = { huge, len };
		struct proxy_header large = { .source = v6,
					      .destination = v6,
					      .alpn = text,
					      .authority = text,
					      .tls = true,
					      .version = text,
					      .cipher = text,
					      .subject = text };
		size_t n = proxy_header_write_v2(&large, out);

		assert_true(n <= PROXY_HEADER_WRITE_MAX);
		assert_int_equal(proxy_header_parse(&h, out, n), VERDICT_OK);
		assert_true(h.bytes == n && h.tls &&
			    (h.alpn.len == len || h.alpn.len == 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_followed),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
