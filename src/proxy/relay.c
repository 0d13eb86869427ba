#include "proxy/relay.h"

#include "proxy/trailers.h"
#include "reply.h"

/* The diagram of relay.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[RELAY_REQUESTING] = 1u << RELAY_HEAD | 1u << RELAY_RELAYING | 1u << RELAY_TUNNEL |
			     1u << RELAY_FAILED,
	[RELAY_HEAD] = 1u << RELAY_RELAYING | 1u << RELAY_TUNNEL | 1u << RELAY_FAILED,
	[RELAY_RELAYING] = 1u << RELAY_COMPLETE | 1u << RELAY_FAILED,
	[RELAY_TUNNEL] = 1u << RELAY_COMPLETE | 1u << RELAY_BROKEN,
	[RELAY_COMPLETE] = 0,
	[RELAY_FAILED] = 0,
	[RELAY_BROKEN] = 0,
};

static void relay_set_state(struct relay *r, enum relay_state state)
{
	ASSERT(next_states[r->state] >> state & 1);
	r->state = (uint8_t)state;
}

static void relay_fail(struct relay *r, enum ending ending)
{
	relay_set_state(r, RELAY_FAILED);
	r->ending = (uint8_t)ending;
}

static bool relay_open(const struct relay *r)
{
	return r->state <= RELAY_TUNNEL;
}

void relay_check(const struct relay *r)
{
	ASSERT(r->source && (!r->fetch || r->source == &r->fetch->source));
	source_check(r->source);
	switch ((enum relay_state)r->state) {
	case RELAY_REQUESTING:
		ASSERT(r->status == 0 && !r->tunnel);
		break;
	case RELAY_RELAYING:
		ASSERT(r->status >= 200 && r->head_at < r->body_at && !r->tunnel);
		ASSERT(r->source->ending == 0);
		break;
	case RELAY_TUNNEL:
		ASSERT(r->fetch && r->tunnel && r->status == 101 && !r->keep_alive);
		break;
	case RELAY_HEAD:
	case RELAY_COMPLETE:
	case RELAY_FAILED:
	case RELAY_BROKEN:
		ASSERT(false); /* the exchange goes on, or ends, in the same step */
	}
}

/* ---- the request's body to the server ------------------------------------- */

static uint64_t relay_now_ms(const struct relay *r)
{
	return r->proxy->tick->now_ms;
}

bool relay_count_body(struct relay *r, uint32_t bytes)
{
	r->body_bytes += bytes;
	pace_received(&r->pace, bytes, relay_now_ms(r));
	return !relay_refuses_body(r, r->body_bytes);
}

static void tap_piece(struct relay *r, const struct piece *p)
{
	if (r->tap && !r->tap->piece(r->tap, p))
		r->tap = NULL;
}

static void tap_end(struct relay *r)
{
	struct body_tap *tap = r->tap;

	r->tap = NULL;
	if (tap)
		tap->end(tap);
}

void relay_drop_tap(struct relay *r)
{
	struct body_tap *tap = r->tap;

	r->tap = NULL;
	if (tap)
		tap->drop(tap);
}

static void forward_body_piece(struct relay *r, struct piece *p)
{
	if (relay_count_body(r, p->len)) {
		tap_piece(r, p);
		fetch_send(r->fetch, p);
		return;
	}
	piece_put(p);
	relay_fail(r, ENDING_BODY_TOO_LARGE);
}

static void forward_body(struct relay *r)
{
	struct head *scratch = &r->proxy->request;
	struct piece p = { NULL, NULL, 0 };

	while (relay_open(r) && fetch_send_space(r->fetch) > 0) {
		switch (stream_body(r->down, scratch, &p)) {
		case BODY_DATA:
			forward_body_piece(r, &p);
			break;
		case BODY_TRAILERS:
			tap_end(r);
			trailers_hide(scratch, r->rules, r->record, true);
			fetch_send_end(r->fetch, scratch);
			stream_end_trailers(r->down);
			return;
		case BODY_END:
			tap_end(r);
			fetch_send_end(r->fetch, NULL);
			return;
		case BODY_MORE:
			pace_await(&r->pace, relay_now_ms(r));
			return;
		case BODY_BAD:
			relay_fail(r, ENDING_REQUEST_BAD);
			return;
		}
	}
	if (relay_open(r))
		fetch_await_space(r->fetch);
}

/* ---- the response's head to the client ------------------------------------ */

/* The counter of the responses of this class (1xx to 5xx). NULL: no such class. */
static uint64_t *response_count(struct worker_stats *stats, int status)
{
	uint64_t *const classes[] = { &stats->responses_1xx, &stats->responses_2xx,
				      &stats->responses_3xx, &stats->responses_4xx,
				      &stats->responses_5xx };

	return status >= 100 && status < 600 ? classes[status / 100 - 1] : NULL;
}

static void count_response(struct relay *r, int status)
{
	uint64_t *count = response_count(r->proxy->stats, status);

	if (count)
		stat_add(count, 1);
}

/* The client has received nothing of the response: it is not counted as one. */
static void uncount_response(struct relay *r)
{
	uint64_t *count = response_count(r->proxy->stats, r->status);

	if (count)
		stat_sub(count, 1);
	r->status = 0;
	r->sent_bytes = 0;
	r->server = NULL;
	r->times.head_us = 0;
}

bool relay_take_back(struct relay *r)
{
	ASSERT(r->status != 0);
	if (r->tunnel || !stream_responsive(r->down) ||
	    !stream_take_back(r->down, r->head_at))
		return false;
	uncount_response(r);
	return true;
}

void relay_correct_sent(struct relay *r)
{
	uint64_t submitted = stream_submitted(r->down);

	if (r->status == 0)
		return;
	if (submitted <= r->head_at)
		uncount_response(r);
	else if (submitted < r->body_at + r->sent_bytes)
		r->sent_bytes = submitted > r->body_at ? submitted - r->body_at : 0;
}

/* Queues a head for the client. False: no memory. */
static bool push_head(struct relay *r, const struct head *h, struct forward_response *f)
{
	if (!source_send_head(r->source, r->down, h, f))
		return false;
	count_response(r, h->status);
	return true;
}

/* The framing of the body to the client (RFC 9112 6.3, 7), which may differ from the
 * server's. */
static enum framing outgoing_framing(const struct relay *r, enum framing framing)
{
	if (framing == FRAMING_CHUNKED || framing == FRAMING_CLOSE)
		return r->http_1_0 ? FRAMING_CLOSE : FRAMING_CHUNKED;
	return framing;
}

/* push_head() for the final response; records status, server and positions for the log. */
static bool push_final_head(struct relay *r, struct head *h, struct forward_response *f)
{
	struct log_record_fields own;

	if (r->record) {
		log_record_response_fields(&own, r->record);
		f->own = own.fields;
		f->own_n = own.n;
	}
	r->head_at = stream_position(r->down);
	if (!push_head(r, h, f))
		return false;
	r->body_at = stream_position(r->down);
	r->status = h->status;
	r->server = source_server(r->source);
	r->times.head_us = r->proxy->tick->now_us;
	return true;
}

/* True: the next request can be found in what the client sends. */
static bool may_keep_alive(struct relay *r)
{
	if (!r->fetch)
		return stream_discard_body(r->down);
	/* A client that got no 100 may send its body or not: its next bytes are ambiguous. */
	return stream_may_keep_alive(r->down) &&
	       !(r->expects_continue && !r->down->received);
}

/* Sends the final head; the body follows. */
static void begin_relaying(struct relay *r, struct head *h,
			   const struct field_changes *changes)
{
	enum framing framing = head_response_framing(h, (enum method)r->method);
	struct forward_response f = {
		.framing = outgoing_framing(r, framing),
		.length = h->length,
		.keep_length = h->framing == FRAMING_LENGTH && h->status != 204,
		.date = proxy_date(r->proxy),
		.changes = changes,
	};

	ASSERT(h->status >= 200);
	r->keep_alive = may_keep_alive(r) && f.framing != FRAMING_CLOSE;
	f.close = !r->keep_alive;
	f.keep_alive_1_0 = r->http_1_0 && r->keep_alive;
	if (!push_final_head(r, h, &f)) {
		relay_fail(r, ENDING_NO_MEMORY);
		return;
	}
	relay_set_state(r, RELAY_RELAYING);
	source_take_head(r->source, h, framing);
}

static void begin_tunnel(struct relay *r, struct head *h,
			 const struct field_changes *changes)
{
	struct forward_response f = { .upgrade = true, .changes = changes };

	ASSERT(h->status == 101);
	/* The rest of a request body cannot be sent as bytes of the tunnel. */
	if (!r->upgrade || !r->down->received || !r->fetch || !fetch_sent(r->fetch)) {
		relay_fail(r, ENDING_ORIGIN_BAD);
		return;
	}
	if (!push_final_head(r, h, &f)) {
		relay_fail(r, ENDING_NO_MEMORY);
		return;
	}
	relay_set_state(r, RELAY_TUNNEL);
	r->tunnel = true;
	r->keep_alive = false;
	stream_begin_tunnel(r->down);
	stat_add(&r->proxy->stats->tunnels, 1);
	source_take_head(r->source, h, FRAMING_NONE);
	fetch_begin_tunnel(r->fetch);
}

/* Relays a 1xx, unless the client speaks HTTP/1.0 (RFC 9110 15.2). */
static void relay_interim(struct relay *r, struct head *h)
{
	ASSERT(h->status >= 100 && h->status < 200 && h->status != 101);
	if (!r->http_1_0 &&
	    !push_head(r, h, &(struct forward_response){ .framing = FRAMING_NONE })) {
		relay_fail(r, ENDING_NO_MEMORY);
		return;
	}
	r->expects_continue &= h->status != 100;
	source_take_head(r->source, h, FRAMING_NONE);
}

static void begin_response(struct relay *r, struct head *h,
			   const struct field_changes *changes)
{
	if (h->status == 101)
		begin_tunnel(r, h, changes);
	else
		begin_relaying(r, h, changes);
}

/* Reads heads until the final one, or until there is none. */
static void relay_heads(struct relay *r)
{
	struct head *h = &r->proxy->response;

	while (r->state == RELAY_REQUESTING) {
		/* A failure is replied even if there is no space for a head. */
		if (r->source->ending != 0) {
			relay_fail(r, (enum ending)r->source->ending);
			return;
		}
		if (stream_space(r->down) == 0) {
			stream_await_space(r->down);
			source_set_stalled(r->source, true);
			return;
		}
		source_set_stalled(r->source, false);
		switch (source_head(r->source, h)) {
		case VERDICT_MORE:
			return;
		case VERDICT_BAD:
			continue;
		case VERDICT_OK:
			break;
		}
		if (h->status < 200 && h->status != 101)
			relay_interim(r, h);
		else if (r->stops_at_head)
			relay_set_state(r, RELAY_HEAD);
		else
			begin_response(r, h, NULL);
	}
}

/* ---- the response's body to the client ------------------------------------ */

/* Without memory the body ends without trailers. */
static bool end_response_body(struct relay *r, const struct head *trailers)
{
	struct field_block b;

	if (!trailers)
		return stream_send_end(r->down, NULL);
	stream_begin_block(r->down, &b, forward_trailers_max(trailers));
	forward_trailers(&b.sink, trailers);
	return stream_send_end(r->down, field_block_end(&b));
}

/* Queues a part of the body, and takes over the piece. */
static bool send_piece(struct relay *r, struct piece *p)
{
	r->sent_bytes += p->len;
	if (stream_send(r->down, p))
		return true;
	relay_fail(r, ENDING_NO_MEMORY);
	return false;
}

static void relay_body(struct relay *r)
{
	struct stream *down = r->down;
	struct head *scratch = &r->proxy->response;
	struct piece p = { NULL, NULL, 0 };

	/* Also while the client does not read: what has failed names no server for the log. */
	if (r->source->ending != 0) {
		relay_fail(r, (enum ending)r->source->ending);
		return;
	}
	/* If the client had stalled, the server's time starts anew. */
	source_set_stalled(r->source, false);
	while (stream_space(down) > 0) {
		switch (source_body(r->source, scratch, &p)) {
		case BODY_DATA:
			if (send_piece(r, &p))
				break;
			return;
		case BODY_TRAILERS:
			trailers_hide(scratch, r->rules, r->record, false);
			if (!end_response_body(r, scratch)) {
				relay_fail(r, ENDING_NO_MEMORY);
				return;
			}
			source_end_trailers(r->source);
			break;
		case BODY_END:
			if (down->sent || end_response_body(r, NULL))
				relay_set_state(r, RELAY_COMPLETE);
			else
				relay_fail(r, ENDING_ORIGIN_TRUNCATED);
			return;
		case BODY_MORE:
			return;
		case BODY_BAD:
			relay_fail(r, (enum ending)r->source->ending);
			return;
		}
	}
	stream_await_space(down);
	source_set_stalled(r->source, true);
}

/* ---- tunnels -------------------------------------------------------------- */

/* Moves the bytes that have come, and then the end of the stream. False: out of memory, and
 * bytes are lost. */
static bool tunnel_splice(struct stream *from, struct stream *to, struct head *scratch)
{
	struct piece p = { NULL, NULL, 0 };

	while (stream_space(to) > 0) {
		switch (stream_body(from, scratch, &p)) {
		case BODY_DATA:
			if (stream_send(to, &p))
				break;
			return false;
		case BODY_END:
			return to->sent || stream_send_end(to, NULL);
		case BODY_MORE:
		case BODY_TRAILERS:
		case BODY_BAD:
			return true;
		}
	}
	stream_await_space(to);
	return true;
}

static void tunnel_break(struct relay *r, enum ending ending)
{
	relay_set_state(r, RELAY_BROKEN);
	r->ending = (uint8_t)ending;
}

static void relay_tunnel(struct relay *r)
{
	struct head *scratch = &r->proxy->response;
	struct stream *down = r->down, *up;

	if (r->source->ending != 0) {
		relay_set_state(r, RELAY_COMPLETE);
		return;
	}
	up = fetch_stream(r->fetch);
	if (!tunnel_splice(down, up, scratch) || !tunnel_splice(up, down, scratch))
		tunnel_break(r, ENDING_NO_MEMORY);
	else if (stream_lost(up) && !stream_progress(up).unread)
		tunnel_break(r, ENDING_ORIGIN_TRUNCATED);
	else if (stream_end_sent(down) && stream_end_sent(up))
		relay_set_state(r, RELAY_COMPLETE);
}

/* ---- steps ---------------------------------------------------------------- */

void relay_begin(struct relay *r, struct source *s, struct fetch *fetch)
{
	ASSERT(!r->source && r->status == 0);
	r->state = RELAY_REQUESTING;
	r->ending = 0;
	r->source = s;
	r->fetch = fetch;
}

void relay_drop_source(struct relay *r)
{
	r->fetch = NULL;
	source_free(&r->source);
}

void relay_whole(struct relay *r, struct source *s, const struct field_changes *changes)
{
	struct head *h = &r->proxy->response;
	enum verdict verdict;
	struct piece p = { NULL, NULL, 0 };

	relay_begin(r, s, NULL);
	verdict = source_head(s, h);
	ASSERT(verdict == VERDICT_OK && h->status >= 200);
	begin_relaying(r, h, changes);
	while (r->state == RELAY_RELAYING && source_body(s, h, &p) == BODY_DATA)
		if (!send_piece(r, &p))
			return;
	if (r->state != RELAY_RELAYING)
		return;
	ASSERT(r->down->sent);
	relay_set_state(r, RELAY_COMPLETE);
}

bool relay_out_of_memory(struct relay *r)
{
	struct slice message = reply_out_of_memory;
	size_t head_bytes = message.len - REPLY_OUT_OF_MEMORY_BODY_BYTES;

	ASSERT(!r->source && r->status == 0);
	if (r->method == METHOD_HEAD)
		message.len = head_bytes;
	r->keep_alive = false;
	r->head_at = stream_position(r->down);
	r->body_at = r->head_at + head_bytes;
	if (!stream_send_static(r->down, message))
		return false;
	r->status = ending_status(ENDING_NO_MEMORY);
	r->sent_bytes = message.len - head_bytes;
	count_response(r, r->status);
	return true;
}

/* After an early response the request's body is still being sent. */
static void step_request(struct relay *r)
{
	if (r->fetch && r->state != RELAY_TUNNEL)
		forward_body(r);
	if (r->state != RELAY_REQUESTING)
		return;
	relay_heads(r);
	if (r->state == RELAY_REQUESTING && r->fetch && fetch_waits(r->fetch)) {
		stream_pause_body(r->down);
		pace_pause(&r->pace);
	}
}

/* The response may have begun in this step. */
static void step_response(struct relay *r)
{
	if (r->state == RELAY_TUNNEL)
		relay_tunnel(r);
	else if (r->state == RELAY_RELAYING)
		relay_body(r);
}

void relay_step(struct relay *r)
{
	ASSERT(relay_open(r) && r->source);
	source_step(r->source);
	step_request(r);
	step_response(r);
}

void relay_go_on(struct relay *r, const struct field_changes *changes)
{
	ASSERT(r->state == RELAY_HEAD);
	begin_response(r, &r->proxy->response, changes);
	step_response(r);
}
