/* The contract suite: the same tests for all engines. They rely only on what io/io.h
 * promises; both ends of each connection use the same loop.
 *
 * Each op is part of a probe. The probe counts calls of done() (L1), checks at each of
 * them that io_wait() is running (L2), and poisons the op after the last one (L3).
 * rig_close() checks that a case has left no ops, sockets or buffers behind. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/list.h"
#include "io/io.h"

#define ON_RING (1u << IO_ENGINE_RING)
#define ON_EPOLL (1u << IO_ENGINE_EPOLL)
#define ON_SIM (1u << IO_ENGINE_SIM)
#define ON_REAL (ON_RING | ON_EPOLL)
#define ON_ALL (ON_REAL | ON_SIM)

#define IOVS_MAX 32u

struct rig;

struct case_ {
	const char *name;
	void (*run)(struct rig *r);
	unsigned engines;
	uint32_t buffers;   /* 0: 256 */
	uint32_t entries;   /* of both queues; 0: the engine's default */
	sa_family_t family; /* 0: AF_INET */
	bool in_child;      /* runs in a child process, because it changes limits */
};

struct rig {
	const struct case_ *case_;
	enum io_engine_kind kind;
	uint64_t seed, random;
	struct io_loop *loop;
	struct list probes; /* all probes of the case */
	bool in_wait,
		in_start; /* inside io_wait(); inside a function that starts an op */
	uint64_t facts;   /* calls of done() */
	uint64_t waits; /* calls of io_wait() */
	uint64_t trace; /* hash of all calls of done(), with their order and times */
	unsigned probes_n;
	unsigned busy;        /* ops in flight */
	unsigned descriptors; /* open in the process before the loop was opened */
	int listener;         /* -1: none */
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

/* Features that an older kernel lacks, or that FAIRLEAD_RING_WITHOUT switches off. */
bool rig_sends_silently(const struct rig *r);
bool rig_receives_many_times(const struct rig *r); /* per submission */

void rig_open(struct rig *r, const struct case_ *c, enum io_engine_kind kind,
	      uint64_t seed);
void rig_close(struct rig *r);

/* A pseudo-random number below n; n > 0. */
uint64_t rig_random(struct rig *r, uint64_t n);

/* One io_wait(); fails the case if no done() was called for WAIT_MAX. */
void rig_wait_event(struct rig *r);

/* One io_wait(); returns the number of done() calls. */
uint64_t rig_wait(struct rig *r, uint64_t timeout_us);

/* Waits until no more events come. */
void rig_settle(struct rig *r);

/* Waits 3 ms, whether events come or not. */
void rig_wait_briefly(struct rig *r);

#define PUMP(r, condition)                 \
	do {                               \
		while (!(condition))       \
			rig_wait_event(r); \
	} while (0)

/* Fails the case unless `holds`; the message has engine, case and seed. */
void check_at(const struct rig *r, bool holds, const char *what, const char *file,
	      int line);
#define CHECK(r, expression) check_at(r, (expression), #expression, __FILE__, __LINE__)

/* In a child process a failed check exits. */
extern bool rig_in_child;

/* The running case, for signal handlers. */
extern const struct rig *rig_running;

/* ---- probes ----------------------------------------------------------------- */

struct op_probe {
	struct list node; /* in rig->probes */
	struct rig *rig;
	void (*on_done)(struct op_probe *p, int res, unsigned flags); /* or NULL */
	void *owner;
	bool busy; /* in flight: between start and last done() */
	bool poisoned, is_recv;
	bool may_use_reserve; /* of its receives */
	bool kept_buf; /* poisoned but for op.recv.buf, which the engine still reads */
	unsigned starts, calls, lasts; /* starts; calls of done(); last calls of done() */
	int res;                       /* of the last done() */
	union probe_op {
		struct io_op op;
		struct io_accept accept;
		struct io_connect connect;
		struct io_recv recv;
		struct io_send send;
		struct io_write write;
	} * op;
	size_t page; /* size of the page that op has for itself; 0: op is on the heap */
	unsigned number;
};

struct op_probe *probe_new(struct rig *r);

/* The op has a page of its own, which is inaccessible after the last done(). */
struct op_probe *probe_new_page(struct rig *r);

void probe_accept(struct op_probe *p, int listener);
void probe_connect(struct op_probe *p, const struct sockaddr_storage *addr,
		   socklen_t len);
void probe_recv(struct op_probe *p, int fd, uint32_t window);
void probe_send(struct op_probe *p, int fd, struct iovec *iov, unsigned n,
		unsigned flags);
void probe_write(struct op_probe *p, int fd, const char *bytes, size_t len);
void probe_cancel(struct op_probe *p);

void rig_sock_close(struct rig *r, int fd);
void rig_sock_reset(struct rig *r, int fd);
void rig_sock_shutdown(struct rig *r, int fd);

/* ---- connections ------------------------------------------------------------ */

/* The two sockets of a connection: a connected, b was accepted. */
struct sock_pair {
	int a, b;
};

/* The rig's listener on 127.0.0.1 or a unix path; opened by the first call. */
int rig_listen(struct rig *r);

struct sock_pair pair_open(struct rig *r);
void pair_close(struct rig *r, struct sock_pair *pair);

/* ---- streams: byte values follow from stream number and position ------------- */

void stream_fill(uint64_t stream, uint64_t at, char *bytes, size_t n);
bool stream_is(uint64_t stream, uint64_t at, const char *bytes, size_t n);

struct stream_writer {
	struct op_probe *p;
	uint64_t stream, at; /* at: position of the next byte */
	char *bytes;
	size_t len;
	struct iovec iov[IOVS_MAX];
	uint64_t written; /* bytes of completed sends */
	int error;        /* of the last send, or 0 */
};

struct stream_writer *writer_new(struct rig *r, uint64_t stream);

/* Sends the stream's next len bytes in iov_n pieces of random size; a piece may be
 * empty. */
void writer_send(struct stream_writer *w, int fd, size_t len, unsigned iov_n,
		 unsigned flags);

/* More bytes than a connection takes while the peer does not read. */
size_t writer_stuck_bytes(const struct rig *r);
bool writer_busy(const struct stream_writer *w);
void writer_free(struct stream_writer *w);

#define READING 1 /* value of stream_reader.end */

struct stream_reader {
	struct op_probe *p;
	uint64_t stream, at;
	uint32_t window;
	bool again; /* restarts when its window is used up */
	bool hold;  /* keeps references to the buffers */
	int fd;
	int end;            /* READING; 0: end of the stream; < 0: an error */
	unsigned windows;   /* number of windows used up */
	uint64_t in_window; /* bytes since the last start */
	struct buf *held;
};

struct stream_reader *reader_new(struct rig *r, uint64_t stream);
void reader_start(struct stream_reader *rd, int fd, uint32_t window);
void reader_release(struct stream_reader *rd);
void reader_free(struct stream_reader *rd);

extern const struct case_ laws_cases[], streams_cases[], scarcity_cases[], other_cases[],
	secured_cases[];
extern const size_t laws_cases_n, streams_cases_n, scarcity_cases_n, other_cases_n,
	secured_cases_n;

#endif
