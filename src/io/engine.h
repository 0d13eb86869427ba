/* What an engine is to loop.c, and what loop.c gives to every engine.
 *
 * An engine embeds struct io_loop as its first member and allocates itself with
 * calloc(). loop.c has checked and filled in the op before a verb of the table is
 * called: it was idle, its kind and fd are set, a send's len and left are the sum
 * of its iovecs, a receive has no buffer. A verb only starts. */
#ifndef IO_ENGINE_H
#define IO_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "io/buf.h"
#include "io/io.h"

struct io_engine {
	void (*accept)(struct io_loop *loop, struct io_accept *op);
	void (*connect)(struct io_loop *loop, struct io_connect *op);
	void (*recv)(struct io_loop *loop, struct io_recv *op); /* op->window is set */
	void (*send)(struct io_loop *loop, struct io_send *op, bool silent);
	void (*write)(struct io_loop *loop, struct io_write *op);
	/* op is busy, and not on loop->early. */
	void (*cancel)(struct io_loop *loop, struct io_op *op);
	/* Cancels what is in flight on fd and closes it; reset: with RST. */
	void (*close)(struct io_loop *loop, int fd, bool reset);
	void (*shutdown)(struct io_loop *loop, int fd);
	uint64_t (*delivered)(struct io_loop *loop, int fd); /* a mark: see io_delivered() */
	bool (*peer_ended)(struct io_loop *loop, int fd);
	uint64_t (*outstanding)(struct io_loop *loop, int fd);
	/* Submits, waits once, delivers. loop.c calls loop_deliver_early() before
	 * it, and then with timeout 0 if that delivered anything. If loop->early
	 * is filled while it runs, before its wait, it must not wait either. */
	void (*wait)(struct io_loop *loop, uint64_t timeout_us);
	void (*wake)(struct io_loop *loop); /* any thread */
	/* Lets go of what the engine owns, its buffers given back to the pool; but
	 * not of loop->bufs and not of its own memory: io_free() does these. */
	void (*done)(struct io_loop *loop);
};

struct io_loop {
	const struct io_engine *engine;
	enum io_engine_kind kind;
	struct buf_pool bufs;
	struct io_stats stats;
	uint64_t now_us, wall_ms; /* set by loop_clock(), or by the simulation */
	uint32_t busy;            /* ops started that have not had their last done */
	uint32_t inflight;        /* exchanges under way: see io_add_inflight() */
	struct list early;        /* ops whose result is known without the kernel */
};

/* op->state while it is on loop->early; engines use other values as they like. */
#define OP_EARLY 255

/* Each opens an engine; 0 or a negative errno. */
int ring_open(struct io_loop **loop, const struct io_options *options);
int epoll_open(struct io_loop **loop, const struct io_options *options);
int sim_open(struct io_loop **loop, const struct io_options *options);

/* The lines of io_describe(). */
void ring_describe(char *text, size_t size);
void epoll_describe(char *text, size_t size);
void sim_describe(char *text, size_t size);

/* Fills in the part that all engines have. 0 or -ENOMEM. */
int loop_init(struct io_loop *loop, const struct io_engine *engine,
	      enum io_engine_kind kind, const struct io_options *options);

/* The mark of a socket of the system. */
uint64_t loop_delivered(struct io_loop *loop, int fd);
bool loop_peer_ended(struct io_loop *loop, int fd);

/* io_outstanding() of a socket of the system. */
uint64_t loop_outstanding(struct io_loop *loop, int fd);

/* Takes the time from the system's clocks. */
void loop_clock(struct io_loop *loop);

/* The last done of an op, whose node must be on no list. The op is its owner's
 * again; do not touch it after. */
void loop_finish(struct io_loop *loop, struct io_op *op, int res);

/* The same for a silent send that was taken whole. */
void loop_finish_silent(struct io_loop *loop, struct io_send *op);

/* Hands n bytes of b (which begins at b->begin) to a receive, and takes b back if
 * the callee did not take it. Lowers the window. Returns true if the op goes on
 * (n < window); else this was its last done (n >= window), and the op's node must
 * be on no list. The memory of the op must outlive its done, as far as buf. */
bool loop_deliver(struct io_loop *loop, struct io_recv *op, struct buf *b, uint32_t n);

/* A buffer for a receive, if it may have one. */
struct buf *loop_take(struct io_loop *loop, const struct io_recv *op);

/* The result is known already: done follows from the next io_wait() (L2). The
 * op's node must be on no list. */
void loop_finish_early(struct io_loop *loop, struct io_op *op, int res);

/* Calls done of those queued when it was called; returns how many. */
unsigned loop_deliver_early(struct io_loop *loop);

/* Drops n bytes from the front of a send's iovecs: op->left and the iovecs then
 * describe the rest. n < op->left. */
void send_advance(struct io_send *op, size_t n);

/* One writer, so no read-modify-write is needed; others may read at any time. */
static inline void stat_add(uint64_t *stat, uint64_t n)
{
	__atomic_store_n(stat, *stat + n, __ATOMIC_RELAXED);
}

static inline struct io_accept *op_accept(struct io_op *op)
{
	return CONTAINER(op, struct io_accept, op);
}

static inline struct io_connect *op_connect(struct io_op *op)
{
	return CONTAINER(op, struct io_connect, op);
}

static inline struct io_recv *op_recv(struct io_op *op)
{
	return CONTAINER(op, struct io_recv, op);
}

static inline struct io_send *op_send(struct io_op *op)
{
	return CONTAINER(op, struct io_send, op);
}

static inline struct io_write *op_write(struct io_op *op)
{
	return CONTAINER(op, struct io_write, op);
}

#endif
