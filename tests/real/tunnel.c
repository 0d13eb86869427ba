/* A bare TCP tunnel, for comparisons: one thread, epoll, forwards bytes.
 *
 *   tunnel LISTEN_PORT HOST PORT
 *
 * Each connection to 127.0.0.1:LISTEN_PORT gets its own connection to HOST:PORT. Prints "ready"
 * when it listens. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 1024
#define BACKLOG 16384
#define BYTES_MAX 65536

struct end {
	int fd;
	struct end *other;
	bool eof;
	char *pending; /* to be written to fd; the other end is not read meanwhile */
	size_t pending_n;
	bool dead; /* freed with its other end, after the current events */
	struct end *next_dead;
};

static int epoll;
static struct end *dead;

static void die(const char *what)
{
	fprintf(stderr, "tunnel: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(struct end *e, int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = e };

	if (e)
		e->fd = fd;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void end_both(struct end *e)
{
	if (e->dead)
		return;
	e->dead = e->other->dead = true;
	close(e->fd);
	close(e->other->fd);
	e->next_dead = dead;
	dead = e;
}

/* False: the socket did not accept all bytes. */
static bool write_to(struct end *e, const char *bytes, size_t n)
{
	ssize_t took = send(e->fd, bytes, n, MSG_NOSIGNAL);

	if (took < 0 && errno != EAGAIN && errno != ENOTCONN) {
		end_both(e);
		return false;
	}
	if (took < 0)
		took = 0;
	if ((size_t)took == n)
		return true;
	e->pending = malloc(n - (size_t)took);
	if (!e->pending)
		die("memory");
	e->pending_n = n - (size_t)took;
	memcpy(e->pending, bytes + took, e->pending_n);
	return false;
}

static void copy_from(struct end *e)
{
	static char bytes[BYTES_MAX];

	while (!e->dead && !e->eof && !e->other->pending) {
		ssize_t n = recv(e->fd, bytes, sizeof(bytes), 0);

		if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
			return;
		if (n < 0) {
			end_both(e);
			return;
		}
		if (n == 0) {
			e->eof = true;
			shutdown(e->other->fd, SHUT_WR);
			if (e->other->eof)
				end_both(e);
			return;
		}
		write_to(e->other, bytes, (size_t)n);
	}
}

static void flush(struct end *e)
{
	char *bytes = e->pending;

	if (!bytes)
		return;
	e->pending = NULL;
	write_to(e, bytes, e->pending_n);
	free(bytes);
	copy_from(e->other);
}

static void accept_all(int listener, const struct sockaddr_in *to)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct end *pair = calloc(2, sizeof(*pair));
		int out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (!pair || out < 0)
			die("socket");
		pair[0].other = &pair[1];
		pair[1].other = &pair[0];
		if (connect(out, (const struct sockaddr *)to, sizeof(*to)) < 0 &&
		    errno != EINPROGRESS)
			die("connect");
		watch(&pair[0], fd);
		watch(&pair[1], out);
	}
}

static void bury(void)
{
	while (dead) {
		struct end *e = dead, *first = e < e->other ? e : e->other;

		dead = e->next_dead;
		free(e->pending);
		free(e->other->pending);
		free(first);
	}
}

static int listen_at(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, BACKLOG) < 0)
		die("listen");
	return fd;
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
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct epoll_event events[EVENTS_MAX];
	int listener;

	if (argc != 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		return 2;
	to.sin_port = htons((uint16_t)atoi(argv[3]));
	raise_limit();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	listener = listen_at((uint16_t)atoi(argv[1]));
	watch(NULL, listener);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS_MAX, -1);

		for (int i = 0; i < n; i++) {
			struct end *e = events[i].data.ptr;

			if (!e) {
				accept_all(listener, &to);
				continue;
			}
			if (!e->dead && events[i].events & (EPOLLOUT | EPOLLERR))
				flush(e);
			if (!e->dead && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
				copy_from(e);
		}
		bury();
	}
}
