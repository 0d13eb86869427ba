#include "epoll.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "writethread.h"

/* Fairness: most buffers that one socket receives per tick; it continues in the next. */
#define RECV_BUFS_MAX 16

/* ---- receiving -------------------------------------------------------------- */

static void epoll_recv(struct io_loop *loop, struct io_recv *op)
{
	struct epoll *e = epoll_of(loop);
	struct sock *s = epoll_sock(e, op->op.fd);
	int res = epoll_register(e, s, op->op.fd);

	if (res < 0) {
		loop_finish_early(loop, &op->op, res);
		return;
	}
	ASSERT(!s->recv);
	s->recv = &op->op;
	stat_add(&loop->stats.recv_arms, 1);
	if (s->readable)
		epoll_make_ready(e, s, op->op.fd);
}

static void recv_ended(struct epoll *e, struct sock *s, struct io_recv *op, int res)
{
	s->recv = NULL;
	loop_finish(&e->loop, &op->op, res);
}

static void recv_wait_buffer(struct epoll *e, struct io_op *op)
{
	stat_add(&e->loop.stats.buffer_shortages, 1);
	op->engine_u16 |= EPOLL_NO_BUFFER;
	list_append(&e->buffer_waiters[op_recv(op)->may_use_reserve], &op->node);
}

/* One attempt, into b. Returns the bytes received; 0: no more bytes are available now.
 * When it returns, the owner may have closed the socket or restarted the op. */
static int recv_once(struct epoll *e, struct sock *s, struct io_recv *op, struct buf *b)
{
	ssize_t n = recv(op->op.fd, b->data, b->size, MSG_DONTWAIT);
	int error = errno;

	epoll_count_syscall(e);
	stat_add(&e->loop.stats.submissions, 1);
	if (n > 0) {
		/* A short read: later bytes cause a new edge
		 * (kernel-notes/12-edge-triggered-short-read). */
		if (n < b->size && !s->ending)
			s->readable = false;
		if ((size_t)n >= op->left)
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
	uint16_t generation = s->generation;

	for (int i = 0; i < RECV_BUFS_MAX; i++) {
		struct io_op *op = s->recv;
		struct buf *b;

		if (!op || !s->readable || op->engine_u16 & EPOLL_NO_BUFFER)
			return;
		b = loop_take_buf(&e->loop, op_recv(op));
		if (!b) {
			recv_wait_buffer(e, op);
			return;
		}
		if (recv_once(e, s, op_recv(op), b) == 0 || s->generation != generation)
			return;
	}
	if (s->recv && s->readable)
		epoll_make_ready(e, s, s->recv->fd);
}

/* Makes as many waiting receives ready as there are buffers, oldest first. */
static void wake_buffer_waiters(struct epoll *e, bool may_use_reserve)
{
	uint32_t n = buf_available(&e->loop.bufs, may_use_reserve);
	struct list *node;

	for (; n > 0 && (node = list_pop(&e->buffer_waiters[may_use_reserve])); n--) {
		struct io_op *op = LIST_ITEM(node, struct io_op, node);

		op->engine_u16 = 0;
		epoll_make_ready(e, epoll_sock(e, op->fd), op->fd);
	}
}

/* ---- sending ---------------------------------------------------------------- */

/* Attempted when the next wait begins: the sends of a tick are made together, and done()
 * is called from the wait (L2). */
static void epoll_send(struct io_loop *loop, struct io_send *op, bool silent)
{
	struct epoll *e = epoll_of(loop);
	struct sock *s = epoll_sock(e, op->op.fd);

	ASSERT(!s->send);
	s->send = &op->op;
	op->op.engine_u16 = silent ? EPOLL_SILENT : 0;
	list_append(&e->sends, &op->op.node);
}

static void send_ended(struct epoll *e, struct sock *s, struct io_send *op, int res)
{
	s->send = NULL;
	if (res >= 0 && op->op.engine_u16 == EPOLL_SILENT) {
		stat_add(&e->loop.stats.silent_sends, 1);
		loop_finish_silent(&e->loop, op);
	} else {
		e->must_not_wait = true;
		loop_finish(&e->loop, &op->op, res);
	}
}

/* The socket took a part of the bytes or none: wait until it is writable. */
static void park_send(struct epoll *e, struct sock *s, struct io_send *op)
{
	s->writable = false;
	if (!(op->op.engine_u16 & EPOLL_SHORTENED))
		stat_add(&e->loop.stats.short_sends, 1);
	op->op.engine_u16 |= EPOLL_SHORTENED;
}

static void try_send(struct epoll *e, struct sock *s, struct io_send *op)
{
	struct msghdr msg;
	ssize_t n;

	for (;;) {
		msg = (struct msghdr){ .msg_iov = op->iov, .msg_iovlen = op->iov_n };
		n = sendmsg(op->op.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		epoll_count_syscall(e);
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

/* Attempts the sends started so far. Sends that their done() starts wait for the next
 * tick. */
static void run_sends(struct epoll *e)
{
	struct list due;
	struct list *node;

	list_init(&due);
	list_move(&due, &e->sends);
	while ((node = list_pop(&due))) {
		struct io_send *op = op_send(LIST_ITEM(node, struct io_op, node));
		struct sock *s = epoll_sock(e, op->op.fd);
		int res = epoll_register(e, s, op->op.fd);

		stat_add(&e->loop.stats.submissions, 1);
		if (res < 0)
			send_ended(e, s, op, res);
		else if (!s->writable)
			park_send(e, s, op);
		else
			try_send(e, s, op);
	}
}

/* ---- writing ---------------------------------------------------------------- */

static void epoll_write(struct io_loop *loop, struct io_write *op)
{
	struct epoll *e = epoll_of(loop);

	if (!e->write_thread)
		e->write_thread = write_thread_open(loop);
	if (!e->write_thread)
		loop_finish_early(loop, &op->op, -ENOMEM);
	else if (!write_thread_put(e->write_thread, op))
		loop_finish_early(loop, &op->op, -EAGAIN);
}

static void finish_writes(struct epoll *e)
{
	struct io_write *op;

	while (e->write_thread && (op = write_thread_take(e->write_thread)))
		loop_finish(&e->loop, &op->op, op->op.res);
}

/* ---- waiting ---------------------------------------------------------------- */

/* The eventfd is registered edge-triggered: each write is an event, and the counter is
 * never read (kernel-notes/21-waking-a-worker). */
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
		epoll_connect_ready(e, s, op_connect(op));
		return;
	}
	/* A send that was started in this tick is attempted by run_sends(). */
	if (list_empty(&op->node))
		try_send(e, s, op_send(op));
}

static void handle_event(struct epoll *e, const struct epoll_event *event)
{
	int fd = (int)(uint32_t)event->data.u64;
	struct sock *s = epoll_sock(e, fd);

	stat_add(&e->loop.stats.completions, 1);
	if (fd == e->wake_fd) {
		/* An exchange, as in wake_completed() in ring.c. */
		(void)atomic_exchange(&e->woken, false);
		return;
	}
	if (s->generation != event->data.u64 >> 32 || !s->registered)
		return;
	if (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->ending = true;
	if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		s->readable = true;
		if (s->recv || s->listening)
			epoll_make_ready(e, s, fd);
	}
	if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		send_ready(e, s);
}

/* Attempts the ops of the sockets that are ready now. Sockets that have more go on in the
 * next tick. A socket closed in the meantime has no op to attempt. */
static void run_ready(struct epoll *e)
{
	int fd = e->ready.first;

	e->ready.first = -1;
	while (fd >= 0) {
		struct sock *s = epoll_sock(e, fd);
		int next = s->next_ready;

		s->ready = false;
		if (s->listening)
			epoll_accept_ready(e, s, fd);
		else
			recv_ready(e, s);
		fd = next;
	}
}

static int wait_timeout_ms(const struct epoll *e, uint64_t timeout_us)
{
	if (e->must_not_wait || !list_empty(&e->loop.early) || !list_empty(&e->sends) ||
	    e->ready.first >= 0)
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
	wake_buffer_waiters(e, true);
	wake_buffer_waiters(e, false);
	n = epoll_wait(e->fd, e->events, EPOLL_EVENTS_MAX,
		       wait_timeout_ms(e, timeout_us));
	ASSERT(n >= 0 || errno == EINTR);
	stat_add(&loop->stats.enters, 1);
	epoll_count_syscall(e);
	loop_clock(loop);
	for (int i = 0; i < n; i++)
		handle_event(e, &e->events[i]);
	run_ready(e);
	finish_writes(e);
}

/* ---- opening ---------------------------------------------------------------- */

static void epoll_done(struct io_loop *loop)
{
	struct epoll *e = epoll_of(loop);

	if (e->write_thread)
		write_thread_close(e->write_thread);
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
	.delivered = loop_delivered,
	.peer_ended = loop_peer_ended,
	.local_address = loop_local_address,
	.outstanding = loop_outstanding,
	.wakeup_lost = epoll_wakeup_lost,
	.wait = epoll_wait_once,
	.wake = epoll_wake,
	.done = epoll_done,
};

static int epoll_setup(struct epoll *e, bool writes)
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
	if (writes)
		e->write_thread = write_thread_open(&e->loop);
	return writes && !e->write_thread ? -ENOMEM : 0;
}

int epoll_open(struct io_loop **loop, const struct io_options *options)
{
	struct epoll *e = calloc(1, sizeof(*e));
	int res;

	if (!e)
		return -ENOMEM;
	e->fd = e->wake_fd = -1;
	list_init(&e->sends);
	list_init(&e->buffer_waiters[false]);
	list_init(&e->buffer_waiters[true]);
	list_init(&e->accepts);
	e->ready.first = -1;
	fds_init(&e->socks, sizeof(struct sock));
	res = loop_init(&e->loop, &epoll_engine, IO_ENGINE_EPOLL, options);
	if (res < 0) {
		free(e);
		return res;
	}
	res = epoll_setup(e, options->writes);
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
	snprintf(text, size,
		 "epoll        yes  edge-triggered, each socket registered once\n");
}
