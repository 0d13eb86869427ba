/* The io_uring engine: what its files share.
 *
 *   ring.c       receiving, sending, writing, the wait
 *   ringsock.c   how sockets come and go: accepting, connecting, closing
 *   ringqueue.c  entries in, one enter out, the ring of receive buffers
 *   ringsetup.c  opening and closing
 *   probe.c      what this kernel can do, and why it cannot
 *
 * A completion's user_data is the address of its op, which lives until its last
 * done (L3), so that there are no stale completions; small numbers are the sinks
 * of what nobody waits for. */
#ifndef IO_RING_H
#define IO_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "abi.h"
#include "engine.h"
#include "fds.h"

/* What can be switched off with FAIRLEAD_RING_WITHOUT=name,… for tests. */
#define RING_FEATURES(X)                                                         \
	X(cap, "TCP receives that end by themselves at the window (Linux 6.17)") \
	X(bundle, "receives that fill several buffers at once (Linux 6.10)")     \
	X(min_wait, "waits for several completions for a while (Linux 6.12)")    \
	X(silent, "sends that complete without a completion")                    \
	X(no_iowait, "waiting is not counted as iowait (Linux 6.15)")            \
	X(ringfd, "registered ring descriptor")                                  \
	X(restrictions, "the kernel refuses what fairlead does not use")

struct ring_features {
#define X(name, help) bool name;
	RING_FEATURES(X)
#undef X
};

/* user_data of completions that belong to no op. */
enum ring_sink {
	SINK_NONE,
	SINK_CANCEL,
	SINK_CLOSE,
	SINK_WAKE,
};

/* Bits of op->state. op->engine is the position in the submission queue of a
 * silent send; op->flags the generation of its socket when it was started. */
enum {
	RING_SILENT = 1,     /* on ring->silent: no completion unless it fails */
	RING_NO_BUFFER = 2,  /* on ring->starved, and not with the kernel */
	RING_CANCELLED = 4,  /* never submitted again; on ring->cancelling if flying */
	RING_POLLING = 8,    /* a write that waits for room */
	RING_SHORTENED = 16, /* a send that was counted as short */
	RING_IN_HAND = 32    /* a receive that was given a buffer, in op->buf */
};

/* How a socket receives. */
enum ring_recv_mode {
	RECV_UNKNOWN,
	RECV_MULTISHOT, /* with one submission, until the window is used up */
	RECV_ONCE,      /* one buffer a submission */
};

struct ring_fd {
	struct io_op *recv;  /* with the kernel; NULL: none */
	uint16_t generation; /* counts closes of this number */
	uint16_t sends;      /* in flight with a completion to come */
	uint16_t others;     /* likewise accepts and writes */
	uint8_t recv_mode;   /* enum ring_recv_mode */
	bool fills_buffers;  /* it has filled a buffer: more at once is worth while */
};

/* Receive buffers with the kernel: at first as many as the pool's first chunk,
 * doubled each time they were too few (kernel-notes/05-buffer-starvation), as all of
 * them are gone through in turn (kernel-notes/27-footprint-of-a-buffer-ring). */
#define RING_PUBLISHED_MIN 64u
#define RING_PUBLISHED_MAX 256u

/* Twice as many as are published, so that no place is written anew before what was
 * received into its neighbours has been looked at (kernel-notes/30-bundled-receives). */
#define RING_PLACES (2 * RING_PUBLISHED_MAX)
#define RING_BUFFER_GROUP 0

/* With so many exchanges under way, a wait is for one completion in as many, and for
 * RING_BATCH_US at most once there is one. Completions come at the rate of exchanges under
 * way to the time that each takes (Little's law), so a wait for an eighth of them makes an
 * exchange longer by an eighth at most; and few of them wait for none. With 64 at most, 9,900
 * connections kept 731 bytes each when idle again, with 16 fewer than 512 (tests/real/memory). */
#define RING_BATCH_SHARE 8u
#define RING_BATCH_MAX 16u
#define RING_BATCH_US 200u

struct ring {
	struct io_loop loop;
	struct io_uring uring; /* its mappings; liburing submits nothing here */
	struct ring_features has;
	unsigned enter_flags;
	int enter_fd;
	unsigned tail;      /* entries written; published by the next enter */
	bool cancel_missed; /* a cancel found nothing */
	bool closed;        /* a socket was closed while receives starved */
	bool wake_armed;
	struct io_uring_buf_ring *bufs;
	unsigned published_target;
	struct list silent;     /* sends, in order of submission */
	struct list starved
		[2]; /* receives waiting for buffers; [true]: the may_use_reserve */
	struct list cancelling; /* ops with the kernel that were asked to end */
	struct fds fds;         /* struct ring_fd */
	int wake_fd;
	uint64_t wake_count; /* where the kernel reads the eventfd to */
	atomic_bool woken;   /* the eventfd was written and not yet read */
};

static inline struct ring_fd *ring_fd(struct ring *r, int fd)
{
	return fds_at(&r->fds, fd);
}

static inline struct ring *ring_of(struct io_loop *loop)
{
	return CONTAINER(loop, struct ring, loop);
}

static inline uint64_t ring_cookie(const struct io_op *op)
{
	return (uintptr_t)op;
}

/* Its socket was closed, or it was told to end: what comes back from the kernel is
 * its end and must not be submitted again. By then the descriptor may be another
 * connection's (kernel-notes/04-cancel-and-close). */
static inline bool ring_is_over(struct ring *r, const struct io_op *op)
{
	return op->state & RING_CANCELLED || ring_fd(r, op->fd)->generation != op->flags;
}

/* Receives wait for buffers. */
static inline bool ring_lacks_buffers(const struct ring *r)
{
	return !list_empty(&r->starved[false]) || !list_empty(&r->starved[true]);
}

/* An accept or a write has come back. */
static inline void ring_other_ended(struct ring *r, const struct io_op *op)
{
	struct ring_fd *f = ring_fd(r, op->fd);

	if (f->generation == op->flags)
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

/* An entry at the end of the queue, which is flushed first if full. The caller fills
 * it in before it asks for the next. */
struct io_uring_sqe *ring_sqe(struct ring *r, uint8_t opcode, int fd, uint64_t user_data);

/* Submits what was written. With IORING_ENTER_GETEVENTS in flags: waits until
 * wait_n completions are there or the time is over. */
void ring_enter(struct ring *r, unsigned wait_n, uint64_t timeout_us, unsigned flags);

/* Entries that the kernel has taken, ever. */
unsigned ring_consumed(const struct ring *r);

/* Completions are left that did not fit their queue. */
bool ring_overflowed(const struct ring *r);

/* Fills the buffer ring from the pool; one publication. */
void ring_refill(struct ring *r);

/* The buffer that a completion brought: the first of them, if it filled several. */
struct buf *ring_received(struct ring *r, unsigned cqe_flags);

/* The one that was filled after b, by the same completion. */
struct buf *ring_received_next(struct ring *r, const struct buf *b);

/* ---- ringsetup.c ---- */

/* stage: the system call that failed, for the report. */
int ring_start(struct io_loop **loop, const struct io_options *options,
	       const struct ring_features *has, const char **stage);

/* What counts as locked memory of a ring with these options. */
size_t ring_bytes(const struct io_options *options);

void ring_done(struct io_loop *loop);

/* ---- ring.c ---- */

extern const struct io_engine ring_engine;

/* Submits all and brings the read of the eventfd to its end. */
void ring_settle(struct ring *r);

/* ---- ringsock.c ---- */

void ring_accept(struct io_loop *loop, struct io_accept *op);
void ring_connect(struct io_loop *loop, struct io_connect *op);
void ring_cancel(struct io_loop *loop, struct io_op *op);
void ring_close(struct io_loop *loop, int fd, bool reset);
void ring_shutdown(struct io_loop *loop, int fd);

void ring_accept_completed(struct ring *r, struct io_accept *op, int res);
void ring_connect_completed(struct ring *r, struct io_connect *op, int res);

/* Asks once more for those that a cancel has missed. */
void ring_cancel_again(struct ring *r);

/* The way for sockets of a family. */
enum ring_recv_mode ring_recv_mode_of(const struct ring *r, int family);

/* True: fd was O_NONBLOCK and is no more, so that the op may be tried again. */
bool ring_lost_nonblock(struct ring *r, int fd);

/* ---- probe.c ---- */

struct ring_probe {
	int error;         /* 0: it works here */
	const char *stage; /* what was refused */
	struct ring_features has;
};

/* Found out once per process. */
const struct ring_probe *ring_probe(void);

#endif
