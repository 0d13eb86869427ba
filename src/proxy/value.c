#include "proxy/value.h"

static struct value *value_of(struct source *s)
{
	return CONTAINER(s, struct value, source);
}

static struct tick *value_tick(const struct value *v)
{
	return v->generation->proxy->tick;
}

/* The diagram of value.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[VALUE_ASKED] = 1u << VALUE_READY | 1u << VALUE_FAILED,
	[VALUE_READY] = 1u << VALUE_ENDED,
	[VALUE_ENDED] = 0,
	[VALUE_FAILED] = 0,
};

static void value_set_state(struct value *v, enum value_state state)
{
	ASSERT(next_states[v->state] >> state & 1);
	v->state = (uint8_t)state;
}

static void value_fail(struct value *v, enum ending ending)
{
	value_set_state(v, VALUE_FAILED);
	v->source.ending = (uint8_t)ending;
}

static void value_end(struct value *v)
{
	value_set_state(v, VALUE_ENDED);
	memcache_forget(&v->call);
}

static void check_value(const struct source *s)
{
	const struct value *v = CONTAINER(s, const struct value, source);

	ASSERT(!v->call == (v->state == VALUE_ENDED));
	ASSERT(!s->ending == (v->state != VALUE_FAILED));
	ASSERT(v->state != VALUE_READY || v->call->state == CALL_HIT);
}

static enum ending ending_of_call(const struct memcache_call *call)
{
	switch (call->failure) {
	case CALL_ERROR:
	case CALL_VALUE_LARGE:
		return ENDING_CACHE_FAILED;
	case CALL_TIMEOUT:
		return call->sent_us > 0 ? ENDING_CACHE_TIMEOUT : ENDING_QUEUE_TIMEOUT;
	case CALL_QUEUE_FULL:
		return ENDING_QUEUE_FULL;
	}
	return ENDING_CACHE_FAILED;
}

void value_call_completed(struct memcache_call *call)
{
	struct value *v = call->owner;

	tick_run(value_tick(v), v->waiter);
}

static void step_value(struct source *s)
{
	struct value *v = value_of(s);

	if (v->state != VALUE_ASKED)
		return;
	switch (v->call->state) {
	case CALL_HIT:
		value_set_state(v, VALUE_READY);
		break;
	case CALL_MISS:
		value_fail(v, ENDING_CACHE_MISS);
		break;
	case CALL_FAILED:
		value_fail(v, ending_of_call(v->call));
		break;
	case CALL_WAITING:
	case CALL_SENT:
		break;
	}
}

/* The fields are those of value_send_head(). */
static enum verdict value_head(struct source *s, struct head *h)
{
	const struct value *v = value_of(s);

	if (v->state == VALUE_FAILED)
		return VERDICT_BAD;
	if (v->state == VALUE_ASKED)
		return VERDICT_MORE;
	ASSERT(v->state == VALUE_READY);
	h->status = 200;
	h->framing = FRAMING_LENGTH;
	h->length = v->call->length;
	h->field_n = 0;
	return VERDICT_OK;
}

static bool value_send_head(struct source *s, struct stream *down, const struct head *h,
			    struct forward_response *r)
{
	const struct value *v = value_of(s);
	const struct forward_reply reply = {
		.own = r->own,
		.own_n = r->own_n,
		.status = h->status,
		.content_type = v->config->content_type,
		.has_body = true,
		.length = h->length,
		.close = r->close,
		.keep_alive_1_0 = r->keep_alive_1_0,
		.date = r->date,
		.proxy_name = SLICE("fairlead"),
		.changes = r->changes,
	};
	struct field_block b;

	stream_begin_block(down, &b, forward_reply_max(&reply));
	forward_reply(&b.sink, &reply);
	return stream_send_head(down, &b, r->framing, r->length);
}

static void value_take_head(struct source *s, const struct head *h, enum framing framing)
{
	ASSERT(h->status == 200);
	if (framing == FRAMING_NONE)
		value_end(value_of(s));
}

static enum body_event value_body(struct source *s, struct head *trailers, struct piece *p)
{
	struct value *v = value_of(s);

	(void)trailers;
	switch ((enum value_state)v->state) {
	case VALUE_READY:
		break;
	case VALUE_ASKED:
		return BODY_MORE;
	case VALUE_ENDED:
		return BODY_END;
	case VALUE_FAILED:
		return BODY_BAD;
	}
	if (memcache_take(v->call, p))
		return BODY_DATA;
	value_end(v);
	return BODY_END;
}

static void value_end_trailers(struct source *s)
{
	(void)s;
	ASSERT(false); /* a value has none */
}

/* The value is complete: its server has nothing to be late with. */
static void value_set_stalled(struct source *s, bool stalled)
{
	(void)s;
	(void)stalled;
}

static const char *value_server(const struct source *s)
{
	const struct value *v = CONTAINER(s, const struct value, source);

	return v->generation->config->upstreams[v->config->upstream].name;
}

static unsigned value_attempts(const struct source *s)
{
	(void)s;
	return 1;
}

static void value_free(struct source *s)
{
	struct value *v = value_of(s);

	if (v->call)
		memcache_forget(&v->call);
	tick_reap_to_slab(value_tick(v), &v->generation->proxy->values, &v->reap);
	generation_put(v->generation);
}

static const struct source_ops value_source = {
	.step = step_value,
	.head = value_head,
	.send_head = value_send_head,
	.take_head = value_take_head,
	.body = value_body,
	.end_trailers = value_end_trailers,
	.set_stalled = value_set_stalled,
	.server = value_server,
	.attempts = value_attempts,
	.check = check_value,
	.free = value_free,
};

struct source *value_get(struct generation *g, const struct config_memcached *config,
			 struct slice key, struct task *waiter)
{
	struct value *v = slab_take(&g->proxy->values);

	if (!v)
		return NULL;
	v->source.ops = &value_source;
	v->generation = generation_ref(g);
	v->config = config;
	v->waiter = waiter;
	v->call = memcache_get(generation_memcache(g, config->upstream),
			       config->meta ? MEMCACHE_MG : MEMCACHE_GET, key, v);
	if (v->call)
		return &v->source;
	value_free(&v->source);
	return NULL;
}
