#include "run/worker/admin.h"

#include <stdlib.h>

#include "adminapi.h"
#include "chunks.h"
#include "http/accept.h"
#include "http/forward.h"
#include "scrape.h"
#include "statuspage.h"

static const char text_type[] = "text/plain";
static const char json_type[] = "application/json";
static const char metrics_type[] = "text/plain; version=0.0.4";
static const char open_metrics_type[] =
	"application/openmetrics-text; version=1.0.0; charset=utf-8";

/* ---- short responses ------------------------------------------------------ */

static void admin_send(struct admin *a, struct stream *s, struct forward_reply *r,
		       struct slice body, bool head)
{
	bool keep = stream_discard_body(s);
	struct field_block b;

	r->has_body = true;
	r->length = body.len;
	r->close = !keep;
	admin_write_head(a, s, &b, r, body.len);
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

/* Responds with the head of a long response only: its body takes the time of a GET. */
static void head_respond(struct admin *a, struct stream *s, struct slice type, int minor)
{
	bool chunked = minor > 0, keep = chunked && stream_discard_body(s);
	struct field_block b;

	admin_write_head(a, s, &b,
			 &(struct forward_reply){ .status = 200,
						  .content_type = type,
						  .chunked = chunked,
						  .close = !keep },
			 0);
	if (stream_send_head(s, &b, FRAMING_NONE, 0))
		stream_finish(s, keep);
	else
		stream_abort(s, STREAM_INCOMPLETE);
}

static void api_respond(struct admin *a, struct stream *s, const struct client *c,
			const struct head *h)
{
	char text[ADMIN_API_BYTES];
	struct admin_api_response r = { .json = text };
	bool head = h->method == METHOD_HEAD;

	admin_api(a, c, h, &r);
	if (r.chunks && head) {
		head_respond(a, s, r.chunks->type, h->minor);
		r.chunks->source->free(r.chunks);
		return;
	}
	if (r.chunks) {
		chunks_begin(r.chunks, a, s, h->minor);
		return;
	}
	admin_send(a, s,
		   &(struct forward_reply){ .status = r.status,
					    .content_type = slice_of(json_type),
					    .allow = slice_of(r.allow) },
		   slice_of(text), head);
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

/* ---- /metrics --------------------------------------------------------------- */

struct metrics {
	struct chunks chunks;
	struct scrape scrape;
};

static struct metrics *metrics_of(struct chunks *c)
{
	return CONTAINER(c, struct metrics, chunks);
}

static enum chunks_next metrics_read(struct chunks *c, char *room, size_t size, size_t *n)
{
	return scrape_read(&metrics_of(c)->scrape, room, size, n) ? CHUNK_MORE : CHUNK_END;
}

static void metrics_free(struct chunks *c)
{
	scrape_close(&metrics_of(c)->scrape);
	free(metrics_of(c));
}

/* If it is asked for, and preferred to the text format: an Accept of all types does not ask for
 * it. */
static bool wants_open_metrics(const struct head *h)
{
	return accept_weight(h, slice_of(open_metrics_type)) >
	       accept_weight(h, slice_of(metrics_type));
}

static void metrics_respond(struct admin *a, struct stream *s, bool by_worker,
			    const struct head *h)
{
	static const struct chunks_source source = { metrics_read, metrics_free };
	struct scrape_options options = { by_worker, wants_open_metrics(h) };
	struct slice type = slice_of(options.open_metrics ? open_metrics_type
							  : metrics_type);
	struct metrics *m;

	if (h->method == METHOD_HEAD) {
		head_respond(a, s, type, h->minor);
		return;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		stream_abort(s, STREAM_INCOMPLETE);
		return;
	}
	m->chunks.source = &source;
	m->chunks.type = type;
	m->chunks.status = 200;
	scrape_open(&m->scrape, a->shared->config_versions->current, a->workers,
		    a->worker_n, &options);
	chunks_begin(&m->chunks, a, s, h->minor);
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
		metrics_respond(a, s, by_worker, h);
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
	.stream_closed = chunks_closed,
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
		chunks_abort(chunks_of(&first->http1.stream));
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
	list_init(&a->chunks);
	task_init(&a->task, chunks_write_next);
	f->tick = a->tick;
	f->events = &client_events;
	f->owner = a;
	f->limits = (struct head_limits){ 8192, 64, 0 };
	f->timeouts = (struct client_timeouts){ 10000, 60000, 10000, 10000, 0 };
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
