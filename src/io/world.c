#include "world.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/check.h"

#define LINE_MAX_DEFAULT 65536u
#define LINE_ROOM_FIRST 512u
#define PORT_FIRST 32768u
#define PORT_N 28000u
/* A connect that finds the line at the listener full is tried again after 1, 2,
 * 4 … seconds, and given up after this many times. */
#define SYN_TRIES 7u

enum event_kind {
	EVENT_TICKET,
	EVENT_SYN,
	EVENT_SEGMENT,
	EVENT_FIN,
	EVENT_RESET,
};

struct event {
	uint64_t at_us;
	uint64_t tie; /* drawn: the order of what falls on one microsecond */
	uint64_t number;
	enum event_kind kind;
	unsigned side; /* where it arrives */
	uint32_t link;
	uint32_t bytes;
	struct ticket ticket;
};

struct listener {
	struct sockaddr_storage addr;
	uint32_t *line; /* links that nobody has accepted yet */
	uint32_t line_n, backlog;
	struct ticket *waiting; /* accepts to be told of the next one */
	uint32_t waiting_n, waiting_room;
	int fd;
	bool used;
};

/* ---- memory: tables double, and never shrink -------------------------------- */

static void *grown(void *table, size_t n, size_t size)
{
	void *p = realloc(table, n * size);

	ASSERT(p);
	return p;
}

/* ---- chance ----------------------------------------------------------------- */

/* splitmix64 */
static uint64_t random_next(struct world *w)
{
	uint64_t z = w->random += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t world_draw(struct world *w, uint64_t n)
{
	ASSERT(n > 0);
	return random_next(w) % n;
}

uint64_t world_delay(struct world *w)
{
	uint64_t r = world_draw(w, 16);

	if (r < 6)
		return 0;
	return world_draw(w, r == 15 ? 3000 : 60);
}

/* ---- events: a heap --------------------------------------------------------- */

static bool event_before(const struct event *a, const struct event *b)
{
	if (a->at_us != b->at_us)
		return a->at_us < b->at_us;
	if (a->tie != b->tie)
		return a->tie < b->tie;
	return a->number < b->number;
}

static void event_push(struct world *w, struct event e, uint64_t delay_us)
{
	size_t i = w->heap_n++;

	if (w->heap_n > w->heap_room) {
		w->heap_room = w->heap_room ? 2 * w->heap_room : 64;
		w->heap = grown(w->heap, w->heap_room, sizeof(*w->heap));
	}
	e.at_us = w->now_us + delay_us;
	e.tie = random_next(w);
	e.number = w->events_ever++;
	if (e.kind != EVENT_TICKET)
		world_link(w, e.link)->refs++;
	for (; i > 0 && event_before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static struct event event_pop(struct world *w)
{
	struct event first = w->heap[0], last = w->heap[--w->heap_n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < w->heap_n) {
		if (child + 1 < w->heap_n &&
		    event_before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!event_before(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return first;
}

void world_call(struct world *w, struct ticket t, uint64_t delay_us)
{
	event_push(w, (struct event){ .kind = EVENT_TICKET, .ticket = t }, delay_us);
}

/* Tells whoever waits, once. */
static void ticket_call(struct world *w, struct ticket *t)
{
	if (t->gen != 0)
		world_call(w, *t, world_delay(w));
	t->gen = 0;
}

/* ---- links ------------------------------------------------------------------ */

struct link *world_link(struct world *w, uint32_t index)
{
	ASSERT(index < w->links_n && w->links[index]->used);
	return w->links[index];
}

static uint32_t link_new(struct world *w)
{
	uint32_t i = w->links_free - 1;

	if (w->links_free > 0) {
		w->links_free = w->links[i]->next;
	} else {
		i = w->links_n++;
		if (w->links_n > w->links_room) {
			w->links_room = w->links_room ? 2 * w->links_room : 16;
			w->links = grown(w->links, w->links_room, sizeof(*w->links));
		}
		w->links[i] = malloc(sizeof(**w->links));
		ASSERT(w->links[i]);
	}
	*w->links[i] = (struct link){ .used = true };
	w->links[i]->end[0].fd = w->links[i]->end[1].fd = -1;
	return i;
}

static void link_free_if_over(struct world *w, uint32_t i)
{
	struct link *l = world_link(w, i);

	if (l->refs > 0 || !l->end[0].closed || !l->end[1].closed)
		return;
	free(l->end[0].data);
	free(l->end[1].data);
	l->end[0].data = l->end[1].data = NULL;
	l->used = false;
	l->next = w->links_free;
	w->links_free = i + 1;
}

/* ---- the line of bytes into an end ------------------------------------------ */

static void line_grow(struct end *e, uint32_t len)
{
	uint32_t room = e->room ? e->room : LINE_ROOM_FIRST;
	uint32_t first = e->room - e->head < e->len ? e->room - e->head : e->len;
	char *data;

	while (room < len)
		room *= 2;
	if (room == e->room)
		return;
	data = malloc(room);
	ASSERT(data);
	if (e->len > 0) {
		memcpy(data, e->data + e->head, first);
		memcpy(data + first, e->data, e->len - first);
	}
	free(e->data);
	e->data = data;
	e->room = room;
	e->head = 0;
}

static void line_put(struct end *e, const char *bytes, uint32_t n)
{
	uint32_t at, first;

	line_grow(e, e->len + n);
	at = (e->head + e->len) % e->room;
	first = e->room - at < n ? e->room - at : n;
	memcpy(e->data + at, bytes, first);
	memcpy(e->data, bytes + first, n - first);
	e->len += n;
}

/* bytes == NULL: drops them. */
static void line_take(struct end *e, char *bytes, uint32_t n)
{
	uint32_t first = e->room - e->head < n ? e->room - e->head : n;

	ASSERT(n <= e->len);
	if (n == 0)
		return;
	if (bytes) {
		memcpy(bytes, e->data + e->head, first);
		memcpy(bytes + first, e->data, n - first);
	}
	e->head = (e->head + n) % e->room;
	e->read += n;
	e->len -= n;
}

/* ---- socket numbers --------------------------------------------------------- */

struct fd *world_fd(struct world *w, int fd)
{
	uint32_t i = (uint32_t)(fd - WORLD_FD_FIRST);

	ASSERT(fd >= WORLD_FD_FIRST && i < w->fds_n);
	ASSERT(w->fds[i].kind != FD_FREE);
	return &w->fds[i];
}

static int fd_new(struct world *w, struct fd fd)
{
	uint32_t i = w->fds_hint;

	while (i < w->fds_n && w->fds[i].kind != FD_FREE)
		i++;
	if (i == w->fds_n) {
		w->fds_n = w->fds_n ? 2 * w->fds_n : 16;
		w->fds = grown(w->fds, w->fds_n, sizeof(*w->fds));
		memset(w->fds + i, 0, (w->fds_n - i) * sizeof(*w->fds));
	}
	w->fds[i] = fd;
	w->fds_hint = i + 1;
	w->fds_open++;
	return WORLD_FD_FIRST + (int)i;
}

static void fd_free(struct world *w, int fd)
{
	uint32_t i = (uint32_t)(fd - WORLD_FD_FIRST);

	world_fd(w, fd)->kind = FD_FREE;
	w->fds_open--;
	if (i < w->fds_hint)
		w->fds_hint = i;
}

int world_number(struct world *w, uint32_t link, unsigned side)
{
	struct end *e = &world_link(w, link)->end[side];

	e->fd = fd_new(w, (struct fd){ FD_END, link, side });
	return e->fd;
}

/* ---- addresses -------------------------------------------------------------- */

static bool address_same(const struct sockaddr_storage *listener,
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
	/* sin6_port is where sin_port is. */
	return to->ss_family == AF_UNIX || in->sin_port != 0;
}

/* Where the connecting side says that it comes from. */
static void address_from(struct world *w, struct link *l)
{
	struct sockaddr_in *in = (void *)&l->from;
	struct sockaddr_in6 *in6 = (void *)&l->from;

	l->from.ss_family = l->to.ss_family;
	l->from_len = sizeof(sa_family_t);
	if (l->to.ss_family == AF_INET) {
		l->from_len = sizeof(*in);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else if (l->to.ss_family == AF_INET6) {
		l->from_len = sizeof(*in6);
		in6->sin6_addr = in6addr_loopback;
	} else {
		return;
	}
	/* sin_port and sin6_port are at the same place. */
	in->sin_port = htons((uint16_t)(PORT_FIRST + w->port_next++ % PORT_N));
}

/* ---- listeners -------------------------------------------------------------- */

static struct listener *listener_find(struct world *w, const struct sockaddr_storage *to)
{
	for (uint32_t i = 0; i < w->listeners_n; i++)
		if (w->listeners[i].used && address_same(&w->listeners[i].addr, to))
			return &w->listeners[i];
	return NULL;
}

int world_listen(struct world *w, const struct sockaddr *addr, socklen_t len, int backlog)
{
	struct listener l = { .used = true,
			      .backlog = backlog > 0 ? (uint32_t)backlog : 1 };

	if (!address_copy(&l.addr, addr, len))
		return -EINVAL;
	if (listener_find(w, &l.addr))
		return -EADDRINUSE;
	l.line = malloc(l.backlog * sizeof(*l.line));
	ASSERT(l.line);
	w->listeners = grown(w->listeners, w->listeners_n + 1, sizeof(*w->listeners));
	l.fd = fd_new(w, (struct fd){ FD_LISTENER, w->listeners_n, 0 });
	w->listeners[w->listeners_n++] = l;
	return l.fd;
}

void world_close_listener(struct world *w, int fd)
{
	struct listener *l = &w->listeners[world_fd(w, fd)->index];

	for (uint32_t i = 0; i < l->line_n; i++)
		world_close(w, l->line[i], 1, true);
	free(l->line);
	free(l->waiting);
	*l = (struct listener){ .used = false };
	fd_free(w, fd);
}

static void listener_call(struct world *w, struct listener *l)
{
	for (uint32_t i = 0; i < l->waiting_n; i++)
		ticket_call(w, &l->waiting[i]);
	l->waiting_n = 0;
}

int64_t world_accept(struct world *w, uint32_t listener, struct ticket t)
{
	struct listener *l = &w->listeners[listener];
	uint32_t link;

	if (l->line_n > 0) {
		link = l->line[0];
		memmove(l->line, l->line + 1, --l->line_n * sizeof(*l->line));
		return link;
	}
	if (l->waiting_n == l->waiting_room) {
		l->waiting_room = l->waiting_room ? 2 * l->waiting_room : 8;
		l->waiting = grown(l->waiting, l->waiting_room, sizeof(*l->waiting));
	}
	l->waiting[l->waiting_n++] = t;
	return -EAGAIN;
}

/* ---- connecting ------------------------------------------------------------- */

uint32_t world_connect(struct world *w, const struct sockaddr *addr, socklen_t len,
		       struct ticket t)
{
	uint32_t i = link_new(w);
	struct link *l = world_link(w, i);

	if (!address_copy(&l->to, addr, len))
		l->to.ss_family = AF_UNSPEC; /* where nobody listens */
	address_from(w, l);
	l->connector = t;
	event_push(w, (struct event){ .kind = EVENT_SYN, .link = i, .side = 1 },
		   world_delay(w));
	return i;
}

static void connect_refused(struct world *w, struct link *l, int result)
{
	l->state = LINK_REFUSED;
	l->result = result;
	l->end[1].closed = true;
	ticket_call(w, &l->connector);
}

static void syn_arrived(struct world *w, uint32_t index)
{
	struct link *l = world_link(w, index);
	struct listener *at = listener_find(w, &l->to);

	if (l->end[0].closed) {
		l->end[1].closed = true;
	} else if (!at) {
		connect_refused(w, l, -ECONNREFUSED);
	} else if (at->line_n < at->backlog) {
		l->state = LINK_CONNECTED;
		at->line[at->line_n++] = index;
		ticket_call(w, &l->connector);
		listener_call(w, at);
	} else if (l->tries == SYN_TRIES) {
		connect_refused(w, l, -ETIMEDOUT);
	} else {
		event_push(w,
			   (struct event){ .kind = EVENT_SYN, .link = index, .side = 1 },
			   1000000ull << l->tries++);
	}
}

/* ---- bytes ------------------------------------------------------------------ */

/* Cuts n bytes that were sent into what arrives at once. */
static void segments_leave(struct world *w, uint32_t link, unsigned to, uint32_t n)
{
	uint64_t way = world_draw(w, 4);

	while (n > 0) {
		uint32_t some = n;

		if (way == 1 && n > 1460)
			some = 1460;
		else if (way == 2)
			some = 1 + (uint32_t)world_draw(w, n);
		else if (way == 3 && n <= 64)
			some = 1 + (uint32_t)world_draw(w, n < 3 ? n : 3);
		event_push(w,
			   (struct event){ .kind = EVENT_SEGMENT,
					   .link = link,
					   .side = to,
					   .bytes = some },
			   world_delay(w) + world_late(w));
		n -= some;
	}
}

static int error_take(struct end *e)
{
	int error = e->error;

	e->error = 0;
	return error;
}

int64_t world_send(struct world *w, uint32_t link, unsigned side, const struct iovec *iov,
		   unsigned iov_n, struct ticket t)
{
	struct end *from = &world_link(w, link)->end[side];
	struct end *to = &world_link(w, link)->end[!side];
	uint32_t left, sent = 0;

	if (from->error)
		return -error_take(from);
	if (from->dead || from->shut || from->closed)
		return -EPIPE;
	left = w->line_max > to->len ? w->line_max - to->len : 0;
	if (left == 0) {
		from->writer = t;
		return -EAGAIN;
	}
	if (world_draw(w, 4) == 0)
		left = 1 + (uint32_t)world_draw(w, left);
	for (unsigned i = 0; i < iov_n && left > 0; i++) {
		uint32_t n = iov[i].iov_len < left ? (uint32_t)iov[i].iov_len : left;

		if (n > 0)
			line_put(to, iov[i].iov_base, n);
		sent += n;
		left -= n;
	}
	segments_leave(w, link, !side, sent);
	return sent;
}

const struct end *world_peer(struct world *w, int fd)
{
	const struct fd *f = world_fd(w, fd);

	return &world_link(w, f->index)->end[!f->side];
}

bool world_readable(struct world *w, uint32_t link, unsigned side)
{
	const struct end *e = &world_link(w, link)->end[side];

	return e->arrived > 0 || e->dead || (e->fin && e->len == 0);
}

int64_t world_recv(struct world *w, uint32_t link, unsigned side, char *room, size_t n,
		   struct ticket t)
{
	struct end *e = &world_link(w, link)->end[side];
	struct end *peer = &world_link(w, link)->end[!side];

	if (!world_readable(w, link, side)) {
		e->reader = t;
		return -EAGAIN;
	}
	if (e->arrived == 0)
		return e->fin && e->len == 0 ? 0 : -error_take(e);
	if (n > e->arrived)
		n = e->arrived;
	line_take(e, room, (uint32_t)n);
	e->arrived -= (uint32_t)n;
	ticket_call(w, &peer->writer);
	return (int64_t)n;
}

/* ---- ending ----------------------------------------------------------------- */

static void fin_leave(struct world *w, uint32_t link, unsigned side)
{
	world_link(w, link)->end[side].shut = true;
	event_push(w, (struct event){ .kind = EVENT_FIN, .link = link, .side = !side },
		   world_delay(w));
}

/* Overtakes what is on its way, as a reset may. */
static void reset_leave(struct world *w, uint32_t link, unsigned side)
{
	world_link(w, link)->end[side].dead = true;
	event_push(w, (struct event){ .kind = EVENT_RESET, .link = link, .side = !side },
		   world_delay(w));
}

void world_shutdown(struct world *w, uint32_t link, unsigned side)
{
	struct end *e = &world_link(w, link)->end[side];

	if (!e->dead && !e->shut)
		fin_leave(w, link, side);
}

void world_close(struct world *w, uint32_t link, unsigned side, bool reset)
{
	struct end *e = &world_link(w, link)->end[side];

	ASSERT(!e->closed);
	e->closed = true;
	if (e->fd >= 0)
		fd_free(w, e->fd);
	e->fd = -1;
	if (world_link(w, link)->state == LINK_CONNECTED && !e->dead) {
		if (reset || e->arrived > 0)
			reset_leave(w, link, side);
		else if (!e->shut)
			fin_leave(w, link, side);
	}
	line_take(e, NULL, e->arrived);
	e->arrived = 0;
	link_free_if_over(w, link);
}

/* ---- arrivals --------------------------------------------------------------- */

static void segment_arrived(struct world *w, uint32_t link, unsigned side, uint32_t n)
{
	struct end *e = &world_link(w, link)->end[side];

	/* What was on its way when a reset came has left the line already. */
	if (e->dead)
		return;
	if (e->closed) {
		line_take(e, NULL, n);
		reset_leave(w, link, side);
		return;
	}
	e->arrived += n;
	ASSERT(e->arrived <= e->len);
	ticket_call(w, &e->reader);
}

static void fin_arrived(struct world *w, uint32_t link, unsigned side)
{
	struct end *e = &world_link(w, link)->end[side];

	e->fin = !e->dead;
	ticket_call(w, &e->reader);
}

static void reset_arrived(struct world *w, uint32_t link, unsigned side)
{
	struct end *e = &world_link(w, link)->end[side];

	if (e->dead)
		return;
	e->dead = true;
	/* An end that waits behind bytes which come no more was not heard. */
	e->fin = e->fin && e->len == e->arrived;
	e->error = e->fin ? EPIPE : ECONNRESET;
	e->len = e->arrived;
	ticket_call(w, &e->reader);
	ticket_call(w, &e->writer);
}

bool world_next(struct world *w, uint64_t until_us, struct ticket *t, bool *more)
{
	struct event e;

	*more = w->heap_n > 0 && w->heap[0].at_us <= until_us;
	if (!*more)
		return false;
	e = event_pop(w);
	if (e.at_us > w->now_us)
		w->now_us = e.at_us;
	switch (e.kind) {
	case EVENT_TICKET:
		*t = e.ticket;
		return true;
	case EVENT_SYN:
		syn_arrived(w, e.link);
		break;
	case EVENT_SEGMENT:
		segment_arrived(w, e.link, e.side, e.bytes);
		break;
	case EVENT_FIN:
		fin_arrived(w, e.link, e.side);
		break;
	case EVENT_RESET:
		reset_arrived(w, e.link, e.side);
		break;
	}
	world_link(w, e.link)->refs--;
	link_free_if_over(w, e.link);
	return false;
}

void world_init(struct world *w, uint64_t seed, uint64_t now_us)
{
	*w = (struct world){ .now_us = now_us,
			     .random = seed,
			     .line_max = LINE_MAX_DEFAULT };
}

void world_done(struct world *w)
{
	for (uint32_t i = 0; i < w->links_n; i++) {
		if (w->links[i]->used) {
			free(w->links[i]->end[0].data);
			free(w->links[i]->end[1].data);
		}
		free(w->links[i]);
	}
	for (uint32_t i = 0; i < w->listeners_n; i++) {
		free(w->listeners[i].line);
		free(w->listeners[i].waiting);
	}
	free(w->links);
	free(w->listeners);
	free(w->fds);
	free(w->heap);
}
