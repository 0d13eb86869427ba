#include "net/dial.h"

#include <errno.h>
#include <string.h>

#include "io/sock.h"

/* The diagram of net/dial.h: the states that may follow each state. */
static const uint8_t dial_next_states[] = {
	[DIAL_CONNECTING] = 1u << DIAL_SECURING | 1u << DIAL_EXPIRED | 1u << DIAL_OPENED |
			    1u << DIAL_FAILED | 1u << DIAL_ABANDONED,
	[DIAL_SECURING] = 1u << DIAL_CLOSING | 1u << DIAL_EXPIRED | 1u << DIAL_OPENED |
			  1u << DIAL_ABANDONED,
	[DIAL_CLOSING] = 1u << DIAL_FAILED | 1u << DIAL_ABANDONED,
	[DIAL_EXPIRED] = 1u << DIAL_FAILED | 1u << DIAL_ABANDONED,
	[DIAL_OPENED] = 1u << DIAL_ENDED,
	[DIAL_FAILED] = 1u << DIAL_CONNECTING | 1u << DIAL_ENDED,
	[DIAL_ABANDONED] = 1u << DIAL_ENDED,
	[DIAL_ENDED] = 0,
};

void dial_check(const struct dial *d)
{
	bool in_flight = io_busy(&d->connect.op) || !list_empty(&d->task.node);

	ASSERT(timer_armed(&d->timer) ==
	       (d->state == DIAL_CONNECTING || d->state == DIAL_SECURING));
	switch ((enum dial_state)d->state) {
	case DIAL_CONNECTING:
		ASSERT(in_flight && !d->securing);
		break;
	case DIAL_SECURING:
		ASSERT(d->securing && d->options.context);
		ASSERT(d->options.conn->state == CONN_OPEN);
		break;
	case DIAL_CLOSING:
		ASSERT((in_flight || d->securing) && d->fault != TLS_FAULT_NONE);
		break;
	case DIAL_EXPIRED:
	case DIAL_ABANDONED:
		ASSERT(in_flight || d->securing);
		break;
	case DIAL_OPENED:
		ASSERT(!in_flight && !d->securing && d->error == 0);
		ASSERT(d->options.conn->state == CONN_OPEN);
		break;
	case DIAL_FAILED:
		ASSERT(!in_flight && !d->securing && d->error < 0 && d->result < 0);
		break;
	case DIAL_ENDED:
		ASSERT(!in_flight && !d->securing);
		break;
	}
}

static void dial_set_state(struct dial *d, enum dial_state state)
{
	ASSERT(dial_next_states[d->state] >> state & 1);
	d->state = (uint8_t)state;
	CHECK_STATE(dial_check(d));
}

static enum dial_failure failure_of_error(int error)
{
	switch (error) {
	case -EACCES:
	case -EPERM:
		return DIAL_FORBIDDEN;
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -ENETDOWN:
	case -EHOSTDOWN:
	case -EAFNOSUPPORT:
		return DIAL_UNROUTABLE;
	}
	/* EAGAIN: the backlog of a unix socket is full. */
	return sock_shortage(error) && error != -EAGAIN ? DIAL_NO_SOCKET : DIAL_REFUSED;
}

/* The one place where a dial is freed. */
static void dial_end(struct dial *d)
{
	tls_context_unref(d->options.context);
	dial_set_state(d, DIAL_ENDED);
	tick_reap_to_slab(d->tick, &d->tick->dials, &d->reap);
}

/* Closes a socket that has connected too late. */
static void socket_drop(struct dial *d)
{
	if (d->result >= 0)
		io_close(d->tick->loop, d->result);
	d->result = -ECANCELED;
}

static void dial_fail(struct dial *d, enum dial_failure failure, int error)
{
	timer_stop(&d->tick->wheel, &d->timer);
	d->failure = (uint8_t)failure;
	d->error = error;
	dial_set_state(d, DIAL_FAILED);
	tick_run(d->tick, d->options.task);
}

static void dial_opened(struct dial *d)
{
	timer_stop(&d->tick->wheel, &d->timer);
	d->securing = false;
	d->options.conn->events = d->options.events;
	dial_set_state(d, DIAL_OPENED);
	tick_run(d->tick, d->options.task);
}

/* ---- the handshake ---------------------------------------------------------- */

static struct dial *dial_of(struct conn *c)
{
	return CONTAINER(c->events, struct dial, events);
}

static void securing_changed(struct conn *c)
{
	struct dial *d = dial_of(c);

	tick_run(d->tick, &d->task);
}

/* The conn, which was never its owner's, is dead. Unless its owner has given it up, the result is
 * looked at in the next step. */
static void securing_dead(struct conn *c)
{
	struct dial *d = dial_of(c);

	d->securing = false;
	d->result = -ECANCELED;
	if (d->state != DIAL_ABANDONED) {
		tick_run(d->tick, &d->task);
		return;
	}
	task_stop(&d->task);
	d->options.events->dead(c);
	dial_end(d);
}

static void handshake_failed(struct dial *d, enum tls_fault fault)
{
	timer_stop(&d->tick->wheel, &d->timer);
	d->fault = (uint8_t)fault;
	conn_close(d->options.conn, CONN_NOW, 0); /* an alert is sent nevertheless */
	dial_set_state(d, DIAL_CLOSING);
}

static void securing_step(struct dial *d)
{
	struct conn *c = d->options.conn;
	const struct tls *t = conn_tls(c);

	if (t->state == TLS_FAILED) {
		handshake_failed(d, (enum tls_fault)t->fault);
	} else if (c->error || c->send_error) { /* the socket failed */
		handshakes_count_failure(d->tick, TLS_SIDE_CLIENT, TLS_FAULT_CLOSED);
		handshake_failed(d, TLS_FAULT_CLOSED);
	} else if (!conn_shaking(c)) {
		dial_opened(d);
	}
}

/* False: no memory. */
static bool preamble_push(const struct dial_options *o)
{
	struct piece p = { .buf = o->preamble };

	if (!p.buf)
		return true;
	p.ptr = p.buf->data + p.buf->begin;
	p.len = p.buf->end - p.buf->begin;
	buf_ref(p.buf);
	if (conn_push(o->conn, &p))
		return true;
	piece_put(&p);
	return false;
}

static void conn_opened(struct dial *d)
{
	const struct dial_options *o = &d->options;
	bool good;

	conn_open(o->conn, d->tick, &d->events, d->result, o->window);
	good = preamble_push(o);
	if (good && !o->context) {
		dial_opened(d);
		return;
	}
	d->securing = true;
	d->connected_us = d->tick->now_us;
	dial_set_state(d, DIAL_SECURING);
	if (!good || !conn_secure_connect(o->conn, o->context, o->name, o->sni, o->saved))
		handshake_failed(d, TLS_FAULT_NO_MEMORY);
}

/* The op has completed, or the handshake has changed. */
static void dial_step(struct task *task)
{
	struct dial *d = CONTAINER(task, struct dial, task);

	switch ((enum dial_state)d->state) {
	case DIAL_CONNECTING:
		if (d->result >= 0)
			conn_opened(d);
		else
			dial_fail(d, failure_of_error(d->result), d->result);
		break;
	case DIAL_SECURING:
		securing_step(d);
		break;
	case DIAL_CLOSING:
		dial_fail(d, DIAL_TLS, d->fault == TLS_FAULT_NO_MEMORY ? -ENOMEM : -EPROTO);
		break;
	case DIAL_EXPIRED:
		socket_drop(d);
		dial_fail(d, DIAL_TIMEOUT, -ETIMEDOUT);
		break;
	case DIAL_ABANDONED:
		socket_drop(d);
		conn_end_unopened(d->options.conn, d->tick, d->options.events);
		dial_end(d);
		break;
	case DIAL_OPENED:
	case DIAL_FAILED:
	case DIAL_ENDED:
		ASSERT(!"a result for a dial that has one");
		break;
	}
}

static void connect_done(struct io_op *op, int res, unsigned flags)
{
	struct dial *d = CONTAINER(op, struct dial, connect.op);

	(void)flags;
	d->result = res;
	tick_run(d->tick, &d->task);
}

/* The conn closes without more ado; securing_dead() follows. */
static void conn_give_up(struct dial *d)
{
	task_stop(&d->task);
	/* After a handshake that failed it may be dead already, until the end of this tick. */
	if (d->options.conn->state != CONN_DEAD)
		conn_close(d->options.conn, CONN_NOW, 0);
}

static void deadline_passed(struct timer *t)
{
	struct dial *d = CONTAINER(t, struct dial, timer);

	dial_set_state(d, DIAL_EXPIRED);
	if (!d->securing) {
		io_cancel(d->tick->loop, &d->connect.op);
		return;
	}
	d->fault = TLS_FAULT_TIMEOUT;
	handshakes_count_failure(d->tick, TLS_SIDE_CLIENT, TLS_FAULT_TIMEOUT);
	conn_give_up(d);
}

static void connect_start(struct dial *d, const struct sockaddr *address, socklen_t len)
{
	ASSERT(len <= sizeof(d->address));
	memcpy(&d->address, address, len);
	timer_set(&d->tick->wheel, &d->timer, d->options.deadline_ms);
	io_connect(d->tick->loop, &d->connect, (const struct sockaddr *)&d->address, len);
}

static struct slice name_copy(struct slice name, char copy[DIAL_NAME_MAX])
{
	ASSERT(name.len <= DIAL_NAME_MAX);
	if (name.len > 0)
		memcpy(copy, name.ptr, name.len);
	return (struct slice){ copy, name.len };
}

/* The settings that the owner has now: they may be others when the address has answered. */
static void tls_options_keep(struct dial *d)
{
	struct dial_options *o = &d->options;

	if (!o->context)
		return;
	tls_context_ref(o->context);
	o->name = name_copy(o->name, d->names[0]);
	o->sni = name_copy(o->sni, d->names[1]);
}

struct dial *dial_start(struct tick *tick, const struct dial_options *options)
{
	struct dial *d = slab_take(&tick->dials);

	if (!d)
		return NULL;
	d->state = DIAL_CONNECTING;
	d->tick = tick;
	d->options = *options;
	d->options.address = NULL; /* the caller's memory */
	tls_options_keep(d);
	task_init(&d->task, dial_step);
	timer_init(&d->timer, deadline_passed);
	io_op_init(&d->connect.op, connect_done);
	d->events = (struct conn_events){ .changed = securing_changed,
					  .dead = securing_dead,
					  .may_use_reserve =
						  options->events->may_use_reserve };
	connect_start(d, options->address, options->address_len);
	CHECK_STATE(dial_check(d));
	return d;
}

void dial_again(struct dial *d, const struct sockaddr *address, socklen_t len)
{
	ASSERT(d->state == DIAL_FAILED && d->failure != DIAL_TIMEOUT);
	d->error = 0;
	d->fault = TLS_FAULT_NONE;
	connect_start(d, address, len);
	dial_set_state(d, DIAL_CONNECTING);
}

void dial_finish(struct dial **dial)
{
	struct dial *d = *dial;

	*dial = NULL;
	ASSERT(d->state == DIAL_OPENED);
	dial_end(d);
}

void dial_cancel(struct dial **dial)
{
	struct dial *d = *dial;

	*dial = NULL;
	switch ((enum dial_state)d->state) {
	case DIAL_CONNECTING:
	case DIAL_SECURING:
	case DIAL_CLOSING:
	case DIAL_EXPIRED:
		timer_stop(&d->tick->wheel, &d->timer);
		dial_set_state(d, DIAL_ABANDONED);
		if (d->securing)
			conn_give_up(d);
		else
			io_cancel(d->tick->loop, &d->connect.op);
		break;
	case DIAL_OPENED:
		conn_close(d->options.conn, CONN_NOW, 0);
		dial_end(d);
		break;
	case DIAL_FAILED:
		conn_end_unopened(d->options.conn, d->tick, d->options.events);
		dial_end(d);
		break;
	case DIAL_ABANDONED:
	case DIAL_ENDED:
		ASSERT(!"a dial is cancelled once");
		break;
	}
}
