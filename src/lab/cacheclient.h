/* One connection of the lab's memcached, for cache.c and cachereply.c. */
#ifndef LAB_CACHECLIENT_H
#define LAB_CACHECLIENT_H

#include "cache.h"
#include "cachecommand.h"

enum cache_client_state {
	CACHE_CLIENT_READING,
	CACHE_CLIENT_FILLING,    /* the data of a set */
	CACHE_CLIENT_DISCARDING, /* the data of a set that is refused */
	CACHE_CLIENT_WAITING,
	CACHE_CLIENT_RESPONDING,
};

struct cache_client {
	struct cache_lab *lab;
	enum cache_client_state state;
	struct buf *line;             /* the command's, while there is one */
	struct cache_command command; /* points into it */
	struct cache_entry *entry;    /* what a set fills */
	uint64_t data_n; /* bytes of data there, or still to be stale_close */
	struct list node;             /* on lab->open */
	struct task task;
	struct conn conn;
};

/* A block for so many bytes. Without memory the connection ends, as the peer must not
 * wait for ever; then it is NULL. */
struct buf *reply_new(struct cache_client *c, size_t size);

/* Sends a line of reply. */
void reply_line(struct cache_client *c, const char *line);

/* Answers the client's command. False: as much as there was room for; call it again. */
bool command_respond(struct cache_client *c);

#endif
