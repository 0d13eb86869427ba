#include "run/worker/admin.h"

#include <stdlib.h>
#include <string.h>

#include "http/date.h"
#include "http/forward.h"
#include "scrape.h"

/* Size of a chunk of /metrics: some hundred lines. */
#define METRICS_CHUNK_BYTES 32768

static const char text_type[] = "text/plain";
static const char metrics_type[] = "text/plain; version=0.0.4";

/* A response of /metrics in progress. */
struct metrics_response {
	struct scrape scrape;
	struct client *client;
	struct list node; /* in admin->metrics_responses, unless the connection has no space */
	bool keep_alive;  /* keep the connection open afterwards */
};

/* ---- short responses ------------------------------------------------------ */

static struct buf *new_head(struct client *c, const struct forward_reply *r, size_t room)
{
	struct admin *a = c->front->owner;
	struct forward_reply reply = *r;
	char date[DATE_TEXT_MAX];
	struct sink s;
	struct buf *b;

	date_text(date, a->tick->wall_ms);
	reply.date = slice_of(date);
	b = buf_new(io_bufs(a->tick->loop), forward_reply_max(&reply) + room);
	if (!b)
		return NULL;
	s = sink_http1(b->data, b->size);
	forward_reply(&s, &reply);
	b->end = (uint32_t)(s.out.at - b->data);
	return b;
}

static void admin_respond(struct client *c, int status, const char *text, bool head)
{
	bool keep = client_discard_body(c);
	struct slice body = slice_of(text);
	struct buf *b =
		new_head(c,
			 &(struct forward_reply){ .status = status,
						  .content_type = slice_of(text_type),
						  .has_body = true,
						  .length = body.len,
						  .close = !keep },
			 body.len);

	if (b && !head) {
		memcpy(b->data + b->end, body.ptr, body.len);
		b->end += (uint32_t)body.len;
	}
	if (b && writer_begin(&c->writer, &c->conn, b, FRAMING_NONE, 0))
		client_finish_response(c, keep);
	else
		client_abort_response(c);
}

/* ---- /metrics, in chunks -------------------------------------------------- */

static void metrics_end(struct client *c)
{
	struct metrics_response *r = c->exchange;

	c->exchange = NULL;
	if (!r)
		return;
	list_remove(&r->node);
	scrape_close(&r->scrape);
	free(r);
}

static void metrics_abort(struct client *c)
{
	metrics_end(c);
	client_abort_response(c);
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
	struct client *c = r->client;
	struct buf *b = buf_new(io_bufs(a->tick->loop), METRICS_CHUNK_BYTES);
	struct piece p;
	size_t n;

	if (!b)
		return false;
	*more = scrape_read(&r->scrape, b->data, METRICS_CHUNK_BYTES, &n);
	b->end = (uint32_t)n;
	p = (struct piece){ b, b->data, (uint32_t)n };
	if (n > 0)
		return writer_piece(&c->writer, &c->conn, &p);
	buf_put(b);
	return true;
}

/* Without space in the outbox it waits: admin_step() is called when there is some. */
static void metrics_write(struct admin *a, struct metrics_response *r)
{
	struct client *c = r->client;
	bool keep = r->keep_alive, more = true;

	if (conn_push_space(&c->conn) == 0) {
		conn_await_space(&c->conn);
		return;
	}
	if (!metrics_write_chunk(a, r, &more) ||
	    (!more && !writer_end(&c->writer, &c->conn, NULL))) {
		metrics_abort(c);
	} else if (more) {
		metrics_schedule(a, r);
	} else {
		metrics_end(c);
		client_finish_response(c, keep);
	}
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

static void metrics_begin(struct client *c, bool by_worker, bool chunked, bool head)
{
	struct admin *a = c->front->owner;
	bool keep = chunked && client_discard_body(c);
	struct metrics_response *r = head ? NULL : calloc(1, sizeof(*r));
	struct buf *b = r || head
				? new_head(c,
					   &(struct forward_reply){
						   .status = 200,
						   .content_type = slice_of(metrics_type),
						   .chunked = chunked,
						   .close = !keep },
					   0)
				: NULL;
	enum framing framing = head ? FRAMING_NONE : chunked ? FRAMING_CHUNKED : FRAMING_CLOSE;

	if (!b || !writer_begin(&c->writer, &c->conn, b, framing, 0)) {
		free(r);
		client_abort_response(c);
		return;
	}
	if (head) {
		client_finish_response(c, keep);
		return;
	}
	r->client = c;
	r->keep_alive = keep;
	list_init(&r->node);
	scrape_open(&r->scrape, a->shared->config_versions->current, a->workers,
		    a->worker_n, by_worker);
	c->exchange = r;
	metrics_schedule(a, r);
}

/* ---- requests ------------------------------------------------------------- */

static void admin_head_received(struct client *c, struct head *h)
{
	struct admin *a = c->front->owner;
	bool metrics = slice_equal(h->path, SLICE("/metrics"));
	bool health = slice_equal(h->path, SLICE("/healthz"));
	bool by_worker = slice_equal(h->query, SLICE("?by=worker"));
	bool plain = h->query.len <= 1;
	bool head = h->method == METHOD_HEAD;
	bool allowed = head || h->method == METHOD_GET;
	bool chunked = h->minor > 0;

	client_begin_body(c, h);
	if (!metrics && !health)
		admin_respond(c, 404, "/metrics or /healthz\n", head);
	else if (!allowed)
		admin_respond(c, 405, "GET or HEAD\n", head);
	else if (metrics && !by_worker && !plain)
		admin_respond(c, 400, "/metrics or /metrics?by=worker\n", head);
	else if (metrics)
		metrics_begin(c, by_worker, chunked, head);
	else if (a->draining)
		admin_respond(c, 503, "draining\n", head);
	else
		admin_respond(c, 200, "ok\n", head);
}

static void admin_head_refused(struct client *c, enum fault fault)
{
	int status = fault == FAULT_NONE ? 408 : fault_status(fault);

	c->close_requested = true;
	admin_respond(c, status, fault_text(fault), false);
}

static void admin_step(struct client *c)
{
	if (client_lost(c) || c->timed_out)
		metrics_abort(c);
	else
		metrics_schedule(c->front->owner, c->exchange);
}

static const struct client_events client_events = { admin_head_received,
						    admin_head_refused, admin_step,
						    metrics_end };

/* ---- connections ---------------------------------------------------------- */

/* Idle connections are evicted first, then the oldest. */
static bool is_evicted_before(const struct client *c, const struct client *other)
{
	if (!other || !c->exchange != !other->exchange)
		return !other || !c->exchange;
	return c->since_ms < other->since_ms;
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
	if (first->exchange) {
		first->timed_out =
			true; /* abort at once, without waiting for unsent bytes */
		metrics_abort(first);
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
