/* What the files of the memcached client share: links (connections), servers and the
 * client itself.
 *
 *             link_connect              connected              link_break
 *   (zeroed) ─────────────▶ CONNECTING ──────────▶ OPEN ──────────────────▶ CLOSING
 *                               │ refused, timed out                          │ dead
 *                               └─────────────────────────────────────────────┴─▶ freed
 *
 *   CONNECTING  the server's calls wait for it; has a dial; counted in server->connecting
 *   OPEN        in the bucket of its number of calls in flight, unless that number is
 *               `pipeline`, or the link is blocked or retired
 *   CLOSING     on no list of its server, has no calls; waits for the end of its conn
 *
 * Owner: memcache. link_check() asserts what holds in each state. */
#ifndef BACK_MEMCACHELINK_H
#define BACK_MEMCACHELINK_H

#include "back/ketama.h"
#include "back/memcache.h"
#include "net/dial.h"
#include "servertable.h"

/* How long no link is connected to a server after a failed connect. */
#define RETRY_MS 1000

enum memcache_link_state { LINK_CONNECTING, LINK_OPEN, LINK_CLOSING };

/* The part of the first call's reply that is read next. */
enum link_part { PART_LINE, PART_VALUE, PART_TAIL };

/* Why an open link ends; it decides what happens to its calls. */
enum link_ending {
	LINK_GIVEN_UP, /* malformed reply, no memory, or not needed: its calls fail */
	LINK_LATE,     /* a call timed out: the others are sent once more */
	/* The peer closed it after it had delivered replies: calls whose reply has not
	 * begun are sent once more. */
	LINK_STALE,
};

struct memcache_link {
	struct memcache_server *server;
	enum memcache_link_state state;
	enum link_part part;
	struct memcache_reply reply; /* the first call's, valid from PART_VALUE on */
	uint64_t value_left;         /* bytes of the value still to be read */
	struct list calls;           /* in flight, in the order of their replies */
	uint32_t calls_n;
	bool blocked;   /* takes no call until its conn has changed */
	bool idle;      /* counted in server->idle */
	bool replied;   /* it delivered a reply: an end by the peer makes it stale */
	/* Takes no more calls: its server or address was removed, or another link of its
	 * server was stale. */
	bool retired;
	uint64_t tls_identity; /* that its server had when it was dialled */
	unsigned address, addresses_tried;
	struct sockaddr_storage sa; /* of `address` */
	struct buf *out;            /* requests that are not pushed yet */
	struct list unsent;         /* node on memcache->unsent: has `out` */
	struct list rank;     /* node in a bucket */
	struct list all;      /* node on memcache->links_all */
	struct task task;
	struct dial *dial; /* CONNECTING, else NULL */
	struct conn conn;
};

enum server_state {
	SERVER_UP,
	SERVER_DOWN,  /* cannot be connected: its calls are misses */
	SERVER_SHORT, /* we lack descriptors or memory to connect: its calls fail */
};

/* Addresses of one server; further ones of its name are not used. */
#define MEMCACHE_ADDRESSES_MAX 64

struct memcache_server {
	struct member member;
	struct memcache *memcache;
	enum server_state state;
	bool probed_down; /* all of its addresses are down by the health check, or by order */
	bool ordered_down; /* the operator has asked for no requests: registry_entry.order */
	unsigned address; /* index: that worked last, or is tried next */
	unsigned address_n;
	uint64_t retry_ms;   /* no connect before, unless there is no link */
	uint64_t slow_ms;    /* impatient calls are not sent before; 0: it is not slow */
	uint64_t trial_ms;   /* except those of this millisecond */
	uint32_t links;      /* links connecting or open */
	uint32_t connecting; /* links connecting */
	uint32_t idle;       /* open links without a call */
	struct list queue;   /* waiting calls */
	uint32_t waiting;    /* length of `queue` */
	uint32_t queued;     /* of these: more than the connecting links will take */
	struct list scheduled; /* node on memcache->scheduled */
	uint32_t least;        /* buckets before it are empty */
	uint32_t pipeline;
	struct list *buckets; /* `pipeline` of them: open links by calls in flight */
	struct memcache_address {
		struct sockaddr_storage sa;
		socklen_t len;
		bool down; /* by the health check */
	} addresses[MEMCACHE_ADDRESSES_MAX];
	char name[REGISTRY_NAME_MAX]; /* keys are mapped by it, and it is found by it */
};

struct value_piece {
	struct piece piece;
	struct value_piece *next;
};

struct memcache {
	struct memcache_options options;
	struct ketama *ketama;
	struct slab calls, links, pieces;
	struct task task;
	struct list unplaced;  /* new calls */
	struct list expired;   /* calls whose deadline has passed */
	struct list decided;   /* calls whose requesters are to be notified */
	struct list scheduled; /* servers whose queue is to be dispatched */
	struct list unsent;    /* links with requests that are not pushed */
	struct list links_all; /* links in any state */
	bool closing;
	struct server_table table; /* of struct memcache_server */
};

static inline struct memcache_server *memcache_server_at(const struct memcache *m,
							 unsigned at)
{
	return CONTAINER(m->table.members[at], struct memcache_server, member);
}

static inline struct tick *link_tick(const struct memcache_link *l)
{
	return l->server->memcache->options.tick;
}

static inline struct upstream_stats *link_stats(const struct memcache_link *l)
{
	return l->server->memcache->options.stats;
}

/* ---- memcachelink.c ------------------------------------------------------- */

/* Changes the state, and asserts that the diagram allows it. */
void link_set_state(struct memcache_link *l, enum memcache_link_state state);

/* Asserts what holds in each state. */
void link_check(const struct memcache_link *l);

/* Starts one more link. Returns 0, -ENOMEM, or -EMFILE: no descriptor is left. */
int link_connect(struct memcache_server *s);

/* The least busy link that can take a call; NULL: there is none. */
struct memcache_link *link_least(struct memcache_server *s);

/* Sends a call that is on no list. False: no memory, and it was not sent. */
bool link_send(struct memcache_link *l, struct memcache_call *call);

/* Pushes the requests of link_send() to the conn. */
void link_push(struct memcache_link *l);

/* Puts the link into the bucket of its number of calls. */
void link_rank(struct memcache_link *l);

/* Closes an open link; its calls fail or are sent once more. */
void link_break(struct memcache_link *l, enum link_ending why);

/* The link takes no more calls, and ends when it has none. */
void link_retire(struct memcache_link *l);

/* Closes a link in any state; its calls fail. */
void link_close(struct memcache_link *l);

/* ---- memcachedial.c ------------------------------------------------------- */

/* Starts the dial of a new link, to the address that its server prefers. False: no memory. */
bool link_dial(struct memcache_link *l, const struct conn_events *events) MUST_USE;

/* LINK_CONNECTING, and the dial has ended: the link becomes open and the server's calls are sent,
 * or the next address is dialled, or the link ends. */
void link_dial_ended(struct memcache_link *l);

/* Ends a link that is not open yet. */
void link_give_up(struct memcache_link *l);

/* ---- memcacheread.c ------------------------------------------------------- */

/* Reads the replies that have been received. */
void link_read(struct memcache_link *l);

/* Frees the pieces of a value. */
void value_drop(struct memcache_call *call);

/* ---- memcacheserver.c ----------------------------------------------------- */

/* Puts a call into the queue; first: at its head. */
void server_enqueue(struct memcache_server *s, struct memcache_call *call, bool first);

/* Sets the state; server_report_status() publishes it in the registry. */
void server_set_state(struct memcache_server *s, enum server_state state);
void server_report_status(struct memcache_server *s);

/* Takes a call out of the queue. */
void server_dequeue(struct memcache_server *s, struct memcache_call *call);

/* One link more (+1) or less (-1) is being connected. */
void server_count_connecting(struct memcache_server *s, int change);

/* Sends waiting calls as far as links have space, connects more links, and refuses calls
 * above the limit of the queue. */
void server_dispatch(struct memcache_server *s);

/* The same, later in this tick. */
void server_schedule(struct memcache_server *s);

/* If the server is down the call is decided at once: true. Starts a trial connect when it
 * is due. */
bool server_reject_if_down(struct memcache_server *s, struct memcache_call *call);

/* An impatient call was given up: the server is slow. One got its reply: it is not. */
void server_is_late(struct memcache_server *s);
void server_in_time(struct memcache_server *s);

/* If the server is slow an impatient call is decided at once: true. */
bool server_reject_if_slow(struct memcache_server *s, struct memcache_call *call);

/* The first address from `from` on, in a circle, that is not down; `from` if all are. */
unsigned server_next_address(const struct memcache_server *s, unsigned from);

/* Decides all waiting calls: the server is down. */
void server_reject_queue(struct memcache_server *s);

/* A link could not be connected and is no longer counted. */
void server_connect_failed(struct memcache_server *s, int error);

/* ---- memcacheplace.c ------------------------------------------------------ */

bool memcache_servers_init(struct memcache *m); /* false: no memory */
void memcache_servers_done(struct memcache *m);

/* The server of the call's key. */
struct memcache_server *memcache_server_of(const struct memcache *m,
					   const struct memcache_call *call);

/* ---- memcache.c ----------------------------------------------------------- */

/* Sets the outcome: takes the call out of its queue or link, and schedules the
 * notification of its requester. */
void call_decide(struct memcache_call *call, enum call_state state,
		 enum call_failure failure);

#endif
