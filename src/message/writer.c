#include "message/writer.h"

#include <string.h>

#include "http/body.h"

static bool push_buf(struct conn *c, struct buf *b)
{
	struct slice s = buf_bytes(b);
	struct piece p = { b, s.ptr, (uint32_t)s.len };

	if (conn_push(c, &p))
		return true;
	piece_put(&p);
	return false;
}

bool writer_begin(struct writer *w, struct conn *c, struct buf *head, enum framing framing,
		  uint64_t length)
{
	memset(w, 0, sizeof(*w));
	w->framing = (uint8_t)framing;
	w->left = framing == FRAMING_LENGTH ? length : 0;
	w->ended = framing == FRAMING_NONE || (framing == FRAMING_LENGTH && length == 0);
	return push_buf(c, head);
}

bool writer_text(struct writer *w, struct conn *c, struct slice message)
{
	struct piece p = { NULL, message.ptr, (uint32_t)message.len };

	*w = (struct writer){ .framing = FRAMING_NONE, .ended = true };
	return conn_push(c, &p);
}

/* "CRLF SIZE CRLF": the end of the last chunk goes with the line of the next one. */
static bool push_chunk_line(struct writer *w, struct conn *c, uint32_t n)
{
	char line[2 + BODY_CHUNK_LINE_MAX] = "\r\n";
	size_t skip = w->chunk_open ? 0 : 2;
	size_t len = 2 + body_chunk_line(line + 2, n);

	w->chunk_open = true;
	return conn_push_small(c, (struct slice){ line + skip, len - skip });
}

bool writer_piece(struct writer *w, struct conn *c, struct piece *p)
{
	bool good = !w->ended;

	switch ((enum framing)w->framing) {
	case FRAMING_LENGTH:
		good = good && p->len <= w->left;
		if (good) {
			w->left -= p->len;
			w->ended = w->left == 0;
		}
		break;
	case FRAMING_CHUNKED:
		good = good && push_chunk_line(w, c, p->len);
		break;
	case FRAMING_CLOSE:
		break;
	case FRAMING_NONE:
		good = false;
		break;
	}
	if (good && conn_push(c, p))
		return true;
	piece_put(p);
	return false;
}

static bool end_chunks(struct writer *w, struct conn *c, struct buf *trailers)
{
	struct slice last = trailers ? SLICE("\r\n0\r\n") : SLICE("\r\n0\r\n\r\n");

	if (!conn_push_small(c, w->chunk_open ? last : slice_after(last, 2))) {
		buf_put(trailers);
		return false;
	}
	return !trailers || push_buf(c, trailers);
}

bool writer_end(struct writer *w, struct conn *c, struct buf *trailers)
{
	if (w->framing == FRAMING_CHUNKED && !w->ended) {
		w->ended = true;
		return end_chunks(w, c, trailers);
	}
	buf_put(trailers);
	if (w->framing == FRAMING_LENGTH && w->left > 0)
		return false;
	w->ended = true;
	return true;
}
