#include "exchange.h"

#include <string.h>

#include "action.h"
#include "join.h"
#include "reply.h"

/* ---- endings -------------------------------------------------------------- */

static struct slice kept_slice(const struct exchange *x, struct span s)
{
	return x->kept ? (struct slice){ x->kept->data + s.at, s.len } : (struct slice){ NULL, 0 };
}

static void log_exchange(const struct exchange *x, enum ending ending)
{
	if (!x->proxy->access)
		return;
	access_log(x->proxy->access, &(struct access_entry){
		.peer = &x->client->peer,
		.request_line = kept_slice(x, x->request_line),
		.host = kept_slice(x, x->host),
		.referer = kept_slice(x, x->referer),
		.user_agent = kept_slice(x, x->user_agent),
		.status = x->status,
		.sent_bytes = x->sent_bytes,
		.took_us = x->proxy->tick->now_us - x->started_us,
		.server = x->server,
		.ending = ending_text(ending),
	});
}

static void count_status(struct worker_stats *stats, int status)
{
	uint64_t *const classes[] = { &stats->responses_1xx, &stats->responses_2xx,
				      &stats->responses_3xx, &stats->responses_4xx,
				      &stats->responses_5xx };

	if (status >= 100 && status < 600)
		stat_add(classes[status / 100 - 1], 1);
}

/* Frees all of it but the tie to its client. */
static void let_go(struct exchange *x, enum ending ending)
{
	struct proxy *p = x->proxy;

	log_exchange(x, ending);
	if (x->state == EXCHANGE_TUNNEL)
		stat_sub(&p->stats->tunnels, 1);
	stat_sub(&p->stats->exchanges, 1);
	fetch_free(&x->fetch);
	join_free(&x->join);
	action_forget_job(&x->job);
	buf_put(x->kept);
	slab_put(&p->exchanges, x);
}

static void end(struct exchange *x, enum ending ending)
{
	struct client *c = x->client;
	bool keep = x->keep && client_keeps_alive(c);

	let_go(x, ending);
	client_ended(c, keep);
}

/* Nothing more can be told to the client but that it is over. */
static void abort_exchange(struct exchange *x, enum ending ending)
{
	struct client *c = x->client;

	let_go(x, ending);
	client_abort(c);
}

static void reply(struct exchange *x, struct reply *r)
{
	x->state = EXCHANGE_REPLYING;
	fetch_free(&x->fetch);
	x->keep = client_keeps_alive(x->client);
	x->status = r->status;
	r->head_only = x->method == METHOD_HEAD;
	r->minor_0 = x->minor_0;
	r->close = !x->keep;
	count_status(x->proxy->stats, r->status);
	if (!reply_send(x->proxy, x->client, r)) {
		abort_exchange(x, ENDING_NO_MEMORY);
		return;
	}
	x->sent_bytes = r->sent_bytes;
	end(x, r->ending);
}

void exchange_reply(struct exchange *x, int status, enum ending ending,
		    struct slice content_type, struct slice body)
{
	reply(x, &(struct reply){ .status = status, .ending = ending,
				  .content_type = content_type, .body = body });
}

void exchange_redirect(struct exchange *x, struct slice location)
{
	reply(x, &(struct reply){ .status = ending_status(ENDING_REDIRECTED),
				  .ending = ENDING_REDIRECTED, .location = location });
}

void exchange_fail(struct exchange *x, enum ending ending)
{
	int status = ending_status(ending);

	if (x->status != 0 || status == 0) {
		abort_exchange(x, ending);
		return;
	}
	reply(x, &(struct reply){ .status = status, .ending = ending,
				  .allow = ending == ENDING_METHOD_REFUSED ? SLICE("GET, HEAD") :
									     SLICE("") });
}

/* ---- the request's body to the origin ------------------------------------- */

static struct buf *emit_trailer_block(struct proxy *p, const struct head *trailers)
{
	struct buf *b = buf_new(io_bufs(p->tick->loop), trailers->bytes + EMIT_EXTRA);
	struct emit e;

	if (!b)
		return NULL;
	e = (struct emit){ b->data, b->data + b->size, false };
	emit_trailers(&e, trailers);
	ASSERT(!e.overflow);
	b->end = (uint32_t)(e.at - b->data);
	return b;
}

/* False: the exchange has ended. */
static bool take_body_piece(struct exchange *x, struct piece *p)
{
	x->body_bytes += p->len;
	if (proxy_refuses_body(x->proxy, x->body_bytes)) {
		piece_put(p);
		exchange_fail(x, ENDING_REQUEST_LARGE);
		return false;
	}
	if (fetch_send(x->fetch, p))
		return true;
	exchange_fail(x, (enum ending)x->fetch->ending);
	return false;
}

static bool forward_body_end(struct exchange *x, const struct head *trailers)
{
	struct buf *block = trailers ? emit_trailer_block(x->proxy, trailers) : NULL;

	if (fetch_send_end(x->fetch, block))
		return true;
	exchange_fail(x, (enum ending)x->fetch->ending);
	return false;
}

/* False: the exchange has ended. */
static bool forward_body(struct exchange *x)
{
	struct head *scratch = &x->proxy->request;
	struct piece p = { NULL, NULL, 0 };

	while (fetch_room(x->fetch) > 0) {
		switch (client_body(x->client, scratch, &p)) {
		case BODY_DATA:
			if (!take_body_piece(x, &p))
				return false;
			break;
		case BODY_TRAILERS:
			if (!forward_body_end(x, scratch))
				return false;
			reader_end_trailers(&x->client->reader, &x->client->conn);
			return true;
		case BODY_END:
			return forward_body_end(x, NULL);
		case BODY_MORE:
			return true;
		case BODY_BAD:
			exchange_fail(x, ENDING_REQUEST_BAD);
			return false;
		}
	}
	return true;
}

/* ---- the answer's head to the client -------------------------------------- */

static bool push_head(struct exchange *x, const struct head *h, const struct emit_response *r)
{
	struct client *c = x->client;
	struct buf *b = buf_new(io_bufs(x->proxy->tick->loop), emit_response_max(h, r));
	struct emit e;

	if (!b)
		return false;
	e = (struct emit){ b->data, b->data + b->size, false };
	emit_response(&e, h, r);
	ASSERT(!e.overflow);
	b->end = (uint32_t)(e.at - b->data);
	count_status(x->proxy->stats, h->status);
	return writer_begin(&c->writer, &c->conn, b, r->framing, r->length);
}

/* How the body goes on to the client (RFC 9112 6.3, 7): its framing need not be the one it
 * came with. */
static enum framing onward(const struct exchange *x, enum framing framing)
{
	if (framing == FRAMING_CHUNKED || framing == FRAMING_CLOSE)
		return x->minor_0 ? FRAMING_CLOSE : FRAMING_CHUNKED;
	return framing;
}

/* False: the exchange has ended. */
static bool begin_relaying(struct exchange *x, struct head *h)
{
	enum framing framing = head_response_framing(h, (enum method)x->method);
	struct emit_response r = {
		.framing = onward(x, framing),
		.length = h->length,
		.keep_length = h->framing == FRAMING_LENGTH && h->status != 204,
		.date = proxy_date(x->proxy),
	};

	/* A body that waits for a 100 in vain may come or not: what follows cannot be told. */
	x->keep = client_may_keep_alive(x->client) && r.framing != FRAMING_CLOSE &&
		  !(x->expects && !reader_ended(&x->client->reader));
	r.close = !x->keep;
	r.keep_alive_1_0 = x->minor_0 && x->keep;
	if (!push_head(x, h, &r)) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return false;
	}
	x->status = h->status;
	x->server = lease_server(&x->fetch->lease);
	x->state = EXCHANGE_RELAYING;
	fetch_take_head(x->fetch, h, framing);
	return true;
}

static bool begin_tunnel(struct exchange *x, struct head *h)
{
	if (!x->upgrade) {
		exchange_fail(x, ENDING_ORIGIN_BAD);
		return false;
	}
	if (!push_head(x, h, &(struct emit_response){ .upgrade = true })) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return false;
	}
	x->status = h->status;
	x->server = lease_server(&x->fetch->lease);
	x->state = EXCHANGE_TUNNEL;
	x->keep = false;
	stat_add(&x->proxy->stats->tunnels, 1);
	fetch_take_head(x->fetch, h, FRAMING_CLOSE);
	fetch_tunnel(x->fetch);
	return true;
}

/* 1xx: passed on, but not to a client of HTTP/1.0 (RFC 9110 15.2). */
static bool relay_interim(struct exchange *x, struct head *h)
{
	if (!x->minor_0 && !push_head(x, h, &(struct emit_response){ .framing = FRAMING_NONE })) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return false;
	}
	x->expects &= h->status != 100;
	fetch_take_head(x->fetch, h, FRAMING_NONE);
	return true;
}

static bool take_origin_head(struct exchange *x)
{
	struct head *h = &x->proxy->answer;

	while (x->state == EXCHANGE_ASKING) {
		if (conn_room(&x->client->conn) == 0)
			return true;
		switch (fetch_head(x->fetch, h)) {
		case VERDICT_MORE:
			return true;
		case VERDICT_BAD:
			exchange_fail(x, (enum ending)x->fetch->ending);
			return false;
		case VERDICT_OK:
			break;
		}
		if (h->status == 101 ? !begin_tunnel(x, h) :
		    h->status < 200 ? !relay_interim(x, h) :
				      !begin_relaying(x, h))
			return false;
	}
	return true;
}

static bool push_value_head(struct exchange *x)
{
	struct proxy *p = x->proxy;
	struct client *c = x->client;
	struct slice type = x->route->memcached.content_type;
	struct buf *b = buf_new(io_bufs(p->tick->loop), EMIT_EXTRA + type.len);
	struct emit e;

	if (!b)
		return false;
	e = (struct emit){ b->data, b->data + b->size, false };
	emit_reply(&e, &(struct emit_reply){
		.status = x->status,
		.content_type = type,
		.has_body = true,
		.length = x->fetch->length,
		.close = !x->keep,
		.keep_alive_1_0 = x->minor_0 && x->keep,
		.date = proxy_date(p),
		.proxy_name = SLICE("fairlead"),
	});
	ASSERT(!e.overflow);
	b->end = (uint32_t)(e.at - b->data);
	count_status(p->stats, x->status);
	return writer_begin(&c->writer, &c->conn, b,
			    x->method == METHOD_HEAD ? FRAMING_NONE : FRAMING_LENGTH,
			    x->fetch->length);
}

static void route_again(struct exchange *x);

/* The cache has answered, or not yet. False: the exchange has ended. */
static bool take_cache_answer(struct exchange *x)
{
	if (x->fetch->state == FETCH_LEASING)
		return true;
	if (x->fetch->state == FETCH_FAILED) {
		enum ending ending = (enum ending)x->fetch->ending;

		if (ending == ENDING_CACHE_MISS && x->route->memcached.miss_next) {
			route_again(x);
			return false;
		}
		exchange_fail(x, ending);
		return false;
	}
	x->keep = client_keeps_alive(x->client);
	x->status = 200;
	x->state = EXCHANGE_RELAYING;
	if (!push_value_head(x)) {
		abort_exchange(x, ENDING_NO_MEMORY);
		return false;
	}
	if (x->method == METHOD_HEAD) {
		end(x, ENDING_COMPLETE);
		return false;
	}
	return true;
}

/* ---- the answer's body to the client -------------------------------------- */

static bool end_body(struct exchange *x, const struct head *trailers)
{
	struct client *c = x->client;
	struct buf *block = NULL;

	if (trailers && c->writer.framing == FRAMING_CHUNKED)
		block = emit_trailer_block(x->proxy, trailers);
	return writer_end(&c->writer, &c->conn, block);
}

static void relay_body(struct exchange *x)
{
	struct client *c = x->client;
	struct head *scratch = &x->proxy->answer;
	struct piece p = { NULL, NULL, 0 };

	/* Its origin may have waited for room as long as its client did. */
	if (x->fetch->waits_for_asker)
		x->fetch->since_ms = x->proxy->tick->now_ms;
	x->fetch->waits_for_asker = false;
	while (conn_room(&c->conn) > 0) {
		switch (fetch_body(x->fetch, scratch, &p)) {
		case BODY_DATA:
			x->sent_bytes += p.len;
			if (writer_piece(&c->writer, &c->conn, &p))
				break;
			abort_exchange(x, ENDING_NO_MEMORY);
			return;
		case BODY_TRAILERS:
			if (!end_body(x, scratch)) {
				abort_exchange(x, ENDING_NO_MEMORY);
				return;
			}
			fetch_end_trailers(x->fetch);
			break;
		case BODY_END:
			if (c->writer.ended || end_body(x, NULL))
				end(x, ENDING_COMPLETE);
			else
				abort_exchange(x, ENDING_ORIGIN_SHORT);
			return;
		case BODY_MORE:
			return;
		case BODY_BAD:
			abort_exchange(x, ENDING_ORIGIN_SHORT);
			return;
		}
	}
	x->fetch->waits_for_asker = true;
}

/* ---- tunnels -------------------------------------------------------------- */

/* Moves what has come; tells the other side when there will be no more. False: out of
 * memory, and bytes are lost. */
static bool pour(struct conn *from, struct conn *to)
{
	while (from->inbox && conn_room(to) > 0) {
		struct piece p = conn_take(from, (uint32_t)conn_peek(from).len);

		if (!conn_push(to, &p)) {
			piece_put(&p);
			return false;
		}
	}
	if (!from->inbox && from->eof)
		conn_shut(to);
	return true;
}

static void tunnel_step(struct exchange *x)
{
	struct conn *client = &x->client->conn;
	struct conn *origin;

	if (x->fetch->state == FETCH_FAILED || x->fetch->late) {
		end(x, ENDING_COMPLETE);
		return;
	}
	origin = &x->fetch->lease.origin->conn;
	if (!pour(client, origin) || !pour(origin, client))
		abort_exchange(x, ENDING_NO_MEMORY);
	else if (origin->error || origin->send_error)
		abort_exchange(x, ENDING_ORIGIN_SHORT);
	else if (client->shut && origin->shut)
		end(x, ENDING_COMPLETE);
}

/* ---- steps ---------------------------------------------------------------- */

static void asking_step(struct exchange *x)
{
	if (x->fetch->call) {
		if (!take_cache_answer(x))
			return;
	} else {
		if (!forward_body(x) || !take_origin_head(x))
			return;
		/* The answer's head may have come with the origin's readiness for the body. */
		if (x->state == EXCHANGE_TUNNEL) {
			tunnel_step(x);
			return;
		}
	}
	if (x->state == EXCHANGE_RELAYING)
		relay_body(x);
}

static void peer_too_slow(struct exchange *x)
{
	if (x->client->body_wanted && x->status == 0)
		exchange_fail(x, ENDING_REQUEST_LATE);
	else
		abort_exchange(x, ENDING_CLIENT_SLOW);
}

static void exchange_step(struct client *c)
{
	struct exchange *x = c->exchange;

	if (client_lost(c)) {
		abort_exchange(x, ENDING_CLIENT_GONE);
		return;
	}
	if (c->slow) {
		peer_too_slow(x);
		return;
	}
	if (x->fetch)
		fetch_step(x->fetch);
	switch ((enum exchange_state)x->state) {
	case EXCHANGE_ASKING:
		asking_step(x);
		break;
	case EXCHANGE_RELAYING:
		if (x->fetch->upstream && x->fetch->state == FETCH_RELAYING && !forward_body(x))
			break;
		relay_body(x);
		break;
	case EXCHANGE_TUNNEL:
		tunnel_step(x);
		break;
	case EXCHANGE_JOINING:
		join_step(x->join);
		break;
	case EXCHANGE_BURNING:
		action_burned(x);
		break;
	case EXCHANGE_ROUTING:
	case EXCHANGE_REPLYING:
		ASSERT(false);
		break;
	}
}

/* ---- routing -------------------------------------------------------------- */

static void route(struct exchange *x, const struct head *h, unsigned from)
{
	struct proxy *p = x->proxy;
	struct request_view view;
	char client[SOCK_TEXT_MAX];
	struct slice address = { client, peer_text(&x->client->peer, client, sizeof(client)) };

	request_view_init(&view, h, address, p->path_scratch);
	x->state = EXCHANGE_ROUTING;
	x->route = route_match(p->config, &view, from);
	view.route = x->route;
	action_start(x, &view);
}

/* The head in `kept` is read once more: its first reading is long gone. */
static void route_again(struct exchange *x)
{
	struct client *c = x->client;
	struct head *h = &x->proxy->request;
	uint32_t scanned = 0;
	enum verdict v = head_parse_request(h, x->kept->data, x->kept->end,
					    &x->proxy->front.limits, &scanned);

	ASSERT(v == VERDICT_OK);
	fetch_free(&x->fetch);
	route(x, h, (unsigned)(x->route - x->proxy->config->routes) + 1);
	/* Bytes of a body may be at hand: the new fetch has not looked at them. If x has ended,
	 * it is gone. */
	if (c->exchange == x)
		tick_run(c->front->tick, &c->task);
}

static struct span span_of(struct slice s, const char *base)
{
	return s.len > 0 ? (struct span){ (uint32_t)(s.ptr - base), (uint32_t)s.len } :
			   (struct span){ 0, 0 };
}

static struct slice field_value(const struct head *h, enum header id)
{
	const struct field *f = head_find(h, id);

	return f ? f->value : (struct slice){ NULL, 0 };
}

/* Keeps the head where it is needed later. False: out of memory. */
static bool keep_head(struct exchange *x, const struct head *h)
{
	const char *bytes = conn_peek(&x->client->conn).ptr;
	const char *line = h->method_token.ptr;
	const char *line_end = memchr(line, '\r', (size_t)(bytes + h->bytes - line));

	x->kept = buf_new(io_bufs(x->proxy->tick->loop), h->bytes);
	if (!x->kept)
		return false;
	memcpy(x->kept->data, bytes, h->bytes);
	x->kept->end = h->bytes;
	x->request_line = span_of((struct slice){ line, (size_t)(line_end - line) }, bytes);
	x->host = span_of(h->authority, bytes);
	x->referer = span_of(field_value(h, HEADER_REFERER), bytes);
	x->user_agent = span_of(field_value(h, HEADER_USER_AGENT), bytes);
	return true;
}

static struct exchange *exchange_new(struct client *c, const struct head *h)
{
	struct proxy *p = c->front->owner;
	struct exchange *x = slab_take(&p->exchanges);

	if (!x)
		return NULL;
	x->proxy = p;
	x->client = c;
	x->started_us = p->tick->now_us;
	x->method = (uint8_t)h->method;
	x->minor_0 = h->minor == 0;
	x->upgrade = h->upgrade;
	x->expects = h->expect_continue;
	if (!keep_head(x, h)) {
		slab_put(&p->exchanges, x);
		return NULL;
	}
	stat_add(&p->stats->exchanges, 1);
	return x;
}

static void head_received(struct client *c, struct head *h)
{
	struct exchange *x = exchange_new(c, h);
	/* The head's bytes stay while the route looks at them, although what comes next in the
	 * inbox is the body from here on. */
	struct buf *hold = buf_ref(c->conn.inbox);

	client_begin_body(c, h);
	if (!x) {
		struct proxy *p = c->front->owner;

		buf_put(hold);
		count_status(p->stats, ending_status(ENDING_NO_MEMORY));
		reply_send(p, c, &(struct reply){ .status = ending_status(ENDING_NO_MEMORY),
						  .ending = ENDING_NO_MEMORY, .close = true });
		client_ended(c, false);
		return;
	}
	c->exchange = x;
	if (h->method == METHOD_CONNECT)
		exchange_fail(x, ENDING_METHOD_REFUSED);
	else
		route(x, h, 0);
	buf_put(hold);
}

static void head_refused(struct client *c, enum fault fault)
{
	struct proxy *p = c->front->owner;
	enum ending ending = fault == FAULT_NONE ? ENDING_REQUEST_LATE : ENDING_REQUEST_BAD;
	int status = fault == FAULT_NONE ? ending_status(ending) : fault_status(fault);
	struct reply r = { .status = status, .ending = ending, .close = true };

	count_status(p->stats, status);
	reply_send(p, c, &r);
	if (p->access)
		access_log(p->access, &(struct access_entry){
			.peer = &c->peer,
			.status = status,
			.sent_bytes = r.sent_bytes,
			.ending = fault == FAULT_NONE ? ending_text(ending) : fault_text(fault),
		});
}

static void gone(struct client *c)
{
	struct exchange *x = c->exchange;

	c->exchange = NULL;
	if (x)
		let_go(x, ENDING_SHUT_DOWN);
}

const struct client_events exchange_client_events = {
	.head_received = head_received,
	.head_refused = head_refused,
	.step = exchange_step,
	.gone = gone,
};
