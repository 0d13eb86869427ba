/* The header of the PROXY protocol, versions 1 and 2: what a proxy sends first on a connection, to
 * say whose connection it forwards (HAProxy, doc/proxy-protocol.txt).
 *
 *   version 1   one line of text, at most PROXY_HEADER_V1_MAX bytes
 *   version 2   16 bytes, the addresses, then type-length-value entries
 *
 * A header that states no address is `local`: LOCAL (a health check of the proxy itself), UNKNOWN,
 * UNSPEC and the datagram protocols; the addresses are then those of the connection. Entries for
 * ALPN, authority, and TLS of the client's connection are read; a CRC-32C is verified; others are
 * skipped. A text with an octet that is not printable ASCII counts as absent.
 *
 * Owner: none; the slices of a parsed header point into the parsed bytes. Limits: a header of more
 * than PROXY_HEADER_MAX bytes is BAD. Errors: a verdict. Whom to believe is decided by the caller.
 * Pure. */
#ifndef NET_PROXYHEADER_H
#define NET_PROXYHEADER_H

#include "base/check.h"
#include "base/verdict.h"
#include "io/sock.h"

#define PROXY_HEADER_V1_MAX 107
#define PROXY_HEADER_MAX 4096

struct proxy_header {
	bool local;                      /* source and destination are not set */
	bool tls;                        /* the client's connection uses TLS */
	struct peer source, destination; /* AF_UNIX: without path */
	struct slice alpn;               /* empty, as all slices: not stated */
	struct slice authority;          /* SNI of the client */
	/* With `tls`. subject: the common name of the client's certificate, only if the sender has
	 * verified it. */
	struct slice version, cipher, subject;
	uint32_t bytes; /* of the whole header */
};

/* The verdict is MORE until the header is complete, and does not depend on how the bytes are
 * split. BAD: no header, or a malformed or too long one, as soon as that is known. */
enum verdict proxy_header_parse(struct proxy_header *h, const char *bytes,
				size_t n) MUST_USE;

/* Enough for each header that the functions below write. */
#define PROXY_HEADER_WRITE_MAX 1024

/* Write a header and return its length. Version 1 has the addresses only, and UNKNOWN for those
 * that are not IP addresses of one family. Version 2 has a CRC-32C; an entry that would exceed
 * PROXY_HEADER_WRITE_MAX is left out. */
size_t proxy_header_write_v1(const struct proxy_header *h,
			     char out[PROXY_HEADER_WRITE_MAX]);
size_t proxy_header_write_v2(const struct proxy_header *h,
			     char out[PROXY_HEADER_WRITE_MAX]);

#endif
