/* The epoll engine: what its files share.
 *
 *   epoll.c      receiving, sending, writing, the wait
 *   epollsock.c  how sockets come and go: watching, accepting, connecting, closing
 *
 * Completions are made here: tried, parked on EAGAIN, tried again when an edge says
 * so. A socket is registered once. */
#ifndef IO_EPOLL_H
#define IO_EPOLL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "engine.h"
#include "fds.h"

struct write_thread;

#define EPOLL_EVENTS_MAX 512

/* A line of descriptors, by sock->next_ready: a table of all descriptors is to be small. */
struct ready {
	int first, last; /* -1: none */
};

/* What is known of a descriptor. Registered once, edge-triggered, and from then on the
 * two flags say what is worth trying: no epoll_ctl per operation. */
struct sock {
	struct io_op *recv; /* the receive in flight */
	struct io_op *send; /* the send or connect in flight */
	int next_ready;     /* if it is ready: the descriptor after it in that line */
	uint16_t generation; /* counts closes of this number */
	bool ready : 1;      /* in the line of those that have something to try */
	bool registered : 1;
	bool readable : 1; /* maybe */
	bool writable : 1; /* maybe */
	bool ending : 1;   /* a short read is not the end of what there is */
	bool listens : 1;
};

/* Bits of op->flags. */
enum {
	EPOLL_SILENT = 1,    /* nobody waits for this send */
	EPOLL_SHORTENED = 2, /* a send that was counted as short */
	EPOLL_NO_BUFFER = 4, /* a receive on epoll->starved */
};

struct epoll {
	struct io_loop loop;
	int fd;
	int wake_fd;
	atomic_bool woken;     /* wake_fd was written since the last wait */
	bool must_not_wait;    /* something was completed that somebody waits for */
	struct list sends;     /* started in this tick */
	struct list starved
		[2]; /* receives waiting for buffers; [true]: the may_use_reserve */
	struct list accepts;   /* accepts in flight, of all listeners */
	struct ready ready;    /* sockets with something to try; closed ones stay in it */
	struct write_thread
		*write_thread; /* made when something is first written, or before */
	struct fds socks;
	struct epoll_event events[EPOLL_EVENTS_MAX];
};

static inline struct epoll *epoll_of(struct io_loop *loop)
{
	return CONTAINER(loop, struct epoll, loop);
}

static inline void epoll_count_syscall(struct epoll *e)
{
	stat_add(&e->loop.stats.syscalls, 1);
}

static inline struct sock *epoll_sock(struct epoll *e, int fd)
{
	return fds_at(&e->socks, fd);
}

static inline void epoll_make_ready(struct epoll *e, struct sock *s, int fd)
{
	if (s->ready)
		return;
	s->ready = true;
	s->next_ready = -1;
	if (e->ready.first < 0)
		e->ready.first = fd;
	else
		epoll_sock(e, e->ready.last)->next_ready = fd;
	e->ready.last = fd;
}

/* ---- epollsock.c ---- */

/* Registers a stream socket, unless it is. 0 or a negative errno. */
int epoll_watch(struct epoll *e, struct sock *s, int fd);

void epoll_accept(struct io_loop *loop, struct io_accept *op);
void epoll_connect(struct io_loop *loop, struct io_connect *op);
void epoll_cancel(struct io_loop *loop, struct io_op *op);
void epoll_close(struct io_loop *loop, int fd, bool reset);
void epoll_shutdown(struct io_loop *loop, int fd);

/* A listener is readable: serves the accepts in flight. */
void epoll_accept_ready(struct epoll *e, struct sock *s, int fd);

/* A connecting socket has become writable, or failed. */
void epoll_connect_ready(struct epoll *e, struct sock *s, struct io_connect *op);

#endif
