/* Edge-triggered: does a read of fewer bytes than asked for mean that the next bytes will
 * be an event of their own? */
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

/* pair[0] was accepted, pair[1] has connected. */
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

/* Loopback may take its time on a busy machine. */
static void await_unread(int fd, int n)
{
	for (int i = 0; i < 2000 && unread(fd) < n; i++)
		usleep(1000);
	need(unread(fd) >= n, "the bytes did not arrive");
}

/* What epoll reports of the one socket that is watched; 0: nothing. */
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
	need(events(1000) == EPOLLOUT, "a socket that is writable first");
}

static void done(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
	close(epoll);
}

static void say(int fd, size_t n)
{
	need(write(fd, part, n) == (ssize_t)n, "write");
}

static bool reads(int fd, size_t asked, ssize_t got)
{
	return recv(fd, part, asked, MSG_DONTWAIT) == got;
}

/* Waits for an edge that has all of `wanted`; others may come before it. */
static bool edge(unsigned wanted)
{
	unsigned seen;

	while ((seen = events(1000)) != 0)
		if ((seen & wanted) == wanted)
			return true;
	return false;
}

static bool short_read(void)
{
	int pair[2];
	bool right = true;

	open_pair(pair);
	for (int i = 0; i < 100; i++) {
		say(pair[1], 100);
		right &= edge(EPOLLIN) && reads(pair[0], sizeof(part), 100) &&
			 unread(pair[0]) == 0;
	}
	right &= events(0) == 0;
	done(pair);
	return right;
}

/* The engine must go on by itself after this one. */
static bool full_read(void)
{
	int pair[2];
	bool right;

	open_pair(pair);
	say(pair[1], 200);
	await_unread(pair[0], 200);
	right = edge(EPOLLIN) && reads(pair[0], 100, 100);
	while (events(20) != 0 && right)
		right = false;
	right &= unread(pair[0]) == 100;
	done(pair);
	return right;
}

/* The end comes after epoll has reported the bytes, and before they are read. */
static bool end_after_bytes(void)
{
	int pair[2];
	bool right;

	open_pair(pair);
	say(pair[1], 100);
	right = edge(EPOLLIN);
	shutdown(pair[1], SHUT_WR);
	right &= reads(pair[0], sizeof(part), 100) && edge(EPOLLRDHUP) &&
		 reads(pair[0], sizeof(part), 0);
	done(pair);
	return right;
}

/* One event for both: RDHUP in it says that a short read is not the last. */
static bool end_with_bytes(void)
{
	int pair[2];
	bool right;

	open_pair(pair);
	say(pair[1], 100);
	shutdown(pair[1], SHUT_WR);
	right = edge(EPOLLIN | EPOLLRDHUP) && reads(pair[0], sizeof(part), 100) &&
		reads(pair[0], sizeof(part), 0);
	done(pair);
	return right;
}

static void claim_of(bool holds, const char *text)
{
	char line[200];

	snprintf(line, sizeof(line), "%s: %s", family, text);
	claim(holds, line);
}

static void on(const char *name)
{
	family = name;
	claim_of(short_read(),
		 "after a short read the next bytes are an edge of their own");
	claim_of(full_read(), "after a full read those that were left are none");
	claim_of(end_after_bytes(),
		 "an end that comes after the edge of the bytes is an edge");
	claim_of(end_with_bytes(), "one that comes with them is in their event");
}

/* What a peer can do to itself: a read stops at the mark of urgent data. */
static void urgent(void)
{
	int pair[2];
	ssize_t n;

	family = "tcp";
	open_pair(pair);
	say(pair[1], 100);
	need(send(pair[1], "!", 1, MSG_OOB) == 1, "send");
	say(pair[1], 50);
	await_unread(pair[0], 100);
	for (int i = 0; i < 1000 && events(1) != 0; i++)
		continue;
	n = recv(pair[0], part, sizeof(part), MSG_DONTWAIT);
	printf("note: before an urgent byte a read was short at %zd, and %s\n", n,
	       reads(pair[0], sizeof(part), 50) ? "50 more were there"
						: "no more were there");
	done(pair);
}

int main(void)
{
	on("tcp");
	on("unix");
	urgent();
	return failed;
}
