#include "front/front.h"

#include "clientstate.h"
#include "front/client.h"
#include "multiplex.h"

/* A connection that has sent nothing for this long since it was accepted may be
 * evicted. */
#define FRESH_MS 1000

/* Most idle connections checked for one that may be evicted. */
#define EVICT_LOOKS 64

/* How long a drain lingers on an idle connection: long enough for the peer to see the
 * FIN. */
#define DRAIN_LINGER_MS 200

void front_init(struct front *f)
{
	slab_init(&f->clients, "client", sizeof(struct client), 0);
	list_init(&f->all);
	list_init(&f->idle);
	list_init(&f->unused);
	list_init(&f->walks);
}

void front_done(struct front *f)
{
	ASSERT(list_empty(&f->all));
	while (list_pop(&f->walks))
		; /* they are given up: the worker ends */
	slab_done(&f->clients);
}

/* Bytes of the next request, or of the header that is awaited, were received. */
static bool has_begun(struct client *c)
{
	if (c->state == CLIENT_PROXIED || c->state == CLIENT_SECURING)
		return c->conn.received > 0;
	return reader_skip_empty_lines(&c->http1.reader, &c->conn);
}

void front_drain(struct front *f)
{
	f->draining = true;
	LIST_EACH(&f->all, node) {
		struct client *c = LIST_ITEM(node, struct client, node);

		if (c->state == CLIENT_MULTIPLEXED)
			multiplex_drain(c);
		if ((c->state == CLIENT_IDLE || c->state == CLIENT_PROXIED ||
		     c->state == CLIENT_SECURING) &&
		    !has_begun(c)) {
			client_close(c, CONN_LINGER,
				     conn_unsent(&c->conn) > 0 ? f->linger_ms
							       : DRAIN_LINGER_MS);
		}
	}
}

void front_drain_gracefully(struct front *f)
{
	f->draining = true;
	LIST_EACH(&f->all, node) {
		struct client *c = LIST_ITEM(node, struct client, node);

		if (c->state == CLIENT_MULTIPLEXED)
			multiplex_drain(c);
	}
}

/* A handshake that has begun counts for nothing. */
static bool is_evictable(struct client *c)
{
	if (c->state == CLIENT_SECURING)
		return true;
	if (c->is_multiplexed)
		return c->multiplexed.http2->n == 0 && conn_unsent(&c->conn) == 0;
	return !has_begun(c) && conn_unsent(&c->conn) == 0;
}

static struct client *eviction_candidate(struct front *f)
{
	unsigned looks = 0;

	LIST_EACH(&f->idle, node) {
		struct client *c = LIST_ITEM(node, struct client, idle_node);

		if (is_evictable(c))
			return c;
		if (++looks == EVICT_LOOKS)
			break;
	}
	LIST_EACH(&f->unused, node) {
		struct client *c = LIST_ITEM(node, struct client, idle_node);

		if (tick_event_ms(f->tick) - c->http1.stream.since_ms < FRESH_MS ||
		    ++looks > 2 * EVICT_LOOKS)
			break;
		if (is_evictable(c))
			return c;
	}
	return NULL;
}

bool front_evict_idle(struct front *f)
{
	struct client *c = eviction_candidate(f);

	if (!c)
		return false;
	stat_add(&f->stats->connections_evicted, 1);
	client_evict(c);
	return true;
}

void client_kill(struct client *c)
{
	/* A truncated response must not look complete. */
	bool truncated = c->http1.stream.task ||
			 (c->is_multiplexed && c->multiplexed.http2->n > 0) ||
			 (c->state == CLIENT_ENDING && conn_unsent(&c->conn) > 0);

	if (c->conn.state != CONN_DEAD)
		client_close(c, truncated ? CONN_RESET : CONN_NOW, 0);
}

void front_close(struct front *f)
{
	f->closing = true;
	LIST_EACH(&f->all, node)
		client_kill(LIST_ITEM(node, struct client, node));
}

/* ---- walks ------------------------------------------------------------------ */

void front_walk_begin(struct front *f, struct front_walk *w)
{
	list_init(&w->node);
	list_append(&f->walks, &w->node);
	w->next = f->all.next;
}

void front_walk_end(struct front_walk *w)
{
	list_remove(&w->node);
}

struct client *front_walk_next(struct front *f, struct front_walk *w)
{
	struct client *c = w->next == &f->all ? NULL : LIST_ITEM(w->next, struct client, node);

	if (c)
		w->next = c->node.next;
	return c;
}

void front_forget(struct front *f, struct client *c)
{
	LIST_EACH(&f->walks, node) {
		struct front_walk *w = LIST_ITEM(node, struct front_walk, node);

		if (w->next == &c->node)
			w->next = c->node.next;
	}
	list_remove(&c->node);
}
