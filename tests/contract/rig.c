#include "contract.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/io/ring.h"
#include "io/sim.h"
#include "io/sock.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define POISON 0xdb
#define SIM_PORT 8080
#define BACKLOG 256
/* Longer than any event takes; in the simulation, longer than a connect retries at a full
 * listener. */
#define WAIT_MAX_REAL_US 30000000u
#define WAIT_MAX_SIM_US 300000000u

const struct rig *rig_running;
bool rig_in_child;

void check_at(const struct rig *r, bool holds, const char *what, const char *file,
	      int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s %s seed %llu: %s:%d: must hold: %s\n",
		io_engine_name(r->kind), r->case_->name, (unsigned long long)r->seed,
		file, line, what);
	if (rig_in_child)
		_exit(1);
	_fail(file, line);
}

/* splitmix64 */
static uint64_t splitmix64(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t rig_random(struct rig *r, uint64_t n)
{
	r->random = splitmix64(r->random);
	return r->random % n;
}

/* ---- the rig ---------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

bool rig_sends_silently(const struct rig *r)
{
	return r->kind != IO_ENGINE_RING || ring_probe()->has.silent;
}

bool rig_receives_many_times(const struct rig *r)
{
	return r->kind != IO_ENGINE_RING || ring_probe()->has.cap;
}

void rig_open(struct rig *r, const struct case_ *c, enum io_engine_kind kind,
	      uint64_t seed)
{
	struct io_options options = { .engine = kind,
				      .buffers = c->buffers ? c->buffers : 256,
				      .entries = c->entries,
				      .cq_entries = c->entries,
				      .seed = seed };

	*r = (struct rig){
		.case_ = c, .kind = kind, .seed = seed, .random = seed, .listener = -1
	};
	list_init(&r->probes);
	rig_running = r;
	r->descriptors = open_descriptors();
	CHECK(r, io_open(&r->loop, &options) == 0);
}

uint64_t rig_wait(struct rig *r, uint64_t timeout_us)
{
	uint64_t facts = r->facts, before = io_now_us(r->loop);

	CHECK(r, !r->in_wait);
	r->in_wait = true;
	io_wait(r->loop, timeout_us);
	r->in_wait = false;
	r->waits++;
	CHECK(r, io_now_us(r->loop) >= before);
	r->trace = splitmix64(r->trace ^ io_now_us(r->loop));
	return r->facts - facts;
}

void rig_wait_event(struct rig *r)
{
	uint64_t wait_max = r->kind == IO_ENGINE_SIM ? WAIT_MAX_SIM_US : WAIT_MAX_REAL_US;
	uint64_t begun = io_now_us(r->loop);

	if (rig_wait(r, wait_max) == 0)
		CHECK(r, io_now_us(r->loop) - begun < wait_max);
}

void rig_settle(struct rig *r)
{
	uint64_t quiet_us = r->kind == IO_ENGINE_SIM ? 1000000 : 20000;
	uint64_t begun, completions, facts;

	/* Events that the engine handles by itself call no done(), but count as
	 * activity. */
	do {
		begun = io_now_us(r->loop);
		completions = io_stats(r->loop)->completions;
		facts = rig_wait(r, quiet_us);
	} while (facts > 0 || io_stats(r->loop)->completions != completions ||
		 io_now_us(r->loop) - begun < quiet_us / 2);
}

void rig_wait_briefly(struct rig *r)
{
	uint64_t until = io_now_us(r->loop) + 3000;

	while (io_now_us(r->loop) < until)
		rig_wait(r, until - io_now_us(r->loop));
}

static void probe_free(struct op_probe *p);

static void probes_check(struct rig *r)
{
	LIST_EACH(&r->probes, node)
	{
		struct op_probe *p = LIST_ITEM(node, struct op_probe, node);

		CHECK(r, !p->busy);
		CHECK(r, p->lasts == p->starts);
		probe_free(p);
	}
}

void rig_close(struct rig *r)
{
	struct buf_pool *pool = io_bufs(r->loop);

	if (r->listener >= 0)
		rig_sock_close(r, r->listener);
	if (r->addr.ss_family == AF_UNIX)
		unlink(((struct sockaddr_un *)(void *)&r->addr)->sun_path);
	while (r->busy > 0)
		rig_wait_event(r);
	rig_settle(r);
	/* On io_uring some free buffers are published to the kernel; io_free() asserts
	 * that all have come back. */
	if (r->kind != IO_ENGINE_RING)
		CHECK(r, pool->free_n == pool->count);
	if (r->kind == IO_ENGINE_SIM)
		CHECK(r, sim_open_sockets(r->loop) == 0);
	probes_check(r);
	io_free(r->loop);
	CHECK(r, open_descriptors() == r->descriptors);
	rig_running = NULL;
}

/* ---- probes ----------------------------------------------------------------- */

/* keep_buf: the engine will still read op->buf, to see whether it was taken. */
static void op_poison(struct op_probe *p, bool keep_buf)
{
	struct buf *buf = p->op->recv.buf;

	memset(p->op, POISON, sizeof(*p->op));
	p->poisoned = true;
	p->kept_buf = keep_buf;
	if (keep_buf)
		p->op->recv.buf = buf;
	else if (p->page)
		mprotect(p->op, p->page, PROT_NONE);
	else
		ASAN_POISON_MEMORY_REGION(p->op, sizeof(*p->op));
}

/* Checks that the op was not written to since its last done(). */
static void op_unpoison(struct op_probe *p)
{
	const unsigned char *bytes = (void *)p->op;

	if (!p->poisoned)
		return;
	if (p->page)
		mprotect(p->op, p->page, PROT_READ | PROT_WRITE);
	ASAN_UNPOISON_MEMORY_REGION(p->op, sizeof(*p->op));
	if (p->kept_buf)
		memset(&p->op->recv.buf, POISON, sizeof(p->op->recv.buf));
	for (size_t i = 0; i < sizeof(*p->op); i++)
		CHECK(p->rig, bytes[i] == POISON);
	p->poisoned = false;
}

/* done() gets the op only: the bytes before it hold the pointer to its probe. */
#define FRONT 16

static struct op_probe *probe_of(struct io_op *op)
{
	struct op_probe *p;

	memcpy(&p, (char *)op - sizeof(p), sizeof(p));
	return p;
}

static struct op_probe *probe_init(struct rig *r, void *op, size_t page)
{
	struct op_probe *p = calloc(1, sizeof(*p));

	CHECK(r, p && op);
	p->rig = r;
	p->op = op;
	p->page = page;
	p->number = ++r->probes_n;
	memcpy((char *)op - sizeof(p), &p, sizeof(p));
	list_init(&p->node);
	list_append(&r->probes, &p->node);
	return p;
}

struct op_probe *probe_new(struct rig *r)
{
	return probe_init(r, (char *)malloc(FRONT + sizeof(union probe_op)) + FRONT, 0);
}

struct op_probe *probe_new_page(struct rig *r)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(r, map != MAP_FAILED);
	return probe_init(r, map + page, page);
}

static void probe_free(struct op_probe *p)
{
	op_unpoison(p);
	list_remove(&p->node);
	if (p->page)
		munmap((char *)p->op - p->page, 2 * p->page);
	else
		free((char *)p->op - FRONT);
	free(p);
}

static void probe_done(struct io_op *op, int res, unsigned flags)
{
	struct op_probe *p = probe_of(op);
	struct rig *r = p->rig;
	bool last = !(flags & IO_MORE), keep_buf;

	CHECK(r, r->in_wait && !r->in_start); /* L2 */
	CHECK(r, p->busy && !p->poisoned);   /* L1 */
	CHECK(r, io_busy(op) == !last);
	r->facts++;
	r->trace = splitmix64(r->trace ^ splitmix64(p->number) ^
			      (uint64_t)(res * 2 + last));
	p->calls++;
	if (last) {
		p->busy = false;
		p->lasts++;
		p->res = res;
		r->busy--;
	}
	keep_buf = last && res > 0 && p->is_recv;
	if (p->on_done)
		p->on_done(p, res, flags);
	if (last && !p->busy)
		op_poison(p, keep_buf);
}

/* An op that is restarted from its own done() is not initialised again. */
static void probe_start(struct op_probe *p, bool is_recv)
{
	CHECK(p->rig, !p->busy && !p->rig->in_start);
	if (p->starts == 0 || p->poisoned) {
		op_unpoison(p);
		memset(p->op, 0, sizeof(*p->op));
		io_op_init(&p->op->op, probe_done);
	}
	p->is_recv = is_recv;
	p->busy = true;
	p->starts++;
	p->rig->busy++;
	p->rig->in_start = true;
}

void probe_accept(struct op_probe *p, int listener)
{
	probe_start(p, false);
	io_accept(p->rig->loop, &p->op->accept, listener);
	p->rig->in_start = false;
}

void probe_connect(struct op_probe *p, const struct sockaddr_storage *addr, socklen_t len)
{
	probe_start(p, false);
	io_connect(p->rig->loop, &p->op->connect, (const void *)addr, len);
	p->rig->in_start = false;
}

void probe_recv(struct op_probe *p, int fd, uint32_t window)
{
	probe_start(p, true);
	p->op->recv.may_use_reserve = p->may_use_reserve;
	io_recv(p->rig->loop, &p->op->recv, fd, window);
	p->rig->in_start = false;
}

void probe_send(struct op_probe *p, int fd, struct iovec *iov, unsigned n, unsigned flags)
{
	probe_start(p, false);
	io_send(p->rig->loop, &p->op->send, fd, iov, n, flags);
	p->rig->in_start = false;
}

void probe_write(struct op_probe *p, int fd, const char *bytes, size_t len)
{
	probe_start(p, false);
	io_write(p->rig->loop, &p->op->write, fd, bytes, len);
	p->rig->in_start = false;
}

/* An idle op may be cancelled, but not a poisoned one, which counts as freed. */
void probe_cancel(struct op_probe *p)
{
	if (p->poisoned)
		return;
	p->rig->in_start = true;
	io_cancel(p->rig->loop, &p->op->op);
	p->rig->in_start = false;
}

void rig_sock_close(struct rig *r, int fd)
{
	r->in_start = true;
	io_close(r->loop, fd);
	r->in_start = false;
}

void rig_sock_reset(struct rig *r, int fd)
{
	r->in_start = true;
	io_reset(r->loop, fd);
	r->in_start = false;
}

void rig_sock_shutdown(struct rig *r, int fd)
{
	r->in_start = true;
	io_shutdown(r->loop, fd);
	r->in_start = false;
}

/* ---- connections ------------------------------------------------------------ */

static void rig_choose_address(struct rig *r, bool fixed_port)
{
	struct sockaddr_in *in = (void *)&r->addr;
	struct sockaddr_un *un = (void *)&r->addr;
	static unsigned paths;

	memset(&r->addr, 0, sizeof(r->addr));
	if (r->case_->family == AF_UNIX) {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "/tmp/contract.%d.%u",
			 (int)getpid(), ++paths);
		r->addr_len = sizeof(*un);
		return;
	}
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in->sin_port = fixed_port ? htons(SIM_PORT) : 0;
	r->addr_len = sizeof(*in);
}

int rig_listen(struct rig *r)
{
	socklen_t len = sizeof(r->addr);

	if (r->listener >= 0)
		return r->listener;
	rig_choose_address(r, r->kind == IO_ENGINE_SIM);
	if (r->kind == IO_ENGINE_SIM) {
		r->listener = sim_listen(r->loop, (void *)&r->addr, r->addr_len, BACKLOG);
	} else {
		r->listener = sock_listen((void *)&r->addr, r->addr_len, BACKLOG, false);
		CHECK(r, r->listener >= 0);
		CHECK(r, getsockname(r->listener, (void *)&r->addr, &len) == 0);
		r->addr_len = len;
	}
	CHECK(r, r->listener >= 0);
	return r->listener;
}

struct sock_pair pair_open(struct rig *r)
{
	struct op_probe *a = probe_new(r), *b = probe_new(r);
	struct sock_pair pair;

	rig_listen(r);
	probe_accept(b, r->listener);
	probe_connect(a, &r->addr, r->addr_len);
	PUMP(r, !a->busy && !b->busy);
	pair = (struct sock_pair){ a->res, b->res };
	CHECK(r, pair.a >= 0 && pair.b >= 0 && pair.a != pair.b);
	probe_free(a);
	probe_free(b);
	return pair;
}

void pair_close(struct rig *r, struct sock_pair *pair)
{
	if (pair->a >= 0)
		rig_sock_close(r, pair->a);
	if (pair->b >= 0)
		rig_sock_close(r, pair->b);
	pair->a = pair->b = -1;
}

/* ---- streams ---------------------------------------------------------------- */

static char stream_byte(uint64_t stream, uint64_t at)
{
	return (char)(splitmix64(stream << 40 ^ at / 8) >> at % 8 * 8);
}

void stream_fill(uint64_t stream, uint64_t at, char *bytes, size_t n)
{
	size_t i = 0;

	for (; i < n && (at + i) % 8 > 0; i++)
		bytes[i] = stream_byte(stream, at + i);
	for (; i + 8 <= n; i += 8) {
		uint64_t word = splitmix64(stream << 40 ^ (at + i) / 8);

		memcpy(bytes + i, &word, 8);
	}
	for (; i < n; i++)
		bytes[i] = stream_byte(stream, at + i);
}

bool stream_is(uint64_t stream, uint64_t at, const char *bytes, size_t n)
{
	char expected[4096];

	for (size_t i = 0; i < n; i += sizeof(expected)) {
		size_t some = n - i < sizeof(expected) ? n - i : sizeof(expected);

		stream_fill(stream, at + i, expected, some);
		if (memcmp(expected, bytes + i, some) != 0)
			return false;
	}
	return true;
}

static void writer_done(struct op_probe *p, int res, unsigned flags)
{
	struct stream_writer *w = p->owner;

	CHECK(p->rig, !(flags & IO_MORE));
	CHECK(p->rig, res < 0 || (size_t)res == w->len);
	/* The bytes and iovecs belong to the caller again: poison them, so that an engine
	 * that still reads them is noticed. */
	memset(w->bytes, POISON, w->len);
	free(w->bytes);
	w->bytes = NULL;
	memset(w->iov, POISON, sizeof(w->iov));
	if (res < 0)
		w->error = res;
	else
		w->written += w->len;
}

struct stream_writer *writer_new(struct rig *r, uint64_t stream)
{
	struct stream_writer *w = calloc(1, sizeof(*w));

	CHECK(r, w);
	w->p = probe_new(r);
	w->p->on_done = writer_done;
	w->p->owner = w;
	w->stream = stream;
	return w;
}

void writer_send(struct stream_writer *w, int fd, size_t len, unsigned iov_n,
		 unsigned flags)
{
	struct rig *r = w->p->rig;
	size_t at = 0;

	CHECK(r, !w->bytes && len > 0 && iov_n > 0 && iov_n <= IOVS_MAX);
	w->bytes = malloc(len);
	CHECK(r, w->bytes);
	w->len = len;
	stream_fill(w->stream, w->at, w->bytes, len);
	w->at += len;
	for (unsigned i = 0; i < iov_n; i++) {
		size_t n = i + 1 == iov_n ? len - at : rig_random(r, 3) * (len - at) / 3;

		w->iov[i] = (struct iovec){ w->bytes + at, n };
		at += n;
	}
	probe_send(w->p, fd, w->iov, iov_n, flags);
}

size_t writer_stuck_bytes(const struct rig *r)
{
	return r->kind == IO_ENGINE_SIM ? 300000 : 32u << 20;
}

bool writer_busy(const struct stream_writer *w)
{
	return w->p->busy;
}

void writer_free(struct stream_writer *w)
{
	CHECK(w->p->rig, !w->p->busy);
	free(w);
}

static void reader_hold(struct stream_reader *rd)
{
	struct io_recv *op = &rd->p->op->recv;
	struct buf *b = op->buf;

	op->buf = NULL;
	b->next = rd->held;
	rd->held = b;
}

static void reader_done(struct op_probe *p, int res, unsigned flags)
{
	struct stream_reader *rd = p->owner;
	struct io_recv *op = &p->op->recv;
	struct rig *r = p->rig;

	if (res <= 0) {
		CHECK(r, !(flags & IO_MORE) && !op->buf);
		rd->end = res;
		return;
	}
	CHECK(r, op->buf && op->buf->end - op->buf->begin == (uint32_t)res);
	CHECK(r, stream_is(rd->stream, rd->at, buf_bytes(op->buf).ptr, (size_t)res));
	rd->at += (uint64_t)res;
	rd->in_window += (uint64_t)res;
	CHECK(r, rd->in_window < rd->window + BUF_BYTES);
	CHECK(r, (rd->in_window >= rd->window) == !(flags & IO_MORE));
	if (rd->hold || rig_random(r, 2))
		reader_hold(rd);
	if (!rd->hold)
		reader_release(rd);
	if (flags & IO_MORE)
		return;
	rd->windows++;
	if (rd->again)
		reader_start(rd, rd->fd, rd->window);
}

struct stream_reader *reader_new(struct rig *r, uint64_t stream)
{
	struct stream_reader *rd = calloc(1, sizeof(*rd));

	CHECK(r, rd);
	rd->p = probe_new(r);
	rd->p->on_done = reader_done;
	rd->p->owner = rd;
	rd->stream = stream;
	rd->again = true;
	rd->end = READING;
	return rd;
}

void reader_start(struct stream_reader *rd, int fd, uint32_t window)
{
	rd->fd = fd;
	rd->window = window;
	rd->in_window = 0;
	rd->end = READING;
	probe_recv(rd->p, fd, window);
}

void reader_release(struct stream_reader *rd)
{
	while (rd->held) {
		struct buf *b = rd->held;

		rd->held = b->next;
		buf_put(b);
	}
}

void reader_free(struct stream_reader *rd)
{
	CHECK(rd->p->rig, !rd->p->busy);
	reader_release(rd);
	free(rd);
}
