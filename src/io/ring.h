/* The io_uring engine: declarations that its files share.
 *
 *   ring.c       receiving, sending, writing, the wait
 *   ringsock.c   accepting, connecting, cancelling, closing
 *   ringqueue.c  submission entries, io_uring_enter, the ring of receive buffers
 *   ringsetup.c  opening and closing a ring
 *   probe.c      which features this kernel has, and why io_uring is refused
 *
 * Owner: the loop's thread. user_data of a completion is the address of its op. The op
 * lives until its last done() (L3), so a completion never refers to a freed op. Values of
 * enum ring_tag mark completions of operations that have no op. */
#ifndef IO_RING_H
#define IO_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "abi.h"
#include "engine.h"
#include "fds.h"

/* Features that FAIRLEAD_RING_WITHOUT=name,… switches off, for tests. */
#define RING_FEATURES(X)                                                              \
	X(cap, "TCP receives that end by themselves at the window (Linux 6.17)")      \
	X(bundle, "one completion may fill several receive buffers (Linux 6.10)")     \
	X(min_wait, "waits for several completions, for a limited time (Linux 6.12)") \
	X(silent, "successful sends post no completion")                              \
	X(no_iowait, "waiting does not count as iowait (Linux 6.15)")                 \
	X(ringfd, "registered ring descriptor")                                       \
	X(restrictions, "the ring accepts only the operations that fairlead uses")

struct ring_features {
#define X(name, help) bool name;
	RING_FEATURES(X)
#undef X
};

/* user_data of completions of operations that have no op. */
enum ring_tag {
	TAG_NONE,
	TAG_CANCEL,
	TAG_CLOSE,
	TAG_WAKE,
};

/* Bits of op->state. op->engine_u32 is the position of a silent send in the submission queue;
 * op->engine_u16 is ring_fd.closes of the op's descriptor at the start of the op. */
enum {
	RING_SILENT = 1,     /* on ring->silent: posts a completion only if it fails */
	RING_NO_BUFFER = 2,  /* on ring->buffer_waiters; not submitted */
	RING_CANCELLED = 4,  /* not to be resubmitted; on ring->cancelling if submitted */
	RING_POLLING = 8,    /* a write that waits until its file is writable */
	RING_SHORTENED = 16, /* a send already counted in short_sends */
	RING_DIRECT = 32,    /* a receive into op->buf, not into a buffer of the ring */
};

/* How a socket receives. */
enum ring_recv_mode {
	RECV_UNKNOWN,
	RECV_MULTISHOT, /* one submission, until the window is used up */
	RECV_ONCE,      /* one submission per buffer */
};

/* State of a descriptor. */
struct ring_fd {
	struct io_op *recv;  /* the submitted receive, or NULL */
	uint16_t closes;     /* number of closes of this descriptor */
	uint16_t sends;      /* submitted sends that will post a completion */
	uint16_t others;     /* submitted accepts and writes */
	uint8_t recv_mode;   /* enum ring_recv_mode */
	bool fills_buffers;  /* a receive has filled a buffer: use bundles */
};

/* Receive buffers published to the kernel: at first as many as the pool's first chunk.
 * The number is doubled each time it was too small (kernel-notes/05-buffer-starvation)
 * and not larger from the start, because the kernel uses all published buffers in turn,
 * which costs cache (kernel-notes/27-footprint-of-a-buffer-ring). */
#define RING_PUBLISHED_MIN 64u
#define RING_PUBLISHED_MAX 256u

/* Entries of the buffer ring: twice as many as are published, so that an entry is not
 * overwritten before the bundle of which it is a part has been read
 * (kernel-notes/30-bundled-receives). */
#define RING_BUF_ENTRIES (2 * RING_PUBLISHED_MAX)
#define RING_BUFFER_GROUP 0

/* With n requests in flight, a wait is for n / RING_BATCH_SHARE completions, at most
 * RING_BATCH_MAX; after RING_BATCH_US one completion is enough.
 *
 * By Little's law completions come at the rate n / (duration of a request), so waiting
 * for n / 8 of them makes a request at most an eighth longer; with few requests in flight
 * there is no such wait. The maximum of 16 limits memory: with 64, 9,900 connections kept
 * 731 bytes each when idle again; with 16, fewer than 512 (tests/real/memory). */
#define RING_BATCH_SHARE 8u
#define RING_BATCH_MAX 16u
#define RING_BATCH_US 200u

struct ring {
	struct io_loop loop;
	struct io_uring uring; /* the mappings; ringqueue.c submits, not liburing */
	struct ring_features has;
	unsigned enter_flags;
	int enter_fd;
	unsigned tail;      /* entries written, ever; the next enter submits them */
	bool cancel_missed; /* a cancel did not find its op */
	bool waiter_closed; /* a socket was closed while receives waited for buffers */
	bool wake_armed;
	struct io_uring_buf_ring *bufs;
	unsigned published_target;     /* buffers to be published by each refill */
	struct list silent;            /* silent sends, in order of submission */
	struct list buffer_waiters[2]; /* receives; index: may_use_reserve */
	struct list cancelling; /* submitted ops for which a cancel was submitted */
	struct fds fds;         /* struct ring_fd */
	int wake_fd;
	uint64_t wake_count; /* destination of the read of the eventfd */
	atomic_bool woken;   /* the eventfd has been written and not yet read */
};

static inline struct ring_fd *ring_fd(struct ring *r, int fd)
{
	return fds_at(&r->fds, fd);
}

static inline struct ring *ring_of(struct io_loop *loop)
{
	return CONTAINER(loop, struct ring, loop);
}

static inline uint64_t ring_user_data(const struct io_op *op)
{
	return (uintptr_t)op;
}

/* True: the op was cancelled, or its socket was closed. Its next completion ends it; it
 * must not be resubmitted, because the descriptor may already belong to another
 * connection (kernel-notes/04-cancel-and-close). */
static inline bool ring_is_cancelled(struct ring *r, const struct io_op *op)
{
	return op->state & RING_CANCELLED || ring_fd(r, op->fd)->closes != op->engine_u16;
}

static inline bool ring_has_buffer_waiters(const struct ring *r)
{
	return !list_empty(&r->buffer_waiters[false]) ||
	       !list_empty(&r->buffer_waiters[true]);
}

/* To be called when an accept or a write has completed. */
static inline void ring_other_ended(struct ring *r, const struct io_op *op)
{
	struct ring_fd *f = ring_fd(r, op->fd);

	if (f->closes == op->engine_u16)
		f->others--;
}

static inline void ring_finish(struct ring *r, struct io_op *op, int res)
{
	list_remove(&op->node);
	loop_finish(&r->loop, op, res);
}

static inline void ring_count_syscall(struct ring *r)
{
	stat_add(&r->loop.stats.syscalls, 1);
}

/* ---- ringqueue.c ---- */

/* A new entry at the end of the submission queue, zeroed but for the arguments. A full
 * queue is submitted first. The caller fills in the rest before the next call. */
struct io_uring_sqe *ring_sqe(struct ring *r, uint8_t opcode, int fd, uint64_t user_data);

/* Submits all written entries. With IORING_ENTER_GETEVENTS in flags: waits until there
 * are wait_n completions, or timeout_us (UINT64_MAX: none) has passed. */
void ring_enter(struct ring *r, unsigned wait_n, uint64_t timeout_us, unsigned flags);

/* Number of entries that the kernel has consumed, ever. */
unsigned ring_consumed(const struct ring *r);

/* True: the kernel holds completions that did not fit the completion queue. */
bool ring_overflowed(const struct ring *r);

/* Publishes buffers of the pool until published_target is reached; the reserve is
 * left. */
void ring_refill(struct ring *r);

/* The buffer that a completion has filled: the first one of a bundle; NULL: none. */
struct buf *ring_received(struct ring *r, unsigned cqe_flags);

/* The buffer that the same completion has filled after b. */
struct buf *ring_received_next(struct ring *r, const struct buf *b);

/* ---- ringsetup.c ---- */

/* Opens a ring without a look at ring_probe(). 0 or a negative errno; *stage then names
 * the system call that failed. */
int ring_start(struct io_loop **loop, const struct io_options *options,
	       const struct ring_features *has, const char **stage);

/* Bytes of a ring with these options that count as locked memory. */
size_t ring_bytes(const struct io_options *options);

void ring_done(struct io_loop *loop);

/* ---- ring.c ---- */

extern const struct io_engine ring_engine;

/* Submits all entries and completes the read of the eventfd, which points into the
 * ring. */
void ring_quiesce(struct ring *r);

/* ---- ringsock.c ---- */

void ring_accept(struct io_loop *loop, struct io_accept *op);
void ring_connect(struct io_loop *loop, struct io_connect *op);
void ring_cancel(struct io_loop *loop, struct io_op *op);
void ring_close(struct io_loop *loop, int fd, bool reset);
void ring_shutdown(struct io_loop *loop, int fd);
bool ring_wakeup_lost(struct io_loop *loop, int listener);

void ring_accept_completed(struct ring *r, struct io_accept *op, int res);
void ring_connect_completed(struct ring *r, struct io_connect *op, int res);

/* Submits the cancels again if one has missed its op. */
void ring_cancel_again(struct ring *r);

/* How sockets of a family receive. */
enum ring_recv_mode ring_recv_mode_of(const struct ring *r, int family);

/* Clears O_NONBLOCK. True: it was set, so an op that failed with EAGAIN may be
 * retried. */
bool ring_clear_nonblock(struct ring *r, int fd);

/* ---- probe.c ---- */

struct ring_probe {
	int error;         /* 0: io_uring works here; else a negative errno */
	const char *stage; /* what failed, if error */
	struct ring_features has;
};

/* Tried once per process, with a small ring. Any thread. */
const struct ring_probe *ring_probe(void);

#endif
