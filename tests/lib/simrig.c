#include "lib/simrig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BACKLOG 1024
#define ACTOR_WINDOW (1u << 20)
/* Longer than bytes are on their way. */
#define REST_MS 50

/* ---- the rig ---------------------------------------------------------------- */

static void alarm_rang(struct timer *t)
{
	(void)t;
}

void simrig_open(struct simrig *r, uint64_t seed, uint32_t buffers)
{
	struct io_options options = { .engine = IO_ENGINE_SIM, .buffers = buffers, .seed = seed };

	memset(r, 0, sizeof(*r));
	assert_int_equal(tick_init(&r->tick, &options), 0);
	r->random = seed * 0x9e3779b97f4a7c15u + 1;
	list_init(&r->actors);
	list_init(&r->hosts);
	timer_init(&r->alarm, alarm_rang);
}

/* xorshift64 */
uint64_t simrig_draw(struct simrig *r, uint64_t n)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return (r->random >> 11) % n;
}

void simrig_alarm(struct simrig *r, uint32_t ms)
{
	timer_set(&r->tick.wheel, &r->alarm, r->tick.now_ms + ms);
}

void simrig_run(struct simrig *r, uint32_t ms)
{
	(void)SIMRIG_REACHED(r, false, ms);
}

struct sockaddr_in simrig_address(unsigned port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

int simrig_listen(struct simrig *r, unsigned port)
{
	struct sockaddr_in addr = simrig_address(port);
	int fd = sim_listen(r->tick.loop, (struct sockaddr *)&addr, sizeof(addr), BACKLOG);

	assert_true(fd >= 0);
	return fd;
}

/* ---- actors ----------------------------------------------------------------- */

static void end_socket(struct actor *a, bool reset)
{
	if (a->fd < 0)
		return;
	if (reset)
		io_reset(a->rig->tick.loop, a->fd);
	else
		io_close(a->rig->tick.loop, a->fd);
	a->fd = -1;
	timer_stop(&a->rig->tick.wheel, &a->pause);
}

static void say_more(struct actor *a)
{
	size_t n = a->out_n - a->out_sent;

	if (a->fd < 0 || io_busy(&a->send.op) || timer_armed(&a->pause))
		return;
	if (n == 0 || a->send_error) {
		if (a->reset_wanted && !a->rested) {
			a->rested = true;
			timer_set(&a->rig->tick.wheel, &a->pause,
				  a->rig->tick.now_ms + REST_MS);
		} else if (a->close_wanted || a->reset_wanted) {
			end_socket(a, a->reset_wanted);
		} else if (a->fin_wanted && !a->fin_sent) {
			a->fin_sent = true;
			io_shutdown(a->rig->tick.loop, a->fd);
		}
		return;
	}
	if (!a->whole && simrig_draw(a->rig, 4) > 0)
		n = 1 + simrig_draw(a->rig, n);
	a->flying = malloc(n);
	assert_non_null(a->flying);
	memcpy(a->flying, a->out + a->out_sent, n);
	a->iov = (struct iovec){ a->flying, n };
	io_send(a->rig->tick.loop, &a->send, a->fd, &a->iov, 1, 0);
}

static void pause_over(struct timer *t)
{
	say_more(CONTAINER(t, struct actor, pause));
}

static void hear_more(struct actor *a);

static void said(struct io_op *op, int res, unsigned flags)
{
	struct actor *a = CONTAINER(op, struct actor, send.op);

	(void)flags;
	free(a->flying);
	a->flying = NULL;
	if (res < 0)
		a->send_error = res;
	else
		a->out_sent += (size_t)res;
	if (a->fd >= 0 && a->pause_ms > 0)
		timer_set(&a->rig->tick.wheel, &a->pause, a->rig->tick.now_ms + a->pause_ms);
	else if (a->fd >= 0 && !a->whole && simrig_draw(a->rig, 4) == 0)
		timer_set(&a->rig->tick.wheel, &a->pause,
			  a->rig->tick.now_ms + simrig_draw(a->rig, 20));
	say_more(a);
	if (a->speaks_first)
		hear_more(a);
}

static void hear_more(struct actor *a)
{
	if (a->speaks_first && a->out_sent < a->out_n && !a->send_error)
		return;
	if (a->fd >= 0 && !a->deaf && !a->eof && !a->error && !io_busy(&a->recv.op))
		io_recv(a->rig->tick.loop, &a->recv, a->fd, ACTOR_WINDOW);
}

static void keep(struct actor *a, const char *bytes, size_t n)
{
	a->in = realloc(a->in, a->in_n + n + 1);
	assert_non_null(a->in);
	memcpy(a->in + a->in_n, bytes, n);
	a->in_n += n;
	a->in[a->in_n] = '\0';
}

static void told(struct io_op *op, int res, unsigned flags)
{
	struct actor *a = CONTAINER(op, struct actor, recv.op);

	if (res > 0) {
		keep(a, a->recv.buf->data + a->recv.buf->begin, (size_t)res);
	} else if (res == 0) {
		a->eof = true;
	} else if (res != -ECANCELED) {
		a->error = res;
	}
	if (actor_over(a) && a->eof_ms == 0)
		a->eof_ms = a->rig->tick.now_ms;
	if (!(flags & IO_MORE))
		hear_more(a);
	if (a->heard && a->fd >= 0 && res != -ECANCELED)
		a->heard(a);
}

static void connected(struct io_op *op, int res, unsigned flags)
{
	struct actor *a = CONTAINER(op, struct actor, connect.op);

	(void)flags;
	if (res < 0) {
		a->connect_error = res;
		return;
	}
	a->fd = res;
	a->connected = true;
	sim_set_remote(a->rig->tick.loop, res);
	hear_more(a);
	say_more(a);
}

static struct actor *actor_new(struct simrig *r)
{
	struct actor *a = calloc(1, sizeof(*a));

	assert_non_null(a);
	a->rig = r;
	a->fd = -1;
	list_init(&a->node);
	list_append(&r->actors, &a->node);
	io_op_init(&a->connect.op, connected);
	io_op_init(&a->recv.op, told);
	io_op_init(&a->send.op, said);
	timer_init(&a->pause, pause_over);
	keep(a, "", 0);
	return a;
}

struct actor *actor_connect(struct simrig *r, unsigned port)
{
	struct actor *a = actor_new(r);
	struct sockaddr_in *addr = malloc(sizeof(*addr));

	assert_non_null(addr);
	*addr = simrig_address(port);
	io_connect(r->tick.loop, &a->connect, (struct sockaddr *)addr, sizeof(*addr));
	return a;
}

void actor_say(struct actor *a, struct slice bytes)
{
	a->out = realloc(a->out, a->out_n + bytes.len + 1);
	assert_non_null(a->out);
	if (bytes.len > 0)
		memcpy(a->out + a->out_n, bytes.ptr, bytes.len);
	a->out_n += bytes.len;
	say_more(a);
}

void actor_says(struct actor *a, const char *text)
{
	actor_say(a, slice_of(text));
}

void actor_shut(struct actor *a)
{
	a->fin_wanted = true;
	say_more(a);
}

void actor_close(struct actor *a)
{
	a->close_wanted = true;
	say_more(a);
}

void actor_reset_after(struct actor *a)
{
	a->reset_wanted = true;
	say_more(a);
}

void actor_speak_first(struct actor *a)
{
	a->speaks_first = true;
	io_cancel(a->rig->tick.loop, &a->recv.op);
}

void actor_reset(struct actor *a)
{
	end_socket(a, true);
}

void actor_vanish(struct actor *a)
{
	end_socket(a, false);
}

void actor_listen(struct actor *a)
{
	a->deaf = false;
	hear_more(a);
}

struct slice actor_heard(const struct actor *a)
{
	return (struct slice){ a->in, a->in_n };
}

bool actor_over(const struct actor *a)
{
	return a->eof || a->error;
}

struct pair {
	struct io_accept accept;
	int fd;
};

static void pair_accepted(struct io_op *op, int res, unsigned flags)
{
	(void)flags;
	CONTAINER(op, struct pair, accept.op)->fd = res;
}

int simrig_pair(struct simrig *r, struct actor **a)
{
	unsigned port = 20000 + r->pairs++;
	int listener = simrig_listen(r, port);
	struct pair pair = { .fd = -1 };

	io_op_init(&pair.accept.op, pair_accepted);
	io_accept(r->tick.loop, &pair.accept, listener);
	*a = actor_connect(r, port);
	SIMRIG_UNTIL(r, pair.fd >= 0 && (*a)->connected, 1000);
	io_close(r->tick.loop, listener);
	return pair.fd;
}

void simrig_assert_buffers(struct simrig *r)
{
	const struct buf_pool *pool = io_bufs(r->tick.loop);

	assert_int_equal(pool->free_n, pool->count);
	assert_int_equal(pool->block_bytes, 0);
	assert_int_equal(r->tick.outboxes.taken, 0);
}

/* ---- hosts ------------------------------------------------------------------ */

static void accepted(struct io_op *op, int res, unsigned flags)
{
	struct host *h = CONTAINER(op, struct host, accept.op);

	(void)flags;
	if (res >= 0 && h->listener < 0)
		io_close(h->rig->tick.loop, res);
	if (h->listener < 0)
		return;
	if (res >= 0) {
		struct actor *a = actor_new(h->rig);

		a->fd = res;
		a->connected = true;
		sim_set_remote(h->rig->tick.loop, res);
		a->host = h;
		a->heard = h->heard;
		a->owner = h->owner;
		h->last = a;
		h->accepted++;
		hear_more(a);
	}
	io_accept(h->rig->tick.loop, &h->accept, h->listener);
}

void host_open(struct host *h, struct simrig *r, unsigned port, void (*heard)(struct actor *a),
	       void *owner)
{
	bool again = h->rig != NULL;

	h->rig = r;
	h->heard = heard;
	h->owner = owner;
	h->addr = simrig_address(port);
	h->listener = simrig_listen(r, port);
	if (!again) {
		list_init(&h->node);
		list_append(&r->hosts, &h->node);
		io_op_init(&h->accept.op, accepted);
	}
	if (!io_busy(&h->accept.op))
		io_accept(r->tick.loop, &h->accept, h->listener);
}

void host_close(struct host *h)
{
	if (h->listener >= 0)
		io_close(h->rig->tick.loop, h->listener);
	h->listener = -1;
	while (io_busy(&h->accept.op))
		tick_once(&h->rig->tick);
}

/* ---- the end ---------------------------------------------------------------- */

static bool actor_busy(const struct actor *a)
{
	return io_busy(&a->connect.op) || io_busy(&a->recv.op) || io_busy(&a->send.op);
}

static void actor_free(struct actor *a)
{
	list_remove(&a->node);
	free((void *)(uintptr_t)a->connect.addr);
	free(a->in);
	free(a->out);
	free(a);
}

void simrig_leave(struct simrig *r)
{
	LIST_EACH(&r->hosts, host)
		host_close(LIST_ITEM(host, struct host, node));
	LIST_EACH(&r->actors, node) {
		struct actor *a = LIST_ITEM(node, struct actor, node);

		a->heard = NULL;
		io_cancel(r->tick.loop, &a->connect.op);
		while (io_busy(&a->connect.op))
			tick_once(&r->tick);
		end_socket(a, false);
		while (actor_busy(a))
			tick_once(&r->tick);
		actor_free(a);
	}
}

void simrig_close(struct simrig *r)
{
	simrig_leave(r);
	assert_int_equal(sim_open_sockets(r->tick.loop), 0);
	tick_done(&r->tick);
}
