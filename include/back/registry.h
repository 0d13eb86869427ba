/* The servers of one upstream as all workers see them: their status, their counters, and
 * the permits by which the workers share the limit `requests` of each server.
 *
 *   registry              one for each upstream (name and protocol)
 *     registry_worker     one for each worker: since when its queue waits, how to wake it
 *     registry_entry      one for each server (name and address): permits in use
 *       registry_record   one for each worker: its status and counters of the server, and
 *                         the permits granted to it
 *
 * Entries. A worker enters each server of its upstream (registry_enter()) and leaves it
 * when the server is gone. An entry that no worker uses is kept: if its server comes back
 * its counters go on. An entry is never freed before the registry, so readers need no
 * lock; the only lock is registry_lock(), of registry_enter(). When very many entries are unused, a
 * new server takes one of them over, so the lock is also held while an order is given to an
 * entry that was found by its name. A server for which there is no memory has no entry,
 * hence no limit and no metrics.
 *
 * Counters. The only writer of a record's counters is its worker; the control thread reads
 * them.
 *
 * Permits. A request takes a permit of its server and puts it back when it ends. If no
 * permit is free, the request waits in the queue of its worker, and the worker publishes
 * since when (registry_set_waiting()). A permit that is put back goes to the worker whose
 * queue has waited longest: it is granted to that worker, not freed for the fastest
 * taker. So a worker that holds no permit cannot starve. A queue waits for all servers of
 * the upstream; a worker whose queue has no use for a permit of one server refuses
 * further ones (registry_refuse_permits()) and puts it back.
 *
 *           take                put: a queue waits          collect
 *   free ──────────▶ in use ────────────────────────▶ granted ────────▶ in use
 *     ▲                 │ put: no queue waits            │ withdraw: granted
 *     └─────────────────┴────────────────────────────────┘ to another, or free
 *
 * What always holds:
 *   - permits_used counts the permits that are in use or granted. It grows only while it
 *     is below the limit. If the limit was lowered, permits that are put back are not
 *     granted to others until permits_used is at the limit.
 *   - No permit stays free while a queue that can use it waits. A worker that finds no
 *     permit first publishes its wait, then tries again. A worker that puts one back
 *     first looks for a waiting worker; if there is none, it frees the permit, then looks
 *     once more. One of the two sees the other.
 *   - No permit stays granted to a worker that has withdrawn. registry_withdraw() clears
 *     `entered`, then collects what was granted; a grant adds to permits_granted, then
 *     reads `entered`. One of the two sees the other.
 *
 * Owner: the process. The registry outlives the upstreams that are attached to it, and
 * the mailboxes outlive the registry. */
#ifndef BACK_REGISTRY_H
#define BACK_REGISTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/names.h"
#include "base/phases.h"
#include "base/stats.h"
#include "io/sock.h"
#include "net/mailbox.h"

/* A new server takes over an unused entry only if more than half of all entries, and this
 * many besides, are unused. */
#define REGISTRY_UNUSED_KEPT 64

/* Of a server: its `name`, else "host:port" or "unix:/path" as configured. */
#define REGISTRY_NAME_MAX 288

/* A server's status, as one worker has determined it. */
enum server_status { SERVER_STATUS_UP, SERVER_STATUS_EJECTED, SERVER_STATUS_DOWN };
const char *server_status_text(enum server_status status);

/* What an operator has asked for by the admin API. DRAIN: no new requests as long as another server
 * takes them. DOWN: none at all. Of memcached both mean that its keys are misses. */
enum server_order { SERVER_ORDER_UP, SERVER_ORDER_DRAIN, SERVER_ORDER_DOWN };
const char *server_order_text(enum server_order order);

/* Why a server was ejected last: consecutive failures, failures among the requests of a
 * period (ejection.c), or (memcached) it could not be connected. */
enum ejection_reason { REASON_NONE, REASON_CONSECUTIVE, REASON_RATE, REASON_UNREACHED };

/* X(name, kind, help), kind: counter or gauge. */
#define SERVER_STATS(X)                                                        \
	X(requests, counter, "Requests sent to the server")                    \
	X(failures, counter, "Requests that failed, failed connects included") \
	X(ejections, counter, "Times the server was ejected")                  \
	X(in_flight, gauge, "Requests in flight to the server")

/* One worker's record of one server. */
struct registry_record {
#define X(name, kind, help) uint64_t name;
	SERVER_STATS(X)
#undef X
	uint64_t status;          /* enum server_status */
	uint64_t reason;          /* enum ejection_reason, of the last ejection */
	uint64_t failures_n;      /* consecutive (REASON_CONSECUTIVE), or percent */
	uint64_t eject_ms;        /* duration of the last ejection */
	uint64_t weight;          /* that the worker gives the server */
	uint64_t reported_status; /* the control thread's: the status it logged last */
	struct phases *phases;    /* times of its requests; NULL: not counted */
	/* Granted, and not yet collected by this worker. */
	_Atomic uint32_t permits_granted;
	_Atomic bool entered; /* the worker uses the server: it may be granted permits */
	_Atomic bool permits_refused; /* its queue has no use for them */
} __attribute__((aligned(64)));

/* One server. */
struct registry_entry {
	struct registry *registry;
	_Atomic(struct registry_entry *) next;
	struct names_entry key_entry;  /* in registry->by_key */
	uint64_t key;                  /* hash of name and address */
	_Atomic uint32_t users;        /* workers that have entered it; 0: unused */
	_Atomic bool published;        /* name and address are valid */
	/* Of the admin API, which tells the workers that one of them has changed. */
	_Atomic uint8_t order;         /* enum server_order */
	_Atomic uint64_t weight_order; /* registry_order_weight(); 0: none */
	_Atomic uint32_t permits_used; /* in use or granted */
	uint32_t phase_slot;           /* in registry->phases; valid if there are any */
	char name[REGISTRY_NAME_MAX];
	char address[SOCK_TEXT_MAX];
	struct registry_record records[]; /* by worker */
};

/* One worker's upstream. */
struct registry_worker {
	struct mail granted;     /* tells the worker that it was granted permits */
	_Atomic bool posted;     /* `granted` is on its way */
	struct mailbox *mailbox; /* the worker's */
	_Atomic uint64_t waiting_since_ms; /* 0: no request waits for a permit */
	void (*permits_granted)(void *owner);
	void *owner; /* NULL: no upstream is attached */
};

struct registry {
	const char *upstream; /* its name: points to `name` */
	unsigned worker_n;
	struct registry_worker *worker_slots;
	struct mail changed; /* a status has changed; posted to `control` */
	_Atomic bool changed_posted;
	struct mailbox *control; /* of the control thread; NULL: nothing is posted */
	struct phase_table *phases; /* of servers; NULL: none. Set before the first entry */
	_Atomic(struct registry_entry *) first;
	_Atomic int32_t unused_n; /* entries without users */
	/* Under enter_lock. */
	atomic_flag enter_lock;
	struct registry_entry *last;
	struct registry_entry *scan_next; /* next candidate for reuse */
	struct names by_key;
	char name[64];
};

/* Each entry, on any thread. Those that are not `published` have no name yet. */
#define REGISTRY_EACH(r, entry)                                              \
	for (struct registry_entry *entry = atomic_load(&(r)->first); entry; \
	     entry = atomic_load(&entry->next))

/* Sets the weight in place of the configured one. It holds as long as the configured one stays the
 * same, so a reload with another weight in the file wins. weight 0: as configured. */
static inline void registry_order_weight(struct registry_entry *entry, uint32_t configured,
					 uint32_t weight)
{
	atomic_store(&entry->weight_order,
		     weight > 0 ? (uint64_t)configured << 32 | weight : 0);
}

/* The weight of a server with this configured one. */
static inline uint32_t registry_weight(const struct registry_entry *entry, uint32_t configured)
{
	uint64_t order = entry ? atomic_load(&entry->weight_order) : 0;

	return order > 0 && order >> 32 == configured ? (uint32_t)order : configured;
}

static inline enum server_order registry_order(const struct registry_entry *entry)
{
	return entry ? (enum server_order)atomic_load(&entry->order) : SERVER_ORDER_UP;
}

/* The record of that worker. */
static inline struct registry_record *registry_record(const struct registry *r,
						      const struct registry_entry *entry,
						      unsigned worker)
{
	(void)r;
	return (struct registry_record *)&entry->records[worker];
}

/* `changed` is called on the thread of `control` after statuses have changed, and has to
 * clear changed_posted; both may be NULL. upstream: is copied. NULL: no memory. */
struct registry *registry_new(const char *upstream, unsigned workers,
			      struct mailbox *control, void (*changed)(struct mail *m));
void registry_free(struct registry *r);

/* Attaches a worker's upstream. permits_granted(owner) is called on the worker's thread
 * when permits were granted to it: it then calls registry_collect_permits() for its
 * servers. */
void registry_attach(struct registry *r, unsigned worker, struct mailbox *mailbox,
		     void (*permits_granted)(void *owner), void *owner);

/* Detaches it, unless another owner has been attached since: a new upstream of the same
 * name may be attached before the old one is freed. */
void registry_detach(struct registry *r, unsigned worker, const void *owner);
bool registry_attached(const struct registry *r, unsigned worker, const void *owner);

/* Enters a server: its entry, with one more user. The worker's record is up and gets
 * grants. Any thread; locks. NULL: no memory. */
struct registry_entry *registry_enter(struct registry *r, unsigned worker,
				      const char *name, const char *address);

/* No entry gets another server meanwhile. registry_enter() of other threads waits, so briefly. */
void registry_lock(struct registry *r);
void registry_unlock(struct registry *r);

/* Gives the entry back. After registry_withdraw(), when no request holds a permit. */
void registry_leave(struct registry_entry *entry);

/* A record for counters of a server that has no entry. Its values are not read. */
struct registry_record *registry_dummy_record(unsigned worker);

/* The worker sends no more requests to the server: it gets no more grants. Puts back the
 * permits that were granted to it, and `permits` that it has collected and not used.
 * registry_leave() follows when its last request has ended. */
void registry_withdraw(struct registry *r, struct registry_entry *entry, unsigned worker,
		       uint32_t limit, uint32_t permits);

/* Sets the status in the worker's record and notifies the control thread. */
void registry_set_status(struct registry *r, struct registry_record *record,
			 enum server_status status);

/* Takes a free permit. False: `limit` permits are in use or granted. */
bool registry_take_permit(struct registry_entry *entry, uint32_t limit);

/* Whether a permit is probably free: others may take it. */
static inline bool registry_has_permit(struct registry_entry *entry, uint32_t limit)
{
	return atomic_load_explicit(&entry->permits_used, memory_order_relaxed) < limit;
}

/* Puts a permit back. It is granted to another worker whose queue has waited longer than
 * this worker's own queue, if there is one and permits_used is not above `limit`. Else it
 * is free, and the worker's own queue is the first that can take it. */
void registry_put_permit(struct registry *r, struct registry_entry *entry,
			 unsigned worker, uint32_t limit);

/* Permits that were granted to the worker since the last call. The worker puts those back
 * that it cannot use, after registry_refuse_permits(): else they would be granted to it
 * again. */
uint32_t registry_collect_permits(struct registry_record *record);

/* refused: the worker's queue waits, but not for this server; it is granted no permits of
 * it. A worker that no longer refuses calls this first, then tries to take a permit. */
void registry_refuse_permits(struct registry_record *record, bool refused);

/* Publishes since when the worker's queue waits for a permit; 0: it does not wait. A
 * worker that found no permit calls this first, then tries again to take one. */
void registry_set_waiting(struct registry *r, unsigned worker, uint64_t since_ms);

#endif
