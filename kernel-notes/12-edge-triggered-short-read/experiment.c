/* Edge-triggered epoll: after a read of fewer bytes than requested, are the next bytes an
 * event of their own? */
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALL (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static int epoll;
static char part[4096];
static const char *family;

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

/* pair[0] is the accepted socket, pair[1] the connecting one. */
static void tcp_pair(int pair[2])
{
	struct sockaddr_in at;
	int listener = listen_somewhere(&at);

	pair[1] = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(pair[1], (struct sockaddr *)&at, sizeof(at)) == 0, "connect");
	pair[0] = accept(listener, NULL, NULL);
	need(pair[0] >= 0, "accept");
	close(listener);
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

/* The events that epoll reports for the one watched socket; 0: none. */
static unsigned events(int timeout_ms)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, timeout_ms) == 1 ? event.events : 0;
}

static void watch(int fd)
{
	struct epoll_event event = { .events = ALL };

	epoll = epoll_create1(0);
	need(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll");
}

static void open_pair(int pair[2])
{
	if (strcmp(family, "tcp") == 0)
		tcp_pair(pair);
	else
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	watch(pair[0]);
	need(events(1000) == EPOLLOUT, "a first event that the socket is writable");
}

static void close_all(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
	close(epoll);
}

static void send_bytes(int fd, size_t n)
{
	need(write(fd, part, n) == (ssize_t)n, "write");
}

static bool read_returns(int fd, size_t requested, ssize_t got)
{
	return recv(fd, part, requested, MSG_DONTWAIT) == got;
}

/* Waits for an edge with all of `wanted`; other edges may come before it. */
static bool await_edge(unsigned wanted)
{
	unsigned seen;

	while ((seen = events(1000)) != 0)
		if ((seen & wanted) == wanted)
			return true;
	return false;
}

static bool edge_after_short_read(void)
{
	int pair[2];
	bool as_expected = true;

	open_pair(pair);
	for (int i = 0; i < 100; i++) {
		send_bytes(pair[1], 100);
		as_expected &= await_edge(EPOLLIN) &&
			       read_returns(pair[0], sizeof(part), 100) &&
			       unread(pair[0]) == 0;
	}
	as_expected &= events(0) == 0;
	close_all(pair);
	return as_expected;
}

/* After a full read the engine must continue reading by itself. */
static bool no_edge_after_full_read(void)
{
	int pair[2];
	bool as_expected;

	open_pair(pair);
	send_bytes(pair[1], 200);
	await_unread(pair[0], 200);
	as_expected = await_edge(EPOLLIN) && read_returns(pair[0], 100, 100);
	while (events(20) != 0 && as_expected)
		as_expected = false;
	as_expected &= unread(pair[0]) == 100;
	close_all(pair);
	return as_expected;
}

/* The end comes after epoll has reported the bytes, and before they are read. */
static bool end_after_bytes(void)
{
	int pair[2];
	bool as_expected;

	open_pair(pair);
	send_bytes(pair[1], 100);
	as_expected = await_edge(EPOLLIN);
	shutdown(pair[1], SHUT_WR);
	as_expected &= read_returns(pair[0], sizeof(part), 100) &&
		       await_edge(EPOLLRDHUP) && read_returns(pair[0], sizeof(part), 0);
	close_all(pair);
	return as_expected;
}

/* One event for bytes and end: its RDHUP shows that a short read is not the last one. */
static bool end_with_bytes(void)
{
	int pair[2];
	bool as_expected;

	open_pair(pair);
	send_bytes(pair[1], 100);
	shutdown(pair[1], SHUT_WR);
	as_expected = await_edge(EPOLLIN | EPOLLRDHUP) &&
		      read_returns(pair[0], sizeof(part), 100) &&
		      read_returns(pair[0], sizeof(part), 0);
	close_all(pair);
	return as_expected;
}

static void claim_of(bool holds, const char *text)
{
	char line[200];

	snprintf(line, sizeof(line), "%s: %s", family, text);
	claim(holds, line);
}

static void check_family(const char *name)
{
	family = name;
	claim_of(edge_after_short_read(),
		 "after a short read the next bytes are an edge of their own");
	claim_of(no_edge_after_full_read(),
		 "after a full read the remaining bytes cause no edge");
	claim_of(
		end_after_bytes(),
		"an end of the stream after the edge of the bytes is an edge of its own");
	claim_of(end_with_bytes(),
		 "an end that arrives with the bytes is in their event (RDHUP)");
}

/* A read stops at the mark of urgent data, which affects only the peer that sends it. */
static void urgent(void)
{
	int pair[2];
	ssize_t n;

	family = "tcp";
	open_pair(pair);
	send_bytes(pair[1], 100);
	need(send(pair[1], "!", 1, MSG_OOB) == 1, "send");
	send_bytes(pair[1], 50);
	await_unread(pair[0], 100);
	for (int i = 0; i < 1000 && events(1) != 0; i++)
		continue;
	n = recv(pair[0], part, sizeof(part), MSG_DONTWAIT);
	printf("note: before an urgent byte a read was short at %zd, and %s\n", n,
	       read_returns(pair[0], sizeof(part), 50) ? "50 more were there"
						       : "no more were there");
	close_all(pair);
}

int main(void)
{
	check_family("tcp");
	check_family("unix");
	urgent();
	return failed;
}
