/* What does a peer see of an answer when the socket is closed with bytes unread? */
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

#define ANSWER_BYTES 200000
#define REQUEST_BYTES 1000

static char answer[ANSWER_BYTES];

static int failed;

static void claim(bool holds, const char *text)
{
	printf("claim: %s: %s\n", text, holds ? "holds" : "DOES NOT HOLD");
	failed |= !holds;
}

/* What the experiment needs and is not about; without it, what has failed still has. */
static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("cannot tell here: %s: %s\n", what, strerror(errno));
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

/* Loopback may take its time on a busy machine. */
static void await_unread(int fd, int n)
{
	for (int i = 0; i < 2000 && unread(fd) < n; i++)
		usleep(1000);
	need(unread(fd) >= n, "the bytes did not arrive");
}

/* The client takes in little at a time, so that most of the answer is on our side. */
static void connect_pair(int *client, int *server)
{
	const struct timeval second = { .tv_sec = 1 };
	int small = 4096, large = 2 * ANSWER_BYTES;
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

/* A request has come and is answered without a look at it. */
static void ask_and_answer(int *client, int *server)
{
	connect_pair(client, server);
	need(send(*client, answer, REQUEST_BYTES, 0) == REQUEST_BYTES, "the request");
	await_unread(*server, REQUEST_BYTES);
	need(send(*server, answer, ANSWER_BYTES, MSG_DONTWAIT) == ANSWER_BYTES,
	     "room for the answer");
}

/* All that the client gets; *error is how it ends, 0 for an orderly end. */
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

	ask_and_answer(&client, &server);
	close(server);
	n = read_all(client, &error);
	claim(n < ANSWER_BYTES && error == ECONNRESET,
	      "closed with unread bytes: a reset, and the rest of the answer is gone");
	printf("note: the client got %zu of %d bytes\n", n, ANSWER_BYTES);
	close(client);
}

static void closed_when_read(void)
{
	static char request[REQUEST_BYTES];
	int client, server, error;
	size_t n;

	ask_and_answer(&client, &server);
	need(recv(server, request, sizeof(request), 0) == REQUEST_BYTES, "recv");
	close(server);
	n = read_all(client, &error);
	claim(n == ANSWER_BYTES && error == 0,
	      "closed when all was read: the whole answer and an orderly end");
	close(client);
}

/* Nobody says that the client is done when it has sent its request. */
static void closed_before_more(void)
{
	static char request[REQUEST_BYTES];
	int client, server, error;
	size_t n;

	ask_and_answer(&client, &server);
	need(recv(server, request, sizeof(request), 0) == REQUEST_BYTES, "recv");
	close(server);
	need(send(client, "more", 4, MSG_NOSIGNAL) == 4, "more of the request");
	n = read_all(client, &error);
	claim(n < ANSWER_BYTES && error == ECONNRESET,
	      "bytes that come after the close do the same");
	close(client);
}

static void lingered(void)
{
	int client, server, error, drained;
	size_t n;

	ask_and_answer(&client, &server);
	shutdown(server, SHUT_WR);
	need(send(client, "more", 4, MSG_NOSIGNAL) == 4, "more of the request");
	n = read_all(client, &error);
	claim(n == ANSWER_BYTES && error == 0,
	      "shut down for sending: the whole answer and an orderly end, with bytes "
	      "unread and more to come");
	close(client);
	n = read_all(server, &drained);
	claim(n == REQUEST_BYTES + 4 && drained == 0,
	      "and reading on finds the peer's end, after which nothing is unread");
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
