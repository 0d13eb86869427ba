/* What the files of an upstream share: upstream.c (leases), queue.c (leases that wait),
 * balance.c (choice of the server), rank.c, ejection.c, server.c and servertable.c (the set of
 * servers), origin.c (connections). */
#ifndef BACK_SERVER_H
#define BACK_SERVER_H

#include "back/upstream.h"
#include "base/random.h"
#include "rank.h"
#include "servertable.h"

struct server {
	struct member member;
	struct upstream *upstream;
	struct list idle; /* idle origins, last returned first */
	uint32_t idle_n;
	struct list held; /* idle origins that are held, last returned first */
	uint32_t held_n;
	uint32_t open_n; /* origins connecting, leased or idle */
	uint32_t leased_n;
	uint32_t busy_n;        /* leases that have this server: connecting or ready */
	uint32_t weight;        /* configured or ordered weight × weight_factor */
	uint32_t weight_factor; /* of this address (SRV weight), else 1 */
	uint32_t permits;       /* collected by this worker and not yet used */
	int64_t current;        /* smooth weighted round robin: its current weight */
	uint64_t slow_start_until_ms; /* from then on it has its full weight */
	bool backup;
	/* rank.c */
	uint32_t at;              /* in upstream->servers; RANK_UNLISTED: in none */
	uint8_t rank;             /* the set it is in */
	bool probed_down;         /* health_down, or order */
	bool health_down;         /* by the health check */
	uint8_t order;            /* enum server_order, of the operator: registry_entry */
	bool ejected;             /* ejection.c */
	struct timer unreachable; /* armed: a connect failed not long ago */
	uint32_t id;              /* in lease.tried; is not reused */
	uint64_t hash;            /* of name and address; its key in upstream->table */
	/* ejection.c */
	uint32_t consecutive_failures; /* since the last success */
	uint32_t
		consecutive_truncated; /* truncated responses since the last complete one */
	uint32_t good_n, bad_n;        /* results in this period */
	uint64_t period_ms;            /* when the period began */
	uint64_t readmitted_ms; /* when its last ejection ended; 0: never ejected */
	unsigned doublings;     /* of eject_time, for the last ejection */
	struct timer ejection;
	struct sockaddr_storage sa;
	socklen_t len;
	char name[];
};

/* A configured name: what its servers have in common. */
struct server_name {
	uint32_t weight;
	bool backup;
	bool incomplete; /* no memory for all of its servers */
	char name[REGISTRY_NAME_MAX];
};

struct upstream {
	struct tick *tick;
	struct upstream_stats *stats;
	struct quota *descriptors;
	struct quota *queue_quota;
	void (*short_of_descriptors)(void *owner, uint32_t n);
	void *owner;
	uint32_t window;
	bool closing;
	bool started;         /* servers that are added now get a slow start */
	bool refuses_permits; /* of some servers */
	uint32_t origin_n;    /* origins that are not freed */
	struct random random;
	uint64_t reported_wait_ms; /* the last value of registry_set_waiting() */
	struct list queue;         /* waiting leases, first come first served */
	uint32_t queue_n;
	struct task task; /* dispatches the queue */
	struct slab *origins, own_origins;
	struct server_table table;       /* of struct server */
	struct server_name *server_name; /* table.config.server_n of them */
	unsigned server_names_max;       /* capacity of server_name */
	struct group *groups;            /* group_count(table.n) of them */
	struct hashring *ring; /* `balance: hash`; NULL: no memory, or one server */
	uint64_t *sticky;      /* sticky.c: of each server; NULL: not sticky, or no memory */
	uint32_t busy_n;       /* leases that have a server: connecting or ready */
	/* rank.c: sums over the servers. */
	uint64_t rank_weights[RANKS];
	uint32_t probed_up_n;          /* not probed down */
	uint32_t ejected_n;            /* of these, ejected */
	uint32_t next_id;
};

static inline struct server *server_of(struct member *m)
{
	return CONTAINER(m, struct server, member);
}

/* at < u->table.n */
static inline struct server *server_at(const struct upstream *u, unsigned at)
{
	return server_of(u->table.members[at]);
}

/* ---- upstream.c ----------------------------------------------------------- */

/* Set the state and run the waiter. */
void lease_set(struct lease *l, enum lease_state state);
void lease_fail(struct lease *l, enum lease_failure failure);

/* Gives the lease an origin of a server that was not tried, or puts it in the queue.
 * False: every server was tried. */
bool lease_place(struct upstream *u, struct lease *l);

/* The same for a lease of the queue, which it leaves if it gets an origin or fails. False: it
 * stays in the queue. */
bool lease_place_queued(struct upstream *u, struct lease *l);

/* Counts the lease as one of the server's requests and takes a permit for it. False: no
 * permit is free. */
bool server_reserve(struct server *s, struct lease *l);

/* The reverse. */
void server_release(struct server *s, struct lease *l);

/* ---- queue.c -------------------------------------------------------------- */

/* The queue has the leases that wait for a server with capacity, first come first served. The
 * permits that other workers release are collected for it. */

/* Asserts what holds for each lease of the queue, and their count. O(queue). */
void queue_check(const struct upstream *u);

/* Puts a lease without an origin into the queue, at its end. The lease fails if the queue is full,
 * and when it has waited for `queue_timeout`. */
void queue_add(struct upstream *u, struct lease *l);

/* Takes a lease out of the queue; the caller sets its state. */
void queue_remove(struct lease *l);

/* Places as many waiting leases as there is capacity for. */
void queue_dispatch(struct upstream *u);

/* Permits were granted to this worker: uses them for the queue and puts the rest back. */
void upstream_collect_permits(struct upstream *u);

/* ---- balance.c ------------------------------------------------------------ */

/* It has neither an idle origin nor capacity for a new one, or no permit is free. */
bool server_full(const struct server *s);

/* The best server that was not tried and has capacity; NULL: none. *untried: there is a
 * server that was not tried, so that the lease may wait for it. A server that is only to
 * be avoided is chosen before the lease would wait or fail. */
struct server *server_choose(struct upstream *u, struct lease *l, bool *untried);

/* Called when the servers have changed, after rank_build(). */
void upstream_balance_build(struct upstream *u);

/* Advances the round robin by the number of the worker: workers that start together would
 * all begin with the same server. */
void upstream_stagger(struct upstream *u);

/* ---- ejection.c ----------------------------------------------------------- */

void server_ejection_init(struct server *s);
void server_ejection_stop(struct server *s);

/* Counts a failed connect or request; may eject the server. */
void server_failed(struct server *s);

/* Its weight grows from nearly 0 to full during slow_start. */
void server_slow_start(struct server *s);

/* Publishes the status in the registry if it has changed. */
void server_set_status(struct server *s);

/* ---- server.c ------------------------------------------------------------- */

/* The initial servers of an upstream. False: no memory for all. */
bool upstream_servers_init(struct upstream *u, const struct config_upstream *config);
void upstream_servers_done(struct upstream *u);

/* What the table calls when a server leaves. */
extern const struct server_table_events upstream_members;

/* ---- origin.c ------------------------------------------------------------- */

/* Asserts what holds in each state, and the counts of its server. */
void origin_check(const struct origin *o);

/* Connects a new origin for the lease. The caller has taken its descriptor from the
 * quota. */
void origin_connect(struct server *s, struct lease *l);

/* Leases the most recently used idle origin (there is one); or this idle or held origin. */
void origin_lease_newest(struct server *s, struct lease *l);
void origin_lease_this(struct origin *o, struct lease *l);

/* The origin of this upstream on the holder's list, if its server was not tried; NULL:
 * none. */
struct origin *origin_held(const struct upstream *u, const struct lease *l);

/* The lease has ended: the origin becomes idle (held, if it is so) if it may be reused,
 * else it ends. */
void origin_take_back(struct origin *o, bool reusable, struct list *held_list);

void origin_end(struct origin *o);

/* Ends idle origins at the head of the list that the server has closed or sent bytes on.
 * Their own tasks may not have run in this tick yet. */
void origin_end_stale(struct server *s);

#endif
