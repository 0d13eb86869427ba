/* The ClientHello: found in the records of a connection as they arrive, and parsed. Without the
 * library, whose object costs over 40 KB once it has seen the first byte. Private to tls.
 *
 * Two steps. hello_scan() follows the records until the message is whole; it goes on where it
 * stopped, so a hello that arrives byte by byte costs no more. hello_parse() reads a whole
 * message; what it returns refers to its bytes.
 *
 * The parser is strict where the library could read something else (two names, two extensions of
 * one type, lengths that do not agree): certificate and policy are chosen by what is read here.
 *
 * Owner: none. Limits: HELLO_BYTES_MAX bytes of message in HELLO_RECORDS_MAX records. Errors: a
 * fault. Pure.
 *
 * Rests on RFC 8446 4.1.2, 4.2, 5.1; RFC 5246 7.4.1.2; RFC 6066 3; RFC 7301 3.1. */
#ifndef TLS_HELLO_H
#define TLS_HELLO_H

#include <sys/uio.h>

#include "base/verdict.h"
#include "tls/session.h"

#define HELLO_BYTES_MAX 16384
/* Enough for a usual hello in records of one byte each, which test suites send. */
#define HELLO_RECORDS_MAX 2048
/* Most bytes of a connection that hello_scan() looks at. */
#define HELLO_STREAM_MAX (HELLO_BYTES_MAX + HELLO_RECORDS_MAX * 5)
#define HELLO_NAME_MAX 253

/* ---- the message in its records ---------------------------------------------------- */

/* Zeroed: the beginning. */
struct hello_scan {
	/* The stream up to here was looked at: up to a header, or into a record. */
	uint32_t at;
	uint32_t left;     /* bytes of the current record after `at` */
	uint32_t gathered; /* bytes of the message before `at` */
	uint32_t length;   /* of the message and its header; 0: not known yet */
	uint16_t records;
	uint8_t fault;     /* enum tls_fault, VERDICT_BAD */
	uint8_t prefix[4]; /* the message's header, as far as gathered */
};

/* Goes on with the bytes of a connection, from its first one, as far as there are any. OK: the
 * message is whole, of s->length bytes. BAD: s->fault says why: NOT_TLS, PLAIN_HTTP, MESSAGE,
 * HELLO, HELLO_LARGE, RECORD_LARGE. */
MUST_USE enum verdict hello_scan(struct hello_scan *s, const struct iovec *iov,
				 unsigned n);

/* After OK: the message, if it lies in one record and one part of the vector; else an empty
 * slice. */
struct slice hello_in_place(const struct hello_scan *s, const struct iovec *iov,
			    unsigned n);

/* After OK: copies the message to `out`, which has s->length bytes. */
void hello_gather(const struct hello_scan *s, const struct iovec *iov, unsigned n,
		  char *out);

/* ---- the message ------------------------------------------------------------------- */

struct hello {
	struct slice message;
	/* Lists of the message, without their length. Each has whole elements; empty: not sent. */
	struct slice suites;     /* 2 bytes each */
	struct slice extensions; /* type, length, content */
	struct slice versions;   /* supported_versions: 2 bytes each */
	struct slice groups;     /* supported_groups: 2 bytes each */
	struct slice signatures; /* signature_algorithms: 2 bytes each */
	struct slice protocols;  /* ALPN: length, name */
	uint16_t legacy_version;
	bool tls_1_2, tls_1_3; /* offered */
	bool has_name;         /* the extension server_name was sent */
	bool has_protocols; /* the extension application_layer_protocol_negotiation was sent */
	bool ticket;        /* a session is offered: a ticket, or a pre-shared key */
	bool ecdsa;         /* a certificate with a P-256 key can be used */
	uint8_t name_n;
	char name[HELLO_NAME_MAX]; /* SNI, lower case, without a final dot */
};

/* Parses a whole message. NONE, or HELLO: malformed. */
MUST_USE enum tls_fault hello_parse(struct slice message, struct hello *h);

static inline struct slice hello_name(const struct hello *h)
{
	return (struct slice){ h->name, h->name_n };
}

bool hello_offers_group(const struct hello *h, uint16_t group);
bool hello_offers_suite(const struct hello *h, uint16_t suite);

/* The next protocol of the list: *at is 0 at first. False: there is no other. */
bool hello_protocol(const struct hello *h, size_t *at, struct slice *protocol);

#endif
