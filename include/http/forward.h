/* Which fields a message has when it leaves the proxy: the only place that decides it.
 *
 *   request   goes on   what was received, in its order (RFC 9110 5.3), but for: hop-by-hop fields
 *                       and those that Connection names (7.6.1); Host, which is written anew;
 *                       fields about the client that forwarding.h does not believe; Max-Forwards of
 *                       OPTIONS and TRACE (7.6.2); Expect of HTTP/1.0 (10.1.1)
 *             added     Host, Max-Forwards less one, the framing, Via (7.6.3), X-Forwarded-* and
 *                       Forwarded, Upgrade and TE with their Connection
 *   response  goes on   what was received but for hop-by-hop fields
 *             added     Date if there is none (6.6.1), the framing, Via, Upgrade, Connection
 *   reply     a response of our own
 *   trailers  goes on   what may stand in trailers (6.5.1; head_parse_trailers() marks it)
 *
 * A head may have changes (http/change.h), which apply to all of these fields, of our own as well.
 *
 * Every field goes to a sink (http/sink.h), which knows what a field looks like. No received line
 * is copied as a whole.
 *
 * Owner: the caller. Errors: sink.out.overflow; the _max() functions return a size that is always
 * enough. Pure. */
#ifndef HTTP_FORWARD_H
#define HTTP_FORWARD_H

#include "http/change.h"
#include "http/head.h"
#include "http/sink.h"

struct forwarding;

/* A field of ours, which replaces received fields of the same name. Without a value it is only
 * removed. */
struct forward_field {
	struct slice name, value;
};

struct forward_request {
	struct slice path;    /* replaces the path, not the query; empty: as received */
	struct slice host;    /* replaces Host; empty: the authority of the head */
	enum framing framing; /* to the server */
	uint64_t length;
	bool upgrade;                        /* forward Upgrade and Connection: upgrade */
	const struct forwarding *forwarding; /* the client; see http/forwarding.h */
	bool forwarded;                      /* write Forwarded (RFC 7239) as well */
	struct slice via; /* our name in Via; empty: no Via field is added */
	const struct field_changes *changes; /* NULL: none */
	const struct forward_field *own;
	unsigned own_n;
};

/* Writes a request to a server: origin-form (asterisk-form for OPTIONS *; "*" is never replaced by
 * a path), then the fields. Via has the version that the message was received in. */
void forward_request(struct sink *s, const struct head *h,
		     const struct forward_request *r);

struct forward_response {
	enum framing framing; /* to the client; FRAMING_NONE writes no framing field */
	uint64_t length;
	bool keep_length; /* FRAMING_NONE: keep a received Content-Length (HEAD, 304) */
	bool close;       /* write Connection: close */
	bool keep_alive_1_0; /* write Connection: keep-alive, for an HTTP/1.0 client */
	bool upgrade;        /* a 101: forward Upgrade and Connection: upgrade */
	struct slice date;   /* written if Date is missing, except in 1xx */
	struct slice via;    /* as in struct forward_request */
	const struct field_changes *changes; /* NULL: none */
	const struct forward_field *own; /* likewise */
	unsigned own_n;
	struct slice set_cookies[2]; /* values of Set-Cookie fields of ours; empty: none */
};

/* Writes a response to a client, whatever the version of the server. */
void forward_response(struct sink *s, const struct head *h,
		      const struct forward_response *r);

struct forward_reply {
	int status;
	struct slice content_type; /* empty: no such field */
	bool has_body;             /* write Content-Length: length */
	bool chunked;              /* write Transfer-Encoding: chunked instead */
	uint64_t length;
	bool close;
	bool keep_alive_1_0;
	struct slice date;
	struct slice proxy_name; /* written as "Proxy-Status: NAME" (RFC 9209); empty: no
				      such field */
	struct slice
		proxy_status; /* its error type, such as "connection_refused", written as
				      "; error=connection_refused"; empty: none */
	struct slice location, allow, retry_after; /* empty: no such field */
	struct slice challenge;                    /* WWW-Authenticate; likewise */
	const struct field_changes *changes;       /* NULL: none */
	const struct forward_field *own; /* as in struct forward_request */
	unsigned own_n;
};

/* Writes the head of a response that we generate. */
void forward_reply(struct sink *s, const struct forward_reply *r);

/* Writes the trailer section that follows the last chunk, with its end. */
void forward_trailers(struct sink *s, const struct head *h);

/* Most bytes that these functions add to the received head and to the slices in their
 * argument. Up to 256 of them are a space after each colon. */
#define FORWARD_EXTRA 640

/* The size of an output area that is always enough, bytes. */
size_t forward_request_max(const struct head *h, const struct forward_request *r);
size_t forward_reply_max(const struct forward_reply *r);

static inline size_t forward_own_max(const struct forward_field *own, unsigned n)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += own[i].name.len + own[i].value.len + 4; /* ": " and CRLF */
	return bytes;
}

static inline size_t forward_response_max(const struct head *h,
					  const struct forward_response *r)
{
	return h->bytes + r->date.len + r->via.len + field_changes_max(r->changes) +
	       forward_own_max(r->own, r->own_n) + r->set_cookies[0].len +
	       r->set_cookies[1].len + FORWARD_EXTRA;
}

static inline size_t forward_trailers_max(const struct head *h)
{
	return h->bytes + FORWARD_EXTRA;
}

/* The reason phrase of status.def, or "". */
const char *status_phrase(int status);

#endif
