/* Which listener of a group gets the connections that arrive on a CPU: with SO_INCOMING_CPU, and
 * with a program? And after one of the listeners was closed? */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 32
#define LISTENERS 3
#define NO_CPU (-1)

static struct sockaddr_in at;
static int listeners[LISTENERS];
static int cpus[2]; /* two that this process may use */
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

static void find_cpus(void)
{
	cpu_set_t set;
	int n = 0;

	need(sched_getaffinity(0, sizeof(set), &set) == 0, "an affinity mask");
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET((size_t)cpu, &set))
			cpus[n++] = cpu;
	errno = 0;
	need(n == 2, "two CPUs");
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	need(sched_setaffinity(0, sizeof(set), &set) == 0, "a CPU");
}

static int listen_one(int names)
{
	const int on = 1;
	const int cpu = names;
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	need(bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 128) == 0 &&
		     getsockname(fd, (struct sockaddr *)&at, &len) == 0,
	     "a listener on 127.0.0.1");
	need(setsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, sizeof(cpu)) == 0,
	     "SO_INCOMING_CPU");
	return fd;
}

/* A group on a port of its own. */
static void listen_all(int first, int second, int third)
{
	at = (struct sockaddr_in){ .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	listeners[0] = listen_one(first);
	listeners[1] = listen_one(second);
	listeners[2] = listen_one(third);
}

static void close_one(int which)
{
	close(listeners[which]);
	listeners[which] = -1;
}

static void close_all(void)
{
	for (int i = 0; i < LISTENERS; i++)
		if (listeners[i] >= 0)
			close_one(i);
}

/* Connects from this CPU and accepts. Returns the listener that had the connection. */
static int reached(void)
{
	const struct linger none = { .l_onoff = 1 };
	struct pollfd p[LISTENERS];
	int fd = socket(AF_INET, SOCK_STREAM, 0), which = 0, accepted;

	need(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0, "connect");
	for (int i = 0; i < LISTENERS; i++)
		p[i] = (struct pollfd){ listeners[i], POLLIN, 0 };
	need(poll(p, LISTENERS, 1000) == 1, "a connection to accept");
	while (!(p[which].revents & POLLIN))
		which++;
	accepted = accept(listeners[which], NULL, NULL);
	need(accepted >= 0, "accept");
	/* Without TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(fd);
	close(accepted);
	return which;
}

/* How many of CONNECTIONS from this CPU each listener got. */
static void spread(int cpu, int *got)
{
	memset(got, 0, LISTENERS * sizeof(got[0]));
	run_on(cpu);
	for (int i = 0; i < CONNECTIONS; i++)
		got[reached()]++;
	printf("note: from CPU %d: %d, %d, %d\n", cpu, got[0], got[1], got[2]);
}

static bool all_reach(int cpu, int listener)
{
	int got[LISTENERS];

	spread(cpu, got);
	return got[listener] == CONNECTIONS;
}

static void by_cpu(void)
{
	int got[LISTENERS];

	listen_all(cpus[0], cpus[1], NO_CPU);
	claim(all_reach(cpus[0], 0) && all_reach(cpus[1], 1),
	      "SO_INCOMING_CPU: connections reach the listener that names the CPU on which "
	      "they arrive");
	close_one(0);
	claim(all_reach(cpus[1], 1),
	      "when a listener is closed, those of another CPU reach theirs as before");
	spread(cpus[0], got);
	claim(got[1] + got[2] == CONNECTIONS,
	      "connections on a CPU that no listener names any more reach one of the others");
	close_all();
}

/* Returns the number of the CPU, less that of the first one. */
static void attach_program(int fd)
{
	struct sock_filter code[] = {
		{ BPF_LD | BPF_W | BPF_ABS, 0, 0, (unsigned)(SKF_AD_OFF + SKF_AD_CPU) },
		{ BPF_ALU | BPF_SUB | BPF_K, 0, 0, (unsigned)cpus[0] },
		{ BPF_RET | BPF_A, 0, 0, 0 },
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	need(setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
			sizeof(program)) == 0,
	     "SO_ATTACH_REUSEPORT_CBPF");
}

static void by_program(void)
{
	errno = 0;
	need(cpus[1] == cpus[0] + 1, "neighbouring CPUs");
	listen_all(NO_CPU, NO_CPU, NO_CPU);
	attach_program(listeners[0]);
	claim(all_reach(cpus[0], 0) && all_reach(cpus[1], 1),
	      "a program that returns the CPU leads to the listener in that place of the group");
	close_one(0);
	claim(all_reach(cpus[0], 2),
	      "when the first listener is closed, the last one is in its place");
	close_all();
}

int main(void)
{
	find_cpus();
	by_cpu();
	by_program();
	return failed;
}
