/* ClientHellos. An input is the size of a record's fragment (0: the rest is records already) and a
 * message. The verdict is the same wherever the stream is cut, and no byte behind the cut is read.
 * What the message says is the same for the library, for all that certificate, policy and protocol
 * are chosen by: a name or protocol that only one of the two reads would go around a policy. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "../../src/tls/ja4.h"
#include "lib/fuzz.h"
#include "lib/guard.h"

static const struct hello *ours; /* during the library's handshake */

static struct slice without_dot(const char *name)
{
	struct slice s = slice_of(name);

	if (s.len > 1 && s.ptr[s.len - 1] == '.')
		s.len--;
	return s;
}

/* The library's reading of the name. */
static int name_read(SSL *ssl, int *alert, void *argument)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	(void)argument;
	ASSERT(!!name == ours->has_name);
	ASSERT(!name || slice_equal_nocase(without_dot(name), hello_name(ours)));
	return SSL_TLSEXT_ERR_OK;
}

static int protocols_read(SSL *ssl, const unsigned char **out, unsigned char *out_n,
			  const unsigned char *list, unsigned n, void *argument)
{
	(void)ssl;
	(void)out;
	(void)out_n;
	(void)argument;
	ASSERT(slice_equal(ours->protocols, (struct slice){ (const char *)list, n }));
	return SSL_TLSEXT_ERR_NOACK;
}

/* Its reading of suites and extensions, before it judges them. */
static int hello_read(SSL *ssl, int *alert, void *argument)
{
	const unsigned char *bytes;
	size_t n = SSL_client_hello_get0_ciphers(ssl, &bytes);

	(void)alert;
	(void)argument;
	ASSERT(slice_equal(ours->suites, (struct slice){ (const char *)bytes, n }));
	ASSERT(SSL_client_hello_get0_legacy_version(ssl) == ours->legacy_version);
	ASSERT(SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &n) ==
	       ours->has_name);
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_groups, &bytes, &n))
		ASSERT(ours->groups.len + 2 == n &&
		       memcmp(ours->groups.ptr, bytes + 2, n - 2) == 0);
	return SSL_CLIENT_HELLO_SUCCESS;
}

static SSL_CTX *context(void)
{
	static SSL_CTX *c;

	if (!c) {
		c = SSL_CTX_new(TLS_server_method());
		ASSERT(c);
		SSL_CTX_set_client_hello_cb(c, hello_read, NULL);
		SSL_CTX_set_tlsext_servername_callback(c, name_read);
		SSL_CTX_set_alpn_select_cb(c, protocols_read, NULL);
	}
	return c;
}

static void compare_with_library(const struct hello *h, struct slice stream)
{
	SSL *ssl = SSL_new(context());

	ASSERT(ssl);
	ours = h;
	SSL_set_bio(ssl, BIO_new_mem_buf(stream.ptr, (int)stream.len),
		    BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
	SSL_set_accept_state(ssl);
	ERR_clear_error();
	SSL_do_handshake(ssl);
	ERR_clear_error();
	SSL_free(ssl);
}

/* The stream, or the message in records of `fragment` bytes. */
static struct slice stream_make(struct slice message, size_t fragment)
{
	char *bytes = malloc(message.len * 6 + 1), *at = bytes;

	if (fragment == 0)
		return (struct slice){ memcpy(bytes, message.ptr, message.len),
				       message.len };
	for (size_t i = 0; i < message.len; i += fragment) {
		size_t n = message.len - i < fragment ? message.len - i : fragment;
		char header[] = { 22, 3, 1, (char)(n >> 8), (char)n };

		memcpy(at, header, sizeof(header));
		memcpy(at + sizeof(header), message.ptr + i, n);
		at += sizeof(header) + n;
	}
	return (struct slice){ bytes, (size_t)(at - bytes) };
}

/* Scans the stream as it arrives, up to each of some cuts. */
static enum verdict scan_in_cuts(struct slice stream, struct hello_scan *s)
{
	enum verdict v = VERDICT_MORE;

	for (size_t n = 0; n < stream.len && v == VERDICT_MORE;) {
		char *copy;

		n = fuzz_cut(n, stream.len);
		copy = guard_copy(stream.ptr, n);
		v = hello_scan(s, &(struct iovec){ copy, n }, 1);
		guard_free(copy);
	}
	return v;
}

/* What the scan of a message in records must find. */
static enum verdict expected_verdict(struct slice message, size_t fragment)
{
	const uint8_t *at = (const uint8_t *)message.ptr;
	size_t length;

	if (message.len > 0 && at[0] != 1)
		return VERDICT_BAD;
	if (message.len < 4)
		return VERDICT_MORE;
	length = 4 + ((size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]);
	if (length > HELLO_BYTES_MAX)
		return VERDICT_BAD;
	if (length > message.len)
		length = message.len + 1;
	if ((length + fragment - 1) / fragment > HELLO_RECORDS_MAX &&
	    (message.len + fragment - 1) / fragment > HELLO_RECORDS_MAX)
		return VERDICT_BAD;
	return length <= message.len ? VERDICT_OK : VERDICT_MORE;
}

static void check_message(struct slice message, struct slice stream)
{
	char *copy = guard_copy(message.ptr, message.len);
	struct hello h;
	struct slice protocol;
	char fingerprint[JA4_BYTES];
	size_t at = 0, bytes = 0;

	if (hello_parse((struct slice){ copy, message.len }, &h) == TLS_FAULT_NONE) {
		ASSERT(h.name_n <= HELLO_NAME_MAX && (h.name_n > 0) == h.has_name);
		for (size_t i = 0; i < h.name_n; i++)
			ASSERT(!isupper((unsigned char)h.name[i]));
		while (hello_protocol(&h, &at, &protocol))
			bytes += 1 + protocol.len;
		ASSERT(bytes == h.protocols.len);
		ASSERT(ja4_write(&h, fingerprint));
		for (unsigned i = 0; i < JA4_BYTES; i++)
			ASSERT(fingerprint[i] > ' ' && fingerprint[i] < 127);
		compare_with_library(&h, stream);
	}
	guard_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct fuzz f = fuzz_begin(bytes, n);
	unsigned octet = fuzz_octet(&f);
	size_t fragment = octet < 32 ? octet : octet * 5u;
	struct slice stream = stream_make(fuzz_rest(&f), fragment);
	struct iovec iov = { (char *)(uintptr_t)stream.ptr, stream.len };
	struct hello_scan whole = { 0 }, cut = { 0 };
	enum verdict v = hello_scan(&whole, &iov, 1);

	ASSERT(scan_in_cuts(stream, &cut) == v);
	ASSERT(fragment == 0 || v == expected_verdict(fuzz_rest(&f), fragment));
	ASSERT(cut.fault == whole.fault &&
	       (cut.fault != TLS_FAULT_NONE) == (v == VERDICT_BAD));
	if (v == VERDICT_OK) {
		char *message = malloc(whole.length);
		struct slice in_place = hello_in_place(&whole, &iov, 1);

		ASSERT(cut.length == whole.length && cut.at == whole.at);
		hello_gather(&whole, &iov, 1, message);
		ASSERT(fragment == 0 || memcmp(message, f.at, whole.length) == 0);
		ASSERT(in_place.len == 0 ||
		       memcmp(in_place.ptr, message, whole.length) == 0);
		check_message((struct slice){ message, whole.length }, stream);
		free(message);
	}
	free((char *)(uintptr_t)stream.ptr);
	return 0;
}
