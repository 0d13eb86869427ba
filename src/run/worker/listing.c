#include "listing.h"

#include <stdlib.h>

/* The diagram of listing.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[LISTING_READY] = 1u << LISTING_ASKED | 1u << LISTING_ENDED,
	[LISTING_ASKED] = 1u << LISTING_READ | 1u << LISTING_LEFT | 1u << LISTING_ENDED,
	[LISTING_READ] = 1u << LISTING_READY | 1u << LISTING_ASKED | 1u << LISTING_ENDING |
			 1u << LISTING_ENDED,
	[LISTING_LEFT] = 1u << LISTING_ENDING | 1u << LISTING_ENDED,
	[LISTING_ENDING] = 1u << LISTING_ENDED,
	[LISTING_ENDED] = 0,
};

static void listing_check(const struct listing *l)
{
	switch ((enum listing_state)l->state) {
	case LISTING_READY:
		ASSERT(!l->walk.begun);
		break;
	case LISTING_READ:
		ASSERT(l->row_at <= l->walk.row_n && l->walk.row_n <= CONNECTIONS_ROWS);
		ASSERT(l->walk.begun != l->walk.ended);
		break;
	case LISTING_ASKED:
	case LISTING_LEFT:
	case LISTING_ENDING:
	case LISTING_ENDED:
		break; /* the worker has the walk */
	}
}

static void listing_set_state(struct listing *l, enum listing_state state)
{
	ASSERT(next_states[l->state] >> state & 1);
	l->state = (uint8_t)state;
	CHECK_STATE(listing_check(l));
}

struct listing *listing_of(struct chunks *c)
{
	return CONTAINER(c, struct listing, chunks);
}

static void listing_free(struct listing *l)
{
	listing_set_state(l, LISTING_ENDED);
	list_remove(&l->node);
	l->shared->listing_n--;
	free(l);
}

struct listing *listing_new(struct workers *shared, const struct chunks_source *source)
{
	struct listing *l = shared->listing_n < LISTINGS_MAX ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	l->shared = shared;
	list_init(&l->node);
	list_append(&shared->listings, &l->node);
	shared->listing_n++;
	l->worker_end = shared->options->workers;
	l->chunks = (struct chunks){ .source = source,
				     .type = SLICE("application/json"),
				     .status = 200 };
	return l;
}

/* ---- the way to the worker, and back --------------------------------------------- */

static void slice_returned(struct mail *m);

static void listing_post(struct listing *l, void (*deliver)(struct mail *m))
{
	l->mail.deliver = deliver;
	mailbox_post(&l->shared->all[l->worker].tick.mailbox, &l->mail);
}

/* On the worker's thread. */
static void slice_return(struct listing *l)
{
	l->mail.deliver = slice_returned;
	mailbox_post(l->shared->control, &l->mail);
}

/* On the worker's thread. */
static void slice_read(struct mail *m)
{
	struct listing *l = CONTAINER(m, struct listing, mail);

	connections_read(&l->shared->all[l->worker].proxy, &l->walk);
	slice_return(l);
}

/* On the worker's thread. */
static void walk_end(struct mail *m)
{
	struct listing *l = CONTAINER(m, struct listing, mail);

	connections_end(&l->walk);
	slice_return(l);
}

static void slice_ask(struct listing *l)
{
	l->row_at = l->walk.row_n = 0;
	listing_set_state(l, LISTING_ASKED);
	listing_post(l, slice_read);
}

/* Nobody reads it any more, and no mail of it is under way. */
static void listing_end(struct listing *l)
{
	if (!l->walk.begun) {
		listing_free(l);
		return;
	}
	listing_set_state(l, LISTING_ENDING);
	listing_post(l, walk_end);
}

static void slice_returned(struct mail *m)
{
	struct listing *l = CONTAINER(m, struct listing, mail);

	switch ((enum listing_state)l->state) {
	case LISTING_ASKED:
		listing_set_state(l, LISTING_READ);
		chunks_resume(&l->chunks);
		break;
	case LISTING_LEFT:
		listing_end(l);
		break;
	case LISTING_ENDING:
		listing_free(l);
		break;
	case LISTING_READY:
	case LISTING_READ:
	case LISTING_ENDED:
		ASSERT(false);
	}
}

void listing_leave(struct chunks *c)
{
	struct listing *l = listing_of(c);

	if (l->state == LISTING_ASKED)
		listing_set_state(l, LISTING_LEFT);
	else
		listing_end(l);
}

bool listing_go_on(struct listing *l)
{
	if (l->state == LISTING_READ && l->walk.ended) {
		l->worker++;
		l->walk.ended = false;
		listing_set_state(l, LISTING_READY);
	}
	while (l->worker < l->worker_end && !atomic_load(&l->shared->all[l->worker].ready))
		l->worker++;
	if (l->worker >= l->worker_end)
		return false;
	slice_ask(l);
	return true;
}

void listings_discard(struct workers *w)
{
	struct list *node;

	while ((node = list_pop(&w->listings)))
		free(LIST_ITEM(node, struct listing, node));
	w->listing_n = 0;
}
