#include "simnet.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/check.h"

#define PIPE_MAX_DEFAULT 65536u
#define PORT_FIRST 32768u
#define PORT_N 28000u
/* A SYN that finds the listener's backlog full is sent again after 1, 2, 4 … seconds;
 * after this many times the connect fails. */
#define SYN_TRIES 7u

enum event_kind {
	EVENT_WAITER,
	EVENT_SYN,
	EVENT_SEGMENT,
	EVENT_FIN,
	EVENT_RESET,
};

struct event {
	uint64_t at_us;
	uint64_t tie; /* random: the order of events in the same microsecond */
	uint64_t number;
	enum event_kind kind;
	unsigned side; /* the endpoint where it arrives */
	uint32_t conn;
	uint32_t bytes;
	struct sim_waiter waiter;
};

struct sim_listener {
	struct sockaddr_storage addr;
	uint32_t *pending;           /* connections not yet accepted */
	uint32_t pending_n, backlog; /* number and maximum of those */
	struct sim_waiter *waiting;  /* accepts that wait for a connection */
	uint32_t waiting_n, waiting_capacity;
	uint32_t fds; /* socket numbers that name it */
	bool used;
};

/* ---- memory: tables double, and never shrink -------------------------------- */

static void *grown(void *table, size_t n, size_t size)
{
	void *p = realloc(table, n * size);

	ASSERT(p);
	return p;
}

/* ---- randomness ------------------------------------------------------------- */

uint64_t simnet_random(struct simnet *net, uint64_t n)
{
	return random_below(&net->random, n);
}

uint64_t simnet_delay(struct simnet *net)
{
	uint64_t r = simnet_random(net, 16);

	if (r < 6)
		return 0;
	return simnet_random(net, r == 15 ? 3000 : 60);
}

/* ---- events: a binary heap -------------------------------------------------- */

static bool event_before(const struct event *a, const struct event *b)
{
	if (a->at_us != b->at_us)
		return a->at_us < b->at_us;
	if (a->tie != b->tie)
		return a->tie < b->tie;
	return a->number < b->number;
}

static void event_push(struct simnet *net, struct event e, uint64_t delay_us)
{
	size_t i = net->heap_n++;

	if (net->heap_n > net->heap_capacity) {
		net->heap_capacity = net->heap_capacity ? 2 * net->heap_capacity : 64;
		net->heap = grown(net->heap, net->heap_capacity, sizeof(*net->heap));
	}
	e.at_us = net->now_us + delay_us;
	e.tie = random_next(&net->random);
	e.number = net->events_ever++;
	if (e.kind != EVENT_WAITER)
		simnet_conn(net, e.conn)->refs++;
	for (; i > 0 && event_before(&e, &net->heap[(i - 1) / 2]); i = (i - 1) / 2)
		net->heap[i] = net->heap[(i - 1) / 2];
	net->heap[i] = e;
}

static struct event event_pop(struct simnet *net)
{
	struct event first = net->heap[0], last = net->heap[--net->heap_n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < net->heap_n) {
		if (child + 1 < net->heap_n &&
		    event_before(&net->heap[child + 1], &net->heap[child]))
			child++;
		if (!event_before(&net->heap[child], &last))
			break;
		net->heap[i] = net->heap[child];
		i = child;
	}
	net->heap[i] = last;
	return first;
}

void simnet_wake_after(struct simnet *net, struct sim_waiter w, uint64_t delay_us)
{
	event_push(net, (struct event){ .kind = EVENT_WAITER, .waiter = w }, delay_us);
}

/* Wakes the waiter, if there is one, and forgets it. */
static void waiter_wake(struct simnet *net, struct sim_waiter *w)
{
	if (w->gen != 0)
		simnet_wake_after(net, *w, simnet_delay(net));
	w->gen = 0;
}

/* ---- connections ------------------------------------------------------------ */

struct sim_conn *simnet_conn(struct simnet *net, uint32_t index)
{
	ASSERT(index < net->conns_n && net->conns[index]->used);
	return net->conns[index];
}

static uint32_t conn_new(struct simnet *net)
{
	uint32_t i = net->conns_free - 1;

	if (net->conns_free > 0) {
		net->conns_free = net->conns[i]->next;
	} else {
		i = net->conns_n++;
		if (net->conns_n > net->conns_capacity) {
			net->conns_capacity = net->conns_capacity
						      ? 2 * net->conns_capacity
						      : 16;
			net->conns = grown(net->conns, net->conns_capacity,
					   sizeof(*net->conns));
		}
		net->conns[i] = malloc(sizeof(**net->conns));
		ASSERT(net->conns[i]);
	}
	*net->conns[i] = (struct sim_conn){ .used = true };
	net->conns[i]->ends[0].fd = net->conns[i]->ends[1].fd = -1;
	return i;
}

static void conn_free_if_closed(struct simnet *net, uint32_t i)
{
	struct sim_conn *c = simnet_conn(net, i);

	if (c->refs > 0 || !c->ends[0].closed || !c->ends[1].closed)
		return;
	free(c->ends[0].data);
	free(c->ends[1].data);
	c->ends[0].data = c->ends[1].data = NULL;
	c->used = false;
	c->next = net->conns_free;
	net->conns_free = i + 1;
}

/* ---- socket numbers --------------------------------------------------------- */

struct sim_fd *simnet_fd(struct simnet *net, int fd)
{
	uint32_t i = (uint32_t)(fd - SIMNET_FD_FIRST);

	ASSERT(fd >= SIMNET_FD_FIRST && i < net->fds_n);
	ASSERT(net->fds[i].kind != FD_FREE);
	return &net->fds[i];
}

static int fd_new(struct simnet *net, struct sim_fd fd)
{
	uint32_t i = net->fds_hint;

	while (i < net->fds_n && net->fds[i].kind != FD_FREE)
		i++;
	if (i == net->fds_n) {
		net->fds_n = net->fds_n ? 2 * net->fds_n : 16;
		net->fds = grown(net->fds, net->fds_n, sizeof(*net->fds));
		memset(net->fds + i, 0, (net->fds_n - i) * sizeof(*net->fds));
	}
	net->fds[i] = fd;
	net->fds_hint = i + 1;
	net->fds_open++;
	return SIMNET_FD_FIRST + (int)i;
}

static void fd_free(struct simnet *net, int fd)
{
	uint32_t i = (uint32_t)(fd - SIMNET_FD_FIRST);

	simnet_fd(net, fd)->kind = FD_FREE;
	net->fds_open--;
	if (i < net->fds_hint)
		net->fds_hint = i;
}

int simnet_assign_fd(struct simnet *net, uint32_t conn, unsigned side)
{
	struct endpoint *e = &simnet_conn(net, conn)->ends[side];

	e->fd = fd_new(net, (struct sim_fd){ FD_ENDPOINT, conn, side });
	return e->fd;
}

/* ---- addresses -------------------------------------------------------------- */

static bool address_match(const struct sockaddr_storage *listener,
			  const struct sockaddr_storage *to)
{
	const struct sockaddr_in *a4 = (const void *)listener, *b4 = (const void *)to;
	const struct sockaddr_in6 *a6 = (const void *)listener, *b6 = (const void *)to;
	const struct sockaddr_un *au = (const void *)listener, *bu = (const void *)to;

	if (listener->ss_family != to->ss_family)
		return false;
	switch (to->ss_family) {
	case AF_INET:
		return a4->sin_port == b4->sin_port &&
		       (a4->sin_addr.s_addr == b4->sin_addr.s_addr ||
			a4->sin_addr.s_addr == INADDR_ANY);
	case AF_INET6:
		return a6->sin6_port == b6->sin6_port &&
		       (IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr) ||
			IN6_IS_ADDR_UNSPECIFIED(&a6->sin6_addr));
	case AF_UNIX:
		return memcmp(au->sun_path, bu->sun_path, sizeof(au->sun_path)) == 0;
	}
	return false;
}

static bool address_copy(struct sockaddr_storage *to, const struct sockaddr *addr,
			 socklen_t len)
{
	const struct sockaddr_in *in = (const void *)to;

	if (len > sizeof(*to) || len < sizeof(sa_family_t))
		return false;
	memset(to, 0, sizeof(*to));
	memcpy(to, addr, len);
	/* sin_port and sin6_port have the same offset. */
	return to->ss_family == AF_UNIX || in->sin_port != 0;
}

/* Chooses the address of the connecting endpoint. */
static void address_from(struct simnet *net, struct sim_conn *c)
{
	struct sockaddr_in *in = (void *)&c->from;
	struct sockaddr_in6 *in6 = (void *)&c->from;

	c->from.ss_family = c->to.ss_family;
	c->from_len = sizeof(sa_family_t);
	if (c->to.ss_family == AF_INET) {
		c->from_len = sizeof(*in);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else if (c->to.ss_family == AF_INET6) {
		c->from_len = sizeof(*in6);
		in6->sin6_addr = in6addr_loopback;
	} else {
		return;
	}
	/* sin_port and sin6_port have the same offset. */
	in->sin_port = htons((uint16_t)(PORT_FIRST + net->port_next++ % PORT_N));
}

/* ---- listeners -------------------------------------------------------------- */

static struct sim_listener *listener_find(struct simnet *net,
					  const struct sockaddr_storage *to)
{
	for (uint32_t i = 0; i < net->listeners_n; i++)
		if (net->listeners[i].used && address_match(&net->listeners[i].addr, to))
			return &net->listeners[i];
	return NULL;
}

int simnet_listen(struct simnet *net, const struct sockaddr *addr, socklen_t len,
		  int backlog)
{
	struct sim_listener l = { .used = true,
				  .backlog = backlog > 0 ? (uint32_t)backlog : 1 };

	if (!address_copy(&l.addr, addr, len))
		return -EINVAL;
	if (listener_find(net, &l.addr))
		return -EADDRINUSE;
	l.pending = malloc(l.backlog * sizeof(*l.pending));
	ASSERT(l.pending);
	net->listeners = grown(net->listeners, net->listeners_n + 1,
			       sizeof(*net->listeners));
	l.fds = 1;
	net->listeners[net->listeners_n] = l;
	return fd_new(net, (struct sim_fd){ FD_LISTENER, net->listeners_n++, 0 });
}

int simnet_dup_listener(struct simnet *net, int fd)
{
	struct sim_fd same = *simnet_fd(net, fd);

	net->listeners[same.index].fds++;
	return fd_new(net, same);
}

void simnet_close_listener(struct simnet *net, int fd)
{
	struct sim_listener *l = &net->listeners[simnet_fd(net, fd)->index];

	fd_free(net, fd);
	if (--l->fds > 0)
		return;
	for (uint32_t i = 0; i < l->pending_n; i++)
		simnet_close(net, l->pending[i], 1, true);
	free(l->pending);
	free(l->waiting);
	*l = (struct sim_listener){ .used = false };
}

static void waiting_remove(struct sim_listener *l, uint32_t i)
{
	memmove(&l->waiting[i], &l->waiting[i + 1],
		(--l->waiting_n - i) * sizeof(*l->waiting));
}

/* One accept, the oldest, as io_uring does (kernel-notes/32-accepts-wait-exclusively). */
static void listener_wake(struct simnet *net, struct sim_listener *l)
{
	if (l->waiting_n == 0)
		return;
	waiter_wake(net, &l->waiting[0]);
	waiting_remove(l, 0);
}

void simnet_stop_waiting(struct simnet *net, int fd, struct sim_waiter w)
{
	struct sim_listener *l = &net->listeners[simnet_fd(net, fd)->index];

	for (uint32_t i = 0; i < l->waiting_n; i++) {
		if (l->waiting[i].slot == w.slot && l->waiting[i].gen == w.gen) {
			waiting_remove(l, i);
			return;
		}
	}
}

bool simnet_backlog_waits(struct simnet *net, int fd)
{
	return net->listeners[simnet_fd(net, fd)->index].pending_n > 0;
}

int64_t simnet_accept(struct simnet *net, uint32_t listener, struct sim_waiter w)
{
	struct sim_listener *l = &net->listeners[listener];
	uint32_t conn;

	if (l->pending_n > 0) {
		conn = l->pending[0];
		memmove(l->pending, l->pending + 1, --l->pending_n * sizeof(*l->pending));
		return conn;
	}
	if (l->waiting_n == l->waiting_capacity) {
		l->waiting_capacity = l->waiting_capacity ? 2 * l->waiting_capacity : 8;
		l->waiting = grown(l->waiting, l->waiting_capacity, sizeof(*l->waiting));
	}
	l->waiting[l->waiting_n++] = w;
	return -EAGAIN;
}

/* ---- connecting ------------------------------------------------------------- */

uint32_t simnet_connect(struct simnet *net, const struct sockaddr *addr, socklen_t len,
			struct sim_waiter w)
{
	uint32_t i = conn_new(net);
	struct sim_conn *c = simnet_conn(net, i);

	if (!address_copy(&c->to, addr, len))
		c->to.ss_family = AF_UNSPEC; /* matches no listener */
	address_from(net, c);
	c->connector = w;
	event_push(net, (struct event){ .kind = EVENT_SYN, .conn = i, .side = 1 },
		   simnet_delay(net));
	return i;
}

static void connect_refused(struct simnet *net, struct sim_conn *c, int result)
{
	c->state = SIM_REFUSED;
	c->result = result;
	c->ends[1].closed = true;
	waiter_wake(net, &c->connector);
}

static void syn_arrived(struct simnet *net, uint32_t index)
{
	struct sim_conn *c = simnet_conn(net, index);
	struct sim_listener *at = listener_find(net, &c->to);

	if (c->ends[0].closed) {
		c->ends[1].closed = true;
	} else if (!at) {
		connect_refused(net, c, -ECONNREFUSED);
	} else if (at->pending_n < at->backlog) {
		c->state = SIM_CONNECTED;
		at->pending[at->pending_n++] = index;
		waiter_wake(net, &c->connector);
		listener_wake(net, at);
	} else if (c->tries == SYN_TRIES) {
		connect_refused(net, c, -ETIMEDOUT);
	} else {
		event_push(net,
			   (struct event){ .kind = EVENT_SYN, .conn = index, .side = 1 },
			   1000000ull << c->tries++);
	}
}

/* ---- bytes ------------------------------------------------------------------ */

/* Cuts n sent bytes into segments, each of which arrives at once. */
static void segments_send(struct simnet *net, uint32_t conn, unsigned to, uint32_t n)
{
	uint64_t cut = simnet_random(net, 4);

	while (n > 0) {
		uint32_t some = n;

		if (cut == 1 && n > 1460)
			some = 1460;
		else if (cut == 2)
			some = 1 + (uint32_t)simnet_random(net, n);
		else if (cut == 3 && n <= 64)
			some = 1 + (uint32_t)simnet_random(net, n < 3 ? n : 3);
		event_push(net,
			   (struct event){ .kind = EVENT_SEGMENT,
					   .conn = conn,
					   .side = to,
					   .bytes = some },
			   simnet_delay(net) + simnet_extra_delay(net));
		n -= some;
	}
}

static int error_take(struct endpoint *e)
{
	int error = e->error;

	e->error = 0;
	return error;
}

int64_t simnet_send(struct simnet *net, uint32_t conn, unsigned side,
		    const struct iovec *iov, unsigned iov_n, struct sim_waiter w)
{
	struct endpoint *from = &simnet_conn(net, conn)->ends[side];
	struct endpoint *to = &simnet_conn(net, conn)->ends[!side];
	uint32_t left, sent = 0;

	if (from->error)
		return -error_take(from);
	if (from->reset || from->fin_sent || from->closed)
		return -EPIPE;
	left = net->pipe_max > to->len ? net->pipe_max - to->len : 0;
	if (left == 0) {
		from->writer = w;
		return -EAGAIN;
	}
	if (simnet_random(net, 4) == 0)
		left = 1 + (uint32_t)simnet_random(net, left);
	for (unsigned i = 0; i < iov_n && left > 0; i++) {
		uint32_t n = iov[i].iov_len < left ? (uint32_t)iov[i].iov_len : left;

		if (n > 0)
			pipe_write(to, iov[i].iov_base, n);
		sent += n;
		left -= n;
	}
	segments_send(net, conn, !side, sent);
	return sent;
}

const struct endpoint *simnet_peer(struct simnet *net, int fd)
{
	const struct sim_fd *f = simnet_fd(net, fd);

	return &simnet_conn(net, f->index)->ends[!f->side];
}

bool simnet_readable(struct simnet *net, uint32_t conn, unsigned side)
{
	const struct endpoint *e = &simnet_conn(net, conn)->ends[side];

	return e->arrived > 0 || e->reset || (e->fin_received && e->len == 0);
}

int64_t simnet_recv(struct simnet *net, uint32_t conn, unsigned side, char *bytes,
		    size_t n, struct sim_waiter w)
{
	struct endpoint *e = &simnet_conn(net, conn)->ends[side];
	struct endpoint *peer = &simnet_conn(net, conn)->ends[!side];

	if (!simnet_readable(net, conn, side)) {
		e->reader = w;
		return -EAGAIN;
	}
	if (e->arrived == 0)
		return e->fin_received && e->len == 0 ? 0 : -error_take(e);
	if (n > e->arrived)
		n = e->arrived;
	pipe_read(e, bytes, (uint32_t)n);
	e->arrived -= (uint32_t)n;
	waiter_wake(net, &peer->writer);
	return (int64_t)n;
}

/* ---- ending ----------------------------------------------------------------- */

static void fin_send(struct simnet *net, uint32_t conn, unsigned side)
{
	simnet_conn(net, conn)->ends[side].fin_sent = true;
	event_push(net, (struct event){ .kind = EVENT_FIN, .conn = conn, .side = !side },
		   simnet_delay(net));
}

/* The reset may overtake bytes in transit, as in a real network. */
static void reset_send(struct simnet *net, uint32_t conn, unsigned side)
{
	simnet_conn(net, conn)->ends[side].reset = true;
	event_push(net,
		   (struct event){ .kind = EVENT_RESET, .conn = conn, .side = !side },
		   simnet_delay(net));
}

void simnet_shutdown(struct simnet *net, uint32_t conn, unsigned side)
{
	struct endpoint *e = &simnet_conn(net, conn)->ends[side];

	if (!e->reset && !e->fin_sent)
		fin_send(net, conn, side);
}

void simnet_close(struct simnet *net, uint32_t conn, unsigned side, bool reset)
{
	struct endpoint *e = &simnet_conn(net, conn)->ends[side];

	ASSERT(!e->closed);
	e->closed = true;
	if (e->fd >= 0)
		fd_free(net, e->fd);
	e->fd = -1;
	if (simnet_conn(net, conn)->state == SIM_CONNECTED && !e->reset) {
		if (reset || e->arrived > 0)
			reset_send(net, conn, side);
		else if (!e->fin_sent)
			fin_send(net, conn, side);
	}
	pipe_read(e, NULL, e->arrived);
	e->arrived = 0;
	conn_free_if_closed(net, conn);
}

/* ---- arrivals --------------------------------------------------------------- */

static void segment_arrived(struct simnet *net, uint32_t conn, unsigned side, uint32_t n)
{
	struct endpoint *e = &simnet_conn(net, conn)->ends[side];

	/* When the reset arrived, bytes in transit were removed from the pipe. */
	if (e->reset)
		return;
	if (e->closed) {
		pipe_read(e, NULL, n);
		reset_send(net, conn, side);
		return;
	}
	e->arrived += n;
	ASSERT(e->arrived <= e->len);
	waiter_wake(net, &e->reader);
}

static void fin_arrived(struct simnet *net, uint32_t conn, unsigned side)
{
	struct endpoint *e = &simnet_conn(net, conn)->ends[side];

	e->fin_received = !e->reset;
	waiter_wake(net, &e->reader);
}

static void reset_arrived(struct simnet *net, uint32_t conn, unsigned side)
{
	struct endpoint *e = &simnet_conn(net, conn)->ends[side];

	if (e->reset)
		return;
	e->reset = true;
	/* A FIN behind bytes that were lost does not count as received. */
	e->fin_received = e->fin_received && e->len == e->arrived;
	e->error = e->fin_received ? EPIPE : ECONNRESET;
	e->len = e->arrived;
	waiter_wake(net, &e->reader);
	waiter_wake(net, &e->writer);
}

bool simnet_next(struct simnet *net, uint64_t until_us, struct sim_waiter *w, bool *more)
{
	struct event e;

	*more = net->heap_n > 0 && net->heap[0].at_us <= until_us;
	if (!*more)
		return false;
	e = event_pop(net);
	if (e.at_us > net->now_us)
		net->now_us = e.at_us;
	switch (e.kind) {
	case EVENT_WAITER:
		*w = e.waiter;
		return true;
	case EVENT_SYN:
		syn_arrived(net, e.conn);
		break;
	case EVENT_SEGMENT:
		segment_arrived(net, e.conn, e.side, e.bytes);
		break;
	case EVENT_FIN:
		fin_arrived(net, e.conn, e.side);
		break;
	case EVENT_RESET:
		reset_arrived(net, e.conn, e.side);
		break;
	}
	simnet_conn(net, e.conn)->refs--;
	conn_free_if_closed(net, e.conn);
	return false;
}

void simnet_init(struct simnet *net, uint64_t seed, uint64_t now_us)
{
	*net = (struct simnet){ .now_us = now_us,
				.random = { seed },
				.pipe_max = PIPE_MAX_DEFAULT };
}

void simnet_done(struct simnet *net)
{
	for (uint32_t i = 0; i < net->conns_n; i++) {
		if (net->conns[i]->used) {
			free(net->conns[i]->ends[0].data);
			free(net->conns[i]->ends[1].data);
		}
		free(net->conns[i]);
	}
	for (uint32_t i = 0; i < net->listeners_n; i++) {
		free(net->listeners[i].pending);
		free(net->listeners[i].waiting);
	}
	free(net->conns);
	free(net->listeners);
	free(net->fds);
	free(net->heap);
}
