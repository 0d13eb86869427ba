/* The servers of one upstream, on one worker: chooses the server and the connection of
 * each request, opens connections, keeps idle ones, and queues requests.
 *
 * A request leases an origin. In this code an origin is a connection to a server, not the
 * server itself. The upstream owns its origins, also while they are leased. `struct lease`
 * is embedded in the requester.
 *
 *   lease    NONE ────────▶ READY (idle origin), CONNECTING, WAITING (queue), FAILED
 *            WAITING ─────▶ READY, CONNECTING, FAILED
 *            CONNECTING ──▶ READY; or with the next server: READY, CONNECTING, WAITING;
 *                           FAILED
 *            any ─────────▶ NONE, by upstream_return()
 *   origin   CONNECTING ──▶ LEASED ◀──▶ IDLE
 *            any ─────────▶ ENDING
 *
 * Idle origins are reused last in, first out: the most recently used first, so that the
 * rest can age out. They end at `idle_timeout`, or shortly before the time that the
 * server announced (Keep-Alive): a request that crosses the server's close would be lost.
 *
 * A *held* origin was authenticated (lease.hold_on_return, upstream_hold()), or began with a
 * header of the PROXY protocol (lease.preamble), so only one client connection, its holder, may
 * use it. Between leases it is on the holder's list
 * (lease.held_list); a holder has one at most for each upstream. It counts and ages as
 * other idle origins do, and ends if another request needs its connection.
 *
 * A server is one address of one configured name (config_upstream.servers): a name with
 * three addresses is three servers, each with the weight of the name. A server that is
 * removed *leaves*: it gets no new request, its idle origins end, the leased ones finish.
 * The configuration is copied: nothing here points into it.
 *
 * TLS. A connection to a server that speaks TLS is open when the certificate of the server was
 * verified; a handshake that fails is a connect that fails. Idle origins end when the settings of
 * TLS change (back/servertls.h).
 *
 * Limits. A lease tries each server once. With more than TRIED_MAX servers the set
 * `tried` cannot hold all of them, so servers tried are counted: at most as many as there
 * are servers, or TRIED_MAX if only servers that are down are left. A server to which a
 * connect failed (unless the cause was a shortage of ours) is down for UPSTREAM_DOWN_MS:
 * it is used only if no other is left. If all servers are full (`connections`,
 * `requests`) the lease waits in the queue, which has a limit and a timeout.
 *
 * Owner: one worker. Upstreams of other workers share the registry (permits, status) and
 * the quotas. Errors: see enum lease_failure. */
#ifndef BACK_UPSTREAM_H
#define BACK_UPSTREAM_H

#include "back/registry.h"
#include "back/tried.h"
#include "base/quota.h"
#include "base/stats.h"
#include "config/config.h"
#include "message/http1.h"
#include "net/dial.h"

/* How long a server is down to which a connect failed. */
#define UPSTREAM_DOWN_MS 1000

/* Servers of one upstream. Each configured name gets one at least. */
#define UPSTREAM_SERVERS_MAX CONFIG_SERVERS_MAX

struct upstream;
struct server;
struct lease;

enum origin_state { ORIGIN_CONNECTING, ORIGIN_LEASED, ORIGIN_IDLE, ORIGIN_ENDING };

/* An upstream connection. */
struct origin {
	struct conn conn;  /* opened by the dial; closing or dead in ORIGIN_ENDING */
	struct dial *dial; /* CONNECTING, else NULL */
	struct http1 http1;    /* its stream; idle: the deadline is its own */
	struct task task;      /* run while no request has the stream */
	struct list node;      /* on server->idle, or server->held */
	struct list held_node; /* idle and held: on its holder's list */
	bool held;             /* authenticated: only its holder may use it */
	uint64_t tls_identity; /* that its server had when it was dialled */
	bool introduced;       /* it began with a preamble */
	struct server *server;
	struct lease *lease;   /* NULL: idle or ending */
	uint8_t state;         /* enum origin_state */
	uint64_t requests;     /* leases so far */
	uint64_t idle_since_ms;
	uint32_t idle_s;       /* idle time that its server announced; UINT32_MAX: none */
};

enum lease_state { LEASE_NONE, LEASE_WAITING, LEASE_CONNECTING, LEASE_READY, LEASE_FAILED };

/* When a request got to its server, in tick->now_us; 0: not yet. Of several servers that are
 * tried, the last one's. */
struct lease_times {
	uint64_t asked;     /* of the requester: it began to want a connection */
	uint64_t placed;    /* a server and a connection to it were chosen: the queue has ended */
	uint64_t connected; /* the connection was open, and its TLS handshake began; no TLS: 0 */
	uint64_t ready;     /* the connection is the requester's */
};

enum lease_failure {
	LEASE_NO_SERVER,       /* no name of the upstream has an address */
	LEASE_ORDERED_DOWN,    /* an operator has taken all servers down: registry_entry.order */
	LEASE_REFUSED,         /* no server accepted the connection */
	LEASE_FORBIDDEN,       /* … the last error was EACCES or EPERM */
	LEASE_UNROUTABLE,      /* … there was no route to it */
	LEASE_NO_SOCKET,       /* … we lacked a descriptor or a port */
	LEASE_CONNECT_TIMEOUT, /* … the last connect took longer than connect_timeout */
	LEASE_TLS,             /* … the last handshake failed: lease.tls_fault */
	LEASE_QUEUE_FULL,
	LEASE_QUEUE_TIMEOUT,
	LEASE_NO_MEMORY,
};

/* A request's use of an origin, whose stream it has while it is READY. Embedded in the
 * requester; its address must not change until upstream_return(). */
struct lease {
	struct upstream *upstream;
	struct origin *origin; /* the upstream's: READY or CONNECTING */
	struct stream *stream; /* LEASE_READY: the requester's, until upstream_return() */
	uint8_t state;          /* enum lease_state */
	uint8_t failure;        /* enum lease_failure */
	uint8_t tls_fault;      /* enum tls_fault, of LEASE_TLS */
	bool reused;            /* the origin served a request before: it may be stale */
	bool new_only;          /* only a new connection will do */
	bool tried_has_avoided; /* `tried` has servers that were not tried, only avoided */
	bool has_permit;        /* of its server, which has a limit of `requests` */
	/* Set by the requester before upstream_lease(). */
	/* For `balance: hash`; with `sticky`: the server that the request names; 0: none */
	uint64_t hash;
	struct list *held_list; /* held origins, which are preferred; NULL: none */
	bool hold_on_return;    /* the origin is to be held when it is returned */
	/* Sent first on a new connection, which is then for the same client only: hold_on_return
	 * is set. The requester's, until the lease is READY or returned; NULL: nothing. */
	struct buf *preamble;
	struct lease_times *times; /* is filled; NULL: nobody asks */
	/* The upstream's. */
	uint64_t queued_since_ms;
	struct task *waiter; /* run when the state changes, and on events of the origin */
	struct list node;    /* in the queue */
	struct timer timer;  /* in the queue */
	uint32_t tried_n;    /* servers tried */
	struct tried tried;  /* these servers, and the servers to be avoided; valid after
				  upstream_return() too */
};

struct upstream_options {
	struct tick *tick;
	const struct config_upstream *config; /* is copied */
	struct upstream_stats *stats;
	struct quota *descriptors; /* of origins, process-wide */
	struct quota *queue_quota; /* of waiting leases, process-wide */
	struct registry *registry; /* process-wide; NULL: one of its own */
	struct slab *origins;      /* of struct origin, the worker's; NULL: one of its own */
	unsigned worker;           /* its number in the registry */
	/* n descriptors are wanted and none is left. The owner closes idle connections
	 * elsewhere and calls upstream_schedule_queue() soon. May be NULL. */
	void (*short_of_descriptors)(void *owner, uint32_t n);
	void *owner;
	uint32_t window; /* bytes, of inbox and of outbox */
};

/* NULL: no memory. */
struct upstream *upstream_new(const struct upstream_options *options);

/* Ends one idle origin, the least recently used of a server; a held one only if no other
 * is idle. False: none is idle. */
bool upstream_evict(struct upstream *u);

/* Looks at the queue again in this tick; to be called when descriptors were freed. */
void upstream_schedule_queue(struct upstream *u);

/* Bytes of inbox and outbox of connections that are opened from now on. */
void upstream_set_window(struct upstream *u, uint32_t window);

/* Ends idle origins now, and each other one when it is returned. New leases fail, and so do
 * those in the queue; a lease that is connecting gets its connection or fails, without another
 * try. After a reload it is called when the last request that could use the upstream has ended
 * (proxy/generation.h), so that no request notices. upstream_free() may follow when
 * upstream_idle(). */
void upstream_close(struct upstream *u);
bool upstream_idle(const struct upstream *u); /* no origin is left */
void upstream_free(struct upstream *u);

/* Frees unused memory; once a second. */
void upstream_trim(struct upstream *u);

struct upstream_stats *upstream_stats(struct upstream *u);

/* Sets the addresses of a configured name, by its index; n >= 1. Servers whose addresses
 * stay keep their connections and state. False: no memory for a new server; old servers
 * of the name stay instead, and the caller calls again. */
bool upstream_resolved(struct upstream *u, unsigned index,
		       const struct config_address *addresses, unsigned n);

/* The operator has given orders about servers: registry_entry.order and weight_order. */
void upstream_ordered(struct upstream *u);

/* Sets the result of a health check. An address that is no server's is ignored. */
void upstream_probed(struct upstream *u, unsigned index, const struct config_address *address,
		     bool up);

/* Allocates what upstream_reconfigure() needs to take over the names of that
 * configuration, so that its indices are valid afterwards even if memory for servers is
 * short. False: no memory, and nothing has changed. */
bool upstream_prepare(struct upstream *u, const struct config_upstream *config);

/* Takes over another configuration of the same upstream (name and protocol). Servers
 * whose name and address stay keep their connections and state (but for idle connections under
 * other settings of TLS); so do all servers of a name that could not be resolved. False: no
 * memory for all new servers, as with upstream_resolved(); the caller calls again. */
bool upstream_reconfigure(struct upstream *u, const struct config_upstream *config);

/* Asserts that the counts of the upstream and its servers agree with their origins, leases and
 * ranks. O(servers + queue). */
void upstream_check(const struct upstream *u);

/* Asserts what holds in each state. */
void lease_check(const struct lease *l);

/* Begins the head or trailers of a request, before it is known which server it is for: the block
 * can be sent on the stream of each lease of this upstream. `size`: as for stream_begin_block(). */
void upstream_begin_block(const struct upstream *u, struct field_block *b, size_t size);

/* The name of the server of a lease that is READY. Valid while the lease is READY, and
 * until the end of the tick in which it is returned. */
const char *lease_server(const struct lease *l);

/* Of a lease that is READY: the histograms of its server; NULL: there are none. */
struct phases *lease_phases(const struct lease *l);

/* Of a lease that is READY, of an upstream with `sticky`: the value that names its server in
 * cookies. 0: the upstream is not sticky. */
uint64_t lease_sticky(const struct lease *l);

/* True: this value names a server of the upstream that is neither down nor ejected. */
bool upstream_sticks(const struct upstream *u, uint64_t value);

/* Of a lease that is READY: the fault that ended its TLS, as when the server refuses our
 * certificate after its handshake (RFC 8446 4.4.2.4). NONE: there is none, or the connection was
 * closed. */
enum tls_fault lease_tls_fault(const struct lease *l);

/* Leases an origin. On return the state is READY, WAITING, CONNECTING or FAILED; the
 * waiter is run when it changes. Before the call the lease is zero except for hash,
 * held_list, hold_on_return, preamble and times, or it was returned by upstream_return(). avoid:
 * servers that are used only if no other has capacity; NULL: none.
 * new_only: do not reuse a connection, because an idle one was stale or may be. */
void upstream_lease(struct upstream *u, struct lease *lease, const struct tried *avoid,
		    bool new_only, struct task *waiter);

/* Whether there is a server that was not tried and is neither down nor ejected. */
bool upstream_has_other(const struct upstream *u, const struct tried *tried);

/* Whether such a server has capacity now and is no backup. */
bool upstream_has_spare(const struct upstream *u, const struct tried *tried);

/* The origin of a lease that is READY is held from now on. */
void upstream_hold(struct lease *lease);

/* Ends all origins on a holder's list. */
void upstream_close_held(struct list *held);

/* Of a lease that is READY: how long its server keeps an idle connection (Keep-Alive), in seconds;
 * UINT32_MAX: it did not say. */
void upstream_announced_idle(struct lease *lease, uint32_t idle_s);

/* Results, by which servers are ejected. Of a lease that is READY: a response head was
 * received, and after it the whole response, or only a part; or no response. Of a lease
 * that is CONNECTING: upstream_failed() if the request's time is up. An end that says
 * nothing about the server, as when the client left, is not reported. */
void upstream_responded(struct lease *lease, int status);
void upstream_completed(struct lease *lease);
void upstream_truncated(struct lease *lease, int status);
void upstream_failed(struct lease *lease);

/* Ends the lease, in any state. reusable: the response was complete, and nothing is left
 * to send or to read. */
void upstream_return(struct lease *lease, bool reusable);

#endif
