/* Field blocks of HTTP/2 (RFC 9113 8), in the two forms they have inside of fairlead.
 *
 * Received: text of HTTP/1.1, written while the fields are decoded, so that http/head.h parses it.
 *   :method, :path, :authority   "GET /path HTTP/1.1", "host: authority"
 *   :status                      "HTTP/1.1 200 "
 *   cookie                       all fields are joined by "; " (RFC 9113 8.2.3), at the end
 *   host                         dropped if it equals :authority, but for case; else a fault
 * No field is written whose name or value has an octet that would end or begin a line.
 *
 * To be sent: what sink_http2_ops writes: one entry after the other, a pair of 16-bit lengths (of
 * this machine's order), then name and value. Pseudo-fields come first.
 *
 * Owner: the caller. Limits: struct head_limits, counted as RFC 9113 6.5.2 does (name, value and
 * 32 for each field). Errors: a fault. Source: RFC 9113 8.2, 8.3. Pure, but for memory. */
#ifndef H2_BLOCK_H
#define H2_BLOCK_H

#include <stdbool.h>

#include "http/head.h"
#include "http/sink.h"
#include "io/buf.h"

enum block_kind { BLOCK_REQUEST, BLOCK_RESPONSE, BLOCK_TRAILERS };

/* A block that is being received. */
struct block {
	struct buf *text;     /* NULL: no memory, or too large: see `fault` */
	struct buf *cookies;  /* their values, joined; NULL: none */
	struct buf_pool *pool;
	uint32_t list_bytes;  /* as RFC 9113 6.5.2 counts */
	uint32_t list_max, fields_max, fields;
	uint32_t method, scheme, authority, path; /* bytes of each, in this order at the
						     beginning of text->data */
	uint8_t seen;         /* bits: which of them came */
	uint8_t kind;         /* enum block_kind */
	uint8_t fault;        /* enum fault: the head is to be refused */
	bool line_written;
	bool secured;
};

void block_begin(struct block *b, struct buf_pool *pool, enum block_kind kind,
		 const struct head_limits *limits, bool secured);

/* The next field. What it makes wrong is in b->fault; the block must be received to its end
 * nevertheless, as the state of HPACK is that of the connection. */
void block_field(struct block *b, struct slice name, struct slice value);

/* The text, whose reference is the caller's; its bytes are those from `begin`. NULL: b->fault. */
struct buf *block_end(struct block *b);

/* Drops a block whose end will not come. */
void block_drop(struct block *b);

/* Writes a block to be sent. */
extern const struct sink_ops sink_http2_ops;

/* Reads it: the next entry. False: there is none. */
bool block_next(struct slice *block, struct slice *name, struct slice *value);

#endif
