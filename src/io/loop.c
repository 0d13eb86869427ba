#include "io/io.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>

#include "engine.h"

/* TCP_CLOSE of netinet/tcp.h, which cannot be included together with linux/tcp.h. */
#define TCP_STATE_CLOSE 7

const char *io_engine_name(enum io_engine_kind kind)
{
	switch (kind) {
	case IO_ENGINE_AUTO:
		return "auto";
	case IO_ENGINE_RING:
		return "io_uring";
	case IO_ENGINE_EPOLL:
		return "epoll";
	case IO_ENGINE_SIM:
		return "sim";
	}
	return "?";
}

void io_describe(enum io_engine_kind kind, char *text, size_t size)
{
	ASSERT(size > 0);
	text[0] = '\0';
	switch (kind) {
	case IO_ENGINE_RING:
		ring_describe(text, size);
		return;
	case IO_ENGINE_EPOLL:
		epoll_describe(text, size);
		return;
	case IO_ENGINE_SIM:
		sim_describe(text, size);
		return;
	case IO_ENGINE_AUTO:
		return;
	}
}

int io_open(struct io_loop **loop, const struct io_options *options)
{
	ASSERT(options->buffers > 0 && options->buffers <= UINT16_MAX);
	switch (options->engine) {
	case IO_ENGINE_RING:
		return ring_open(loop, options);
	case IO_ENGINE_EPOLL:
		return epoll_open(loop, options);
	case IO_ENGINE_SIM:
		return sim_open(loop, options);
	case IO_ENGINE_AUTO:
		break;
	}
	ASSERT(options->engine != IO_ENGINE_AUTO);
	return -EINVAL;
}

int loop_init(struct io_loop *loop, const struct io_engine *engine,
	      enum io_engine_kind kind, const struct io_options *options)
{
	loop->engine = engine;
	loop->kind = kind;
	list_init(&loop->early);
	return buf_pool_init(&loop->bufs, options->buffers);
}

void io_free(struct io_loop *loop)
{
	ASSERT(loop->busy == 0);
	loop->engine->done(loop);
	buf_pool_done(&loop->bufs);
	free(loop);
}

struct buf_pool *io_bufs(struct io_loop *loop)
{
	return &loop->bufs;
}

struct io_stats *io_stats(struct io_loop *loop)
{
	return &loop->stats;
}

uint64_t io_now_us(const struct io_loop *loop)
{
	return loop->now_us;
}

uint64_t io_wall_ms(const struct io_loop *loop)
{
	return loop->wall_ms;
}

void loop_clock(struct io_loop *loop)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	loop->now_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	clock_gettime(CLOCK_REALTIME, &ts);
	loop->wall_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- starting --------------------------------------------------------------- */

void io_op_init(struct io_op *op, void (*done)(struct io_op *, int, unsigned))
{
	list_init(&op->node);
	op->done = done;
	op->fd = -1;
	op->res = 0;
	op->kind = IO_IDLE;
	op->state = 0;
	op->engine_u16 = 0;
	op->engine_u32 = 0;
}

/* False: fd is no descriptor; the op ends with -EBADF. */
static bool op_start(struct io_loop *loop, struct io_op *op, enum io_kind kind, int fd)
{
	ASSERT(op->kind == IO_IDLE);
	ASSERT(op->done);
	ASSERT(list_empty(&op->node));
	op->kind = (uint8_t)kind;
	op->fd = fd;
	op->res = 0;
	op->state = 0;
	op->engine_u16 = 0;
	op->engine_u32 = 0;
	loop->busy++;
	if (fd < 0 && kind != IO_CONNECT) {
		loop_finish_early(loop, op, -EBADF);
		return false;
	}
	return true;
}

void io_accept(struct io_loop *loop, struct io_accept *op, int listener)
{
	op->peer.ss_family = AF_UNSPEC;
	op->peer_len = sizeof(op->peer);
	if (op_start(loop, &op->op, IO_ACCEPT, listener))
		loop->engine->accept(loop, op);
}

void io_connect(struct io_loop *loop, struct io_connect *op, const struct sockaddr *addr,
		socklen_t addr_len)
{
	op->addr = addr;
	op->addr_len = addr_len;
	if (op_start(loop, &op->op, IO_CONNECT, -1))
		loop->engine->connect(loop, op);
}

void io_recv(struct io_loop *loop, struct io_recv *op, int fd, uint32_t window)
{
	ASSERT(window > 0);
	ASSERT(!io_busy(&op->op));
	/* Restarted from inside its own done(), which did not take the buffer. */
	buf_put(op->buf);
	op->buf = NULL;
	op->left = window;
	if (op_start(loop, &op->op, IO_RECV, fd))
		loop->engine->recv(loop, op);
}

void io_send(struct io_loop *loop, struct io_send *op, int fd, struct iovec *iov,
	     unsigned iov_n, unsigned flags)
{
	size_t len = 0;

	ASSERT(iov_n > 0 && iov_n <= IOV_MAX);
	for (unsigned i = 0; i < iov_n; i++)
		len += iov[i].iov_len;
	ASSERT(len > 0 && len <= INT_MAX);
	ASSERT(!io_busy(&op->op));
	op->iov = iov;
	op->iov_n = iov_n;
	op->len = op->left = len;
	if (op_start(loop, &op->op, IO_SEND, fd))
		loop->engine->send(loop, op, (flags & IO_SILENT) != 0);
}

void io_write(struct io_loop *loop, struct io_write *op, int fd, const char *ptr,
	      size_t len)
{
	ASSERT(len > 0 && len <= INT_MAX);
	ASSERT(!io_busy(&op->op));
	op->ptr = ptr;
	op->len = op->left = len;
	if (op_start(loop, &op->op, IO_WRITE, fd))
		loop->engine->write(loop, op);
}

void io_cancel(struct io_loop *loop, struct io_op *op)
{
	if (op->kind == IO_IDLE || op->state == OP_EARLY)
		return;
	stat_add(&loop->stats.cancels, 1);
	loop->engine->cancel(loop, op);
}

void io_close(struct io_loop *loop, int fd)
{
	ASSERT(fd >= 0);
	loop->engine->close(loop, fd, false);
}

void io_reset(struct io_loop *loop, int fd)
{
	ASSERT(fd >= 0);
	loop->engine->close(loop, fd, true);
}

void io_shutdown(struct io_loop *loop, int fd)
{
	ASSERT(fd >= 0);
	loop->engine->shutdown(loop, fd);
}

/* A mark that is no number of delivered bytes. */
#define MARK_UNREAD (UINT64_C(1) << 63)

/* TCP: the bytes that the peer has acknowledged. Unix socket: the bytes that the peer has
 * not read; the number changes as the peer reads, and as the kernel takes more. */
uint64_t loop_delivered(struct io_loop *loop, int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int queued = 0;

	(void)loop;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
		return info.tcpi_bytes_acked;
	return ioctl(fd, SIOCOUTQ, &queued) == 0 ? MARK_UNREAD | (uint64_t)queued : 0;
}

/* On a unix socket, for which TCP_INFO fails, bytes arrive at once. A connection that the
 * peer has reset has lost its unsent bytes. */
uint64_t loop_outstanding(struct io_loop *loop, int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int queued = 0;

	(void)loop;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    info.tcpi_state == TCP_STATE_CLOSE)
		return 0;
	return ioctl(fd, SIOCOUTQ, &queued) == 0 ? (uint64_t)queued : 0;
}

uint64_t io_outstanding(struct io_loop *loop, int fd)
{
	return loop->engine->outstanding(loop, fd);
}

uint64_t io_delivered(struct io_loop *loop, int fd, uint64_t *mark)
{
	uint64_t before = *mark;

	*mark = loop->engine->delivered(loop, fd);
	if (*mark == before)
		return 0;
	return *mark & MARK_UNREAD || *mark < before ? IO_DELIVERED_SOME : *mark - before;
}

/* POLLRDHUP is reported as soon as the FIN arrives, even if bytes before it are
 * unread. */
bool loop_peer_ended(struct io_loop *loop, int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLRDHUP };

	(void)loop;
	return poll(&poll_fd, 1, 0) > 0;
}

void loop_local_address(struct io_loop *loop, int fd, struct sockaddr_storage *sa)
{
	socklen_t len = sizeof(*sa);

	(void)loop;
	if (getsockname(fd, (struct sockaddr *)sa, &len) < 0)
		sa->ss_family = AF_UNIX;
}

void io_local_address(struct io_loop *loop, int fd, struct sockaddr_storage *sa)
{
	memset(sa, 0, sizeof(*sa));
	loop->engine->local_address(loop, fd, sa);
}

bool io_peer_ended(struct io_loop *loop, int fd)
{
	return loop->engine->peer_ended(loop, fd);
}

bool io_wakeup_lost(struct io_loop *loop, int listener)
{
	return loop->engine->wakeup_lost(loop, listener);
}

void io_wait(struct io_loop *loop, uint64_t timeout_us)
{
	if (loop_deliver_early(loop) > 0 || !list_empty(&loop->early))
		timeout_us = 0;
	loop->engine->wait(loop, timeout_us);
}

void io_add_inflight(struct io_loop *loop, int delta)
{
	loop->inflight += (uint32_t)delta;
}

void io_wake(struct io_loop *loop)
{
	loop->engine->wake(loop);
}

/* ---- ending ----------------------------------------------------------------- */

static void op_finish(struct io_loop *loop, struct io_op *op, int res, unsigned flags)
{
	ASSERT(op->kind != IO_IDLE);
	ASSERT(list_empty(&op->node));
	ASSERT(loop->busy > 0);
	loop->busy--;
	op->kind = IO_IDLE;
	op->done(op, res, flags);
}

void loop_finish(struct io_loop *loop, struct io_op *op, int res)
{
	op_finish(loop, op, res, 0);
}

void loop_finish_silent(struct io_loop *loop, struct io_send *op)
{
	op_finish(loop, &op->op, (int)op->len, IO_SILENT);
}

bool loop_deliver(struct io_loop *loop, struct io_recv *op, struct buf *b, uint32_t n)
{
	bool more = n > 0 && n < op->left;

	ASSERT(n > 0 && b->begin + n <= b->size && !op->buf);
	b->end = b->begin + n;
	op->left = more ? op->left - n : 0;
	op->buf = b;
	if (more)
		op->op.done(&op->op, (int)n, IO_MORE);
	else
		loop_finish(loop, &op->op, (int)n);
	/* The callee has not taken the buffer: drop it. If the op was restarted inside
	 * its done(), io_recv() has already dropped it and op->buf is NULL. */
	b = op->buf;
	op->buf = NULL;
	buf_put(b);
	return more;
}

struct buf *loop_take_buf(struct io_loop *loop, const struct io_recv *op)
{
	return buf_available(&loop->bufs, op->may_use_reserve) > 0 ? buf_take(&loop->bufs)
							      : NULL;
}

void loop_finish_early(struct io_loop *loop, struct io_op *op, int res)
{
	ASSERT(op->kind != IO_IDLE);
	op->res = res;
	op->state = OP_EARLY;
	list_append(&loop->early, &op->node);
}

unsigned loop_deliver_early(struct io_loop *loop)
{
	struct list due;
	struct list *node;
	unsigned n = 0;

	list_init(&due);
	list_move(&due, &loop->early);
	while ((node = list_pop(&due))) {
		struct io_op *op = LIST_ITEM(node, struct io_op, node);

		op->state = 0;
		loop_finish(loop, op, op->res);
		n++;
	}
	return n;
}

void send_advance(struct io_send *op, size_t n)
{
	ASSERT(n < op->left);
	op->left -= n;
	while (n >= op->iov->iov_len) {
		n -= op->iov->iov_len;
		op->iov++;
		op->iov_n--;
	}
	op->iov->iov_base = (char *)op->iov->iov_base + n;
	op->iov->iov_len -= n;
}
