#include "ring.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Most enters per tick to fetch overflowed completions; the rest is left to the next
 * tick. */
#define OVERFLOW_ROUNDS_MAX 16

static void *address(uint64_t user_data)
{
	return (void *)(uintptr_t)user_data;
}

/* ---- receiving -------------------------------------------------------------- */

/* Asks the kernel for the family of a socket that no op of this loop opened. */
static enum ring_recv_mode find_recv_mode(struct ring *r, int fd)
{
	int family = AF_UNSPEC;
	socklen_t len = sizeof(family);

	ring_count_syscall(r);
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
	return ring_recv_mode_of(r, family);
}

/* The kernel picks a buffer when bytes have arrived, so an idle connection holds none
 * (kernel-notes/06-idle-owns-no-buffer). If the kernel ends a multishot receive at its
 * length (`has.cap`, Linux 6.17), the receive continues in the kernel until the window is
 * used up; otherwise each receive fills one buffer
 * (kernel-notes/02-multishot-receive-window). */
static void arm_recv(struct ring *r, struct io_recv *op)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_RECV, op->op.fd,
					    ring_user_data(&op->op));

	ring_fd(r, op->op.fd)->recv = &op->op;
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_BUFFER_GROUP;
	/* POLL_FIRST only if no buffer is published: then an attempt would fail at once.
	 * Otherwise the receive must be attempted first, because polling first would miss
	 * a reset that has already arrived behind bytes. */
	sqe->ioprio = r->loop.bufs.published == 0 ? IORING_RECVSEND_POLL_FIRST : 0;
	if (ring_fd(r, op->op.fd)->recv_mode == RECV_MULTISHOT) {
		sqe->ioprio |= IORING_RECV_MULTISHOT;
		if (ring_fd(r, op->op.fd)->fills_buffers)
			sqe->ioprio |= IORING_RECVSEND_BUNDLE;
		sqe_set_optlen(sqe, op->left < INT_MAX ? op->left : INT_MAX);
	}
	stat_add(&r->loop.stats.recv_arms, 1);
}

static void ring_recv(struct io_loop *loop, struct io_recv *op)
{
	struct ring *r = ring_of(loop);
	struct ring_fd *f = ring_fd(r, op->op.fd);

	if (f->recv_mode == RECV_UNKNOWN)
		f->recv_mode = (uint8_t)find_recv_mode(r, op->op.fd);
	op->op.engine_u16 = f->closes;
	arm_recv(r, op);
}

/* The kernel found no published buffer; no byte is lost. If the pool has more buffers,
 * more are published from now on. */
static void recv_wait_buffer(struct ring *r, struct io_recv *op)
{
	struct buf_pool *pool = &r->loop.bufs;

	if (buf_available(pool, false) == 0)
		stat_add(&r->loop.stats.buffer_shortages, 1);
	else if (pool->published == 0 && r->published_target < RING_PUBLISHED_MAX)
		r->published_target *= 2;
	op->op.state |= RING_NO_BUFFER;
	list_append(&r->buffer_waiters[op->may_use_reserve], &op->op.node);
}

static void recv_failed(struct ring *r, struct io_recv *op, int res, bool direct)
{
	bool again = res == -ENOBUFS || res == -EINTR ||
		     (res == -EAGAIN && (direct || ring_clear_nonblock(r, op->op.fd)));

	if (!again)
		ring_finish(r, &op->op, res);
	else if (ring_is_cancelled(r, &op->op))
		ring_finish(r, &op->op, -ECANCELED);
	else if (res == -ENOBUFS)
		recv_wait_buffer(r, op);
	else
		arm_recv(r, op);
}

/* The receive is no longer submitted. Its descriptor may already belong to another
 * connection. */
static void recv_detach(struct ring *r, const struct io_recv *op)
{
	struct ring_fd *f = ring_fd(r, op->op.fd);

	if (f->recv == &op->op)
		f->recv = NULL;
}

static struct buf *direct_buf_take(struct io_recv *op)
{
	struct buf *b = op->buf;

	op->buf = NULL;
	op->op.state &= (uint8_t)~RING_DIRECT;
	return b;
}

/* Delivers the buffers of one completion. False: the window is used up, the op has ended.
 * The op is removed from its list only before the last buffer, because the owner may
 * cancel it in done() for an earlier one. */
static bool deliver_bundle(struct ring *r, struct io_recv *op, struct buf *b,
			   uint32_t bytes)
{
	while (bytes > BUF_BYTES) {
		struct buf *next = ring_received_next(r, b);
		bool more = loop_deliver(&r->loop, op, b, BUF_BYTES);

		ASSERT(more); /* the kernel received at most `window` bytes */
		bytes -= BUF_BYTES;
		b = next;
	}
	if (bytes >= op->left)
		list_remove(&op->op.node);
	return loop_deliver(&r->loop, op, b, bytes);
}

/* A receive that has filled its buffer probably has more bytes waiting: from the next arm
 * on, use bundles, which take all of them at once (kernel-notes/30-bundled-receives). For
 * small segments bundles would only cost: the kernel would prepare buffers that it does
 * not fill. */
static void learn_bundling(struct ring *r, const struct io_recv *op, uint32_t bytes)
{
	if (bytes >= BUF_BYTES && r->has.bundle)
		ring_fd(r, op->op.fd)->fills_buffers = true;
}

static void recv_completed(struct ring *r, struct io_recv *op, int res, unsigned flags)
{
	bool direct = op->op.state & RING_DIRECT;
	struct buf *b = direct ? direct_buf_take(op) : ring_received(r, flags);

	if (!(flags & IORING_CQE_F_MORE))
		recv_detach(r, op);
	if (res <= 0) {
		buf_put(b);
		if (res == 0)
			ring_finish(r, &op->op, 0);
		else
			recv_failed(r, op, res, direct);
		return;
	}
	ASSERT(b);
	ASSERT((uint32_t)res < op->left || !(flags & IORING_CQE_F_MORE));
	learn_bundling(r, op, (uint32_t)res);
	if (!deliver_bundle(r, op, b, (uint32_t)res) || flags & IORING_CQE_F_MORE)
		return;
	if (ring_is_cancelled(r, &op->op))
		ring_finish(r, &op->op, -ECANCELED);
	else
		arm_recv(r, op);
}

/* Ends receives whose socket was closed while they waited for a buffer. */
static void finish_closed_waiters(struct ring *r)
{
	if (!r->waiter_closed)
		return;
	r->waiter_closed = false;
	for (unsigned may_use_reserve = 0; may_use_reserve < 2; may_use_reserve++)
		LIST_EACH(&r->buffer_waiters[may_use_reserve], node) {
			struct io_op *op = LIST_ITEM(node, struct io_op, node);

			if (!ring_is_cancelled(r, op))
				continue;
			list_remove(&op->node);
			loop_finish_early(&r->loop, op, -ECANCELED);
		}
}

/* Receives into b, which may be a buffer of the reserve. The reserve is never published,
 * because any receive could take a published buffer; b is passed to the kernel directly.
 * MSG_DONTWAIT: the receive must not wait, or the buffer would wait with it. */
static void arm_recv_direct(struct ring *r, struct io_recv *op, struct buf *b)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_RECV, op->op.fd,
					    ring_user_data(&op->op));

	ring_fd(r, op->op.fd)->recv = &op->op;
	sqe->addr = (uintptr_t)b->data;
	sqe->len = b->size;
	sqe->msg_flags = MSG_DONTWAIT;
	op->buf = b;
	op->op.state |= RING_DIRECT;
	stat_add(&r->loop.stats.recv_arms, 1);
}

static struct io_recv *buffer_waiter_pop(struct ring *r, bool may_use_reserve)
{
	struct list *node = list_pop(&r->buffer_waiters[may_use_reserve]);
	struct io_recv *op;

	if (!node)
		return NULL;
	op = op_recv(LIST_ITEM(node, struct io_op, node));
	op->op.state &= (uint8_t)~RING_NO_BUFFER;
	return op;
}

/* Arms as many waiting receives as there are buffers, oldest first, those with
 * may_use_reserve before others. Each uses a buffer, or finds that another receive has.
 * So waiting receives are armed again only in a tick in which buffers came back, and the
 * loop does not spin (kernel-notes/05-buffer-starvation). */
static void arm_buffer_waiters(struct ring *r)
{
	struct io_recv *op;
	struct buf *b;

	while (!list_empty(&r->buffer_waiters[true]) && (b = buf_take(&r->loop.bufs)))
		arm_recv_direct(r, buffer_waiter_pop(r, true), b);
	for (unsigned n = r->loop.bufs.published; n > 0; n--) {
		op = buffer_waiter_pop(r, true);
		if (!op)
			op = buffer_waiter_pop(r, false);
		if (!op)
			return;
		arm_recv(r, op);
	}
}

/* ---- sending ---------------------------------------------------------------- */

/* The kernel copies the bytes; why no zero-copy: kernel-notes/20-zero-copy-send. The
 * msghdr must be valid until the enter (kernel-notes/15-a-store-and-a-call). */
static struct io_uring_sqe *send_entry(struct ring *r, struct io_send *op)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_SEND, op->op.fd,
					    ring_user_data(&op->op));

	if (op->iov_n == 1) {
		sqe->addr = (uintptr_t)op->iov->iov_base;
		sqe->len = (uint32_t)op->iov->iov_len;
		return sqe;
	}
	op->msg = (struct msghdr){ .msg_iov = op->iov, .msg_iovlen = op->iov_n };
	sqe->opcode = IORING_OP_SENDMSG;
	sqe->addr = (uintptr_t)&op->msg;
	sqe->len = 1;
	return sqe;
}

/* MSG_WAITALL: the kernel itself waits until the socket is writable. It completes when
 * all bytes are taken, or with those taken before a cancel or an error
 * (kernel-notes/17-short-sends). */
static void send_waitall(struct ring *r, struct io_send *op)
{
	struct io_uring_sqe *sqe = send_entry(r, op);

	sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
	ring_fd(r, op->op.fd)->sends++;
}

/* Either the socket takes all bytes at once, and there is no completion; or a completion
 * says how many it has taken (kernel-notes/03-silent-sends). */
static void send_silently(struct ring *r, struct io_send *op)
{
	struct io_uring_sqe *sqe = send_entry(r, op);

	sqe->msg_flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	op->op.engine_u32 = r->tail - 1;
	op->op.state |= RING_SILENT;
	list_append(&r->silent, &op->op.node);
}

static void ring_send(struct io_loop *loop, struct io_send *op, bool silent)
{
	struct ring *r = ring_of(loop);

	op->op.engine_u16 = ring_fd(r, op->op.fd)->closes;
	if (silent && r->has.silent)
		send_silently(r, op);
	else
		send_waitall(r, op);
}

/* Sends the remaining bytes with the same op, so that one send is in flight per socket
 * (kernel-notes/08-restarted-sends). */
static void send_rest(struct ring *r, struct io_send *op, size_t taken)
{
	if (ring_is_cancelled(r, &op->op)) {
		ring_finish(r, &op->op, -ECANCELED);
		return;
	}
	if (!(op->op.state & RING_SHORTENED))
		stat_add(&r->loop.stats.short_sends, 1);
	op->op.state |= RING_SHORTENED;
	if (taken > 0)
		send_advance(op, taken);
	send_waitall(r, op);
}

static void send_completed(struct ring *r, struct io_send *op, int res)
{
	bool silent = op->op.state & RING_SILENT;
	struct ring_fd *f = ring_fd(r, op->op.fd);

	if (silent) {
		list_remove(&op->op.node);
		op->op.state &= (uint8_t)~RING_SILENT;
	} else if (f->closes == op->op.engine_u16) {
		f->sends--;
	}
	if (res > 0 && (size_t)res == op->left)
		ring_finish(r, &op->op, (int)op->len);
	else if (res > 0 || res == -EINTR)
		send_rest(r, op, res > 0 ? (size_t)res : 0);
	else if (res == -EAGAIN && (silent || ring_clear_nonblock(r, op->op.fd)))
		send_rest(r, op, 0);
	else
		ring_finish(r, &op->op, res < 0 ? res : -EIO);
}

/* Ends the silent sends whose entries the kernel consumed and that have posted no completion:
 * all completions of that enter have been handled. An enter that consumes an entry also
 * executes it, since no kernel thread polls the queue
 * (kernel-notes/25-a-thread-that-polls). */
static void finish_silent(struct ring *r, unsigned consumed)
{
	while (!list_empty(&r->silent)) {
		struct io_op *op = LIST_ITEM(r->silent.next, struct io_op, node);

		if ((int)(op->engine_u32 - consumed) >= 0)
			return;
		stat_add(&r->loop.stats.silent_sends, 1);
		list_remove(&op->node);
		loop_finish_silent(&r->loop, op_send(op));
	}
}

/* ---- writing ---------------------------------------------------------------- */

static void arm_write(struct ring *r, struct io_write *op)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_WRITE, op->op.fd,
					    ring_user_data(&op->op));

	sqe->addr = (uintptr_t)(op->ptr + (op->len - op->left));
	sqe->len = (uint32_t)op->left;
	sqe->off = UINT64_MAX; /* at the file's current position */
	ring_fd(r, op->op.fd)->others++;
}

static void ring_write(struct io_loop *loop, struct io_write *op)
{
	struct ring *r = ring_of(loop);

	op->op.engine_u16 = ring_fd(r, op->op.fd)->closes;
	arm_write(r, op);
}

/* For a pipe or terminal that is non-blocking because another process, which shares it,
 * has made it so. */
static void poll_write(struct ring *r, struct io_write *op)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_POLL_ADD, op->op.fd,
					    ring_user_data(&op->op));

	sqe->poll32_events = POLLOUT;
	op->op.state |= RING_POLLING;
	ring_fd(r, op->op.fd)->others++;
}

static void write_completed(struct ring *r, struct io_write *op, int res)
{
	bool polled = op->op.state & RING_POLLING;

	op->op.state &= (uint8_t)~RING_POLLING;
	ring_other_ended(r, &op->op);
	if (!polled && res > 0)
		op->left -= (size_t)res;
	if (op->left == 0)
		ring_finish(r, &op->op, (int)op->len);
	else if (res == 0 && !polled)
		ring_finish(r, &op->op, -EIO);
	else if (res < 0 && res != -EAGAIN && res != -EINTR)
		ring_finish(r, &op->op, res);
	else if (ring_is_cancelled(r, &op->op))
		ring_finish(r, &op->op, -ECANCELED);
	else if (res == -EAGAIN)
		poll_write(r, op);
	else
		arm_write(r, op);
}

/* ---- waking ----------------------------------------------------------------- */

/* A read of the eventfd is always armed (kernel-notes/21-waking-a-worker). */
static void arm_wake(struct ring *r)
{
	struct io_uring_sqe *sqe;

	if (r->wake_armed)
		return;
	sqe = ring_sqe(r, IORING_OP_READ, r->wake_fd, TAG_WAKE);
	sqe->addr = (uintptr_t)&r->wake_count;
	sqe->len = sizeof(r->wake_count);
	r->wake_armed = true;
}

/* A thread that finds `woken` set has put its message into the mailbox before and does
 * not write the eventfd. So the flag is cleared with an exchange, which synchronises with
 * that thread, before the mailbox is read. */
static void wake_completed(struct ring *r)
{
	r->wake_armed = false;
	(void)atomic_exchange(&r->woken, false);
}

static void ring_wake(struct io_loop *loop)
{
	struct ring *r = ring_of(loop);
	const uint64_t one = 1;
	ssize_t n;

	if (atomic_exchange(&r->woken, true))
		return;
	do
		n = write(r->wake_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

/* ---- waiting ---------------------------------------------------------------- */

static void tagged_completed(struct ring *r, enum ring_tag tag, int res)
{
	switch (tag) {
	case TAG_NONE:
		break;
	case TAG_WAKE:
		wake_completed(r);
		return;
	case TAG_CANCEL:
		/* EALREADY: the op is already ending. ENOENT: it has ended, or was missed
		 * and must be cancelled again (kernel-notes/18-cancel-race). */
		if (res == -ENOENT)
			r->cancel_missed = true;
		if (res == -ENOENT || res == -EALREADY)
			return;
		break;
	case TAG_CLOSE:
		break;
	}
	if (res < 0)
		stat_add(&r->loop.stats.silent_errors, 1);
}

static void op_completed(struct ring *r, struct io_op *op, int res, unsigned flags)
{
	switch ((enum io_kind)op->kind) {
	case IO_IDLE:
		break;
	case IO_ACCEPT:
		ring_accept_completed(r, op_accept(op), res);
		return;
	case IO_CONNECT:
		ring_connect_completed(r, op_connect(op), res);
		return;
	case IO_RECV:
		recv_completed(r, op_recv(op), res, flags);
		return;
	case IO_SEND:
		send_completed(r, op_send(op), res);
		return;
	case IO_WRITE:
		write_completed(r, op_write(op), res);
		return;
	}
	ASSERT(op->kind != IO_IDLE);
}

/* Handles the completions that are present now; later ones wait for the next call. */
static void handle_completions(struct ring *r)
{
	struct io_uring_cq *cq = &r->uring.cq;
	unsigned tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE);

	for (unsigned head = *cq->khead; head != tail; head++) {
		struct io_uring_cqe cqe = cq->cqes[head & cq->ring_mask];

		__atomic_store_n(cq->khead, head + 1, __ATOMIC_RELEASE);
		stat_add(&r->loop.stats.completions, 1);
		if (cqe.user_data <= TAG_WAKE)
			tagged_completed(r, (enum ring_tag)cqe.user_data, cqe.res);
		else
			op_completed(r, address(cqe.user_data), cqe.res, cqe.flags);
	}
}

/* Overflowed completions are fetched at once, because the failure of a silent send may be
 * among them (kernel-notes/13-overflow-loses-nothing). False: some are left. */
static bool handle_all_completions(struct ring *r)
{
	handle_completions(r);
	for (int i = 0; ring_overflowed(r); i++) {
		if (i == OVERFLOW_ROUNDS_MAX)
			return false;
		stat_add(&r->loop.stats.overflows, 1);
		ring_enter(r, 0, 0, IORING_ENTER_GETEVENTS);
		handle_completions(r);
	}
	return true;
}

/* How many completions to wait for. With many requests in flight, one wait and one tick
 * should handle several of them (kernel-notes/26-wait-for-n-or-t). */
static unsigned batch_target(const struct ring *r)
{
	unsigned n = r->loop.inflight / RING_BATCH_SHARE;

	if (!r->has.min_wait || n < 2)
		return 1;
	return n < RING_BATCH_MAX ? n : RING_BATCH_MAX;
}

/* If receives wait for buffers while silent sends hold some, this enter must not wait:
 * the sends end with it and give back their buffers, without any event that would end a
 * wait. */
static unsigned wait_n(const struct ring *r, uint64_t timeout_us)
{
	if (timeout_us == 0 || !list_empty(&r->loop.early))
		return 0;
	if (ring_has_buffer_waiters(r) && !list_empty(&r->silent))
		return 0;
	return batch_target(r);
}

/* The only io_uring_enter of an ordinary tick (kernel-notes/01-one-enter-per-tick), and the
 * only system call that a request usually costs (kernel-notes/23-epolls-bill). More enters
 * follow if the submission queue is full or completions have overflowed. */
static void ring_wait(struct io_loop *loop, uint64_t timeout_us)
{
	struct ring *r = ring_of(loop);
	unsigned consumed;

	arm_wake(r);
	finish_closed_waiters(r);
	ring_refill(r);
	arm_buffer_waiters(r);
	stat_add(&loop->stats.enters, 1);
	ring_enter(r, wait_n(r, timeout_us), timeout_us, IORING_ENTER_GETEVENTS);
	consumed = ring_consumed(r);
	loop_clock(loop);
	if (handle_all_completions(r))
		finish_silent(r, consumed);
	ring_cancel_again(r);
}

void ring_quiesce(struct ring *r)
{
	ring_wake(&r->loop);
	arm_wake(r);
	while (r->wake_armed || r->tail != ring_consumed(r)) {
		ring_enter(r, r->wake_armed, UINT64_MAX, IORING_ENTER_GETEVENTS);
		handle_completions(r);
	}
}

const struct io_engine ring_engine = {
	.accept = ring_accept,
	.connect = ring_connect,
	.recv = ring_recv,
	.send = ring_send,
	.write = ring_write,
	.cancel = ring_cancel,
	.close = ring_close,
	.shutdown = ring_shutdown,
	.delivered = loop_delivered,
	.peer_ended = loop_peer_ended,
	.local_address = loop_local_address,
	.outstanding = loop_outstanding,
	.wakeup_lost = ring_wakeup_lost,
	.wait = ring_wait,
	.wake = ring_wake,
	.done = ring_done,
};
