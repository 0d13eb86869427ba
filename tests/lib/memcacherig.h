/* A memcached client, and the servers it asks, in one simulated loop: virtual time, and
 * every byte's way drawn by a seed. */
#ifndef LIB_MEMCACHERIG_H
#define LIB_MEMCACHERIG_H

#include "back/memcache.h"

#define RIG_SERVERS 3
#define RIG_PORT 11300 /* and the next ones */

/* How a server treats its requests. Any key K holds "value of K", but keys that begin
 * with "miss" hold nothing. */
struct fake {
	struct rig *rig;
	int listener;
	struct io_accept accept;
	struct io_connect stalling;
	int stalled; /* the one connection in its backlog */
	struct list conns;
	unsigned conns_n, accepted; /* open now, ever */
	unsigned requests;          /* ever */
	unsigned sends;             /* ever, of the client: arrivals of bytes */
	bool silent;                /* reads, and does not answer */
	unsigned silent_after;      /* if > 0: answers so many requests, then is silent */
	struct slice raw;           /* if not empty: what every reply is instead */
	unsigned cut;       /* if > 0: a pause after so many bytes of each reply */
	size_t value_bytes; /* if > 0: values are that long */
	uint32_t delay_ms;  /* before each answer, one after the other */
	bool hangs_up;      /* ends the connection instead of answering */
};

struct rig {
	struct tick tick;
	struct config_server servers[RIG_SERVERS];
	struct config_address addresses[RIG_SERVERS][RIG_SERVERS]; /* of them */
	struct config_upstream upstream;
	struct upstream_stats stats;
	struct quota descriptors, queue_quota;
	struct memcache *memcache;
	struct registry *registry;
	struct fake fakes[RIG_SERVERS];
	struct slab fake_conns;
	struct timer pause; /* of rig_run(): the loop must not sleep beyond it */
	unsigned answered;  /* times */
	struct memcache_call *last_answered;
	struct memcache_call **forget_when_answered; /* NULL, or where it is kept */
	bool forget_hits;                            /* when they are answered */
};

/* One server that listens; pipeline 64, 4 links, timeouts of a second (2 for calls). */
void rig_open(struct rig *r, uint64_t seed);

/* The same with up to RIG_SERVERS. */
void rig_open_servers(struct rig *r, uint64_t seed, unsigned servers);

/* Makes the client anew after r->upstream was changed. */
void rig_reconfigure(struct rig *r);

/* Ends everything; asserts that nothing is left anywhere. */
void rig_close(struct rig *r);

/* Servers start and stop to listen; connections stay. */
void fake_listen(struct fake *f);
void fake_unlisten(struct fake *f);

/* A listener that never accepts and whose backlog is full: connecting does not end. */
void fake_stall(struct fake *f);

/* Ends all connections, orderly or not. */
void fake_hang_up(struct fake *f, enum conn_end end);
void fake_hang_up_first(struct fake *f); /* the oldest one, orderly */

/* Sends bytes that nobody asked for on all connections. */
void fake_say(struct fake *f, struct slice bytes);

/* Answers all that it was silent about. */
void fake_answer(struct fake *f);

/* Answers one request on each connection, and stays silent. */
void fake_answer_one(struct fake *f);

struct memcache_call *rig_get(struct rig *r, const char *key);

/* Goes on for some virtual time. */
void rig_run(struct rig *r, uint32_t ms);

/* Goes on until the call is decided. */
void rig_wait(struct rig *r, const struct memcache_call *call);

bool rig_decided(const struct memcache_call *call);

/* Takes the value off and compares it to what the fake gave for its key. */
void rig_assert_value(struct memcache_call *call, size_t value_bytes);

#endif
