/* The interface between loop.c and the engines: a table of functions that each engine
 * provides, and functions of loop.c that all engines use.
 *
 * An engine's struct has struct io_loop as its first member and is allocated with
 * calloc(). Before loop.c calls a function that starts an op, it has checked and filled
 * in the op: the op was idle, its kind and fd are set, a send's len and left are the sum
 * of its iovecs, a receive has no buffer. The function only starts the op (L2). All
 * functions but wake() are called on the loop's thread. */
#ifndef IO_ENGINE_H
#define IO_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "base/stats.h"
#include "io/buf.h"
#include "io/io.h"

struct io_engine {
	void (*accept)(struct io_loop *loop, struct io_accept *op);
	void (*connect)(struct io_loop *loop, struct io_connect *op);
	void (*recv)(struct io_loop *loop, struct io_recv *op); /* op->left is set */
	void (*send)(struct io_loop *loop, struct io_send *op, bool silent);
	void (*write)(struct io_loop *loop, struct io_write *op);
	/* op is busy and not on loop->early. */
	void (*cancel)(struct io_loop *loop, struct io_op *op);
	/* Cancels the ops in flight on fd and closes it; reset: sends RST. */
	void (*close)(struct io_loop *loop, int fd, bool reset);
	void (*shutdown)(struct io_loop *loop, int fd);
	/* Returns the mark of io_delivered(). */
	uint64_t (*delivered)(struct io_loop *loop, int fd);
	bool (*peer_ended)(struct io_loop *loop, int fd);
	void (*local_address)(struct io_loop *loop, int fd, struct sockaddr_storage *sa);
	uint64_t (*outstanding)(struct io_loop *loop, int fd);
	bool (*wakeup_lost)(struct io_loop *loop, int listener);
	/* Submits, waits once, calls done(). Before it, loop.c calls
	 * loop_deliver_early(), and passes timeout 0 if that called any done(). If an op
	 * is put on loop->early before the engine waits, it must not wait either. */
	void (*wait)(struct io_loop *loop, uint64_t timeout_us);
	void (*wake)(struct io_loop *loop); /* any thread */
	/* Frees the engine's resources and puts its buffers back into the pool.
	 * loop->bufs and the engine's struct are freed by io_free(). */
	void (*done)(struct io_loop *loop);
};

struct io_loop {
	const struct io_engine *engine;
	enum io_engine_kind kind;
	struct buf_pool bufs;
	struct io_stats stats;
	uint64_t now_us, wall_ms; /* set by loop_clock(), or by the simulation */
	uint32_t busy;            /* ops in flight */
	uint32_t inflight;        /* requests in flight: see io_add_inflight() */
	struct list early;        /* ops whose result is known before the wait */
};

/* op->state while the op is on loop->early; all other values belong to the engine. */
#define OP_EARLY 255

/* Open an engine; 0 or a negative errno. */
int ring_open(struct io_loop **loop, const struct io_options *options);
int epoll_open(struct io_loop **loop, const struct io_options *options);
int sim_open(struct io_loop **loop, const struct io_options *options);

/* io_describe() for each engine. */
void ring_describe(char *text, size_t size);
void epoll_describe(char *text, size_t size);
void sim_describe(char *text, size_t size);

/* Initialises struct io_loop and its buffer pool. 0 or -ENOMEM. */
int loop_init(struct io_loop *loop, const struct io_engine *engine,
	      enum io_engine_kind kind, const struct io_options *options);

/* delivered(), peer_ended(), local_address() and outstanding() for real sockets. */
uint64_t loop_delivered(struct io_loop *loop, int fd);
bool loop_peer_ended(struct io_loop *loop, int fd);
void loop_local_address(struct io_loop *loop, int fd, struct sockaddr_storage *sa);
uint64_t loop_outstanding(struct io_loop *loop, int fd);

/* Sets now_us and wall_ms from the system's clocks. */
void loop_clock(struct io_loop *loop);

/* Calls the last done() of an op, whose node must be on no list. After that the op
 * belongs to its owner and may have been freed. */
void loop_finish(struct io_loop *loop, struct io_op *op, int res);

/* The same for a silent send of which the socket has taken all bytes. */
void loop_finish_silent(struct io_loop *loop, struct io_send *op);

/* Delivers n bytes of b, from b->begin on, to a receive; drops the reference to b unless
 * the callee has taken it. Reduces the window. True: n < window, the op goes on. False:
 * this was its last done(); the op's node must have been on no list. The op's memory must
 * remain valid until this returns, because op->buf is read after done(). */
bool loop_deliver(struct io_loop *loop, struct io_recv *op, struct buf *b, uint32_t n);

/* A buffer for a receive; NULL: none is left, or only those of the reserve. */
struct buf *loop_take_buf(struct io_loop *loop, const struct io_recv *op);

/* For an op whose result is known when it is started: done() follows from the next
 * io_wait() (L2). The op's node must be on no list. */
void loop_finish_early(struct io_loop *loop, struct io_op *op, int res);

/* Calls done() of the ops that are on loop->early now; returns their number. */
unsigned loop_deliver_early(struct io_loop *loop);

/* Removes the first n bytes from a send: op->left and the iovecs then describe the rest.
 * n < op->left. */
void send_advance(struct io_send *op, size_t n);

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
