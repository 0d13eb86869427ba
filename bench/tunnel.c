/* The lower bound of the comparison: a TCP tunnel on one io_uring, without HTTP.
 *
 *   tunnel LISTEN_PORT HOST PORT COUNTS
 *
 * Each connection to 127.0.0.1:LISTEN_PORT gets a connection of its own to HOST:PORT. One
 * thread, one ring (SINGLE_ISSUER, DEFER_TASKRUN). Accepts and receives are multishot.
 * Received bytes are sent from the provided buffers that they arrived in. A send that
 * succeeds at once makes no completion (kernel-notes/03-silent-sends). All operations that an
 * iteration of the loop starts are submitted by its one wait. The file COUNTS is mapped and
 * holds the number of io_uring_enter calls so far (uint64_t). Prints "ready" when it
 * listens. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_ENTRIES 4096
#define COMPLETIONS 65536 /* never full: a side has two operations in flight at most */
#define BACKLOG 16384
/* Few and large: between 64 buffers of 128 KiB and 2048 of 4 KiB these were the cheapest or
 * nearly so for responses of 100 B, 100 KB and 10 MB. A power of two. */
#define BUFFERS 128u
#define BUFFER_BYTES 65536u
#define GROUP 0
#define NONE UINT16_MAX
#define VECTORS_MAX 8
#define QUEUE_MAX 8 /* buffers queued for one side; then the other stops receiving */

enum tunnel_op { OP_ACCEPT, OP_CONNECT, OP_RECV, OP_SEND, OP_SHUTDOWN, OP_OTHER };
#define OP_MASK 7u

/* One end of a pair. The queue holds buffers that the other end received and this end
 * sends. */
struct side {
	int fd;
	struct side *other;
	uint16_t first, last, queued, sending; /* sending: queued buffers in flight */
	bool connected, receiving, without_buffer, eof, finished;
	bool silent; /* the send in flight completes only if it fails */
	bool pushed; /* handled by flush() after all completions of this iteration */
	struct side *next_without_buffer, *next_silent, *next_pushed;
	struct msghdr message;
	struct iovec vectors[VECTORS_MAX];
};

struct tunnel_pair {
	struct side sides[2];
	unsigned in_flight;
	bool broken;
};

static struct io_uring ring;
static struct io_uring_buf_ring *pool;
static char *memory;
static uint16_t next_of[BUFFERS];
static uint32_t bytes_in[BUFFERS];
static struct side *without_buffer, *silent, *pushed;
static bool published; /* a buffer was published in this iteration */
static uint64_t *enters;
static struct sockaddr_in to;
static int listener;

static void exit_with_error(const char *what, int error)
{
	fprintf(stderr, "tunnel: %s: %s\n", what, strerror(error));
	exit(1);
}

static struct tunnel_pair *pair_of(struct side *s)
{
	return (struct tunnel_pair *)(s < s->other ? s : s->other);
}

static void enter(unsigned wait)
{
	int r = io_uring_submit_and_wait(&ring, wait);

	++*enters;
	if (r < 0 && r != -EINTR)
		exit_with_error("io_uring_enter", -r);
}

static struct io_uring_sqe *op_start(struct side *s, enum tunnel_op op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	while (!sqe) {
		enter(0);
		sqe = io_uring_get_sqe(&ring);
	}
	memset(sqe, 0, sizeof(*sqe));
	io_uring_sqe_set_data64(sqe, (uintptr_t)s | op);
	if (s)
		pair_of(s)->in_flight++;
	return sqe;
}

/* Some versions of liburing clear user_data in io_uring_prep_*(), so it is set afterwards. */
static void set_user_data(struct io_uring_sqe *sqe, struct side *s, enum tunnel_op op)
{
	io_uring_sqe_set_data64(sqe, (uintptr_t)s | op);
}

static void buf_publish(uint16_t buffer)
{
	io_uring_buf_ring_add(pool, memory + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES,
			      buffer, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(pool, 1);
	published = true;
}

/* ---- one connection --------------------------------------------------------- */

static void recv_arm(struct side *s)
{
	struct io_uring_sqe *sqe;

	if (s->receiving || s->eof || s->without_buffer || pair_of(s)->broken)
		return;
	sqe = op_start(s, OP_RECV);
	io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	set_user_data(sqe, s, OP_RECV);
	s->receiving = true;
}

static void wait_for_buffer(struct side *s)
{
	if (s->without_buffer)
		return;
	s->without_buffer = true;
	s->next_without_buffer = without_buffer;
	without_buffer = s;
}

static void recv_cancel(struct side *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe)
		return; /* the queue is full: tried again with the next bytes */
	io_uring_prep_cancel64(sqe, (uintptr_t)s | OP_RECV, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	set_user_data(sqe, NULL, OP_OTHER);
}

static void send_vectors(struct side *s, int flags)
{
	struct io_uring_sqe *sqe = op_start(s, OP_SEND);

	if (s->message.msg_iovlen == 1)
		io_uring_prep_send(sqe, s->fd, s->message.msg_iov->iov_base,
				   s->message.msg_iov->iov_len, flags);
	else
		io_uring_prep_sendmsg(sqe, s->fd, &s->message, (unsigned)flags);
	if (flags & MSG_DONTWAIT)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	set_user_data(sqe, s, OP_SEND);
}

/* A silent send wakes no wait, so it is used only if nothing waits for its end. */
static bool may_be_silent(const struct side *s)
{
	return s->sending == s->queued && s->other->receiving && !without_buffer;
}

static void send_queued(struct side *s)
{
	uint16_t b = s->first;
	unsigned n = 0;

	for (; b != NONE && n < VECTORS_MAX; b = next_of[b], n++)
		s->vectors[n] = (struct iovec){ memory + (size_t)b * BUFFER_BYTES,
						bytes_in[b] };
	s->sending = (uint16_t)n;
	s->message = (struct msghdr){ .msg_iov = s->vectors, .msg_iovlen = n };
	if (!may_be_silent(s)) {
		send_vectors(s, MSG_NOSIGNAL | MSG_WAITALL);
		return;
	}
	s->silent = true;
	s->next_silent = silent;
	silent = s;
	pair_of(s)->in_flight++; /* counted once more for the list `silent` */
	send_vectors(s, MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
}

/* Continues a silent send that was short or found no space; the rest may wait. */
static void send_rest(struct side *s, size_t taken)
{
	struct msghdr *m = &s->message;

	while (taken >= m->msg_iov->iov_len) {
		taken -= m->msg_iov->iov_len;
		m->msg_iov++;
		m->msg_iovlen--;
	}
	m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + taken;
	m->msg_iov->iov_len -= taken;
	send_vectors(s, MSG_NOSIGNAL | MSG_WAITALL);
}

static void send_fin(struct side *s)
{
	struct io_uring_sqe *sqe = op_start(s, OP_SHUTDOWN);

	io_uring_prep_shutdown(sqe, s->fd, SHUT_WR);
	set_user_data(sqe, s, OP_SHUTDOWN);
	s->finished = true;
}

static void push(struct side *s)
{
	if (s->pushed)
		return;
	s->pushed = true;
	s->next_pushed = pushed;
	pushed = s;
	pair_of(s)->in_flight++;
}

/* Sends the queue to this side, and a FIN once the other side has ended. */
static void side_progress(struct side *s)
{
	if (!s->connected || s->sending || pair_of(s)->broken)
		return;
	if (s->first != NONE)
		send_queued(s);
	else if (s->other->eof && !s->finished && !s->eof)
		send_fin(s);
}

static void queue_drop(struct side *s)
{
	while (s->first != NONE) {
		uint16_t b = s->first;

		s->first = next_of[b];
		buf_publish(b);
	}
}

static void close_fd(int fd)
{
	struct io_uring_sqe *sqe = op_start(NULL, OP_OTHER);

	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	set_user_data(sqe, NULL, OP_OTHER);
}

static void stop_waiting(struct side *s)
{
	for (struct side **at = &without_buffer; *at; at = &(*at)->next_without_buffer) {
		if (*at == s) {
			*at = s->next_without_buffer;
			return;
		}
	}
}

static void pair_abort(struct tunnel_pair *p)
{
	if (p->broken)
		return;
	p->broken = true;
	shutdown(p->sides[0].fd, SHUT_RDWR);
	shutdown(p->sides[1].fd, SHUT_RDWR);
}

static bool all_sent(const struct side *s)
{
	return s->eof && s->other->first == NONE && !s->other->sending;
}

/* Frees the pair after its last completion, if it is broken or both sides are done. */
static void pair_free_if_done(struct tunnel_pair *p)
{
	struct side *a = &p->sides[0], *b = &p->sides[1];

	if (p->in_flight || (!p->broken && !(all_sent(a) && all_sent(b))))
		return;
	for (struct side *s = a; s <= b; s++) {
		queue_drop(s);
		if (s->without_buffer)
			stop_waiting(s);
		close_fd(s->fd);
	}
	free(p);
}

/* ---- completions ------------------------------------------------------------ */

static void received(struct side *s, int result, unsigned flags)
{
	struct side *out = s->other;
	uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);

	s->receiving = flags & IORING_CQE_F_MORE;
	if (result > 0) {
		next_of[buffer] = NONE;
		bytes_in[buffer] = (uint32_t)result;
		if (out->first == NONE)
			out->first = buffer;
		else
			next_of[out->last] = buffer;
		out->last = buffer;
		if (++out->queued == QUEUE_MAX && s->receiving)
			recv_cancel(s);
		push(out);
	} else if (result == 0) {
		s->eof = true;
		push(out);
	} else if (result == -ENOBUFS) {
		wait_for_buffer(s);
	} else if (result != -ECANCELED) {
		pair_abort(pair_of(s));
	}
	if (!s->receiving && out->queued < QUEUE_MAX)
		recv_arm(s);
}

static void queue_sent(struct side *s)
{
	unsigned n = s->sending;

	s->sending = 0;
	while (n--) {
		uint16_t b = s->first;

		s->first = next_of[b];
		s->queued--;
		buf_publish(b);
	}
	push(s);
	recv_arm(s->other);
}

static void sent(struct side *s, int result)
{
	bool was_silent = s->silent;

	s->silent = false;
	if (was_silent && (result >= 0 || result == -EAGAIN)) {
		send_rest(s, result > 0 ? (size_t)result : 0);
		return;
	}
	if (result < 0)
		pair_abort(pair_of(s));
	queue_sent(s);
}

/* The enter that took these sends has returned completions for those that failed: all
 * others succeeded. */
static void finish_silent(struct side *list)
{
	while (list) {
		struct side *s = list;
		struct tunnel_pair *p = pair_of(s);

		list = s->next_silent;
		p->in_flight--;
		if (s->silent) {
			s->silent = false;
			p->in_flight--;
			queue_sent(s);
		}
		pair_free_if_done(p);
	}
}

static void connected(struct side *s, int result)
{
	s->connected = true;
	if (result < 0) {
		pair_abort(pair_of(s));
		return;
	}
	recv_arm(s);
	push(s);
}

static void accepted(int fd)
{
	struct tunnel_pair *p = calloc(1, sizeof(*p));
	struct side *in = &p->sides[0], *out = &p->sides[1];
	struct io_uring_sqe *sqe;
	int on = 1;

	if (!p)
		exit_with_error("memory", errno);
	*in = (struct side){ .fd = fd, .other = out, .first = NONE, .connected = true };
	*out = (struct side){ .other = in, .first = NONE };
	out->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (out->fd < 0)
		exit_with_error("socket", errno);
	setsockopt(out->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	sqe = op_start(out, OP_CONNECT);
	io_uring_prep_connect(sqe, out->fd, (struct sockaddr *)&to, sizeof(to));
	set_user_data(sqe, out, OP_CONNECT);
	recv_arm(in);
}

static void accept_start(void)
{
	struct io_uring_sqe *sqe = op_start(NULL, OP_ACCEPT);

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	set_user_data(sqe, NULL, OP_ACCEPT);
}

static void completed(const struct io_uring_cqe *cqe)
{
	enum tunnel_op op = (enum tunnel_op)(cqe->user_data & OP_MASK);
	struct side *s = (struct side *)(uintptr_t)(cqe->user_data & ~(uint64_t)OP_MASK);
	struct tunnel_pair *p = s ? pair_of(s) : NULL;
	bool more = cqe->flags & IORING_CQE_F_MORE;

	if (p && !more)
		p->in_flight--;
	switch (op) {
	case OP_ACCEPT:
		if (cqe->res >= 0)
			accepted(cqe->res);
		if (!more)
			accept_start();
		break;
	case OP_CONNECT:
		connected(s, cqe->res);
		break;
	case OP_RECV:
		received(s, cqe->res, cqe->flags);
		break;
	case OP_SEND:
		sent(s, cqe->res);
		break;
	case OP_SHUTDOWN:
	case OP_OTHER:
		break;
	}
	if (p)
		pair_free_if_done(p);
}

/* One send to each side for all bytes of this iteration. */
static void flush(void)
{
	struct side *list = pushed;

	pushed = NULL;
	while (list) {
		struct side *s = list;
		struct tunnel_pair *p = pair_of(s);

		list = s->next_pushed;
		s->pushed = false;
		p->in_flight--;
		side_progress(s);
		pair_free_if_done(p);
	}
}

static void arm_waiting(void)
{
	struct side *list = without_buffer;

	if (!published)
		return;
	published = false;
	without_buffer = NULL;
	while (list) {
		struct side *s = list;

		list = s->next_without_buffer;
		s->without_buffer = false;
		recv_arm(s);
	}
}

static void run_iteration(void)
{
	struct io_uring_cqe *cqe;
	struct side *taken;
	unsigned head, n = 0;

	enter(1);
	taken = silent;
	silent = NULL;
	io_uring_for_each_cqe(&ring, head, cqe)
	{
		completed(cqe);
		n++;
	}
	io_uring_cq_advance(&ring, n);
	finish_silent(taken);
	arm_waiting();
	flush();
}

/* ---- start ------------------------------------------------------------------ */

static void listen_at(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, BACKLOG) < 0)
		exit_with_error("listen", errno);
}

static void open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};
	struct io_uring_buf_reg group = { .ring_entries = BUFFERS, .bgid = GROUP };
	int r = io_uring_queue_init_params(RING_ENTRIES, &ring, &params);

	if (r < 0)
		exit_with_error("io_uring_setup", -r);
	io_uring_register_ring_fd(&ring);
	pool = mmap(NULL, BUFFERS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory = mmap(NULL, (size_t)BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool == MAP_FAILED || memory == MAP_FAILED)
		exit_with_error("mmap", errno);
	group.ring_addr = (uintptr_t)pool;
	r = io_uring_register_buf_ring(&ring, &group, 0);
	if (r < 0)
		exit_with_error("buffer ring", -r);
	io_uring_buf_ring_init(pool);
	for (uint16_t b = 0; b < BUFFERS; b++)
		buf_publish(b);
}

static void map_counts(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(*enters)) < 0)
		exit_with_error(path, errno);
	enters = mmap(NULL, sizeof(*enters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (enters == MAP_FAILED)
		exit_with_error(path, errno);
	close(fd);
}

static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	to.sin_family = AF_INET;
	if (argc != 5 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
		fputs("usage: tunnel LISTEN_PORT HOST PORT COUNTS\n", stderr);
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[3]));
	raise_limit();
	map_counts(argv[4]);
	open_ring();
	listen_at((uint16_t)atoi(argv[1]));
	accept_start();
	puts("ready");
	fflush(stdout);
	for (;;) {
		run_iteration();
	}
}
