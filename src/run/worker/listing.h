/* A listing of connections for the admin API, also the search for one that is to be closed.
 *
 * The workers are asked one after the other, for a slice at a time (proxy/connections.h): the mail
 * goes to the worker, which fills in rows, and comes back. The next slice is asked for when the
 * client has space for it, so a listing of any length takes the memory of this struct.
 *
 *   READY ──▶ ASKED ──▶ READ ──▶ ASKED …, or READY for the next worker
 *     │         │ the client has left
 *     │         ▼
 *     │        LEFT ──▶ ENDING     the worker is to forget its walk
 *     └─────────┴─────────┴─────▶ ENDED    also from READ
 *
 *   READY   no worker has a walk of it
 *   ASKED   the mail is with the worker
 *   READ    the rows of the slice are here
 *   LEFT    as ASKED, and nobody reads the answer
 *   ENDING  the mail is with the worker, for the last time
 *   ENDED   freed
 *
 * Owner: itself, from its request to its end; on workers->listings. Limits: LISTINGS_MAX. Errors:
 * none of its own. listing_check() asserts what holds in each state. */
#ifndef RUN_WORKER_LISTING_H
#define RUN_WORKER_LISTING_H

#include "chunks.h"
#include "proxy/connections.h"

#define LISTINGS_MAX 8

enum listing_state {
	LISTING_READY,
	LISTING_ASKED,
	LISTING_READ,
	LISTING_LEFT,
	LISTING_ENDING,
	LISTING_ENDED
};

struct listing {
	struct chunks chunks;
	struct workers *shared;
	struct list node;  /* on shared->listings */
	struct mail mail;  /* to the worker, and back */
	uint8_t state;     /* enum listing_state */
	unsigned worker;   /* that is asked */
	unsigned worker_end; /* behind the last one that is asked */
	unsigned row_at;   /* the next row to be written */
	uint64_t listed, limit;
	bool begun;        /* the beginning of the list was written */
	char closer[SOCK_TEXT_MAX]; /* the client that wants one to be closed; for the log */
	struct connection_walk walk;
};

/* A response of this source, which lists all workers unless `worker` and `worker_end` say
 * otherwise. NULL: no memory, or there are LISTINGS_MAX. */
struct listing *listing_new(struct workers *shared, const struct chunks_source *source);

struct listing *listing_of(struct chunks *c);

/* READY, or READ when all rows were written: asks for the next slice; chunks_resume() follows when
 * it is READ. False: all workers have been asked. */
bool listing_go_on(struct listing *l);

/* The source's free(): the response has ended, or its client has left. */
void listing_leave(struct chunks *c);

/* Frees those that wait for a worker; all workers have ended. */
void listings_discard(struct workers *w);

#endif
