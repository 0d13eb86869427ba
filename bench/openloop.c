/* An open-loop load: requests are due at a fixed rate, whether or not answers come.
 *
 *   openloop PORT PATH CONNECTIONS RATE SECONDS
 *
 * A request that is due goes out on the connection that has been idle longest, or waits for
 * one. Its latency counts from when it was due, so a stall is seen by all that it delays,
 * where a closed loop would just ask less. It looks at the clock and at the answers four
 * thousand times a second: woken for each of them, on a core that it shares with the origin,
 * it would be out of breath long before the proxies are. The first second is not counted:
 * connections, also those to the origin, are opened in it. Prints one line, times in microseconds:
 *
 *   told requests=N errors=N seconds=S p50=T p99=T p999=T most=T */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 512
#define HEAD_MAX 4096
#define PATIENCE_NS 5000000000LL
#define STEP_NS 250000
#define WARM_NS 1000000000LL

struct open_loop_client {
	int fd;
	struct open_loop_client *next_idle;
	int64_t due_ns;
	size_t n;       /* bytes of the head so far */
	long body_left; /* -1: the head is not whole yet */
	char head[HEAD_MAX];
};

static int epoll;
static struct open_loop_client *idle_first, **idle_last = &idle_first;
static char request[1024];
static size_t request_bytes;
static int64_t start_ns, step_ns;
static long total, sent, answered, counted, errors;
static float *latency_us;

static void die(const char *what)
{
	fprintf(stderr, "openloop: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void rest(struct open_loop_client *t)
{
	t->next_idle = NULL;
	*idle_last = t;
	idle_last = &t->next_idle;
}

static struct open_loop_client *take_idle(void)
{
	struct open_loop_client *t = idle_first;

	idle_first = t->next_idle;
	if (!idle_first)
		idle_last = &idle_first;
	return t;
}

static void ask(struct open_loop_client *t)
{
	t->due_ns = start_ns + sent++ * step_ns;
	t->n = 0;
	t->body_left = -1;
	if (send(t->fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
		errors++;
}

static void ask_all_due(int64_t now)
{
	while (sent < total && idle_first && start_ns + sent * step_ns <= now)
		ask(take_idle());
}

/* The length of the body that has not come with the head. False: this is no good answer. */
static bool read_head(struct open_loop_client *t)
{
	char *end, *field;

	t->head[t->n] = '\0';
	end = strstr(t->head, "\r\n\r\n");
	if (!end)
		return t->n < HEAD_MAX - 1;
	field = strcasestr(t->head, "\r\ncontent-length:");
	if (strncmp(t->head, "HTTP/1.1 200 ", 13) != 0 || !field || field > end)
		return false;
	t->body_left = atol(field + 17) - (long)(t->n - (size_t)(end + 4 - t->head));
	return t->body_left >= 0;
}

/* False: it ended, or said something else. */
static bool hear(struct open_loop_client *t)
{
	static char body[65536];
	ssize_t n;

	if (t->body_left < 0)
		n = recv(t->fd, t->head + t->n, HEAD_MAX - 1 - t->n, MSG_DONTWAIT);
	else
		n = recv(t->fd, body, sizeof(body), MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	if (t->body_left >= 0) {
		t->body_left -= n;
		return t->body_left >= 0;
	}
	t->n += (size_t)n;
	return read_head(t);
}

static void heard(struct open_loop_client *t)
{
	if (!hear(t)) {
		errors++;
		epoll_ctl(epoll, EPOLL_CTL_DEL, t->fd, NULL);
		return;
	}
	if (t->body_left != 0)
		return;
	answered++;
	if (t->due_ns >= start_ns + WARM_NS)
		latency_us[counted++] = (float)(now_ns() - t->due_ns) / 1000;
	rest(t);
}

static int hear_all(void)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(epoll, events, EVENTS_MAX, 0);

	if (n < 0 && errno != EINTR)
		die("epoll_wait");
	for (int i = 0; i < n; i++)
		heard(events[i].data.ptr);
	return n;
}

static void run(void)
{
	int64_t look_ns = start_ns, heard_ns = start_ns;

	while (answered < total && !errors) {
		int64_t now = now_ns();
		struct timespec ts;

		if (hear_all() > 0)
			heard_ns = now;
		else if (now - heard_ns > PATIENCE_NS)
			errors++;
		ask_all_due(now);
		look_ns = look_ns + STEP_NS > now ? look_ns + STEP_NS : now + STEP_NS;
		ts = (struct timespec){ look_ns / 1000000000, look_ns % 1000000000 };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
}

static void open_one(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct open_loop_client *t = calloc(1, sizeof(*t));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = t };
	int on = 1;

	if (!t)
		die("memory");
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, t->fd, &event) < 0)
		die("epoll_ctl");
	rest(t);
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double share(double of_all)
{
	long at = (long)((double)counted * of_all);

	return counted ? latency_us[at < counted ? at : counted - 1] : 0;
}

int main(int argc, char **argv)
{
	uint16_t port = argc == 6 ? (uint16_t)atoi(argv[1]) : 0;
	double rate = argc == 6 ? atof(argv[4]) : 0;

	if (rate <= 0) {
		fputs("usage: openloop PORT PATH CONNECTIONS RATE SECONDS\n", stderr);
		return 2;
	}
	prctl(PR_SET_TIMERSLACK, 1000);
	request_bytes = (size_t)snprintf(request, sizeof(request),
					 "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
					 argv[2], port);
	total = (long)(rate * (atof(argv[5]) + WARM_NS / 1e9));
	step_ns = (int64_t)(1e9 / rate);
	latency_us = calloc((size_t)total + 1, sizeof(*latency_us));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!latency_us || epoll < 0 || request_bytes >= sizeof(request))
		die("start");
	for (int i = 0; i < atoi(argv[3]); i++)
		open_one(port);
	start_ns = now_ns();
	run();
	qsort(latency_us, (size_t)counted, sizeof(*latency_us), by_size);
	printf("told requests=%ld errors=%ld seconds=%.3f p50=%.1f p99=%.1f p999=%.1f "
	       "most=%.1f\n",
	       answered, errors, (double)(now_ns() - start_ns) / 1e9, share(0.5),
	       share(0.99), share(0.999), share(1));
	return 0;
}
