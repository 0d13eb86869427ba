/* Completion-shaped input and output, for one thread.
 *
 * Three engines stand behind this page: io_uring, epoll, and a simulation in
 * virtual time. What they owe their callers:
 *
 *   L1  Each started op gets exactly one last call of done: the one without
 *       IO_MORE.
 *   L2  done is called from io_wait() only, never from io_<verb>().
 *   L3  From start to last done the op, and all it points at, belong to the
 *       engine: not freed, moved or reused.
 *   L4  Cancelling is a wish: the last done still comes, with -ECANCELED or
 *       with the result that won the race (kernel-notes/18-cancel-race).
 *   L5  A socket is closed only when no op on it is in flight, or by
 *       io_close(), which cancels what is and is the engine's own pair.
 *
 * An op is embedded in its owner: nothing is allocated per operation. Starting
 * never blocks, never fails and never calls back. Time lives in the wheel: the
 * loop knows one deadline. A result is >= 0, or a negative errno. */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/list.h"
#include "io/buf.h"

struct io_loop;

/* Flags of done. */
#define IO_MORE 1u /* not the last call for this op */

/* A flag of io_send(), and of its done. */
#define IO_SILENT 2u /* nobody waits for the end of this send: its done may come
			with the next thing that happens, instead of waking the
			loop (kernel-notes/03-silent-sends). In done: so it was, and
			all was taken when the wait began, however long that lasted */

enum io_kind {
	IO_IDLE, /* not started, or its last done was called */
	IO_ACCEPT,
	IO_CONNECT,
	IO_RECV,
	IO_SEND,
	IO_WRITE,
};

struct io_op {
	struct list node; /* the engine's */
	void (*done)(struct io_op *op, int res, unsigned flags);
	int fd;           /* the socket it works on */
	int res;          /* the engine's */
	uint8_t kind;     /* enum io_kind */
	uint8_t state;    /* the engine's */
	uint16_t flags;   /* the engine's */
	uint32_t engine;  /* the engine's */
};

/* One connection accepted: done(res = its socket). One shot. The socket has
 * TCP_NODELAY where its listener has. peer is filled in. */
struct io_accept {
	struct io_op op;
	struct sockaddr_storage peer;
	socklen_t peer_len;
};

/* done(res = the connected socket, TCP_NODELAY set; or the reason, and there is
 * no socket). addr stays the caller's and must outlive the op. */
struct io_connect {
	struct io_op op;
	const struct sockaddr *addr;
	socklen_t addr_len;
};

/* Bytes as they come. done(res > 0): buf holds res bytes at data[begin..end);
 * take it by setting buf to NULL, else the engine puts it back. Goes on with
 * IO_MORE until `window` bytes have been delivered (the last buffer may go over
 * it): that done is the last. res == 0: the peer will send no more; last. An
 * empty pool is never reported: the op waits until buffers return, and comes before
 * those that are not may_use_reserve. */
struct io_recv {
	struct io_op op;
	bool may_use_reserve; /* the caller's, set before: may use the reserve (buf.h) */
	struct buf *buf;
	uint32_t window; /* bytes still to be delivered; the engine's */
};

/* All of the bytes, or an error: done(res = their count). At most one send in
 * flight per socket (kernel-notes/08-restarted-sends). The iovecs are the engine's
 * until the last done, and may be changed by it; so are the bytes. */
struct io_send {
	struct io_op op;
	struct iovec *iov;
	unsigned iov_n;
	size_t len;  /* all bytes asked for */
	size_t left; /* the engine's */
	void *owner; /* the caller's */
	struct msghdr msg;
};

/* Appends to a file, pipe or terminal; for logs. done(res = len, or error).
 * Never blocks the loop: through the ring, or by a writer thread. */
struct io_write {
	struct io_op op;
	const char *ptr;
	size_t len;
	size_t left; /* the engine's */
};

#define IO_STATS(X)                                                            \
	X(enters, "Waits for events: io_uring_enter or epoll_wait")            \
	X(syscalls, "System calls made by the engine, waits included")         \
	X(submissions, "Operations handed to the kernel")                      \
	X(completions, "Completions or readiness events taken")                \
	X(recv_arms, "Receives armed")                                         \
	X(buffer_shortages, "Receives that found the buffer pool empty")                \
	X(overflows, "Times the completion queue overflowed")                  \
	X(short_sends, "Sends that the socket took only a part of at first")   \
	X(silent_sends, "Sends that completed without a completion")           \
	X(accept_errors, "Accepts that failed for lack of descriptors or memory") \
	X(cancels, "Operations asked to be cancelled")                         \
	X(silent_errors, "Fire-and-forget operations that failed")

/* One writer (the loop's thread); others read with relaxed loads. */
struct io_stats {
#define X(name, help) uint64_t name;
	IO_STATS(X)
#undef X
};

enum io_engine_kind { IO_ENGINE_AUTO, IO_ENGINE_RING, IO_ENGINE_EPOLL, IO_ENGINE_SIM };

struct io_options {
	enum io_engine_kind engine; /* not AUTO: io_choose() resolves that */
	uint32_t buffers;           /* most receive buffers, 1 … 65,535 */
	bool writes;                /* io_write() will be used: no thread is started
				       for it later */
	uint32_t entries;           /* submission queue; 0: 256 */
	uint32_t cq_entries;        /* completion queue; 0: 1024 */
	uint64_t seed;              /* sim: draws order, sizes and delays */
};

/* Tries a small ring with a real operation. Returns IO_ENGINE_RING, or
 * IO_ENGINE_EPOLL and in `why` one line that says which of kernel, sysctl or
 * seccomp filter refused, and the remedy. Whether memory is there for as many as are
 * needed only io_open() tells. */
enum io_engine_kind io_choose(char *why, size_t why_size);

/* The same line for a program whose io_open() has failed with `error`, for one of `loops` that
 * it wanted. */
void io_explain(enum io_engine_kind kind, int error, unsigned loops, char *why,
		size_t why_size);

/* Raises the limit of locked memory, against which rings count, as far as this process may. */
void io_raise_limit(void);

/* "io_uring", "epoll", "sim". */
const char *io_engine_name(enum io_engine_kind kind);

/* Writes the kernel features that the engine would use, one a line. */
void io_describe(enum io_engine_kind kind, char *text, size_t size);

/* Opens a loop on the calling thread, which alone may use it from then on
 * (io_wake() excepted). Returns 0 or a negative errno. */
int io_open(struct io_loop **loop, const struct io_options *options);

/* Every op has had its last done. Frees all. */
void io_free(struct io_loop *loop);

struct buf_pool *io_bufs(struct io_loop *loop);
struct io_stats *io_stats(struct io_loop *loop);

/* Monotonic time as the loop saw it when io_wait() last returned; while that tells of
 * facts, when it had waited for them. Virtual in the simulation. */
uint64_t io_now_us(const struct io_loop *loop);

/* Wall-clock time in seconds and milliseconds, same moment. */
uint64_t io_wall_ms(const struct io_loop *loop);

void io_op_init(struct io_op *op, void (*done)(struct io_op *, int, unsigned));

static inline bool io_busy(const struct io_op *op)
{
	return op->kind != IO_IDLE;
}

void io_accept(struct io_loop *loop, struct io_accept *op, int listener);
void io_connect(struct io_loop *loop, struct io_connect *op,
		const struct sockaddr *addr, socklen_t addr_len);
void io_recv(struct io_loop *loop, struct io_recv *op, int fd, uint32_t window);
void io_send(struct io_loop *loop, struct io_send *op, int fd, struct iovec *iov,
	     unsigned iov_n, unsigned flags);
void io_write(struct io_loop *loop, struct io_write *op, int fd, const char *ptr,
	      size_t len);

/* A wish; the op may be idle already. */
void io_cancel(struct io_loop *loop, struct io_op *op);

/* Cancels whatever is in flight on the socket and closes it. Each op still gets
 * its last done; the number may be reused by the next accept or connect. */
void io_close(struct io_loop *loop, int fd);

/* The same, and the peer sees a reset instead of an orderly end. */
void io_reset(struct io_loop *loop, int fd);

/* Tells the peer that no more will be sent. No send is in flight. */
void io_shutdown(struct io_loop *loop, int fd);

/* Has the peer taken bytes of what was sent since *mark was set? Sets it anew. A send in
 * flight may go on for long without a done; this tells a slow peer from a dead one. Costs a
 * system call: for deadlines that have rung. */
bool io_delivered(struct io_loop *loop, int fd, uint64_t *mark);

/* Has the peer ended its side or reset the connection, whatever it sent before that is still
 * unread? For those who receive nothing now; costs a system call. */
bool io_peer_ended(struct io_loop *loop, int fd);

/* Bytes that were sent and may not have arrived yet: a reset now would destroy them. 0 where
 * it would not. What has arrived the peer can read behind a reset. Costs a system call or two. */
uint64_t io_outstanding(struct io_loop *loop, int fd);

/* Submits what was started, waits until something happened or timeout_us went
 * by (0: does not wait; UINT64_MAX: for ever), and calls done for all that
 * happened. Exactly one wait in the kernel. */
void io_wait(struct io_loop *loop, uint64_t timeout_us);

/* So many more exchanges (requests that are not answered yet) are under way on this loop,
 * or fewer. Where there are many, io_wait() may let a moment pass, 200 us at most, until
 * several things have happened: each of them waits less for it than it would for its turn. */
void io_add_inflight(struct io_loop *loop, int more);

/* Ends the io_wait() that the loop is in or will be in next. Any thread. */
void io_wake(struct io_loop *loop);

#endif
