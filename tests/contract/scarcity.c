#include "contract.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io/buf.h"

/* Checks that the loop waits, and does not spin, while a resource is missing. */
static void check_sleeps(struct rig *r)
{
	struct io_stats before = *io_stats(r->loop), *now = io_stats(r->loop);
	uint64_t begun = io_now_us(r->loop);

	for (unsigned i = 0; i < 3; i++)
		CHECK(r, rig_wait(r, 10000) == 0);
	CHECK(r, io_now_us(r->loop) - begun >= 3 * 9000);
	CHECK(r, now->enters - before.enters <= 6);
	CHECK(r, now->syscalls - before.syscalls <= 12);
	CHECK(r, now->completions - before.completions <= 6);
}

/* ---- no buffers ------------------------------------------------------------- */

#define STARVED_N 100u
#define STARVED_BUFFERS 2u

struct starved_conns {
	struct sock_pair pair[STARVED_N];
	struct stream_writer *w[STARVED_N];
	struct stream_reader *rd[STARVED_N];
};

static unsigned held(const struct starved_conns *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < STARVED_N; i++)
		for (const struct buf *b = s->rd[i]->held; b; b = b->next)
			n++;
	return n;
}

static uint64_t unread(const struct starved_conns *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < STARVED_N; i++)
		n += s->w[i]->at - s->rd[i]->at;
	return n;
}

static void starved_open(struct rig *r, struct starved_conns *s)
{
	for (unsigned i = 0; i < STARVED_N; i++) {
		s->pair[i] = pair_open(r);
		s->w[i] = writer_new(r, i);
		s->rd[i] = reader_new(r, i);
		s->rd[i]->hold = true;
		reader_start(s->rd[i], s->pair[i].b, 100000);
	}
}

static void starved_close(struct rig *r, struct starved_conns *s)
{
	for (unsigned i = 0; i < STARVED_N; i++) {
		s->rd[i]->hold = false;
		reader_release(s->rd[i]);
		pair_close(r, &s->pair[i]);
	}
	PUMP(r, r->busy == 0);
	for (unsigned i = 0; i < STARVED_N; i++) {
		reader_free(s->rd[i]);
		writer_free(s->w[i]);
	}
}

/* Two buffers, a hundred connections with bytes to receive: no byte is lost. */
static void empty_pool(struct rig *r)
{
	struct starved_conns s;
	bool slept = false;

	starved_open(r, &s);
	for (unsigned i = 0; i < STARVED_N; i++)
		writer_send(s.w[i], s.pair[i].a, 1 + rig_random(r, 20000), 1, 0);
	while (unread(&s) > 0) {
		while (unread(&s) > 0 && held(&s) < STARVED_BUFFERS)
			rig_wait_event(r);
		CHECK(r, held(&s) <= STARVED_BUFFERS);
		if (!slept) {
			rig_settle(r);
			CHECK(r, io_stats(r->loop)->buffer_shortages > 0);
			check_sleeps(r);
			slept = true;
		}
		for (unsigned i = 0; i < STARVED_N; i++)
			reader_release(s.rd[i]);
	}
	PUMP(r, r->busy == STARVED_N);
	starved_close(r, &s);
}

/* Receives that wait for a buffer can be cancelled and closed. */
static void empty_pool_ends(struct rig *r)
{
	struct starved_conns s;

	starved_open(r, &s);
	for (unsigned i = 0; i < STARVED_N; i++)
		writer_send(s.w[i], s.pair[i].a, 100, 1, 0);
	PUMP(r, r->busy == STARVED_N && held(&s) == STARVED_BUFFERS);
	rig_settle(r);
	for (unsigned i = 0; i < STARVED_N; i += 2)
		probe_cancel(s.rd[i]->p);
	PUMP(r, r->busy == STARVED_N / 2);
	for (unsigned i = 1; i < STARVED_N; i += 4) {
		rig_sock_close(r, s.pair[i].b);
		s.pair[i].b = -1;
	}
	PUMP(r, r->busy == STARVED_N / 4);
	for (unsigned i = 0; i < STARVED_N; i++) {
		s.rd[i]->hold = false;
		reader_release(s.rd[i]);
	}
	for (unsigned i = 3; i < STARVED_N; i += 4)
		PUMP(r, s.rd[i]->at == 100);
	starved_close(r, &s);
}

#define QUEUE_N 8u

/* A cancel or close hits a receive between its poll and its next attempt. Its bytes are
 * there when it is submitted, so that the cancel does not find it, and gone when it is
 * attempted, so that it waits again (kernel-notes/04-cancel-and-close). On io_uring this
 * needs an empty pool, or the receive would not wait, and a full submission queue, so
 * that the receive is submitted before the wait. */
static void end_before_retry(struct rig *r, bool close_at_once)
{
	struct sock_pair pair = pair_open(r), full = pair_open(r);
	struct stream_writer *w = writer_new(r, 1), *all = writer_new(r, 2);
	struct stream_reader *holder = reader_new(r, 2);
	struct op_probe *recv_ = probe_new(r);
	char bytes[100];
	int other;

	holder->hold = true;
	reader_start(holder, full.b, 1u << 20);
	writer_send(all, full.a, STARVED_BUFFERS * BUF_BYTES + 1, 1, 0);
	writer_send(w, pair.a, sizeof(bytes), 1, 0);
	PUMP(r, !writer_busy(w) && holder->at == STARVED_BUFFERS * BUF_BYTES);
	rig_settle(r);
	other = dup(pair.b);
	probe_recv(recv_, pair.b, 1000);
	for (unsigned i = 0; i <= QUEUE_N; i++)
		probe_accept(probe_new(r), r->listener);
	CHECK(r, recv(other, bytes, sizeof(bytes), MSG_DONTWAIT) == sizeof(bytes));
	CHECK(r, close(other) == 0);
	holder->hold = false;
	reader_release(holder);
	if (close_at_once)
		rig_sock_close(r, pair.b);
	else
		probe_cancel(recv_);
	PUMP(r, !recv_->busy && !writer_busy(all));
	CHECK(r, recv_->res == -ECANCELED);
	if (!close_at_once)
		rig_sock_close(r, pair.b);
	rig_sock_close(r, pair.a);
	pair_close(r, &full);
	PUMP(r, !holder->p->busy);
	reader_free(holder);
	writer_free(all);
	writer_free(w);
}

static void close_before_retry(struct rig *r)
{
	end_before_retry(r, true);
}

static void cancel_before_retry(struct rig *r)
{
	end_before_retry(r, false);
}

#define RESERVED_BUFFERS 16u /* of which one is the reserve */

static struct stream_reader *reserve_reader_new(struct rig *r, uint64_t stream,
						const struct sock_pair *pair)
{
	struct stream_reader *rd = reader_new(r, stream);

	rd->p->may_use_reserve = true;
	reader_start(rd, pair->b, 100000);
	return rd;
}

static void release_one(struct starved_conns *s)
{
	for (unsigned i = 0; i < STARVED_N; i++) {
		struct buf *b = s->rd[i]->held;

		if (!b)
			continue;
		s->rd[i]->held = b->next;
		buf_put(b);
		return;
	}
}

/* Other receives hold all buffers but the reserve: receives with may_use_reserve go on,
 * and get the next buffer that returns. */
static void reserve(struct rig *r)
{
	struct starved_conns s;
	struct sock_pair pair[2] = { pair_open(r), pair_open(r) };
	struct stream_writer *w[2] = { writer_new(r, 1001), writer_new(r, 1002) };
	struct stream_reader *rd[2];

	starved_open(r, &s);
	for (unsigned i = 0; i < STARVED_N; i++)
		writer_send(s.w[i], s.pair[i].a, 20000, 1, 0);
	rd[0] = reserve_reader_new(r, 1001, &pair[0]);
	rd[1] = reserve_reader_new(r, 1002, &pair[1]);
	PUMP(r, held(&s) == RESERVED_BUFFERS - 1);
	rig_settle(r);
	CHECK(r, held(&s) == RESERVED_BUFFERS - 1);
	writer_send(w[0], pair[0].a, 50000, 1, 0);
	PUMP(r, rd[0]->at == 50000);
	rd[0]->hold = true;
	writer_send(w[0], pair[0].a, 1, 1, 0);
	PUMP(r, rd[0]->held);
	writer_send(w[1], pair[1].a, 1, 1, 0);
	rig_settle(r);
	CHECK(r, rd[1]->at == 0);
	rd[1]->hold = true;
	release_one(&s);
	PUMP(r, rd[1]->at == 1);
	rig_settle(r);
	CHECK(r, held(&s) == RESERVED_BUFFERS - 2);
	for (unsigned i = 0; i < 2; i++) {
		reader_release(rd[i]);
		pair_close(r, &pair[i]);
	}
	PUMP(r, !rd[0]->p->busy && !rd[1]->p->busy);
	starved_close(r, &s);
	for (unsigned i = 0; i < 2; i++) {
		reader_free(rd[i]);
		writer_free(w[i]);
	}
}

/* ---- many connections, and a tiny completion queue -------------------------- */

#define MANY_N 1000u

struct many {
	struct sock_pair pair;
	struct stream_writer *to, *back;
	struct stream_reader *at_b, *at_a;
};

static unsigned many_n(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur >= 2 * MANY_N + 100 ? MANY_N
						  : (unsigned)(limit.rlim_cur - 100) / 2;
}

static bool many_done(const struct many *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (m[i].at_b->at < m[i].to->at || m[i].at_a->at < m[i].back->at)
			return false;
	return true;
}

static void many_round(struct rig *r, struct many *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		writer_send(m[i].to, m[i].pair.a, 1 + rig_random(r, 300), 1, 0);
		writer_send(m[i].back, m[i].pair.b, 1 + rig_random(r, 300), 1, i % 2);
	}
	PUMP(r, many_done(m, n));
	for (unsigned turns = 0; r->busy > 2 * n; turns++) {
		CHECK(r, turns < 100);
		io_wake(r->loop);
		rig_wait_event(r);
	}
}

static void many_connections(struct rig *r)
{
	unsigned n = many_n();
	struct many *m = calloc(n, sizeof(*m));

	CHECK(r, m);
	for (unsigned i = 0; i < n; i++) {
		m[i].pair = pair_open(r);
		m[i].to = writer_new(r, 2 * i);
		m[i].back = writer_new(r, 2 * i + 1);
		m[i].at_b = reader_new(r, 2 * i);
		m[i].at_a = reader_new(r, 2 * i + 1);
		reader_start(m[i].at_b, m[i].pair.b, 65536);
		reader_start(m[i].at_a, m[i].pair.a, 65536);
	}
	for (unsigned i = 0; i < 3; i++)
		many_round(r, m, n);
	for (unsigned i = 0; i < n; i++)
		pair_close(r, &m[i].pair);
	PUMP(r, r->busy == 0);
	for (unsigned i = 0; i < n; i++) {
		writer_free(m[i].to);
		writer_free(m[i].back);
		reader_free(m[i].at_b);
		reader_free(m[i].at_a);
	}
	free(m);
}

/* ---- accepting -------------------------------------------------------------- */

#define CONNECTS_N 64u
#define ACCEPTS_N 4u

static int accepted[CONNECTS_N];
static unsigned ports[CONNECTS_N];
static unsigned accepted_n;

static void accept_done(struct op_probe *p, int res, unsigned flags)
{
	const struct sockaddr_in *peer = (const void *)&p->op->accept.peer;

	CHECK(p->rig, !(flags & IO_MORE));
	if (res == -ECANCELED)
		return;
	CHECK(p->rig, res >= 0 && accepted_n < CONNECTS_N);
	CHECK(p->rig, peer->sin_family == AF_INET);
	CHECK(p->rig, p->op->accept.peer_len == sizeof(*peer));
	CHECK(p->rig, peer->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	for (unsigned i = 0; i < accepted_n; i++) {
		CHECK(p->rig, accepted[i] != res);
		CHECK(p->rig, ports[i] != peer->sin_port);
	}
	accepted[accepted_n] = res;
	ports[accepted_n++] = peer->sin_port;
	probe_accept(p, p->rig->listener);
}

/* More connections than accepts, which are armed before or after the connects. */
static void accept_few(struct rig *r, bool armed_before)
{
	struct op_probe *connects[CONNECTS_N], *accepts[ACCEPTS_N];

	accepted_n = 0;
	rig_listen(r);
	for (unsigned i = 0; i < ACCEPTS_N; i++) {
		accepts[i] = probe_new(r);
		accepts[i]->on_done = accept_done;
		if (armed_before)
			probe_accept(accepts[i], r->listener);
	}
	for (unsigned i = 0; i < CONNECTS_N; i++)
		probe_connect(connects[i] = probe_new(r), &r->addr, r->addr_len);
	PUMP(r, r->busy == (armed_before ? ACCEPTS_N : 0));
	for (unsigned i = 0; !armed_before && i < ACCEPTS_N; i++)
		probe_accept(accepts[i], r->listener);
	PUMP(r, accepted_n == CONNECTS_N);
	for (unsigned i = 0; i < CONNECTS_N; i++) {
		CHECK(r, connects[i]->res >= 0);
		rig_sock_close(r, connects[i]->res);
		rig_sock_close(r, accepted[i]);
	}
	for (unsigned i = 0; i < ACCEPTS_N; i++)
		probe_cancel(accepts[i]);
	PUMP(r, r->busy == 0);
}

static void accept_few_armed(struct rig *r)
{
	accept_few(r, true);
	accept_few(r, false);
}

/* ---- no descriptors --------------------------------------------------------- */

/* From now on the process gets no new descriptor unless it closes one. */
static void descriptors_end(struct rig *r)
{
	struct rlimit limit;
	int next = dup(STDERR_FILENO);

	CHECK(r, next >= 0 && close(next) == 0);
	CHECK(r, getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = (rlim_t)next;
	CHECK(r, setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void descriptors_return(struct rig *r)
{
	struct rlimit limit;

	CHECK(r, getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	CHECK(r, setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* The accept fails with EMFILE or waits, the loop does not spin, and the connection can
 * be accepted once there are descriptors again. */
static void accept_without_descriptors(struct rig *r)
{
	struct sock_pair spare = pair_open(r);
	struct op_probe *connect = probe_new(r), *accept = probe_new(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	probe_connect(connect, &r->addr, r->addr_len);
	PUMP(r, !connect->busy);
	writer_send(w, connect->res, 1000, 1, 0);
	PUMP(r, !writer_busy(w));
	descriptors_end(r);
	for (unsigned i = 0; i < 3; i++) {
		if (!accept->busy)
			probe_accept(accept, r->listener);
		rig_settle(r);
		CHECK(r, accept->busy || accept->res == -EMFILE);
		check_sleeps(r);
	}
	CHECK(r, io_stats(r->loop)->accept_errors > 0);
	pair_close(r, &spare);
	rig_settle(r);
	if (!accept->busy && accept->res < 0)
		probe_accept(accept, r->listener);
	PUMP(r, !accept->busy);
	CHECK(r, accept->res >= 0);
	reader_start(rd, accept->res, 1u << 20);
	PUMP(r, rd->at == 1000);
	rig_sock_close(r, accept->res);
	rig_sock_close(r, connect->res);
	PUMP(r, !rd->p->busy);
	descriptors_return(r);
	reader_free(rd);
	writer_free(w);
}

/* A connect without a free descriptor fails with EMFILE. */
static void connect_without_descriptors(struct rig *r)
{
	struct op_probe *connect = probe_new(r);

	rig_listen(r);
	rig_wait(r, 0);
	descriptors_end(r);
	probe_connect(connect, &r->addr, r->addr_len);
	PUMP(r, !connect->busy);
	CHECK(r, connect->res == -EMFILE);
	descriptors_return(r);
}

const struct case_ scarcity_cases[] = {
	{ .name = "empty_pool",
	  .run = empty_pool,
	  .engines = ON_ALL,
	  .buffers = STARVED_BUFFERS },
	{ .name = "empty_pool_ends",
	  .run = empty_pool_ends,
	  .engines = ON_ALL,
	  .buffers = STARVED_BUFFERS },
	{ .name = "close_before_retry",
	  .run = close_before_retry,
	  .engines = ON_REAL,
	  .buffers = STARVED_BUFFERS,
	  .entries = QUEUE_N,
	  .family = AF_UNIX },
	{ .name = "cancel_before_retry",
	  .run = cancel_before_retry,
	  .engines = ON_REAL,
	  .buffers = STARVED_BUFFERS,
	  .entries = QUEUE_N,
	  .family = AF_UNIX },
	{ .name = "reserve", .run = reserve, .engines = ON_ALL, .buffers = RESERVED_BUFFERS },
	{ .name = "many_connections",
	  .run = many_connections,
	  .engines = ON_ALL,
	  .entries = 64 },
	{ .name = "accept_few_armed", .run = accept_few_armed, .engines = ON_ALL },
	{ .name = "accept_without_descriptors",
	  .run = accept_without_descriptors,
	  .engines = ON_REAL,
	  .in_child = true },
	{ .name = "connect_without_descriptors",
	  .run = connect_without_descriptors,
	  .engines = ON_REAL,
	  .in_child = true },
};
const size_t scarcity_cases_n = COUNT(scarcity_cases);
