/* A connection of the lab's memcached; shared by cache.c and cachereply.c. */
#ifndef LAB_CACHECLIENT_H
#define LAB_CACHECLIENT_H

#include "cache.h"
#include "cachecommand.h"

enum cache_client_state {
	CACHE_CLIENT_READING,
	CACHE_CLIENT_FILLING,    /* reads the data of a set */
	CACHE_CLIENT_DISCARDING, /* discards the data of a set that is refused */
	CACHE_CLIENT_WAITING,
	CACHE_CLIENT_RESPONDING,
};

struct cache_client {
	struct cache_lab *lab;
	enum cache_client_state state;
	struct buf *line;             /* line of the current command; NULL: none */
	struct cache_command command; /* points into `line` */
	struct cache_entry *entry;    /* of a set, being read */
	uint64_t data_n;              /* bytes of data read, or still to be discarded */
	struct list node;             /* on lab->open */
	struct task task;
	struct timer delay; /* until CACHE_CLIENT_RESPONDING */
	struct conn conn;
};

/* A block of `size` bytes. NULL: no memory, and the connection is reset, because the peer
 * must not wait forever. */
struct buf *reply_new(struct cache_client *c, size_t size);

/* Sends a line as the response. */
void reply_line(struct cache_client *c, const char *line);

/* Sends the response of the current command. False: the connection has no more space;
 * call it again. */
bool command_respond(struct cache_client *c);

#endif
