/* The contract suite: one text for all engines. It uses what io.h promises and
 * nothing else; both ends of each connection are driven through one loop.
 *
 * Each op sits in a probe, which keeps the count for L1, sees to L2 at every call
 * and poisons the op after its last done (L3). What a case leaves behind (ops,
 * sockets, buffers) is checked when its rig is closed. */
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
	uint32_t entries;   /* of both queues; 0: the engine's own */
	sa_family_t family; /* 0: AF_INET */
	bool in_child;      /* runs in a process of its own: it changes the process */
};

struct rig {
	const struct case_ *case_;
	enum io_engine_kind kind;
	uint64_t seed, random;
	struct io_loop *loop;
	struct list probes; /* all, until the rig is closed */
	bool in_wait, in_verb;
	uint64_t facts; /* calls of done */
	uint64_t waits; /* calls of io_wait() */
	uint64_t trace; /* hash of what was told, in order, and when */
	unsigned probes_n;
	unsigned busy;        /* ops started and not ended */
	unsigned descriptors; /* of the process, before the loop was opened */
	int listener;         /* -1: none yet */
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

/* What an engine leaves out on an older kernel, or when a test switches it off. */
bool rig_sends_silently(const struct rig *r);
bool rig_receives_many_times(const struct rig *r); /* with one submission */

void rig_open(struct rig *r, const struct case_ *c, enum io_engine_kind kind,
	      uint64_t seed);
void rig_close(struct rig *r);

/* A number below n; n > 0. */
uint64_t rig_draw(struct rig *r, uint64_t n);

/* One io_wait(); fails the case if nothing at all happened for long. */
void rig_turn(struct rig *r);

/* io_wait() as it is; returns the calls of done. */
uint64_t rig_wait(struct rig *r, uint64_t timeout_us);

/* Waits until nothing happens any more. */
void rig_settle(struct rig *r);

/* A few milliseconds in which nothing needs to happen. */
void rig_pause(struct rig *r);

#define PUMP(r, condition)           \
	do {                         \
		while (!(condition)) \
			rig_turn(r); \
	} while (0)

/* Says which engine, case and seed before it fails. */
void check_at(const struct rig *r, bool holds, const char *what, const char *file,
	      int line);
#define CHECK(r, expression) check_at(r, (expression), #expression, __FILE__, __LINE__)

/* In a child of a case a failed check ends the process. */
extern bool rig_in_child;

/* For signals: which case was running. */
extern const struct rig *rig_running;

/* ---- probes ----------------------------------------------------------------- */

struct probe {
	struct list node; /* in rig->probes */
	struct rig *rig;
	void (*told)(struct probe *p, int res, unsigned flags); /* or NULL */
	void *owner;
	bool busy; /* between start and last done */
	bool poisoned, is_recv;
	bool may_use_reserve; /* its receives are */
	bool kept_buf; /* poisoned without op.recv.buf, which the engine reads */
	unsigned starts, calls, lasts;
	int res; /* of the last done */
	union probe_op {
		struct io_op op;
		struct io_accept accept;
		struct io_connect connect;
		struct io_recv recv;
		struct io_send send;
		struct io_write write;
	} * op;
	size_t page; /* op is a page of its own, of so many bytes; else 0 */
	unsigned number;
};

struct probe *probe_new(struct rig *r);

/* Its op stands on a page that nobody may touch after the last done. */
struct probe *probe_new_page(struct rig *r);

void probe_accept(struct probe *p, int listener);
void probe_connect(struct probe *p, const struct sockaddr_storage *addr, socklen_t len);
void probe_recv(struct probe *p, int fd, uint32_t window);
void probe_send(struct probe *p, int fd, struct iovec *iov, unsigned n, unsigned flags);
void probe_write(struct probe *p, int fd, const char *bytes, size_t len);
void probe_cancel(struct probe *p);

void rig_sock_close(struct rig *r, int fd);
void rig_sock_reset(struct rig *r, int fd);
void rig_sock_shutdown(struct rig *r, int fd);

/* ---- connections ------------------------------------------------------------ */

/* The two sockets of one connection: who connected, who was accepted. */
struct pair {
	int a, b;
};

/* The rig's listener on 127.0.0.1 or a unix path; made once. */
int rig_listen(struct rig *r);

struct pair pair_open(struct rig *r);
void pair_close(struct rig *r, struct pair *pair);

/* ---- streams: bytes known by stream and position ---------------------------- */

void stream_fill(uint64_t stream, uint64_t at, char *bytes, size_t n);
bool stream_is(uint64_t stream, uint64_t at, const char *bytes, size_t n);

struct writer {
	struct probe *p;
	uint64_t stream, at; /* at: of the next byte */
	char *bytes;
	size_t len;
	struct iovec iov[IOVS_MAX];
	uint64_t written; /* in sends that were done */
	int error;        /* of the last send, or 0 */
};

struct writer *writer_new(struct rig *r, uint64_t stream);

/* One send of the stream's next len bytes, cut into iov_n pieces by chance; the
 * first ones may be empty. */
void writer_send(struct writer *w, int fd, size_t len, unsigned iov_n, unsigned flags);

/* More bytes than a connection absorbs while nobody reads. */
size_t writer_stuck(const struct rig *r);
bool writer_busy(const struct writer *w);
void writer_free(struct writer *w);

#define READING 1 /* of reader.end */

struct reader {
	struct probe *p;
	uint64_t stream, at;
	uint32_t window;
	bool again; /* starts anew when its window is used up */
	bool hold;  /* keeps the buffers */
	int fd;
	int end;            /* READING; 0: the peer's end; < 0: an error */
	unsigned windows;   /* used up */
	uint64_t in_window; /* bytes since it was started */
	struct buf *held;
};

struct reader *reader_new(struct rig *r, uint64_t stream);
void reader_start(struct reader *rd, int fd, uint32_t window);
void reader_let_go(struct reader *rd);
void reader_free(struct reader *rd);

extern const struct case_ laws_cases[], streams_cases[], scarcity_cases[], other_cases[];
extern const size_t laws_cases_n, streams_cases_n, scarcity_cases_n, other_cases_n;

#endif
