/* The memcached client of one worker and one upstream: persistent, pipelined links.
 *
 * A call goes to the server its key lives on, there to the least busy link; a link
 * that has `pipeline` calls in flight gets company, up to `links`; beyond that calls
 * wait in a line with a limit and a timeout. All calls of one tick on a link leave in
 * one send. Replies come in order. A call that nobody waits for any more stays in its
 * place and its reply is read off and dropped. A reply of the wrong shape closes the
 * link and fails its calls, nothing else.
 *
 * A value is held whole until its call is forgotten or its pieces are taken: pausing
 * a link for one slow reader would stop all that share it. value_max bounds it.
 *
 * Owner: memcache owns servers, links and calls. The asker holds a pointer to its call
 * until it is done with it and then calls memcache_forget(). */
#ifndef BACK_MEMCACHE_H
#define BACK_MEMCACHE_H

#include "back/memcachewire.h"
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
	CALL_ERROR,     /* the server said so, or a reply made no sense, or the link broke */
	CALL_TIMEOUT,
	CALL_QUEUE_FULL,
	CALL_VALUE_LARGE,
};

struct memcache_call {
	enum call_state state;
	enum call_failure failure;
	uint64_t length; /* of the value */
	void *owner;     /* the asker's */
	/* The rest is memcache.c's. */
	struct list node;        /* in a link's queue of calls in flight, or in the line */
	struct list decided;     /* outcome known, asker not yet told */
	struct memcache_server *server;
	uint8_t command, key_len;
	bool forgotten;
	uint64_t started_us;
	struct timer timeout;
	struct buf *value, *value_last; /* chain of buffers with the value's bytes */
	uint64_t value_bytes;           /* of them there */
	char key[MEMCACHE_KEY_MAX];
};

struct memcache_options {
	struct tick *tick;
	const struct config_upstream *upstream;
	struct upstream_stats *stats;
	unsigned workers;  /* the queue's limit is divided, generously */
	/* Something about the call changed: it is now CALL_HIT, _MISS or _FAILED. Called
	 * from a task, never from memcache_get(). */
	void (*answered)(struct memcache_call *call);
};

/* NULL: no memory. */
struct memcache *memcache_new(const struct memcache_options *options);

/* Closes all links; `memcache_idle()` tells when they are gone. */
void memcache_close(struct memcache *m);
bool memcache_idle(const struct memcache *m);
void memcache_free(struct memcache *m);

/* Starts a call; the key is valid (memcache_key_valid()). NULL: no memory. */
struct memcache_call *memcache_get(struct memcache *m, enum memcache_command command,
				   struct slice key, void *owner);

/* Takes the next bytes of a CALL_HIT's value; false: there are no more. */
bool memcache_take(struct memcache_call *call, struct piece *p);

/* The asker is done with its call, in whatever state, and lets go of it. */
void memcache_forget(struct memcache_call **call);

/* Gives unused slabs back; once a second. */
void memcache_trim(struct memcache *m);

#endif
