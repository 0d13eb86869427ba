/* Who serves behind one name, as all workers see it: an entry for each server, in it a view for
 * each worker, and the limit of its requests, which the workers share.
 *
 * A worker's upstream enters its servers and leaves them again; an entry is found by name and
 * address, and stays for when the server comes back. Counters have one writer, the worker;
 * the control thread reads.
 *
 * The limit: a request takes a place and puts it back. When all are taken it waits in the line
 * of its worker, and its worker says so: registry_set_waiting(). A place that comes
 * free belongs to who
 * has waited longest, on whichever worker: it is handed over, not put up for whoever is
 * quickest. Not even a worker without a place can starve.
 *
 * An entry is made when its server is first entered, and never freed while the registry is there: who
 * reads needs no lock. When many are left over, whoever enters takes one of those that nobody has
 * any more. Entering locks; nothing else does. A server for which there is no memory has no entry:
 * it has no limit and is not seen.
 *
 * Owner: the process; it outlives the upstreams, and the mailboxes outlive it. */
#ifndef BACK_REGISTRY_H
#define BACK_REGISTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/names.h"
#include "base/stats.h"
#include "io/sock.h"
#include "net/mailbox.h"

/* Rows that nobody has any more and that are kept, beside as many as are in use. */
#define REGISTRY_UNUSED_KEPT 64
#define REGISTRY_NAME_MAX \
	288 /* "host:port" or "unix:/path" as written, or what it was called */

/* What a worker thinks of a server. */
enum server_status { SERVER_STATUS_UP, SERVER_STATUS_EJECTED, SERVER_STATUS_DOWN };
const char *server_status_text(enum server_status status);

/* What it did last to make one think so. */
enum ejection_reason { REASON_NONE, REASON_CONSECUTIVE, REASON_RATE, REASON_UNREACHED };

/* X(name, kind, help), kind: counter or gauge. */
#define SERVER_STATS(X)                                                        \
	X(requests, counter, "Requests given to the server")                   \
	X(failures, counter, "Of which it failed, connections not opened too") \
	X(ejections, counter, "Times it was ejected")                          \
	X(in_flight, gauge, "Requests that it has now")

/* One worker's view of one server. */
struct registry_view {
#define X(name, kind, help) uint64_t name;
	SERVER_STATS(X)
#undef X
	uint64_t status; /* enum server_status */
	uint64_t reason; /* enum ejection_reason, of the last ejection */
	uint64_t failures_n,
		eject_ms; /* how many in a row or in a hundred, for how long */
	uint64_t
		reported_status; /* the control thread's: the server_status it wrote about last */
	_Atomic uint32_t permits_granted; /* permits that were handed to this worker */
	_Atomic bool entered;
	_Atomic bool permits_refused; /* its line has no use for them */
} __attribute__((aligned(64)));

struct registry_entry {
	struct registry *registry;
	_Atomic(struct registry_entry *) next;
	struct names_entry key_entry; /* by `key` */
	uint64_t key;             /* of name and address */
	_Atomic uint32_t users;   /* workers that have entered it */
	_Atomic bool published;   /* name and address were written */
	_Atomic uint32_t permits_used; /* permits */
	char name[REGISTRY_NAME_MAX];
	char address[SOCK_TEXT_MAX];
	struct registry_view views[]; /* by worker */
};

/* A worker's upstream. */
struct registry_worker {
	struct mail message; /* permits were granted */
	_Atomic bool posted;
	struct mailbox *mailbox;
	_Atomic uint64_t waiting_since_ms; /* 0: nobody waits for a place */
	void (*permits_granted)(void *owner);
	void *owner; /* NULL: nobody sits there */
};

struct registry {
	const char *upstream; /* its name, in `name` */
	unsigned worker_n;
	struct registry_worker *worker_slots;
	/* Somebody's server_status has changed; posted to the control thread. */
	struct mail changed;
	_Atomic bool changed_posted;
	struct mailbox *control; /* NULL: nobody wants to know */
	_Atomic(struct registry_entry *) first;
	/* Of who enters, under the lock. */
	atomic_flag enter_lock;
	struct registry_entry *last,
		*scan_next; /* the next to be looked at for one that nobody has */
	struct names by_key;
	_Atomic int32_t unused_n; /* entries that nobody has, or just had */
	char name[64];
};

/* All entries, for whoever reads them. */
#define REGISTRY_EACH(r, entry)                                              \
	for (struct registry_entry *entry = atomic_load(&(r)->first); entry; \
	     entry = atomic_load(&entry->next))

/* What the worker says of the server in that entry. */
static inline struct registry_view *registry_view(const struct registry *r,
						  const struct registry_entry *entry,
						  unsigned worker)
{
	(void)r;
	return (struct registry_view *)&entry->views[worker];
}

/* `changed` is delivered to `control`; both may be NULL. NULL: no memory. */
struct registry *registry_new(const char *upstream, unsigned workers,
			      struct mailbox *control, void (*changed)(struct mail *m));
void registry_free(struct registry *r);

/* A worker's upstream sits down, and stands up. `granted` is called on its thread. */
void registry_attach(struct registry *r, unsigned worker, struct mailbox *mailbox,
		     void (*permits_granted)(void *owner), void *owner);
/* Unless another sits there by now: one of the same name may have come before this went. */
void registry_detach(struct registry *r, unsigned worker, const void *owner);
bool registry_attached(const struct registry *r, unsigned worker, const void *owner);

/* The entry of a server, entered by this worker; NULL: no memory. */
struct registry_entry *registry_enter(struct registry *r, unsigned worker,
				      const char *name, const char *address);
void registry_leave(struct registry_entry *entry);

/* Where to count for a server without an entry: read by nobody. */
struct registry_view *registry_dummy_view(unsigned worker);

/* The server is no longer asked by this worker, which gives back the permits it was handed:
 * before the entry is left, which may be when the last request has ended. */
void registry_withdraw(struct registry *r, struct registry_entry *entry, unsigned worker,
		       uint32_t limit, uint32_t permits);

/* This worker thinks so from now on. */
void registry_set_status(struct registry *r, struct registry_view *view,
			 enum server_status status);

/* A place below the limit. False: there is none. */
bool registry_take_permit(struct registry_entry *entry, uint32_t limit);

/* There seems to be one. */
static inline bool registry_has_permit(struct registry_entry *entry, uint32_t limit)
{
	return atomic_load_explicit(&entry->permits_used, memory_order_relaxed) < limit;
}

/* The worker's own line waits since then (0: not at all); its place goes to who has waited
 * longer. Where that is nobody else the place is free, for its own line first. */
void registry_put_permit(struct registry *r, struct registry_entry *entry,
			 unsigned worker, uint32_t limit);

/* The permits that were handed to the worker since the last call. Those that it cannot use it
 * puts back, having refused more of them: else they would come again. */
uint32_t registry_collect_permits(struct registry_view *view);

/* Whether the worker's line, though it waits, has no use for permits of this server. Who has
 * refused and does no more must say so and then look again. */
void registry_refuse_permits(struct registry_view *view, bool refused);

/* Since when the worker's line waits for a place; 0: nobody does. Who has found none must say
 * so and then look again. */
void registry_set_waiting(struct registry *r, unsigned worker, uint64_t since_ms);

#endif
