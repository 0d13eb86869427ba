/* One connection to a memcached, and the lists by which its server finds it.
 *
 *             link_connect              connected              link_break
 *   (zeroed) ─────────────▶ CONNECTING ──────────▶ OPEN ──────────────────▶ CLOSING
 *                               │ refused, timed out                          │ dead
 *                               └─────────────────────────────────────────────┴─▶ freed
 *
 *   CONNECTING  the server's calls wait for it; counted in server->connecting
 *   OPEN        in the bucket of as many calls as it has in flight, unless that is
 *               `pipeline` or the link is blocked
 *   CLOSING     on no list of its server's, has no calls; waits for the conn's end
 *
 * Owner: memcache. */
#ifndef BACK_MEMCACHELINK_H
#define BACK_MEMCACHELINK_H

#include "back/ketama.h"
#include "back/memcache.h"

/* How long a server that could not be connected is left alone. */
#define RETRY_MS 1000

enum memcache_link_state { LINK_CONNECTING, LINK_OPEN, LINK_CLOSING };

/* What of the first call's reply is to be read next. */
enum link_part { PART_LINE, PART_VALUE, PART_TAIL };

/* Why an open link ends, and what becomes of its calls. */
enum link_ending {
	LINK_GIVEN_UP, /* a reply made no sense, we lack memory, or it is not needed: they fail */
	LINK_LATE,     /* one had its timeout: the others are sent once more */
	LINK_STALE,    /* the peer ended it, though it had answered: those whose reply has not
			  begun are sent once more */
};

struct memcache_link {
	struct memcache_server *server;
	enum memcache_link_state state;
	enum link_part part;
	struct memcache_reply reply; /* the first call's, once its line was read */
	uint64_t value_left;         /* bytes of the value not yet read */
	struct list calls;           /* in flight, in the order of their replies */
	uint32_t calls_n;
	bool blocked;   /* takes no call until its conn has changed */
	bool idle;      /* counted as such */
	bool answered;  /* a call, so that it may turn out to be stale */
	bool timed_out; /* connecting took too long */
	bool retired;   /* takes no more calls: its server or address is no longer asked,
			   or another link of its server's was stale */
	unsigned address, addresses_tried;
	struct sockaddr_storage sa; /* of that address */
	int connected;        /* what the connect came to */
	struct buf *out;      /* requests to be pushed in this step */
	struct list unsent;   /* node on memcache->unsent: has such */
	struct list rank;     /* node in a bucket */
	struct list all;      /* node on memcache->links_all */
	struct io_connect connect;
	struct timer timeout; /* of connecting */
	struct task task;
	struct reap reap; /* of a link that never got a conn */
	struct conn conn;
};

enum server_state {
	SERVER_UP,
	SERVER_DOWN,  /* cannot be connected: its calls are a miss */
	SERVER_SHORT, /* we lack descriptors or memory to connect it: an error */
};

/* One place for keys, with so many addresses at most: the first of its name. */
#define MEMCACHE_ADDRESSES_MAX 64

struct memcache_server {
	struct memcache *memcache;
	enum server_state state;
	bool leaving;
	bool stays;           /* in the change at hand */
	struct names_entry entry;
	bool probed_down;     /* all of its addresses are */
	unsigned address;     /* that worked last, or is to be tried next */
	unsigned address_n;
	uint64_t retry_ms;    /* no new link before, unless it is the only one */
	uint32_t links;       /* connecting and open */
	uint32_t link_n;      /* in whatever state */
	uint32_t connecting;  /* of which */
	uint32_t idle;        /* open, without a call */
	struct list queue;    /* calls waiting */
	uint32_t waiting;     /* of them */
	uint32_t queued;      /* of which no connecting link will have room for */
	struct list
		scheduled; /* node on memcache->scheduled: the line is to be looked at */
	struct list leaving_node; /* node among those that leave in the change at hand */
	uint32_t least;       /* buckets before this one are empty */
	uint32_t pipeline;
	struct list *buckets; /* open links by calls in flight, `pipeline` of them */
	struct memcache_address {
		struct sockaddr_storage sa;
		socklen_t len;
		bool down;    /* the prober says so */
	} addresses[MEMCACHE_ADDRESSES_MAX];
	struct registry_entry *registry_entry; /* NULL: there was none left */
	struct registry_view *view;
	char name[REGISTRY_NAME_MAX]; /* by which keys are placed */
};

struct value_piece {
	struct piece piece;
	struct value_piece *next;
};

struct memcache {
	struct memcache_options options;
	struct config_upstream config; /* a copy, without `servers` */
	struct registry *own_registry;
	struct ketama *ketama;
	struct slab calls, links, pieces;
	struct task task;
	struct list unplaced;  /* calls not yet looked at */
	struct list expired;   /* calls whose deadline has passed */
	struct list decided;   /* calls whose askers are to be told */
	struct list scheduled; /* servers */
	struct list unsent;    /* links */
	struct list links_all; /* in whatever state */
	bool closing;
	unsigned servers_n;
	struct memcache_server **servers; /* as configured */
	struct names by_name;  /* the same */
	char name[CONFIG_NAME_MAX];
};

/* ---- memcachelink.c ------------------------------------------------------- */

/* Starts one more link. 0; -ENOMEM; or -EMFILE: no descriptor is left for now. */
int link_connect(struct memcache_server *s);

/* The least busy link that can take a call; NULL: there is none. */
struct memcache_link *link_least(struct memcache_server *s);

/* Sends a call, which stands in no list. False: no memory, and it was not sent. */
bool link_send(struct memcache_link *l, struct memcache_call *call);

/* Hands what link_send() wrote to the conn. */
void link_push(struct memcache_link *l);

/* Files the link under its number of calls. */
void link_rank(struct memcache_link *l);

/* Closes an open link; its calls fail, or are sent once more. */
void link_break(struct memcache_link *l, enum link_ending why);

/* Takes no more calls; ends when it has none. */
void link_retire(struct memcache_link *l);

/* Closes a link in whatever state. */
void link_close(struct memcache_link *l);

/* ---- memcacheread.c ------------------------------------------------------- */

/* Reads as many replies as there are. */
void link_read(struct memcache_link *l);

/* Lets go of a value's bytes. */
void value_drop(struct memcache_call *call);

/* ---- memcacheserver.c ----------------------------------------------------- */

/* Puts a call in line; `first`: it has waited before. */
void server_enqueue(struct memcache_server *s, struct memcache_call *call, bool first);

/* It can be asked, or not, as the operator is to see. */
void server_set_state(struct memcache_server *s, enum server_state state);
void server_report_status(struct memcache_server *s);

/* Takes a call out of the line. */
void server_dequeue(struct memcache_server *s, struct memcache_call *call);

/* A link is being connected, or is so no more. */
void server_count_connecting(struct memcache_server *s, int change);

/* Sends what waits as far as links have room, connects more, sheds what is too much. */
void server_dispatch(struct memcache_server *s);

/* The same, later in this tick. */
void server_schedule(struct memcache_server *s);

/* A call that need not wait, because the server is down, is decided: true. */
bool server_reject_if_down(struct memcache_server *s, struct memcache_call *call);

/* The address to be tried first of those from `from` on. */
unsigned server_next_address(const struct memcache_server *s, unsigned from);

/* Whatever waits is decided, as its server is down. */
void server_reject_queue(struct memcache_server *s);

/* A link could not be connected; it is counted no more. */
void server_connect_failed(struct memcache_server *s, int error);

/* ---- memcacheplace.c ------------------------------------------------------ */

void memcache_place_done(struct memcache *m);

/* Where its key lives now. */
struct memcache_server *memcache_server_of(const struct memcache *m,
					   const struct memcache_call *call);

/* One of its links is gone: a server that leaves goes with its last. */
void server_link_gone(struct memcache_server *s);

/* ---- memcache.c ----------------------------------------------------------- */

/* The outcome is known: takes the call out of line or link and notes it for its waiter. */
void call_decide(struct memcache_call *call, enum call_state state,
		 enum call_failure failure);

#endif
