#include "ring.h"

#include <errno.h>
#include <string.h>
#include <time.h>

unsigned ring_consumed(const struct ring *r)
{
	return __atomic_load_n(r->uring.sq.khead, __ATOMIC_ACQUIRE);
}

bool ring_overflowed(const struct ring *r)
{
	return __atomic_load_n(r->uring.sq.kflags, __ATOMIC_RELAXED) &
	       IORING_SQ_CQ_OVERFLOW;
}

/* Success, a signal, a timeout or lack of memory. After these nothing is lost, because
 * entries that were not taken stay in the queue. Any other error is a bug of fairlead. */
static bool enter_result_expected(int res)
{
	return res >= 0 || res == -EINTR || res == -ETIME || res == -EAGAIN ||
	       res == -EBUSY || res == -ENOMEM;
}

/* One timeout per enter stands for all deadlines
 * (kernel-notes/22-a-wheel-and-one-limit). */
void ring_enter(struct ring *r, unsigned wait_n, uint64_t timeout_us, unsigned flags)
{
	struct __kernel_timespec ts = {
		.tv_sec = (long long)(timeout_us / 1000000),
		.tv_nsec = (long long)(timeout_us % 1000000) * 1000,
	};
	struct io_uring_getevents_arg arg = {
		.sigmask_sz = _NSIG / 8,
		.ts = timeout_us == UINT64_MAX ? 0 : (uintptr_t)&ts,
	};
	unsigned before = ring_consumed(r);
	int res;

	if (wait_n > 1)
		getevents_set_min_wait(&arg, timeout_us < RING_BATCH_US
						     ? (uint32_t)timeout_us
						     : RING_BATCH_US);
	__atomic_store_n(r->uring.sq.ktail, r->tail, __ATOMIC_RELEASE);
	res = io_uring_enter2((unsigned)r->enter_fd, r->tail - before, wait_n,
			      flags | r->enter_flags | IORING_ENTER_EXT_ARG,
			      (sigset_t *)(void *)&arg, sizeof(arg));
	ASSERT(enter_result_expected(res));
	stat_add(&r->loop.stats.syscalls, 1);
	stat_add(&r->loop.stats.submissions, ring_consumed(r) - before);
}

/* Submits a queue that is full in the middle of a tick. Without GETEVENTS the enter
 * neither waits nor completes anything (kernel-notes/01-one-enter-per-tick). If the
 * kernel has no memory for an entry, all that can be done is to retry. */
static void queue_flush(struct ring *r)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	ring_enter(r, 0, 0, 0);
	while (r->tail - ring_consumed(r) == r->uring.sq.ring_entries) {
		nanosleep(&pause, NULL);
		ring_enter(r, 0, 0, 0);
	}
}

/* Only memory is written; the kernel reads the entry in the next enter
 * (kernel-notes/15-a-store-and-a-call). */
struct io_uring_sqe *ring_sqe(struct ring *r, uint8_t opcode, int fd, uint64_t user_data)
{
	struct io_uring_sq *sq = &r->uring.sq;
	struct io_uring_sqe *sqe;

	if (r->tail - ring_consumed(r) == sq->ring_entries)
		queue_flush(r);
	sqe = &sq->sqes[r->tail++ & sq->ring_mask];
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->user_data = user_data;
	return sqe;
}

/* The target suffices for any number of idle connections
 * (kernel-notes/06-idle-owns-no-buffer) and is small enough for the cache
 * (kernel-notes/27-footprint-of-a-buffer-ring). */
void ring_refill(struct ring *r)
{
	struct buf_pool *pool = &r->loop.bufs;
	int added = 0;
	struct buf *b;

	while (pool->published < r->published_target && buf_available(pool, false) > 0 &&
	       (b = buf_take(pool))) {
		b->ring_pos = (uint16_t)((r->bufs->tail + (unsigned)added) &
					 (RING_BUF_ENTRIES - 1));
		io_uring_buf_ring_add(r->bufs, b->data, b->size, b->id,
				      RING_BUF_ENTRIES - 1, added);
		pool->published++;
		added++;
	}
	if (added > 0)
		io_uring_buf_ring_advance(r->bufs, added);
}

static struct buf *buf_unpublish(struct ring *r, unsigned id)
{
	ASSERT(id < r->loop.bufs.count && r->loop.bufs.published > 0);
	r->loop.bufs.published--;
	return r->loop.bufs.all[id];
}

struct buf *ring_received(struct ring *r, unsigned cqe_flags)
{
	if (!(cqe_flags & IORING_CQE_F_BUFFER))
		return NULL;
	return buf_unpublish(r, cqe_flags >> IORING_CQE_BUFFER_SHIFT);
}

/* The kernel fills the buffers of a bundle in the order of the ring
 * (kernel-notes/30-bundled-receives). */
struct buf *ring_received_next(struct ring *r, const struct buf *b)
{
	return buf_unpublish(
		r, r->bufs->bufs[(b->ring_pos + 1u) & (RING_BUF_ENTRIES - 1)].bid);
}
