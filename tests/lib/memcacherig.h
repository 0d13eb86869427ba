/* Test fixture: a memcached client (struct memcache) and up to three fake servers, in one
 * simulated loop. Time is virtual, and a seed draws how bytes are split and delayed.
 * Owner: one test. Errors are failed assertions. */
#ifndef LIB_MEMCACHERIG_H
#define LIB_MEMCACHERIG_H

#include "back/memcache.h"

#define MEMCACHERIG_SERVERS 3
#define MEMCACHERIG_PORT 11300 /* and the next ports */

/* A fake server and how it treats requests. Any key K has the value "value of K"; keys that
 * begin with "miss" have none. */
struct fake_memcached {
	struct memcacherig *rig;
	int listener;
	struct io_accept accept;
	struct io_connect stalling;
	int stalled; /* the socket that fills the backlog, see fake_stall() */
	struct list conns;
	unsigned conns_n, accepted; /* open now; since the start */
	unsigned requests;          /* since the start */
	unsigned sends;             /* how often bytes arrived, since the start */
	bool silent;                /* reads, and does not reply */
	unsigned silent_after;      /* if > 0: silent after so many requests */
	struct slice raw;           /* if not empty: sent as every reply */
	unsigned cut;       /* if > 0: a pause after so many bytes of each reply */
	size_t value_bytes; /* if > 0: length of the values */
	uint32_t delay_ms;  /* before each reply; replies are sent one after the other */
	bool closes;        /* closes the connection instead of replying */
};

struct memcacherig {
	struct tick tick;
	struct config_server servers[MEMCACHERIG_SERVERS];
	struct config_address addresses[MEMCACHERIG_SERVERS]
				       [MEMCACHERIG_SERVERS]; /* of `servers` */
	struct config_upstream upstream;
	struct upstream_stats stats;
	struct quota descriptors, queue_quota;
	struct memcache *memcache;
	struct registry *registry;
	struct fake_memcached fakes[MEMCACHERIG_SERVERS];
	struct tls_context *tls; /* of connections that the fakes accept; NULL: plain */
	struct slab fake_conns;
	struct timer pause; /* of memcacherig_run(): the loop must not sleep past it */
	unsigned answered;  /* calls that were answered */
	struct memcache_call *last_answered;
	struct memcache_call **forget_when_answered; /* forgets this call at any answer */
	bool forget_hits; /* forgets each hit when it is answered */
};

/* One server that listens; pipeline 64, 4 links, connect timeout 1 s, call timeout 2 s. */
void memcacherig_open(struct memcacherig *r, uint64_t seed);

/* The same with up to MEMCACHERIG_SERVERS servers. */
void memcacherig_open_servers(struct memcacherig *r, uint64_t seed, unsigned servers);

/* Makes the client anew after r->upstream was changed. */
void memcacherig_reconfigure(struct memcacherig *r);

/* Frees everything; asserts that no call, connection or socket is left. */
void memcacherig_close(struct memcacherig *r);

/* Start and stop listening; connections stay. */
void fake_listen(struct fake_memcached *f);
void fake_unlisten(struct fake_memcached *f);

/* Listens, never accepts, and has a full backlog: connecting to it never completes. */
void fake_stall(struct fake_memcached *f);

/* Closes all connections, or the oldest one (with CONN_NOW). */
void fake_close_all(struct fake_memcached *f, enum conn_end end);
void fake_close_first(struct fake_memcached *f);

/* Sends unsolicited bytes on all connections. */
void fake_send_all(struct fake_memcached *f, struct slice bytes);

/* Clears `silent` and `silent_after`, and replies to all requests that wait. */
void fake_reply_all(struct fake_memcached *f);

/* Replies to one request on each connection, although the server is silent. */
void fake_reply_one(struct fake_memcached *f);

struct memcache_call *memcacherig_get(struct memcacherig *r, const char *key);

/* Runs the loop for so much virtual time. */
void memcacherig_run(struct memcacherig *r, uint32_t ms);

/* Runs the loop until the call is decided, for at most a minute; asserts that it is. */
void memcacherig_wait(struct memcacherig *r, const struct memcache_call *call);

/* The call is neither waiting nor sent any more. */
bool memcacherig_decided(const struct memcache_call *call);

/* Asserts that the call is a hit, takes its value and compares it with the fake's value. */
void memcacherig_assert_value(struct memcache_call *call, size_t value_bytes);

#endif
