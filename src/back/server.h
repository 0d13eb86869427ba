/* What upstream.c (who is asked, who waits) and origin.c (the connections) share. */
#ifndef BACK_SERVER_H
#define BACK_SERVER_H

#include "back/upstream.h"

struct server {
	struct upstream *upstream;
	struct list idle;     /* last returned first */
	uint32_t idle_n;
	struct list held;     /* idle ones that are a client's alone, likewise */
	uint32_t held_n;
	uint32_t open_n;      /* connecting, leased or idle */
	uint32_t leased_n;
	uint32_t busy_n;      /* leases it was given to that did not come back */
	uint32_t weight;
	uint32_t weight_factor; /* of it, which its address has of its own */
	uint32_t permits; /* below its limit, handed to this worker, and not yet used */
	int64_t current;      /* smooth weighted round robin */
	uint64_t slow_start_until_ms; /* when it has its full weight */
	uint64_t down_until_ms;
	bool probed_down, ejected, backup, leaving;
	uint8_t rank;         /* in the choice at hand */
	bool stays;           /* in the change at hand */
	uint32_t id;          /* in lease.tried */
	uint32_t index;       /* of its name */
	uint64_t hash;        /* of name and address */
	struct names_entry entry; /* by `hash` */
	struct registry_entry *registry_entry; /* NULL: there was none left */
	struct registry_view *view;
	/* ejection.c */
	uint32_t consecutive_failures;  /* failures since the last success */
	uint32_t consecutive_truncated; /* answers cut short since the last whole one */
	uint32_t good_n, bad_n; /* answers in this window */
	uint64_t window_ms;   /* when it began */
	uint64_t readmitted_ms; /* from the last ejection; 0: never */
	unsigned doublings;
	struct timer ejection;
	uint32_t origin_n;    /* not dead */
	struct list node;     /* among those that leave */
	struct reap reap;
	struct sockaddr_storage sa;
	socklen_t len;
	char name[];
};

/* A configured server: what its addresses have in common. */
struct server_name {
	uint32_t weight;
	bool backup;
	bool incomplete; /* there was no memory for all of its servers */
	char name[REGISTRY_NAME_MAX];
};

struct upstream {
	struct tick *tick;
	struct config_upstream config; /* a copy, without `servers` */
	struct upstream_stats *stats;
	struct quota *descriptors;
	struct quota *queue_quota;
	void (*short_of_descriptors)(void *owner, uint32_t n);
	void *owner;
	uint32_t window;
	bool closing, started;
	bool refuses_permits; /* permits of some servers */
	uint32_t origin_n;    /* not dead */
	struct registry *registry, *own_registry;
	unsigned worker;
	uint64_t random, reported_wait_ms; /* as the registry was told */
	struct list queue;                 /* leases, first come first served */
	uint32_t queue_n;
	struct task task;     /* serves the line when room has come */
	struct slab *origins, own_origins;
	struct server_name *server_name; /* config.server_n of them */
	unsigned server_names_max;       /* for so many there is room */
	unsigned server_n;
	struct server **servers;       /* by name, as configured */
	struct names by_hash;          /* the same */
	unsigned from, to;             /* those that are looked at in the choice at hand */
	struct group {
		int64_t current;       /* as of a server */
		uint64_t share;        /* of those in it that could be chosen last */
	} *groups;                     /* NULL: too few servers, or no memory */
	struct list leaving;
	uint32_t next_id;
	char name[CONFIG_NAME_MAX];
};

/* ---- upstream.c ----------------------------------------------------------- */

/* The waiter is run. */
void lease_set(struct lease *l, enum lease_state state);
void lease_fail(struct lease *l, enum lease_failure failure);

/* The next server that was not tried, or the line. False: every server was tried. */
bool lease_place(struct upstream *u, struct lease *l);

/* A place came free: those who wait longest go first. */
void queue_dispatch(struct upstream *u);

/* The server is given to the lease, or given back. False: it has no place left. */
bool server_reserve(struct server *s, struct lease *l);
void server_release(struct server *s, struct lease *l);

/* Places were handed to this worker. */
void upstream_collect_permits(struct upstream *u);

/* ---- balance.c ------------------------------------------------------------ */

bool server_full(const struct server *s);

/* The best server that was not tried; NULL if there is none, or none with room. *untried
 * says whether there is one to wait for. Those that are merely to be avoided are asked rather
 * than that the lease waits or fails. */
struct server *server_choose(struct upstream *u, struct lease *l, bool *untried);

/* Its servers have changed. */
void upstream_build_groups(struct upstream *u);

/* Each worker begins with another server. */
void upstream_stagger(struct upstream *u);

/* All bits depend on all. */
uint64_t server_mix(uint64_t x);

/* ---- ejection.c ----------------------------------------------------------- */

void server_ejection_init(struct server *s);
void server_ejection_stop(struct server *s);

/* A connection that could not be opened, or a request that came to nothing. */
void server_failed(struct server *s);

/* It is back: with little weight at first. */
void server_slow_start(struct server *s);

/* What is thought of it has changed, or not. */
void server_set_status(struct server *s);

/* ---- server.c ------------------------------------------------------------- */

/* The first servers of an upstream. */
bool upstream_servers_init(struct upstream *u, const struct config_upstream *config);
void upstream_servers_done(struct upstream *u);

/* One of its origins is dead: one that leaves goes with its last. */
void server_origin_dead(struct server *s);

/* ---- origin.c ------------------------------------------------------------- */

/* Opens one for the lease; a descriptor was taken for it. */
void origin_connect(struct server *s, struct lease *l);

/* The one that was idle for the shortest time, of which there is one, or one that is held, goes to
 * the lease. */
void origin_lease(struct server *s, struct lease *l);
void origin_lease_held(struct origin *o, struct lease *l);

/* What the lease's holder holds of this upstream; NULL: nothing. */
struct origin *origin_held(const struct upstream *u, const struct lease *l);

/* Its lease is over: idle if it may be used again, of its holder if it is held, else it ends. */
void origin_take_back(struct origin *o, bool reusable, struct list *holder);

void origin_end(struct origin *o);

/* Ends the idle ones at the head of the list that have ended or spoken by themselves: what
 * happened to them in this tick may not have been looked at yet. */
void server_drop_stale(struct server *s);

#endif
