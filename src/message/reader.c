#include "message/reader.h"

#include <string.h>

#include "http/lenient.h"

void reader_init(struct reader *r)
{
	memset(r, 0, sizeof(*r));
}

typedef enum verdict parse_fn(struct head *h, const char *bytes, size_t n,
			   const struct head_limits *limits, uint32_t *scanned);

/* Parses the head in the first buffer; if it does not end there, linearizes the inbox and
 * parses again. */
static enum verdict head_read(struct reader *r, struct conn *c,
			      const struct head_limits *l, struct head *h,
			      parse_fn *parse)
{
	struct slice s = conn_peek(c);
	enum verdict v;

	if (s.len == 0)
		return VERDICT_MORE;
	v = parse(h, s.ptr, s.len, l, &r->scanned);
	if (v == VERDICT_MORE && c->inbox_bytes > s.len) {
		/* One byte more than the limit, so that the parser notices the excess. */
		if (!conn_linearize(c, l->bytes + 1)) {
			h->fault = FAULT_NO_MEMORY;
			return VERDICT_BAD;
		}
		s = conn_peek(c);
		v = parse(h, s.ptr, s.len, l, &r->scanned);
	}
	r->head_bytes = v == VERDICT_OK ? h->bytes : 0;
	if (v == VERDICT_MORE)
		conn_compact(c);
	return v;
}

/* A head was refused: writes it again with the allowed deviations corrected, and parses
 * that (http/lenient.h). */
static enum verdict head_correct(struct reader *r, struct conn *c,
				 const struct head_limits *l, struct head *h,
				 parse_fn *parse)
{
	bool trailers = parse == head_parse_trailers;
	struct slice s;
	struct buf *b;
	size_t n;

	if (!conn_linearize(c, l->bytes + 1))
		return VERDICT_BAD;
	s = conn_peek(c);
	s.len = s.len < l->bytes ? s.len : l->bytes;
	n = lenient_span(s, trailers, l->lenient);
	if (n == 0) {
		if (s.len == l->bytes)
			return VERDICT_BAD;
		conn_compact(c);
		return VERDICT_MORE;
	}
	b = buf_new(io_bufs(c->tick->loop), LENIENT_BYTES_MAX(n));
	if (!b) {
		h->fault = FAULT_NO_MEMORY;
		return VERDICT_BAD;
	}
	b->end = (uint32_t)lenient_write(b->data, (struct slice){ s.ptr, n }, trailers,
					 l->lenient);
	conn_replace(c, (uint32_t)n, b);
	r->scanned = 0;
	return head_read(r, c, l, h, parse);
}

/* A head or trailer section of a response. */
static enum verdict head_read_leniently(struct reader *r, struct conn *c,
					const struct head_limits *l, struct head *h,
					parse_fn *parse)
{
	enum verdict v = head_read(r, c, l, h, parse);

	if (v == VERDICT_BAD && lenient_may_help(h->fault, l->lenient))
		v = head_correct(r, c, l, h, parse);
	return v;
}

bool reader_skip_empty_lines(struct reader *r, struct conn *c)
{
	for (;; r->body.ignored += 2) {
		struct slice s = conn_peek(c);

		if (s.len == 1 && s.ptr[0] == '\r' && c->inbox_bytes > 1 &&
		    conn_linearize(c, 2))
			s = conn_peek(c);
		if (s.len == 0 || (s.len == 1 && s.ptr[0] == '\r'))
			return false;
		if (s.len < 2 || s.ptr[0] != '\r' || s.ptr[1] != '\n' ||
		    r->body.ignored >= READER_IGNORED_MAX)
			return true;
		conn_consume(c, 2);
	}
}

enum verdict reader_request(struct reader *r, struct conn *c, const struct head_limits *l,
			    struct head *h)
{
	if (!reader_skip_empty_lines(r, c))
		return VERDICT_MORE;
	return head_read(r, c, l, h, head_parse_request);
}

enum verdict reader_response(struct reader *r, struct conn *c, const struct head_limits *l,
			     struct head *h)
{
	return head_read_leniently(r, c, l, h, head_parse_response);
}

void reader_begin_body(struct reader *r, struct conn *c, enum framing framing,
		       uint64_t length)
{
	ASSERT(r->head_bytes > 0 && r->head_bytes <= c->inbox_bytes); /* a head was read */
	conn_consume(c, r->head_bytes);
	r->head_bytes = 0;
	r->scanned = 0;
	body_init(&r->body, framing, length);
}

void reader_skip_head(struct reader *r, struct conn *c)
{
	ASSERT(r->head_bytes > 0 &&
	       r->head_bytes <= c->inbox_bytes); /* a head was read */
	conn_consume(c, r->head_bytes);
	reader_init(r);
}

void reader_begin_tunnel(struct reader *r)
{
	ASSERT(reader_ended(r));
	body_init(&r->body, FRAMING_CLOSE, 0);
}

static enum body_event body_bad(struct reader *r, enum fault fault)
{
	ASSERT(fault != FAULT_NONE);
	r->body.fault = (uint8_t)fault;
	return BODY_BAD;
}

static enum body_event trailers_read(struct reader *r, struct conn *c,
				     const struct head_limits *l, struct head *trailers)
{
	switch (head_read_leniently(r, c, l, trailers, head_parse_trailers)) {
	case VERDICT_OK:
		return BODY_TRAILERS;
	case VERDICT_MORE:
		return c->eof ? body_bad(r, FAULT_BODY_SHORT) : BODY_MORE;
	case VERDICT_BAD:
		break;
	}
	return body_bad(r, trailers->fault);
}

void reader_end_trailers(struct reader *r, struct conn *c)
{
	ASSERT(r->head_bytes > 0 && r->head_bytes <= c->inbox_bytes); /* they were read */
	conn_consume(c, r->head_bytes);
	r->head_bytes = 0;
	r->scanned = 0;
	body_trailers_read(&r->body);
}

enum body_event reader_body(struct reader *r, struct conn *c, const struct head_limits *l,
			    struct head *trailers, struct piece *p)
{
	for (;;) {
		struct slice s = conn_peek(c), data = { NULL, 0 };
		size_t used = 0, before;
		enum body_event event = body_next(&r->body, s.ptr, s.len, &used, &data);

		switch (event) {
		case BODY_DATA:
			before = (size_t)(data.ptr - s.ptr);
			ASSERT(data.len > 0 && before + data.len <= used && used <= s.len);
			conn_consume(c, (uint32_t)before);
			*p = conn_take(c, (uint32_t)data.len);
			conn_consume(c, (uint32_t)(used - before - data.len));
			return BODY_DATA;
		case BODY_MORE:
			conn_consume(c, (uint32_t)used);
			if (c->inbox)
				continue;
			return c->eof ? body_eof(&r->body) : BODY_MORE;
		case BODY_TRAILERS:
			conn_consume(c, (uint32_t)used);
			return trailers_read(r, c, l, trailers);
		case BODY_END:
		case BODY_BAD:
			conn_consume(c, (uint32_t)used);
			return event;
		}
	}
}

bool reader_discard_body(struct reader *r, struct conn *c, const struct head_limits *l,
			 struct head *scratch)
{
	struct piece p = { NULL, NULL, 0 };

	for (;;) {
		switch (reader_body(r, c, l, scratch, &p)) {
		case BODY_DATA:
			piece_put(&p);
			break;
		case BODY_TRAILERS:
			reader_end_trailers(r, c);
			break;
		case BODY_END:
			return true;
		case BODY_MORE:
		case BODY_BAD:
			return false;
		}
	}
}
