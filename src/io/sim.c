/* The simulation's ops. The network, time and chance are in world.c; here is what
 * an op does when the world calls it.
 *
 * A slot stands for each op in flight; world.c's tickets name slots, and a ticket
 * of an op that has ended is recognised by its generation. Receives, accepts and
 * connects look at the world when they are called; a send moves its bytes when the
 * world says so, and is called once they are all gone. */
#include "io/sim.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "simslots.h"
#include "world.h"

/* 2020-01-01, so that dates are plausible; the monotonic clock starts elsewhere. */
#define WALL_FIRST_MS 1577836800000u
#define NOW_FIRST_US 1000000u

/* What happens within so many microseconds may be told at once. */
#define BATCH_US 200

static void finish(struct sim *s, struct slot *slot, int res)
{
	loop_finish(&s->loop, slot_put(s, slot), res);
}

/* Its op still says so, unless it had to wait for room once. */
static bool is_silent(const struct slot *slot)
{
	return slot->op->kind == IO_SEND && slot->op->flags & IO_SILENT && slot->op->res > 0;
}

static void call_soon(struct sim *s, const struct slot *slot, enum why why)
{
	world_call(&s->world, ticket_of(s, slot, why), world_delay(&s->world));
}

/* ---- starting --------------------------------------------------------------- */

static void sim_accept(struct io_loop *loop, struct io_accept *op)
{
	struct sim *s = sim_of(loop);

	ASSERT(world_fd(&s->world, op->op.fd)->kind == FD_LISTENER);
	call_soon(s, slot_take(s, &op->op), WHY_STEP);
}

static void sim_connect(struct io_loop *loop, struct io_connect *op)
{
	struct sim *s = sim_of(loop);
	struct slot *slot;

	if (world_befalls(&s->world, s->connect_faults)) {
		loop_finish_early(loop, &op->op, s->connect_error);
		return;
	}
	slot = slot_take(s, &op->op);
	slot->link = world_connect(&s->world, op->addr, op->addr_len,
				   ticket_of(s, slot, WHY_STEP));
}

static struct slot *start_on_end(struct sim *s, struct io_op *op, unsigned which)
{
	struct fd *fd = world_fd(&s->world, op->fd);
	struct slot *slot = slot_take(s, op);
	struct end *e;

	ASSERT(fd->kind == FD_END);
	slot->link = fd->index;
	slot->side = fd->side;
	e = slot_end(s, slot);
	ASSERT(e->ops[which] == 0);
	e->ops[which] = op->engine + 1;
	call_soon(s, slot, WHY_STEP);
	return slot;
}

static void sim_recv(struct io_loop *loop, struct io_recv *op)
{
	start_on_end(sim_of(loop), &op->op, END_RECV);
	stat_add(&loop->stats.recv_arms, 1);
}

static void sim_send(struct io_loop *loop, struct io_send *op, bool silent)
{
	op->op.flags = silent ? IO_SILENT : 0;
	start_on_end(sim_of(loop), &op->op, END_SEND);
}

static void sim_write(struct io_loop *loop, struct io_write *op)
{
	struct sim *s = sim_of(loop);

	call_soon(s, slot_take(s, &op->op), WHY_STEP);
}

static void sim_cancel(struct io_loop *loop, struct io_op *op)
{
	struct sim *s = sim_of(loop);

	call_soon(s, slot_of(s, op), WHY_CANCEL);
}

/* ---- sends move by themselves ----------------------------------------------- */

static void send_over(struct sim *s, struct slot *slot, int res)
{
	slot->op->res = res;
	if (res > 0 && (slot->op->flags & IO_SILENT)) {
		slot->state = SLOT_SILENT;
		queue_push(&s->silent, ticket_of(s, slot, WHY_STEP));
		stat_add(&s->loop.stats.silent_sends, 1);
		return;
	}
	slot->state = SLOT_OVER;
	queue_push(&s->ready, ticket_of(s, slot, WHY_STEP));
}

static void send_step(struct sim *s, struct slot *slot)
{
	struct io_send *op = op_send(slot->op);
	int64_t n = world_send(&s->world, slot->link, slot->side, op->iov, op->iov_n,
			       ticket_of(s, slot, WHY_STEP));

	/* What had to wait once is not silent any more, as with the real ones. */
	if (n == -EAGAIN || (n > 0 && (size_t)n < op->left)) {
		if (op->left == op->len)
			stat_add(&s->loop.stats.short_sends, 1);
		op->op.flags = 0;
	}
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		send_over(s, slot, (int)n);
	} else if ((size_t)n == op->left) {
		op->left = 0;
		send_over(s, slot, (int)op->len);
	} else {
		send_advance(op, (size_t)n);
		call_soon(s, slot, WHY_STEP);
	}
}

/* What is outside takes nothing from slabs either: more than their largest block. */
static struct buf *receive_buf(struct sim *s, struct slot *slot)
{
	return slot_end(s, slot)->outside ? buf_new(&s->loop.bufs, BUF_BYTES + 1)
					  : loop_take_buf(&s->loop, op_recv(slot->op));
}

/* ---- closing ---------------------------------------------------------------- */

/* The result may have won: bytes that were there are told before the end, and
 * what fits into the line is sent. By chance, as with the real thing. */
static void detach(struct sim *s, uint32_t index)
{
	struct slot *slot = &s->slots[index - 1];
	struct end *e = slot_end(s, slot);
	struct ticket t = ticket_of(s, slot, WHY_CANCEL);

	if (slot->op->kind == IO_RECV && e->arrived > 0 && world_draw(&s->world, 2)) {
		slot->held = receive_buf(s, slot);
		if (slot->held)
			slot->held->end =
				(uint32_t)world_recv(&s->world, slot->link, slot->side,
						     slot->held->data, BUF_BYTES, t);
	}
	if (slot->op->kind == IO_SEND && slot->state == SLOT_STARTED &&
	    world_draw(&s->world, 2))
		send_step(s, slot);
	slot->detached = true;
	call_soon(s, slot, WHY_CANCEL);
}

static void close_listener(struct sim *s, int fd)
{
	for (uint32_t i = 0; i < s->slots_n; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->state == SLOT_FREE || slot->detached ||
		    slot->op->kind != IO_ACCEPT || slot->op->fd != fd)
			continue;
		slot->detached = true;
		call_soon(s, slot, WHY_CANCEL);
	}
	world_close_listener(&s->world, fd);
}

static void sim_close(struct io_loop *loop, int fd, bool reset)
{
	struct sim *s = sim_of(loop);
	struct fd at = *world_fd(&s->world, fd);
	struct end *e;

	if (at.kind == FD_LISTENER) {
		close_listener(s, fd);
		return;
	}
	e = &world_link(&s->world, at.index)->end[at.side];
	for (unsigned i = 0; i < COUNT(e->ops); i++)
		if (e->ops[i] > 0)
			detach(s, e->ops[i]);
	e->ops[END_RECV] = e->ops[END_SEND] = 0;
	world_close(&s->world, at.index, at.side, reset);
}

static void sim_shutdown(struct io_loop *loop, int fd)
{
	struct sim *s = sim_of(loop);
	struct fd *at = world_fd(&s->world, fd);

	ASSERT(at->kind == FD_END);
	ASSERT(world_link(&s->world, at->index)->end[at->side].ops[END_SEND] == 0);
	world_shutdown(&s->world, at->index, at->side);
}

/* ---- what is told ----------------------------------------------------------- */

static bool accept_step(struct sim *s, struct slot *slot)
{
	struct io_accept *op = op_accept(slot->op);
	struct link *l;
	int64_t link;

	if (world_befalls(&s->world, s->accept_faults)) {
		stat_add(&s->loop.stats.accept_errors, 1);
		finish(s, slot, -EMFILE);
		return true;
	}
	link = world_accept(&s->world, world_fd(&s->world, op->op.fd)->index,
			    ticket_of(s, slot, WHY_STEP));
	if (link < 0)
		return false;
	l = world_link(&s->world, (uint32_t)link);
	op->peer = l->from;
	op->peer_len = l->from_len;
	finish(s, slot, world_number(&s->world, (uint32_t)link, 1));
	return true;
}

static bool connect_step(struct sim *s, struct slot *slot)
{
	struct link *l = world_link(&s->world, slot->link);
	uint32_t link = slot->link;
	int result = l->result;

	if (l->state == LINK_CONNECTING)
		return false;
	if (l->state == LINK_CONNECTED)
		result = world_number(&s->world, link, 0);
	else
		world_close(&s->world, link, 0, false);
	finish(s, slot, result);
	return true;
}

/* False: that was the last. */
static bool recv_tell(struct sim *s, struct slot *slot, struct buf *b, uint32_t n)
{
	struct io_recv *op = op_recv(slot->op);

	if (n >= op->window)
		slot_put(s, slot);
	return loop_deliver(&s->loop, op, b, n);
}

/* Hands over one buffer. Often less than there is: a stream has no edges. */
static bool recv_step(struct sim *s, struct slot *slot)
{
	struct ticket t = ticket_of(s, slot, WHY_STEP);
	struct buf *b = NULL;
	uint64_t room = BUF_BYTES;
	int64_t n;

	if (world_readable(&s->world, slot->link, slot->side)) {
		b = receive_buf(s, slot);
		if (!b) {
			stat_add(&s->loop.stats.buffer_shortages, 1);
			queue_push(&s->starved, t);
			return false;
		}
		if (world_draw(&s->world, 8) == 0)
			room = 1 + world_draw(&s->world, room);
	}
	n = world_recv(&s->world, slot->link, slot->side, b ? b->data : NULL, room, t);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		buf_put(b);
		finish(s, slot, (int)n);
		return true;
	}
	call_soon(s, slot, WHY_STEP);
	recv_tell(s, slot, b, (uint32_t)n);
	return true;
}

static struct written *written_to(struct sim *s, int fd)
{
	struct written *all;

	for (unsigned i = 0; i < s->written_n; i++)
		if (s->written[i].fd == fd)
			return &s->written[i];
	all = realloc(s->written, (s->written_n + 1) * sizeof(*all));
	ASSERT(all);
	s->written = all;
	all[s->written_n] = (struct written){ .fd = fd };
	return &all[s->written_n++];
}

static void written_add(struct written *to, const char *more, size_t n)
{
	char *bytes = to->bytes;

	if (to->len + n > to->room) {
		to->room = 2 * (to->len + n);
		bytes = realloc(bytes, to->room);
	}
	ASSERT(bytes);
	memcpy(bytes + to->len, more, n);
	to->bytes = bytes;
	to->len += n;
}

static bool write_step(struct sim *s, struct slot *slot)
{
	struct io_write *op = op_write(slot->op);

	written_add(written_to(s, op->op.fd), op->ptr, op->len);
	op->left = 0;
	finish(s, slot, (int)op->len);
	return true;
}

/* An op whose socket is closed waits for its WHY_CANCEL only. */
static bool step(struct sim *s, struct slot *slot)
{
	if (slot->state == SLOT_OVER) {
		if (is_silent(slot))
			loop_finish_silent(&s->loop, op_send(slot_put(s, slot)));
		else
			finish(s, slot, slot->op->res);
		return true;
	}
	if (slot->detached || slot->state == SLOT_SILENT)
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
	case IO_SEND: /* moves in called() */
	case IO_IDLE:
		break;
	}
	return false;
}

static bool cancel_step(struct sim *s, struct slot *slot)
{
	struct ticket t = ticket_of(s, slot, WHY_CANCEL);
	struct buf *held = slot->held;

	if (slot->state != SLOT_STARTED) {
		finish(s, slot, slot->op->res);
		return true;
	}
	slot->held = NULL;
	if (held && !recv_tell(s, slot, held, held->end))
		return true;
	slot = ticket_slot(s, t);
	ASSERT(slot);
	if (slot->op->kind == IO_CONNECT)
		world_close(&s->world, slot->link, 0, false);
	finish(s, slot, -ECANCELED);
	return true;
}

/* ---- waiting ---------------------------------------------------------------- */

static bool deliver(struct sim *s, struct ticket t)
{
	struct slot *slot = ticket_slot(s, t);

	if (!slot)
		return false;
	stat_add(&s->loop.stats.completions, 1);
	switch ((enum why)t.why) {
	case WHY_STEP:
		return step(s, slot);
	case WHY_CANCEL:
		return cancel_step(s, slot);
	}
	return false;
}

/* Calls all of a queue in a drawn order. */
static bool deliver_all(struct sim *s, struct queue *from)
{
	struct queue q = *from;
	bool any = false;

	*from = (struct queue){ 0 };
	for (size_t n = q.n; n > 0; n--) {
		size_t i = world_draw(&s->world, n);
		struct ticket t = q.at[i];

		q.at[i] = q.at[n - 1];
		any |= deliver(s, t);
	}
	free(q.at);
	return any;
}

static void silent_over(struct sim *s)
{
	for (size_t i = 0; i < s->silent.n; i++) {
		struct slot *slot = ticket_slot(s, s->silent.at[i]);

		if (slot && slot->state == SLOT_SILENT) {
			slot->state = SLOT_OVER;
			queue_push(&s->ready, s->silent.at[i]);
		}
	}
	s->silent.n = 0;
}

/* The world called: a send moves, the others are to be told. */
static void called(struct sim *s, struct ticket t)
{
	struct slot *slot = ticket_slot(s, t);

	if (!slot || slot->state == SLOT_OVER)
		return;
	if (slot->op->kind == IO_SEND && t.why == WHY_STEP) {
		if (slot->state == SLOT_STARTED && !slot->detached)
			send_step(s, slot);
		return;
	}
	queue_push(&s->ready, t);
}

/* Lets the world go on until somebody is to be told something, and a little
 * further. Returns false if nothing is left to happen before until_us. */
static bool gather(struct sim *s, uint64_t until_us)
{
	struct ticket t;
	bool more = true;
	uint64_t batch_us;

	while (more && s->ready.n == 0)
		if (world_next(&s->world, until_us, &t, &more))
			called(s, t);
	if (s->ready.n == 0)
		return false;
	batch_us = s->world.now_us + world_draw(&s->world, BATCH_US);
	if (until_us > batch_us)
		until_us = batch_us;
	for (more = true; more;)
		if (world_next(&s->world, until_us, &t, &more))
			called(s, t);
	return true;
}

/* As many as there are buffers, oldest first. */
static void waiting_call(struct sim *s)
{
	size_t called_n = 0, kept = 0;

	for (size_t i = 0; i < s->starved.n; i++) {
		struct ticket t = s->starved.at[i];
		struct slot *slot = ticket_slot(s, t);

		if (!slot)
			continue;
		if (called_n <
		    buf_available(&s->loop.bufs, op_recv(slot->op)->may_use_reserve)) {
			called_n++;
			world_call(&s->world, t, world_delay(&s->world));
		} else {
			s->starved.at[kept++] = t;
		}
	}
	s->starved.n = kept;
}

static void tell_silent(struct sim *s)
{
	silent_over(s);
	deliver_all(s, &s->ready);
}

/* Woken, or waited in vain: the loop is awake, so silent sends may be told; or
 * not yet, for a time-out is not a thing that happened. */
static void tell_nothing(struct sim *s, uint64_t until_us, bool woken)
{
	ASSERT(until_us != UINT64_MAX); /* it would have waited for ever */
	s->world.now_us = until_us;
	if (woken || world_draw(&s->world, 2))
		tell_silent(s);
}

static void sim_clock(struct sim *s)
{
	s->loop.wall_ms = WALL_FIRST_MS + s->world.now_us / 1000;
	s->loop.now_us = s->world.now_us;
}

static void sim_wait(struct io_loop *loop, uint64_t timeout_us)
{
	struct sim *s = sim_of(loop);
	bool told = false, woken;
	uint64_t until_us;

	stat_add(&loop->stats.enters, 1);
	stat_add(&loop->stats.syscalls, 1);
	/* Looking takes time, so that who only looks gets somewhere too. */
	s->world.now_us++;
	until_us = s->world.now_us + timeout_us;
	if (until_us < timeout_us)
		until_us = UINT64_MAX;
	woken = atomic_exchange(&s->woken, false);
	if (woken)
		until_us = s->world.now_us;
	while (!told) {
		waiting_call(s);
		if (!gather(s, until_us)) {
			tell_nothing(s, until_us, woken);
			break;
		}
		sim_clock(s);
		told = deliver_all(s, &s->ready);
		if (told)
			tell_silent(s);
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

	for (unsigned i = 0; i < s->written_n; i++)
		free(s->written[i].bytes);
	free(s->written);
	free(s->slots);
	free(s->ready.at);
	free(s->silent.at);
	free(s->starved.at);
	world_done(&s->world);
}

static uint64_t sim_delivered(struct io_loop *loop, int fd)
{
	return world_peer(&sim_of(loop)->world, fd)->read;
}

static uint64_t sim_outstanding(struct io_loop *loop, int fd)
{
	const struct end *to = world_peer(&sim_of(loop)->world, fd);

	return to->closed || to->dead ? 0 : to->len - to->arrived;
}

static bool sim_peer_ended(struct io_loop *loop, int fd)
{
	struct world *w = &sim_of(loop)->world;
	const struct fd *f = world_fd(w, fd);
	const struct end *e = &world_link(w, f->index)->end[f->side];

	return e->dead || (e->fin && e->len == e->arrived);
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
	.outstanding = sim_outstanding,
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
	world_init(&s->world, options->seed, NOW_FIRST_US);
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
	return world_listen(&sim_of(loop)->world, addr, len, backlog);
}

void sim_set_socket_bytes(struct io_loop *loop, uint32_t bytes)
{
	ASSERT(loop->kind == IO_ENGINE_SIM && bytes > 0);
	sim_of(loop)->world.line_max = bytes;
}

void sim_set_remote(struct io_loop *loop, int fd)
{
	struct sim *s = sim_of(loop);
	struct fd *at = world_fd(&s->world, fd);

	ASSERT(loop->kind == IO_ENGINE_SIM && at->kind == FD_END);
	world_link(&s->world, at->index)->end[at->side].outside = true;
}

void sim_set_faults(struct io_loop *loop, const struct sim_faults *faults)
{
	struct sim *s = sim_of(loop);

	ASSERT(loop->kind == IO_ENGINE_SIM);
	ASSERT(faults->segments == 0 || faults->late_ms > 0);
	s->accept_faults = faults->accepts;
	s->connect_faults = faults->connects;
	s->connect_error = faults->connect_error ? faults->connect_error : -EMFILE;
	s->world.late_one_in = faults->segments;
	s->world.late_us = faults->late_ms * 1000ull;
}

unsigned sim_open_sockets(const struct io_loop *loop)
{
	ASSERT(loop->kind == IO_ENGINE_SIM);
	return CONTAINER(loop, const struct sim, loop)->world.fds_open;
}

const char *sim_written(const struct io_loop *loop, int fd, size_t *len)
{
	const struct sim *s = CONTAINER(loop, const struct sim, loop);

	*len = 0;
	for (unsigned i = 0; i < s->written_n; i++) {
		if (s->written[i].fd != fd)
			continue;
		*len = s->written[i].len;
		return s->written[i].bytes;
	}
	return NULL;
}
