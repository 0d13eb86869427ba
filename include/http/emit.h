/* Meaning to bytes: heads as we write them. What is forwarded is serialised anew
 * from what was understood; no received line is ever copied whole.
 *
 * Field order and unknown fields are kept (RFC 9110 5.1, 5.3); per-hop fields are
 * left out; framing fields are written from the framing. Pure. */
#ifndef HTTP_EMIT_H
#define HTTP_EMIT_H

#include "http/head.h"

struct forwarding;

/* Where bytes go. Writing past the end sets `overflow` and writes nothing more. */
struct emit {
	char *at, *end;
	bool overflow;
};

void emit_slice(struct emit *e, struct slice s);
void emit_number(struct emit *e, uint64_t n);
/* "name: value CRLF" */
void emit_field(struct emit *e, struct slice name, struct slice value);

struct emit_request {
	struct slice path;  /* replaces the path, the query is kept; empty: as received */
	struct slice host;  /* replaces Host; empty: the authority of the head */
	enum framing framing; /* to the origin */
	uint64_t length;
	bool upgrade;       /* forward Upgrade and Connection: upgrade */
	const struct forwarding *forwarding; /* who asks; see http/forwarding.h */
	bool forwarded;     /* write Forwarded (RFC 7239) as well */
	struct slice via;   /* our name in Via; empty: no Via of ours */
};

/* A request to an origin: origin-form (asterisk-form for OPTIONS *), HTTP/1.1,
 * Host first, "Via: 1.1 NAME" (1.0 for an HTTP/1.0 client) appended to what is
 * there, then what forwarding_emit() writes. "*" is never replaced by a path.
 * Max-Forwards of OPTIONS and TRACE is one less than received. An HTTP/1.0 client's
 * Expect is left out (RFC 9110 10.1.1). */
void emit_request(struct emit *e, const struct head *h, const struct emit_request *r);

struct emit_response {
	enum framing framing; /* to the client; FRAMING_NONE writes no framing field, but
				 a Content-Length of an answer to HEAD and of a 304 is
				 kept where `keep_length` says so */
	uint64_t length;
	bool keep_length;
	bool close;        /* write Connection: close */
	bool keep_alive_1_0; /* write Connection: keep-alive, for an HTTP/1.0 client */
	bool upgrade;      /* a 101: Upgrade and Connection: upgrade are kept */
	struct slice date; /* written where Date is missing (RFC 9110 6.6.1); not in 1xx */
	struct slice via;  /* as in a request */
};

/* A response to a client, HTTP/1.1 whatever the origin spoke; adds
 * "Via: 1.1 NAME" (1.0 if the origin spoke that). */
void emit_response(struct emit *e, const struct head *h, const struct emit_response *r);

/* Most bytes that the two above can add to those of the head itself (of which a
 * space after each colon is up to 256), over and above the slices that come along. */
#define EMIT_EXTRA 640

/* Room that is enough. */
size_t emit_request_max(const struct head *h, const struct emit_request *r);

static inline size_t emit_response_max(const struct head *h, const struct emit_response *r)
{
	return h->bytes + r->date.len + r->via.len + EMIT_EXTRA;
}

struct emit_reply {
	int status;
	struct slice content_type; /* empty: none */
	bool has_body;             /* write Content-Length: length */
	bool chunked;              /* write Transfer-Encoding: chunked instead */
	uint64_t length;
	bool close;
	bool keep_alive_1_0;
	struct slice date;
	struct slice proxy_name;   /* written as "Proxy-Status: NAME" (RFC 9209); empty: no
				      such field */
	struct slice proxy_status; /* its error, e.g. "connection_refused", written as
				      "; error=connection_refused"; empty: none */
	struct slice location, allow, retry_after; /* empty: none */
};

/* The head of an answer of our own. */
void emit_reply(struct emit *e, const struct emit_reply *r);

/* Fields of a trailer section that may be forwarded, and the empty line: what comes
 * after the last chunk's "0 CRLF". */
void emit_trailers(struct emit *e, const struct head *h);

const char *status_phrase(int status); /* "" if we have none */

/* IMF-fixdate (RFC 9110 5.6.7), 29 bytes and a NUL. */
#define EMIT_DATE_MAX 30
void emit_date(char text[EMIT_DATE_MAX], uint64_t wall_ms);

#endif
