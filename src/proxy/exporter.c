#include "proxy/exporter.h"

#include <string.h>

#include "proxy/fetch.h"

/* Behind the last span of a batch. */
#define TAIL "]}]}]}"

/* Space for the head of a request without its slices. */
#define HEAD_BYTES 256

/* The diagram of exporter.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[EXPORTER_IDLE] = 1u << EXPORTER_SENDING | 1u << EXPORTER_PAUSING,
	[EXPORTER_SENDING] = 1u << EXPORTER_READING | 1u << EXPORTER_PAUSING |
			     1u << EXPORTER_IDLE,
	[EXPORTER_READING] = 1u << EXPORTER_IDLE | 1u << EXPORTER_PAUSING,
	[EXPORTER_PAUSING] = 1u << EXPORTER_SENDING | 1u << EXPORTER_IDLE,
};

static void exporter_set_state(struct exporter *e, enum exporter_state state)
{
	ASSERT(next_states[e->state] >> state & 1);
	e->state = (uint8_t)state;
}

void exporter_check(const struct exporter *e)
{
	bool sending = e->state == EXPORTER_SENDING || e->state == EXPORTER_READING;

	ASSERT(sending == (e->source != NULL) && sending == (e->fetch != NULL));
	ASSERT(!sending || !list_empty(&e->ready));
	ASSERT(timer_armed(&e->pause) == (e->state == EXPORTER_PAUSING));
	ASSERT(e->queued_n > 0 ||
	       (list_empty(&e->ready) && (!e->filling || e->filling->span_n == 0)));
	if (sending)
		source_check(e->source);
}

static struct tick *tick_of(const struct exporter *e)
{
	return e->proxy->tick;
}

static const struct config_export *config_of(const struct exporter *e)
{
	return &e->proxy->generation->config->tracing.export;
}

static struct span_batch *first_batch(const struct exporter *e)
{
	return LIST_ITEM(e->ready.next, struct span_batch, node);
}

/* ---- batches ------------------------------------------------------------------- */

static void batch_free(struct exporter *e, struct span_batch *b)
{
	for (uint32_t i = 0; i < b->block_n; i++)
		buf_put(b->blocks[i]);
	list_remove(&b->node);
	e->queued_n -= b->span_n;
	slab_put(&e->batches, b);
}

static void batch_drop(struct exporter *e, struct span_batch *b)
{
	stat_add(&e->proxy->stats->spans_dropped, b->span_n);
	batch_free(e, b);
}

static void block_append(struct buf *block, struct emit *out)
{
	ASSERT(!out->overflow);
	block->end = (uint32_t)(out->at - block->data);
}

static struct emit block_area(const struct buf *block)
{
	return (struct emit){ block->data + block->end, block->data + SPAN_BLOCK_BYTES,
			      false };
}

/* What precedes the spans; shorter than a block, as CONFIG_SERVICE_MAX is. */
static void envelope_begin(const struct exporter *e, struct buf *block)
{
	struct emit out = block_area(block);

	emit_slice(&out,
		   SLICE("{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":"
			 "\"service.name\",\"value\":{\"stringValue\":\""));
	emit_escaped(&out, slice_of(config_of(e)->service), "\\u00");
	emit_slice(&out,
		   SLICE("\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":\"fairlead\"},"
			 "\"spans\":["));
	block_append(block, &out);
}

static void batch_complete(struct exporter *e)
{
	struct span_batch *b = e->filling;
	struct buf *last = b->blocks[b->block_n - 1];
	struct emit out = block_area(last);

	e->filling = NULL;
	timer_stop(&tick_of(e)->wheel, &e->interval);
	emit_slice(&out, SLICE(TAIL));
	block_append(last, &out);
	for (uint32_t i = 0; i < b->block_n; i++)
		b->bytes += b->blocks[i]->end;
	list_append(&e->ready, &b->node);
	tick_run(tick_of(e), &e->task);
}

static bool has_space(const struct span_batch *b)
{
	const struct buf *last = b->block_n > 0 ? b->blocks[b->block_n - 1] : NULL;

	return last && SPAN_BLOCK_BYTES - last->end >= SPAN_BYTES_MAX + sizeof(TAIL);
}

/* Another block of the batch being filled, or of a new one. False: no memory. */
static bool block_add(struct exporter *e)
{
	struct buf *block = buf_new(io_bufs(tick_of(e)->loop), SPAN_BLOCK_BYTES);

	if (!block)
		return false;
	block->end = 0;
	if (e->filling && e->filling->block_n == SPAN_BLOCKS_MAX)
		batch_complete(e);
	if (!e->filling) {
		e->filling = slab_take(&e->batches);
		if (!e->filling) {
			buf_put(block);
			return false;
		}
		list_init(&e->filling->node);
		envelope_begin(e, block);
	}
	e->filling->blocks[e->filling->block_n++] = block;
	return true;
}

bool exporter_begin(struct exporter *e, struct emit *out)
{
	const struct config_export *c = config_of(e);

	if (!c->on)
		return false;
	if (e->abandoned || e->queued_n >= c->queue ||
	    (!(e->filling && has_space(e->filling)) && !block_add(e))) {
		stat_add(&e->proxy->stats->spans_dropped, 1);
		return false;
	}
	*out = block_area(e->filling->blocks[e->filling->block_n - 1]);
	out->end = out->at + SPAN_BYTES_MAX;
	if (e->filling->span_n > 0)
		emit_slice(out, SLICE(","));
	return true;
}

void exporter_end(struct exporter *e, const struct emit *out)
{
	struct span_batch *b = e->filling;
	struct buf *last = b->blocks[b->block_n - 1];

	if (out->overflow) {
		stat_add(&e->proxy->stats->spans_dropped, 1);
		return;
	}
	last->end = (uint32_t)(out->at - last->data);
	b->span_n++;
	e->queued_n++;
	if (b->span_n >= config_of(e)->batch)
		batch_complete(e);
	else if (!timer_armed(&e->interval))
		timer_set(&tick_of(e)->wheel, &e->interval,
			  tick_of(e)->now_ms + config_of(e)->interval_ms);
}

static void drop_all(struct exporter *e)
{
	struct span_batch *b = e->filling;

	e->filling = NULL;
	if (b)
		batch_drop(e, b);
	while (!list_empty(&e->ready))
		batch_drop(e, first_batch(e));
}

/* ---- the request --------------------------------------------------------------- */

/* NULL: no memory. */
static struct buf *export_head_write(const struct exporter *e, uint64_t length)
{
	const struct config *config = e->proxy->generation->config;
	const struct config_export *c = &config->tracing.export;
	struct upstream *u = generation_upstream(e->proxy->generation, c->upstream);
	const struct config_upstream *to = &config->upstreams[c->upstream];
	struct slice host = slice_of(to->servers[0].address);
	char digits[EMIT_DIGITS_MAX];
	struct field_block b;

	if (host.len > 5 && memcmp(host.ptr, "unix:", 5) == 0)
		host = SLICE("localhost");
	upstream_begin_block(u, &b, HEAD_BYTES + c->path.len + host.len);
	b.sink.ops->request(&b.sink, &(struct sink_request){ .method = SLICE("POST"),
							     .path = c->path,
							     .query = SLICE(""),
							     .authority = host });
	sink_field(&b.sink, SLICE("User-Agent"), SLICE("fairlead"));
	sink_field(&b.sink, SLICE("Content-Type"), SLICE("application/json"));
	sink_field(&b.sink, SLICE("Content-Length"), emit_digits(digits, length));
	b.sink.ops->end(&b.sink);
	return field_block_end(&b);
}

static void request_drop(struct exporter *e)
{
	source_free(&e->source);
	e->fetch = NULL;
}

/* The first batch stays, for later; at a drain there is no later. */
static void export_pause(struct exporter *e, uint32_t retry_after_s)
{
	uint32_t ms = e->pause_ms > 0 ? 2 * e->pause_ms : EXPORT_PAUSE_MS;

	request_drop(e);
	stat_add(&e->proxy->stats->span_exports_failed, 1);
	if (e->draining) {
		exporter_set_state(e, EXPORTER_IDLE);
		drop_all(e);
		return;
	}
	e->pause_ms = ms < EXPORT_PAUSE_MAX_MS ? ms : EXPORT_PAUSE_MAX_MS;
	/* Half of it is random: workers that failed together do not come back together. */
	ms = e->pause_ms / 2 +
	     (uint32_t)random_below(&e->proxy->random, e->pause_ms / 2 + 1);
	if (retry_after_s > 0)
		ms += 1000 * (retry_after_s < EXPORT_RETRY_AFTER_MAX_S
				      ? retry_after_s
				      : EXPORT_RETRY_AFTER_MAX_S);
	exporter_set_state(e, EXPORTER_PAUSING);
	timer_set(&tick_of(e)->wheel, &e->pause, tick_of(e)->now_ms + ms);
}

static void request_begin(struct exporter *e)
{
	const struct span_batch *b = first_batch(e);
	struct buf *head = export_head_write(e, b->bytes);

	e->fetch = head ? fetch_new(&(struct fetch_options){
				  .generation = e->proxy->generation,
				  .waiter = &e->task,
				  .upstream = config_of(e)->upstream,
				  .head = head,
				  .method = METHOD_POST,
				  .framing = FRAMING_LENGTH,
				  .length = b->bytes,
			  })
			: NULL;
	if (!e->fetch) {
		exporter_set_state(e, EXPORTER_SENDING);
		export_pause(e, 0);
		return;
	}
	e->source = &e->fetch->source;
	e->sent_n = 0;
	e->sent = false;
	exporter_set_state(e, EXPORTER_SENDING);
}

static void batch_send(struct exporter *e)
{
	const struct span_batch *b = first_batch(e);

	while (!e->sent && fetch_send_space(e->fetch) > 0) {
		struct piece p = { NULL, NULL, 0 };

		if (e->sent_n == b->block_n) {
			e->sent = true;
			fetch_send_end(e->fetch, NULL);
			return;
		}
		p.buf = buf_ref(b->blocks[e->sent_n++]);
		p.ptr = p.buf->data;
		p.len = p.buf->end;
		fetch_send(e->fetch, &p);
	}
	if (!e->sent)
		fetch_await_space(e->fetch);
}

/* ---- the response ---------------------------------------------------------------- */

/* Seconds; a date, or what is malformed, counts as nothing. */
static uint32_t retry_after(const struct head *h)
{
	const struct field *f = head_find_name(h, SLICE("Retry-After"));
	uint32_t s = 0;

	if (!f || f->value.len == 0 || f->value.len > 6)
		return 0;
	for (size_t i = 0; i < f->value.len; i++) {
		if (f->value.ptr[i] < '0' || f->value.ptr[i] > '9')
			return 0;
		s = 10 * s + (uint32_t)(f->value.ptr[i] - '0');
	}
	return s;
}

/* Spans that the collector has refused although it took the batch: `partialSuccess`. */
static uint32_t refused_n(const struct exporter *e)
{
	const struct slice key = SLICE("\"rejectedSpans\"");
	const char *at = memmem(e->answer, e->answer_n, key.ptr, key.len);
	const char *end = e->answer + e->answer_n;
	uint64_t n = 0;

	if (!at)
		return 0;
	/* A number, or a string with one. */
	for (at += key.len; at < end && strchr(" \t\r\n:\"", *at); at++)
		;
	for (; at < end && *at >= '0' && *at <= '9' && n < UINT32_MAX; at++)
		n = 10 * n + (uint64_t)(*at - '0');
	return n < first_batch(e)->span_n ? (uint32_t)n : first_batch(e)->span_n;
}

/* "OTLP/HTTP", "Retryable Response Codes". */
static bool is_for_later(int status)
{
	return status == 429 || status == 502 || status == 503 || status == 504;
}

static void export_complete(struct exporter *e)
{
	struct worker_stats *stats = e->proxy->stats;
	struct span_batch *b = first_batch(e);
	uint32_t refused = b->span_n;

	if (is_for_later(e->status)) {
		export_pause(e, e->retry_after_s);
		return;
	}
	if (e->status >= 200 && e->status < 300) {
		refused = refused_n(e);
		e->pause_ms = 0;
	} else {
		stat_add(&stats->span_exports_failed, 1);
	}
	stat_add(&stats->spans_exported, b->span_n - refused);
	stat_add(&stats->spans_dropped, refused);
	request_drop(e);
	batch_free(e, b);
	exporter_set_state(e, EXPORTER_IDLE);
	tick_run(tick_of(e), &e->task);
}

static void answer_read(struct exporter *e)
{
	struct piece p = { NULL, NULL, 0 };

	for (;;) {
		switch (source_body(e->source, &e->proxy->response, &p)) {
		case BODY_DATA:
			e->read_n += p.len;
			if (p.len > EXPORT_ANSWER_BYTES - e->answer_n)
				p.len = EXPORT_ANSWER_BYTES - e->answer_n;
			memcpy(e->answer + e->answer_n, p.ptr, p.len);
			e->answer_n += p.len;
			piece_put(&p);
			if (e->read_n <= EXPORT_BODY_BYTES)
				break;
			export_complete(e);
			return;
		case BODY_TRAILERS:
			source_end_trailers(e->source);
			break;
		case BODY_MORE:
			return;
		case BODY_END:
		case BODY_BAD:
			export_complete(e);
			return;
		}
	}
}

static void answer_head_read(struct exporter *e)
{
	struct head *h = &e->proxy->response;

	for (;;) {
		enum verdict verdict = e->source->ending != 0 ? VERDICT_BAD
							      : source_head(e->source, h);

		if (verdict == VERDICT_MORE)
			return;
		if (verdict == VERDICT_BAD || h->status == 101) {
			export_pause(e, 0);
			return;
		}
		if (h->status >= 200)
			break;
		source_take_head(e->source, h, FRAMING_NONE);
	}
	e->status = h->status;
	e->retry_after_s = retry_after(h);
	e->answer_n = e->read_n = 0;
	exporter_set_state(e, EXPORTER_READING);
	source_take_head(e->source, h, head_response_framing(h, METHOD_POST));
	answer_read(e);
}

static void exporter_step(struct task *task)
{
	struct exporter *e = CONTAINER(task, struct exporter, task);

	switch ((enum exporter_state)e->state) {
	case EXPORTER_IDLE:
		if (!list_empty(&e->ready))
			request_begin(e);
		break;
	case EXPORTER_SENDING:
		source_step(e->source);
		batch_send(e);
		answer_head_read(e);
		break;
	case EXPORTER_READING:
		source_step(e->source);
		answer_read(e);
		break;
	case EXPORTER_PAUSING:
		break;
	}
	CHECK_STATE(exporter_check(e));
}

/* --------------------------------------------------------------------------------- */

static void interval_expired(struct timer *t)
{
	struct exporter *e = CONTAINER(t, struct exporter, interval);

	if (e->filling && e->filling->span_n > 0)
		batch_complete(e);
	/* Draining: that the tick ends is enough, its caller looks at the time. */
}

static void pause_expired(struct timer *t)
{
	struct exporter *e = CONTAINER(t, struct exporter, pause);

	exporter_set_state(e, EXPORTER_IDLE);
	tick_run(tick_of(e), &e->task);
}

void exporter_init(struct exporter *e, struct proxy *p)
{
	e->proxy = p;
	list_init(&e->ready);
	task_init(&e->task, exporter_step);
	timer_init(&e->interval, interval_expired);
	timer_init(&e->pause, pause_expired);
	slab_init(&e->batches, "span batch", sizeof(struct span_batch), 0);
}

/* Ends a request that is in progress. */
static void exporter_stop(struct exporter *e)
{
	timer_stop(&tick_of(e)->wheel, &e->interval);
	timer_stop(&tick_of(e)->wheel, &e->pause);
	request_drop(e);
	if (e->state != EXPORTER_IDLE)
		exporter_set_state(e, EXPORTER_IDLE);
	drop_all(e);
}

void exporter_configure(struct exporter *e)
{
	if (!config_of(e)->on)
		exporter_stop(e);
}

void exporter_abandon(struct exporter *e)
{
	e->abandoned = true;
}

static void drain_begin(struct exporter *e)
{
	e->draining = true;
	e->drain_until_ms = tick_of(e)->now_ms + EXPORT_DRAIN_MS;
	if (e->filling && e->filling->span_n > 0)
		batch_complete(e);
	timer_set(&tick_of(e)->wheel, &e->interval, e->drain_until_ms);
	if (e->state != EXPORTER_PAUSING)
		return;
	timer_stop(&tick_of(e)->wheel, &e->pause);
	exporter_set_state(e, EXPORTER_IDLE);
	tick_run(tick_of(e), &e->task);
}

bool exporter_drain(struct exporter *e)
{
	bool waits = e->queued_n > 0 || e->state != EXPORTER_IDLE;

	if (waits && !e->draining && !e->abandoned)
		drain_begin(e);
	if (waits && !e->abandoned && tick_of(e)->now_ms < e->drain_until_ms)
		return false;
	exporter_stop(e);
	return true;
}

void exporter_done(struct exporter *e)
{
	exporter_stop(e);
	task_stop(&e->task);
	slab_done(&e->batches);
}
