/* Where the head of a message is written to, field by field.
 *
 * http/forward.h decides which fields a message has and hands each one to a sink; the sink decides
 * what they become. So a rule about fields is written once, whatever the message is written as.
 *
 * A head is written in this order: request() or status(), the fields, end(). A trailer section has
 * no first line. A field is given whole (field()), or its value is written in parts straight into
 * the area of the sink, between begin() and finish(): a value is never composed elsewhere and
 * copied.
 *
 * Owner: the caller's stack. Slices are valid during the call only. Errors: out.overflow, which
 * forward_request_max() and its like prevent. Source: RFC 9110 6. Pure. */
#ifndef HTTP_SINK_H
#define HTTP_SINK_H

#include "http/emit.h"

struct sink;

/* What the first line of a request says (RFC 9110 7.1; pseudo-fields in RFC 9113 8.3.1). */
struct sink_request {
	struct slice method;
	struct slice path, query; /* the target; the query with its "?", or empty */
	struct slice authority;   /* of the server: Host */
	bool secured;             /* the connection has TLS: the scheme is https */
};

struct sink_ops {
	/* The connection has fields of its own: Connection, Upgrade and Transfer-Encoding. True
	 * for HTTP/1 alone; RFC 9113 8.2.2 forbids them. */
	bool connection_fields;
	void (*request)(struct sink *s, const struct sink_request *r);
	void (*status)(struct sink *s, int status, struct slice phrase);
	void (*field)(struct sink *s, struct slice name, struct slice value);
	/* A field whose value is what emit_slice() and its like write to s->out in between. */
	void (*begin)(struct sink *s, struct slice name);
	void (*finish)(struct sink *s);
	/* The section is complete. */
	void (*end)(struct sink *s);
};

struct sink {
	struct emit out; /* the area of this sink */
	const struct sink_ops *ops;
	char *entry; /* HTTP/2: where the field between begin() and finish() begins */
};

/* Writes HTTP/1.1 (RFC 9112): emit.c. */
extern const struct sink_ops sink_http1_ops;

static inline struct sink sink_http1(char *at, size_t bytes)
{
	return (struct sink){ .out = { at, at + bytes, false }, .ops = &sink_http1_ops };
}

static inline void sink_field(struct sink *s, struct slice name, struct slice value)
{
	s->ops->field(s, name, value);
}

#endif
