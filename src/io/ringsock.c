#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

/* Linux 6.18 waits on an O_NONBLOCK socket too (kernel-notes/07-accept-one-shot). If
 * another kernel reports EAGAIN instead, the socket loses the flag the first time that
 * this happens. */
bool ring_clear_nonblock(struct ring *r, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	ring_count_syscall(r);
	if (flags < 0 || !(flags & O_NONBLOCK))
		return false;
	ring_count_syscall(r);
	return fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0;
}

/* Multishot only for TCP. On a unix socket Linux 6.18 lost the end of the stream: when
 * bytes and shutdown came together, the receive took the bytes, found the queue empty,
 * and waited for a wake-up that had already happened
 * (kernel-notes/02-multishot-receive-window). */
enum ring_recv_mode ring_recv_mode_of(const struct ring *r, int family)
{
	return r->has.cap && (family == AF_INET || family == AF_INET6) ? RECV_MULTISHOT
								       : RECV_ONCE;
}

/* ---- accepting and connecting ----------------------------------------------- */

/* One shot, because a multishot accept returns no peer address, and because the number of
 * armed accepts limits the number of connections accepted at once
 * (kernel-notes/07-accept-one-shot). */
static void arm_accept(struct ring *r, struct io_accept *op)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_ACCEPT, op->op.fd,
					    ring_user_data(&op->op));

	op->peer_len = sizeof(op->peer);
	sqe->addr = (uintptr_t)&op->peer;
	sqe->addr2 = (uintptr_t)&op->peer_len;
	/* Why no direct descriptor: kernel-notes/19-direct-descriptors. */
	sqe->accept_flags = SOCK_CLOEXEC;
	ring_fd(r, op->op.fd)->others++;
}

void ring_accept(struct io_loop *loop, struct io_accept *op)
{
	struct ring *r = ring_of(loop);

	op->op.engine_u16 = ring_fd(r, op->op.fd)->closes;
	arm_accept(r, op);
}

void ring_accept_completed(struct ring *r, struct io_accept *op, int res)
{
	bool again = res == -ECONNABORTED || res == -EINTR ||
		     (res == -EAGAIN && ring_clear_nonblock(r, op->op.fd));

	ring_other_ended(r, &op->op);
	if (again && !ring_is_cancelled(r, &op->op)) {
		arm_accept(r, op);
		return;
	}
	if (again)
		res = -ECANCELED;
	if (res == -EMFILE || res == -ENFILE || res == -ENOMEM || res == -ENOBUFS)
		stat_add(&r->loop.stats.accept_errors, 1);
	if (res >= 0)
		ring_fd(r, res)->recv_mode = (uint8_t)ring_recv_mode_of(r, op->peer.ss_family);
	ring_finish(r, &op->op, res);
}

/* The kernel wakes one accept per connection, and does not wake another one if that is
 * cancelled (kernel-notes/32-accepts-wait-exclusively). */
bool ring_wakeup_lost(struct io_loop *loop, int listener)
{
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };

	ring_count_syscall(ring_of(loop));
	return poll(&poll_fd, 1, 0) > 0;
}

static int stream_socket(struct ring *r, int family)
{
	const int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ring_count_syscall(r);
	if (fd < 0)
		return -errno;
	if (family != AF_UNIX) {
		ring_count_syscall(r);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return fd;
}

void ring_connect(struct io_loop *loop, struct io_connect *op)
{
	struct ring *r = ring_of(loop);
	int fd = stream_socket(r, op->addr->sa_family);
	struct io_uring_sqe *sqe;

	if (fd < 0) {
		loop_finish_early(loop, &op->op, fd);
		return;
	}
	op->op.fd = fd;
	op->op.engine_u16 = ring_fd(r, fd)->closes;
	ring_fd(r, fd)->recv_mode = (uint8_t)ring_recv_mode_of(r, op->addr->sa_family);
	sqe = ring_sqe(r, IORING_OP_CONNECT, fd, ring_user_data(&op->op));
	sqe->addr = (uintptr_t)op->addr;
	sqe->off = op->addr_len;
}

static void close_entry(struct ring *r, int fd)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_CLOSE, fd, TAG_CLOSE);

	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

void ring_connect_completed(struct ring *r, struct io_connect *op, int res)
{
	if (res == 0) {
		ring_finish(r, &op->op, op->op.fd);
		return;
	}
	close_entry(r, op->op.fd);
	ring_finish(r, &op->op, res);
}

/* ---- cancelling and closing ------------------------------------------------- */

static void cancel_entry(struct ring *r, const struct io_op *op)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_ASYNC_CANCEL, -1, TAG_CANCEL);

	sqe->addr = ring_user_data(op);
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

/* A silent send needs no cancel: it ends with the enter that takes it
 * (kernel-notes/03-silent-sends). */
void ring_cancel(struct io_loop *loop, struct io_op *op)
{
	struct ring *r = ring_of(loop);
	uint8_t before = op->state;

	op->state |= RING_CANCELLED;
	if (before & RING_NO_BUFFER) {
		list_remove(&op->node);
		loop_finish_early(loop, op, -ECANCELED);
	} else if (!(before & (RING_SILENT | RING_CANCELLED))) {
		list_append(&r->cancelling, &op->node);
		cancel_entry(r, op);
	}
}

/* A cancel misses an op that is just between its poll and its next attempt. If the op has
 * not ended by now, it is polling again and a second cancel finds it. */
void ring_cancel_again(struct ring *r)
{
	if (!r->cancel_missed)
		return;
	r->cancel_missed = false;
	LIST_EACH(&r->cancelling, node)
	cancel_entry(r, LIST_ITEM(node, struct io_op, node));
}

/* Cancels the ops in flight on a socket. The receive is cancelled by its user_data,
 * because a cancel by descriptor searches all ops that wait on this ring
 * (kernel-notes/04-cancel-and-close). A cancel could miss a send that is between its poll
 * and its next attempt; after shutdown() such a send fails instead of waiting again. */
static void cancel_in_flight(struct ring *r, int fd)
{
	const struct ring_fd *f = ring_fd(r, fd);
	struct io_uring_sqe *sqe;

	/* If the cancel misses the receive, the receive keeps the socket open. On the
	 * list it is cancelled again. */
	if (f->recv && !(f->recv->state & RING_CANCELLED)) {
		f->recv->state |= RING_CANCELLED;
		list_append(&r->cancelling, &f->recv->node);
	}
	if (f->sends == 0 && f->others == 0) {
		if (f->recv)
			cancel_entry(r, f->recv);
		return;
	}
	if (f->sends > 0) {
		ring_count_syscall(r);
		shutdown(fd, SHUT_RDWR);
	}
	sqe = ring_sqe(r, IORING_OP_ASYNC_CANCEL, fd, TAG_CANCEL);
	sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

/* A cancel and then a close, unlinked: in this order they end first the ops and then the
 * socket (kernel-notes/04-cancel-and-close). Not close(2), because queued entries may
 * still name the descriptor. */
void ring_close(struct io_loop *loop, int fd, bool reset)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	struct ring *r = ring_of(loop);
	struct ring_fd *f = ring_fd(r, fd);

	if (reset) {
		ring_count_syscall(r);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	}
	cancel_in_flight(r, fd);
	f->closes++;
	f->sends = f->others = 0;
	f->recv = NULL;
	f->recv_mode = RECV_UNKNOWN;
	f->fills_buffers = false;
	close_entry(r, fd);
	r->waiter_closed |= ring_has_buffer_waiters(r);
}

/* IORING_OP_SHUTDOWN would use a kernel thread (kernel-notes/24-who-needs-a-thread). */
void ring_shutdown(struct io_loop *loop, int fd)
{
	ring_count_syscall(ring_of(loop));
	shutdown(fd, SHUT_WR);
}
