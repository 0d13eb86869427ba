#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fds.h"
#include "writer.h"

#define EVENTS_MAX 512

/* Fairness: what one socket may do in one tick; the rest goes on in the next. */
#define RECV_BUFS_MAX 16
#define ACCEPTS_MAX 64

/* What is known of a descriptor. Registered once, edge-triggered, and from then on the
 * two flags say what is worth trying: no epoll_ctl per operation. */
struct sock {
	struct list ready;   /* on epoll->ready: has something to try */
	struct io_op *recv;  /* the receive in flight */
	struct io_op *send;  /* the send or connect in flight */
	int fd;
	uint32_t generation; /* counts closes of this number */
	bool known;          /* fd and ready are set */
	bool registered;
	bool readable;       /* maybe */
	bool writable;       /* maybe */
	bool ending;         /* a short read is not the end of what there is */
	bool listens;
};

/* Bits of op->flags. */
enum {
	EPOLL_SILENT = 1,    /* nobody waits for this send */
	EPOLL_SHORTENED = 2, /* a send that was counted as short */
	EPOLL_STARVED = 4,   /* a receive on epoll->starved */
};

struct epoll {
	struct io_loop loop;
	int fd;
	int wake_fd;
	atomic_bool woken;    /* wake_fd was written since the last wait */
	bool must_not_wait;   /* something was completed that somebody waits for */
	struct list sends;    /* started in this tick */
	struct list starved;  /* receives waiting for buffers */
	struct list accepts;  /* accepts in flight, of all listeners */
	struct list ready;    /* sockets with something to try */
	struct writer *writer; /* made when something is first written */
	struct fds socks;
	struct epoll_event events[EVENTS_MAX];
};

static struct epoll *epoll_of(struct io_loop *loop)
{
	return CONTAINER(loop, struct epoll, loop);
}

static void count_syscall(struct epoll *e)
{
	stat_add(&e->loop.stats.syscalls, 1);
}

static struct sock *sock_at(struct epoll *e, int fd)
{
	struct sock *s = fds_at(&e->socks, fd);

	if (!s->known) {
		list_init(&s->ready);
		s->fd = fd;
		s->known = true;
	}
	return s;
}

/* The first wait after this reports what is already there. Sending is tried first. */
static int watch(struct epoll *e, struct sock *s, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events | EPOLLET };

	if (s->registered)
		return 0;
	event.data.u64 = (uint64_t)s->generation << 32 | (uint32_t)fd;
	count_syscall(e);
	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	s->registered = true;
	s->readable = false;
	s->writable = true;
	s->ending = false;
	return 0;
}

static int watch_stream(struct epoll *e, struct sock *s, int fd)
{
	return watch(e, s, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
}

static void make_ready(struct epoll *e, struct sock *s)
{
	if (list_empty(&s->ready))
		list_append(&e->ready, &s->ready);
}

/* ---- receiving -------------------------------------------------------------- */

static void epoll_recv(struct io_loop *loop, struct io_recv *op)
{
	struct epoll *e = epoll_of(loop);
	struct sock *s = sock_at(e, op->op.fd);
	int res = watch_stream(e, s, op->op.fd);

	if (res < 0) {
		loop_finish_early(loop, &op->op, res);
		return;
	}
	ASSERT(!s->recv);
	s->recv = &op->op;
	stat_add(&loop->stats.recv_arms, 1);
	if (s->readable)
		make_ready(e, s);
}

static void recv_ended(struct epoll *e, struct sock *s, struct io_recv *op, int res)
{
	s->recv = NULL;
	loop_finish(&e->loop, &op->op, res);
}

static void starve(struct epoll *e, struct io_op *op)
{
	stat_add(&e->loop.stats.starved, 1);
	op->flags |= EPOLL_STARVED;
	list_append(&e->starved, &op->node);
}

/* One try with a buffer in hand. Returns the bytes received, 0 if there is no more to
 * be had now. The callee may have closed the socket or started anew by then. */
static int recv_once(struct epoll *e, struct sock *s, struct io_recv *op, struct buf *b)
{
	ssize_t n = recv(op->op.fd, b->data, b->size, MSG_DONTWAIT);
	int error = errno;

	count_syscall(e);
	stat_add(&e->loop.stats.submissions, 1);
	if (n > 0) {
		/* Less than asked for: the next bytes will be an edge of their own. */
		if (n < b->size && !s->ending)
			s->readable = false;
		if ((size_t)n >= op->window)
			s->recv = NULL;
		loop_deliver(&e->loop, op, b, (uint32_t)n);
		return (int)n;
	}
	buf_put(b);
	if (n < 0 && error == EINTR)
		return 1;
	if (n < 0 && error == EAGAIN)
		s->readable = false;
	else
		recv_ended(e, s, op, n == 0 ? 0 : -error);
	return 0;
}

static void recv_ready(struct epoll *e, struct sock *s)
{
	uint32_t generation = s->generation;

	for (int i = 0; i < RECV_BUFS_MAX; i++) {
		struct io_op *op = s->recv;
		struct buf *b;

		if (!op || !s->readable || op->flags & EPOLL_STARVED)
			return;
		b = buf_take(&e->loop.bufs);
		if (!b) {
			starve(e, op);
			return;
		}
		if (recv_once(e, s, op_recv(op), b) == 0 || s->generation != generation)
			return;
	}
	if (s->recv && s->readable)
		make_ready(e, s);
}

/* As many as there are buffers for, oldest first. */
static void retry_starved(struct epoll *e)
{
	const struct buf_pool *pool = &e->loop.bufs;
	uint32_t n = pool->free_n + (pool->limit - pool->count);
	struct list *node;

	for (; n > 0 && (node = list_pop(&e->starved)); n--) {
		struct io_op *op = LIST_ITEM(node, struct io_op, node);

		op->flags = 0;
		make_ready(e, sock_at(e, op->fd));
	}
}

/* ---- sending ---------------------------------------------------------------- */

/* Tried when the next wait begins, so that what one tick has to say to many sockets
 * is said together, and done follows from the wait (L2). */
static void epoll_send(struct io_loop *loop, struct io_send *op, bool silent)
{
	struct epoll *e = epoll_of(loop);
	struct sock *s = sock_at(e, op->op.fd);

	ASSERT(!s->send);
	s->send = &op->op;
	op->op.flags = silent ? EPOLL_SILENT : 0;
	list_append(&e->sends, &op->op.node);
}

static void send_ended(struct epoll *e, struct sock *s, struct io_send *op, int res)
{
	if (res >= 0 && op->op.flags == EPOLL_SILENT)
		stat_add(&e->loop.stats.silent_sends, 1);
	else
		e->must_not_wait = true;
	s->send = NULL;
	loop_finish(&e->loop, &op->op, res);
}

/* Took a part or nothing: waits for the edge that says there is room. */
static void park_send(struct epoll *e, struct sock *s, struct io_send *op)
{
	s->writable = false;
	if (!(op->op.flags & EPOLL_SHORTENED))
		stat_add(&e->loop.stats.short_sends, 1);
	op->op.flags |= EPOLL_SHORTENED;
}

static void try_send(struct epoll *e, struct sock *s, struct io_send *op)
{
	struct msghdr msg;
	ssize_t n;

	for (;;) {
		msg = (struct msghdr){ .msg_iov = op->iov, .msg_iovlen = op->iov_n };
		n = sendmsg(op->op.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		count_syscall(e);
		if (n >= 0 && (size_t)n == op->left) {
			send_ended(e, s, op, (int)op->len);
			return;
		}
		if (n < 0 && errno == EAGAIN) {
			park_send(e, s, op);
			return;
		}
		if (n < 0 && errno != EINTR) {
			send_ended(e, s, op, -errno);
			return;
		}
		if (n > 0)
			send_advance(op, (size_t)n);
	}
}

/* Those that were started before this; what their done starts waits its turn. */
static void run_sends(struct epoll *e)
{
	struct list due;
	struct list *node;

	list_init(&due);
	list_move(&due, &e->sends);
	while ((node = list_pop(&due))) {
		struct io_send *op = op_send(LIST_ITEM(node, struct io_op, node));
		struct sock *s = sock_at(e, op->op.fd);
		int res = watch_stream(e, s, op->op.fd);

		stat_add(&e->loop.stats.submissions, 1);
		if (res < 0)
			send_ended(e, s, op, res);
		else if (!s->writable)
			park_send(e, s, op);
		else
			try_send(e, s, op);
	}
}

/* ---- accepting -------------------------------------------------------------- */

static void epoll_accept(struct io_loop *loop, struct io_accept *op)
{
	struct epoll *e = epoll_of(loop);
	int fd = op->op.fd, flags;
	struct sock *s = sock_at(e, fd);
	int res = 0;

	if (!s->registered) {
		/* An accept of what somebody else got must not block. */
		flags = fcntl(fd, F_GETFL);
		if (flags >= 0 && !(flags & O_NONBLOCK))
			fcntl(fd, F_SETFL, flags | O_NONBLOCK);
		s->listens = true;
		res = watch(e, s, fd, EPOLLIN);
	}
	if (res < 0) {
		loop_finish_early(loop, &op->op, res);
		return;
	}
	list_append(&e->accepts, &op->op.node);
	if (s->readable)
		make_ready(e, s);
}

static struct io_accept *next_accept(struct epoll *e, int fd)
{
	LIST_EACH(&e->accepts, node) {
		struct io_op *op = LIST_ITEM(node, struct io_op, node);

		if (op->fd == fd)
			return op_accept(op);
	}
	return NULL;
}

/* A lack of descriptors or memory is told and ends this tick's tries; the connection
 * stays in the backlog, and so is tried again with the next accept. */
static bool accept_once(struct epoll *e, struct sock *s, struct io_accept *op)
{
	int fd, error;

	op->peer_len = sizeof(op->peer);
	fd = accept4(op->op.fd, (struct sockaddr *)&op->peer, &op->peer_len,
		     SOCK_CLOEXEC | SOCK_NONBLOCK);
	error = errno;
	count_syscall(e);
	stat_add(&e->loop.stats.submissions, 1);
	if (fd < 0 && (error == EINTR || error == ECONNABORTED))
		return true;
	if (fd < 0 && error == EAGAIN) {
		s->readable = false;
		return false;
	}
	if (fd < 0)
		stat_add(&e->loop.stats.accept_errors, 1);
	list_remove(&op->op.node);
	loop_finish(&e->loop, &op->op, fd < 0 ? -error : fd);
	return fd >= 0;
}

static void accept_ready(struct epoll *e, struct sock *s)
{
	uint32_t generation = s->generation;
	struct io_accept *op;

	for (int i = 0; i < ACCEPTS_MAX; i++) {
		op = next_accept(e, s->fd);
		if (!op || !s->readable || !accept_once(e, s, op) ||
		    s->generation != generation)
			return;
	}
	make_ready(e, s);
}

/* ---- connecting ------------------------------------------------------------- */

static int start_connect(struct epoll *e, struct io_connect *op)
{
	const int on = 1;
	int fd = socket(op->addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	count_syscall(e);
	if (fd < 0)
		return -errno;
	op->op.fd = fd;
	if (op->addr->sa_family != AF_UNIX) {
		count_syscall(e);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	stat_add(&e->loop.stats.submissions, 1);
	count_syscall(e);
	if (connect(fd, op->addr, op->addr_len) == 0)
		return fd;
	return -errno;
}

static void close_sock(struct epoll *e, int fd);

static void epoll_connect(struct io_loop *loop, struct io_connect *op)
{
	struct epoll *e = epoll_of(loop);
	int res = start_connect(e, op);
	struct sock *s;

	if (res == -EINPROGRESS) {
		s = sock_at(e, op->op.fd);
		res = watch_stream(e, s, op->op.fd);
		if (res == 0) {
			s->writable = false;
			s->send = &op->op;
			return;
		}
	}
	if (res < 0 && op->op.fd >= 0)
		close_sock(e, op->op.fd);
	loop_finish_early(loop, &op->op, res);
}

static void connect_ready(struct epoll *e, struct sock *s, struct io_connect *op)
{
	int error = 0, fd = op->op.fd;
	socklen_t len = sizeof(error);

	s->send = NULL;
	count_syscall(e);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0)
		close_sock(e, fd);
	loop_finish(&e->loop, &op->op, error != 0 ? -error : fd);
}

/* ---- writing ---------------------------------------------------------------- */

static void epoll_write(struct io_loop *loop, struct io_write *op)
{
	struct epoll *e = epoll_of(loop);

	if (!e->writer)
		e->writer = writer_open(loop);
	if (!e->writer)
		loop_finish_early(loop, &op->op, -ENOMEM);
	else if (!writer_put(e->writer, op))
		loop_finish_early(loop, &op->op, -EAGAIN);
}

static void take_written(struct epoll *e)
{
	struct io_write *op;

	while (e->writer && (op = writer_take(e->writer)))
		loop_finish(&e->loop, &op->op, op->op.res);
}

/* ---- cancelling and closing ------------------------------------------------- */

static void epoll_cancel(struct io_loop *loop, struct io_op *op)
{
	struct epoll *e = epoll_of(loop);

	switch ((enum io_kind)op->kind) {
	case IO_IDLE:
		return;
	case IO_WRITE:
		return; /* the thread has it */
	case IO_RECV:
		sock_at(e, op->fd)->recv = NULL;
		break;
	case IO_SEND:
		sock_at(e, op->fd)->send = NULL;
		break;
	case IO_CONNECT:
		sock_at(e, op->fd)->send = NULL;
		close_sock(e, op->fd);
		break;
	case IO_ACCEPT:
		break;
	}
	list_remove(&op->node);
	loop_finish_early(loop, op, -ECANCELED);
}

static void cancel_accepts(struct epoll *e, int fd)
{
	struct io_accept *op;

	while ((op = next_accept(e, fd)))
		epoll_cancel(&e->loop, &op->op);
}

static void close_sock(struct epoll *e, int fd)
{
	struct sock *s = sock_at(e, fd);

	/* A listener may live on in another process, and with it what is watched. */
	if (s->listens && s->registered) {
		count_syscall(e);
		epoll_ctl(e->fd, EPOLL_CTL_DEL, fd, NULL);
	}
	list_remove(&s->ready);
	s->generation++;
	s->registered = s->listens = false;
	s->readable = s->writable = s->ending = false;
	count_syscall(e);
	if (close(fd) < 0)
		stat_add(&e->loop.stats.sink_errors, 1);
}

static void epoll_close(struct io_loop *loop, int fd, bool reset)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	struct epoll *e = epoll_of(loop);
	struct sock *s = sock_at(e, fd);

	if (s->recv)
		epoll_cancel(loop, s->recv);
	if (s->send)
		epoll_cancel(loop, s->send);
	if (s->listens)
		cancel_accepts(e, fd);
	if (reset) {
		count_syscall(e);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	}
	close_sock(e, fd);
}

static void epoll_shutdown(struct io_loop *loop, int fd)
{
	count_syscall(epoll_of(loop));
	shutdown(fd, SHUT_WR);
}

/* ---- waiting ---------------------------------------------------------------- */

/* Edge-triggered, so each write is an event and the counter is never read. */
static void epoll_wake(struct io_loop *loop)
{
	struct epoll *e = epoll_of(loop);
	const uint64_t one = 1;
	ssize_t n;

	if (atomic_exchange(&e->woken, true))
		return;
	do
		n = write(e->wake_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

static void send_ready(struct epoll *e, struct sock *s)
{
	struct io_op *op = s->send;

	s->writable = true;
	if (!op)
		return;
	if (op->kind == IO_CONNECT) {
		connect_ready(e, s, op_connect(op));
		return;
	}
	/* One that was started in this tick is tried with the others of the next. */
	if (list_empty(&op->node))
		try_send(e, s, op_send(op));
}

static void handle(struct epoll *e, const struct epoll_event *event)
{
	int fd = (int)(uint32_t)event->data.u64;
	struct sock *s = sock_at(e, fd);

	stat_add(&e->loop.stats.completions, 1);
	if (fd == e->wake_fd) {
		atomic_store(&e->woken, false);
		return;
	}
	if (s->generation != event->data.u64 >> 32 || !s->registered)
		return;
	if (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->ending = true;
	if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		s->readable = true;
		if (s->recv || s->listens)
			make_ready(e, s);
	}
	if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		send_ready(e, s);
}

/* Sockets that are ready now; those that are not done with go on in the next tick. */
static void run_ready(struct epoll *e)
{
	struct list due;
	struct list *node;

	list_init(&due);
	list_move(&due, &e->ready);
	while ((node = list_pop(&due))) {
		struct sock *s = LIST_ITEM(node, struct sock, ready);

		if (s->listens)
			accept_ready(e, s);
		else
			recv_ready(e, s);
	}
}

static int timeout_ms(const struct epoll *e, uint64_t timeout_us)
{
	if (e->must_not_wait || !list_empty(&e->loop.early) || !list_empty(&e->sends) ||
	    !list_empty(&e->ready))
		return 0;
	if (timeout_us / 1000 >= INT_MAX)
		return timeout_us == UINT64_MAX ? -1 : INT_MAX;
	return (int)((timeout_us + 999) / 1000);
}

static void epoll_wait_once(struct io_loop *loop, uint64_t timeout_us)
{
	struct epoll *e = epoll_of(loop);
	int n;

	e->must_not_wait = false;
	run_sends(e);
	retry_starved(e);
	n = epoll_wait(e->fd, e->events, EVENTS_MAX, timeout_ms(e, timeout_us));
	ASSERT(n >= 0 || errno == EINTR);
	stat_add(&loop->stats.enters, 1);
	count_syscall(e);
	loop_clock(loop);
	for (int i = 0; i < n; i++)
		handle(e, &e->events[i]);
	run_ready(e);
	take_written(e);
}

/* ---- opening ---------------------------------------------------------------- */

static void epoll_done(struct io_loop *loop)
{
	struct epoll *e = epoll_of(loop);

	if (e->writer)
		writer_close(e->writer);
	close(e->wake_fd);
	close(e->fd);
	fds_done(&e->socks);
}

static const struct io_engine epoll_engine = {
	.accept = epoll_accept,
	.connect = epoll_connect,
	.recv = epoll_recv,
	.send = epoll_send,
	.write = epoll_write,
	.cancel = epoll_cancel,
	.close = epoll_close,
	.shutdown = epoll_shutdown,
	.wait = epoll_wait_once,
	.wake = epoll_wake,
	.done = epoll_done,
};

static int setup(struct epoll *e)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	e->fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0)
		return -errno;
	e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->wake_fd < 0)
		return -errno;
	event.data.u64 = (uint32_t)e->wake_fd;
	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, e->wake_fd, &event) < 0)
		return -errno;
	return 0;
}

int epoll_open(struct io_loop **loop, const struct io_options *options)
{
	struct epoll *e = calloc(1, sizeof(*e));
	int res;

	if (!e)
		return -ENOMEM;
	e->fd = e->wake_fd = -1;
	list_init(&e->sends);
	list_init(&e->starved);
	list_init(&e->accepts);
	list_init(&e->ready);
	fds_init(&e->socks, sizeof(struct sock));
	res = loop_init(&e->loop, &epoll_engine, IO_ENGINE_EPOLL, options);
	if (res < 0) {
		free(e);
		return res;
	}
	res = setup(e);
	if (res < 0) {
		if (e->fd >= 0)
			close(e->fd);
		if (e->wake_fd >= 0)
			close(e->wake_fd);
		buf_pool_done(&e->loop.bufs);
		free(e);
		return res;
	}
	loop_clock(&e->loop);
	*loop = &e->loop;
	return 0;
}

void epoll_describe(char *text, size_t size)
{
	snprintf(text, size, "epoll      yes  edge-triggered, each socket registered once\n");
}
