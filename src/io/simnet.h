/* The simulated network: virtual time, one pseudo-random generator, and listeners and
 * connections with the bytes in transit.
 *
 * It does not know ops. A function that would have to wait stores a struct sim_waiter;
 * simnet_next() returns it when the call should be retried.
 *
 * Every decision depends on the seed and on counters only, never on an address, a hash or
 * a real clock: the same seed gives the same run.
 *
 * A connection has two endpoints. Bytes that one side sends go into the pipe of the other
 * endpoint at once: the first `arrived` bytes of a pipe can be read, the others are in
 * transit. A connection is freed when both endpoints are closed and no event refers to
 * it.
 *
 * Owner: the loop's thread. Memory: tables double and never shrink; lack of memory fails
 * an assertion. */
#ifndef IO_SIMNET_H
#define IO_SIMNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/random.h"

/* The first socket number: far from real ones, so that a number used with the wrong
 * engine is noticed. */
#define SIMNET_FD_FIRST 10000

/* Identifies what waits: simslots.h gives it its meaning. gen 0: none. */
struct sim_waiter {
	uint32_t slot;
	uint32_t gen;
	uint8_t reason;
};

struct endpoint {
	char *data; /* the pipe into this endpoint: a ring of `capacity` bytes */
	uint32_t head, len, capacity;
	uint32_t arrived;         /* of len; the rest is in transit */
	uint64_t read;            /* bytes read from the pipe, ever */
	struct sim_waiter reader; /* waits for bytes, the end or an error */
	struct sim_waiter writer; /* waits for capacity in the other endpoint's pipe */
	uint32_t ops[2];          /* for sim.c: its slots, index + 1; 0: none */
	int fd;                   /* -1: none */
	int error;         /* an errno, returned once by the next send or receive */
	bool closed;       /* by its owner */
	bool fin_sent;     /* this endpoint sends no more */
	bool fin_received; /* the peer sends no more */
	bool reset;        /* by either side */
	bool remote;       /* for sim.c: see sim_set_remote() */
};

enum sim_conn_state { SIM_CONNECTING, SIM_REFUSED, SIM_CONNECTED };

/* ends[0] is the connecting endpoint, ends[1] the accepted one. */
struct sim_conn {
	struct endpoint ends[2];
	struct sim_waiter connector; /* waits for a change of state */
	struct sockaddr_storage to;
	struct sockaddr_storage from; /* the connecting side's address */
	socklen_t from_len;
	enum sim_conn_state state;
	uint32_t next;  /* in the free list: index + 1 */
	uint32_t refs;  /* events that refer to it */
	uint32_t tries; /* SYNs that found the backlog full */
	int result;     /* SIM_REFUSED: a negative errno */
	bool used;
};

enum fd_kind { FD_FREE, FD_LISTENER, FD_ENDPOINT };

/* Meaning of a socket number. */
struct sim_fd {
	enum fd_kind kind;
	uint32_t index; /* of the listener or the connection */
	unsigned side;
};

struct event;
struct sim_listener;

struct simnet {
	uint64_t now_us;
	struct random random;
	uint64_t events_ever;
	struct event *heap;
	size_t heap_n, heap_capacity;
	struct sim_conn **conns;
	uint32_t conns_n, conns_capacity, conns_free; /* free: index + 1, or 0 */
	struct sim_listener *listeners;
	uint32_t listeners_n;
	struct sim_fd *fds;
	uint32_t fds_n, fds_hint, fds_open;
	uint32_t pipe_max;    /* most bytes in a pipe */
	uint32_t port_next;   /* of the next connecting endpoint */
	uint32_t late_one_in; /* one in so many segments is delayed; 0: none */
	uint64_t late_us;     /* the longest extra delay */
};

void simnet_init(struct simnet *net, uint64_t seed, uint64_t now_us);
void simnet_done(struct simnet *net);

/* A pseudo-random number below n; n > 0. */
uint64_t simnet_random(struct simnet *net, uint64_t n);

/* True with probability 1 / one_in. one_in 0: never, and no random number is used. */
static inline bool simnet_chance(struct simnet *net, uint32_t one_in)
{
	return one_in > 0 && simnet_random(net, one_in) == 0;
}

/* The extra delay of a segment, in microseconds; mostly 0. */
static inline uint64_t simnet_extra_delay(struct simnet *net)
{
	return simnet_chance(net, net->late_one_in) ? simnet_random(net, net->late_us)
						    : 0;
}

/* A delay in microseconds: mostly short, sometimes up to 3 ms. */
uint64_t simnet_delay(struct simnet *net);

/* Makes simnet_next() return the waiter when delay_us have passed. */
void simnet_wake_after(struct simnet *net, struct sim_waiter w, uint64_t delay_us);

/* Processes the next event, if there is one at or before until_us, and moves the time to
 * it. True: it was a waiter's, returned in *w. *more: there was an event. */
bool simnet_next(struct simnet *net, uint64_t until_us, struct sim_waiter *w, bool *more);

/* Returns a socket number, -EADDRINUSE or -EINVAL. */
int simnet_listen(struct simnet *net, const struct sockaddr *addr, socklen_t len,
		  int backlog);

/* Asserts that the socket number is in use. */
struct sim_fd *simnet_fd(struct simnet *net, int fd);

/* Asserts that the connection exists. */
struct sim_conn *simnet_conn(struct simnet *net, uint32_t index);

/* Starts to connect; returns the connection. w is woken when its state has changed. */
uint32_t simnet_connect(struct simnet *net, const struct sockaddr *addr, socklen_t len,
			struct sim_waiter w);

/* Takes the oldest connection from the listener's backlog. -EAGAIN: there is none; w is
 * woken when there may be one. Each connection wakes one waiter. */
int64_t simnet_accept(struct simnet *net, uint32_t listener, struct sim_waiter w);

/* Assigns the lowest free socket number to an endpoint and returns it. */
int simnet_assign_fd(struct simnet *net, uint32_t conn, unsigned side);

/* Sends a part of the bytes; returns their number or a negative errno. -EAGAIN: the pipe
 * is full; w is woken when it is not. */
int64_t simnet_send(struct simnet *net, uint32_t conn, unsigned side,
		    const struct iovec *iov, unsigned iov_n, struct sim_waiter w);

/* Receives the bytes that have arrived, at most n; returns their number, 0 at the end of
 * the stream, or a negative errno. -EAGAIN: none; w is woken when that changes. */
int64_t simnet_recv(struct simnet *net, uint32_t conn, unsigned side, char *bytes,
		    size_t n, struct sim_waiter w);

/* False: simnet_recv() would return -EAGAIN. */
bool simnet_readable(struct simnet *net, uint32_t conn, unsigned side);

/* The endpoint to which this socket is connected. */
const struct endpoint *simnet_peer(struct simnet *net, int fd);

/* Sends FIN, unless it was sent or the connection reset. */
void simnet_shutdown(struct simnet *net, uint32_t conn, unsigned side);

/* Closes an endpoint and frees its number at once. With unread bytes, or if `reset`, the
 * peer gets a reset. */
void simnet_close(struct simnet *net, uint32_t conn, unsigned side, bool reset);

/* Another socket number of the same listener. */
int simnet_dup_listener(struct simnet *net, int fd);

/* Forgets a waiter of simnet_accept(), if it was not woken yet. */
void simnet_stop_waiting(struct simnet *net, int fd, struct sim_waiter w);

/* True: the backlog of the listener is not empty. */
bool simnet_backlog_waits(struct simnet *net, int fd);

/* Closes a listener. With its last socket number, resets the connections in its backlog. */
void simnet_close_listener(struct simnet *net, int fd);

/* ---- simpipe.c: the bytes of a pipe, for simnet.c ---------------------------- */

/* Appends n bytes to the pipe into e, which grows as needed. */
void pipe_write(struct endpoint *e, const char *bytes, uint32_t n);

/* Removes the first n bytes, n <= e->len. bytes: where to copy them; NULL: nowhere. */
void pipe_read(struct endpoint *e, char *bytes, uint32_t n);

#endif
