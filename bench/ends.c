/* Both ends of a proxy under test, in one process: clients in a closed loop, and an origin.
 *
 *   ends PORT
 *
 * The origin listens on 127.0.0.1:PORT and answers every request with 100 bytes, as soon as
 * it has all of it. Loads are asked for on standard input, a line each:
 *
 *   PORT PATH CONNECTIONS SECONDS [close | upload BYTES | pipeline N | bulk]
 *
 * close: a connection for each request; upload: a POST of so many bytes; pipeline: N requests
 * at once on each connection; bulk: the bodies of answers are thrown away by the kernel
 * (MSG_TRUNC), uncopied. Each is answered by one line, times in microseconds:
 *
 *   told requests=N bytes=N seconds=S errors=N p50=T p99=T p999=T
 *
 * Who measures a proxy must have more to give than it takes: with a load that is short of
 * CPU the proxies wait for it, and what is measured is how often they fall asleep. So all of
 * this is one ring, whose turns take all that has come and send all answers at once. */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "message.h"

#define RING_ENTRIES 4096
#define COMPLETIONS 65536
#define BACKLOG 16384
#define BUFFERS 64u /* a power of two */
#define BUFFER_BYTES 32768u
#define LATENCIES_MAX (1u << 24)
#define PATIENCE_S 10
#define UPLOAD_MAX (64u << 20)

enum op { OP_LINE, OP_ACCEPT, OP_CONNECT, OP_RECV, OP_SEND, OP_OTHER };
#define OP_MASK 7u

struct ends_end {
	int fd;
	bool origin, leaving;
	unsigned awaited; /* answers */
	int64_t asked_ns;
	struct message in;
};

static struct {
	struct sockaddr_in to;
	bool on, close, bulk;
	unsigned connections, live, at_once;
	struct ends_end *clients;
	int64_t began_ns, stop_ns;
	char *request;
	size_t request_bytes;
	uint64_t requests, bytes, errors;
} load;

static struct io_uring ring;
static struct io_uring_buf_ring *pool;
static char *memory;
static int listener;
static int64_t now_ns;
static float *latency_us;
static uint32_t latencies;
static char answer[512];
static size_t answer_bytes;

static void die(const char *what, int error)
{
	fprintf(stderr, "ends: %s: %s\n", what, strerror(error));
	exit(1);
}

static int64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* ---- operations ------------------------------------------------------------- */

static struct io_uring_sqe *next_sqe(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	while (!sqe) {
		io_uring_submit(&ring);
		sqe = io_uring_get_sqe(&ring);
	}
	return sqe;
}

static void mark(struct io_uring_sqe *sqe, struct ends_end *e, enum op op)
{
	io_uring_sqe_set_data64(sqe, (uintptr_t)e | op);
}

static void receive(struct ends_end *e)
{
	struct io_uring_sqe *sqe = next_sqe();

	if (e->origin || !load.bulk) {
		io_uring_prep_recv_multishot(sqe, e->fd, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
	} else if (e->in.part == IN_HEAD) {
		io_uring_prep_recv(sqe, e->fd, e->in.head + e->in.head_n,
				   MESSAGE_HEAD_MAX - e->in.head_n, 0);
	} else {
		size_t most = (size_t)BUFFERS *
			      BUFFER_BYTES; /* nothing is written there */

		io_uring_prep_recv(sqe, e->fd, memory,
				   e->in.left < most ? e->in.left : most,
				   MSG_TRUNC);
	}
	mark(sqe, e, OP_RECV);
}

/* The bytes stay where they are for ever, so only a failure needs to be told. */
static void send_all(struct ends_end *e, const char *p, size_t n)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_send(sqe, e->fd, p, n, MSG_NOSIGNAL | MSG_WAITALL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	mark(sqe, e->origin ? NULL : e, OP_SEND);
}

static void close_fd(int fd)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	mark(sqe, NULL, OP_OTHER);
}

static void give_back(uint16_t buffer)
{
	io_uring_buf_ring_add(pool, memory + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES,
			      buffer, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(pool, 1);
}

static void accept_many(void)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	mark(sqe, NULL, OP_ACCEPT);
}

static void await_line(void)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_poll_add(sqe, STDIN_FILENO, POLLIN);
	mark(sqe, NULL, OP_LINE);
}

static int new_socket(void)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket", errno);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* ---- the origin ------------------------------------------------------------- */

static void accepted(int fd)
{
	struct ends_end *e = calloc(1, sizeof(*e));

	if (!e)
		die("memory", ENOMEM);
	e->fd = fd;
	e->origin = true;
	receive(e);
}

/* Behind its answer, which was taken when it was submitted, or else waits for room. */
static void finish(struct ends_end *e)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_shutdown(sqe, e->fd, SHUT_WR);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	mark(sqe, NULL, OP_OTHER);
}

static void asked(struct ends_end *e, const char *p, size_t n)
{
	size_t taken;

	for (; n > 0; p += taken, n -= taken) {
		if (!message_read(&e->in, p, n, &taken))
			continue;
		send_all(e, answer, answer_bytes);
		if (e->in.close)
			finish(e);
	}
}

/* ---- the clients ------------------------------------------------------------ */

static void ask(struct ends_end *e)
{
	if (!load.close) /* else it counts from the connect */
		e->asked_ns = now_ns;
	e->awaited = load.at_once;
	send_all(e, load.request, load.request_bytes);
}

static void open_one(struct ends_end *e)
{
	struct io_uring_sqe *sqe = next_sqe();

	*e = (struct ends_end){ .fd = new_socket(), .asked_ns = now_ns };
	io_uring_prep_connect(sqe, e->fd, (struct sockaddr *)&load.to, sizeof(load.to));
	mark(sqe, e, OP_CONNECT);
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double share(double of_all)
{
	uint32_t at = (uint32_t)((double)latencies * of_all);

	return latencies ? latency_us[at < latencies ? at : latencies - 1] : 0;
}

static void tell(void)
{
	qsort(latency_us, latencies, sizeof(*latency_us), by_size);
	printf("told requests=%lu bytes=%lu seconds=%.6f errors=%lu p50=%.1f p99=%.1f "
	       "p999=%.1f\n",
	       load.requests, load.bytes, (double)(now_ns - load.began_ns) / 1e9,
	       load.errors, share(0.5), share(0.99), share(0.999));
	fflush(stdout);
	load.on = false;
	free(load.clients);
	await_line();
}

/* Its receive will end, and with it the client. */
static void leave(struct ends_end *e)
{
	e->leaving = true;
	shutdown(e->fd, SHUT_RDWR);
}

static void gone(struct ends_end *e)
{
	close_fd(e->fd);
	if (e->awaited > 0 && !e->leaving)
		load.errors++;
	if (load.close && now_ns < load.stop_ns && !load.errors) {
		open_one(e);
		return;
	}
	e->fd = -1;
	if (--load.live == 0)
		tell();
}

static void answered(struct ends_end *e)
{
	load.requests++;
	if (e->in.status != 200)
		load.errors++;
	if (latencies < LATENCIES_MAX)
		latency_us[latencies++] = (float)(now_ns - e->asked_ns) / 1000;
	if (e->awaited == 0) {
		load.errors++; /* nobody asked for it */
		return;
	}
	if (--e->awaited > 0 || load.close)
		return;
	if (now_ns < load.stop_ns)
		ask(e);
	else
		leave(e);
}

static void heard(struct ends_end *e, const char *p, size_t n)
{
	size_t taken;

	load.bytes += n;
	for (; n > 0; p += taken, n -= taken)
		if (message_read(&e->in, p, n, &taken))
			answered(e);
}

/* A client that throws bodies away: what came is a part of a head in its place, or counts. */
static void heard_bulk(struct ends_end *e, size_t n)
{
	if (e->in.part == IN_HEAD) {
		char *p = e->in.head + e->in.head_n;
		char copy[MESSAGE_HEAD_MAX];

		memcpy(copy, p, n);
		heard(e, copy, n);
		return;
	}
	load.bytes += n;
	e->in.left -= n;
	if (e->in.left == 0) {
		e->in.part = IN_HEAD;
		answered(e);
	}
}

static void connected(struct ends_end *e, int result)
{
	if (result < 0) {
		load.errors++;
		gone(e);
		return;
	}
	receive(e);
	ask(e);
}

/* ---- what has happened ------------------------------------------------------ */

static void received(struct ends_end *e, int result, uint32_t flags)
{
	bool provided = flags & IORING_CQE_F_BUFFER;
	uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
	const char *p = memory + (size_t)buffer * BUFFER_BYTES;

	if (result > 0 && e->origin)
		asked(e, p, (size_t)result);
	else if (result > 0 && provided)
		heard(e, p, (size_t)result);
	else if (result > 0)
		heard_bulk(e, (size_t)result);
	if (provided)
		give_back(buffer);
	if (flags & IORING_CQE_F_MORE)
		return;
	if (result > 0 || result == -ENOBUFS)
		receive(e);
	else if (!e->origin)
		gone(e);
	else {
		close_fd(e->fd);
		free(e);
	}
}

static void start_load(void);

static void completed(const struct io_uring_cqe *cqe)
{
	enum op op = (enum op)(cqe->user_data & OP_MASK);
	struct ends_end *e = (struct ends_end *)(uintptr_t)(cqe->user_data & ~(uint64_t)OP_MASK);

	switch (op) {
	case OP_LINE:
		start_load();
		break;
	case OP_ACCEPT:
		if (cqe->res >= 0)
			accepted(cqe->res);
		if (!(cqe->flags & IORING_CQE_F_MORE))
			accept_many();
		break;
	case OP_CONNECT:
		connected(e, cqe->res);
		break;
	case OP_RECV:
		received(e, cqe->res, cqe->flags);
		break;
	case OP_SEND: /* of a client; the receive tells as well, and ends it */
		if (e)
			load.errors++;
		break;
	case OP_OTHER:
		break;
	}
}

/* Large answers are not waited for: they are counted by their bytes. */
static void stop_bulk(void)
{
	load.bulk = false;
	for (unsigned i = 0; i < load.connections; i++)
		if (load.clients[i].fd >= 0 && !load.clients[i].leaving)
			leave(&load.clients[i]);
}

static void turn(void)
{
	struct __kernel_timespec patience = { .tv_sec = PATIENCE_S };
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int r = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &patience, NULL);

	if (r == -ETIME && load.on)
		die("nothing from the proxy", ETIMEDOUT);
	if (r < 0 && r != -EINTR && r != -ETIME)
		die("io_uring_enter", -r);
	now_ns = clock_ns();
	io_uring_for_each_cqe(&ring, head, cqe)
	{
		completed(cqe);
		n++;
	}
	io_uring_cq_advance(&ring, n);
	if (load.on && load.bulk && now_ns >= load.stop_ns)
		stop_bulk();
}

/* ---- a load ----------------------------------------------------------------- */

/* `n` requests, one behind the other, each with a body of `body` bytes. */
static void write_request(const char *path, unsigned n, size_t body)
{
	char head[512];
	int bytes = snprintf(head, sizeof(head),
			     "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s",
			     body ? "POST" : "GET", path, ntohs(load.to.sin_port),
			     load.close ? "Connection: close\r\n" : "");
	size_t each;

	if (body)
		bytes += snprintf(head + bytes, sizeof(head) - (size_t)bytes,
				  "Content-Length: %zu\r\n", body);
	bytes += snprintf(head + bytes, sizeof(head) - (size_t)bytes, "\r\n");
	if ((size_t)bytes >= sizeof(head))
		die("the path", ENAMETOOLONG);
	each = (size_t)bytes + body;
	free(load.request);
	load.request_bytes = n * each;
	load.request = malloc(load.request_bytes);
	if (!load.request)
		die("memory", ENOMEM);
	memset(load.request, 'u', load.request_bytes);
	for (unsigned i = 0; i < n; i++)
		memcpy(load.request + i * each, head, (size_t)bytes);
}

static void open_all(void)
{
	now_ns = load.began_ns;
	load.live = load.connections;
	load.clients = calloc(load.connections, sizeof(*load.clients));
	if (!load.clients)
		die("memory", ENOMEM);
	for (unsigned i = 0; i < load.connections; i++)
		open_one(&load.clients[i]);
}

static void start_load(void)
{
	char line[512], path[256], how[16] = "";
	unsigned port, connections, n = 1;
	double seconds;
	int words;

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	words = sscanf(line, "%u %255s %u %lf %15s %u", &port, path, &connections,
		       &seconds, how, &n);
	if (words < 4 || port > UINT16_MAX || connections == 0 || n == 0 ||
	    n > UPLOAD_MAX)
		die("what is asked", EINVAL);
	load.to = (struct sockaddr_in){ .sin_family = AF_INET,
					.sin_port = htons((uint16_t)port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	load.close = strcmp(how, "close") == 0;
	load.bulk = strcmp(how, "bulk") == 0;
	load.at_once = strcmp(how, "pipeline") == 0 ? n : 1;
	load.connections = connections;
	load.requests = load.bytes = load.errors = latencies = 0;
	write_request(path, load.at_once, strcmp(how, "upload") == 0 ? n : 0);
	load.on = true;
	load.began_ns = clock_ns();
	load.stop_ns = load.began_ns + (int64_t)(seconds * 1e9);
	open_all();
}

/* ---- start ------------------------------------------------------------------ */

static void listen_at(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	listener = new_socket();
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, BACKLOG) < 0)
		die("listen", errno);
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		die("mmap", errno);
	return p;
}

static void open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};
	struct io_uring_buf_reg group = { .ring_entries = BUFFERS };
	int r = io_uring_queue_init_params(RING_ENTRIES, &ring, &params);

	if (r < 0)
		die("io_uring_setup", -r);
	io_uring_register_ring_fd(&ring);
	pool = map(BUFFERS * sizeof(struct io_uring_buf));
	memory = map((size_t)BUFFERS * BUFFER_BYTES);
	group.ring_addr = (uintptr_t)pool;
	r = io_uring_register_buf_ring(&ring, &group, 0);
	if (r < 0)
		die("buffer ring", -r);
	io_uring_buf_ring_init(pool);
	for (uint16_t b = 0; b < BUFFERS; b++)
		give_back(b);
}

static void write_answer(void)
{
	int n = snprintf(answer, sizeof(answer),
			 "HTTP/1.1 200 OK\r\nServer: ends\r\n"
			 "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
			 "Content-Type: application/octet-stream\r\n"
			 "Content-Length: 100\r\nConnection: keep-alive\r\n\r\n");

	memset(answer + n, 'x', 100);
	answer_bytes = (size_t)n + 100;
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
	if (argc != 2 || atoi(argv[1]) <= 0) {
		fputs("usage: ends PORT\n", stderr);
		return 2;
	}
	setvbuf(stdin, NULL, _IONBF, 0);
	raise_limit();
	write_answer();
	latency_us = map(LATENCIES_MAX * sizeof(*latency_us));
	open_ring();
	listen_at((uint16_t)atoi(argv[1]));
	accept_many();
	await_line();
	puts("ready");
	fflush(stdout);
	for (;;)
		turn();
}
