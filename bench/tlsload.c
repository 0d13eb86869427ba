/* Load generator of TLS 1.3 clients, with OpenSSL.
 *
 *   tlsload keep PORT PATH CONNECTIONS SECONDS
 *   tlsload paced PORT PATH CONNECTIONS SECONDS RATE
 *   tlsload paced-plain PORT PATH CONNECTIONS SECONDS RATE
 *   tlsload full PORT PATH CONNECTIONS SECONDS
 *   tlsload resumed PORT PATH CONNECTIONS SECONDS
 *   tlsload idle PORT PATH CONNECTIONS
 *   tlsload hello PORT BYTES CONNECTIONS
 *
 * keep: each connection sends its next GET when the response is complete. paced: RATE requests a
 * second are due, whether or not responses arrive; one that is due is sent on a connection without
 * a request, or waits for one. paced-plain: the same without TLS, for what is compared with it.
 * full, resumed: a new connection for each request, without or with a ticket of the previous one.
 * idle: one request on each connection, opened at most 16 at once, which then stay open. hello:
 * connections that have sent the first BYTES bytes of a ClientHello.
 *
 * Every 0.25 ms a paced load reads all responses, seals the requests that are due, and sends them
 * one right behind the other. So the proxy gets them at the same moments with TLS and without, and
 * no response wakes the load.
 *
 * Prints `ready` when all is prepared that should not be measured (connections of keep and paced, a
 * first ticket for each of resumed, everything of idle and hello), and waits for a line on standard
 * input. Then keep, paced, full and resumed run and print, times in microseconds; those of a paced
 * request count from when it was due:
 *
 *   result requests=N bytes=N seconds=S errors=N p50=T p99=T p999=T max=T
 *
 * The program exits when standard input ends, so its connections stay open until the caller
 * has read the proxy's figures. It exits with status 1 if the proxy is silent. Only
 * TLS_AES_128_GCM_SHA256 and X25519 are offered, and certificates are not verified, so that all
 * proxies do the same work and the load does little. One thread, epoll. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "latencies.h"
#include "message.h"

#define EVENTS_MAX 256
#define OPENING_MAX 16
#define TIMEOUT_MS 20000
#define ERRORS_MAX 100
#define READ_BYTES 65536
#define HELLO_MAX 1024
#define POLL_NS 250000

enum load_mode {
	MODE_KEEP,
	MODE_PACED,
	MODE_PACED_PLAIN,
	MODE_FULL,
	MODE_RESUMED,
	MODE_IDLE,
	MODE_HELLO
};

struct tlsload_conn {
	int fd; /* -1: none */
	SSL *ssl;
	SSL_SESSION *session; /* resumed: of the previous connection */
	bool open, waiting;   /* handshake done; a response is due */
	bool next;            /* the next request is due */
	int64_t sent_ns; /* when the request was sent, or was due; of a new connection, the connect */
	struct message in;
};

static struct {
	enum load_mode mode;
	struct sockaddr_in to;
	char request[512];
	int request_bytes;
	unsigned connections;
	struct tlsload_conn *conns;
	unsigned opened, prepared; /* connects begun; connections that are ready */
	bool measuring;
	double rate;   /* paced */
	uint64_t due;  /* paced: requests that were due and sent */
	unsigned last; /* paced: the connection that sent last */
	int64_t began_ns, stop_ns, now_ns;
	uint64_t requests, bytes, errors;
	struct latencies latencies;
} load;

static SSL_CTX *ctx;
static int epoll;

static void load_die(const char *what, const char *why)
{
	fprintf(stderr, "tlsload: %s: %s\n", what, why);
	exit(1);
}

static int64_t load_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void failed(const char *what)
{
	if (++load.errors == 1) {
		unsigned long e = ERR_get_error();

		fprintf(stderr, "tlsload: %s: %s\n", what,
			e ? ERR_reason_error_string(e) : strerror(errno));
	}
	if (load.errors >= ERRORS_MAX)
		load_die(what, "too many errors");
}

static bool new_each_time(void)
{
	return load.mode == MODE_FULL || load.mode == MODE_RESUMED;
}

static bool is_paced(void)
{
	return load.mode == MODE_PACED || load.mode == MODE_PACED_PLAIN;
}

/* ---- connections ------------------------------------------------------------ */

/* Connecting to a listener of this machine does not block for longer than the handshake in the
 * kernel. */
static int connected_socket(void)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		load_die("socket", strerror(errno));
	if (connect(fd, (struct sockaddr *)&load.to, sizeof(load.to)) < 0)
		load_die("connect", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void conn_step(struct tlsload_conn *c);
static void conn_prepared(void);

static void conn_open(struct tlsload_conn *c)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
				     .data.ptr = c };

	load.now_ns = load_clock_ns();
	c->sent_ns = load.now_ns;
	c->open = c->waiting = false;
	c->in.part = IN_HEAD;
	c->in.head_n = 0;
	c->fd = connected_socket();
	load.opened++;
	epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
	if (load.mode == MODE_PACED_PLAIN) {
		c->open = true;
		conn_prepared();
		return;
	}
	c->ssl = SSL_new(ctx);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
		load_die("SSL_new", "failed");
	if (c->session) {
		SSL_set_session(c->ssl, c->session);
		SSL_SESSION_free(c->session);
		c->session = NULL;
	}
	SSL_set_connect_state(c->ssl);
	conn_step(c);
}

static void conn_close(struct tlsload_conn *c)
{
	if (load.mode == MODE_RESUMED)
		c->session = SSL_get1_session(c->ssl);
	if (c->ssl)
		SSL_shutdown(c->ssl);
	SSL_free(c->ssl);
	close(c->fd);
	c->ssl = NULL;
	c->fd = -1;
	ERR_clear_error();
}

static void conn_prepared(void)
{
	load.prepared++;
	if (load.mode == MODE_IDLE && load.opened < load.connections)
		conn_open(&load.conns[load.opened]);
}

static void conn_request(struct tlsload_conn *c)
{
	if (!new_each_time())
		c->sent_ns = load.now_ns;
	c->waiting = true;
	c->next = false;
	if (SSL_write(c->ssl, load.request, load.request_bytes) != load.request_bytes)
		failed("a request was not sent");
}

static void conn_responded(struct tlsload_conn *c)
{
	bool resumed = c->ssl && SSL_session_reused(c->ssl), due = c->waiting;

	load.now_ns = load_clock_ns();
	c->waiting = false;
	if (c->in.status != 200 || !due)
		failed("the response is not 200");
	if (!load.measuring) {
		conn_prepared();
		return;
	}
	if (new_each_time() && resumed != (load.mode == MODE_RESUMED))
		failed("the wrong kind of handshake");
	load.requests++;
	latencies_add(&load.latencies, load.now_ns - c->sent_ns);
	if (load.mode == MODE_KEEP && load.now_ns < load.stop_ns)
		c->next = true;
}

static void responses_read(struct tlsload_conn *c, const char *p, size_t n)
{
	size_t taken;

	load.bytes += n;
	for (; n > 0; p += taken, n -= taken)
		if (message_read(&c->in, p, n, &taken))
			conn_responded(c);
}

/* The peer has ended the connection, or it has failed. */
static void conn_ended(struct tlsload_conn *c, const char *why)
{
	bool again = new_each_time() && load.measuring && load.now_ns < load.stop_ns;

	if (c->waiting || !c->open || !new_each_time())
		failed(why);
	conn_close(c);
	if (again)
		conn_open(c);
}

static void conn_opened(struct tlsload_conn *c)
{
	c->open = true;
	if (load.mode == MODE_KEEP || load.mode == MODE_PACED)
		conn_prepared();
	else
		conn_request(c);
}

static void conn_step(struct tlsload_conn *c)
{
	static char buffer[READ_BYTES];
	int n = 1;

	if (!c->open) {
		n = SSL_do_handshake(c->ssl);
		if (n == 1)
			conn_opened(c);
	}
	while (n > 0) {
		n = c->ssl ? SSL_read(c->ssl, buffer, sizeof(buffer))
			   : (int)recv(c->fd, buffer, sizeof(buffer), 0);
		if (n > 0)
			responses_read(c, buffer, (size_t)n);
	}
	if (!c->ssl) {
		if (n == 0 || errno != EAGAIN)
			conn_ended(c, "a connection ended");
		return;
	}
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		break;
	case SSL_ERROR_ZERO_RETURN:
		conn_ended(c, "the proxy closed a connection");
		break;
	default:
		conn_ended(c, "a connection failed");
	}
}

static bool loop_once(int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(epoll, events, EVENTS_MAX, timeout_ms);

	load.now_ns = load_clock_ns();
	for (int i = 0; i < n; i++)
		conn_step(events[i].data.ptr);
	/* One behind the other, so that the proxy finds many at once, as those of ends.c. */
	for (int i = 0; i < n; i++) {
		struct tlsload_conn *c = events[i].data.ptr;

		if (c->next)
			conn_request(c);
	}
	return n > 0;
}

/* ---- the modes -------------------------------------------------------------- */

static void loop_until_prepared(void)
{
	while (load.prepared < load.connections)
		if (!loop_once(TIMEOUT_MS))
			load_die("waiting", "the proxy is silent");
}

static void prepare(void)
{
	unsigned at_first = load.mode == MODE_IDLE && load.connections > OPENING_MAX
				    ? OPENING_MAX
				    : load.connections;

	if (load.mode == MODE_FULL)
		return;
	while (load.opened < at_first) /* a response may already open the next */
		conn_open(&load.conns[load.opened]);
	loop_until_prepared();
	while (load.mode == MODE_RESUMED && loop_once(200))
		; /* until the proxy has closed them all */
}

/* The bytes of a ClientHello, which is made by a connection without a socket. */
static int write_hello(unsigned char hello[static HELLO_MAX])
{
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL *ssl = SSL_new(ctx);
	int n;

	SSL_set_bio(ssl, in, out);
	SSL_set_tlsext_host_name(ssl, "localhost");
	SSL_connect(ssl);
	n = BIO_read(out, hello, HELLO_MAX);
	SSL_free(ssl);
	ERR_clear_error();
	return n;
}

static void prepare_hellos(int bytes)
{
	unsigned char hello[HELLO_MAX];
	int n = write_hello(hello);

	if (bytes <= 0 || bytes > n)
		load_die("hello", "more bytes than a ClientHello has");
	for (unsigned i = 0; i < load.connections; i++) {
		load.conns[i].fd = connected_socket();
		if (write(load.conns[i].fd, hello, (size_t)bytes) != bytes)
			load_die("hello", strerror(errno));
	}
}

static bool any_waiting(void)
{
	for (unsigned i = 0; i < load.connections; i++)
		if (load.conns[i].fd >= 0 && (load.conns[i].waiting || new_each_time()))
			return true;
	return false;
}

static void closed_loop(void)
{
	for (unsigned i = 0; i < load.connections; i++)
		if (new_each_time())
			conn_open(&load.conns[i]);
		else
			conn_request(&load.conns[i]);
	while (load.now_ns < load.stop_ns || any_waiting())
		if (!loop_once(TIMEOUT_MS))
			load_die("waiting", "the proxy is silent");
}

/* ---- paced ------------------------------------------------------------------ */

/* From now on records are written to memory. */
static void conn_keep_output(struct tlsload_conn *c)
{
	BIO *out = BIO_new(BIO_s_mem());

	if (!out)
		load_die("BIO_new", "failed");
	SSL_set0_wbio(c->ssl, out);
}

static void conn_send(struct tlsload_conn *c)
{
	char *bytes = load.request;
	long n = load.request_bytes;

	if (c->ssl)
		n = BIO_get_mem_data(SSL_get_wbio(c->ssl), &bytes);
	if (send(c->fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
		failed("a request was not sent");
	if (c->ssl)
		(void)BIO_reset(SSL_get_wbio(c->ssl));
}

/* The next connection without a request; NULL: each has one. */
static struct tlsload_conn *conn_free(void)
{
	for (unsigned i = 0; i < load.connections; i++) {
		load.last = (load.last + 1) % load.connections;
		if (!load.conns[load.last].waiting)
			return &load.conns[load.last];
	}
	return NULL;
}

static int64_t due_ns(void)
{
	return load.began_ns + (int64_t)((double)load.due * 1e9 / load.rate);
}

static void send_all_due(void)
{
	struct tlsload_conn *ready[EVENTS_MAX], *c;
	unsigned n = 0;

	while (n < EVENTS_MAX && due_ns() <= load.now_ns && due_ns() < load.stop_ns &&
	       (c = conn_free())) {
		c->sent_ns = due_ns();
		c->waiting = true;
		load.due++;
		if (c->ssl && SSL_write(c->ssl, load.request, load.request_bytes) !=
				      load.request_bytes)
			failed("a request was not sealed");
		ready[n++] = c;
	}
	for (unsigned i = 0; i < n; i++)
		conn_send(ready[i]);
}

static void paced_loop(void)
{
	int64_t poll_ns = load.began_ns, heard_ns = load.began_ns;

	prctl(PR_SET_TIMERSLACK, 1000);
	for (unsigned i = 0; i < load.connections; i++)
		if (load.conns[i].ssl)
			conn_keep_output(&load.conns[i]);
	while (due_ns() < load.stop_ns || any_waiting()) {
		struct timespec ts;

		if (loop_once(0))
			heard_ns = load.now_ns;
		else if (load.now_ns - heard_ns > TIMEOUT_MS * 1000000LL)
			load_die("waiting", "the proxy is silent");
		load.now_ns = load_clock_ns();
		send_all_due();
		poll_ns += POLL_NS;
		if (poll_ns < load.now_ns)
			poll_ns = load.now_ns;
		ts = (struct timespec){ poll_ns / 1000000000, poll_ns % 1000000000 };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
}

static void load_run(double seconds)
{
	load.measuring = true;
	load.bytes = load.errors = 0;
	load.began_ns = load.now_ns = load_clock_ns();
	load.stop_ns = load.began_ns + (int64_t)(seconds * 1e9);
	if (is_paced())
		paced_loop();
	else
		closed_loop();
	printf("result requests=%lu bytes=%lu seconds=%.6f errors=%lu", load.requests,
	       load.bytes, (double)(load.now_ns - load.began_ns) / 1e9, load.errors);
	latencies_print(&load.latencies);
	puts("");
	fflush(stdout);
}

/* ---- start ------------------------------------------------------------------ */

static void make_ctx(void)
{
	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519") != 1)
		load_die("SSL_CTX", "failed");
	SSL_CTX_set_mode(ctx, load.mode == MODE_IDLE ? SSL_MODE_RELEASE_BUFFERS : 0);
	SSL_CTX_set_read_ahead(ctx, load.mode != MODE_IDLE);
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

static enum load_mode mode_of(const char *name)
{
	static const char *const names[] = { "keep",    "paced", "paced-plain", "full",
					     "resumed", "idle",  "hello" };

	for (unsigned m = 0; m < sizeof(names) / sizeof(*names); m++)
		if (strcmp(name, names[m]) == 0)
			return (enum load_mode)m;
	load_die(name, "not a mode");
	return MODE_KEEP;
}

static void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void wait_for_line(void)
{
	char line[16];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
}

int main(int argc, char **argv)
{
	if (argc < 5 || atoi(argv[2]) <= 0 || atoi(argv[4]) <= 0) {
		fputs("usage: tlsload MODE PORT PATH CONNECTIONS [SECONDS [RATE]]\n",
		      stderr);
		return 2;
	}
	load.mode = mode_of(argv[1]);
	load.rate = argc > 6 ? atof(argv[6]) : 0;
	if (is_paced() && load.rate <= 0)
		load_die(argv[1], "no rate");
	load.to = (struct sockaddr_in){ .sin_family = AF_INET,
					.sin_port = htons((uint16_t)atoi(argv[2])),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	load.connections = (unsigned)atoi(argv[4]);
	load.conns = calloc(load.connections, sizeof(*load.conns));
	load.request_bytes = snprintf(load.request, sizeof(load.request),
				      "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
				      argv[3],
				      new_each_time() ? "Connection: close\r\n" : "");
	if (!load.conns || load.request_bytes >= (int)sizeof(load.request))
		load_die("start", "no memory, or a long path");
	for (unsigned i = 0; i < load.connections; i++)
		load.conns[i].fd = -1;
	descriptors_raise();
	make_ctx();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (load.mode == MODE_HELLO)
		prepare_hellos(atoi(argv[3]));
	else
		prepare();
	puts("ready");
	fflush(stdout);
	wait_for_line();
	if (argc > 5)
		load_run(atof(argv[5]));
	wait_for_line();
	return 0;
}
