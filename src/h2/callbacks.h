/* What nghttp2 calls: frames become facts of streams. Private to h2.
 *
 * A callback that fails ends the session; its code was set by h2_fail() then. */
#ifndef SRC_H2_CALLBACKS_H
#define SRC_H2_CALLBACKS_H

#include <nghttp2/nghttp2.h>

#include "h2/session.h"

void callbacks_set(nghttp2_session_callbacks *c);

/* Of a callback: the session fails with this code. */
static inline int session_refuse(struct h2_session *s, uint32_t error)
{
	h2_fail(s, error);
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* The body of a stream, as nghttp2_data_source_read_callback. */
ssize_t callbacks_read(nghttp2_session *library, int32_t id, uint8_t *buf, size_t n,
		       uint32_t *flags, nghttp2_data_source *source, void *user);

/* Drops a header block whose end will not come. */
void callbacks_drop_block(struct h2_session *s);

/* Pieces up to this size are copied into the frames around them: a socket takes 32 pieces in one
 * send, and ten small responses should be one of them. A frame has few of those that are larger:
 * each of them is a push(), and so are the bytes before it. */
#define SESSION_COPY_BYTES 1024
#define SESSION_LARGE_PIECES 2

/* Of session.c. Appends to the frames that are pushed as one piece; pushes n bytes of the stream's
 * body. False: no memory. */
bool session_gather(struct h2_session *s, const void *bytes, size_t n);
bool session_push_body(struct h2_session *s, struct h2_stream *stream, size_t n);
bool session_send_trailers(struct h2_stream *stream);

/* OPEN ─▶ CLOSED: what was to be sent is dropped, what was received stays. */
void session_close_stream(struct h2_stream *stream);

#endif
