/* A field block (RFC 9113 4.3): a head, or a trailer section, as it is sent. Its fields are written
 * one after the other to `sink`, in the form that a version of HTTP has for them.
 *
 *   stream_begin_block() ─▶ forward_response(&b.sink, …) ─▶ stream_send_head()
 *
 * The code that writes the fields does not know the form. The bytes are for the stream that began
 * the block, or for any stream of the upstream that began it.
 *
 * Owner: the caller's stack. Limits: the size that was asked for. Errors: if memory is lacking, the
 * sink drops all fields, and the end of the block says so: the caller checks once. */
#ifndef MESSAGE_FIELDBLOCK_H
#define MESSAGE_FIELDBLOCK_H

#include "base/check.h"
#include "http/sink.h"
#include "io/buf.h"

struct field_block {
	struct sink sink;
	struct buf *bytes; /* what the sink writes to; NULL: no memory */
};

/* `size`: in bytes, enough for what will be written. */
static inline void field_block_begin(struct field_block *b, const struct sink_ops *ops,
				     struct buf_pool *pool, size_t size)
{
	struct buf *bytes = buf_new(pool, size);

	b->bytes = bytes;
	b->sink.ops = ops;
	b->sink.out = bytes ? (struct emit){ bytes->data, bytes->data + bytes->size,
					     false }
			    : (struct emit){ NULL, NULL, true };
}

/* What was written; the caller owns the reference. NULL: no memory. */
static inline struct buf *field_block_end(struct field_block *b)
{
	struct buf *bytes = b->bytes;

	ASSERT(b->sink.out.overflow == !bytes); /* else `size` was too little */
	b->bytes = NULL;
	if (bytes)
		bytes->end = (uint32_t)(b->sink.out.at - bytes->data);
	return bytes;
}

#endif
