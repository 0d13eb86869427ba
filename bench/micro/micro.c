/* micro --list | micro [-i | -c N] NAME
 *
 * Prints the nanoseconds of CPU time that one operation takes: the median of many batches.
 * With -i: the instructions in user mode, counted by the processor; exit status 77 if the
 * kernel or the machine does not permit it. With -c it runs N operations inside
 * micro_counted(), for callgrind to count. */
#include "micro.h"

#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BATCHES 101
#define BATCH_NS 1000000.0
#define WARM_UP 1000
#define NOT_COUNTABLE 77

static const struct micro_set *const sets[] = { &micro_heads,       &micro_routes,
						&micro_routetables, &micro_timers,
						&micro_buffers,     &micro_mail,
						&micro_balance,     &micro_records,
						&micro_sessions,    &micro_certificates };

void micro_must(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "micro: %s\n", what);
	exit(1);
}

static double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double batch_ns(const struct micro *m, unsigned n)
{
	double before = cpu_ns();

	m->run(n);
	return cpu_ns() - before;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_ns(const struct micro *m)
{
	static double seen[BATCHES];
	unsigned n = 1;

	while (batch_ns(m, n) < BATCH_NS && n < 1u << 30)
		n *= 2;
	for (size_t i = 0; i < BATCHES; i++)
		seen[i] = batch_ns(m, n) / n;
	qsort(seen, BATCHES, sizeof(seen[0]), ascending);
	return seen[BATCHES / 2];
}

/* callgrind counts inside this function (--toggle-collect). */
void micro_counted(const struct micro *m, unsigned n);

__attribute__((noinline)) void micro_counted(const struct micro *m, unsigned n)
{
	m->run(n);
	micro_keep(m);
}

static int instructions(const struct micro *m)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_HARDWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_HW_INSTRUCTIONS,
					.disabled = 1,
					.exclude_kernel = 1,
					.exclude_hv = 1 };
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1,
			      PERF_FLAG_FD_CLOEXEC);
	const unsigned n = 100000;
	uint64_t count = 0;

	if (fd < 0)
		return NOT_COUNTABLE;
	m->run(WARM_UP);
	ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
	m->run(n);
	ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
	if (read(fd, &count, sizeof(count)) != sizeof(count) || count == 0)
		return NOT_COUNTABLE;
	printf("%.1f\n", (double)count / n);
	return 0;
}

static const struct micro *prepared(const char *name)
{
	for (size_t s = 0; s < COUNT(sets); s++) {
		for (size_t i = 0; i < sets[s]->n; i++) {
			if (strcmp(sets[s]->micros[i].name, name) == 0) {
				sets[s]->prepare();
				if (sets[s]->prepare_row)
					sets[s]->prepare_row(i);
				return &sets[s]->micros[i];
			}
		}
	}
	return NULL;
}

static void list(void)
{
	for (size_t s = 0; s < COUNT(sets); s++)
		for (size_t i = 0; i < sets[s]->n; i++)
			printf("%s\t%s\n", sets[s]->micros[i].name,
			       sets[s]->micros[i].what);
}

int main(int argc, char **argv)
{
	const struct micro *m;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		list();
		return 0;
	}
	m = argc > 1 ? prepared(argv[argc - 1]) : NULL;
	if (!m) {
		fprintf(stderr, "usage: micro --list | micro [-i | -c N] NAME\n");
		return 2;
	}
	if (argc == 3 && strcmp(argv[1], "-i") == 0)
		return instructions(m);
	if (argc == 4 && strcmp(argv[1], "-c") == 0) {
		m->run(WARM_UP);
		micro_counted(m, (unsigned)atoi(argv[2]));
		return 0;
	}
	printf("%.2f\n", median_ns(m));
	return 0;
}
