#include "contract.h"

#include <errno.h>

#include "io/buf.h"

static void send_sizes(struct rig *r)
{
	static const size_t sizes[] = { 1,     2,     3,     17,    1000,  16383,
					16384, 16385, 65535, 65536, 100000 };
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	reader_start(rd, pair.b, 65536);
	for (unsigned n = 1; n <= IOVS_MAX; n += 1 + (unsigned)rig_random(r, 6)) {
		for (size_t i = 0; i < COUNT(sizes); i++) {
			writer_send(w, pair.a, sizes[i], n, 0);
			PUMP(r, !writer_busy(w));
			CHECK(r, !w->error);
		}
	}
	writer_send(w, pair.a, 100, IOVS_MAX, 0);
	PUMP(r, !writer_busy(w) && rd->at == w->at);
	CHECK(r, w->written == w->at);
	pair_close(r, &pair);
	PUMP(r, !rd->p->busy);
	reader_free(rd);
	writer_free(w);
}

/* Consecutive sends, each started inside done() of the previous one. */
struct send_chain {
	struct stream_writer *w;
	int fd;
	unsigned left;
	void (*writer_done)(struct op_probe *p, int res, unsigned flags);
};

static struct send_chain chain;

static void chain_done(struct op_probe *p, int res, unsigned flags)
{
	chain.writer_done(p, res, flags);
	if (chain.left == 0)
		return;
	chain.left--;
	writer_send(chain.w, chain.fd, 1 + rig_random(p->rig, 5000), 2, 0);
}

static void consecutive_sends(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_reader *rd = reader_new(r, 1);

	chain = (struct send_chain){ .w = writer_new(r, 1), .fd = pair.a, .left = 100 };
	chain.writer_done = chain.w->p->on_done;
	chain.w->p->on_done = chain_done;
	reader_start(rd, pair.b, 5000);
	writer_send(chain.w, chain.fd, 1, 1, 0);
	PUMP(r, chain.left == 0 && !writer_busy(chain.w) && rd->at == chain.w->at);
	CHECK(r, chain.w->written == chain.w->at && chain.w->p->lasts == 101);
	pair_close(r, &pair);
	PUMP(r, !rd->p->busy);
	reader_free(rd);
	writer_free(chain.w);
}

/* 8 MiB to a slow reader: small windows, with pauses. */
static void big_to_slow(struct rig *r, unsigned flags)
{
	size_t len = r->kind == IO_ENGINE_SIM && r->seed % 20 ? 1u << 20 : 8u << 20;
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	rd->again = false;
	writer_send(w, pair.a, len, IOVS_MAX, flags);
	while (rd->at < len) {
		reader_start(rd, pair.b, 1 + (uint32_t)rig_random(r, 300000));
		if (len - rd->at <= rd->window)
			PUMP(r, rd->at == len);
		else
			PUMP(r, !rd->p->busy);
		CHECK(r, rd->at == len || rd->windows > 0);
		for (uint64_t n = rig_random(r, 3); n > 0; n--)
			rig_wait(r, 0);
	}
	PUMP(r, !writer_busy(w));
	CHECK(r, w->written == len && !w->error);
	pair_close(r, &pair);
	PUMP(r, !rd->p->busy);
	reader_free(rd);
	writer_free(w);
}

static void send_big_to_slow(struct rig *r)
{
	big_to_slow(r, 0);
}

/* A silent send that does not fit at once wakes the loop like others. */
static void silent_big_to_slow(struct rig *r)
{
	big_to_slow(r, IO_SILENT);
	CHECK(r, (io_stats(r->loop)->short_sends > 0) == rig_sends_silently(r));
}

static void flags_done(struct op_probe *p, int res, unsigned flags)
{
	(void)res;
	*(unsigned *)p->owner = flags;
}

/* done() has IO_SILENT if the send was over before the wait began. */
static void silent_flag_in_done(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct op_probe *send = probe_new(r);
	char bytes[] = "hello";
	struct iovec iov;
	unsigned flags;

	send->on_done = flags_done;
	send->owner = &flags;
	for (unsigned requested = 0; requested <= IO_SILENT; requested += IO_SILENT) {
		uint64_t shorts = io_stats(r->loop)->short_sends;

		flags = ~0u;
		iov = (struct iovec){ bytes, 5 };
		probe_send(send, pair.a, &iov, 1, requested);
		while (send->busy)
			rig_settle(r);
		if (!rig_sends_silently(r) || io_stats(r->loop)->short_sends > shorts)
			CHECK(r, flags == 0);
		else
			CHECK(r, flags == requested);
	}
	pair_close(r, &pair);
}

/* ---- many connections, silent sends and others mixed ------------------------ */

#define MIXED_N 40u
#define MIXED_SENDS 20u

struct mixed {
	struct sock_pair pair;
	struct stream_writer *w;
	struct stream_reader *rd;
	unsigned left;
};

static uint64_t mixed_unread(const struct mixed *m)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < MIXED_N; i++)
		n += m[i].w->at - m[i].rd->at;
	return n;
}

static bool mixed_done(const struct mixed *m)
{
	for (unsigned i = 0; i < MIXED_N; i++)
		if (m[i].left > 0)
			return false;
	return mixed_unread(m) == 0;
}

/* done() of a silent send may come late, but it comes. */
static void finish_silent_sends(struct rig *r, const struct mixed *m)
{
	bool busy = true;

	for (unsigned turns = 0; busy; turns++) {
		busy = false;
		for (unsigned i = 0; i < MIXED_N; i++)
			busy |= writer_busy(m[i].w);
		CHECK(r, !busy || turns < 3);
		if (busy) {
			io_wake(r->loop);
			rig_wait_event(r);
		}
	}
}

static void sends_mixed(struct rig *r)
{
	struct mixed m[MIXED_N];

	for (unsigned i = 0; i < MIXED_N; i++) {
		m[i] = (struct mixed){ pair_open(r), writer_new(r, i), reader_new(r, i),
				       MIXED_SENDS };
		reader_start(m[i].rd, m[i].pair.b, 30000);
	}
	while (!mixed_done(m)) {
		for (unsigned n = 0; n < MIXED_N; n++) {
			struct mixed *one = &m[rig_random(r, MIXED_N)];
			size_t len = 1 + rig_random(r, rig_random(r, 8) ? 500 : 200000);

			if (one->left == 0 || writer_busy(one->w))
				continue;
			writer_send(one->w, one->pair.a, len,
				    1 + (unsigned)rig_random(r, 4),
				    rig_random(r, 3) ? IO_SILENT : 0);
			one->left--;
		}
		/* done() of silent sends comes with the next event. */
		if (mixed_unread(m) == 0)
			io_wake(r->loop);
		rig_wait_event(r);
	}
	finish_silent_sends(r, m);
	CHECK(r, (io_stats(r->loop)->silent_sends > 0) == rig_sends_silently(r));
	for (unsigned i = 0; i < MIXED_N; i++) {
		CHECK(r, m[i].w->written == m[i].w->at && m[i].rd->at == m[i].w->at);
		pair_close(r, &m[i].pair);
	}
	PUMP(r, r->busy == 0);
	for (unsigned i = 0; i < MIXED_N; i++) {
		reader_free(m[i].rd);
		writer_free(m[i].w);
	}
}

/* ---- receiving -------------------------------------------------------------- */

/* A receive ends when its window is used up, exceeded by less than a buffer
 * (reader_done() checks that); while no receive is armed, the connection takes a limited
 * number of bytes. */
static void window_holds_back(struct rig *r)
{
	uint64_t most = r->kind == IO_ENGINE_SIM ? 65536 + 100000 : 32u << 20;
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);
	uint64_t at;

	rd->again = false;
	reader_start(rd, pair.b, 100000);
	while (!writer_busy(w)) {
		CHECK(r, w->written <= most);
		writer_send(w, pair.a, 1u << 20, 1, 0);
		rig_settle(r);
	}
	CHECK(r, w->written <= most);
	CHECK(r, !rd->p->busy && rd->windows == 1);
	at = rd->at;
	CHECK(r, at >= 100000 && at < 100000 + BUF_BYTES);
	rd->again = true;
	reader_start(rd, pair.b, 50000);
	PUMP(r, !writer_busy(w) && rd->at == w->at);
	CHECK(r, rd->windows > (w->at - at) / (50000 + BUF_BYTES));
	pair_close(r, &pair);
	PUMP(r, !rd->p->busy);
	reader_free(rd);
	writer_free(w);
}

/* A window of one byte. */
static void window_of_one(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	reader_start(rd, pair.b, 1);
	for (unsigned i = 0; i < 50; i++) {
		writer_send(w, pair.a, 1 + rig_random(r, 100), 1, 0);
		PUMP(r, !writer_busy(w));
	}
	PUMP(r, rd->at == w->at);
	CHECK(r, rd->windows > 0);
	pair_close(r, &pair);
	PUMP(r, !rd->p->busy);
	reader_free(rd);
	writer_free(w);
}

static void end_without_bytes(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_reader *rd = reader_new(r, 1);

	if (rig_random(r, 2))
		reader_start(rd, pair.b, 100);
	rig_sock_close(r, pair.a);
	if (!rd->p->busy && rd->end == READING) {
		rig_wait_briefly(r);
		reader_start(rd, pair.b, 100);
	}
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == 0 && rd->at == 0 && rd->p->calls == 1);
	/* The next receive reports the same. */
	reader_start(rd, pair.b, 100);
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == 0);
	rig_sock_close(r, pair.b);
	reader_free(rd);
}

static void end_after_bytes(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	writer_send(w, pair.a, 50000, 3, 0);
	if (rig_random(r, 2))
		reader_start(rd, pair.b, 20000);
	PUMP(r, !writer_busy(w));
	rig_sock_close(r, pair.a);
	rig_wait_briefly(r);
	if (!rd->p->busy && rd->end == READING)
		reader_start(rd, pair.b, 20000);
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == 0 && rd->at == 50000);
	rig_sock_close(r, pair.b);
	reader_free(rd);
	writer_free(w);
}

/* One side shuts down its sending direction and still receives the other to its end. */
static void half_close_one_way(struct rig *r, bool accepted_first)
{
	struct sock_pair pair = pair_open(r);
	int first = accepted_first ? pair.b : pair.a;
	int second = accepted_first ? pair.a : pair.b;
	struct stream_writer *w1 = writer_new(r, 1), *w2 = writer_new(r, 2);
	struct stream_reader *rd1 = reader_new(r, 2), *rd2 = reader_new(r, 1);

	reader_start(rd1, first, 50000);
	reader_start(rd2, second, 50000);
	writer_send(w1, first, 5000, 1, 0);
	PUMP(r, !writer_busy(w1));
	rig_sock_shutdown(r, first);
	PUMP(r, !rd2->p->busy);
	CHECK(r, rd2->end == 0 && rd2->at == 5000 && rd1->p->busy);
	writer_send(w2, second, 1u << 20, 5, 0);
	PUMP(r, !writer_busy(w2));
	writer_send(w2, second, 7, 1, 0);
	PUMP(r, !writer_busy(w2));
	rig_sock_shutdown(r, second);
	PUMP(r, !rd1->p->busy);
	CHECK(r, rd1->end == 0 && rd1->at == (1u << 20) + 7);
	writer_send(w1, first, 10, 1, 0);
	PUMP(r, !writer_busy(w1));
	CHECK(r, w1->error == -EPIPE);
	pair_close(r, &pair);
	reader_free(rd1);
	reader_free(rd2);
	writer_free(w1);
	writer_free(w2);
}

static void half_close(struct rig *r)
{
	half_close_one_way(r, false);
	half_close_one_way(r, true);
}

/* ---- resets ----------------------------------------------------------------- */

static void reset_while_receiving(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_reader *rd = reader_new(r, 1), *own = reader_new(r, 2);
	struct stream_writer *w = writer_new(r, 1);

	reader_start(rd, pair.b, 1u << 20);
	reader_start(own, pair.a, 1u << 20);
	writer_send(w, pair.a, 1000, 1, 0);
	PUMP(r, rd->at == 1000 && !writer_busy(w));
	rig_sock_reset(r, pair.a);
	PUMP(r, !rd->p->busy && !own->p->busy);
	CHECK(r, rd->end == -ECONNRESET && own->end == -ECANCELED);
	rig_sock_close(r, pair.b);
	reader_free(rd);
	reader_free(own);
	writer_free(w);
}

static void reset_while_sending(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);

	writer_send(w, pair.a, writer_stuck_bytes(r), 1, 0);
	rig_settle(r);
	CHECK(r, writer_busy(w));
	rig_sock_reset(r, pair.b);
	PUMP(r, !writer_busy(w));
	CHECK(r, w->error == -ECONNRESET || w->error == -EPIPE);
	/* All later sends fail, silent ones too. */
	for (unsigned flags = 0; flags <= IO_SILENT; flags += IO_SILENT) {
		w->error = 0;
		writer_send(w, pair.a, 10, 1, flags);
		PUMP(r, !writer_busy(w));
		CHECK(r, w->error == -ECONNRESET || w->error == -EPIPE);
	}
	rig_sock_close(r, pair.a);
	writer_free(w);
}

/* Bytes that have arrived can be read after a reset; io_outstanding() tells when they
 * have. */
static void reset_behind_arrivals(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_reader *rd = reader_new(r, 1);
	struct stream_writer *w = writer_new(r, 1);

	writer_send(w, pair.a, 10000, 1, 0);
	PUMP(r, !writer_busy(w));
	while (io_outstanding(r->loop, pair.a) > 0)
		rig_wait_briefly(r);
	rig_sock_reset(r, pair.a);
	rig_settle(r);
	reader_start(rd, pair.b, 1u << 20);
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->at == 10000 && rd->end == -ECONNRESET);
	rig_sock_close(r, pair.b);
	reader_free(rd);
	writer_free(w);
}

/* The peer does not read, and more was sent than fits: some bytes have not arrived. */
static void outstanding(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);

	CHECK(r, io_outstanding(r->loop, pair.a) == 0);
	writer_send(w, pair.a, writer_stuck_bytes(r), 1, 0);
	rig_settle(r);
	CHECK(r, writer_busy(w));
	CHECK(r, r->kind == IO_ENGINE_SIM || io_outstanding(r->loop, pair.a) > 0);
	rig_sock_reset(r, pair.b);
	PUMP(r, !writer_busy(w));
	CHECK(r, io_outstanding(r->loop, pair.a) == 0);
	rig_sock_close(r, pair.a);
	writer_free(w);
}

/* Closing a socket with unread bytes sends a reset. */
static void close_unread(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 2);

	reader_start(rd, pair.a, 100);
	writer_send(w, pair.a, 1000, 1, 0);
	PUMP(r, !writer_busy(w));
	rig_settle(r);
	rig_sock_close(r, pair.b);
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == -ECONNRESET);
	rig_sock_close(r, pair.a);
	reader_free(rd);
	writer_free(w);
}

/* After the peer has closed, sends fail in the end, silent ones too. */
static void send_to_closed(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	unsigned sends = 0;

	rig_sock_close(r, pair.b);
	rig_settle(r);
	while (!w->error) {
		CHECK(r, sends++ < 20);
		writer_send(w, pair.a, 100, 1, IO_SILENT);
		rig_wait_briefly(r);
		io_wake(r->loop);
		rig_wait_event(r);
		CHECK(r, !writer_busy(w));
	}
	CHECK(r, w->error == -ECONNRESET || w->error == -EPIPE);
	rig_sock_close(r, pair.a);
	writer_free(w);
}

/* The end of the stream is not reported before all bytes: a reset that overtakes bytes is
 * reported as an error. */
static void no_end_before_bytes(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1), *late = writer_new(r, 2);
	struct stream_reader *rd = reader_new(r, 1);

	writer_send(w, pair.b, 1000, 1, 0);
	PUMP(r, !writer_busy(w));
	writer_send(late, pair.a, 10, 1, 0);
	rig_sock_close(r, pair.b);
	reader_start(rd, pair.a, 100000);
	PUMP(r, !rd->p->busy && !writer_busy(late));
	CHECK(r, rd->end < 0 || rd->at == 1000);
	rig_sock_close(r, pair.a);
	reader_free(rd);
	writer_free(w);
	writer_free(late);
}

static void connect_refused(struct rig *r)
{
	struct op_probe *connect = probe_new(r);

	rig_listen(r);
	rig_sock_close(r, r->listener);
	rig_settle(r);
	r->listener = -1;
	for (unsigned i = 0; i < 3; i++) {
		probe_connect(connect, &r->addr, r->addr_len);
		PUMP(r, !connect->busy);
		CHECK(r, connect->res == -ECONNREFUSED);
	}
}

/* Bytes sent before the accept are received after it. */
static void send_before_accept(struct rig *r)
{
	struct op_probe *connect = probe_new(r), *accept = probe_new(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	rig_listen(r);
	probe_connect(connect, &r->addr, r->addr_len);
	PUMP(r, !connect->busy);
	CHECK(r, connect->res >= 0);
	writer_send(w, connect->res, 3000, 1, 0);
	PUMP(r, !writer_busy(w));
	rig_sock_close(r, connect->res);
	rig_settle(r);
	probe_accept(accept, r->listener);
	PUMP(r, !accept->busy);
	CHECK(r, accept->res >= 0);
	reader_start(rd, accept->res, 10000);
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == 0 && rd->at == 3000);
	rig_sock_close(r, accept->res);
	reader_free(rd);
	writer_free(w);
}

#define CASE(function)                                                \
	{                                                             \
		.name = #function, .run = function, .engines = ON_ALL \
	}
#define UNIX_CASE(function)                                                    \
	{                                                                      \
		.name = #function "_unix", .run = function, .engines = ON_ALL, \
		.family = AF_UNIX                                              \
	}

const struct case_ streams_cases[] = {
	CASE(send_sizes),
	UNIX_CASE(send_sizes),
	CASE(consecutive_sends),
	CASE(send_big_to_slow),
	UNIX_CASE(send_big_to_slow),
	CASE(silent_big_to_slow),
	UNIX_CASE(silent_big_to_slow),
	CASE(silent_flag_in_done),
	CASE(sends_mixed),
	UNIX_CASE(sends_mixed),
	CASE(window_holds_back),
	UNIX_CASE(window_holds_back),
	CASE(window_of_one),
	CASE(end_without_bytes),
	UNIX_CASE(end_without_bytes),
	CASE(end_after_bytes),
	CASE(half_close),
	UNIX_CASE(half_close),
	CASE(reset_while_receiving),
	CASE(reset_while_sending),
	CASE(reset_behind_arrivals),
	CASE(outstanding),
	CASE(close_unread),
	CASE(send_to_closed),
	CASE(no_end_before_bytes),
	CASE(connect_refused),
	CASE(send_before_accept),
};
const size_t streams_cases_n = COUNT(streams_cases);
