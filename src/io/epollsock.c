#include "epoll.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* Fairness: most connections that one listener accepts per tick. */
#define ACCEPTS_MAX 64

/* The first wait after this reports bytes and connections that are already there. A new
 * socket is assumed to be writable. */
static int sock_register(struct epoll *e, struct sock *s, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events | EPOLLET };

	if (s->registered)
		return 0;
	event.data.u64 = (uint64_t)s->generation << 32 | (uint32_t)fd;
	epoll_count_syscall(e);
	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	s->registered = true;
	s->readable = false;
	s->writable = true;
	s->ending = false;
	return 0;
}

/* Registered once, for all events (kernel-notes/23-epolls-bill). */
int epoll_register(struct epoll *e, struct sock *s, int fd)
{
	return sock_register(e, s, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
}

/* ---- accepting -------------------------------------------------------------- */

void epoll_accept(struct io_loop *loop, struct io_accept *op)
{
	struct epoll *e = epoll_of(loop);
	int fd = op->op.fd, flags;
	struct sock *s = epoll_sock(e, fd);
	int res = 0;

	if (!s->registered) {
		/* If another process accepts the connection first, accept4() must not
		 * block. */
		flags = fcntl(fd, F_GETFL);
		if (flags >= 0 && !(flags & O_NONBLOCK))
			fcntl(fd, F_SETFL, flags | O_NONBLOCK);
		s->listening = true;
		res = sock_register(e, s, fd, EPOLLIN);
	}
	if (res < 0) {
		loop_finish_early(loop, &op->op, res);
		return;
	}
	list_append(&e->accepts, &op->op.node);
	if (s->readable)
		epoll_make_ready(e, s, fd);
}

/* The oldest accept in flight on a listener, or NULL. */
static struct io_accept *next_accept(struct epoll *e, int fd)
{
	LIST_EACH(&e->accepts, node)
	{
		struct io_op *op = LIST_ITEM(node, struct io_op, node);

		if (op->fd == fd)
			return op_accept(op);
	}
	return NULL;
}

/* False: no further attempts in this tick. A lack of descriptors or memory ends the op
 * with the error; the connection stays in the backlog and goes to the next accept. */
static bool accept_once(struct epoll *e, struct sock *s, struct io_accept *op)
{
	int fd, error;

	op->peer_len = sizeof(op->peer);
	fd = accept4(op->op.fd, (struct sockaddr *)&op->peer, &op->peer_len,
		     SOCK_CLOEXEC | SOCK_NONBLOCK);
	error = errno;
	epoll_count_syscall(e);
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

void epoll_accept_ready(struct epoll *e, struct sock *s, int fd)
{
	uint16_t generation = s->generation;
	struct io_accept *op;

	for (int i = 0; i < ACCEPTS_MAX; i++) {
		op = next_accept(e, fd);
		if (!op || !s->readable || !accept_once(e, s, op) ||
		    s->generation != generation)
			return;
	}
	epoll_make_ready(e, s, fd);
}

/* Connections are reported to each epoll instance (no EPOLLEXCLUSIVE). */
bool epoll_wakeup_lost(struct io_loop *loop, int listener)
{
	(void)loop;
	(void)listener;
	return false;
}

/* ---- connecting ------------------------------------------------------------- */

static int start_connect(struct epoll *e, struct io_connect *op)
{
	const int on = 1;
	int fd = socket(op->addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);

	epoll_count_syscall(e);
	if (fd < 0)
		return -errno;
	op->op.fd = fd;
	if (op->addr->sa_family != AF_UNIX) {
		epoll_count_syscall(e);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	stat_add(&e->loop.stats.submissions, 1);
	epoll_count_syscall(e);
	if (connect(fd, op->addr, op->addr_len) == 0)
		return fd;
	return -errno;
}

static void close_sock(struct epoll *e, int fd);

void epoll_connect(struct io_loop *loop, struct io_connect *op)
{
	struct epoll *e = epoll_of(loop);
	int res = start_connect(e, op);
	struct sock *s;

	if (res == -EINPROGRESS) {
		s = epoll_sock(e, op->op.fd);
		res = epoll_register(e, s, op->op.fd);
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

void epoll_connect_ready(struct epoll *e, struct sock *s, struct io_connect *op)
{
	int error = 0, fd = op->op.fd;
	socklen_t len = sizeof(error);

	s->send = NULL;
	epoll_count_syscall(e);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0)
		close_sock(e, fd);
	loop_finish(&e->loop, &op->op, error != 0 ? -error : fd);
}

/* ---- cancelling and closing ------------------------------------------------- */

void epoll_cancel(struct io_loop *loop, struct io_op *op)
{
	struct epoll *e = epoll_of(loop);

	switch ((enum io_kind)op->kind) {
	case IO_IDLE:
		return;
	case IO_WRITE:
		return; /* the write thread is using it */
	case IO_RECV:
		epoll_sock(e, op->fd)->recv = NULL;
		break;
	case IO_SEND:
		epoll_sock(e, op->fd)->send = NULL;
		break;
	case IO_CONNECT:
		epoll_sock(e, op->fd)->send = NULL;
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
	struct sock *s = epoll_sock(e, fd);

	/* A listener may stay open in another process, and then so would its
	 * registration. */
	if (s->listening && s->registered) {
		epoll_count_syscall(e);
		epoll_ctl(e->fd, EPOLL_CTL_DEL, fd, NULL);
	}
	s->generation++;
	s->registered = s->listening = false;
	s->readable = s->writable = s->ending = false;
	epoll_count_syscall(e);
	if (close(fd) < 0)
		stat_add(&e->loop.stats.silent_errors, 1);
}

void epoll_close(struct io_loop *loop, int fd, bool reset)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	struct epoll *e = epoll_of(loop);
	struct sock *s = epoll_sock(e, fd);

	if (s->recv)
		epoll_cancel(loop, s->recv);
	if (s->send)
		epoll_cancel(loop, s->send);
	if (s->listening)
		cancel_accepts(e, fd);
	if (reset) {
		epoll_count_syscall(e);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	}
	close_sock(e, fd);
}

void epoll_shutdown(struct io_loop *loop, int fd)
{
	epoll_count_syscall(epoll_of(loop));
	shutdown(fd, SHUT_WR);
}
