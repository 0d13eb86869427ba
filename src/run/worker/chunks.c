#include "chunks.h"

#include "http/date.h"
#include "http/forward.h"

void admin_write_head(struct admin *a, struct stream *s, struct field_block *b,
		      const struct forward_reply *r, size_t body_bytes)
{
	struct forward_reply reply = *r;
	char date[DATE_TEXT_MAX];

	date_text(date, a->tick->wall_ms);
	reply.date = slice_of(date);
	stream_begin_block(s, b, forward_reply_max(&reply) + body_bytes);
	forward_reply(&b->sink, &reply);
}

struct chunks *chunks_of(const struct stream *s)
{
	return CONTAINER(s->task, struct chunks, task);
}

/* Returns its stream. */
static struct stream *chunks_free(struct chunks *c)
{
	struct stream *s = c->stream;

	stream_release(s);
	task_stop(&c->task);
	list_remove(&c->node);
	c->source->free(c);
	return s;
}

void chunks_abort(struct chunks *c)
{
	stream_abort(chunks_free(c), STREAM_INCOMPLETE);
}

void chunks_closed(struct stream *s)
{
	chunks_free(chunks_of(s));
}

void chunks_resume(struct chunks *c)
{
	struct admin *a = c->admin;

	if (list_empty(&c->node))
		list_append(&a->chunks, &c->node);
	tick_run(a->tick, &a->task);
}

static bool head_write(struct chunks *c)
{
	struct field_block b;

	c->head_sent = true;
	admin_write_head(c->admin, c->stream, &b,
			 &(struct forward_reply){ .status = c->status,
						  .content_type = c->type,
						  .chunked = c->chunked,
						  .close = !c->keep_alive },
			 0);
	return stream_send_head(c->stream, &b, c->chunked ? FRAMING_CHUNKED : FRAMING_CLOSE, 0);
}

/* False: out of memory. */
static bool chunk_write(struct chunks *c, enum chunks_next *next)
{
	struct buf *b = buf_new(io_bufs(c->admin->tick->loop), CHUNK_BYTES);
	struct piece p;
	size_t n = 0;

	if (!b)
		return false;
	*next = c->source->read(c, b->data, CHUNK_BYTES, &n);
	b->end = (uint32_t)n;
	p = (struct piece){ b, b->data, (uint32_t)n };
	if (*next != CHUNK_WAIT && !c->head_sent && !head_write(c)) {
		buf_put(b);
		return false;
	}
	if (n > 0)
		return stream_send(c->stream, &p);
	buf_put(b);
	return true;
}

/* Without space it waits: chunks_step() is called when there is some. */
static void chunks_write(struct chunks *c)
{
	enum chunks_next next = CHUNK_MORE;
	bool keep = c->keep_alive;

	if (stream_space(c->stream) == 0)
		stream_await_space(c->stream);
	else if (!chunk_write(c, &next) ||
		 (next == CHUNK_END && !stream_send_end(c->stream, NULL)))
		chunks_abort(c);
	else if (next == CHUNK_MORE)
		chunks_resume(c);
	else if (next == CHUNK_END)
		stream_finish(chunks_free(c), keep);
}

static void chunks_step(struct task *task)
{
	struct chunks *c = CONTAINER(task, struct chunks, task);

	if (c->stream->state == STREAM_CLOSED)
		return; /* chunks_closed() follows */
	if (!stream_responsive(c->stream)) {
		chunks_abort(c);
		return;
	}
	chunks_resume(c);
	stream_wait(c->stream, false);
}

/* Writes one chunk of the first response in the list, then schedules itself for the next.
 * The tick runs a task that schedules itself only a few times before it polls for I/O
 * again. */
void chunks_write_next(struct task *task)
{
	struct admin *a = CONTAINER(task, struct admin, task);
	struct list *node = list_pop(&a->chunks);

	if (node)
		chunks_write(LIST_ITEM(node, struct chunks, node));
	if (!list_empty(&a->chunks))
		tick_run(a->tick, &a->task);
}

void chunks_begin(struct chunks *c, struct admin *a, struct stream *s, int minor)
{
	c->admin = a;
	c->stream = s;
	c->chunked = minor > 0;
	c->keep_alive = c->chunked && stream_discard_body(s);
	task_init(&c->task, chunks_step);
	list_init(&c->node);
	stream_use(s, &c->task);
	chunks_resume(c);
	stream_wait(s, false);
}
