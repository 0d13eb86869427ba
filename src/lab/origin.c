#include "origin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/emit.h"

#define PATTERN_BYTES 65536u

enum visit_state {
	VISIT_READING,  /* the request's body is read, and dropped or sent back */
	VISIT_WAITING,  /* for the timer */
	VISIT_SENDING,  /* a body of the pattern */
	VISIT_DRIPPING, /* a byte at a time */
	VISIT_TUNNEL,   /* echoes all bytes */
	VISIT_NEVER,
};

enum visit_kind {
	KIND_OK, KIND_BYTES, KIND_CHUNKED, KIND_STATUS, KIND_ECHO, KIND_HEADERS, KIND_DRIP,
	KIND_EARLY, KIND_UPGRADE, KIND_RESET_HEAD, KIND_RESET_BODY, KIND_SHORT_BODY, KIND_NEVER,
	KIND_UNKNOWN,
};

/* One request being answered. */
struct visit {
	struct origin_lab *lab;
	struct client *client;
	struct timer timer;
	uint8_t state, kind;
	bool head_only, keep, continue_wanted, due;
	uint8_t framing;      /* of the request's body */
	uint64_t n, length;   /* bytes to send, or the status; of the request's body */
	uint32_t ms;
	struct buf *head;     /* /headers: the request's head */
	char upgrade[32];
};

static char pattern[PATTERN_BYTES]; /* of all workers */
static pthread_once_t pattern_once = PTHREAD_ONCE_INIT;

static void fill_pattern(void)
{
	for (unsigned i = 0; i < PATTERN_BYTES; i++)
		pattern[i] = (char)('a' + i % 23);
}

/* ---- the end of a visit --------------------------------------------------- */

static struct client *let_go(struct visit *v)
{
	struct client *c = v->client;

	timer_stop(&v->lab->tick->wheel, &v->timer);
	buf_put(v->head);
	slab_put(&v->lab->visits, v);
	return c;
}

static void end(struct visit *v)
{
	bool keep = v->keep;

	client_finish_response(let_go(v), keep);
}

static void break_off(struct visit *v)
{
	client_abort_response(let_go(v));
}

/* ---- writing -------------------------------------------------------------- */

static struct buf *new_block(struct visit *v, size_t size, struct emit *e)
{
	struct buf *b = buf_new(io_bufs(v->lab->tick->loop), size);

	if (b)
		*e = (struct emit){ b->data, b->data + b->size, false };
	return b;
}

/* Content-Length, or chunks where length is UINT64_MAX. */
static bool begin(struct visit *v, int status, uint64_t length, struct slice body)
{
	enum framing framing = length == UINT64_MAX ? FRAMING_CHUNKED : FRAMING_LENGTH;
	char date[EMIT_DATE_MAX];
	struct emit e;
	struct buf *b = new_block(v, EMIT_EXTRA + body.len, &e);

	if (!b)
		return false;
	/* What is echoed is still to be read: no skipping ahead. */
	v->keep = v->kind == KIND_ECHO ? client_may_keep_alive(v->client)
				       : client_discard_body(v->client);
	emit_date(date, v->lab->tick->wall_ms);
	emit_reply(&e, &(struct emit_reply){
		.status = status,
		.content_type = SLICE("text/plain"),
		.has_body = framing == FRAMING_LENGTH && status >= 200 && status != 204 &&
			    status != 304,
		.chunked = framing == FRAMING_CHUNKED,
		.length = length,
		.close = !v->keep,
		.date = slice_of(date),
	});
	if (!v->head_only)
		emit_slice(&e, body);
	b->end = (uint32_t)(e.at - b->data);
	if (v->head_only || body.len > 0)
		framing = FRAMING_NONE;
	return writer_begin(&v->client->writer, &v->client->conn, b, framing, length);
}

static void answer_text(struct visit *v, int status, struct slice body)
{
	if (begin(v, status, body.len, body))
		end(v);
	else
		break_off(v);
}

/* As much of the pattern as there is room for. False: it failed, or the visit has ended. */
static bool send_pattern(struct visit *v)
{
	struct client *c = v->client;
	uint32_t room;

	while (v->n > 0 && (room = conn_request_space(&c->conn)) > 0) {
		uint64_t n = v->n < PATTERN_BYTES ? v->n : PATTERN_BYTES;
		struct piece p = { NULL, pattern, (uint32_t)(n < room ? n : room) };
		uint32_t len = p.len;

		if (!writer_piece(&c->writer, &c->conn, &p)) {
			break_off(v);
			return false;
		}
		v->n -= len;
	}
	return true;
}

static void send_step(struct visit *v)
{
	struct client *c = v->client;

	if (!send_pattern(v) || v->n > 0)
		return;
	if (c->writer.ended || writer_end(&c->writer, &c->conn, NULL))
		end(v);
	else
		break_off(v);
}

static void start_pattern(struct visit *v, bool chunked)
{
	v->state = VISIT_SENDING;
	if (!begin(v, 200, chunked ? UINT64_MAX : v->n, SLICE("")))
		break_off(v);
	else if (v->head_only)
		end(v);
	else
		send_step(v);
}

/* ---- faults --------------------------------------------------------------- */

static void raw(struct visit *v, struct slice text)
{
	struct emit e;
	struct buf *b = new_block(v, text.len, &e);

	if (!b)
		return;
	emit_slice(&e, text);
	b->end = (uint32_t)(e.at - b->data);
	writer_begin(&v->client->writer, &v->client->conn, b, FRAMING_NONE, 0);
}

#define SHORT_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this much"

/* The bytes leave first, then the timer rings and the connection breaks. */
static void fault(struct visit *v, struct slice text)
{
	raw(v, text);
	v->state = VISIT_WAITING;
	timer_set(&v->lab->tick->wheel, &v->timer, v->lab->tick->now_ms + 50);
}

/* ---- what is asked for ---------------------------------------------------- */

static void respond(struct visit *v)
{
	char line[32];
	int n;

	switch ((enum visit_kind)v->kind) {
	case KIND_OK:
		answer_text(v, 200, SLICE("ok\n"));
		break;
	case KIND_STATUS:
		n = snprintf(line, sizeof(line), "%u\n", (unsigned)v->n);
		if (v->n == 204 || v->n == 304)
			n = 0;
		answer_text(v, (int)v->n, (struct slice){ line, (size_t)n });
		break;
	case KIND_HEADERS:
		answer_text(v, 200, buf_bytes(v->head));
		break;
	case KIND_BYTES:
	case KIND_CHUNKED:
		start_pattern(v, v->kind == KIND_CHUNKED);
		break;
	case KIND_EARLY:
		raw(v, SLICE("HTTP/1.1 103 Early Hints\r\n"
			     "Link: </style.css>; rel=preload\r\n\r\n"));
		answer_text(v, 200, SLICE("ok\n"));
		break;
	case KIND_RESET_HEAD:
		fault(v, SLICE("HTTP/1.1 200 OK\r\nContent-Le"));
		break;
	case KIND_RESET_BODY:
	case KIND_SHORT_BODY:
		fault(v, SLICE(SHORT_HEAD));
		break;
	case KIND_NEVER:
		v->state = VISIT_NEVER;
		break;
	case KIND_ECHO:
	case KIND_DRIP:
	case KIND_UPGRADE:
	case KIND_UNKNOWN:
		answer_text(v, 404, SLICE("the lab has no such path\n"));
		break;
	}
}

static void timer_rang(struct visit *v)
{
	switch ((enum visit_kind)v->kind) {
	case KIND_RESET_HEAD:
	case KIND_RESET_BODY:
		break_off(v);
		return;
	case KIND_SHORT_BODY:
		v->keep = false;
		end(v);
		return;
	case KIND_OK:
	case KIND_BYTES:
	case KIND_CHUNKED:
	case KIND_STATUS:
	case KIND_ECHO:
	case KIND_HEADERS:
	case KIND_DRIP:
	case KIND_EARLY:
	case KIND_UPGRADE:
	case KIND_NEVER:
	case KIND_UNKNOWN:
		respond(v);
		return;
	}
}

static void drip_step(struct visit *v)
{
	struct client *c = v->client;
	struct piece p = { NULL, pattern, 1 };

	if (!v->due || conn_request_space(&c->conn) == 0)
		return;
	v->due = false;
	if (v->n > 0 && !writer_piece(&c->writer, &c->conn, &p)) {
		break_off(v);
		return;
	}
	if (v->n > 0)
		v->n--;
	if (v->n == 0)
		end(v);
	else
		timer_set(&v->lab->tick->wheel, &v->timer, v->lab->tick->now_ms + v->ms);
}

static void start_drip(struct visit *v)
{
	v->state = VISIT_DRIPPING;
	v->due = true;
	if (!begin(v, 200, v->n, SLICE("")))
		break_off(v);
	else if (v->head_only || v->n == 0)
		end(v);
	else
		drip_step(v);
}

static void start_tunnel(struct visit *v)
{
	char head[160];
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			 "Upgrade: %s\r\n\r\n", v->upgrade);

	raw(v, (struct slice){ head, (size_t)n });
	v->state = VISIT_TUNNEL;
	client_begin_tunnel(v->client);
	v->keep = false;
}

static void tunnel_step(struct visit *v)
{
	struct conn *c = &v->client->conn;

	while (c->inbox && conn_request_space(c) > 0) {
		struct piece p = conn_take(c, (uint32_t)conn_peek(c).len);

		if (!conn_push(c, &p)) {
			piece_put(&p);
			break_off(v);
			return;
		}
	}
	if (!c->inbox && c->eof)
		end(v);
}

/* ---- the request's body --------------------------------------------------- */

static void body_read(struct visit *v)
{
	if (v->kind == KIND_DRIP) {
		start_drip(v);
	} else if (v->kind == KIND_UPGRADE) {
		start_tunnel(v);
		tunnel_step(v);
	} else if (v->ms == 0) {
		respond(v);
	} else {
		v->state = VISIT_WAITING;
		timer_set(&v->lab->tick->wheel, &v->timer, v->lab->tick->now_ms + v->ms);
	}
}

static bool echo_piece(struct visit *v, struct piece *p)
{
	if (v->kind != KIND_ECHO) {
		piece_put(p);
		return true;
	}
	return writer_piece(&v->client->writer, &v->client->conn, p);
}

static void echo_ended(struct visit *v)
{
	struct client *c = v->client;

	if (v->kind != KIND_ECHO)
		body_read(v);
	else if (c->writer.ended || writer_end(&c->writer, &c->conn, NULL))
		end(v);
	else
		break_off(v);
}

static void read_step(struct visit *v)
{
	struct client *c = v->client;
	struct piece p = { NULL, NULL, 0 };

	while (conn_request_space(&c->conn) > 0) {
		switch (client_body(c, &v->lab->request, &p)) {
		case BODY_DATA:
			if (echo_piece(v, &p))
				break;
			break_off(v);
			return;
		case BODY_TRAILERS:
			reader_end_trailers(&c->reader, &c->conn);
			break;
		case BODY_END:
			echo_ended(v);
			return;
		case BODY_MORE:
			return;
		case BODY_BAD:
			break_off(v);
			return;
		}
	}
}

static void start_reading(struct visit *v)
{
	v->state = VISIT_READING;
	if (v->continue_wanted)
		raw(v, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
	if (v->kind == KIND_ECHO) {
		uint64_t length = v->framing == FRAMING_CHUNKED ? UINT64_MAX : v->length;

		if (!begin(v, 200, length, SLICE(""))) {
			break_off(v);
			return;
		}
	}
	read_step(v);
}

/* ---- requests ------------------------------------------------------------- */

static bool number(struct slice *s, uint64_t *n)
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

static void parse_numbers(struct visit *v, struct slice path)
{
	struct slice rest;
	uint64_t ms;

	if (after_prefix(path, "/bytes/", &rest) && number(&rest, &v->n))
		v->kind = KIND_BYTES;
	else if (after_prefix(path, "/chunked/", &rest) && number(&rest, &v->n))
		v->kind = KIND_CHUNKED;
	else if (after_prefix(path, "/status/", &rest) && number(&rest, &v->n) && v->n >= 200 &&
		 v->n <= 599)
		v->kind = KIND_STATUS;
	else if (after_prefix(path, "/delay/", &rest) && number(&rest, &ms) && ms <= 3600000) {
		v->kind = KIND_OK;
		v->ms = (uint32_t)ms;
	} else if (after_prefix(path, "/drip/", &rest) && number(&rest, &v->n) &&
		   after_prefix(rest, "/", &rest) && number(&rest, &ms) && ms > 0 &&
		   ms <= 3600000) {
		v->kind = KIND_DRIP;
		v->ms = (uint32_t)ms;
	}
}

static void parse_path(struct visit *v, const struct head *h)
{
	static const struct {
		const char *path;
		enum visit_kind kind;
	} fixed[] = {
		{ "/echo", KIND_ECHO },
		{ "/headers", KIND_HEADERS },
		{ "/early", KIND_EARLY },
		{ "/fault/reset-head", KIND_RESET_HEAD },
		{ "/fault/reset-body", KIND_RESET_BODY },
		{ "/fault/short-body", KIND_SHORT_BODY },
		{ "/fault/never", KIND_NEVER },
	};

	v->kind = KIND_UNKNOWN;
	if (slice_equal(h->path, SLICE("/")) || slice_equal(h->path, SLICE("*"))) {
		v->kind = KIND_OK;
		v->ms = v->lab->delay_ms;
		return;
	}
	if (slice_equal(h->path, SLICE("/upgrade")) && h->upgrade &&
	    h->upgrade_token.len < sizeof(v->upgrade)) {
		v->kind = KIND_UPGRADE;
		memcpy(v->upgrade, h->upgrade_token.ptr, h->upgrade_token.len);
		return;
	}
	for (unsigned i = 0; i < COUNT(fixed); i++)
		if (slice_equal(h->path, slice_of(fixed[i].path)))
			v->kind = (uint8_t)fixed[i].kind;
	parse_numbers(v, h->path);
}

static void visit_timer(struct timer *t)
{
	struct visit *v = CONTAINER(t, struct visit, timer);

	v->due = true;
	tick_run(v->lab->tick, &v->client->task);
}

static void keep_head(struct visit *v, struct client *c, const struct head *h)
{
	struct emit e;

	if (v->kind != KIND_HEADERS)
		return;
	v->head = new_block(v, h->bytes, &e);
	if (!v->head)
		return;
	emit_slice(&e, (struct slice){ conn_peek(&c->conn).ptr, h->bytes });
	v->head->end = (uint32_t)(e.at - v->head->data);
}

static void head_received(struct client *c, struct head *h)
{
	struct origin_lab *lab = c->front->owner;
	struct visit *v = slab_take(&lab->visits);

	if (!v) {
		client_begin_body(c, h);
		client_abort_response(c);
		return;
	}
	v->lab = lab;
	v->client = c;
	timer_init(&v->timer, visit_timer);
	v->head_only = h->method == METHOD_HEAD;
	v->framing = (uint8_t)h->framing;
	v->length = h->framing == FRAMING_LENGTH ? h->length : 0;
	v->continue_wanted = h->expect_continue;
	parse_path(v, h);
	keep_head(v, c, h);
	client_begin_body(c, h);
	if (v->kind == KIND_HEADERS && !v->head) {
		break_off(v);
		return;
	}
	c->exchange = v;
	start_reading(v);
}

static void head_refused(struct client *c, enum fault fault)
{
	struct slice text = slice_of(fault_text(fault));
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), EMIT_EXTRA + text.len);
	struct emit e;

	if (!b)
		return;
	e = (struct emit){ b->data, b->data + b->size, false };
	emit_reply(&e, &(struct emit_reply){ .status = fault ? fault_status(fault) : 408,
					     .has_body = true, .length = text.len, .close = true });
	emit_slice(&e, text);
	b->end = (uint32_t)(e.at - b->data);
	writer_begin(&c->writer, &c->conn, b, FRAMING_NONE, 0);
}

static void step(struct client *c)
{
	struct visit *v = c->exchange;

	/* The lab is patient: only who is gone is let go. */
	c->timed_out = false;
	if (client_lost(c)) {
		break_off(v);
		return;
	}
	switch ((enum visit_state)v->state) {
	case VISIT_READING:
		read_step(v);
		break;
	case VISIT_WAITING:
		if (v->due) {
			v->due = false;
			timer_rang(v);
		}
		break;
	case VISIT_SENDING:
		send_step(v);
		break;
	case VISIT_DRIPPING:
		drip_step(v);
		break;
	case VISIT_TUNNEL:
		tunnel_step(v);
		break;
	case VISIT_NEVER:
		/* Without an answer there is nobody to keep the connection for. */
		if (c->conn.eof)
			break_off(v);
		break;
	}
}

static void gone(struct client *c)
{
	struct visit *v = c->exchange;

	c->exchange = NULL;
	if (v)
		let_go(v);
}

static const struct client_events client_events = { head_received, head_refused, step, gone };

static void accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct origin_lab *lab = l->owner;

	client_open(&lab->front, fd, peer);
}

static const struct listener_events listener_events = { .accepted = accepted };

void origin_lab_start(struct origin_lab *l, int fd)
{
	struct front *f = &l->front;

	pthread_once(&pattern_once, fill_pattern);
	slab_init(&l->visits, "visit", sizeof(struct visit), 0);
	f->tick = l->tick;
	f->events = &client_events;
	f->owner = l;
	f->limits = (struct head_limits){ 65536, HEAD_FIELDS_MAX, 0 };
	f->timeouts = (struct client_timeouts){ 3600000, 3600000, 3600000, 3600000 };
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
	slab_trim(&l->visits);
	slab_trim(&l->front.clients);
}
