/* Who serves behind one name, as all workers see it: a row for each server, in it a cell for
 * each worker, and the limit of its requests, which the workers share.
 *
 * A worker's upstream enters its servers and leaves them again; a row is found by name and
 * address, and stays for when the server comes back. Counters have one writer, the worker;
 * the control thread reads.
 *
 * The limit: a request takes a place and puts it back. When all are taken it waits in the line
 * of its worker, and its worker says so: roster_waits(). A place that comes free belongs to who
 * has waited longest, on whichever worker: it is handed over, not put up for whoever is
 * quickest. Not even a worker without a place can starve.
 *
 * A row is made when its server is first entered, and never freed while the roster is there: who
 * reads needs no lock. When many are left over, whoever enters takes one of those that nobody has
 * any more. Entering locks; nothing else does. A server for which there is no memory has no row:
 * it has no limit and is not seen.
 *
 * Owner: the process; it outlives the upstreams, and the mailboxes outlive it. */
#ifndef BACK_ROSTER_H
#define BACK_ROSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/names.h"
#include "base/stats.h"
#include "io/sock.h"
#include "net/mailbox.h"

/* Rows that nobody has any more and that are kept, beside as many as are in use. */
#define ROSTER_SPARE 64
#define ROSTER_NAME_MAX 288 /* "host:port" or "unix:/path" as written, or what it was called */

/* What a worker thinks of a server. */
enum standing { STANDING_UP, STANDING_EJECTED, STANDING_DOWN };
const char *standing_text(enum standing standing);

/* What it did last to make one think so. */
enum reason { REASON_NONE, REASON_IN_A_ROW, REASON_RATE, REASON_UNREACHED };

/* X(name, kind, help), kind: counter or gauge. */
#define SERVER_STATS(X)                                                        \
	X(requests, counter, "Requests given to the server")                   \
	X(failures, counter, "Of which it failed, connections not opened too") \
	X(ejections, counter, "Times it was ejected")                          \
	X(in_flight, gauge, "Requests that it has now")

/* One worker's view of one server. */
struct roster_cell {
#define X(name, kind, help) uint64_t name;
	SERVER_STATS(X)
#undef X
	uint64_t standing;         /* enum standing */
	uint64_t reason;           /* enum reason, of the last ejection */
	uint64_t failures_n, eject_ms; /* how many in a row or in a hundred, for how long */
	uint64_t noticed;          /* the control thread's: the standing it wrote about last */
	_Atomic uint32_t granted;  /* places that were handed to this worker */
	_Atomic bool entered;
	_Atomic bool declined;     /* its line has no use for them */
} __attribute__((aligned(64)));

struct roster_row {
	struct roster *roster;
	_Atomic(struct roster_row *) next;
	struct names_entry entry;  /* by `key` */
	uint64_t key;              /* of name and address */
	_Atomic uint32_t users;    /* workers that have entered it */
	_Atomic bool named;        /* name and address were written */
	_Atomic uint32_t used;     /* places */
	char name[ROSTER_NAME_MAX];
	char address[SOCK_TEXT_MAX];
	struct roster_cell cells[]; /* by worker */
};

/* A worker's upstream. */
struct roster_seat {
	struct message message;        /* places were granted */
	_Atomic bool posted;
	struct mailbox *mailbox;
	_Atomic uint64_t waits_since_ms; /* 0: nobody waits for a place */
	void (*granted)(void *owner);
	void *owner;                   /* NULL: nobody sits there */
};

struct roster {
	const char *upstream;          /* its name, in `name` */
	unsigned worker_n;
	struct roster_seat *seats;
	/* Somebody's standing has changed; posted to the control thread. */
	struct message changed;
	_Atomic bool changed_posted;
	struct mailbox *control;       /* NULL: nobody wants to know */
	_Atomic(struct roster_row *) first;
	/* Of who enters, under the lock. */
	atomic_flag entering;
	struct roster_row *last, *hand; /* the next to be looked at for one that nobody has */
	struct names by_key;
	_Atomic int32_t left_n;        /* rows that nobody has, or just had */
	char name[64];
};

/* All rows, for whoever reads them. */
#define ROSTER_EACH(r, row)                                                       \
	for (struct roster_row *row = atomic_load(&(r)->first); row;              \
	     row = atomic_load(&row->next))

/* What the worker says of the server in that row. */
static inline struct roster_cell *roster_cell(const struct roster *r,
					      const struct roster_row *row, unsigned worker)
{
	(void)r;
	return (struct roster_cell *)&row->cells[worker];
}

/* `changed` is delivered to `control`; both may be NULL. NULL: no memory. */
struct roster *roster_new(const char *upstream, unsigned workers, struct mailbox *control,
			  void (*changed)(struct message *m));
void roster_free(struct roster *r);

/* A worker's upstream sits down, and stands up. `granted` is called on its thread. */
void roster_sit(struct roster *r, unsigned worker, struct mailbox *mailbox,
		void (*granted)(void *owner), void *owner);
/* Unless another sits there by now: one of the same name may have come before this went. */
void roster_stand(struct roster *r, unsigned worker, const void *owner);
bool roster_sits(const struct roster *r, unsigned worker, const void *owner);

/* The row of a server, entered by this worker; NULL: no memory. */
struct roster_row *roster_enter(struct roster *r, unsigned worker, const char *name,
				const char *address);
void roster_leave(struct roster_row *row);

/* Where to count for a server without a row: read by nobody. */
struct roster_cell *roster_spare(unsigned worker);

/* The server is no longer asked by this worker, which gives back the places it was handed:
 * before the row is left, which may be when the last request has ended. */
void roster_hide(struct roster *r, struct roster_row *row, unsigned worker, uint32_t limit,
		 uint32_t places);

/* This worker thinks so from now on. */
void roster_tell(struct roster *r, struct roster_cell *cell, enum standing standing);

/* A place below the limit. False: there is none. */
bool roster_take(struct roster_row *row, uint32_t limit);

/* There seems to be one. */
static inline bool roster_has_room(struct roster_row *row, uint32_t limit)
{
	return atomic_load_explicit(&row->used, memory_order_relaxed) < limit;
}

/* The worker's own line waits since then (0: not at all); its place goes to who has waited
 * longer. Where that is nobody else the place is free, for its own line first. */
void roster_put(struct roster *r, struct roster_row *row, unsigned worker, uint32_t limit);

/* The places that were handed to the worker since the last call. Those that it cannot use it
 * puts back, having declined more of them: else they would come again. */
uint32_t roster_granted(struct roster_cell *cell);

/* Whether the worker's line, though it waits, has no use for places of this server. Who has
 * declined and does no more must say so and then look again. */
void roster_decline(struct roster_cell *cell, bool declined);

/* Since when the worker's line waits for a place; 0: nobody does. Who has found none must say
 * so and then look again. */
void roster_waits(struct roster *r, unsigned worker, uint64_t since_ms);

#endif
