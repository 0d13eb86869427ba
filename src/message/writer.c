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
	ASSERT(head->end > head->begin);
	memset(w, 0, sizeof(*w));
	w->framing = (uint8_t)framing;
	w->left = framing == FRAMING_LENGTH ? length : 0;
	w->ended = framing == FRAMING_NONE || (framing == FRAMING_LENGTH && length == 0);
	return push_buf(c, head);
}

bool writer_static(struct writer *w, struct conn *c, struct slice message)
{
	struct piece p = { NULL, message.ptr, (uint32_t)message.len };

	*w = (struct writer){ .framing = FRAMING_NONE, .ended = true };
	return conn_push(c, &p);
}

void writer_begin_tunnel(struct writer *w)
{
	ASSERT(w->ended);
	*w = (struct writer){ .framing = FRAMING_CLOSE };
}

/* The complete chunk with its CRLF: a receiver that handles whole chunks need not wait
 * for the next one. If both are sent together, the next size line shares the entry of the
 * CRLF. */
static bool push_chunk(struct conn *c, struct piece *p)
{
	char line[BODY_CHUNK_LINE_MAX];
	size_t len = body_chunk_line(line, p->len);

	return conn_push_small(c, (struct slice){ line, len }) && conn_push(c, p) &&
	       conn_push_small(c, SLICE("\r\n"));
}

bool writer_piece(struct writer *w, struct conn *c, struct piece *p)
{
	bool good = !w->ended;

	ASSERT(p->len > 0);
	switch ((enum framing)w->framing) {
	case FRAMING_LENGTH:
		good = good && p->len <= w->left;
		if (good) {
			w->left -= p->len;
			w->ended = w->left == 0;
		}
		break;
	case FRAMING_CHUNKED:
		if (good && push_chunk(c, p))
			return true;
		good = false;
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

static bool end_chunks(struct conn *c, struct buf *trailers)
{
	if (!conn_push_small(c, trailers ? SLICE("0\r\n") : SLICE("0\r\n\r\n"))) {
		buf_put(trailers);
		return false;
	}
	return !trailers || push_buf(c, trailers);
}

bool writer_end(struct writer *w, struct conn *c, struct buf *trailers)
{
	if (w->framing == FRAMING_CHUNKED && !w->ended) {
		w->ended = true;
		return end_chunks(c, trailers);
	}
	buf_put(trailers);
	if (w->framing == FRAMING_LENGTH && w->left > 0)
		return false;
	w->ended = true;
	return true;
}
