/* Laws L2 to L5 of io/io.h; the probes check L1 in every case. The simulation runs each
 * case with many seeds. timeout: 600 */
#include "contract.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/buf.h"

/* L2: even for a result that is known at the start, done() is called from io_wait(). */
static void done_in_wait_only(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);
	struct op_probe *again = probe_new(r), *wait = probe_new(r);
	uint64_t facts;

	writer_send(w, pair.a, 100, 1, 0);
	PUMP(r, !writer_busy(w));
	rig_wait_briefly(r);
	facts = r->facts;
	reader_start(rd, pair.b, 1000);
	writer_send(w, pair.a, 100, 1, 0);
	probe_connect(again, &r->addr, r->addr_len);
	probe_accept(wait, r->listener);
	probe_cancel(wait);
	CHECK(r, r->facts == facts);
	PUMP(r, rd->at == 200 && !again->busy && !wait->busy && !writer_busy(w));
	facts = r->facts;
	CHECK(r, again->res >= 0);
	rig_sock_close(r, again->res);
	if (wait->res >= 0)
		rig_sock_close(r, wait->res);
	rig_sock_shutdown(r, pair.a);
	pair_close(r, &pair);
	CHECK(r, r->facts == facts);
	PUMP(r, !rd->p->busy);
	reader_free(rd);
	writer_free(w);
}

/* L3: each op has a page that becomes inaccessible inside its last done(). */
static void not_touched_after_done(struct rig *r)
{
	struct op_probe *accept = probe_new_page(r), *connect = probe_new_page(r);
	struct op_probe *send = probe_new_page(r), *recv = probe_new_page(r);
	struct op_probe *never = probe_new_page(r);
	char bytes[] = "hello";
	struct iovec iov = { bytes, 5 };
	int a, b;

	probe_accept(accept, rig_listen(r));
	probe_connect(connect, &r->addr, r->addr_len);
	PUMP(r, !accept->busy && !connect->busy);
	a = connect->res;
	b = accept->res;
	probe_accept(never, r->listener);
	probe_recv(recv, b, 5);
	probe_send(send, a, &iov, 1, 0);
	PUMP(r, !send->busy && !recv->busy);
	CHECK(r, send->res == 5 && recv->res > 0);
	iov = (struct iovec){ bytes, 5 };
	probe_send(send, b, &iov, 1, IO_SILENT);
	probe_recv(recv, a, 5);
	probe_cancel(never);
	PUMP(r, !send->busy && !recv->busy && !never->busy);
	probe_recv(recv, b, 5);
	rig_sock_close(r, a);
	PUMP(r, !recv->busy);
	CHECK(r, recv->res == 0);
	probe_recv(recv, b, 5);
	rig_sock_close(r, b);
	PUMP(r, !recv->busy);
	rig_settle(r);
}

/* ---- L4 --------------------------------------------------------------------- */

static void cancel_recv(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct op_probe *recv = probe_new(r);

	probe_recv(recv, pair.b, 100);
	rig_wait_briefly(r);
	CHECK(r, recv->busy);
	probe_cancel(recv);
	PUMP(r, !recv->busy);
	CHECK(r, recv->res == -ECANCELED);
	/* Also an op that was not submitted yet. */
	probe_recv(recv, pair.b, 100);
	probe_cancel(recv);
	PUMP(r, !recv->busy);
	CHECK(r, recv->res == -ECANCELED);
	pair_close(r, &pair);
}

static void cancel_accept(struct rig *r)
{
	struct op_probe *first = probe_new(r), *second = probe_new(r);
	struct op_probe *connect = probe_new(r);

	probe_accept(first, rig_listen(r));
	probe_accept(second, r->listener);
	rig_wait_briefly(r);
	CHECK(r, first->busy && second->busy);
	probe_cancel(first);
	PUMP(r, !first->busy);
	CHECK(r, first->res == -ECANCELED);
	probe_connect(connect, &r->addr, r->addr_len);
	PUMP(r, !second->busy && !connect->busy);
	CHECK(r, second->res >= 0 && connect->res >= 0);
	rig_sock_close(r, second->res);
	rig_sock_close(r, connect->res);
}

/* The connect or the cancel may win; if the connect does, the socket belongs to the
 * owner. */
static void cancel_connect(struct rig *r)
{
	struct op_probe *accept = probe_new(r);

	probe_accept(accept, rig_listen(r));
	for (unsigned i = 0; i < 10; i++) {
		struct op_probe *connect = probe_new(r);

		probe_connect(connect, &r->addr, r->addr_len);
		if (rig_random(r, 2))
			rig_wait(r, 0);
		probe_cancel(connect);
		PUMP(r, !connect->busy);
		CHECK(r, connect->res == -ECANCELED || connect->res >= 0);
		if (connect->res >= 0)
			rig_sock_close(r, connect->res);
		rig_settle(r);
		if (!accept->busy) {
			CHECK(r, accept->res >= 0);
			rig_sock_close(r, accept->res);
			probe_accept(accept, r->listener);
		}
	}
	probe_cancel(accept);
	PUMP(r, !accept->busy);
	if (accept->res >= 0)
		rig_sock_close(r, accept->res);
}

static void cancel_send(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	writer_send(w, pair.a, writer_stuck_bytes(r), 4, 0);
	rig_settle(r);
	CHECK(r, writer_busy(w));
	probe_cancel(w->p);
	PUMP(r, !writer_busy(w));
	CHECK(r, w->error == -ECANCELED);
	/* The bytes sent before the cancel are a prefix of the stream. */
	rig_sock_close(r, pair.a);
	reader_start(rd, pair.b, 65536);
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == 0 && rd->at < writer_stuck_bytes(r));
	rig_sock_close(r, pair.b);
	reader_free(rd);
	writer_free(w);
}

static void cancel_idle(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct io_recv op = { 0 };
	struct io_send never = { 0 };
	uint64_t facts = r->facts;

	io_op_init(&op.op, NULL);
	io_op_init(&never.op, NULL);
	io_cancel(r->loop, &op.op);
	io_cancel(r->loop, &never.op);
	rig_settle(r);
	CHECK(r, r->facts == facts && !io_busy(&op.op));
	pair_close(r, &pair);
}

static void cancel_twice(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct op_probe *recv = probe_new(r), *accept = probe_new(r);

	probe_recv(recv, pair.b, 100);
	probe_accept(accept, r->listener);
	rig_wait_briefly(r);
	for (unsigned i = 0; i < 2; i++) {
		probe_cancel(recv);
		probe_cancel(accept);
	}
	PUMP(r, !recv->busy && !accept->busy);
	CHECK(r, recv->res == -ECANCELED && accept->res == -ECANCELED);
	/* An old cancel does not end the op after a restart. */
	probe_recv(recv, pair.b, 100);
	probe_cancel(recv);
	probe_cancel(recv);
	PUMP(r, !recv->busy);
	probe_recv(recv, pair.b, 100);
	rig_settle(r);
	CHECK(r, recv->busy);
	pair_close(r, &pair);
	PUMP(r, !recv->busy);
}

/* A cancel races with arriving bytes: no byte is lost. */
static void cancel_races_bytes(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	for (unsigned i = 0; i < 20; i++) {
		reader_start(rd, pair.b, 1u << 20);
		if (rig_random(r, 2))
			rig_wait_briefly(r);
		writer_send(w, pair.a, 1 + rig_random(r, 3000), 2, 0);
		for (uint64_t n = rig_random(r, 4); n > 0; n--)
			rig_wait(r, 0);
		probe_cancel(rd->p);
		PUMP(r, !rd->p->busy && !writer_busy(w));
		CHECK(r, rd->end == -ECANCELED);
	}
	reader_start(rd, pair.b, 1u << 20);
	rig_sock_shutdown(r, pair.a);
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == 0 && rd->at == w->at);
	pair_close(r, &pair);
	reader_free(rd);
	writer_free(w);
}

static void recv_done_cancels(struct op_probe *p, int res, unsigned flags)
{
	*(uint64_t *)p->owner += res > 0 ? (uint64_t)res : 0;
	if (flags & IO_MORE)
		probe_cancel(p);
}

/* The waiting bytes fill the window, and the owner cancels in the first done(): one
 * completion may have brought all of them. */
static void cancel_inside_done(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct op_probe *recv = probe_new(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	rd->again = false;
	recv->on_done = recv_done_cancels;
	recv->owner = &rd->at;
	for (uint32_t i = 0; i < 20; i++) {
		uint32_t parts = 1 + i % 5;

		writer_send(w, pair.a, 6 * BUF_BYTES, 1, 0);
		rig_wait_briefly(r);
		probe_recv(recv, pair.b, parts * BUF_BYTES);
		PUMP(r, !recv->busy);
		CHECK(r, recv->res == -ECANCELED || recv->res > 0);
		reader_start(rd, pair.b, (uint32_t)(w->at - rd->at));
		PUMP(r, !rd->p->busy && !writer_busy(w));
		CHECK(r, rd->at == w->at);
	}
	pair_close(r, &pair);
	reader_free(rd);
	writer_free(w);
}

/* ---- L5 --------------------------------------------------------------------- */

static void close_in_flight(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 2), *peer = reader_new(r, 1);

	reader_start(rd, pair.a, 65536);
	writer_send(w, pair.a, writer_stuck_bytes(r), 3, 0);
	rig_settle(r);
	CHECK(r, writer_busy(w) && rd->p->busy);
	rig_sock_close(r, pair.a);
	PUMP(r, !writer_busy(w) && !rd->p->busy);
	CHECK(r, w->error < 0 && rd->end == -ECANCELED);
	reader_start(peer, pair.b, 65536);
	PUMP(r, !peer->p->busy);
	CHECK(r, peer->end == 0 && peer->at < w->at);
	rig_sock_close(r, pair.b);
	reader_free(peer);
	reader_free(rd);
	writer_free(w);
}

/* The socket is closed before the engine has submitted its ops. */
static void close_just_started(struct rig *r)
{
	for (unsigned i = 0; i < 10; i++) {
		struct sock_pair pair = pair_open(r);
		struct stream_writer *w = writer_new(r, 1);
		struct stream_reader *rd = reader_new(r, 2), *peer = reader_new(r, 1);

		reader_start(peer, pair.b, 65536);
		reader_start(rd, pair.a, 65536);
		writer_send(w, pair.a, 1 + rig_random(r, 100), 1, rig_random(r, 2));
		if (rig_random(r, 2))
			rig_wait(r, 0);
		rig_sock_close(r, pair.a);
		PUMP(r, !peer->p->busy && !writer_busy(w) && !rd->p->busy);
		CHECK(r, peer->end == 0);
		CHECK(r, w->error || peer->at == w->at);
		rig_sock_close(r, pair.b);
		reader_free(peer);
		reader_free(rd);
		writer_free(w);
	}
}

/* A connection is closed with a receive and sends in flight; the next one is opened
 * before the last done() calls of the first. True: it got one of the same descriptors. */
static bool reuse_once(struct rig *r, uint64_t first_stream)
{
	struct sock_pair old = pair_open(r), was = old, pair;
	struct stream_writer *w[3] = { writer_new(r, first_stream),
				       writer_new(r, first_stream + 1),
				       writer_new(r, first_stream + 2) };
	struct stream_reader *rd[3] = { reader_new(r, first_stream),
					reader_new(r, first_stream + 1),
					reader_new(r, first_stream + 2) };
	bool reused;

	reader_start(rd[0], old.b, 1u << 20);
	writer_send(w[0], old.a, 1000, 1, 0);
	writer_send(w[1], old.b, 70000, 2, 0);
	if (rig_random(r, 2))
		reader_start(rd[1], old.a, 1u << 20);
	PUMP(r, rd[0]->at == 1000);
	pair_close(r, &old);
	pair = pair_open(r);
	reader_start(rd[2], pair.b, 1u << 20);
	writer_send(w[2], pair.a, 1000, 1, 0);
	PUMP(r, rd[2]->at == 1000);
	rig_settle(r);
	CHECK(r, rd[2]->p->busy && rd[2]->at == 1000);
	reused = pair.a == was.a || pair.b == was.b || pair.a == was.b || pair.b == was.a;
	pair_close(r, &pair);
	PUMP(r, r->busy == 0);
	for (unsigned i = 0; i < 3; i++) {
		reader_free(rd[i]);
		writer_free(w[i]);
	}
	return reused;
}

/* A descriptor number is reused at once: no event of the old connection reaches the new
 * one. Each connection has its own streams, so that a byte of another one is noticed. */
static void number_reused(struct rig *r)
{
	unsigned reused = 0;

	for (uint64_t life = 1; life <= 20; life++)
		reused += reuse_once(r, 10 * life);
	CHECK(r, reused > 0);
}

static void recv_done_closes(struct op_probe *p, int res, unsigned flags)
{
	(void)res;
	if (p->owner)
		rig_sock_close(p->rig, *(int *)p->owner);
	p->owner = NULL;
	(void)flags;
}

/* The owner closes the socket inside done() of one of its ops. */
static void close_inside_done(struct rig *r)
{
	for (unsigned i = 0; i < 10; i++) {
		struct sock_pair pair = pair_open(r);
		struct op_probe *recv = probe_new(r);
		struct stream_writer *w = writer_new(r, 1), *stuck = writer_new(r, 2);

		recv->on_done = recv_done_closes;
		recv->owner = &pair.b;
		probe_recv(recv, pair.b, i % 2 ? 1 : 1u << 20);
		writer_send(stuck, pair.b, writer_stuck_bytes(r), 1, 0);
		rig_settle(r);
		writer_send(w, pair.a, 50, 1, 0);
		PUMP(r, !recv->busy && !writer_busy(stuck) && !writer_busy(w));
		CHECK(r, stuck->error < 0 && !recv->owner);
		rig_sock_close(r, pair.a);
		writer_free(w);
		writer_free(stuck);
	}
}

/* A listener is closed with accepts armed and with connections in its backlog. */
static void close_listener(struct rig *r)
{
	struct op_probe *accepts[4], *connect = probe_new(r);
	struct stream_reader *rd = reader_new(r, 1);

	rig_listen(r);
	probe_connect(connect, &r->addr, r->addr_len);
	PUMP(r, !connect->busy);
	CHECK(r, connect->res >= 0);
	reader_start(rd, connect->res, 100);
	rig_sock_close(r, r->listener);
	r->listener = -1;
	PUMP(r, !rd->p->busy);
	CHECK(r, rd->end == -ECONNRESET || rd->end == 0);
	rig_sock_close(r, connect->res);
	rig_settle(r);
	rig_listen(r);
	for (unsigned i = 0; i < COUNT(accepts); i++)
		probe_accept(accepts[i] = probe_new(r), r->listener);
	rig_wait_briefly(r);
	rig_sock_close(r, r->listener);
	r->listener = -1;
	PUMP(r, r->busy == 0);
	for (unsigned i = 0; i < COUNT(accepts); i++)
		CHECK(r, accepts[i]->res == -ECANCELED);
	reader_free(rd);
}

/* A connection waits and no accept is in flight. On the engines that may have lost its wake-up,
 * an accept with a cancel takes it, sometimes at a later attempt. */
static void wakeup_lost(struct rig *r)
{
	struct op_probe *connect = probe_new(r), *accept = probe_new(r);

	rig_listen(r);
	CHECK(r, !io_wakeup_lost(r->loop, r->listener));
	probe_connect(connect, &r->addr, r->addr_len);
	PUMP(r, !connect->busy);
	CHECK(r, connect->res >= 0);
	CHECK(r, io_wakeup_lost(r->loop, r->listener) == (r->kind != IO_ENGINE_EPOLL));
	while (io_wakeup_lost(r->loop, r->listener)) {
		probe_accept(accept, r->listener);
		probe_cancel(accept);
		PUMP(r, !accept->busy);
		CHECK(r, accept->res >= 0 || accept->res == -ECANCELED);
	}
	if (r->kind != IO_ENGINE_EPOLL)
		rig_sock_close(r, accept->res);
	rig_sock_close(r, connect->res);
	rig_settle(r);
}

#define CASE(function)                                                \
	{                                                             \
		.name = #function, .run = function, .engines = ON_ALL \
	}

const struct case_ laws_cases[] = {
	CASE(done_in_wait_only),
	{ .name = "done_in_wait_only_unix",
	  .run = done_in_wait_only,
	  .engines = ON_ALL,
	  .family = AF_UNIX },
	CASE(not_touched_after_done),
	CASE(cancel_recv),
	CASE(cancel_accept),
	CASE(cancel_connect),
	CASE(cancel_send),
	CASE(cancel_idle),
	CASE(cancel_twice),
	CASE(cancel_races_bytes),
	CASE(cancel_inside_done),
	CASE(close_in_flight),
	CASE(close_just_started),
	CASE(number_reused),
	CASE(close_inside_done),
	CASE(close_listener),
	CASE(wakeup_lost),
};
const size_t laws_cases_n = COUNT(laws_cases);
