/* Latency of the requests on one TLS connection while many other clients begin a handshake at
 * the same moment.
 *
 *   bursts ORIGIN_PORT
 *
 * Listens on 127.0.0.1:ORIGIN_PORT as the origin of the proxy under test, prints `ready`, and reads
 * one line: PORT CLIENTS SECONDS. One client then sends its next request when it has the response.
 * Ten times a second CLIENTS further clients, whose TCP connections are open already, send a
 * ClientHello, one behind the other; each is closed when the proxy's flight arrives. Prints, times
 * in microseconds:
 *
 *   result requests=N handshakes=N seconds=S errors=N p50=T p99=T p999=T max=T
 *
 * The ClientHello is made once and sent by all: the load then costs a few microseconds for each
 * handshake, the proxy its key exchange and signature. With complete handshakes the load would
 * compute as long as the proxy, and measure itself. The program never sleeps, and looks at the
 * measured connection between any two other steps. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "latencies.h"
#include "message.h"

#define ORIGINS_MAX 64 /* connections of the proxy to the origin */
#define CLIENTS_MAX 1024
#define PERIOD_NS 100000000LL
#define TIMEOUT_NS 10000000000LL
#define HELLO_MAX 1024

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

static struct {
	int fd;
	struct message in;
} origins[ORIGINS_MAX];

enum hello_state { HELLO_NONE, HELLO_CONNECTED, HELLO_SENT };
static struct {
	int fd;
	enum hello_state state;
} clients[CLIENTS_MAX];

static struct sockaddr_in to;
static SSL_CTX *ctx;
static SSL *kept;
static struct message kept_in;
static unsigned char hello[HELLO_MAX];
static size_t hello_bytes;
static int listener;
static unsigned clients_n, at;
static int64_t sent_ns, burst_ns;
static bool bursting;
static uint64_t errors, handshakes;
static struct latencies latencies;

static void bursts_die(const char *what)
{
	fprintf(stderr, "bursts: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t bursts_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int nonblocking(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static int connected_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		bursts_die("connect");
	return fd;
}

/* ---- the origin ------------------------------------------------------------- */

static void origin_listen(uint16_t port)
{
	struct sockaddr_in here = { .sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	listener = nonblocking(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) < 0 ||
	    listen(listener, ORIGINS_MAX) < 0)
		bursts_die("listen");
	for (unsigned i = 0; i < ORIGINS_MAX; i++)
		origins[i].fd = -1;
}

static void origin_read(unsigned i)
{
	char buffer[4096];
	ssize_t n = recv(origins[i].fd, buffer, sizeof(buffer), 0);
	size_t taken;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(origins[i].fd);
		origins[i].fd = -1;
		return;
	}
	for (const char *p = buffer; n > 0; p += taken, n -= (ssize_t)taken)
		if (message_read(&origins[i].in, p, (size_t)n, &taken) &&
		    send(origins[i].fd, response, sizeof(response) - 1, MSG_NOSIGNAL) < 0)
			errors++;
}

static void origin_step(void)
{
	static unsigned turns;

	if (turns++ % 16 == 0) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		unsigned i = 0;

		while (i < ORIGINS_MAX && origins[i].fd >= 0)
			i++;
		if (fd >= 0 && i < ORIGINS_MAX) {
			origins[i].fd = nonblocking(fd);
			memset(&origins[i].in, 0, sizeof(origins[i].in));
		}
	}
	for (unsigned i = 0; i < ORIGINS_MAX; i++)
		if (origins[i].fd >= 0)
			origin_read(i);
}

/* ---- the measured connection ------------------------------------------------ */

static void kept_send(int64_t now_ns)
{
	sent_ns = now_ns;
	if (SSL_write(kept, request, sizeof(request) - 1) != sizeof(request) - 1)
		errors++;
}

static void kept_step(int64_t stop_ns)
{
	char buffer[4096];
	int n = SSL_read(kept, buffer, sizeof(buffer));
	int64_t now_ns = bursts_clock_ns();
	size_t taken;

	if (n <= 0) {
		if (SSL_get_error(kept, n) != SSL_ERROR_WANT_READ ||
		    now_ns > sent_ns + TIMEOUT_NS)
			bursts_die("the measured connection");
		ERR_clear_error();
		return;
	}
	if (!message_read(&kept_in, buffer, (size_t)n, &taken))
		return;
	if (kept_in.status != 200)
		errors++;
	latencies_add(&latencies, now_ns - sent_ns);
	if (now_ns < stop_ns)
		kept_send(now_ns);
	else
		sent_ns = 0;
}

/* The handshake is made while the origin need not respond, so it may block. */
static void kept_open(void)
{
	int fd = connected_socket();

	kept = SSL_new(ctx);
	if (!kept || SSL_set_fd(kept, fd) != 1 || SSL_connect(kept) != 1)
		bursts_die("the handshake of the measured connection");
	nonblocking(fd);
}

/* ---- the bursts ------------------------------------------------------------- */

static void write_hello(void)
{
	BIO *out = BIO_new(BIO_s_mem());
	SSL *ssl = SSL_new(ctx);

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	SSL_connect(ssl);
	hello_bytes = (size_t)BIO_read(out, hello, HELLO_MAX);
	SSL_free(ssl);
	ERR_clear_error();
}

/* Closes with a reset, so that no port stays in TIME_WAIT. */
static void hello_close(unsigned i)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(clients[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(clients[i].fd);
	clients[i].state = HELLO_NONE;
}

/* One step of one client: its ClientHello during a burst; otherwise its end or its connect. */
static void hello_step(int64_t now_ns)
{
	unsigned i = at++ % clients_n;
	char byte;

	if (now_ns >= burst_ns && !bursting) {
		bursting = true;
		burst_ns += PERIOD_NS;
		at = 0;
		return;
	}
	if (bursting) {
		if (clients[i].state == HELLO_CONNECTED) {
			if (send(clients[i].fd, hello, hello_bytes, MSG_NOSIGNAL) < 0)
				errors++;
			clients[i].state = HELLO_SENT;
		}
		bursting = at < clients_n;
	} else if (clients[i].state == HELLO_NONE) {
		clients[i].fd = nonblocking(connected_socket());
		clients[i].state = HELLO_CONNECTED;
	} else if (clients[i].state == HELLO_SENT) {
		ssize_t n = recv(clients[i].fd, &byte, 1, 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n == 1 && byte == 0x16) /* a handshake record: ServerHello */
			handshakes++;
		else
			errors++;
		hello_close(i);
	}
}

static void measure(double seconds)
{
	int64_t began_ns, stop_ns;

	kept_open();
	began_ns = bursts_clock_ns();
	burst_ns = began_ns + PERIOD_NS;
	stop_ns = began_ns + (int64_t)(seconds * 1e9);
	kept_send(began_ns);
	while (sent_ns) {
		kept_step(stop_ns);
		origin_step();
		hello_step(bursts_clock_ns());
	}
	printf("result requests=%u handshakes=%lu seconds=%.6f errors=%lu", latencies.n,
	       handshakes, (double)(bursts_clock_ns() - began_ns) / 1e9, errors);
	latencies_print(&latencies);
	puts("");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[128];
	unsigned port;
	double seconds;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fputs("usage: bursts ORIGIN_PORT\n", stderr);
		return 2;
	}
	origin_listen((uint16_t)atoi(argv[1]));
	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519") != 1)
		bursts_die("SSL_CTX");
	write_hello();
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin) ||
	    sscanf(line, "%u %u %lf", &port, &clients_n, &seconds) != 3 ||
	    port > UINT16_MAX || clients_n == 0 || clients_n > CLIENTS_MAX)
		bursts_die("the line of the load");
	to = (struct sockaddr_in){ .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	measure(seconds);
	return 0;
}
