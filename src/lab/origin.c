#include "origin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/date.h"
#include "http/forward.h"

#define PATTERN_BYTES 65536u

enum lab_state {
	LAB_READING,  /* reads the request's body, and discards or echoes it */
	LAB_WAITING,  /* waits for the timer */
	LAB_SENDING,  /* sends a body of the pattern */
	LAB_DRIPPING, /* sends one byte at a time */
	LAB_TUNNEL,   /* echoes all bytes */
	LAB_NEVER,
};

enum lab_path {
	PATH_OK,
	PATH_BYTES,
	PATH_CHUNKED,
	PATH_STATUS,
	PATH_ECHO,
	PATH_HEADERS,
	PATH_DRIP,
	PATH_EARLY,
	PATH_UPGRADE,
	PATH_RESET_HEAD,
	PATH_RESET_BODY,
	PATH_SHORT_BODY,
	PATH_NEVER,
	PATH_UNKNOWN,
};

/* A request in progress. */
struct lab_request {
	struct origin_lab *lab;
	struct stream *stream;
	struct task task; /* run on events of the stream, and of the timer */
	struct timer timer;
	uint8_t state, path;
	bool head_only, keep, continue_wanted, due;
	uint8_t framing;      /* of the request's body */
	uint64_t n, length;   /* bytes to send, or the status; of the request's body */
	uint32_t ms;
	struct buf *head;     /* /headers: the request's head */
	char upgrade[32];
};

static char pattern[PATTERN_BYTES]; /* shared by all workers */
static pthread_once_t pattern_once = PTHREAD_ONCE_INIT;

static void fill_pattern(void)
{
	for (unsigned i = 0; i < PATTERN_BYTES; i++)
		pattern[i] = (char)('a' + i % 23);
}

/* ---- the end of a request ------------------------------------------------- */

/* Returns its stream. */
static struct stream *request_free(struct lab_request *r)
{
	struct stream *s = r->stream;

	stream_release(s);
	task_stop(&r->task);
	timer_stop(&r->lab->tick->wheel, &r->timer);
	buf_put(r->head);
	slab_put(&r->lab->requests, r);
	return s;
}

static void request_end(struct lab_request *r)
{
	bool keep = r->keep;

	stream_finish(request_free(r), keep);
}

static void request_abort(struct lab_request *r)
{
	stream_abort(request_free(r), STREAM_INCOMPLETE);
}

/* ---- writing -------------------------------------------------------------- */

static struct buf *new_block(struct lab_request *r, size_t size, struct emit *e)
{
	struct buf *b = buf_new(io_bufs(r->lab->tick->loop), size);

	if (b)
		*e = (struct emit){ b->data, b->data + b->size, false };
	return b;
}

/* length UINT64_MAX: chunked, else Content-Length. */
static bool begin_response(struct lab_request *r, int status, uint64_t length,
			   struct slice body)
{
	enum framing framing = length == UINT64_MAX ? FRAMING_CHUNKED : FRAMING_LENGTH;
	char date[DATE_TEXT_MAX];
	struct field_block b;

	/* An echo still reads the body, so it must not be discarded. */
	r->keep = r->path == PATH_ECHO ? stream_may_keep_alive(r->stream)
				       : stream_discard_body(r->stream);
	date_text(date, r->lab->tick->wall_ms);
	stream_begin_block(r->stream, &b, FORWARD_EXTRA + body.len);
	forward_reply(&b.sink,
		      &(struct forward_reply){
			      .status = status,
			      .content_type = SLICE("text/plain"),
			      .has_body = framing == FRAMING_LENGTH && status >= 200 &&
					  status != 204 && status != 304,
			      .chunked = framing == FRAMING_CHUNKED,
			      .length = length,
			      .close = !r->keep,
			      .date = slice_of(date),
		      });
	if (r->head_only || body.len > 0)
		return stream_send_message(r->stream, &b,
					   r->head_only ? SLICE("") : body);
	return stream_send_head(r->stream, &b, framing, length);
}

static void respond_text(struct lab_request *r, int status, struct slice body)
{
	if (begin_response(r, status, body.len, body))
		request_end(r);
	else
		request_abort(r);
}

/* Sends as much of the pattern as the connection has space for. False: the request was
 * aborted. */
static bool send_pattern(struct lab_request *r)
{
	struct stream *s = r->stream;
	uint32_t room;

	while (r->n > 0 && (room = stream_space(s)) > 0) {
		uint64_t n = r->n < PATTERN_BYTES ? r->n : PATTERN_BYTES;
		struct piece p = { NULL, pattern, (uint32_t)(n < room ? n : room) };
		uint32_t len = p.len;

		if (!stream_send(s, &p)) {
			request_abort(r);
			return false;
		}
		r->n -= len;
	}
	if (r->n > 0)
		stream_await_space(s);
	return true;
}

static void send_step(struct lab_request *r)
{
	struct stream *s = r->stream;

	if (!send_pattern(r) || r->n > 0)
		return;
	if (s->sent || stream_send_end(s, NULL))
		request_end(r);
	else
		request_abort(r);
}

static void start_pattern(struct lab_request *r, bool chunked)
{
	r->state = LAB_SENDING;
	if (!begin_response(r, 200, chunked ? UINT64_MAX : r->n, SLICE("")))
		request_abort(r);
	else if (r->head_only)
		request_end(r);
	else
		send_step(r);
}

/* ---- faults --------------------------------------------------------------- */

static void send_raw(struct lab_request *r, struct slice text)
{
	struct emit e;
	struct buf *b = new_block(r, text.len, &e);

	if (!b)
		return;
	emit_slice(&e, text);
	b->end = (uint32_t)(e.at - b->data);
	stream_send_kept_head(r->stream, b, FRAMING_NONE, 0);
}

#define SHORT_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this much"

/* Sends `text`; the timer then breaks the connection. */
static void start_fault(struct lab_request *r, struct slice text)
{
	send_raw(r, text);
	r->state = LAB_WAITING;
	timer_set(&r->lab->tick->wheel, &r->timer, r->lab->tick->now_ms + 50);
}

/* ---- paths ---------------------------------------------------------------- */

static void respond(struct lab_request *r)
{
	char line[32];
	int n;

	switch ((enum lab_path)r->path) {
	case PATH_OK:
		respond_text(r, 200, SLICE("ok\n"));
		break;
	case PATH_STATUS:
		n = snprintf(line, sizeof(line), "%u\n", (unsigned)r->n);
		if (r->n == 204 || r->n == 304)
			n = 0;
		respond_text(r, (int)r->n, (struct slice){ line, (size_t)n });
		break;
	case PATH_HEADERS:
		respond_text(r, 200, buf_bytes(r->head));
		break;
	case PATH_BYTES:
	case PATH_CHUNKED:
		start_pattern(r, r->path == PATH_CHUNKED);
		break;
	case PATH_EARLY:
		send_raw(r, SLICE("HTTP/1.1 103 Early Hints\r\n"
				  "Link: </style.css>; rel=preload\r\n\r\n"));
		respond_text(r, 200, SLICE("ok\n"));
		break;
	case PATH_RESET_HEAD:
		start_fault(r, SLICE("HTTP/1.1 200 OK\r\nContent-Le"));
		break;
	case PATH_RESET_BODY:
	case PATH_SHORT_BODY:
		start_fault(r, SLICE(SHORT_HEAD));
		break;
	case PATH_NEVER:
		r->state = LAB_NEVER;
		break;
	case PATH_ECHO:
	case PATH_DRIP:
	case PATH_UPGRADE:
	case PATH_UNKNOWN:
		respond_text(r, 404, SLICE("the lab has no such path\n"));
		break;
	}
}

static void timer_fired(struct lab_request *r)
{
	switch ((enum lab_path)r->path) {
	case PATH_RESET_HEAD:
	case PATH_RESET_BODY:
		request_abort(r);
		return;
	case PATH_SHORT_BODY:
		r->keep = false;
		request_end(r);
		return;
	case PATH_OK:
	case PATH_BYTES:
	case PATH_CHUNKED:
	case PATH_STATUS:
	case PATH_ECHO:
	case PATH_HEADERS:
	case PATH_DRIP:
	case PATH_EARLY:
	case PATH_UPGRADE:
	case PATH_NEVER:
	case PATH_UNKNOWN:
		respond(r);
		return;
	}
}

static void drip_step(struct lab_request *r)
{
	struct stream *s = r->stream;
	struct piece p = { NULL, pattern, 1 };

	if (!r->due)
		return;
	if (stream_space(s) == 0) {
		stream_await_space(s);
		return;
	}
	r->due = false;
	if (r->n > 0 && !stream_send(s, &p)) {
		request_abort(r);
		return;
	}
	if (r->n > 0)
		r->n--;
	if (r->n == 0)
		request_end(r);
	else
		timer_set(&r->lab->tick->wheel, &r->timer, r->lab->tick->now_ms + r->ms);
}

static void start_drip(struct lab_request *r)
{
	r->state = LAB_DRIPPING;
	r->due = true;
	if (!begin_response(r, 200, r->n, SLICE("")))
		request_abort(r);
	else if (r->head_only || r->n == 0)
		request_end(r);
	else
		drip_step(r);
}

static void start_tunnel(struct lab_request *r)
{
	char head[160];
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			 "Upgrade: %s\r\n\r\n",
			 r->upgrade);

	send_raw(r, (struct slice){ head, (size_t)n });
	r->state = LAB_TUNNEL;
	stream_begin_tunnel(r->stream);
	r->keep = false;
}

static void tunnel_step(struct lab_request *r)
{
	struct stream *s = r->stream;
	struct piece p = { NULL, NULL, 0 };

	while (stream_space(s) > 0) {
		switch (stream_body(s, &r->lab->request, &p)) {
		case BODY_DATA:
			if (stream_send(s, &p))
				break;
			request_abort(r);
			return;
		case BODY_END:
			request_end(r);
			return;
		case BODY_MORE:
		case BODY_TRAILERS:
		case BODY_BAD:
			return;
		}
	}
	stream_await_space(s);
}

/* ---- the request's body --------------------------------------------------- */

static void request_complete(struct lab_request *r)
{
	if (r->path == PATH_DRIP) {
		start_drip(r);
	} else if (r->path == PATH_UPGRADE) {
		start_tunnel(r);
		tunnel_step(r);
	} else if (r->ms == 0) {
		respond(r);
	} else {
		r->state = LAB_WAITING;
		timer_set(&r->lab->tick->wheel, &r->timer, r->lab->tick->now_ms + r->ms);
	}
}

static bool echo_piece(struct lab_request *r, struct piece *p)
{
	if (r->path != PATH_ECHO) {
		piece_put(p);
		return true;
	}
	return stream_send(r->stream, p);
}

static void echo_ended(struct lab_request *r)
{
	struct stream *s = r->stream;

	if (r->path != PATH_ECHO)
		request_complete(r);
	else if (s->sent || stream_send_end(s, NULL))
		request_end(r);
	else
		request_abort(r);
}

static void read_step(struct lab_request *r)
{
	struct stream *s = r->stream;
	struct piece p = { NULL, NULL, 0 };

	while (stream_space(s) > 0) {
		switch (stream_body(s, &r->lab->request, &p)) {
		case BODY_DATA:
			if (echo_piece(r, &p))
				break;
			request_abort(r);
			return;
		case BODY_TRAILERS:
			stream_end_trailers(s);
			break;
		case BODY_END:
			echo_ended(r);
			return;
		case BODY_MORE:
			return;
		case BODY_BAD:
			request_abort(r);
			return;
		}
	}
	stream_await_space(s);
}

static void start_reading(struct lab_request *r)
{
	r->state = LAB_READING;
	if (r->continue_wanted)
		send_raw(r, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
	if (r->path == PATH_ECHO) {
		uint64_t length = r->framing == FRAMING_CHUNKED ? UINT64_MAX : r->length;

		if (!begin_response(r, 200, length, SLICE(""))) {
			request_abort(r);
			return;
		}
	}
	read_step(r);
}

/* ---- requests ------------------------------------------------------------- */

static bool parse_uint(struct slice *s, uint64_t *n)
{
	size_t i = 0;

	*n = 0;
	while (i < s->len && i < 18 && s->ptr[i] >= '0' && s->ptr[i] <= '9')
		*n = *n * 10 + (uint64_t)(s->ptr[i++] - '0');
	*s = slice_after(*s, i);
	return i > 0;
}

static bool after_prefix(struct slice path, const char *prefix, struct slice *rest)
{
	if (!slice_starts(path, slice_of(prefix)))
		return false;
	*rest = slice_after(path, strlen(prefix));
	return true;
}

static void parse_numbers(struct lab_request *r, struct slice path)
{
	struct slice rest;
	uint64_t ms;

	if (after_prefix(path, "/bytes/", &rest) && parse_uint(&rest, &r->n))
		r->path = PATH_BYTES;
	else if (after_prefix(path, "/chunked/", &rest) && parse_uint(&rest, &r->n))
		r->path = PATH_CHUNKED;
	else if (after_prefix(path, "/status/", &rest) && parse_uint(&rest, &r->n) &&
		 r->n >= 200 && r->n <= 599)
		r->path = PATH_STATUS;
	else if (after_prefix(path, "/delay/", &rest) && parse_uint(&rest, &ms) &&
		 ms <= 3600000) {
		r->path = PATH_OK;
		r->ms = (uint32_t)ms;
	} else if (after_prefix(path, "/drip/", &rest) && parse_uint(&rest, &r->n) &&
		   after_prefix(rest, "/", &rest) && parse_uint(&rest, &ms) && ms > 0 &&
		   ms <= 3600000) {
		r->path = PATH_DRIP;
		r->ms = (uint32_t)ms;
	}
}

static void parse_path(struct lab_request *r, const struct head *h)
{
	static const struct {
		const char *text;
		enum lab_path path;
	} fixed[] = {
		{ "/echo", PATH_ECHO },
		{ "/headers", PATH_HEADERS },
		{ "/early", PATH_EARLY },
		{ "/fault/reset-head", PATH_RESET_HEAD },
		{ "/fault/reset-body", PATH_RESET_BODY },
		{ "/fault/short-body", PATH_SHORT_BODY },
		{ "/fault/never", PATH_NEVER },
	};

	r->path = PATH_UNKNOWN;
	if (slice_equal(h->path, SLICE("/")) || slice_equal(h->path, SLICE("*"))) {
		r->path = PATH_OK;
		r->ms = r->lab->delay_ms;
		return;
	}
	if (slice_equal(h->path, SLICE("/upgrade")) && h->upgrade &&
	    h->upgrade_token.len < sizeof(r->upgrade)) {
		r->path = PATH_UPGRADE;
		memcpy(r->upgrade, h->upgrade_token.ptr, h->upgrade_token.len);
		return;
	}
	for (unsigned i = 0; i < COUNT(fixed); i++)
		if (slice_equal(h->path, slice_of(fixed[i].text)))
			r->path = (uint8_t)fixed[i].path;
	parse_numbers(r, h->path);
}

static void request_timer_fired(struct timer *t)
{
	struct lab_request *r = CONTAINER(t, struct lab_request, timer);

	r->due = true;
	tick_run(r->lab->tick, &r->task);
}

static void copy_head(struct lab_request *r, struct client *c, const struct head *h)
{
	struct emit e;

	if (r->path != PATH_HEADERS)
		return;
	r->head = new_block(r, h->bytes, &e);
	if (!r->head)
		return;
	emit_slice(&e, (struct slice){ conn_peek(&c->conn).ptr, h->bytes });
	r->head->end = (uint32_t)(e.at - r->head->data);
}

static void request_advance(struct lab_request *r)
{
	switch ((enum lab_state)r->state) {
	case LAB_READING:
		read_step(r);
		break;
	case LAB_WAITING:
		if (r->due) {
			r->due = false;
			timer_fired(r);
		}
		break;
	case LAB_SENDING:
		send_step(r);
		break;
	case LAB_DRIPPING:
		drip_step(r);
		break;
	case LAB_TUNNEL:
		tunnel_step(r);
		break;
	case LAB_NEVER:
		/* The client has closed: nothing else would end the request. */
		if (r->stream->eof)
			request_abort(r);
		break;
	}
}

static void request_step(struct task *task)
{
	struct lab_request *r = CONTAINER(task, struct lab_request, task);
	struct stream *s = r->stream;

	if (s->state == STREAM_CLOSED)
		return; /* request_gone() follows */
	/* Timeouts are ignored; only lost connections end a request. */
	s->timed_out = false;
	if (stream_lost(s))
		request_abort(r);
	else
		request_advance(r);
	if (s->task)
		stream_wait(s, false);
}

static struct lab_request *request_new(struct client *c, struct stream *s,
				       const struct head *h)
{
	struct origin_lab *lab = c->front->owner;
	struct lab_request *r = slab_take(&lab->requests);

	if (!r)
		return NULL;
	r->lab = lab;
	r->stream = s;
	task_init(&r->task, request_step);
	timer_init(&r->timer, request_timer_fired);
	r->head_only = h->method == METHOD_HEAD;
	r->framing = (uint8_t)h->framing;
	r->length = h->framing == FRAMING_LENGTH ? h->length : 0;
	r->continue_wanted = h->expect_continue;
	parse_path(r, h);
	copy_head(r, c, h);
	return r;
}

static void origin_lab_head_received(struct client *c, struct stream *s, struct head *h)
{
	struct lab_request *r = request_new(c, s, h);

	stream_begin_body(s, h->framing, h->length);
	if (!r) {
		stream_abort(s, STREAM_INCOMPLETE);
		return;
	}
	stream_use(s, &r->task);
	if (r->path == PATH_HEADERS && !r->head)
		request_abort(r);
	else
		start_reading(r);
	if (s->task)
		stream_wait(s, false);
}

static void origin_lab_head_refused(struct client *c, struct stream *stream,
				    enum fault fault)
{
	(void)c;
	struct slice text = slice_of(fault_text(fault));
	struct field_block b;

	stream_begin_block(stream, &b, FORWARD_EXTRA + text.len);
	forward_reply(&b.sink, &(struct forward_reply){
				       .status = fault ? fault_status(fault) : 408,
				       .has_body = true,
				       .length = text.len,
				       .close = true });
	stream_send_message(stream, &b, text);
}

static void request_gone(struct stream *s)
{
	request_free(CONTAINER(s->task, struct lab_request, task));
}

static const struct client_events client_events = {
	.head_received = origin_lab_head_received,
	.head_refused = origin_lab_head_refused,
	.stream_closed = request_gone,
};

static void origin_lab_accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct origin_lab *lab = l->owner;

	client_open(&lab->front, fd, peer);
}

static const struct listener_events listener_events = { .accepted = origin_lab_accepted };

void origin_lab_start(struct origin_lab *l, int fd)
{
	struct front *f = &l->front;

	pthread_once(&pattern_once, fill_pattern);
	slab_init(&l->requests, "lab_request", sizeof(struct lab_request), 0);
	f->tick = l->tick;
	f->events = &client_events;
	f->owner = l;
	f->limits = (struct head_limits){ 65536, HEAD_FIELDS_MAX, 0 };
	f->timeouts = (struct client_timeouts){ 3600000, 3600000, 3600000, 3600000, 0 };
	f->window = 262144;
	f->linger_ms = 1000;
	f->quota = l->clients;
	f->stats = &l->stats;
	f->scratch = &l->request;
	front_init(f);
	listener_start(&l->listener, l->tick, fd, l->clients, &l->stats, &listener_events, l);
}

void origin_lab_trim(struct origin_lab *l)
{
	slab_trim(&l->requests);
	slab_trim(&l->front.clients);
}
