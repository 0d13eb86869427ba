/* The simulated engine: ops on the network of simnet.c, which has the time and all
 * chance.
 *
 * Each op in flight has a slot; struct sim_waiter refers to slots (simslots.h). Accepts,
 * connects and receives look at the network when they are run from io_wait(). A send
 * moves its bytes as soon as its waiter is woken, and is put on `ready` when all are
 * sent. */
#include "io/sim.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "simnet.h"
#include "simslots.h"

/* The wall clock starts at 2020-01-01, so that dates are plausible; the monotonic clock
 * starts at another value, so that a mix-up is noticed. */
#define WALL_FIRST_MS 1577836800000u
#define NOW_FIRST_US 1000000u

/* Events within so many microseconds may be handled in one wait. */
#define BATCH_US 200

static void slot_finish(struct sim *s, struct slot *slot, int res)
{
	loop_finish(&s->loop, slot_put(s, slot), res);
}

/* op->engine_u16 has IO_SILENT unless the send once found the pipe full. */
static bool is_silent(const struct slot *slot)
{
	return slot->op->kind == IO_SEND && slot->op->engine_u16 & IO_SILENT &&
	       slot->op->res > 0;
}

static void slot_wake_soon(struct sim *s, const struct slot *slot,
			   enum wake_reason reason)
{
	simnet_wake_after(&s->net, waiter_of(s, slot, reason), simnet_delay(&s->net));
}

/* ---- starting --------------------------------------------------------------- */

static void sim_accept(struct io_loop *loop, struct io_accept *op)
{
	struct sim *s = sim_of(loop);

	ASSERT(simnet_fd(&s->net, op->op.fd)->kind == FD_LISTENER);
	slot_wake_soon(s, slot_take(s, &op->op), WAKE_RUN);
}

static void sim_connect(struct io_loop *loop, struct io_connect *op)
{
	struct sim *s = sim_of(loop);
	struct slot *slot;

	if (simnet_chance(&s->net, s->connect_faults)) {
		loop_finish_early(loop, &op->op, s->connect_error);
		return;
	}
	slot = slot_take(s, &op->op);
	slot->conn = simnet_connect(&s->net, op->addr, op->addr_len,
				    waiter_of(s, slot, WAKE_RUN));
}

static struct slot *slot_start_on_socket(struct sim *s, struct io_op *op, unsigned which)
{
	struct sim_fd *fd = simnet_fd(&s->net, op->fd);
	struct slot *slot = slot_take(s, op);
	struct endpoint *e;

	ASSERT(fd->kind == FD_ENDPOINT);
	slot->conn = fd->index;
	slot->side = fd->side;
	e = slot_endpoint(s, slot);
	ASSERT(e->ops[which] == 0);
	e->ops[which] = op->engine_u32 + 1;
	slot_wake_soon(s, slot, WAKE_RUN);
	return slot;
}

static void sim_recv(struct io_loop *loop, struct io_recv *op)
{
	slot_start_on_socket(sim_of(loop), &op->op, ENDPOINT_RECV);
	stat_add(&loop->stats.recv_arms, 1);
}

static void sim_send(struct io_loop *loop, struct io_send *op, bool silent)
{
	op->op.engine_u16 = silent ? IO_SILENT : 0;
	slot_start_on_socket(sim_of(loop), &op->op, ENDPOINT_SEND);
}

static void sim_write(struct io_loop *loop, struct io_write *op)
{
	struct sim *s = sim_of(loop);

	slot_wake_soon(s, slot_take(s, &op->op), WAKE_RUN);
}

static void sim_cancel(struct io_loop *loop, struct io_op *op)
{
	struct sim *s = sim_of(loop);

	slot_wake_soon(s, slot_of(s, op), WAKE_CANCEL);
}

/* ---- sending ---------------------------------------------------------------- */

static void send_done(struct sim *s, struct slot *slot, int res)
{
	slot->op->res = res;
	if (res > 0 && (slot->op->engine_u16 & IO_SILENT)) {
		slot->state = SLOT_SILENT_DONE;
		queue_push(&s->silent, waiter_of(s, slot, WAKE_RUN));
		stat_add(&s->loop.stats.silent_sends, 1);
		return;
	}
	slot->state = SLOT_DONE;
	queue_push(&s->ready, waiter_of(s, slot, WAKE_RUN));
}

static void send_step(struct sim *s, struct slot *slot)
{
	struct io_send *op = op_send(slot->op);
	int64_t n = simnet_send(&s->net, slot->conn, slot->side, op->iov, op->iov_n,
				waiter_of(s, slot, WAKE_RUN));

	/* A send that had to wait is no longer silent, as in the real engines. */
	if (n == -EAGAIN || (n > 0 && (size_t)n < op->left)) {
		if (op->left == op->len)
			stat_add(&s->loop.stats.short_sends, 1);
		op->op.engine_u16 = 0;
	}
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		send_done(s, slot, (int)n);
	} else if ((size_t)n == op->left) {
		op->left = 0;
		send_done(s, slot, (int)op->len);
	} else {
		send_advance(op, (size_t)n);
		slot_wake_soon(s, slot, WAKE_RUN);
	}
}

/* A remote socket uses neither the pool nor slabs: the size is above the largest
 * class. */
static struct buf *receive_buf(struct sim *s, struct slot *slot)
{
	return slot_endpoint(s, slot)->remote
		       ? buf_new(&s->loop.bufs, BUF_BYTES + 1)
		       : loop_take_buf(&s->loop, op_recv(slot->op));
}

/* ---- closing ---------------------------------------------------------------- */

/* Called for an op in flight when its socket is closed. As in the real engines, its
 * result may win the race: at random, bytes that have arrived are delivered before the
 * end, and a send still sends what fits into the pipe. */
static void slot_detach(struct sim *s, uint32_t index)
{
	struct slot *slot = &s->slots[index - 1];
	struct endpoint *e = slot_endpoint(s, slot);
	struct sim_waiter w = waiter_of(s, slot, WAKE_CANCEL);

	if (slot->op->kind == IO_RECV && e->arrived > 0 && simnet_random(&s->net, 2)) {
		slot->held = receive_buf(s, slot);
		if (slot->held)
			slot->held->end =
				(uint32_t)simnet_recv(&s->net, slot->conn, slot->side,
						      slot->held->data, BUF_BYTES, w);
	}
	if (slot->op->kind == IO_SEND && slot->state == SLOT_STARTED &&
	    simnet_random(&s->net, 2))
		send_step(s, slot);
	slot->detached = true;
	slot_wake_soon(s, slot, WAKE_CANCEL);
}

static void close_listener(struct sim *s, int fd)
{
	for (uint32_t i = 0; i < s->slots_n; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->state == SLOT_FREE || slot->detached ||
		    slot->op->kind != IO_ACCEPT || slot->op->fd != fd)
			continue;
		simnet_stop_waiting(&s->net, fd, waiter_of(s, slot, WAKE_RUN));
		slot->detached = true;
		slot_wake_soon(s, slot, WAKE_CANCEL);
	}
	simnet_close_listener(&s->net, fd);
}

static void sim_close(struct io_loop *loop, int fd, bool reset)
{
	struct sim *s = sim_of(loop);
	struct sim_fd at = *simnet_fd(&s->net, fd);
	struct endpoint *e;

	if (at.kind == FD_LISTENER) {
		close_listener(s, fd);
		return;
	}
	e = &simnet_conn(&s->net, at.index)->ends[at.side];
	for (unsigned i = 0; i < COUNT(e->ops); i++)
		if (e->ops[i] > 0)
			slot_detach(s, e->ops[i]);
	e->ops[ENDPOINT_RECV] = e->ops[ENDPOINT_SEND] = 0;
	simnet_close(&s->net, at.index, at.side, reset);
}

static void sim_shutdown(struct io_loop *loop, int fd)
{
	struct sim *s = sim_of(loop);
	struct sim_fd *at = simnet_fd(&s->net, fd);

	ASSERT(at->kind == FD_ENDPOINT);
	ASSERT(simnet_conn(&s->net, at->index)->ends[at->side].ops[ENDPOINT_SEND] == 0);
	simnet_shutdown(&s->net, at->index, at->side);
}

/* ---- running ops: each function returns true if it called done() -------------- */

static bool accept_step(struct sim *s, struct slot *slot)
{
	struct io_accept *op = op_accept(slot->op);
	struct sim_conn *c;
	int64_t conn;

	if (simnet_chance(&s->net, s->accept_faults)) {
		stat_add(&s->loop.stats.accept_errors, 1);
		slot_finish(s, slot, -EMFILE);
		return true;
	}
	conn = simnet_accept(&s->net, simnet_fd(&s->net, op->op.fd)->index,
			     waiter_of(s, slot, WAKE_RUN));
	if (conn < 0)
		return false;
	c = simnet_conn(&s->net, (uint32_t)conn);
	op->peer = c->from;
	op->peer_len = c->from_len;
	slot_finish(s, slot, simnet_assign_fd(&s->net, (uint32_t)conn, 1));
	return true;
}

static bool connect_step(struct sim *s, struct slot *slot)
{
	struct sim_conn *c = simnet_conn(&s->net, slot->conn);
	uint32_t conn = slot->conn;
	int result = c->result;

	if (c->state == SIM_CONNECTING)
		return false;
	if (c->state == SIM_CONNECTED)
		result = simnet_assign_fd(&s->net, conn, 0);
	else
		simnet_close(&s->net, conn, 0, false);
	slot_finish(s, slot, result);
	return true;
}

/* False: the window is used up; that was the last done(). */
static bool recv_deliver(struct sim *s, struct slot *slot, struct buf *b, uint32_t n)
{
	struct io_recv *op = op_recv(slot->op);

	if (n >= op->left)
		slot_put(s, slot);
	return loop_deliver(&s->loop, op, b, n);
}

/* Delivers one buffer, sometimes with fewer bytes than have arrived: a byte stream has no
 * message boundaries. */
static bool recv_step(struct sim *s, struct slot *slot)
{
	struct sim_waiter w = waiter_of(s, slot, WAKE_RUN);
	struct buf *b = NULL;
	uint64_t max = BUF_BYTES;
	int64_t n;

	if (simnet_readable(&s->net, slot->conn, slot->side)) {
		b = receive_buf(s, slot);
		if (!b) {
			stat_add(&s->loop.stats.buffer_shortages, 1);
			queue_push(&s->buffer_waiters, w);
			return false;
		}
		if (simnet_random(&s->net, 8) == 0)
			max = 1 + simnet_random(&s->net, max);
	}
	n = simnet_recv(&s->net, slot->conn, slot->side, b ? b->data : NULL, max, w);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		buf_put(b);
		slot_finish(s, slot, (int)n);
		return true;
	}
	slot_wake_soon(s, slot, WAKE_RUN);
	recv_deliver(s, slot, b, (uint32_t)n);
	return true;
}

static bool write_step(struct sim *s, struct slot *slot)
{
	struct io_write *op = op_write(slot->op);

	sim_file_append(s, op->op.fd, op->ptr, op->len);
	op->left = 0;
	slot_finish(s, slot, (int)op->len);
	return true;
}

/* A detached op is ended by its WAKE_CANCEL only. */
static bool slot_step(struct sim *s, struct slot *slot)
{
	if (slot->state == SLOT_DONE) {
		if (is_silent(slot))
			loop_finish_silent(&s->loop, op_send(slot_put(s, slot)));
		else
			slot_finish(s, slot, slot->op->res);
		return true;
	}
	if (slot->detached || slot->state == SLOT_SILENT_DONE)
		return false;
	switch ((enum io_kind)slot->op->kind) {
	case IO_ACCEPT:
		return accept_step(s, slot);
	case IO_CONNECT:
		return connect_step(s, slot);
	case IO_RECV:
		return recv_step(s, slot);
	case IO_WRITE:
		return write_step(s, slot);
	case IO_SEND: /* see waiter_woken() */
	case IO_IDLE:
		break;
	}
	return false;
}

static bool cancel_step(struct sim *s, struct slot *slot)
{
	struct sim_waiter w = waiter_of(s, slot, WAKE_CANCEL);
	struct buf *held = slot->held;

	if (slot->state != SLOT_STARTED) {
		slot_finish(s, slot, slot->op->res);
		return true;
	}
	slot->held = NULL;
	if (held && !recv_deliver(s, slot, held, held->end))
		return true;
	slot = waiter_slot(s, w);
	ASSERT(slot);
	if (slot->op->kind == IO_CONNECT)
		simnet_close(&s->net, slot->conn, 0, false);
	if (slot->op->kind == IO_ACCEPT && !slot->detached)
		simnet_stop_waiting(&s->net, slot->op->fd, waiter_of(s, slot, WAKE_RUN));
	slot_finish(s, slot, -ECANCELED);
	return true;
}

/* ---- waiting ---------------------------------------------------------------- */

static bool slot_deliver(struct sim *s, struct sim_waiter w)
{
	struct slot *slot = waiter_slot(s, w);

	if (!slot)
		return false;
	stat_add(&s->loop.stats.completions, 1);
	switch ((enum wake_reason)w.reason) {
	case WAKE_RUN:
		return slot_step(s, slot);
	case WAKE_CANCEL:
		return cancel_step(s, slot);
	}
	return false;
}

/* Runs all slots of a queue in random order. True: a done() was called. */
static bool deliver_queue(struct sim *s, struct waiter_queue *from)
{
	struct waiter_queue q = *from;
	bool any = false;

	*from = (struct waiter_queue){ 0 };
	for (size_t n = q.n; n > 0; n--) {
		size_t i = simnet_random(&s->net, n);
		struct sim_waiter w = q.at[i];

		q.at[i] = q.at[n - 1];
		any |= slot_deliver(s, w);
	}
	free(q.at);
	return any;
}

static void silent_to_ready(struct sim *s)
{
	for (size_t i = 0; i < s->silent.n; i++) {
		struct slot *slot = waiter_slot(s, s->silent.at[i]);

		if (slot && slot->state == SLOT_SILENT_DONE) {
			slot->state = SLOT_DONE;
			queue_push(&s->ready, s->silent.at[i]);
		}
	}
	s->silent.n = 0;
}

/* A waiter was woken: a send makes progress, other ops are put on `ready`. */
static void waiter_woken(struct sim *s, struct sim_waiter w)
{
	struct slot *slot = waiter_slot(s, w);

	if (!slot || slot->state == SLOT_DONE)
		return;
	if (slot->op->kind == IO_SEND && w.reason == WAKE_RUN) {
		if (slot->state == SLOT_STARTED && !slot->detached)
			send_step(s, slot);
		return;
	}
	queue_push(&s->ready, w);
}

/* Processes events until a slot is ready, and then those of a random time further, at
 * most BATCH_US. False: no slot became ready before until_us. */
static bool run_until_ready(struct sim *s, uint64_t until_us)
{
	struct sim_waiter w;
	bool more = true;
	uint64_t batch_us;

	while (more && s->ready.n == 0)
		if (simnet_next(&s->net, until_us, &w, &more))
			waiter_woken(s, w);
	if (s->ready.n == 0)
		return false;
	batch_us = s->net.now_us + simnet_random(&s->net, BATCH_US);
	if (until_us > batch_us)
		until_us = batch_us;
	for (more = true; more;)
		if (simnet_next(&s->net, until_us, &w, &more))
			waiter_woken(s, w);
	return true;
}

/* Wakes as many receives as there are buffers, oldest first. */
static void wake_buffer_waiters(struct sim *s)
{
	size_t called_n = 0, kept = 0;

	for (size_t i = 0; i < s->buffer_waiters.n; i++) {
		struct sim_waiter w = s->buffer_waiters.at[i];
		struct slot *slot = waiter_slot(s, w);

		if (!slot)
			continue;
		if (called_n <
		    buf_available(&s->loop.bufs, op_recv(slot->op)->may_use_reserve)) {
			called_n++;
			simnet_wake_after(&s->net, w, simnet_delay(&s->net));
		} else {
			s->buffer_waiters.at[kept++] = w;
		}
	}
	s->buffer_waiters.n = kept;
}

static void deliver_silent(struct sim *s)
{
	silent_to_ready(s);
	deliver_queue(s, &s->ready);
}

/* The wait has ended by io_wake() or by its timeout. A wake ends silent sends too; a
 * timeout does so at random, because a real engine may do either. */
static void wait_timed_out(struct sim *s, uint64_t until_us, bool woken)
{
	ASSERT(until_us !=
	       UINT64_MAX); /* else it would wait for ever: a bug of the caller */
	s->net.now_us = until_us;
	if (woken || simnet_random(&s->net, 2))
		deliver_silent(s);
}

static void sim_clock(struct sim *s)
{
	s->loop.wall_ms = WALL_FIRST_MS + s->net.now_us / 1000;
	s->loop.now_us = s->net.now_us;
}

static void sim_wait(struct io_loop *loop, uint64_t timeout_us)
{
	struct sim *s = sim_of(loop);
	bool delivered = false, woken;
	uint64_t until_us;

	stat_add(&loop->stats.enters, 1);
	stat_add(&loop->stats.syscalls, 1);
	/* Each wait takes 1 us, so that a caller that polls with timeout 0 makes
	 * progress. */
	s->net.now_us++;
	until_us = s->net.now_us + timeout_us;
	if (until_us < timeout_us)
		until_us = UINT64_MAX;
	woken = atomic_exchange(&s->woken, false);
	if (woken)
		until_us = s->net.now_us;
	while (!delivered) {
		wake_buffer_waiters(s);
		if (!run_until_ready(s, until_us)) {
			wait_timed_out(s, until_us, woken);
			break;
		}
		sim_clock(s);
		delivered = deliver_queue(s, &s->ready);
		if (delivered)
			deliver_silent(s);
	}
	sim_clock(s);
}

static void sim_wake(struct io_loop *loop)
{
	atomic_store(&sim_of(loop)->woken, true);
}

/* ---- opening and ending ----------------------------------------------------- */

static void sim_done(struct io_loop *loop)
{
	struct sim *s = sim_of(loop);

	for (unsigned i = 0; i < s->files_n; i++)
		free(s->files[i].bytes);
	free(s->files);
	free(s->slots);
	free(s->ready.at);
	free(s->silent.at);
	free(s->buffer_waiters.at);
	simnet_done(&s->net);
}

static uint64_t sim_delivered(struct io_loop *loop, int fd)
{
	return simnet_peer(&sim_of(loop)->net, fd)->read;
}

static uint64_t sim_outstanding(struct io_loop *loop, int fd)
{
	const struct endpoint *to = simnet_peer(&sim_of(loop)->net, fd);

	return to->closed || to->reset ? 0 : to->len - to->arrived;
}

static bool sim_peer_ended(struct io_loop *loop, int fd)
{
	struct simnet *net = &sim_of(loop)->net;
	const struct sim_fd *f = simnet_fd(net, fd);
	const struct endpoint *e = &simnet_conn(net, f->index)->ends[f->side];

	return e->reset || (e->fin_received && e->len == e->arrived);
}

static void sim_local_address(struct io_loop *loop, int fd, struct sockaddr_storage *sa)
{
	struct simnet *net = &sim_of(loop)->net;
	const struct sim_fd *f = simnet_fd(net, fd);
	const struct sim_conn *c = simnet_conn(net, f->index);

	*sa = f->side == 0 ? c->from : c->to;
}

static bool sim_wakeup_lost(struct io_loop *loop, int listener)
{
	return simnet_backlog_waits(&sim_of(loop)->net, listener);
}

static const struct io_engine sim_engine = {
	.accept = sim_accept,
	.connect = sim_connect,
	.recv = sim_recv,
	.send = sim_send,
	.write = sim_write,
	.cancel = sim_cancel,
	.close = sim_close,
	.shutdown = sim_shutdown,
	.delivered = sim_delivered,
	.peer_ended = sim_peer_ended,
	.local_address = sim_local_address,
	.outstanding = sim_outstanding,
	.wakeup_lost = sim_wakeup_lost,
	.wait = sim_wait,
	.wake = sim_wake,
	.done = sim_done,
};

int sim_open(struct io_loop **loop, const struct io_options *options)
{
	struct sim *s = calloc(1, sizeof(*s));
	int error;

	if (!s)
		return -ENOMEM;
	error = loop_init(&s->loop, &sim_engine, IO_ENGINE_SIM, options);
	if (error) {
		free(s);
		return error;
	}
	if (!check_states)
		check_states = true;
	simnet_init(&s->net, options->seed, NOW_FIRST_US);
	s->loop.now_us = NOW_FIRST_US;
	s->loop.wall_ms = WALL_FIRST_MS + NOW_FIRST_US / 1000;
	*loop = &s->loop;
	return 0;
}

void sim_describe(char *text, size_t size)
{
	snprintf(text, size, "none: a network in memory, in virtual time\n");
}

int sim_listen(struct io_loop *loop, const struct sockaddr *addr, socklen_t len,
	       int backlog)
{
	ASSERT(loop->kind == IO_ENGINE_SIM);
	return simnet_listen(&sim_of(loop)->net, addr, len, backlog);
}

int sim_dup_listener(struct io_loop *loop, int listener)
{
	return simnet_dup_listener(&sim_of(loop)->net, listener);
}

void sim_set_socket_bytes(struct io_loop *loop, uint32_t bytes)
{
	ASSERT(loop->kind == IO_ENGINE_SIM && bytes > 0);
	sim_of(loop)->net.pipe_max = bytes;
}

void sim_set_remote(struct io_loop *loop, int fd)
{
	struct sim *s = sim_of(loop);
	struct sim_fd *at = simnet_fd(&s->net, fd);

	ASSERT(loop->kind == IO_ENGINE_SIM && at->kind == FD_ENDPOINT);
	simnet_conn(&s->net, at->index)->ends[at->side].remote = true;
}

void sim_set_faults(struct io_loop *loop, const struct sim_faults *faults)
{
	struct sim *s = sim_of(loop);

	ASSERT(loop->kind == IO_ENGINE_SIM);
	ASSERT(faults->segments == 0 || faults->late_ms > 0);
	s->accept_faults = faults->accepts;
	s->connect_faults = faults->connects;
	s->connect_error = faults->connect_error ? faults->connect_error : -EMFILE;
	s->net.late_one_in = faults->segments;
	s->net.late_us = faults->late_ms * 1000ull;
}

unsigned sim_open_sockets(const struct io_loop *loop)
{
	ASSERT(loop->kind == IO_ENGINE_SIM);
	return CONTAINER(loop, const struct sim, loop)->net.fds_open;
}
