/* The memcached client of one worker and one upstream: persistent, pipelined links.
 *
 * A call goes to the server its key lives on, there to the least busy link; a link
 * that has `pipeline` calls in flight gets company, up to `links`; beyond that calls
 * wait in a line with a limit and a timeout (a call that waits for a link which is
 * being connected for it does not count). All calls of one tick on a link leave in one
 * send. Replies come in order. A call that nobody waits for any more stays in its place
 * and its reply is read off and dropped. A reply of the wrong shape closes the link and
 * fails its calls, nothing else; so does the end of a link that never answered.
 *
 *   memcache_get       link_send         reply read
 *   ───────────▶ WAITING ──────▶ SENT ──────────────▶ HIT, MISS, FAILED
 *                  │  ▲           │ link late or stale,  ▲      │ answered(),
 *                  │  └───────────┘ once                 │      ▼ memcache_forget()
 *                  │                                     │    (freed)
 *                  └─────────────────────────────────────┘
 *                    server down, line full, deadline
 *
 * A timeout closes the link, since late bytes would be taken for the next reply. The
 * calls behind it have done nothing wrong: each is sent once more, its deadline stays.
 *
 * A peer may close a link with calls on their way: memcached one that it finds idle, or all
 * when it ends. If it had answered on this link before, each call whose reply had not begun is
 * sent once more, its deadline stays. The server's other links may be as stale: they take no
 * more calls, and end when they have none.
 *
 * A server that cannot be connected is down: for a second its calls are a miss at once,
 * then the next call, itself a miss, sends one probe ahead. Keys are never moved to
 * other servers. Nor is a server asked that the prober has found down.
 *
 * A server is a configured name: keys are placed by it, whatever addresses it has. One that
 * is no longer configured *leaves*: its waiting calls go where their keys live now, those in
 * flight are answered, then its links end; so do links to an address that is no longer the
 * name's. What is configured is copied.
 *
 * Links are persistent; those that are idle beyond `keepalive` of a server's are closed.
 *
 * The line's limit is the process's and its count shared: however unevenly connections are
 * spread, nothing is shed early.
 *
 * A value is held whole until its call is forgotten or its pieces are taken: pausing
 * a link for one slow reader would stop all that share it. value_max bounds it.
 *
 * Owner: memcache owns servers, links and calls. The waiter holds a pointer to its call
 * until it is done with it and then calls memcache_forget(). */
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
	CALL_HIT,     /* the whole value is there */
	CALL_MISS,    /* also: its server is down */
	CALL_FAILED,  /* see `failure` */
};

enum call_failure {
	CALL_ERROR,     /* the server said so, a reply made no sense, the link broke, or
			   we lack memory or descriptors */
	CALL_TIMEOUT,
	CALL_QUEUE_FULL,
	CALL_VALUE_LARGE,
};

struct memcache_call {
	enum call_state state;
	enum call_failure failure;
	uint64_t length; /* of the value */
	void *owner;     /* the waiter's */
	/* The rest is memcache.c's. */
	struct list node; /* in a line, or in a link's queue of calls in flight */
	struct memcache *memcache;
	struct list
		fact; /* not yet looked at; late; or decided and waiter not yet told */
	struct memcache_server *server; /* until it is decided */
	struct memcache_link *link; /* CALL_SENT */
	struct timer timeout;
	uint64_t sent_us;
	struct piece value; /* the first bytes of the value */
	struct value_piece *more, *more_last;
	uint8_t command, key_len;
	bool forgotten, large, retried;
	char key[MEMCACHE_KEY_MAX];
};

struct memcache_options {
	struct tick *tick;
	const struct config_upstream *upstream; /* is not kept */
	struct upstream_stats *stats;
	struct quota *descriptors; /* of links, process-wide */
	struct quota *queue_quota; /* calls that may wait for a link, process-wide */
	struct registry *registry; /* process-wide; NULL: one of its own */
	unsigned worker;           /* which of the registry's this is */
	/* As in upstream_options. */
	void (*short_of_descriptors)(void *owner, uint32_t n);
	void *owner;
	/* The call is now CALL_HIT, _MISS or _FAILED; once for each call that was not
	 * forgotten before. Called from a task, never from memcache_get(). */
	void (*done)(struct memcache_call *call);
};

/* NULL: no memory, or a libcrypto without MD5. */
struct memcache *memcache_new(const struct memcache_options *options);

/* Closes an idle link; false: there is none. */
bool memcache_evict(struct memcache *m);

/* Descriptors may have come free: looks at the lines again. */
void memcache_schedule_queues(struct memcache *m);

/* Closes all links and fails the calls that are under way; memcache_idle() tells when
 * links and calls are gone. */
void memcache_close(struct memcache *m);
bool memcache_idle(const struct memcache *m);
void memcache_free(struct memcache *m);

/* What the name of a configured server stands for now; n >= 1. Links to addresses that stay
 * are kept. */
void memcache_resolved(struct memcache *m, unsigned index,
		       const struct config_address *addresses, unsigned n);

/* What the prober found. An address that is not there is not meant. */
void memcache_probed(struct memcache *m, unsigned index, const struct config_address *address,
		     bool up);

/* Another configuration of the same name and protocol: servers of the same name keep their
 * links and calls. False: no memory, and all is as it was. */
bool memcache_reconfigure(struct memcache *m, const struct config_upstream *config);

/* Starts a call; the key is valid (memcache_key_valid()). NULL: no memory. */
struct memcache_call *memcache_get(struct memcache *m, enum memcache_command command,
				   struct slice key, void *owner);

/* Takes the next bytes of a CALL_HIT's value; false: there are no more. */
bool memcache_take(struct memcache_call *call, struct piece *p);

/* The waiter is done with its call, in whatever state, and lets go of it. */
void memcache_forget(struct memcache_call **where);

/* Gives unused slabs back; once a second. */
void memcache_trim(struct memcache *m);

#endif
