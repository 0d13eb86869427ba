#include "net/proxyheader.h"

#include <stdio.h>

#include "base/ip.h"

#define V1_PREFIX "PROXY "
#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_HEAD 16
#define CRC_BYTES 4

/* Types of entries. */
enum {
	ENTRY_ALPN = 0x01,
	ENTRY_AUTHORITY = 0x02,
	ENTRY_CRC32C = 0x03,
	ENTRY_TLS = 0x20,
	ENTRY_TLS_VERSION = 0x21,
	ENTRY_TLS_SUBJECT = 0x22,
	ENTRY_TLS_CIPHER = 0x23,
};
/* Bits of the first byte of ENTRY_TLS. */
enum { CLIENT_TLS = 1, CLIENT_CERTIFICATE = 2, CLIENT_CERTIFICATE_BEFORE = 4 };

/* ---- version 1 ----------------------------------------------------------------- */

/* Cuts the text up to the next space off the front of *line. */
static struct slice word_take(struct slice *line)
{
	const char *space = line->len > 0 ? memchr(line->ptr, ' ', line->len) : NULL;
	struct slice word = *line;

	if (space)
		word.len = (size_t)(space - line->ptr);
	*line = slice_after(*line, space ? word.len + 1 : word.len);
	return word;
}

static bool port_parse(struct slice text, unsigned short *port)
{
	unsigned value = 0;

	if (text.len == 0 || text.len > 5 || (text.len > 1 && text.ptr[0] == '0'))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text.ptr[i] - '0');
	}
	*port = (unsigned short)value;
	return value <= 65535;
}

static struct peer peer_of(const struct ip *ip)
{
	struct peer p = { .family = ip->family == 4 ? AF_INET : AF_INET6 };

	memcpy(p.addr, ip->bytes, ip->family == 4 ? 4 : 16);
	return p;
}

/* TCP4 has dotted quads, TCP6 what has a colon. */
static bool address_parse(struct slice text, bool v6, struct peer *p)
{
	struct ip ip;

	if (text.len == 0 || !memchr(text.ptr, ':', text.len) == v6 ||
	    !ip_parse(&ip, text))
		return false;
	*p = peer_of(&ip);
	return true;
}

static bool v1_line_parse(struct proxy_header *h, struct slice line)
{
	struct slice protocol = word_take(&line), source, destination, source_port;
	bool v6 = slice_equal(protocol, SLICE("TCP6"));

	if (slice_equal(protocol, SLICE("UNKNOWN"))) {
		h->local = true;
		return true; /* whatever follows is to be ignored */
	}
	if (!v6 && !slice_equal(protocol, SLICE("TCP4")))
		return false;
	source = word_take(&line);
	destination = word_take(&line);
	source_port = word_take(&line);
	return address_parse(source, v6, &h->source) &&
	       address_parse(destination, v6, &h->destination) &&
	       port_parse(source_port, &h->source.port) &&
	       port_parse(line, &h->destination.port);
}

static enum verdict v1_parse(struct proxy_header *h, const char *bytes, size_t n)
{
	const size_t prefix = sizeof(V1_PREFIX) - 1;
	size_t limit = n < PROXY_HEADER_V1_MAX ? n : PROXY_HEADER_V1_MAX;
	const char *end = memchr(bytes, '\n', limit);

	if (!end)
		return n < PROXY_HEADER_V1_MAX ? VERDICT_MORE : VERDICT_BAD;
	h->bytes = (uint32_t)(end - bytes) + 1;
	if (h->bytes < prefix + 2 || end[-1] != '\r')
		return VERDICT_BAD;
	return v1_line_parse(h, (struct slice){ bytes + prefix, h->bytes - prefix - 2 })
		       ? VERDICT_OK
		       : VERDICT_BAD;
}

/* ---- version 2 ----------------------------------------------------------------- */

static unsigned number16(const char *bytes)
{
	return (unsigned)(uint8_t)bytes[0] << 8 | (uint8_t)bytes[1];
}

static uint32_t number32(const char *bytes)
{
	return (uint32_t)number16(bytes) << 16 | number16(bytes + 2);
}

/* CRC-32C (RFC 3720 B.4) of bytes in which the four at `hole` count as 0. */
static uint32_t crc32c(const char *bytes, size_t n, size_t hole)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		crc ^= i - hole < CRC_BYTES ? 0 : (uint8_t)bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

struct entry {
	unsigned type;
	struct slice value;
};

/* Cuts the first entry off *rest. False: it is malformed. */
static bool entry_take(struct slice *rest, struct entry *e)
{
	size_t len;

	if (rest->len < 3)
		return false;
	len = number16(rest->ptr + 1);
	if (len > rest->len - 3)
		return false;
	*e = (struct entry){ (uint8_t)rest->ptr[0], { rest->ptr + 3, len } };
	*rest = slice_after(*rest, 3 + len);
	return true;
}

static struct slice printable(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < ' ' || text.ptr[i] > '~')
			text.len = 0;
	return text;
}

static bool tls_parse(struct proxy_header *h, struct slice value)
{
	bool verified;
	struct entry e;

	if (value.len < 5)
		return false;
	h->tls = value.ptr[0] & CLIENT_TLS;
	verified = value.ptr[0] & (CLIENT_CERTIFICATE | CLIENT_CERTIFICATE_BEFORE) &&
		   number32(value.ptr + 1) == 0;
	value = slice_after(value, 5);
	while (value.len > 0) {
		if (!entry_take(&value, &e))
			return false;
		if (e.type == ENTRY_TLS_VERSION)
			h->version = printable(e.value);
		else if (e.type == ENTRY_TLS_CIPHER)
			h->cipher = printable(e.value);
		else if (e.type == ENTRY_TLS_SUBJECT && verified)
			h->subject = printable(e.value);
	}
	return true;
}

/* False: malformed, or the checksum is wrong. */
static bool entries_parse(struct proxy_header *h, const char *bytes, struct slice rest)
{
	struct entry e;

	while (rest.len > 0) {
		if (!entry_take(&rest, &e))
			return false;
		if (e.type == ENTRY_ALPN)
			h->alpn = printable(e.value);
		else if (e.type == ENTRY_AUTHORITY)
			h->authority = printable(e.value);
		else if (e.type == ENTRY_TLS && !tls_parse(h, e.value))
			return false;
		if (e.type == ENTRY_CRC32C &&
		    (e.value.len != CRC_BYTES ||
		     number32(e.value.ptr) !=
			     crc32c(bytes, h->bytes, (size_t)(e.value.ptr - bytes))))
			return false;
	}
	return true;
}

/* The addresses of a stream protocol, and their length. 0: none that are known. */
static size_t v2_addresses(struct proxy_header *h, unsigned family, const char *at)
{
	struct ip source = { .family = 4 }, destination = { .family = 4 };
	size_t n = family == 0x11 ? 4 : 16;

	if (family == 0x31) {
		h->source.family = h->destination.family = AF_UNIX;
		return 216;
	}
	if (family != 0x11 && family != 0x21)
		return 0;
	memcpy(source.bytes, at, n);
	memcpy(destination.bytes, at + n, n);
	source.family = destination.family = family == 0x11 ? 4 : 6;
	h->source = peer_of(&source);
	h->destination = peer_of(&destination);
	h->source.port = (unsigned short)number16(at + 2 * n);
	h->destination.port = (unsigned short)number16(at + 2 * n + 2);
	return 2 * n + 4;
}

/* An IPv4 address in an IPv6 one is the client's address in the other form (base/ip.h). */
static void unmap(struct peer *p)
{
	static const char prefix[12] = { [10] = '\xff', [11] = '\xff' };

	if (p->family != AF_INET6 || memcmp(p->addr, prefix, sizeof(prefix)) != 0)
		return;
	p->family = AF_INET;
	memmove(p->addr, p->addr + 12, 4);
	memset(p->addr + 4, 0, 12);
}

static size_t v2_address_bytes(unsigned family)
{
	return family == 0x11 ? 12 : family == 0x21 ? 36 : family == 0x31 ? 216 : 0;
}

static enum verdict v2_parse(struct proxy_header *h, const char *bytes, size_t n)
{
	unsigned command = (uint8_t)bytes[12], family = (uint8_t)bytes[13];
	size_t addresses = v2_address_bytes(family);

	if (command != 0x20 && command != 0x21)
		return VERDICT_BAD;
	h->bytes = V2_HEAD + number16(bytes + 14);
	if (h->bytes > PROXY_HEADER_MAX)
		return VERDICT_BAD;
	h->local = command == 0x20 || addresses == 0;
	if (!h->local && h->bytes < V2_HEAD + addresses)
		return VERDICT_BAD;
	if (n < h->bytes)
		return VERDICT_MORE;
	if (h->local)
		return VERDICT_OK; /* the rest is to be skipped */
	addresses = v2_addresses(h, family, bytes + V2_HEAD);
	unmap(&h->source);
	unmap(&h->destination);
	return entries_parse(h, bytes,
			     (struct slice){ bytes + V2_HEAD + addresses,
					     h->bytes - V2_HEAD - addresses })
		       ? VERDICT_OK
		       : VERDICT_BAD;
}

enum verdict proxy_header_parse(struct proxy_header *h, const char *bytes, size_t n)
{
	size_t v1 = n < sizeof(V1_PREFIX) - 1 ? n : sizeof(V1_PREFIX) - 1;
	size_t v2 = n < sizeof(V2_SIGNATURE) - 1 ? n : sizeof(V2_SIGNATURE) - 1;

	*h = (struct proxy_header){ .bytes = 0 };
	if (n == 0)
		return VERDICT_MORE;
	if (memcmp(bytes, V1_PREFIX, v1) == 0)
		return v1_parse(h, bytes, n);
	if (memcmp(bytes, V2_SIGNATURE, v2) != 0)
		return VERDICT_BAD;
	return n < V2_HEAD ? VERDICT_MORE : v2_parse(h, bytes, n);
}

/* ---- writing --------------------------------------------------------------------- */

static bool have_ip(const struct proxy_header *h)
{
	return !h->local && h->source.family != AF_UNIX &&
	       h->source.family == h->destination.family;
}

size_t proxy_header_write_v1(const struct proxy_header *h,
			     char out[PROXY_HEADER_WRITE_MAX])
{
	char source[SOCK_TEXT_MAX], destination[SOCK_TEXT_MAX];

	if (!have_ip(h))
		return (size_t)sprintf(out, "PROXY UNKNOWN\r\n");
	peer_text(&h->source, source, sizeof(source));
	peer_text(&h->destination, destination, sizeof(destination));
	return (size_t)snprintf(out, PROXY_HEADER_WRITE_MAX, "PROXY %s %s %s %u %u\r\n",
				h->source.family == AF_INET ? "TCP4" : "TCP6", source,
				destination, h->source.port, h->destination.port);
}

/* The output of version 2. */
struct header_output {
	char *bytes;
	size_t n;
};

static void header_put(struct header_output *o, const void *bytes, size_t n)
{
	memcpy(o->bytes + o->n, bytes, n);
	o->n += n;
}

static void put16(struct header_output *o, size_t value)
{
	const char bytes[2] = { (char)(value >> 8), (char)value };

	header_put(o, bytes, 2);
}

/* Space is kept for the entries that are not texts, and for the checksum. */
static void put_entry(struct header_output *o, unsigned type, struct slice value)
{
	if (value.len == 0 || o->n + 3 + value.len > PROXY_HEADER_WRITE_MAX - 32)
		return;
	o->bytes[o->n++] = (char)type;
	put16(o, value.len);
	header_put(o, value.ptr, value.len);
}

static void put_tls(struct header_output *o, const struct proxy_header *h)
{
	size_t begin = o->n;
	const char fixed[5] = { h->subject.len > 0 ? CLIENT_TLS | CLIENT_CERTIFICATE
						   : CLIENT_TLS };

	o->bytes[o->n++] = ENTRY_TLS;
	o->n += 2;
	header_put(o, fixed, sizeof(fixed));
	put_entry(o, ENTRY_TLS_VERSION, h->version);
	put_entry(o, ENTRY_TLS_SUBJECT, h->subject);
	put_entry(o, ENTRY_TLS_CIPHER, h->cipher);
	put16(&(struct header_output){ o->bytes, begin + 1 }, o->n - begin - 3);
}

static void put_addresses(struct header_output *o, const struct proxy_header *h)
{
	size_t n = h->source.family == AF_INET ? 4 : 16;

	if (!have_ip(h))
		return;
	header_put(o, h->source.addr, n);
	header_put(o, h->destination.addr, n);
	put16(o, h->source.port);
	put16(o, h->destination.port);
}

static void put_checksum(struct header_output *o)
{
	size_t at = o->n + 3;
	uint32_t crc;

	o->bytes[o->n++] = ENTRY_CRC32C;
	put16(o, CRC_BYTES);
	put16(o, 0);
	put16(o, 0);
	put16(&(struct header_output){ o->bytes, 14 }, o->n - V2_HEAD);
	crc = crc32c(o->bytes, o->n, at);
	o->n = at;
	put16(o, crc >> 16);
	put16(o, crc & 0xffff);
}

size_t proxy_header_write_v2(const struct proxy_header *h,
			     char out[PROXY_HEADER_WRITE_MAX])
{
	struct header_output o = { out, 0 };

	header_put(&o, V2_SIGNATURE, sizeof(V2_SIGNATURE) - 1);
	out[o.n++] = h->local ? 0x20 : 0x21;
	out[o.n++] = !have_ip(h) ? 0 : h->source.family == AF_INET ? 0x11 : 0x21;
	o.n += 2;
	put_addresses(&o, h);
	if (!h->local) {
		put_entry(&o, ENTRY_ALPN, h->alpn);
		put_entry(&o, ENTRY_AUTHORITY, h->authority);
		if (h->tls)
			put_tls(&o, h);
	}
	put_checksum(&o);
	return o.n;
}
