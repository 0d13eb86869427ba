/* Asynchronous input and output by completion, for one thread.
 *
 * Three engines implement this interface: io_uring, epoll, and a simulation in virtual
 * time. All three keep these laws; tests/contract checks them:
 *
 *   L1  Each started op gets exactly one last call of done(): the one without IO_MORE.
 *   L2  done() is called from io_wait() only, never from a function that starts an op.
 *   L3  From its start to its last done(), the op and all memory that it points to belong
 *       to the engine: the owner must not free, move, change or reuse them.
 *   L4  io_cancel() is a request: the last done() still comes, with -ECANCELED or with
 *       the result that won the race (kernel-notes/18-cancel-race).
 *   L5  A socket with ops in flight is closed only by io_close() or io_reset(): they
 *       cancel the ops first, and close then.
 *
 * The life of an op, which its owner embeds in its own struct:
 *
 *   io_op_init()       once; the op is idle
 *   io_recv(), …       starts it: it is in flight
 *   done(…, IO_MORE)   receives only, any number of times
 *   done()             the last call: the op is idle. It may be started again or freed,
 *                      also inside this call (but see io_recv)
 *
 * Starting an op allocates nothing, never blocks and never fails; an error is a result.
 * Results are >= 0 or a negative errno. There are no timeouts per op: base/wheel.h has
 * the deadlines, and io_wait() gets the next one as its timeout.
 *
 * Limits: at most one receive and one send in flight per socket. A listener may have
 * several accepts in flight, a file several writes, which may be done in any order. */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/list.h"
#include "io/buf.h"

struct io_loop;

/* A flag of done(): this is not the last call for this op. */
#define IO_MORE 1u

/* A flag of io_send(): the owner does not wait for the end of this send. Its done() need
 * not wake the loop; it may come together with the next event
 * (kernel-notes/03-silent-sends).
 *
 * As a flag of done(): the send completed like that. The socket had taken all bytes when
 * the io_wait() began, however long it then waited. */
#define IO_SILENT 2u

enum io_kind {
	IO_IDLE, /* not started, or its last done() was called */
	IO_ACCEPT,
	IO_CONNECT,
	IO_RECV,
	IO_SEND,
	IO_WRITE,
};

struct io_op {
	struct list node; /* for the engine */
	void (*done)(struct io_op *op, int res, unsigned flags);
	int fd;       /* the socket or file it works on */
	int res;      /* for the engine, as are all fields below but kind */
	uint8_t kind; /* enum io_kind */
	uint8_t state;
	uint16_t engine_u16; /* ring: ring_fd.closes at the start; else flags */
	uint32_t engine_u32; /* ring: position in the submission queue; sim: slot */
};

/* Accepts one connection: done(res = its socket), with the peer's address in `peer`. The
 * socket has TCP_NODELAY if its listener has. For the next connection the op is started
 * again. */
struct io_accept {
	struct io_op op;
	struct sockaddr_storage peer;
	socklen_t peer_len;
};

/* Opens a connection: done(res = the connected socket, with TCP_NODELAY set). On an error
 * the engine has closed the socket. addr is the caller's memory (L3 applies). */
struct io_connect {
	struct io_op op;
	const struct sockaddr *addr;
	socklen_t addr_len;
};

/* Receives bytes as they arrive, until `window` bytes have been delivered.
 *
 *   done(res > 0)   buf holds res bytes in data[begin..end). The callee takes the
 *                   reference by setting buf to NULL; otherwise the engine drops it
 *                   when done() returns, so the op must not be freed before that.
 *                   With IO_MORE the receive goes on. Without it the window is used up;
 *                   the last buffer may exceed it, by less than BUF_BYTES.
 *   done(res == 0)  End of the stream: the peer sends no more. Last call.
 *   done(res < 0)   An error. Last call.
 *
 * An empty buffer pool is no error: the op waits until buffers return. Among waiting
 * receives, those with may_use_reserve are served first. */
struct io_recv {
	struct io_op op;
	struct buf *buf;
	uint32_t left; /* for the engine: bytes of `window` still to be delivered */
	bool may_use_reserve; /* set by the owner before the start: see io/buf.h */
};

/* Sends all of the bytes: done(res = len), or fails. Partial sends are continued by the
 * engine. At most one send may be in flight per socket (kernel-notes/08-restarted-sends).
 * The engine may change the iovecs. */
struct io_send {
	struct io_op op;
	struct iovec *iov;
	unsigned iov_n;
	size_t len;        /* sum of the iovecs at the start */
	size_t left;       /* for the engine: bytes not yet taken by the socket */
	void *owner;       /* for the caller; the engine does not use it */
	struct msghdr msg; /* for the engine */
};

/* Appends to a file, pipe or terminal, for logs: done(res = len), or fails. Never blocks
 * the loop: io_uring writes through the ring, epoll in a thread of its own. */
struct io_write {
	struct io_op op;
	const char *ptr;
	size_t len;
	size_t left; /* for the engine: bytes not yet written */
	/* If nothing can be written now, the op may end with -EAGAIN, so that other writes need not
	 * wait for it. */
	bool nowait;
};

#define IO_STATS(X)                                                               \
	X(enters, "Waits for events: io_uring_enter or epoll_wait")               \
	X(syscalls, "System calls made by the engine, waits included")            \
	X(submissions, "Operations handed to the kernel")                         \
	X(completions, "Completions or readiness events handled")                 \
	X(recv_arms, "Receives armed")                                            \
	X(buffer_shortages, "Receives that found the buffer pool empty")          \
	X(overflows, "Times the completion queue overflowed")                     \
	X(short_sends, "Sends of which the socket first took only a part")        \
	X(silent_sends, "Sends that succeeded without a completion")              \
	X(accept_errors, "Accepts that failed for lack of descriptors or memory") \
	X(cancels, "Cancellations requested")                                     \
	X(silent_errors, "Failures of operations that have no owner, such as close")

/* One writer, the loop's thread. Other threads read with stat_read() (base/stats.h). */
struct io_stats {
#define X(name, help) uint64_t name;
	IO_STATS(X)
#undef X
};

enum io_engine_kind { IO_ENGINE_AUTO, IO_ENGINE_RING, IO_ENGINE_EPOLL, IO_ENGINE_SIM };

struct io_options {
	enum io_engine_kind engine; /* not AUTO: io_choose() resolves that */
	uint32_t buffers;           /* most receive buffers, 1 … 65,535 */
	bool writes;                /* io_write() will be used; epoll starts its thread
				       when the loop is opened, and not later */
	uint32_t entries;           /* submission queue; 0: 256 */
	uint32_t cq_entries;        /* completion queue; 0: 1024 */
	uint64_t seed;              /* simulation: decides order, sizes and delays */
};

/* ---- choosing and opening an engine ----------------------------------------- */

/* Tries a small ring with a real receive, once per process. Returns IO_ENGINE_RING, or
 * IO_ENGINE_EPOLL and in `why` one line that says what refused io_uring (kernel, sysctl
 * or seccomp filter) and the remedy. A successful trial does not mean that there is
 * memory for all rings: only io_open() shows that. */
enum io_engine_kind io_choose(char *why, size_t why_size);

/* Writes the same line for an io_open() that failed with `error`, in a program that opens
 * `loops` loops. */
void io_explain(enum io_engine_kind kind, int error, unsigned loops, char *why,
		size_t why_size);

/* Raises the limit of locked memory, which rings count against, as far as allowed. */
void io_raise_limit(void);

/* "io_uring", "epoll", "sim" or "auto". */
const char *io_engine_name(enum io_engine_kind kind);

/* Writes the kernel features that the engine would use, one per line. */
void io_describe(enum io_engine_kind kind, char *text, size_t size);

/* Opens a loop. From then on only the calling thread may use it, except for io_wake(). 0
 * or a negative errno. */
int io_open(struct io_loop **loop, const struct io_options *options);

/* Frees the loop. Asserts that no op is in flight. */
void io_free(struct io_loop *loop);

struct buf_pool *io_bufs(struct io_loop *loop);
struct io_stats *io_stats(struct io_loop *loop);

/* Monotonic time, in microseconds, at the end of the last wait in the kernel; done() sees
 * the same. Virtual time in the simulation. */
uint64_t io_now_us(const struct io_loop *loop);

/* Wall-clock time of the same moment, in milliseconds since the epoch. */
uint64_t io_wall_ms(const struct io_loop *loop);

/* ---- starting and cancelling ops --------------------------------------------- */

/* Initialises an op, which is then idle. Once, before the first start. */
void io_op_init(struct io_op *op, void (*done)(struct io_op *, int, unsigned));

/* True from the start of the op to its last done(); false inside that call. */
static inline bool io_busy(const struct io_op *op)
{
	return op->kind != IO_IDLE;
}

void io_accept(struct io_loop *loop, struct io_accept *op, int listener);
void io_connect(struct io_loop *loop, struct io_connect *op,
		const struct sockaddr *addr, socklen_t addr_len);

/* window: bytes, > 0. */
void io_recv(struct io_loop *loop, struct io_recv *op, int fd, uint32_t window);

/* iov_n: 1 … IOV_MAX, with 1 … INT_MAX bytes in all. flags: IO_SILENT or 0. */
void io_send(struct io_loop *loop, struct io_send *op, int fd, struct iovec *iov,
	     unsigned iov_n, unsigned flags);

/* len: 1 … INT_MAX. */
void io_write(struct io_loop *loop, struct io_write *op, int fd, const char *ptr,
	      size_t len);

/* Requests the end of an op (L4). The op may be idle: then nothing happens. */
void io_cancel(struct io_loop *loop, struct io_op *op);

/* ---- ending a connection ------------------------------------------------------ */

/* Cancels the ops in flight on the socket and closes it. Each op still gets its last
 * done(). The next accept or connect may return the same descriptor number. */
void io_close(struct io_loop *loop, int fd);

/* The same, but the peer gets a reset instead of an orderly end. */
void io_reset(struct io_loop *loop, int fd);

/* Shuts down the sending side: the peer gets the end of the stream. No send may be in
 * flight. */
void io_shutdown(struct io_loop *loop, int fd);

/* ---- questions to the kernel about a socket: a system call or two each ---------- */

/* How many bytes the peer has received since the last call with this *mark; the first call with 0:
 * since the connection was opened. IO_DELIVERED_SOME: some (a unix socket). Sets the mark. A send
 * may be in flight for long without done(): this tells a slow peer from a dead one. For deadlines
 * that have expired. */
uint64_t io_delivered(struct io_loop *loop, int fd, uint64_t *mark);
#define IO_DELIVERED_SOME UINT64_MAX

/* True: the peer has ended its side or reset the connection, even if bytes that it sent
 * before are still unread. For owners that have no receive in flight. */
bool io_peer_ended(struct io_loop *loop, int fd);

/* Sets our address of a connected or accepted socket; the family is AF_UNIX if it is not known. */
void io_local_address(struct io_loop *loop, int fd, struct sockaddr_storage *sa);

/* Bytes sent that may not have arrived: a reset now would destroy them. Bytes that have
 * arrived can be read by the peer even after a reset. 0 also if the connection is already
 * reset, or is a unix socket, where bytes arrive at once. */
uint64_t io_outstanding(struct io_loop *loop, int fd);

/* For a listener of which no accept is in flight any more. True: a connection waits, and
 * accepts of this loop that were cancelled may have taken the wake-up for it: another
 * process that accepts from the same socket was perhaps not woken
 * (kernel-notes/32-accepts-wait-exclusively). Always false with epoll, which wakes all. */
bool io_wakeup_lost(struct io_loop *loop, int listener);

/* ---- waiting ------------------------------------------------------------------ */

/* Submits the ops that were started, waits until an event comes or timeout_us has passed
 * (0: does not wait; UINT64_MAX: no limit), and calls done() for all completed ops. Waits
 * in the kernel exactly once. */
void io_wait(struct io_loop *loop, uint64_t timeout_us);

/* Adds `delta` to the number of requests in flight on this loop. If there are many,
 * io_wait() may wait up to 200 us longer to handle several completions at once. With many
 * requests in flight this is less than the time that a completion would queue behind others
 * without batching (kernel-notes/26-wait-for-n-or-t). */
void io_add_inflight(struct io_loop *loop, int delta);

/* Ends the io_wait() that the loop is in or will enter next. Any thread. */
void io_wake(struct io_loop *loop);

#endif
