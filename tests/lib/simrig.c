#include "lib/simrig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simtls.h"

/* So much of a peer's output goes in crumbs. */
#define CRUMBS_BYTES 1500
#define BACKLOG 1024
#define PEER_WINDOW (1u << 20)
/* Longer than the simulated network takes to deliver bytes. */
#define RESET_DELAY_MS 50

/* ---- time and sockets -------------------------------------------------------- */

static void alarm_fired(struct timer *t)
{
	(void)t;
}

void simrig_open(struct simrig *r, uint64_t seed, uint32_t buffers)
{
	struct io_options options = { .engine = IO_ENGINE_SIM,
				      .buffers = buffers,
				      .seed = seed };

	memset(r, 0, sizeof(*r));
	assert_int_equal(tick_init(&r->tick, &options), 0);
	r->random = seed * 0x9e3779b97f4a7c15u + 1;
	list_init(&r->peers);
	list_init(&r->servers);
	timer_init(&r->alarm, alarm_fired);
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
	int fd = sim_listen(r->tick.loop, (struct sockaddr *)&addr, sizeof(addr),
			    BACKLOG);

	assert_true(fd >= 0);
	return fd;
}

/* ---- peers ------------------------------------------------------------------ */

static void peer_end_socket(struct sim_peer *p, bool reset)
{
	if (p->fd < 0)
		return;
	if (reset)
		io_reset(p->rig->tick.loop, p->fd);
	else
		io_close(p->rig->tick.loop, p->fd);
	p->fd = -1;
	timer_stop(&p->rig->tick.wheel, &p->pause);
}

static bool in_crumbs(const struct sim_peer *p)
{
	return p->crumbs && p->out_sent < CRUMBS_BYTES;
}

static void peer_send_more(struct sim_peer *p)
{
	size_t n = p->out_n - p->out_sent;

	if (p->fd < 0 || io_busy(&p->send.op) || timer_armed(&p->pause))
		return;
	if (n == 0 && p->tls && !p->send_error && !simtls_done(p))
		return;
	if (n == 0 || p->send_error) {
		if (p->reset_wanted && !p->waited_before_reset) {
			p->waited_before_reset = true;
			timer_set(&p->rig->tick.wheel, &p->pause,
				  p->rig->tick.now_ms + RESET_DELAY_MS);
		} else if (p->close_wanted || p->reset_wanted) {
			peer_end_socket(p, p->reset_wanted);
		} else if (p->fin_wanted && !p->fin_sent) {
			p->fin_sent = true;
			io_shutdown(p->rig->tick.loop, p->fd);
		}
		return;
	}
	if (in_crumbs(p) && n > 2)
		n = 1 + simrig_draw(p->rig, 2);
	else if (!p->uncut && simrig_draw(p->rig, 4) > 0)
		n = 1 + simrig_draw(p->rig, n);
	p->in_flight = malloc(n);
	assert_non_null(p->in_flight);
	memcpy(p->in_flight, p->out + p->out_sent, n);
	p->iov = (struct iovec){ p->in_flight, n };
	io_send(p->rig->tick.loop, &p->send, p->fd, &p->iov, 1, 0);
}

static void peer_pause_fired(struct timer *t)
{
	peer_send_more(CONTAINER(t, struct sim_peer, pause));
}

static void peer_recv_more(struct sim_peer *p);

static void peer_sent(struct io_op *op, int res, unsigned flags)
{
	struct sim_peer *p = CONTAINER(op, struct sim_peer, send.op);

	(void)flags;
	free(p->in_flight);
	p->in_flight = NULL;
	if (res < 0)
		p->send_error = res;
	else
		p->out_sent += (size_t)res;
	if (p->fd >= 0 && p->pause_ms > 0)
		timer_set(&p->rig->tick.wheel, &p->pause,
			  p->rig->tick.now_ms + p->pause_ms);
	else if (p->fd >= 0 && !p->uncut && !in_crumbs(p) && simrig_draw(p->rig, 4) == 0)
		timer_set(&p->rig->tick.wheel, &p->pause,
			  p->rig->tick.now_ms + simrig_draw(p->rig, 20));
	peer_send_more(p);
	if (p->sends_first)
		peer_recv_more(p);
}

static void peer_recv_more(struct sim_peer *p)
{
	if (p->sends_first && p->out_sent < p->out_n && !p->send_error)
		return;
	if (p->fd >= 0 && !p->stopped_reading && !p->fin_received && !p->error &&
	    !io_busy(&p->recv.op))
		io_recv(p->rig->tick.loop, &p->recv, p->fd, PEER_WINDOW);
}

void sim_peer_append_input(struct sim_peer *p, const char *bytes, size_t n)
{
	p->in = realloc(p->in, p->in_n + n + 1);
	assert_non_null(p->in);
	memcpy(p->in + p->in_n, bytes, n);
	p->in_n += n;
	p->in[p->in_n] = '\0';
}

static void peer_received(struct io_op *op, int res, unsigned flags)
{
	struct sim_peer *p = CONTAINER(op, struct sim_peer, recv.op);

	if (res > 0 && p->tls) {
		simtls_receive(p, p->recv.buf);
		p->recv.buf = NULL;
	} else if (res > 0) {
		sim_peer_append_input(p, p->recv.buf->data + p->recv.buf->begin,
				      (size_t)res);
	} else if (res == 0 && p->tls) {
		simtls_receive_end(p);
		p->fin_received = true;
	} else if (res == 0) {
		p->eof = p->fin_received = true;
	} else if (res != -ECANCELED) {
		p->error = res;
	}
	if (sim_peer_finished(p) && p->eof_ms == 0)
		p->eof_ms = p->rig->tick.now_ms;
	if (!(flags & IO_MORE))
		peer_recv_more(p);
	if (p->on_input && p->fd >= 0 && res != -ECANCELED)
		p->on_input(p);
}

static void peer_connected(struct io_op *op, int res, unsigned flags)
{
	struct sim_peer *p = CONTAINER(op, struct sim_peer, connect.op);

	(void)flags;
	if (res < 0) {
		p->connect_error = res;
		return;
	}
	p->fd = res;
	p->connected = true;
	sim_set_remote(p->rig->tick.loop, res);
	peer_recv_more(p);
	peer_send_more(p);
}

static struct sim_peer *sim_peer_new(struct simrig *r)
{
	struct sim_peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->rig = r;
	p->fd = -1;
	list_init(&p->node);
	list_append(&r->peers, &p->node);
	io_op_init(&p->connect.op, peer_connected);
	io_op_init(&p->recv.op, peer_received);
	io_op_init(&p->send.op, peer_sent);
	timer_init(&p->pause, peer_pause_fired);
	sim_peer_append_input(p, "", 0);
	return p;
}

struct sim_peer *sim_peer_connect(struct simrig *r, unsigned port)
{
	struct sim_peer *p = sim_peer_new(r);
	struct sockaddr_in *addr = malloc(sizeof(*addr));

	assert_non_null(addr);
	*addr = simrig_address(port);
	io_connect(r->tick.loop, &p->connect, (struct sockaddr *)addr, sizeof(*addr));
	return p;
}

void sim_peer_append_output(struct sim_peer *p, const void *bytes, size_t n)
{
	p->out = realloc(p->out, p->out_n + n + 1);
	assert_non_null(p->out);
	if (n > 0)
		memcpy(p->out + p->out_n, bytes, n);
	p->out_n += n;
	peer_send_more(p);
}

void sim_peer_send(struct sim_peer *p, struct slice bytes)
{
	if (p->tls)
		simtls_send(p, bytes);
	else
		sim_peer_append_output(p, bytes.ptr, bytes.len);
}

void sim_peer_send_text(struct sim_peer *p, const char *text)
{
	sim_peer_send(p, slice_of(text));
}

static void peer_end_session(struct sim_peer *p)
{
	if (p->tls)
		simtls_step(p);
	peer_send_more(p);
}

void sim_peer_shutdown(struct sim_peer *p)
{
	p->fin_wanted = true;
	peer_end_session(p);
}

void sim_peer_close(struct sim_peer *p)
{
	p->close_wanted = true;
	peer_end_session(p);
}

void sim_peer_reset(struct sim_peer *p)
{
	p->reset_wanted = true;
	peer_send_more(p);
}

void sim_peer_send_first(struct sim_peer *p)
{
	p->sends_first = true;
	io_cancel(p->rig->tick.loop, &p->recv.op);
}

void sim_peer_reset_now(struct sim_peer *p)
{
	peer_end_socket(p, true);
}

void sim_peer_close_now(struct sim_peer *p)
{
	peer_end_socket(p, false);
}

void sim_peer_resume_reading(struct sim_peer *p)
{
	p->stopped_reading = false;
	peer_recv_more(p);
}

struct slice sim_peer_received(const struct sim_peer *p)
{
	return (struct slice){ p->in, p->in_n };
}

bool sim_peer_finished(const struct sim_peer *p)
{
	return p->eof || p->error;
}

struct socket_pair {
	struct io_accept accept;
	int fd;
};

static void socket_pair_accepted(struct io_op *op, int res, unsigned flags)
{
	(void)flags;
	CONTAINER(op, struct socket_pair, accept.op)->fd = res;
}

int simrig_pair(struct simrig *r, struct sim_peer **p)
{
	unsigned port = 20000 + r->pairs++;
	int listener = simrig_listen(r, port);
	struct socket_pair pair = { .fd = -1 };

	io_op_init(&pair.accept.op, socket_pair_accepted);
	io_accept(r->tick.loop, &pair.accept, listener);
	*p = sim_peer_connect(r, port);
	SIMRIG_UNTIL(r, pair.fd >= 0 && (*p)->connected, 1000);
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

/* ---- servers ---------------------------------------------------------------- */

static void sim_server_accepted(struct io_op *op, int res, unsigned flags)
{
	struct sim_server *s = CONTAINER(op, struct sim_server, accept.op);

	(void)flags;
	if (res >= 0 && s->listener < 0)
		io_close(s->rig->tick.loop, res);
	if (s->listener < 0)
		return;
	if (res >= 0) {
		struct sim_peer *p = sim_peer_new(s->rig);

		p->fd = res;
		p->connected = true;
		sim_set_remote(s->rig->tick.loop, res);
		p->server = s;
		p->on_input = s->on_input;
		p->owner = s->owner;
		if (s->tls)
			simtls_secure(p, s->rig->tick.tls, s->tls, SLICE(""), NULL);
		s->last = p;
		s->accepted++;
		if (s->on_accept)
			s->on_accept(p);
		peer_recv_more(p);
	}
	io_accept(s->rig->tick.loop, &s->accept, s->listener);
}

void sim_server_open(struct sim_server *s, struct simrig *r, unsigned port,
		     void (*on_input)(struct sim_peer *p), void *owner)
{
	bool opened_before = s->rig != NULL;

	s->rig = r;
	s->on_input = on_input;
	s->owner = owner;
	s->addr = simrig_address(port);
	s->listener = simrig_listen(r, port);
	if (!opened_before) {
		list_init(&s->node);
		list_append(&r->servers, &s->node);
		io_op_init(&s->accept.op, sim_server_accepted);
	}
	if (!io_busy(&s->accept.op))
		io_accept(r->tick.loop, &s->accept, s->listener);
}

void sim_server_close(struct sim_server *s)
{
	if (s->listener >= 0)
		io_close(s->rig->tick.loop, s->listener);
	s->listener = -1;
	while (io_busy(&s->accept.op))
		tick_once(&s->rig->tick);
}

/* ---- the end ---------------------------------------------------------------- */

static bool sim_peer_busy(const struct sim_peer *p)
{
	return io_busy(&p->connect.op) || io_busy(&p->recv.op) || io_busy(&p->send.op);
}

static void sim_peer_free(struct sim_peer *p)
{
	list_remove(&p->node);
	if (p->tls)
		simtls_free(p);
	free((void *)(uintptr_t)p->connect.addr);
	free(p->in);
	free(p->out);
	free(p);
}

void simrig_close_peers(struct simrig *r)
{
	LIST_EACH(&r->servers, node)
		sim_server_close(LIST_ITEM(node, struct sim_server, node));
	LIST_EACH(&r->peers, node) {
		struct sim_peer *p = LIST_ITEM(node, struct sim_peer, node);

		p->on_input = NULL;
		io_cancel(r->tick.loop, &p->connect.op);
		while (io_busy(&p->connect.op))
			tick_once(&r->tick);
		peer_end_socket(p, false);
		while (sim_peer_busy(p))
			tick_once(&r->tick);
		sim_peer_free(p);
	}
}

void simrig_close(struct simrig *r)
{
	simrig_close_peers(r);
	assert_int_equal(sim_open_sockets(r->tick.loop), 0);
	tick_done(&r->tick);
}
