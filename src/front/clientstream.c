#include "clientstream.h"

#include "clientstate.h"

static bool may_keep_alive(const struct stream *s)
{
	const struct client *c = client_of(s);

	return !c->close_requested && !c->front->draining && !s->timed_out;
}

static bool discard_body(struct stream *s)
{
	struct client *c = client_of(s);

	return may_keep_alive(s) && http1_discard_body(&c->http1, c->front->scratch);
}

static void stream_waits(struct stream *s, bool abort_on_eof)
{
	struct client *c = client_of(s);

	http1_wait(&c->http1, abort_on_eof);
	if (client_misses_fin(c))
		client_begin_deadline(c);
	CHECK_STATE(client_check(c));
}

static void stream_finished(struct stream *s, bool keep_alive)
{
	struct client *c = client_of(s);
	/* A client that sent Connection: close sends nothing more (RFC 9112 9.6), so
	 * there is no need to linger; except after a body, where old clients add a CRLF
	 * (2.2), and before its close_notify. */
	bool peer_done = c->close_requested &&
			 c->http1.reader.body.framing == FRAMING_NONE && !c->conn.inbox &&
			 (c->conn.eof || !conn_tls(&c->conn));

	stream_release(s);
	if (keep_alive && !stream_lost(s)) {
		http1_restart(&c->http1);
		client_set_state(c, CLIENT_IDLE);
		client_begin_deadline(c);
		/* A pipelined request or FIN may have been received already. */
		if (c->conn.inbox || c->conn.eof)
			tick_run(c->front->tick, &c->task);
		return;
	}
	/* Closing with unread bytes would send a reset, which may overtake the
	 * response. */
	client_end(c, peer_done ? CONN_FLUSH : CONN_LINGER);
}

/* What was queued is still sent: complete responses, and this one as far as it was
 * written. A missing Content-Length remainder or last chunk shows that it is incomplete,
 * so FIN will do; a close-delimited body or a tunnel needs a reset. */
static void stream_aborted(struct stream *s, enum stream_abort reason)
{
	struct client *c = client_of(s);
	bool truncation_visible = (s->sent || c->http1.writer.framing != FRAMING_CLOSE) &&
				  s->state != STREAM_TUNNEL;

	stream_release(s);
	if (reason == STREAM_UNWANTED || (stream_responsive(s) && truncation_visible))
		client_end(c, CONN_LINGER);
	else
		client_end(c, stream_responsive(s) ? CONN_FLUSH_RESET : CONN_RESET);
}

const struct stream_ops client_stream_ops = {
	HTTP1_OPS,
	.may_keep_alive = may_keep_alive,
	.discard_body = discard_body,
	.wait = stream_waits,
	.finish = stream_finished,
	.abort = stream_aborted,
};
