/* An origin of 100 bytes over TLS 1.3, with OpenSSL: `tlsorigin PORT CHAIN KEY`.
 *
 * nginx as origin takes longer for a request over TLS than a proxy, which then sleeps and wakes, and
 * so costs more than at its limit. This one only reads until requests end and sends the same
 * response to each, all responses of a round one behind the other. It listens on 127.0.0.1, prints
 * `ready`, and runs until it is killed. One thread, epoll. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "message.h"

#define EVENTS_MAX 256
#define READ_BYTES 16384
#define BACKLOG 4096

struct origin_conn {
	int fd;
	SSL *ssl;
	unsigned due; /* responses */
	bool ended;
	struct message in;
};

/* The head is that of ends.c. */
static const char response[] = "HTTP/1.1 200 OK\r\nServer: ends\r\n"
			       "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
			       "Content-Type: application/octet-stream\r\n"
			       "Content-Length: 100\r\nConnection: keep-alive\r\n\r\n"
			       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

static SSL_CTX *origin_ctx;
static int origin_epoll, listener;

static void origin_die(const char *what)
{
	fprintf(stderr, "tlsorigin: %s: %s\n", what, strerror(errno));
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void origin_watch(int fd, void *owner)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = owner };

	if (epoll_ctl(origin_epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		origin_die("epoll_ctl");
}

static void origin_accept(void)
{
	struct origin_conn *c;
	int on = 1, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		c = calloc(1, sizeof(*c));
		if (!c || !(c->ssl = SSL_new(origin_ctx)) || SSL_set_fd(c->ssl, fd) != 1)
			origin_die("a connection");
		c->fd = fd;
		SSL_set_accept_state(c->ssl);
		origin_watch(fd, c);
	}
}

static void origin_read(struct origin_conn *c)
{
	static char buffer[READ_BYTES];
	size_t taken;
	int n;

	while ((n = SSL_read(c->ssl, buffer, sizeof(buffer))) > 0)
		for (const char *p = buffer; n > 0; p += taken, n -= (int)taken)
			c->due += message_read(&c->in, p, (size_t)n, &taken);
	c->ended = SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ;
	ERR_clear_error();
}

static void origin_respond(struct origin_conn *c)
{
	for (; c->due > 0 && !c->ended; c->due--)
		c->ended = SSL_write(c->ssl, response, sizeof(response) - 1) <= 0;
	ERR_clear_error();
	if (!c->ended)
		return;
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
}

static void origin_run(void)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(origin_epoll, events, EVENTS_MAX, -1);

	for (int i = 0; i < n; i++)
		if (events[i].data.ptr)
			origin_read(events[i].data.ptr);
		else
			origin_accept();
	for (int i = 0; i < n; i++)
		if (events[i].data.ptr)
			origin_respond(events[i].data.ptr);
}

static void origin_listen(const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)atoi(port)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, BACKLOG) < 0)
		origin_die("listen");
	origin_watch(listener, NULL);
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc != 4) {
		fputs("usage: tlsorigin PORT CHAIN KEY\n", stderr);
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	origin_ctx = SSL_CTX_new(TLS_server_method());
	origin_epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!origin_ctx || origin_epoll < 0 ||
	    SSL_CTX_use_certificate_chain_file(origin_ctx, argv[2]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(origin_ctx, argv[3], SSL_FILETYPE_PEM) != 1)
		origin_die("certificate");
	SSL_CTX_set_read_ahead(origin_ctx, 1);
	origin_listen(argv[1]);
	puts("ready");
	fflush(stdout);
	for (;;)
		origin_run();
}
