/* An open-loop load: requests are due at a fixed rate, whether or not responses arrive.
 *
 *   openloop PORT PATH CONNECTIONS RATE SECONDS
 *
 * A request that is due is sent on the connection that has been idle longest, or waits for
 * one. Its latency counts from the time it was due, so a stall shows in every request that
 * it delays; a closed loop would send fewer requests instead. The clock and the responses
 * are checked every 0.25 ms: if each response woke the load, which shares a core with the
 * origin, the load would saturate before the proxies. The first second is not counted: it
 * includes opening the connections, also those to the origin. Prints one line, times in
 * microseconds:
 *
 *   result requests=N errors=N seconds=S p50=T p99=T p999=T max=T */
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
#define TIMEOUT_NS 5000000000LL
#define POLL_NS 250000
#define WARM_UP_NS 1000000000LL

struct open_loop_client {
	int fd;
	struct open_loop_client *next_idle;
	int64_t due_ns;
	size_t n;       /* bytes in head[] */
	long body_left; /* -1: the head is not complete yet */
	char head[HEAD_MAX];
};

static int epoll;
static struct open_loop_client *idle_first, **idle_last = &idle_first;
static char request[1024];
static size_t request_bytes;
static int64_t start_ns, interval_ns;
static long total, sent, responses, counted, errors;
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

static void idle_append(struct open_loop_client *t)
{
	t->next_idle = NULL;
	*idle_last = t;
	idle_last = &t->next_idle;
}

static struct open_loop_client *idle_take(void)
{
	struct open_loop_client *t = idle_first;

	idle_first = t->next_idle;
	if (!idle_first)
		idle_last = &idle_first;
	return t;
}

static void request_send(struct open_loop_client *t)
{
	t->due_ns = start_ns + sent++ * interval_ns;
	t->n = 0;
	t->body_left = -1;
	if (send(t->fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
		errors++;
}

static void send_all_due(int64_t now)
{
	while (sent < total && idle_first && start_ns + sent * interval_ns <= now)
		request_send(idle_take());
}

/* Sets body_left to the length of the body beyond the bytes received with the head, if the
 * head is complete. False: not a valid response. */
static bool read_response_head(struct open_loop_client *t)
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

/* False: the connection ended, or sent no valid response. */
static bool receive_bytes(struct open_loop_client *t)
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
	return read_response_head(t);
}

static void response_receive(struct open_loop_client *t)
{
	if (!receive_bytes(t)) {
		errors++;
		epoll_ctl(epoll, EPOLL_CTL_DEL, t->fd, NULL);
		return;
	}
	if (t->body_left != 0)
		return;
	responses++;
	if (t->due_ns >= start_ns + WARM_UP_NS)
		latency_us[counted++] = (float)(now_ns() - t->due_ns) / 1000;
	idle_append(t);
}

static int receive_all(void)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(epoll, events, EVENTS_MAX, 0);

	if (n < 0 && errno != EINTR)
		die("epoll_wait");
	for (int i = 0; i < n; i++)
		response_receive(events[i].data.ptr);
	return n;
}

static void run_load(void)
{
	int64_t poll_ns = start_ns, received_ns = start_ns;

	while (responses < total && !errors) {
		int64_t now = now_ns();
		struct timespec ts;

		if (receive_all() > 0)
			received_ns = now;
		else if (now - received_ns > TIMEOUT_NS)
			errors++;
		send_all_due(now);
		poll_ns = poll_ns + POLL_NS > now ? poll_ns + POLL_NS : now + POLL_NS;
		ts = (struct timespec){ poll_ns / 1000000000, poll_ns % 1000000000 };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
}

static void client_connect(uint16_t port)
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
	idle_append(t);
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double percentile(double share)
{
	long at = (long)((double)counted * share);

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
	total = (long)(rate * (atof(argv[5]) + WARM_UP_NS / 1e9));
	interval_ns = (int64_t)(1e9 / rate);
	latency_us = calloc((size_t)total + 1, sizeof(*latency_us));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!latency_us || epoll < 0 || request_bytes >= sizeof(request))
		die("start");
	for (int i = 0; i < atoi(argv[3]); i++)
		client_connect(port);
	start_ns = now_ns();
	run_load();
	qsort(latency_us, (size_t)counted, sizeof(*latency_us), by_size);
	printf("result requests=%ld errors=%ld seconds=%.3f p50=%.1f p99=%.1f p999=%.1f "
	       "max=%.1f\n",
	       responses, errors, (double)(now_ns() - start_ns) / 1e9, percentile(0.5),
	       percentile(0.99), percentile(0.999), percentile(1));
	return 0;
}
