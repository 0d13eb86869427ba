/* Serialises message heads. A forwarded head is written anew from its parsed fields; no
 * received line is copied as a whole.
 *
 * Field order and unknown fields are kept (RFC 9110 5.1, 5.3); hop-by-hop fields are left
 * out; framing fields are written according to the framing.
 *
 * Owner: struct emit lives on the caller's stack. Errors: emit.overflow; the _max()
 * functions return a size that is always enough. Pure. */
#ifndef HTTP_EMIT_H
#define HTTP_EMIT_H

#include "http/head.h"

struct forwarding;

/* The output area. A write that does not fit sets `overflow`; then nothing more is
 * written. */
struct emit {
	char *at, *end;
	bool overflow;
};

void emit_slice(struct emit *e, struct slice s);
void emit_number(struct emit *e, uint64_t n);
/* "name: value CRLF" */
void emit_field(struct emit *e, struct slice name, struct slice value);

struct emit_request {
	struct slice path;  /* replaces the path, not the query; empty: as received */
	struct slice host;  /* replaces Host; empty: the authority of the head */
	enum framing framing; /* to the server */
	uint64_t length;
	bool upgrade;       /* forward Upgrade and Connection: upgrade */
	const struct forwarding *forwarding; /* the client; see http/forwarding.h */
	bool forwarded;     /* write Forwarded (RFC 7239) as well */
	struct slice via;   /* our name in Via; empty: no Via field is added */
};

/* Writes a request to a server, in HTTP/1.1: origin-form (asterisk-form for OPTIONS *;
 * "*" is never replaced by a path), Host first, then the received fields, then "Via: 1.1
 * NAME" (1.0 for an HTTP/1.0 client) and the fields of forwarding_emit(). Max-Forwards of
 * OPTIONS and TRACE is decremented. Expect of an HTTP/1.0 client is left out (RFC 9110
 * 10.1.1). */
void emit_request(struct emit *e, const struct head *h, const struct emit_request *r);

struct emit_response {
	enum framing framing; /* to the client; FRAMING_NONE writes no framing field */
	uint64_t length;
	bool keep_length;  /* FRAMING_NONE: keep a received Content-Length (HEAD, 304) */
	bool close;        /* write Connection: close */
	bool keep_alive_1_0; /* write Connection: keep-alive, for an HTTP/1.0 client */
	bool upgrade;      /* a 101: forward Upgrade and Connection: upgrade */
	struct slice date; /* written if Date is missing (RFC 9110 6.6.1), except in 1xx */
	struct slice via;  /* as in struct emit_request */
};

/* Writes a response to a client, in HTTP/1.1 whatever the version of the server; adds
 * "Via: 1.1 NAME" (1.0 for an HTTP/1.0 origin). */
void emit_response(struct emit *e, const struct head *h, const struct emit_response *r);

/* Most bytes that these two functions add to the received head and to the slices in their
 * argument. Up to 256 of them are a space after each colon. */
#define EMIT_EXTRA 640

/* The size of an output area that is always enough, bytes. */
size_t emit_request_max(const struct head *h, const struct emit_request *r);

static inline size_t emit_response_max(const struct head *h, const struct emit_response *r)
{
	return h->bytes + r->date.len + r->via.len + EMIT_EXTRA;
}

struct emit_reply {
	int status;
	struct slice content_type; /* empty: no such field */
	bool has_body;             /* write Content-Length: length */
	bool chunked;              /* write Transfer-Encoding: chunked instead */
	uint64_t length;
	bool close;
	bool keep_alive_1_0;
	struct slice date;
	struct slice proxy_name;   /* written as "Proxy-Status: NAME" (RFC 9209); empty: no
				      such field */
	struct slice proxy_status; /* its error type, such as "connection_refused", written as
				      "; error=connection_refused"; empty: none */
	struct slice location, allow, retry_after; /* empty: no such field */
};

/* Writes the head of a response that we generate. */
void emit_reply(struct emit *e, const struct emit_reply *r);

/* Writes the trailer section that follows "0 CRLF": the fields that may be forwarded, and
 * the empty line. */
void emit_trailers(struct emit *e, const struct head *h);

/* The reason phrase of status.def, or "". */
const char *status_phrase(int status);

/* IMF-fixdate (RFC 9110 5.6.7), 29 bytes and a NUL; wall_ms: since 1970. */
#define EMIT_DATE_MAX 30
void emit_date(char text[EMIT_DATE_MAX], uint64_t wall_ms);

#endif
