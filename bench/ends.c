/* Load generator and origin of a proxy under test, in one process: clients in a closed loop,
 * and an origin.
 *
 *   ends PORT
 *
 * The origin listens on 127.0.0.1:PORT and sends a response of 100 bytes when it has the
 * whole request. Each line on standard input starts a load:
 *
 *   PORT PATH CONNECTIONS SECONDS [close | upload BYTES | pipeline N | bulk]
 *
 * close: a new connection for each request; upload: a POST with BYTES bytes; pipeline: N
 * requests at once on each connection; bulk: the kernel discards the bodies of responses
 * without a copy (MSG_TRUNC). Each load ends with one line, times in microseconds:
 *
 *   result requests=N bytes=N seconds=S errors=N p50=T p99=T p999=T
 *
 * The load must be able to send more than the proxy forwards. If the load is short of CPU,
 * the proxies wait for it, and the figures show how often they sleep. So load and origin
 * share one ring: each iteration handles everything that has arrived and sends all requests
 * and responses with one system call. */
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
#define TIMEOUT_S 10
#define UPLOAD_MAX (64u << 20)

enum op { OP_STDIN, OP_ACCEPT, OP_CONNECT, OP_RECV, OP_SEND, OP_OTHER };
#define OP_MASK 7u

struct ends_conn {
	int fd;
	bool origin;  /* accepted by the origin; otherwise a client of the load */
	bool closing; /* shut down by us at the end of the load */
	unsigned responses_due;
	int64_t sent_ns; /* when the request was sent, or with `close` the connect */
	struct message in;
};

static struct {
	struct sockaddr_in to;
	bool on, close, bulk;
	unsigned connections, live, pipelined;
	struct ends_conn *clients;
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
static char response[512];
static size_t response_bytes;

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

static void set_user_data(struct io_uring_sqe *sqe, struct ends_conn *e, enum op op)
{
	io_uring_sqe_set_data64(sqe, (uintptr_t)e | op);
}

static void recv_arm(struct ends_conn *e)
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
			      BUFFER_BYTES; /* MSG_TRUNC: not written to */

		io_uring_prep_recv(sqe, e->fd, memory,
				   e->in.left < most ? e->in.left : most,
				   MSG_TRUNC);
	}
	set_user_data(sqe, e, OP_RECV);
}

/* The bytes stay valid for the whole load, so only a failure needs a completion. */
static void send_all(struct ends_conn *e, const char *p, size_t n)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_send(sqe, e->fd, p, n, MSG_NOSIGNAL | MSG_WAITALL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	set_user_data(sqe, e->origin ? NULL : e, OP_SEND);
}

static void close_fd(int fd)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	set_user_data(sqe, NULL, OP_OTHER);
}

static void buffer_publish(uint16_t buffer)
{
	io_uring_buf_ring_add(pool, memory + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES,
			      buffer, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(pool, 1);
}

static void accept_arm(void)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	set_user_data(sqe, NULL, OP_ACCEPT);
}

static void stdin_arm(void)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_poll_add(sqe, STDIN_FILENO, POLLIN);
	set_user_data(sqe, NULL, OP_STDIN);
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
	struct ends_conn *e = calloc(1, sizeof(*e));

	if (!e)
		die("memory", ENOMEM);
	e->fd = fd;
	e->origin = true;
	recv_arm(e);
}

/* Sends FIN behind the response: the send was submitted before. */
static void origin_shutdown(struct ends_conn *e)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_shutdown(sqe, e->fd, SHUT_WR);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	set_user_data(sqe, NULL, OP_OTHER);
}

static void requests_received(struct ends_conn *e, const char *p, size_t n)
{
	size_t taken;

	for (; n > 0; p += taken, n -= taken) {
		if (!message_read(&e->in, p, n, &taken))
			continue;
		send_all(e, response, response_bytes);
		if (e->in.close)
			origin_shutdown(e);
	}
}

/* ---- the clients ------------------------------------------------------------ */

static void request_send(struct ends_conn *e)
{
	if (!load.close) /* with `close` the latency includes the connect */
		e->sent_ns = now_ns;
	e->responses_due = load.pipelined;
	send_all(e, load.request, load.request_bytes);
}

static void client_connect(struct ends_conn *e)
{
	struct io_uring_sqe *sqe = next_sqe();

	*e = (struct ends_conn){ .fd = new_socket(), .sent_ns = now_ns };
	io_uring_prep_connect(sqe, e->fd, (struct sockaddr *)&load.to, sizeof(load.to));
	set_user_data(sqe, e, OP_CONNECT);
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double percentile(double share)
{
	uint32_t at = (uint32_t)((double)latencies * share);

	return latencies ? latency_us[at < latencies ? at : latencies - 1] : 0;
}

static void load_report(void)
{
	qsort(latency_us, latencies, sizeof(*latency_us), by_size);
	printf("result requests=%lu bytes=%lu seconds=%.6f errors=%lu p50=%.1f p99=%.1f "
	       "p999=%.1f\n",
	       load.requests, load.bytes, (double)(now_ns - load.began_ns) / 1e9,
	       load.errors, percentile(0.5), percentile(0.99), percentile(0.999));
	fflush(stdout);
	load.on = false;
	free(load.clients);
	stdin_arm();
}

/* The receive ends after the shutdown and then closes the client. */
static void client_shutdown(struct ends_conn *e)
{
	e->closing = true;
	shutdown(e->fd, SHUT_RDWR);
}

static void load_client_closed(struct ends_conn *e)
{
	close_fd(e->fd);
	if (e->responses_due > 0 && !e->closing)
		load.errors++;
	if (load.close && now_ns < load.stop_ns && !load.errors) {
		client_connect(e);
		return;
	}
	e->fd = -1;
	if (--load.live == 0)
		load_report();
}

static void response_complete(struct ends_conn *e)
{
	load.requests++;
	if (e->in.status != 200)
		load.errors++;
	if (latencies < LATENCIES_MAX)
		latency_us[latencies++] = (float)(now_ns - e->sent_ns) / 1000;
	if (e->responses_due == 0) {
		load.errors++; /* a response without a request */
		return;
	}
	if (--e->responses_due > 0 || load.close)
		return;
	if (now_ns < load.stop_ns)
		request_send(e);
	else
		client_shutdown(e);
}

static void responses_received(struct ends_conn *e, const char *p, size_t n)
{
	size_t taken;

	load.bytes += n;
	for (; n > 0; p += taken, n -= taken)
		if (message_read(&e->in, p, n, &taken))
			response_complete(e);
}

/* A client with MSG_TRUNC: heads were received in place behind the part that is there; of a
 * body only the number of bytes is known. */
static void bulk_received(struct ends_conn *e, size_t n)
{
	if (e->in.part == IN_HEAD) {
		char *p = e->in.head + e->in.head_n;
		char copy[MESSAGE_HEAD_MAX];

		memcpy(copy, p, n);
		responses_received(e, copy, n);
		return;
	}
	load.bytes += n;
	e->in.left -= n;
	if (e->in.left == 0) {
		e->in.part = IN_HEAD;
		response_complete(e);
	}
}

static void connected(struct ends_conn *e, int result)
{
	if (result < 0) {
		load.errors++;
		load_client_closed(e);
		return;
	}
	recv_arm(e);
	request_send(e);
}

/* ---- completions ------------------------------------------------------------ */

static void received(struct ends_conn *e, int result, uint32_t flags)
{
	bool provided = flags & IORING_CQE_F_BUFFER;
	uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
	const char *p = memory + (size_t)buffer * BUFFER_BYTES;

	if (result > 0 && e->origin)
		requests_received(e, p, (size_t)result);
	else if (result > 0 && provided)
		responses_received(e, p, (size_t)result);
	else if (result > 0)
		bulk_received(e, (size_t)result);
	if (provided)
		buffer_publish(buffer);
	if (flags & IORING_CQE_F_MORE)
		return;
	if (result > 0 || result == -ENOBUFS)
		recv_arm(e);
	else if (!e->origin)
		load_client_closed(e);
	else {
		close_fd(e->fd);
		free(e);
	}
}

static void load_start(void);

static void completed(const struct io_uring_cqe *cqe)
{
	enum op op = (enum op)(cqe->user_data & OP_MASK);
	struct ends_conn *e = (struct ends_conn *)(uintptr_t)(cqe->user_data &
							      ~(uint64_t)OP_MASK);

	switch (op) {
	case OP_STDIN:
		load_start();
		break;
	case OP_ACCEPT:
		if (cqe->res >= 0)
			accepted(cqe->res);
		if (!(cqe->flags & IORING_CQE_F_MORE))
			accept_arm();
		break;
	case OP_CONNECT:
		connected(e, cqe->res);
		break;
	case OP_RECV:
		received(e, cqe->res, cqe->flags);
		break;
	case OP_SEND: /* a client's send failed; its receive fails too and closes it */
		if (e)
			load.errors++;
		break;
	case OP_OTHER:
		break;
	}
}

/* A bulk load ends without waiting for responses: it is counted by bytes. */
static void stop_bulk(void)
{
	load.bulk = false;
	for (unsigned i = 0; i < load.connections; i++)
		if (load.clients[i].fd >= 0 && !load.clients[i].closing)
			client_shutdown(&load.clients[i]);
}

static void loop_once(void)
{
	struct __kernel_timespec timeout = { .tv_sec = TIMEOUT_S };
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int r = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &timeout, NULL);

	if (r == -ETIME && load.on)
		die("no response from the proxy", ETIMEDOUT);
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

/* Prepares n pipelined requests, each with a body of `body` bytes. */
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

static void clients_connect(void)
{
	now_ns = load.began_ns;
	load.live = load.connections;
	load.clients = calloc(load.connections, sizeof(*load.clients));
	if (!load.clients)
		die("memory", ENOMEM);
	for (unsigned i = 0; i < load.connections; i++)
		client_connect(&load.clients[i]);
}

static void load_start(void)
{
	char line[512], path[256], mode[16] = "";
	unsigned port, connections, n = 1;
	double seconds;
	int fields;

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	fields = sscanf(line, "%u %255s %u %lf %15s %u", &port, path, &connections,
			&seconds, mode, &n);
	if (fields < 4 || port > UINT16_MAX || connections == 0 || n == 0 ||
	    n > UPLOAD_MAX)
		die("the line of the load", EINVAL);
	load.to = (struct sockaddr_in){ .sin_family = AF_INET,
					.sin_port = htons((uint16_t)port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	load.close = strcmp(mode, "close") == 0;
	load.bulk = strcmp(mode, "bulk") == 0;
	load.pipelined = strcmp(mode, "pipeline") == 0 ? n : 1;
	load.connections = connections;
	load.requests = load.bytes = load.errors = latencies = 0;
	write_request(path, load.pipelined, strcmp(mode, "upload") == 0 ? n : 0);
	load.on = true;
	load.began_ns = clock_ns();
	load.stop_ns = load.began_ns + (int64_t)(seconds * 1e9);
	clients_connect();
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
		buffer_publish(b);
}

static void write_response(void)
{
	int n = snprintf(response, sizeof(response),
			 "HTTP/1.1 200 OK\r\nServer: ends\r\n"
			 "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
			 "Content-Type: application/octet-stream\r\n"
			 "Content-Length: 100\r\nConnection: keep-alive\r\n\r\n");

	memset(response + n, 'x', 100);
	response_bytes = (size_t)n + 100;
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
	write_response();
	latency_us = map(LATENCIES_MAX * sizeof(*latency_us));
	open_ring();
	listen_at((uint16_t)atoi(argv[1]));
	accept_arm();
	stdin_arm();
	puts("ready");
	fflush(stdout);
	for (;;)
		loop_once();
}
