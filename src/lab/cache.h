/* The memcached of the lab: it delays each response, and runs one command at a time per
 * connection.
 *
 *   get, gets, set, delete, version, quit
 *   mg (v s k f t c O q), ms (F T C O k q), md (C O k q), mn
 *
 * A command is read completely, waits for the delay, gets its response, and then the next
 * one is read; pipelined commands stay in the inbox meanwhile. A waiting connection holds
 * its command in a block of its size and no receive buffer, so tens of thousands can
 * wait.
 *
 *   READING ─▶ (FILLING | DISCARDING) ─▶ WAITING ─▶ RESPONDING ─▶ READING */
#ifndef LAB_CACHE_H
#define LAB_CACHE_H

#include "cachestore.h"
#include "front/listener.h"
#include "net/conn.h"

struct cache_options {
	struct tick *tick;
	int listener; /* a listening socket; taken over */
	uint32_t delay_ms;
	struct cache_store *store;
	struct quota *clients; /* limit of connections of the process */
};

/* One per thread. */
struct cache_lab {
	struct cache_options options;
	struct listener listener;
	struct worker_stats stats;
	struct slab clients;
	struct list open; /* clients */
};

void cache_lab_start(struct cache_lab *lab, const struct cache_options *options);

/* Stops listening and closes all connections; cache_lab_idle(): all are closed. */
void cache_lab_stop(struct cache_lab *lab);
bool cache_lab_idle(const struct cache_lab *lab);
void cache_lab_done(struct cache_lab *lab);

/* Returns unused memory; called about once a second. */
void cache_lab_trim(struct cache_lab *lab);

#endif
