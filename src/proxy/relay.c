#include "relay.h"

/* ---- the request's body to the server ------------------------------------- */

/* NULL: no memory; the body then ends without trailers. */
static struct buf *emit_trailer_block(struct proxy *p, const struct head *trailers)
{
	struct buf *b = buf_new(io_bufs(p->tick->loop), forward_trailers_max(trailers));
	struct sink s;

	if (!b)
		return NULL;
	s = sink_http1(b->data, b->size);
	forward_trailers(&s, trailers);
	ASSERT(!s.out.overflow);
	b->end = (uint32_t)(s.out.at - b->data);
	return b;
}

static void forward_body_piece(struct exchange *x, struct piece *p)
{
	x->body_bytes += p->len;
	if (generation_refuses_body(x->generation, x->body_bytes)) {
		piece_put(p);
		exchange_fail(x, ENDING_BODY_TOO_LARGE);
		return;
	}
	fetch_send(x->fetch, p);
}

static void forward_body(struct exchange *x)
{
	struct head *scratch = &x->proxy->request;
	struct piece p = { NULL, NULL, 0 };

	while (!x->ended && fetch_send_space(x->fetch) > 0) {
		switch (stream_body(x->down, scratch, &p)) {
		case BODY_DATA:
			forward_body_piece(x, &p);
			break;
		case BODY_TRAILERS:
			fetch_send_end(x->fetch, emit_trailer_block(x->proxy, scratch));
			stream_end_trailers(x->down);
			return;
		case BODY_END:
			fetch_send_end(x->fetch, NULL);
			return;
		case BODY_MORE:
			return;
		case BODY_BAD:
			exchange_fail(x, ENDING_REQUEST_BAD);
			return;
		}
	}
	if (!x->ended)
		fetch_await_space(x->fetch);
}

/* ---- the response's head to the client ------------------------------------ */

/* Queues a head for the client. False: no memory. */
static bool push_head(struct exchange *x, const struct head *h,
		      struct forward_response *r)
{
	struct buf *b;
	struct sink s;

	r->via = x->generation->config->upstreams[x->route->proxy->upstream].via;
	b = buf_new(io_bufs(x->proxy->tick->loop), forward_response_max(h, r));
	if (!b)
		return false;
	s = sink_http1(b->data, b->size);
	forward_response(&s, h, r);
	ASSERT(!s.out.overflow);
	b->end = (uint32_t)(s.out.at - b->data);
	if (!stream_send_head(x->down, b, r->framing, r->length))
		return false;
	exchange_count(x->proxy->stats, h->status);
	return true;
}

/* The framing of the body to the client (RFC 9112 6.3, 7), which may differ from the
 * server's. */
static enum framing outgoing_framing(const struct exchange *x, enum framing framing)
{
	if (framing == FRAMING_CHUNKED || framing == FRAMING_CLOSE)
		return x->http_1_0 ? FRAMING_CLOSE : FRAMING_CHUNKED;
	return framing;
}

/* push_head() for the final response; records status, server and positions for the log. */
static bool push_final_head(struct exchange *x, struct head *h,
			    struct forward_response *r)
{
	x->head_at = stream_position(x->down);
	if (!push_head(x, h, r))
		return false;
	x->body_at = stream_position(x->down);
	x->status = h->status;
	x->server = fetch_server(x->fetch);
	return true;
}

/* Sends the final head; the body follows. */
static void begin_relaying(struct exchange *x, struct head *h)
{
	enum framing framing = head_response_framing(h, (enum method)x->method);
	struct forward_response r = {
		.framing = outgoing_framing(x, framing),
		.length = h->length,
		.keep_length = h->framing == FRAMING_LENGTH && h->status != 204,
		.date = proxy_date(x->proxy),
	};

	ASSERT(h->status >= 200);
	/* A client that got no 100 may send its body or not: its next bytes are ambiguous. */
	x->keep_alive = stream_may_keep_alive(x->down) && r.framing != FRAMING_CLOSE &&
			!(x->expects_continue && !x->down->received);
	r.close = !x->keep_alive;
	r.keep_alive_1_0 = x->http_1_0 && x->keep_alive;
	if (!push_final_head(x, h, &r)) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	exchange_set_state(x, EXCHANGE_RELAYING);
	fetch_take_head(x->fetch, h, framing);
}

static void begin_tunnel(struct exchange *x, struct head *h)
{
	ASSERT(h->status == 101);
	/* The rest of a request body cannot be sent as bytes of the tunnel. */
	if (!x->upgrade || !x->down->received || !fetch_sent(x->fetch)) {
		exchange_fail(x, ENDING_ORIGIN_BAD);
		return;
	}
	if (!push_final_head(x, h, &(struct forward_response){ .upgrade = true })) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	exchange_set_state(x, EXCHANGE_TUNNEL);
	x->keep_alive = false;
	stream_begin_tunnel(x->down);
	stat_add(&x->proxy->stats->tunnels, 1);
	fetch_take_head(x->fetch, h, FRAMING_CLOSE);
	fetch_begin_tunnel(x->fetch);
}

/* Relays a 1xx, unless the client speaks HTTP/1.0 (RFC 9110 15.2). */
static void relay_interim(struct exchange *x, struct head *h)
{
	ASSERT(h->status >= 100 && h->status < 200 && h->status != 101);
	if (!x->http_1_0 &&
	    !push_head(x, h, &(struct forward_response){ .framing = FRAMING_NONE })) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	x->expects_continue &= h->status != 100;
	fetch_take_head(x->fetch, h, FRAMING_NONE);
}

/* Reads heads until the final one, or until there is none. */
static void relay_heads(struct exchange *x)
{
	struct head *h = &x->proxy->response;

	while (!x->ended && x->state == EXCHANGE_REQUESTING) {
		/* A failure is replied even if there is no space for a head of the server. */
		if (x->fetch->state == FETCH_FAILED) {
			exchange_fail(x, (enum ending)x->fetch->ending);
			return;
		}
		if (stream_space(x->down) == 0) {
			stream_await_space(x->down);
			fetch_set_stalled(x->fetch, true);
			return;
		}
		fetch_set_stalled(x->fetch, false);
		switch (fetch_head(x->fetch, h)) {
		case VERDICT_MORE:
			return;
		case VERDICT_BAD:
			continue;
		case VERDICT_OK:
			break;
		}
		if (h->status == 101)
			begin_tunnel(x, h);
		else if (h->status < 200)
			relay_interim(x, h);
		else
			begin_relaying(x, h);
	}
}

/* Queues the head of a response with the cache's value. False: no memory. */
static bool push_value_head(struct exchange *x)
{
	struct proxy *p = x->proxy;
	const struct forward_reply r = {
		.status = 200,
		.content_type = x->route->memcached->content_type,
		.has_body = true,
		.length = x->value->length,
		.close = !x->keep_alive,
		.keep_alive_1_0 = x->http_1_0 && x->keep_alive,
		.date = proxy_date(p),
		.proxy_name = SLICE("fairlead"),
	};
	struct buf *b = buf_new(io_bufs(p->tick->loop), forward_reply_max(&r));
	struct sink s;

	x->head_at = stream_position(x->down);
	if (!b)
		return false;
	s = sink_http1(b->data, b->size);
	forward_reply(&s, &r);
	ASSERT(!s.out.overflow);
	b->end = (uint32_t)(s.out.at - b->data);
	if (!stream_send_head(x->down, b,
			  x->method == METHOD_HEAD ? FRAMING_NONE : FRAMING_LENGTH,
			  x->value->length))
		return false;
	x->body_at = stream_position(x->down);
	x->status = r.status;
	x->server = x->generation->config->upstreams[x->route->memcached->upstream].name;
	exchange_count(p->stats, x->status);
	return true;
}

static void cache_failed(struct exchange *x)
{
	enum ending ending = (enum ending)x->value->ending;

	if (ending == ENDING_CACHE_MISS && x->route->memcached->miss_next)
		exchange_route_again(x);
	else
		exchange_fail(x, ending);
}

/* Begins the response when the cache has sent its own. */
static void take_cache_response(struct exchange *x)
{
	if (x->value->state == VALUE_ASKED)
		return;
	if (x->value->state == VALUE_FAILED) {
		cache_failed(x);
		return;
	}
	x->keep_alive = stream_discard_body(x->down);
	exchange_set_state(x, EXCHANGE_RELAYING);
	if (!push_value_head(x))
		exchange_fail(x, ENDING_NO_MEMORY);
	else if (x->method == METHOD_HEAD)
		exchange_finish(x, ENDING_COMPLETE);
}

/* ---- the response's body to the client ------------------------------------ */

static bool end_response_body(struct exchange *x, const struct head *trailers)
{
	return stream_send_end(x->down,
			       trailers ? emit_trailer_block(x->proxy, trailers) : NULL);
}

static enum body_event response_body(struct exchange *x, struct head *trailers,
				     struct piece *p)
{
	return x->value ? value_body(x->value, p) : fetch_body(x->fetch, trailers, p);
}

static void set_stalled(struct exchange *x, bool stalled)
{
	if (x->fetch)
		fetch_set_stalled(x->fetch, stalled);
}

static void relay_body(struct exchange *x)
{
	struct stream *down = x->down;
	struct head *scratch = &x->proxy->response;
	struct piece p = { NULL, NULL, 0 };

	/* If the client had stalled, the server's time starts anew. */
	set_stalled(x, false);
	while (stream_space(down) > 0) {
		switch (response_body(x, scratch, &p)) {
		case BODY_DATA:
			x->sent_bytes += p.len;
			if (stream_send(down, &p))
				break;
			exchange_fail(x, ENDING_NO_MEMORY);
			return;
		case BODY_TRAILERS:
			if (!end_response_body(x, scratch)) {
				exchange_fail(x, ENDING_NO_MEMORY);
				return;
			}
			fetch_end_trailers(x->fetch);
			break;
		case BODY_END:
			if (down->sent || end_response_body(x, NULL))
				exchange_finish(x, ENDING_COMPLETE);
			else
				exchange_fail(x, ENDING_ORIGIN_TRUNCATED);
			return;
		case BODY_MORE:
			return;
		case BODY_BAD:
			exchange_fail(x, (enum ending)x->fetch->ending);
			return;
		}
	}
	stream_await_space(down);
	set_stalled(x, true);
}

/* ---- tunnels -------------------------------------------------------------- */

/* Moves the bytes that have come, and then the end of the stream. False: out of memory, and
 * bytes are lost. */
static bool tunnel_splice(struct conn *from, struct conn *to)
{
	while (from->inbox && conn_push_space(to) > 0) {
		struct piece p = conn_take(from, (uint32_t)conn_peek(from).len);

		if (!conn_push(to, &p)) {
			piece_put(&p);
			return false;
		}
	}
	if (from->inbox)
		conn_await_space(to);
	else if (from->eof)
		conn_send_fin(to);
	return true;
}

void relay_tunnel(struct exchange *x)
{
	struct conn *client = &x->client->conn;
	struct conn *origin;

	ASSERT(x->state == EXCHANGE_TUNNEL && x->fetch);
	if (x->fetch->state == FETCH_FAILED) {
		exchange_finish(x, ENDING_COMPLETE);
		return;
	}
	origin = fetch_conn(x->fetch);
	if (!tunnel_splice(client, origin) || !tunnel_splice(origin, client))
		exchange_abort(x, ENDING_NO_MEMORY);
	else if (!origin->inbox && (origin->error || origin->send_error))
		exchange_abort(x, ENDING_ORIGIN_TRUNCATED);
	else if (client->fin_sent && origin->fin_sent)
		exchange_finish(x, ENDING_COMPLETE);
}

/* ---- steps ---------------------------------------------------------------- */

static void relay_to_origin(struct exchange *x)
{
	forward_body(x);
	if (!x->ended)
		relay_heads(x);
	if (!x->ended && fetch_waits(x->fetch))
		stream_pause_body(x->down);
}

void relay_request(struct exchange *x)
{
	ASSERT(x->state == EXCHANGE_REQUESTING && x->status == 0);
	if (x->value)
		take_cache_response(x);
	else
		relay_to_origin(x);
	if (x->ended)
		return;
	/* The response may have begun in this step. */
	if (x->state == EXCHANGE_TUNNEL)
		relay_tunnel(x);
	else if (x->state == EXCHANGE_RELAYING)
		relay_body(x);
}

void relay_response(struct exchange *x)
{
	ASSERT(x->state == EXCHANGE_RELAYING);
	/* After an early response the request's body is still being sent. */
	if (x->fetch)
		forward_body(x);
	if (!x->ended)
		relay_body(x);
}
