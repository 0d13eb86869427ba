/* The epoll engine: declarations that its files share.
 *
 *   epoll.c      receiving, sending, writing, the wait
 *   epollsock.c  registering, accepting, connecting, cancelling, closing
 *
 * The engine makes completions out of readiness: an op is attempted; after EAGAIN it is
 * kept until an edge-triggered event, and attempted again. A socket is registered once.
 *
 * Owner: the loop's thread. */
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

/* A queue of descriptors, linked by sock->next_ready: an index is smaller than list
 * pointers, and there is a struct sock for each descriptor. */
struct ready_queue {
	int first, last; /* -1: empty */
};

/* State of a descriptor. It is registered once, edge-triggered; from then on `readable`
 * and `writable` say which attempts are worthwhile. No epoll_ctl() per op. */
struct sock {
	struct io_op *recv; /* the receive in flight */
	struct io_op *send; /* the send or connect in flight */
	int next_ready;     /* if `ready`: the next descriptor in the ready queue */
	uint16_t generation; /* number of closes of this descriptor */
	bool ready : 1;      /* in the ready queue */
	bool registered : 1;
	bool readable : 1;  /* false: a receive would fail with EAGAIN */
	bool writable : 1;  /* false: a send would fail with EAGAIN */
	bool ending : 1;    /* FIN or error seen: no more edges follow */
	bool listening : 1; /* a listener */
};

/* Bits of op->engine_u16. */
enum {
	EPOLL_SILENT = 1,    /* a send with IO_SILENT */
	EPOLL_SHORTENED = 2, /* a send already counted in short_sends */
	EPOLL_NO_BUFFER = 4, /* a receive on epoll->buffer_waiters */
};

struct epoll {
	struct io_loop loop;
	int fd;
	int wake_fd;
	atomic_bool woken;             /* wake_fd was written since the last wait */
	bool must_not_wait;            /* a send has ended whose owner waits for it */
	struct list sends;             /* sends started in this tick */
	struct list buffer_waiters[2]; /* receives; index: may_use_reserve */
	struct list accepts;           /* accepts in flight, of all listeners */
	struct ready_queue ready;      /* sockets to attempt; may include closed ones */
	struct write_thread *write_thread; /* NULL until needed, or from the start */
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

/* Registers a stream socket if it is not yet registered. 0 or a negative errno. */
int epoll_register(struct epoll *e, struct sock *s, int fd);

void epoll_accept(struct io_loop *loop, struct io_accept *op);
void epoll_connect(struct io_loop *loop, struct io_connect *op);
void epoll_cancel(struct io_loop *loop, struct io_op *op);
void epoll_close(struct io_loop *loop, int fd, bool reset);
void epoll_shutdown(struct io_loop *loop, int fd);
bool epoll_wakeup_lost(struct io_loop *loop, int listener);

/* To be called when a listener is readable: attempts the accepts in flight. */
void epoll_accept_ready(struct epoll *e, struct sock *s, int fd);

/* To be called when a connecting socket has become writable or has failed. */
void epoll_connect_ready(struct epoll *e, struct sock *s, struct io_connect *op);

#endif
