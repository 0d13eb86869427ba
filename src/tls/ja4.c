#include "ja4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#define SERVER_NAME 0
#define PROTOCOLS 16
#define VALUES_MAX (HELLO_BYTES_MAX / 2)
#define HASH_DIGITS 12

static uint16_t get16(const char *at)
{
	return (uint16_t)((uint8_t)at[0] << 8 | (uint8_t)at[1]);
}

/* Values that clients send so that servers learn to ignore what they do not know (RFC 8701). */
static bool is_grease(uint16_t value)
{
	return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

/* The values of a list, but for GREASE. */
static size_t list_values(struct slice list, uint16_t *values)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < list.len; i += 2)
		if (!is_grease(get16(list.ptr + i)))
			values[n++] = get16(list.ptr + i);
	return n;
}

/* The types of the extensions, but for GREASE. hello_parse() has checked their lengths. */
static size_t extension_types(struct slice extensions, uint16_t *values)
{
	size_t n = 0;

	while (extensions.len > 0) {
		uint16_t type = get16(extensions.ptr);

		if (!is_grease(type))
			values[n++] = type;
		extensions = slice_after(extensions, 4u + get16(extensions.ptr + 2));
	}
	return n;
}

static int compare_values(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* Writes values as "002f,0035". */
static char *values_write(char *at, const uint16_t *values, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			*at++ = ',';
		for (int shift = 12; shift >= 0; shift -= 4)
			*at++ = digits[values[i] >> shift & 15];
	}
	return at;
}

/* The first 12 digits of the SHA-256 of a text; zeros for an empty one. */
static bool hash_write(char *out, const char *text, size_t n)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	size_t bytes;

	memset(out, '0', HASH_DIGITS);
	if (n == 0)
		return true;
	ERR_clear_error();
	if (!EVP_Q_digest(NULL, "SHA256", NULL, text, n, hash, &bytes)) {
		ERR_clear_error();
		return false;
	}
	for (size_t i = 0; i < HASH_DIGITS; i++) {
		unsigned digit = hash[i / 2] >> (i % 2 ? 0 : 4) & 15u;

		out[i] = (char)(digit < 10 ? '0' + digit : 'a' + digit - 10);
	}
	return true;
}

static const char *version_text(const struct hello *h)
{
	uint16_t highest = h->versions.len > 0 ? 0 : h->legacy_version;

	for (size_t i = 0; i + 1 < h->versions.len; i += 2) {
		uint16_t version = get16(h->versions.ptr + i);

		if (!is_grease(version) && version > highest)
			highest = version;
	}
	switch (highest) {
	case 0x0304:
		return "13";
	case 0x0303:
		return "12";
	case 0x0302:
		return "11";
	case 0x0301:
		return "10";
	case 0x0300:
		return "s3";
	default:
		return "00";
	}
}

static bool is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* First and last character of the first protocol; of its hexadecimal form, if one of them is
 * neither letter nor digit; 00: none. */
static void protocol_write(const struct hello *h, char out[2])
{
	struct slice protocol;
	size_t at = 0;
	char hex[5];

	out[0] = out[1] = '0';
	if (!hello_protocol(h, &at, &protocol))
		return;
	out[0] = protocol.ptr[0];
	out[1] = protocol.ptr[protocol.len - 1];
	if (is_alphanumeric(out[0]) && is_alphanumeric(out[1]))
		return;
	snprintf(hex, sizeof(hex), "%02x%02x", (uint8_t)out[0], (uint8_t)out[1]);
	out[0] = hex[0];
	out[1] = hex[3];
}

static unsigned at_most_99(size_t n)
{
	return n > 99 ? 99 : (unsigned)n;
}

/* What JA4_c hashes: the extensions sorted, without SNI and ALPN, which are in JA4_a; then the
 * signature algorithms as they were sent. */
static char *extensions_write(char *text, const struct hello *h, uint16_t *values,
			      size_t n)
{
	char *at = text;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (values[i] != SERVER_NAME && values[i] != PROTOCOLS)
			values[kept++] = values[i];
	qsort(values, kept, sizeof(values[0]), compare_values);
	at = values_write(at, values, kept);
	n = list_values(h->signatures, values);
	if (n == 0)
		return at;
	*at++ = '_';
	return values_write(at, values, n);
}

bool ja4_write(const struct hello *h, char out[JA4_BYTES])
{
	uint16_t *values = malloc(VALUES_MAX * sizeof(*values));
	char *text = malloc(VALUES_MAX * 5 + 1), *end, first[16], protocol[2];
	size_t suites, extensions;
	bool ok = false;

	if (values && text) {
		extensions = extension_types(h->extensions, values);
		end = extensions_write(text, h, values, extensions);
		ok = hash_write(out + 24, text, (size_t)(end - text));
		suites = list_values(h->suites, values);
		qsort(values, suites, sizeof(values[0]), compare_values);
		end = values_write(text, values, suites);
		ok = hash_write(out + 11, text, (size_t)(end - text)) && ok;
		protocol_write(h, protocol);
		snprintf(first, sizeof(first), "t%s%c%02u%02u%.2s", version_text(h),
			 h->has_name ? 'd' : 'i', at_most_99(suites),
			 at_most_99(extensions), protocol);
		memcpy(out, first, 10);
		out[10] = out[23] = '_';
	}
	free(values);
	free(text);
	return ok;
}
