/* The world of the simulation: virtual time, one source of chance, and a network
 * of connections, listeners and the bytes on their way. Knows nothing of ops:
 * whoever waits for something leaves a ticket, and world_next() hands it back
 * when there is reason to look again.
 *
 * Every decision comes from the seed and from counters; never from an address, a
 * hash or a real clock. The same seed is the same history.
 *
 * A connection is a link with two ends. What one side sends stands in the other
 * end's line from then on: the first `arrived` bytes of it can be read, the rest
 * are still on their way. A link stays until both ends are closed and nothing is
 * on its way, so that an event may name it. */
#ifndef IO_WORLD_H
#define IO_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* The first socket number. Far from the real ones, so that a mix-up shows. */
#define WORLD_FD_FIRST 10000

/* Who waits. Handed back as it was given; gen 0: nobody. */
struct ticket {
	uint32_t slot;
	uint32_t gen;
	uint8_t why;
};

struct end {
	char *data; /* a ring of `room` bytes */
	uint32_t head, len, room;
	uint32_t arrived;     /* of len; the rest is on its way */
	uint64_t read;        /* bytes of it, ever */
	struct ticket reader; /* waits for bytes, an end or an error */
	struct ticket writer; /* waits for room in the other end's line */
	uint32_t ops[2];      /* for the ops: slots in flight here + 1, or 0 */
	int fd;               /* -1: has none */
	int error;            /* told once, by the next send or receive */
	bool closed;          /* by its owner */
	bool shut;            /* no more will be sent from here */
	bool fin;             /* the peer's end was heard */
	bool dead;            /* reset by either side */
	bool outside;         /* for the ops: its memory is another machine's */
};

enum link_state { LINK_CONNECTING, LINK_REFUSED, LINK_CONNECTED };

/* end[0] connected, end[1] is accepted. */
struct link {
	struct end end[2];
	struct ticket connector;
	struct sockaddr_storage to;
	struct sockaddr_storage from; /* the connecting side's address */
	socklen_t from_len;
	enum link_state state;
	uint32_t next; /* in the free list */
	uint32_t refs; /* events that name it */
	uint32_t tries;
	int result; /* LINK_REFUSED: why */
	bool used;
};

enum fd_kind { FD_FREE, FD_LISTENER, FD_END };

/* What a socket number stands for. */
struct fd {
	enum fd_kind kind;
	uint32_t index; /* of the listener, or of the link */
	unsigned side;
};

struct event;
struct listener;

struct world {
	uint64_t now_us;
	uint64_t random;
	uint64_t events_ever;
	struct event *heap;
	size_t heap_n, heap_room;
	struct link **links;
	uint32_t links_n, links_room, links_free; /* free: index + 1, or 0 */
	struct listener *listeners;
	uint32_t listeners_n;
	struct fd *fds;
	uint32_t fds_n, fds_hint, fds_open;
	uint32_t line_max;  /* most bytes in one direction of a connection */
	uint32_t port_next; /* of the connecting sides */
	uint32_t late_one_in; /* one in so many segments is late; 0: none */
	uint64_t late_us;     /* by so much at most */
};

void world_init(struct world *w, uint64_t seed, uint64_t now_us);
void world_done(struct world *w);

/* A number below n, by chance; n > 0. */
uint64_t world_draw(struct world *w, uint64_t n);

/* True one time in so many; one_in 0: never, and nothing is drawn. */
static inline bool world_befalls(struct world *w, uint32_t one_in)
{
	return one_in > 0 && world_draw(w, one_in) == 0;
}

/* How much longer than usual a segment takes. */
static inline uint64_t world_late(struct world *w)
{
	return world_befalls(w, w->late_one_in) ? world_draw(w, w->late_us) : 0;
}

/* How long something takes: mostly nothing much, sometimes milliseconds. */
uint64_t world_delay(struct world *w);

/* Has world_next() hand the ticket back when delay_us have gone by. */
void world_call(struct world *w, struct ticket t, uint64_t delay_us);

/* Goes on to the next event, if there is one at or before until_us. Returns true
 * and the ticket if it is one; else *more says if there was an event at all. */
bool world_next(struct world *w, uint64_t until_us, struct ticket *t, bool *more);

/* A socket number, or -EADDRINUSE, -EINVAL. */
int world_listen(struct world *w, const struct sockaddr *addr, socklen_t len,
		 int backlog);

/* Asserts that the number is in use. */
struct fd *world_fd(struct world *w, int fd);

struct link *world_link(struct world *w, uint32_t index);

/* Begins a connection; t is called when its state has changed. */
uint32_t world_connect(struct world *w, const struct sockaddr *addr, socklen_t len,
		       struct ticket t);

/* The oldest connection waiting there, which now has an owner, or -EAGAIN: t is
 * called when there may be one. */
int64_t world_accept(struct world *w, uint32_t listener, struct ticket t);

/* Gives the end the lowest free number. */
int world_number(struct world *w, uint32_t link, unsigned side);

/* Some of the bytes: their count, a negative errno, or -EAGAIN: t is called. */
int64_t world_send(struct world *w, uint32_t link, unsigned side, const struct iovec *iov,
		   unsigned iov_n, struct ticket t);

/* As many bytes as there are up to n, 0 at the end, a negative errno, or -EAGAIN:
 * t is called. */
int64_t world_recv(struct world *w, uint32_t link, unsigned side, char *room, size_t n,
		   struct ticket t);

/* world_recv() would not say -EAGAIN. */
bool world_readable(struct world *w, uint32_t link, unsigned side);

/* The other end of this socket. */
const struct end *world_peer(struct world *w, int fd);

void world_shutdown(struct world *w, uint32_t link, unsigned side);

/* Frees the number at once. With bytes unread, or reset: the peer sees a reset. */
void world_close(struct world *w, uint32_t link, unsigned side, bool reset);

void world_close_listener(struct world *w, int fd);

#endif
