/* The servers behind one name, on one worker: who is asked, over which connection, and
 * who waits.
 *
 * An origin (a connection to a server) belongs to its upstream always, even while leased.
 * Idle ones are taken last-in-first-out: the hottest first, and the rest may age out, at
 * `idle_timeout` or a little before the time that the server has named (Keep-Alive): a request
 * that meets its close would be lost.
 *
 *   lease:   NONE ─▶ WAITING (in the line) ─▶ CONNECTING ─▶ READY ─▶ NONE
 *                 └───────────────────────────────┴──▶ FAILED
 *   origin:  CONNECTING ─▶ LEASED ◀─▶ IDLE ─▶ ENDING
 *
 * An origin that was authenticated (lease.holds, upstream_hold()) is *held*: between leases it
 * waits on a list of its holder, a client's connection, one for each upstream, and nobody else
 * gets it. It counts as any other, ages as any idle one, and makes room where others wait for a
 * connection.
 *
 * A server is one address of one configured name: a name with three addresses is three
 * servers, each with the weight of the name. One that is no longer among them *leaves*: it is
 * asked nothing new, its idle origins end, the leased ones finish. What is configured is
 * copied: nothing here points into a configuration.
 *
 * A server that refuses a connection is skipped over for DOWN_MS while others are there;
 * a lease tries each server once (of more than TRIED_MAX: as many times as there are servers,
 * but TRIED_MAX times at most where all that are left are known to be down).
 * Full is ordinary: with `connections` reached everywhere a lease waits in the line, which has a
 * limit and a timeout. */
#ifndef BACK_UPSTREAM_H
#define BACK_UPSTREAM_H

#include "back/registry.h"
#include "back/tried.h"
#include "base/quota.h"
#include "base/stats.h"
#include "config/config.h"
#include "message/reader.h"
#include "message/writer.h"

#define UPSTREAM_DOWN_MS 1000

/* Addresses of one upstream, all names taken together; the first of each has its place. */
#define UPSTREAM_SERVERS_MAX CONFIG_SERVERS_MAX

struct upstream;
struct server;
struct lease;

enum origin_state { ORIGIN_CONNECTING, ORIGIN_LEASED, ORIGIN_IDLE, ORIGIN_ENDING };

/* An upstream connection. */
struct origin {
	struct conn conn;      /* open in all states but ORIGIN_CONNECTING */
	struct reader reader;
	struct writer writer;
	struct task task;
	struct list node;      /* on server->idle, or server->held */
	struct list hold;      /* idle and held: on its holder's list */
	bool held;             /* it was authenticated: for its holder only, or for nobody */
	struct server *server;
	struct lease *lease;   /* who has it; NULL while idle or ending */
	struct io_connect connect;
	int connect_result;
	uint8_t state;         /* enum origin_state */
	uint64_t requests;     /* that it was leased for */
	uint32_t idle_s;       /* how long its server says that it may be idle; UINT32_MAX: not */
};

enum lease_state { LEASE_NONE, LEASE_WAITING, LEASE_CONNECTING, LEASE_READY, LEASE_FAILED };

enum lease_failure {
	LEASE_NO_SERVER,       /* none of its names stands for anything */
	LEASE_REFUSED,         /* no server took the connection */
	LEASE_FORBIDDEN,       /* … because we may not connect to it */
	LEASE_UNROUTABLE,      /* … because no way leads there */
	LEASE_NO_SOCKET,       /* … because there was no descriptor or port for it */
	LEASE_CONNECT_TIMEOUT, /* nor answered in time */
	LEASE_QUEUE_FULL,
	LEASE_QUEUE_TIMEOUT,
	LEASE_NO_MEMORY,
};

/* A hold on an origin, and on a stream of it (always 0 on HTTP/1). Embedded in whoever
 * asks; its address must not change until upstream_return(). */
struct lease {
	struct upstream *upstream;
	struct origin *origin;
	uint8_t state;         /* enum lease_state */
	uint8_t failure;       /* enum lease_failure */
	bool reused;           /* the origin has answered before: it may be stale */
	bool fresh;            /* a new connection was asked for */
	bool tried_has_avoided; /* `tried` has some that are merely to be avoided */
	bool has_permit;        /* it has one of those that `requests` limits */
	uint64_t key;          /* set before upstream_lease(): what `hash` came to; 0: nothing */
	struct list *holder;   /* likewise: whose held origins come first; NULL: nobody's */
	bool holds;            /* likewise: the origin is the holder's from now on */
	uint64_t queued_since_ms; /* in the line */
	struct task *waiter;   /* run when the state changes, and on the origin's facts */
	struct list node;      /* in the line */
	struct timer timer;    /* in the line, then connecting */
	uint32_t tried_n;      /* servers that it was given, one after the other */
	struct tried tried;    /* those, and those that it is to avoid; stays after
				  upstream_return() */
};

struct upstream_options {
	struct tick *tick;
	const struct config_upstream *config; /* is not kept */
	struct upstream_stats *stats;
	struct quota *descriptors; /* of origins, process-wide */
	struct quota *queue_quota; /* who may wait, process-wide */
	struct registry *registry; /* process-wide; NULL: one of its own */
	struct slab *origins;      /* of struct origin, the worker's; NULL: one of its own */
	unsigned worker;           /* which of the registry's this is */
	/* n are wanted and none is left: idle connections elsewhere should give way;
	 * upstream_schedule_queue() is to be called before long. May be NULL. */
	void (*short_of_descriptors)(void *owner, uint32_t n);
	void *owner;
	uint32_t window;           /* bytes, inbox and outbox each */
};

/* NULL: no memory. */
struct upstream *upstream_new(const struct upstream_options *options);

/* Ends the origin that has been idle longest; false: none is idle. */
bool upstream_evict(struct upstream *u);

/* Descriptors may have come free: looks at the line again. */
void upstream_schedule_queue(struct upstream *u);

/* For connections that are opened from now on. */
void upstream_set_window(struct upstream *u, uint32_t window);

/* Ends idle origins at once, and every other when it comes back. */
void upstream_close(struct upstream *u);
bool upstream_idle(const struct upstream *u); /* no origin is left */
void upstream_free(struct upstream *u);
void upstream_trim(struct upstream *u);

struct upstream_stats *upstream_stats(struct upstream *u);

/* What the name of a configured server stands for now; n >= 1. Servers whose addresses stay
 * keep all they have. False: no memory for one that is new, instead of which those of before
 * stay; to be called again. */
bool upstream_resolved(struct upstream *u, unsigned index,
		       const struct config_address *addresses, unsigned n);

/* What the prober found. A server that is not there is not meant. */
void upstream_probed(struct upstream *u, unsigned index, const struct config_address *address,
		     bool up);

/* Another configuration is to come: makes room for its servers and their names, so that whatever
 * else it may lack then, it is by that one's indices that servers are told. False: no memory,
 * and nothing has changed. */
bool upstream_prepare(struct upstream *u, const struct config_upstream *config);

/* Another configuration of the same name and protocol: servers of the same name and address
 * keep all they have, and so do all those of a name that could not be resolved. False: no
 * memory for all of it, as above; to be called again. */
bool upstream_reconfigure(struct upstream *u, const struct config_upstream *config);

/* The server's name of a lease that is READY; it stays until the end of the tick. */
const char *lease_server(const struct lease *l);

/* Asks for an origin. The state may be READY, WAITING, CONNECTING or FAILED at once; the
 * waiter is run when it changes. lease is zeroed but for `key`, or was returned. avoid: servers
 * that are skipped over while others have room; NULL: none. fresh: a new connection only, as an
 * idle one turned out to be stale, or might. */
void upstream_lease(struct upstream *u, struct lease *lease, const struct tried *avoid,
		    bool fresh, struct task *waiter);

/* Somebody else could be asked than those tried: a server that is not down. */
bool upstream_has_other(const struct upstream *u, const struct tried *tried);

/* Likewise, and nobody would wait for it: one with room, no backup. */
bool upstream_has_spare(const struct upstream *u, const struct tried *tried);

/* The origin of a lease that is READY is its holder's from now on. */
void upstream_hold(struct lease *lease);

/* Ends all that a holder holds. */
void upstream_close_held(struct list *held);

/* What came of a lease that is READY: the head of an answer, and after it all of it or not; or
 * none. Or of one that is CONNECTING: no connection, in more time than there was. What says
 * nothing about the server, as when its client left, is not told. */
void upstream_responded(struct lease *lease, int status);
void upstream_completed(struct lease *lease);
void upstream_truncated(struct lease *lease, int status);
void upstream_failed(struct lease *lease);

/* Lets go, in whatever state. reusable: the answer ended where it should, and nothing was
 * left unsent or unread. */
void upstream_return(struct lease *lease, bool reusable);

#endif
