#include "memcachelink.h"

#include <string.h>

static struct memcache_call *first_call(const struct memcache_link *l)
{
	if (list_empty(&l->calls))
		return NULL;
	return LIST_ITEM(l->calls.next, struct memcache_call, node);
}

/* ---- values ----------------------------------------------------------------- */

static bool value_append(struct memcache *m, struct memcache_call *call, struct piece *p)
{
	struct value_piece *v;

	if (call->value.len == 0 && !call->more) {
		call->value = *p;
		return true;
	}
	v = slab_take(&m->pieces);
	if (!v)
		return false;
	v->piece = *p;
	if (call->more_last)
		call->more_last->next = v;
	else
		call->more = v;
	call->more_last = v;
	return true;
}

static bool value_take(struct memcache_call *call, struct piece *p)
{
	struct value_piece *v = call->more;

	if (call->value.len > 0) {
		*p = call->value;
		call->value = (struct piece){ NULL, NULL, 0 };
		return true;
	}
	if (!v)
		return false;
	*p = v->piece;
	call->more = v->next;
	if (!call->more)
		call->more_last = NULL;
	slab_put(&call->memcache->pieces, v);
	return true;
}

void value_drop(struct memcache_call *call)
{
	struct piece p;

	while (value_take(call, &p))
		piece_put(&p);
}

bool memcache_take(struct memcache_call *call, struct piece *p)
{
	ASSERT(call->state == CALL_HIT);
	return value_take(call, p);
}

/* ---- replies ---------------------------------------------------------------- */

static void call_replied(struct memcache_link *l, struct memcache_call *call,
			 enum call_state state, enum call_failure failure)
{
	l->replied = true;
	if (call->impatient && !call->forgotten)
		server_in_time(l->server);
	call_decide(call, state, failure);
}

static void line_received(struct memcache_link *l, struct memcache_call *call)
{
	const struct memcache_options *o = &l->server->memcache->options;
	const struct memcache_reply *r = &l->reply;

	histogram_add(&o->stats->latency, o->tick->now_us - call->sent_us);
	conn_consume(&l->conn, (uint32_t)r->line);
	switch (r->kind) {
	case MEMCACHE_HIT:
		call->length = l->value_left = r->length;
		call->large = r->length > l->server->memcache->table.config.value_max;
		l->part = PART_VALUE;
		break;
	case MEMCACHE_MISS:
		call_replied(l, call, CALL_MISS, 0);
		break;
	case MEMCACHE_ERROR:
		call_replied(l, call, CALL_FAILED, CALL_ERROR);
		break;
	}
}

static enum verdict parse_reply_line(struct memcache_link *l,
				     const struct memcache_call *call)
{
	struct slice s = conn_peek(&l->conn);

	return memcache_parse_reply(&l->reply, call->command,
				    (struct slice){ call->key, call->key_len }, s.ptr,
				    s.len);
}

/* Each of the read_… functions returns true if it made progress. False: more bytes are
 * needed, or the link has ended. */
static bool read_line(struct memcache_link *l, struct memcache_call *call)
{
	struct conn *c = &l->conn;
	enum verdict verdict = parse_reply_line(l, call);

	if (verdict == VERDICT_MORE && c->inbox_bytes > conn_peek(c).len)
		verdict = conn_linearize(c, MEMCACHE_LINE_MAX) ? parse_reply_line(l, call)
							       : VERDICT_BAD;
	switch (verdict) {
	case VERDICT_OK:
		line_received(l, call);
		return true;
	case VERDICT_MORE:
		conn_compact(c);
		return false;
	case VERDICT_BAD:
		link_break(l, LINK_GIVEN_UP);
		return false;
	}
	return false;
}

/* If receive buffers are scarce, copies the piece out of its buffer: a value is used only
 * when it is complete, and its first pieces must not hold the buffers that the rest
 * needs. False: no memory. */
static bool value_compact(struct conn *c, struct piece *p)
{
	struct buf_pool *pool = io_bufs(c->tick->loop);
	struct buf *b;

	if (!buf_scarce(pool))
		return true;
	b = buf_new(pool, p->len);
	if (!b)
		return false;
	memcpy(b->data, p->ptr, p->len);
	buf_put(p->buf);
	p->buf = b;
	p->ptr = b->data;
	return true;
}

static bool read_value(struct memcache_link *l, struct memcache_call *call)
{
	struct conn *c = &l->conn;
	uint32_t n = (uint32_t)conn_peek(c).len;
	struct piece p;

	if (l->value_left == 0) {
		l->part = PART_TAIL;
		return true;
	}
	if (n == 0)
		return false;
	if (n > l->value_left)
		n = (uint32_t)l->value_left;
	l->value_left -= n;
	if (call->forgotten || call->large) {
		conn_consume(c, n);
		return true;
	}
	p = conn_take(c, n);
	if (value_compact(c, &p) && value_append(l->server->memcache, call, &p))
		return true;
	piece_put(&p);
	link_break(l, LINK_GIVEN_UP);
	return false;
}

static bool read_tail(struct memcache_link *l, struct memcache_call *call)
{
	struct conn *c = &l->conn;
	uint32_t tail = (uint32_t)l->reply.tail;

	if (c->inbox_bytes < tail) {
		conn_compact(c);
		return false;
	}
	if (!conn_linearize(c, tail) ||
	    !memcache_tail_valid(&l->reply, call->command, conn_peek(c).ptr)) {
		link_break(l, LINK_GIVEN_UP);
		return false;
	}
	conn_consume(c, tail);
	l->part = PART_LINE;
	if (call->large)
		call_replied(l, call, CALL_FAILED, CALL_VALUE_LARGE);
	else
		call_replied(l, call, CALL_HIT, 0);
	return true;
}

static bool read_part(struct memcache_link *l, struct memcache_call *call)
{
	switch (l->part) {
	case PART_LINE:
		return read_line(l, call);
	case PART_VALUE:
		return read_value(l, call);
	case PART_TAIL:
		return read_tail(l, call);
	}
	return false;
}

void link_read(struct memcache_link *l)
{
	struct memcache_call *call;

	while ((call = first_call(l))) {
		if (!read_part(l, call))
			return;
	}
	/* Bytes without a call: the order of replies is lost. */
	if (l->conn.inbox_bytes > 0)
		link_break(l, LINK_GIVEN_UP);
}
