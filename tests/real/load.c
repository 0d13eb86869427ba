/* Many connections at once, each with one request: the load for /sync and /cache. One thread,
 * epoll; just fast enough not to be the bottleneck.
 *
 *   load [-c CONCURRENT] [-k] [-t SECONDS] [-H FIELD] HOST PORT PATH N
 *
 * Opens CONCURRENT connections (default: N), sends a GET on each, reads the whole response,
 * closes, opens the next. -k: connections stay open after their response until standard input
 * ends, and CONCURRENT of them wait for a response at a time. -t: ends after so many seconds,
 * finished or not. -H: adds a field, such as "Cookie: a=b". Prints one line at the end:
 *
 *   requests=N ok=N failed=N unfinished=N seconds=S first=S connected=S
 *
 * seconds: from the first connect to the last response, or to the end of -t; first: to the
 * first response; connected: to the last connection. Exit status 0 if each request got a
 * complete 200. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 1024
#define EVENTS_MAX 1024

struct load_conn {
	int fd;
	bool connected, sent;
	int status;
	long body_left; /* -1: the head is incomplete */
	size_t head_n;
	char head[HEAD_MAX];
};

struct load {
	int epoll;
	struct sockaddr_in to;
	struct load_conn *conns;
	char request[1024];
	size_t request_n;
	long total, at_once, started, connected, ended, ok;
	bool keep;
	double patience_s; /* 0: no limit */
	double began, first, last_connected, over;
	int first_error, first_status;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void begin(struct load *l, struct load_conn *t);

static void end(struct load *l, struct load_conn *t, bool good)
{
	l->ended++;
	l->ok += good && t->status == 200;
	if (good && t->status != 200 && l->first_status == 0)
		l->first_status = t->status;
	if (!good && l->first_error == 0)
		l->first_error = errno ? errno : ECONNRESET;
	l->over = now();
	if (l->first == 0)
		l->first = l->over;
	if (!(l->keep && good))
		close(t->fd);
	else
		t = &l->conns[l->started];
	if (l->started < l->total)
		begin(l, t);
}

static void begin(struct load *l, struct load_conn *t)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
				     .data.ptr = t };

	memset(t, 0, sizeof(*t));
	t->body_left = -1;
	l->started++;
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->fd < 0)
		die("socket");
	if (connect(t->fd, (struct sockaddr *)&l->to, sizeof(l->to)) < 0 &&
	    errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, t->fd, &event) < 0)
		die("epoll_ctl");
}

static void write_request(struct load *l, struct load_conn *t)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (t->sent)
		return;
	if (!t->connected) {
		getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		errno = error;
		if (error) {
			end(l, t, false);
			return;
		}
		t->connected = true;
		l->connected++;
		l->last_connected = now();
	}
	t->sent = true;
	errno = 0;
	if (send(t->fd, l->request, l->request_n, MSG_NOSIGNAL) != (ssize_t)l->request_n)
		end(l, t, false);
}

/* Parses the head when it is complete, and counts the bytes of the body behind it. False: the
 * head is malformed. */
static bool read_head(struct load_conn *t)
{
	char *stop, *field;

	t->head[t->head_n] = '\0';
	stop = strstr(t->head, "\r\n\r\n");
	if (!stop)
		return t->head_n < HEAD_MAX - 1;
	if (sscanf(t->head, "HTTP/1.%*d %d", &t->status) != 1)
		return false;
	field = strcasestr(t->head, "\r\ncontent-length:");
	if (!field || field > stop)
		return false;
	t->body_left = atol(field + 17) -
		       (long)(t->head_n - (size_t)(stop + 4 - t->head));
	return true;
}

enum progress { MORE, COMPLETE, MALFORMED };

static enum progress take(struct load_conn *t, const char *bytes, size_t n)
{
	if (t->body_left >= 0) {
		t->body_left -= (long)n;
	} else {
		if (n > HEAD_MAX - 1 - t->head_n)
			return MALFORMED;
		memcpy(t->head + t->head_n, bytes, n);
		t->head_n += n;
		if (!read_head(t))
			return MALFORMED;
		if (t->body_left == -1)
			return MORE;
	}
	return t->body_left > 0 ? MORE : t->body_left == 0 ? COMPLETE : MALFORMED;
}

/* After end() the slot may belong to the next connection: it is not touched any more. */
static void read_response(struct load *l, struct load_conn *t)
{
	char bytes[HEAD_MAX];

	for (;;) {
		ssize_t n = recv(t->fd, bytes, sizeof(bytes), 0);
		enum progress p;

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			if (n == 0)
				errno = 0;
			/* A kept connection may be closed after its response. */
			if (t->body_left != 0)
				end(l, t, false);
			return;
		}
		p = take(t, bytes, (size_t)n);
		if (p != MORE) {
			errno = EPROTO;
			end(l, t, p == COMPLETE);
			return;
		}
	}
}

/* The timeout for epoll_wait(): remaining milliseconds, 0 at the end of -t, -1 without limit. */
static int left_ms(const struct load *l)
{
	double left_s = l->began + l->patience_s - now();

	if (l->patience_s == 0)
		return -1;
	return left_s > 0 ? (int)(left_s * 1000) + 1 : 0;
}

static void run(struct load *l)
{
	struct epoll_event events[EVENTS_MAX];
	int left;

	l->began = now();
	for (long i = 0; i < l->at_once; i++)
		begin(l, &l->conns[i]);
	while (l->ended < l->total && (left = left_ms(l)) != 0) {
		int n = epoll_wait(l->epoll, events, EVENTS_MAX, left);

		for (int i = 0; i < n; i++) {
			struct load_conn *t = events[i].data.ptr;

			if (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
				write_request(l, t);
			if (events[i].events & EPOLLIN && t->sent)
				read_response(l, t);
		}
	}
}

static void report(struct load *l)
{
	if (l->ended < l->total)
		l->over = now();
	if (l->first == 0)
		l->first = l->over;
	if (l->connected == 0)
		l->last_connected = l->over;
	printf("requests=%ld ok=%ld failed=%ld unfinished=%ld seconds=%.3f first=%.3f "
	       "connected=%.3f",
	       l->total, l->ok, l->ended - l->ok, l->total - l->ended, l->over - l->began,
	       l->first - l->began, l->last_connected - l->began);
	if (l->first_error)
		printf(" error=\"%s\"", strerror(l->first_error));
	if (l->first_status)
		printf(" status=%d", l->first_status);
	printf("\n");
	fflush(stdout);
}

static bool read_command_line(struct load *l, int argc, char **argv)
{
	const char *field = "";
	int c;

	while ((c = getopt(argc, argv, "c:kt:H:")) != -1) {
		if (c == 'c')
			l->at_once = atol(optarg);
		else if (c == 'k')
			l->keep = true;
		else if (c == 't')
			l->patience_s = atof(optarg);
		else if (c == 'H')
			field = optarg;
		else
			return false;
	}
	if (argc - optind != 4)
		return false;
	argv += optind;
	l->total = atol(argv[3]);
	if (l->at_once == 0 || l->at_once > l->total)
		l->at_once = l->total;
	l->to = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(argv[1])) };
	l->request_n =
		(size_t)snprintf(l->request, sizeof(l->request),
				 "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUser-Agent: load\r\n"
				 "Accept: */*\r\n%s%s\r\n",
				 argv[2], argv[0], argv[1], field, *field ? "\r\n" : "");
	return l->total >= 1 && l->request_n < sizeof(l->request) &&
	       inet_pton(AF_INET, argv[0], &l->to.sin_addr) == 1;
}

int main(int argc, char **argv)
{
	struct load l = { .epoll = epoll_create1(EPOLL_CLOEXEC) };
	struct rlimit limit;
	char rest[64];

	if (!read_command_line(&l, argc, argv))
		return 2;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	l.conns = calloc((size_t)(l.keep ? l.total : l.at_once), sizeof(*l.conns));
	if (!l.conns)
		die("memory");
	run(&l);
	report(&l);
	while (l.keep && read(STDIN_FILENO, rest, sizeof(rest)) > 0)
		continue;
	return l.ok != l.total;
}
