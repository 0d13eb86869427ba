/* A fixed number of requests over persistent connections, to compare costs: each program under
 * comparison gets the same work.
 *
 *   repeat HOST PORT PATH CONNECTIONS N
 *
 * Each connection sends its next GET when the previous response is complete, until all together
 * have sent N. Prints one line:
 *
 *   requests=N ok=N seconds=S
 *
 * Exit status 0 if each request got a complete 200; anything else ends it at once. One thread,
 * epoll. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 2048
#define EVENTS_MAX 1024

struct repeat_conn {
	int fd;
	long body_left; /* -1: the head is incomplete */
	size_t head_n;
	char head[HEAD_MAX];
};

static char request[1024];
static size_t request_n;
static long to_send, ok;

static void die(const char *what)
{
	fprintf(stderr, "repeat: %s: %s\n", what,
		errno ? strerror(errno) : "malformed response");
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void send_request(struct repeat_conn *t)
{
	t->body_left = -1;
	t->head_n = 0;
	to_send--;
	errno = 0;
	if (send(t->fd, request, request_n, MSG_NOSIGNAL) != (ssize_t)request_n)
		die("send");
}

/* The length of the body, when the head is complete. */
static long body_length(struct repeat_conn *t, const char *end)
{
	const char *field;

	if (strncmp(t->head, "HTTP/1.1 200 ", 13) != 0)
		die(t->head);
	field = strcasestr(t->head, "\r\nContent-Length:");
	if (!field || field > end)
		die("no Content-Length");
	return strtol(field + 17, NULL, 10);
}

/* True: the response is complete. */
static int take(struct repeat_conn *t, const char *bytes, size_t n)
{
	const char *end;
	size_t had = t->head_n;

	if (t->body_left < 0) {
		if (had + n >= HEAD_MAX)
			die("too long");
		memcpy(t->head + had, bytes, n);
		t->head_n += n;
		t->head[t->head_n] = '\0';
		end = strstr(t->head, "\r\n\r\n");
		if (!end)
			return 0;
		t->body_left = body_length(t, end);
		n = t->head_n - (size_t)(end + 4 - t->head);
	}
	if ((long)n > t->body_left)
		die("more bytes than the response");
	t->body_left -= (long)n;
	return t->body_left == 0;
}

static void read_ready(struct repeat_conn *t)
{
	char bytes[HEAD_MAX];
	ssize_t n;

	errno = 0;
	n = recv(t->fd, bytes, sizeof(bytes) - 1, 0);
	if (n <= 0)
		die("receive");
	if (!take(t, bytes, (size_t)n))
		return;
	ok++;
	if (to_send > 0)
		send_request(t);
}

static void open_talk(struct repeat_conn *t, int epoll, const struct sockaddr_in *to)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = t };

	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->fd < 0 || connect(t->fd, (const void *)to, sizeof(*to)) < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, t->fd, &event) < 0)
		die("connect");
}

static void run(int epoll, long n)
{
	struct epoll_event events[EVENTS_MAX];

	while (ok < n) {
		int ready = epoll_wait(epoll, events, EVENTS_MAX, 30000);

		if (ready <= 0 && errno != EINTR)
			die("waited 30 s");
		for (int i = 0; i < ready; i++)
			read_ready(events[i].data.ptr);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	long connections, n;
	struct repeat_conn *conns;
	double began;

	if (argc != 6 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: repeat HOST PORT PATH CONNECTIONS N\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	connections = atol(argv[4]);
	to_send = n = atol(argv[5]);
	request_n = (size_t)snprintf(request, sizeof(request),
				     "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[3], argv[1]);
	conns = calloc((size_t)connections, sizeof(*conns));
	if (!conns || epoll < 0 || connections < 1 || n < connections)
		die("arguments");
	for (long i = 0; i < connections; i++)
		open_talk(&conns[i], epoll, &to);
	began = now();
	for (long i = 0; i < connections; i++)
		send_request(&conns[i]);
	run(epoll, n);
	printf("requests=%ld ok=%ld seconds=%.6f\n", n, ok, now() - began);
	free(conns);
	return 0;
}
