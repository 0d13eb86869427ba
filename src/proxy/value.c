#include "proxy/value.h"

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
	v->ending = (uint8_t)ending;
}

void value_check(const struct value *v)
{
	ASSERT(!v->call == (v->state == VALUE_ENDED));
	ASSERT(!v->ending == (v->state != VALUE_FAILED));
	ASSERT(v->state != VALUE_READY || v->call->state == CALL_HIT);
}

struct value *value_get(struct generation *g, unsigned upstream, enum memcache_command command,
			struct slice key, struct task *waiter)
{
	struct value *v = slab_take(&g->proxy->values);

	if (!v)
		return NULL;
	v->generation = generation_ref(g);
	v->waiter = waiter;
	v->call = memcache_get(generation_memcache(g, upstream), command, key, v);
	if (!v->call)
		value_free(&v);
	return v;
}

void value_call_completed(struct memcache_call *call)
{
	struct value *v = call->owner;

	tick_run(v->generation->proxy->tick, v->waiter);
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

void value_step(struct value *v)
{
	if (v->state != VALUE_ASKED)
		return;
	switch (v->call->state) {
	case CALL_HIT:
		v->length = v->call->length;
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

enum body_event value_body(struct value *v, struct piece *p)
{
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
	value_set_state(v, VALUE_ENDED);
	memcache_forget(&v->call);
	return BODY_END;
}

void value_free(struct value **slot)
{
	struct value *v = *slot;
	struct proxy *p;

	if (!v)
		return;
	*slot = NULL;
	p = v->generation->proxy;
	if (v->call)
		memcache_forget(&v->call);
	generation_put(v->generation);
	tick_reap_to_slab(p->tick, &p->values, &v->reap);
}
