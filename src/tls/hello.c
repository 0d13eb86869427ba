#include "hello.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

enum {
	CLIENT_HELLO = 1,
	MESSAGE_HEADER = 4, /* bytes: type, length */
	METHOD_MAX = 16,    /* a longer word is no method of HTTP */
};

/* ExtensionType. */
#define SERVER_NAME 0
#define SUPPORTED_GROUPS 10
#define SIGNATURE_ALGORITHMS 13
#define PROTOCOLS 16
#define SESSION_TICKET 35
#define PRE_SHARED_KEY 41
#define SUPPORTED_VERSIONS 43

/* ---- the message in its records ---------------------------------------------------- */

/* Reads the octet at a place of the stream. False: it has not arrived. */
static bool octet_at(const struct iovec *iov, unsigned n, size_t place, uint8_t *octet)
{
	for (unsigned i = 0; i < n; i++) {
		if (place < iov[i].iov_len) {
			*octet = ((const uint8_t *)iov[i].iov_base)[place];
			return true;
		}
		place -= iov[i].iov_len;
	}
	return false;
}

static size_t vector_bytes(const struct iovec *iov, unsigned n)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static enum verdict scan_bad(struct hello_scan *s, enum tls_fault fault)
{
	s->fault = (uint8_t)fault;
	return VERDICT_BAD;
}

/* The first octet is not that of a handshake. A word of upper-case letters and a space: a method,
 * so the client speaks plain HTTP. */
static enum verdict scan_other_protocol(struct hello_scan *s, const struct iovec *iov,
					unsigned n)
{
	uint8_t octet = 0;
	size_t at = 0;

	while (octet_at(iov, n, at, &octet)) {
		if (octet == ' ' && at > 2)
			return scan_bad(s, TLS_FAULT_PLAIN_HTTP);
		if (octet < 'A' || octet > 'Z' || at == METHOD_MAX)
			return scan_bad(s, TLS_FAULT_NOT_TLS);
		at++;
	}
	return VERDICT_MORE;
}

/* Those of TLS and its extensions. */
static bool is_content_type(uint8_t octet)
{
	return octet >= RECORD_CHANGE_CIPHER_SPEC && octet <= RECORD_HEARTBEAT;
}

/* The header of a record, as far as it has arrived, at s->at. */
static enum verdict scan_header(struct hello_scan *s, const struct iovec *iov, unsigned n)
{
	uint8_t header[RECORD_HEADER_BYTES];
	unsigned have = 0;
	uint32_t length;

	while (have < sizeof(header) && octet_at(iov, n, s->at + have, &header[have]))
		have++;
	if (have == 0)
		return VERDICT_MORE;
	if (header[0] != RECORD_HANDSHAKE) {
		if (s->records == 0 && !is_content_type(header[0]))
			return scan_other_protocol(s, iov, n);
		return scan_bad(s, TLS_FAULT_MESSAGE);
	}
	if (have > 1 && header[1] != 3)
		return scan_bad(s, TLS_FAULT_NOT_TLS);
	if (have < sizeof(header))
		return VERDICT_MORE;
	length = (uint32_t)header[3] << 8 | header[4];
	if (length > RECORD_PLAIN_MAX)
		return scan_bad(s, TLS_FAULT_RECORD_LARGE);
	if (length == 0) /* RFC 8446 5.1 */
		return scan_bad(s, TLS_FAULT_MESSAGE);
	if (++s->records > HELLO_RECORDS_MAX)
		return scan_bad(s, TLS_FAULT_HELLO_LARGE);
	s->at += RECORD_HEADER_BYTES;
	s->left = length;
	return VERDICT_OK;
}

/* The header of the message, octet by octet: records may cut it. */
static enum verdict scan_message_header(struct hello_scan *s, const struct iovec *iov,
					unsigned n)
{
	while (s->gathered < MESSAGE_HEADER && s->left > 0) {
		if (!octet_at(iov, n, s->at, &s->prefix[s->gathered]))
			return VERDICT_MORE;
		s->gathered++;
		s->at++;
		s->left--;
		if (s->prefix[0] != CLIENT_HELLO)
			return scan_bad(s, TLS_FAULT_MESSAGE);
	}
	if (s->gathered < MESSAGE_HEADER)
		return VERDICT_OK;
	s->length = MESSAGE_HEADER + ((uint32_t)s->prefix[1] << 16 |
				      (uint32_t)s->prefix[2] << 8 | s->prefix[3]);
	if (s->length > HELLO_BYTES_MAX)
		return scan_bad(s, TLS_FAULT_HELLO_LARGE);
	return VERDICT_OK;
}

/* The bytes of the current record that have arrived. */
static void scan_fragment(struct hello_scan *s, size_t bytes)
{
	size_t part = bytes - s->at;

	if (part > s->left)
		part = s->left;
	if (part > s->length - s->gathered)
		part = s->length - s->gathered;
	s->at += (uint32_t)part;
	s->left -= (uint32_t)part;
	s->gathered += (uint32_t)part;
}

enum verdict hello_scan(struct hello_scan *s, const struct iovec *iov, unsigned n)
{
	size_t bytes = vector_bytes(iov, n);
	enum verdict v;

	ASSERT(bytes >= s->at);
	if (s->fault != TLS_FAULT_NONE)
		return VERDICT_BAD;
	while (s->length == 0 || s->gathered < s->length) {
		if (s->left == 0) {
			v = scan_header(s, iov, n);
			if (v != VERDICT_OK)
				return v;
		}
		if (s->length == 0) {
			v = scan_message_header(s, iov, n);
			if (v != VERDICT_OK)
				return v;
			continue;
		}
		scan_fragment(s, bytes);
		if (s->left > 0 && s->gathered < s->length)
			return VERDICT_MORE;
	}
	return VERDICT_OK;
}

struct slice hello_in_place(const struct hello_scan *s, const struct iovec *iov,
			    unsigned n)
{
	ASSERT(s->length > 0 && s->gathered == s->length);
	if (s->records != 1 || n == 0 || iov[0].iov_len < RECORD_HEADER_BYTES + s->length)
		return (struct slice){ NULL, 0 };
	return (struct slice){ (const char *)iov[0].iov_base + RECORD_HEADER_BYTES,
			       s->length };
}

/* Copies [place, place + bytes) of the stream. */
static void stream_copy(const struct iovec *iov, size_t place, char *out, size_t bytes)
{
	for (; bytes > 0; iov++) {
		size_t part;

		if (place >= iov->iov_len) {
			place -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - place < bytes ? iov->iov_len - place : bytes;
		memcpy(out, (const char *)iov->iov_base + place, part);
		out += part;
		bytes -= part;
		place = 0;
	}
}

void hello_gather(const struct hello_scan *s, const struct iovec *iov, unsigned n,
		  char *out)
{
	size_t place = 0, gathered = 0;

	ASSERT(s->length > 0 && s->gathered == s->length);
	ASSERT(vector_bytes(iov, n) >= s->at);
	while (gathered < s->length) {
		uint8_t header[RECORD_HEADER_BYTES];
		size_t part;

		stream_copy(iov, place, (char *)header, sizeof(header));
		place += sizeof(header);
		part = (size_t)header[3] << 8 | header[4];
		if (part > s->length - gathered)
			part = s->length - gathered;
		stream_copy(iov, place, out + gathered, part);
		place += part;
		gathered += part;
	}
}

/* ---- the message ------------------------------------------------------------------- */

static uint16_t get16(const char *at)
{
	return (uint16_t)((uint8_t)at[0] << 8 | (uint8_t)at[1]);
}

/* Takes n bytes from the front. False: there are fewer. */
static bool take(struct slice *from, size_t n, struct slice *out)
{
	if (from->len < n)
		return false;
	*out = (struct slice){ from->ptr, n };
	*from = slice_after(*from, n);
	return true;
}

/* Takes a vector: its length in `size` bytes, 1 or 2, and its content. */
static bool take_vector(struct slice *from, unsigned size, struct slice *out)
{
	struct slice length;

	if (!take(from, size, &length))
		return false;
	return take(from, size == 1 ? (uint8_t)length.ptr[0] : get16(length.ptr), out);
}

/* A vector with a length of `size` bytes that is all of `from`, of elements of 2 bytes, 1 at
 * least. */
static bool read_list(struct slice from, unsigned size, struct slice *out)
{
	return take_vector(&from, size, out) && from.len == 0 && out->len > 0 &&
	       out->len % 2 == 0;
}

static bool list_has(struct slice list, uint16_t value)
{
	for (size_t i = 0; i + 1 < list.len; i += 2)
		if (get16(list.ptr + i) == value)
			return true;
	return false;
}

static bool is_name_octet(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/* Copies a host name in lower case: labels of 1 to 63 letters, digits, hyphens, and underscores,
 * which names on private networks have. Without the final dot. */
static bool copy_name(struct slice name, struct hello *h)
{
	size_t label = 0;

	if (name.len > 1 && name.ptr[name.len - 1] == '.')
		name.len--;
	if (name.len == 0 || name.len > HELLO_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (c == '.' ? label == 0 : !is_name_octet(c) || label == 63)
			return false;
		label = c == '.' ? 0 : label + 1;
		h->name[i] = (char)tolower((unsigned char)c);
	}
	h->name_n = (uint8_t)name.len;
	return label > 0;
}

/* RFC 6066 3: a list of names of different types; only host_name (0) exists. */
static bool read_server_name(struct slice content, struct hello *h)
{
	struct slice list, type, name;

	h->has_name = true;
	return take_vector(&content, 2, &list) && content.len == 0 &&
	       take(&list, 1, &type) && type.ptr[0] == 0 &&
	       take_vector(&list, 2, &name) && list.len == 0 && copy_name(name, h);
}

/* RFC 7301 3.1: names of 1 to 255 bytes, 1 at least. */
static bool read_protocols(struct slice content, struct hello *h)
{
	struct slice list, name;

	h->has_protocols = true;
	if (!take_vector(&content, 2, &list) || content.len > 0 || list.len == 0)
		return false;
	h->protocols = list;
	while (list.len > 0)
		if (!take_vector(&list, 1, &name) || name.len == 0)
			return false;
	return true;
}

static bool read_extension(uint16_t type, struct slice content, struct hello *h)
{
	switch (type) {
	case SERVER_NAME:
		return read_server_name(content, h);
	case SUPPORTED_GROUPS:
		return read_list(content, 2, &h->groups);
	case SIGNATURE_ALGORITHMS:
		return read_list(content, 2, &h->signatures);
	case PROTOCOLS:
		return read_protocols(content, h);
	case SUPPORTED_VERSIONS:
		return read_list(content, 1, &h->versions);
	case SESSION_TICKET:
		h->ticket = h->ticket || content.len > 0;
		return true;
	case PRE_SHARED_KEY:
		h->ticket = true;
		return true;
	default:
		return true;
	}
}

/* RFC 8446 4.2: no type twice, and pre_shared_key is the last one. A bit for each type, since a
 * hello may have thousands of extensions. */
static bool read_extensions(struct hello *h)
{
	uint8_t seen[65536 / 8] = { 0 };
	struct slice rest = h->extensions;

	while (rest.len > 0) {
		struct slice head, content;
		uint16_t type;

		if (!take(&rest, 2, &head) || !take_vector(&rest, 2, &content))
			return false;
		type = get16(head.ptr);
		if (seen[type / 8] & 1u << type % 8)
			return false;
		seen[type / 8] |= (uint8_t)(1u << type % 8);
		if (type == PRE_SHARED_KEY && rest.len > 0)
			return false;
		if (!read_extension(type, content, h))
			return false;
	}
	return true;
}

/* Accepts signatures of a P-256 key. TLS 1.2 has no curve in the names of signatures, and without
 * the extension the suites say it (RFC 5246 7.4.1.4.1). */
static bool takes_ecdsa(const struct hello *h)
{
	static const uint16_t with_sha[] = { 0x0403, 0x0503, 0x0603, 0x0203 };

	if (h->tls_1_3)
		return list_has(h->signatures, with_sha[0]);
	for (size_t i = 0; i < COUNT(with_sha); i++)
		if (list_has(h->signatures, with_sha[i]))
			return true;
	return h->signatures.len == 0;
}

static bool can_ecdsa(const struct hello *h)
{
	static const uint16_t suites[] = { 0xc02b, 0xc02c, 0xcca9 };
	enum { SECP256R1 = 23 };

	if (!takes_ecdsa(h))
		return false;
	if (h->tls_1_3)
		return true;
	if (h->groups.len > 0 && !list_has(h->groups, SECP256R1))
		return false;
	for (size_t i = 0; i < COUNT(suites); i++)
		if (list_has(h->suites, suites[i]))
			return true;
	return false;
}

static bool parse(struct slice rest, struct hello *h)
{
	struct slice header, version, random, session, compression;

	if (!take(&rest, MESSAGE_HEADER, &header) || header.ptr[0] != CLIENT_HELLO ||
	    rest.len != ((size_t)(uint8_t)header.ptr[1] << 16 | get16(header.ptr + 2)))
		return false;
	if (!take(&rest, 2, &version) || !take(&rest, 32, &random) ||
	    !take_vector(&rest, 1, &session) || session.len > 32 ||
	    !take_vector(&rest, 2, &h->suites) || h->suites.len == 0 ||
	    h->suites.len % 2 != 0 || !take_vector(&rest, 1, &compression) ||
	    compression.len == 0)
		return false;
	h->legacy_version = get16(version.ptr);
	if (rest.len == 0)
		return true;
	return take_vector(&rest, 2, &h->extensions) && rest.len == 0 &&
	       read_extensions(h);
}

enum tls_fault hello_parse(struct slice message, struct hello *h)
{
	*h = (struct hello){ .message = message };
	if (!parse(message, h))
		return TLS_FAULT_HELLO;
	h->tls_1_3 = list_has(h->versions, 0x0304);
	h->tls_1_2 = h->versions.len > 0 ? list_has(h->versions, 0x0303)
					 : h->legacy_version >= 0x0303;
	h->ecdsa = can_ecdsa(h);
	return TLS_FAULT_NONE;
}

bool hello_offers_group(const struct hello *h, uint16_t group)
{
	return list_has(h->groups, group);
}

bool hello_offers_suite(const struct hello *h, uint16_t suite)
{
	return list_has(h->suites, suite);
}

bool hello_protocol(const struct hello *h, size_t *at, struct slice *protocol)
{
	struct slice rest = slice_after(h->protocols, *at);

	if (!take_vector(&rest, 1, protocol))
		return false;
	*at = h->protocols.len - rest.len;
	return true;
}
