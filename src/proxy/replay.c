#include "proxy/replay.h"

#include <string.h>

void replay_disable(struct replay *r)
{
	r->disabled = true;
	buf_put(r->body);
	r->body = NULL;
}

/* Makes space for n more bytes. False: no memory. */
static bool ensure_space(struct replay *r, struct buf_pool *pool, uint32_t n,
			 uint64_t length, uint32_t max)
{
	uint32_t used = r->body ? r->body->end : 0;
	uint64_t size = length > 0 ? length : 2 * ((uint64_t)used + n);
	struct buf *b;

	if (r->body && r->body->size - used >= n)
		return true;
	b = buf_new(pool, size < max ? size : max);
	if (!b)
		return false;
	if (used > 0)
		memcpy(b->data, r->body->data, used);
	b->end = used;
	ASSERT(b->size - used >= n);
	buf_put(r->body);
	r->body = b;
	return true;
}

void replay_keep(struct replay *r, struct buf_pool *pool, const struct piece *p, uint64_t length,
		 uint32_t max)
{
	uint32_t used = r->body ? r->body->end : 0;

	if (r->disabled)
		return;
	ASSERT(used <= max && (used == 0 || r->sent == used)); /* earlier bytes were sent again */
	if (length > max || p->len > max - used ||
	    !ensure_space(r, pool, p->len, length, max)) {
		replay_disable(r);
		return;
	}
	memcpy(r->body->data + used, p->ptr, p->len);
	r->body->end = r->sent = used + p->len;
}

struct buf *replay_trailers(struct replay *r, struct buf *trailers)
{
	if (trailers && !r->trailers)
		r->trailers = buf_ref(trailers);
	return trailers || !r->trailers ? trailers : buf_ref(r->trailers);
}

bool replay_next(struct replay *r, struct piece *p)
{
	if (!replay_pending(r))
		return false;
	*p = (struct piece){ buf_ref(r->body), r->body->data + r->sent,
			     r->body->end - r->sent };
	r->sent = r->body->end;
	return true;
}

void replay_free(struct replay *r)
{
	buf_put(r->body);
	buf_put(r->trailers);
	r->body = r->trailers = NULL;
}
