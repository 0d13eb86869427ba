/* The memcached client of one worker for one upstream: persistent, pipelined connections,
 * called links.
 *
 * A call goes to the server of its key, and there to the link with the fewest calls in
 * flight. If that link has `pipeline` calls in flight another one is connected, up to
 * `connections_per_server`. Beyond that calls wait in the server's queue, which has a
 * limit and a timeout; calls for which a link is being connected do not count against the
 * limit. All calls of one tick on a link leave in one send. Replies come in the order of
 * the calls. A forgotten call keeps its position in that order; its reply is read and
 * dropped. A malformed reply closes the link and fails its calls, and nothing else; so
 * does the end of a link that never replied.
 *
 *   memcache_get       link_send         reply read
 *   ───────────▶ WAITING ──────▶ SENT ──────────────▶ HIT, MISS, FAILED
 *                  │  ▲           │ link late or stale,  ▲      │ done(),
 *                  │  └───────────┘ once                 │      ▼ memcache_forget()
 *                  │                                     │    (freed)
 *                  └─────────────────────────────────────┘
 *                    server down, queue full, deadline
 *
 * A call may be *impatient*: its requester waits for less than `timeout`. When that time is over it
 * calls memcache_give_up(); the link stays, and the reply is dropped as that of a forgotten call.
 * The server is then *slow*: for a second its impatient calls are a miss at once; then those of one
 * tick are sent as a trial. Any reply in time to an impatient call ends that.
 *
 * Late link: a timeout closes the link, because a late reply would be taken for the next
 * call's. The calls behind the late one are sent once more, with their old deadlines,
 * except counts: nobody knows whether the server has counted them.
 *
 * Stale link: memcached closes links that were idle, or all when it ends. If the link had
 * delivered a reply before, each call whose reply has not begun is sent once more, with
 * its old deadline. The server's other links may be stale too: they take no more calls,
 * and end when they have none.
 *
 * Down server: if no connection can be opened the server is down. For a second its calls
 * are a miss at once; then the next call, itself a miss, starts one connect as a trial.
 * Keys never move to other servers. A server that the prober found down gets no calls
 * either.
 *
 * A server is a configured name: keys are mapped by the name, whatever its addresses are.
 * A server that is removed from the configuration *leaves*: its waiting calls go to the
 * new servers of their keys, those in flight get their replies, then its links end. Links
 * to an address that the name no longer has end in the same way. The configuration is
 * copied.
 *
 * Idle links beyond `keepalive` per server are closed.
 *
 * Limits. The queue limit and its count are shared by the process: even if connections
 * are spread unevenly over the workers, no call is refused early. A value is held as a
 * whole until its call is forgotten or its pieces are taken: pausing a link for one slow
 * reader would stop all calls that share it. value_max bounds it.
 *
 * Owner: one worker. memcache owns servers, links and calls. The requester holds a
 * pointer to its call, and calls memcache_forget() when it is done with it. Errors: see
 * enum call_failure. */
#ifndef BACK_MEMCACHE_H
#define BACK_MEMCACHE_H

#include "back/memcachewire.h"
#include "back/registry.h"
#include "base/quota.h"
#include "base/stats.h"
#include "config/config.h"
#include "net/conn.h"

struct memcache;

enum call_state {
	CALL_WAITING, /* for a link */
	CALL_SENT,
	CALL_HIT,    /* the value is complete */
	CALL_MISS,   /* or its server is down: see `unasked` */
	CALL_FAILED, /* see `failure` */
};

enum call_failure {
	CALL_ERROR, /* an error reply or a malformed one, the link ended, or we lack
			   memory or descriptors */
	CALL_TIMEOUT,
	CALL_QUEUE_FULL,
	CALL_VALUE_LARGE,
};

struct memcache_call {
	enum call_state state;
	enum call_failure failure;
	uint64_t length; /* of the value */
	bool unasked;    /* CALL_MISS: its server is down or slow, and has not said so */
	void *owner;     /* the requester's */
	/* Private. */
	struct list node; /* in a server's queue, or in a link's calls in flight */
	struct memcache *memcache;
	struct list event_node; /* on memcache->unplaced, ->expired or ->decided */
	struct memcache_server *server; /* NULL: the call is decided */
	struct memcache_link *link; /* CALL_SENT */
	struct timer timeout;
	uint64_t sent_us;
	struct piece value; /* first piece of the value */
	struct value_piece *more, *more_last;
	void (*done)(struct memcache_call *call);
	uint32_t ttl_s;
	uint8_t command, key_len;
	bool forgotten, large, retried, impatient;
	char key[MEMCACHE_KEY_MAX];
};

struct memcache_options {
	struct tick *tick;
	const struct config_upstream *upstream; /* is copied */
	struct upstream_stats *stats;
	struct quota *descriptors; /* of links, process-wide */
	struct quota *queue_quota; /* of calls that wait for a link, process-wide */
	struct registry *registry; /* process-wide; NULL: one of its own */
	unsigned worker;           /* its number in the registry */
	/* As in upstream_options. */
	void (*short_of_descriptors)(void *owner, uint32_t n);
	void *owner;
	/* The call is now CALL_HIT, _MISS or _FAILED. Called once for each call that was
	 * not forgotten before; from a task, never from memcache_get(). */
	void (*done)(struct memcache_call *call);
};

/* NULL: no memory, or libcrypto has no MD5. */
struct memcache *memcache_new(const struct memcache_options *options);

/* Closes one idle link, the least recently used of a server. False: there is none. */
bool memcache_evict(struct memcache *m);

/* Looks at the queues again in this tick; to be called when descriptors were freed. */
void memcache_schedule_queues(struct memcache *m);

/* Closes all links and fails all calls. memcache_free() may follow when memcache_idle():
 * no links and no calls are left. */
void memcache_close(struct memcache *m);
bool memcache_idle(const struct memcache *m);
void memcache_free(struct memcache *m);

/* Sets the addresses of a configured server, by its index; n >= 1. Links to addresses
 * that stay are kept. */
void memcache_resolved(struct memcache *m, unsigned index,
		       const struct config_address *addresses, unsigned n);

/* The operator has given orders about servers: registry_entry.order. Keys of a server that is
 * drained or down are misses. */
void memcache_ordered(struct memcache *m);

/* Sets the result of a health check. An address that the server does not have is ignored. */
void memcache_probed(struct memcache *m, unsigned index, const struct config_address *address,
		     bool up);

/* Takes over another configuration of the same upstream (name and protocol). Servers of
 * the same name keep their links and calls. False: no memory, and nothing has changed. */
bool memcache_reconfigure(struct memcache *m, const struct config_upstream *config);

struct memcache_ask {
	enum memcache_command command;
	struct slice key; /* valid: memcache_key_valid() */
	uint32_t ttl_s;   /* MEMCACHE_COUNT */
	bool impatient;
	/* As memcache_options.done. NULL: nobody waits for the reply; the call is as forgotten. */
	void (*done)(struct memcache_call *call);
	void *owner;
};

/* Starts a call. NULL: no memory. */
struct memcache_call *memcache_ask(struct memcache *m, const struct memcache_ask *ask);

/* The same for a value, with memcache_options.done. */
struct memcache_call *memcache_get(struct memcache *m, enum memcache_command command,
				   struct slice key, void *owner);

/* Takes the next piece of the value of a CALL_HIT. False: there is none left. */
bool memcache_take(struct memcache_call *call, struct piece *p);

/* Ends the call for its requester, in any state; *where is NULL then. */
void memcache_forget(struct memcache_call **where);

/* Takes back what a call with MEMCACHE_COUNT has counted, or will have: a call that nobody waits
 * for. Without memory the counter stays one too high. */
void memcache_take_back(const struct memcache_call *counted);

/* As memcache_forget(), for an impatient call in CALL_WAITING or CALL_SENT: its server is slow. */
void memcache_give_up(struct memcache_call **where);

/* Frees unused memory; once a second. */
void memcache_trim(struct memcache *m);

#endif
