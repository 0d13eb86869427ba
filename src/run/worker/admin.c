#include "run/worker/admin.h"

#include <stdlib.h>

#include "adminapi.h"
#include "http/date.h"
#include "http/forward.h"
#include "scrape.h"
#include "statuspage.h"

/* Size of a chunk of /metrics: some hundred lines. */
#define METRICS_CHUNK_BYTES 49152

static const char text_type[] = "text/plain";
static const char json_type[] = "application/json";
static const char metrics_type[] = "text/plain; version=0.0.4";

/* A response of /metrics in progress. */
struct metrics_response {
	struct scrape scrape;
	struct admin *admin;
	struct stream *stream;
	struct task task; /* run on events of the stream */
	struct list node; /* in admin->metrics_responses, unless the connection has no space */
	bool keep_alive;  /* keep the connection open afterwards */
};

/* ---- short responses ------------------------------------------------------ */

/* Writes a head with the date, and leaves space for a body of this length. */
static void write_head(struct admin *a, struct stream *s, struct field_block *b,
		       const struct forward_reply *r, size_t body_bytes)
{
	struct forward_reply reply = *r;
	char date[DATE_TEXT_MAX];

	date_text(date, a->tick->wall_ms);
	reply.date = slice_of(date);
	stream_begin_block(s, b, forward_reply_max(&reply) + body_bytes);
	forward_reply(&b->sink, &reply);
}

static void admin_send(struct admin *a, struct stream *s, struct forward_reply *r,
		       struct slice body, bool head)
{
	bool keep = stream_discard_body(s);
	struct field_block b;

	r->has_body = true;
	r->length = body.len;
	r->close = !keep;
	write_head(a, s, &b, r, body.len);
	if (stream_send_message(s, &b, head ? SLICE("") : body))
		stream_finish(s, keep);
	else
		stream_abort(s, STREAM_INCOMPLETE);
}

static void admin_respond(struct admin *a, struct stream *s, int status, const char *text,
			  bool head)
{
	admin_send(a, s,
		   &(struct forward_reply){ .status = status,
					    .content_type = slice_of(text_type) },
		   slice_of(text), head);
}

static void api_respond(struct admin *a, struct stream *s, const struct client *c,
			const struct head *h)
{
	char text[ADMIN_API_BYTES];
	struct admin_api_response r = { .json = text };

	admin_api(a, c, h, &r);
	admin_send(a, s,
		   &(struct forward_reply){ .status = r.status,
					    .content_type = slice_of(json_type),
					    .allow = slice_of(r.allow) },
		   slice_of(text), h->method == METHOD_HEAD);
}

static void page_respond(struct admin *a, struct stream *s, bool head)
{
	admin_send(a, s,
		   &(struct forward_reply){ .status = 200,
					    .content_type = SLICE("text/html; charset=utf-8"),
					    .own = status_page_fields,
					    .own_n = status_page_field_n },
		   status_page(), head);
}

/* ---- /metrics, in chunks -------------------------------------------------- */

/* Returns its stream. */
static struct stream *metrics_free(struct metrics_response *r)
{
	struct stream *s = r->stream;

	stream_release(s);
	task_stop(&r->task);
	list_remove(&r->node);
	scrape_close(&r->scrape);
	free(r);
	return s;
}

static struct metrics_response *metrics_of(const struct stream *s)
{
	return CONTAINER(s->task, struct metrics_response, task);
}

static void metrics_abort(struct metrics_response *r)
{
	stream_abort(metrics_free(r), STREAM_INCOMPLETE);
}

static void stream_closed(struct stream *s)
{
	metrics_free(metrics_of(s));
}

static void metrics_schedule(struct admin *a, struct metrics_response *r)
{
	if (list_empty(&r->node))
		list_append(&a->metrics_responses, &r->node);
	tick_run(a->tick, &a->task);
}

/* False: out of memory. */
static bool metrics_write_chunk(struct admin *a, struct metrics_response *r, bool *more)
{
	struct buf *b = buf_new(io_bufs(a->tick->loop), METRICS_CHUNK_BYTES);
	struct piece p;
	size_t n;

	if (!b)
		return false;
	*more = scrape_read(&r->scrape, b->data, METRICS_CHUNK_BYTES, &n);
	b->end = (uint32_t)n;
	p = (struct piece){ b, b->data, (uint32_t)n };
	if (n > 0)
		return stream_send(r->stream, &p);
	buf_put(b);
	return true;
}

/* Without space it waits: metrics_step() is called when there is some. */
static void metrics_write(struct admin *a, struct metrics_response *r)
{
	bool keep = r->keep_alive, more = true;

	if (stream_space(r->stream) == 0) {
		stream_await_space(r->stream);
		return;
	}
	if (!metrics_write_chunk(a, r, &more) ||
	    (!more && !stream_send_end(r->stream, NULL)))
		metrics_abort(r);
	else if (more)
		metrics_schedule(a, r);
	else
		stream_finish(metrics_free(r), keep);
}

static void metrics_step(struct task *task)
{
	struct metrics_response *r = CONTAINER(task, struct metrics_response, task);

	if (r->stream->state == STREAM_CLOSED)
		return; /* stream_closed() follows */
	if (!stream_responsive(r->stream)) {
		metrics_abort(r);
		return;
	}
	metrics_schedule(r->admin, r);
	stream_wait(r->stream, false);
}

/* Writes one chunk of the first response in the list, then schedules itself for the next.
 * The tick runs a task that schedules itself only a few times before it polls for I/O
 * again. */
static void metrics_task(struct task *task)
{
	struct admin *a = CONTAINER(task, struct admin, task);
	struct list *node = list_pop(&a->metrics_responses);

	if (node)
		metrics_write(a, LIST_ITEM(node, struct metrics_response, node));
	if (!list_empty(&a->metrics_responses))
		tick_run(a->tick, &a->task);
}

static bool metrics_send_head(struct admin *a, struct stream *s, bool chunked, bool keep,
			      bool head)
{
	struct field_block b;

	write_head(a, s, &b,
		   &(struct forward_reply){ .status = 200,
					    .content_type = slice_of(metrics_type),
					    .chunked = chunked,
					    .close = !keep },
		   0);
	return stream_send_head(s, &b,
				head      ? FRAMING_NONE
				: chunked ? FRAMING_CHUNKED
					  : FRAMING_CLOSE,
				0);
}

static void metrics_begin(struct admin *a, struct stream *s, bool by_worker, bool chunked,
			  bool head)
{
	bool keep = chunked && stream_discard_body(s);
	struct metrics_response *r = head ? NULL : calloc(1, sizeof(*r));

	if ((!r && !head) || !metrics_send_head(a, s, chunked, keep, head)) {
		free(r);
		stream_abort(s, STREAM_INCOMPLETE);
		return;
	}
	if (head) {
		stream_finish(s, keep);
		return;
	}
	r->admin = a;
	r->stream = s;
	task_init(&r->task, metrics_step);
	r->keep_alive = keep;
	list_init(&r->node);
	scrape_open(&r->scrape, a->shared->config_versions->current, a->workers,
		    a->worker_n, by_worker);
	stream_use(s, &r->task);
	metrics_schedule(a, r);
	stream_wait(s, false);
}

/* ---- requests ------------------------------------------------------------- */

static void admin_head_received(struct client *c, struct stream *s, struct head *h)
{
	struct admin *a = c->front->owner;
	bool metrics = slice_equal(h->path, SLICE("/metrics"));
	bool page = slice_equal(h->path, SLICE("/"));
	bool health = slice_equal(h->path, SLICE("/healthz"));
	bool by_worker = slice_equal(h->query, SLICE("?by=worker"));
	bool plain = h->query.len <= 1;
	bool head = h->method == METHOD_HEAD;
	bool allowed = head || h->method == METHOD_GET;
	bool chunked = h->minor > 0;

	stream_begin_body(s, h->framing, h->length);
	if (slice_starts(h->path, SLICE("/api/")))
		api_respond(a, s, c, h);
	else if (!page && !metrics && !health)
		admin_respond(a, s, 404, "/, /metrics or /healthz\n", head);
	else if (!allowed)
		admin_respond(a, s, 405, "GET or HEAD\n", head);
	else if (metrics && !by_worker && !plain)
		admin_respond(a, s, 400, "/metrics or /metrics?by=worker\n", head);
	else if (metrics)
		metrics_begin(a, s, by_worker, chunked, head);
	else if (page)
		page_respond(a, s, head);
	else if (a->draining)
		admin_respond(a, s, 503, "draining\n", head);
	else
		admin_respond(a, s, 200, "ok\n", head);
}

static void admin_head_refused(struct client *c, struct stream *s, enum fault fault)
{
	int status = fault == FAULT_NONE ? 408 : fault_status(fault);

	admin_respond(c->front->owner, s, status, fault_text(fault), false);
}

static const struct client_events client_events = {
	.head_received = admin_head_received,
	.head_refused = admin_head_refused,
	.stream_closed = stream_closed,
};

/* ---- connections ---------------------------------------------------------- */

/* Idle connections are evicted first, then the oldest. */
static bool is_evicted_before(const struct client *c, const struct client *other)
{
	bool busy = c->state == CLIENT_BUSY;

	if (!other || busy != (other->state == CLIENT_BUSY))
		return !other || !busy;
	return c->http1.stream.since_ms < other->http1.stream.since_ms;
}

static void admin_evict(struct admin *a)
{
	struct client *first = NULL;
	unsigned n = 0;

	LIST_EACH(&a->front.all, node) {
		struct client *c = LIST_ITEM(node, struct client, node);

		if (c->state == CLIENT_ENDING)
			continue;
		n++;
		if (is_evicted_before(c, first))
			first = c;
	}
	if (n < ADMIN_CLIENTS)
		return;
	if (first->state == CLIENT_BUSY) {
		/* Aborts at once, without waiting for unsent bytes. */
		first->http1.stream.timed_out = true;
		metrics_abort(metrics_of(&first->http1.stream));
	} else {
		client_evict(first);
	}
}

static void admin_accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct admin *a = l->owner;

	admin_evict(a);
	client_open(&a->front, fd, peer);
}

static const struct listener_events listener_events = { .accepted = admin_accepted };

void admin_start(struct admin *a, int fd)
{
	struct front *f = &a->front;

	/* Evicted connections count until the end of the tick. */
	quota_init(&a->clients, ADMIN_CLIENTS + 4 * LISTENER_ARMED);
	list_init(&a->metrics_responses);
	task_init(&a->task, metrics_task);
	f->tick = a->tick;
	f->events = &client_events;
	f->owner = a;
	f->limits = (struct head_limits){ 8192, 64, 0 };
	f->timeouts = (struct client_timeouts){ 10000, 60000, 10000, 10000 };
	f->window = 65536;
	f->linger_ms = 1000;
	f->quota = &a->clients;
	f->stats = &a->stats;
	f->scratch = &a->request;
	front_init(f);
	listener_start(&a->listener, a->tick, fd, &a->clients, &a->stats, &listener_events, a);
}

void admin_stop(struct admin *a)
{
	listener_stop(&a->listener);
	listener_abandon(&a->listener);
	front_close(&a->front);
}

bool admin_idle(const struct admin *a)
{
	return listener_stopped(&a->listener) && front_empty(&a->front);
}

void admin_done(struct admin *a)
{
	task_stop(&a->task);
	front_done(&a->front);
}
