/* What does a peer receive of a response when the socket is closed with unread bytes? */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define RESPONSE_BYTES 200000
#define REQUEST_BYTES 1000

static char response[RESPONSE_BYTES];

static int failed;

static void claim(bool holds, const char *text)
{
	printf("claim: %s: %s\n", text, holds ? "holds" : "DOES NOT HOLD");
	failed |= !holds;
}

/* A precondition that is not under test. If it is missing the program ends here: with 77,
 * or with 1 if a claim has failed already. */
static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("cannot be judged here without %s: %s\n", what, strerror(errno));
	exit(failed ? 1 : 77);
}

static int listen_somewhere(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	need(fd >= 0 && bind(fd, (struct sockaddr *)at, len) == 0 &&
		     listen(fd, 128) == 0 &&
		     getsockname(fd, (struct sockaddr *)at, &len) == 0,
	     "a listener on 127.0.0.1");
	return fd;
}

static int unread(int fd)
{
	int n = 0;

	ioctl(fd, FIONREAD, &n);
	return n;
}

/* Delivery over loopback can take some time on a busy machine. */
static void await_unread(int fd, int n)
{
	for (int i = 0; i < 2000 && unread(fd) < n; i++)
		usleep(1000);
	need(unread(fd) >= n, "the bytes in the socket");
}

/* The client has a small receive buffer, so that most of the response stays on the
 * server's side. */
static void connect_pair(int *client, int *server)
{
	const struct timeval second = { .tv_sec = 1 };
	int small = 4096, large = 2 * RESPONSE_BYTES;
	struct sockaddr_in at;
	int listener = listen_somewhere(&at);

	*client = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(*client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(*client, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	need(connect(*client, (struct sockaddr *)&at, sizeof(at)) == 0, "connect");
	*server = accept(listener, NULL, NULL);
	setsockopt(*server, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	setsockopt(*server, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	close(listener);
}

/* A request has arrived and a response is sent without reading the request. */
static void request_and_response(int *client, int *server)
{
	connect_pair(client, server);
	need(send(*client, response, REQUEST_BYTES, 0) == REQUEST_BYTES, "the request");
	await_unread(*server, REQUEST_BYTES);
	need(send(*server, response, RESPONSE_BYTES, MSG_DONTWAIT) == RESPONSE_BYTES,
	     "space for the response");
}

/* Reads everything that the client receives. *error: how the stream ends, 0 for an
 * orderly end. */
static size_t read_all(int fd, int *error)
{
	static char part[65536];
	size_t sum = 0;
	ssize_t n;

	while ((n = recv(fd, part, sizeof(part), 0)) > 0)
		sum += (size_t)n;
	*error = n < 0 ? errno : 0;
	return sum;
}

static void closed_at_once(void)
{
	int client, server, error;
	size_t n;

	request_and_response(&client, &server);
	close(server);
	n = read_all(client, &error);
	claim(n < RESPONSE_BYTES && error == ECONNRESET,
	      "closed with unread bytes: a reset, and the rest of the response is lost");
	printf("note: the client got %zu of %d bytes\n", n, RESPONSE_BYTES);
	close(client);
}

static void closed_when_read(void)
{
	static char request[REQUEST_BYTES];
	int client, server, error;
	size_t n;

	request_and_response(&client, &server);
	need(recv(server, request, sizeof(request), 0) == REQUEST_BYTES, "recv");
	close(server);
	n = read_all(client, &error);
	claim(n == RESPONSE_BYTES && error == 0,
	      "closed after all was read: the whole response and an orderly end");
	close(client);
}

/* A client may send more after its request. */
static void closed_before_more(void)
{
	static char request[REQUEST_BYTES];
	int client, server, error;
	size_t n;

	request_and_response(&client, &server);
	need(recv(server, request, sizeof(request), 0) == REQUEST_BYTES, "recv");
	close(server);
	need(send(client, "more", 4, MSG_NOSIGNAL) == 4, "more of the request");
	n = read_all(client, &error);
	claim(n < RESPONSE_BYTES && error == ECONNRESET,
	      "bytes that arrive after the close also cause a reset, and the rest of "
	      "the response is lost");
	close(client);
}

static void lingered(void)
{
	int client, server, error, drained;
	size_t n;

	request_and_response(&client, &server);
	shutdown(server, SHUT_WR);
	need(send(client, "more", 4, MSG_NOSIGNAL) == 4, "more of the request");
	n = read_all(client, &error);
	claim(n == RESPONSE_BYTES && error == 0,
	      "shut down for sending: the whole response and an orderly end, with "
	      "unread bytes and more to come");
	close(client);
	n = read_all(server, &drained);
	claim(n == REQUEST_BYTES + 4 && drained == 0,
	      "reading on finds the client's end of the stream, after which nothing "
	      "is unread");
	close(server);
}

int main(void)
{
	closed_at_once();
	closed_when_read();
	closed_before_more();
	lingered();
	return failed;
}
