/* Does a ring count as locked memory, of whom, and until when? */
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define USER 31999u /* whose rings nobody else has */
#define ENTRIES 256u
#define LIMIT ((rlim_t)60 * 1024) /* one ring of 36 KiB, and not two */

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

static int try_ring(struct io_uring *ring)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
		.cq_entries = 4 * ENTRIES,
	};

	return io_uring_queue_init_params(ENTRIES, ring, &params);
}

static void wait_ms(unsigned ms)
{
	const struct timespec pause = { .tv_nsec = (long)ms * 1000000L };

	nanosleep(&pause, NULL);
}

/* Until it is to be had; -1: not within a second. */
static int ms_until_ring(void)
{
	struct io_uring ring;

	for (int ms = 0; ms < 1000; ms += 50) {
		if (try_ring(&ring) == 0) {
			io_uring_queue_exit(&ring);
			return ms;
		}
		wait_ms(50);
	}
	return -1;
}

/* A ring of another process of this user, which holds it until it is killed. */
static pid_t holder(void)
{
	int ready[2];
	char word = 0;
	pid_t child;

	need(pipe(ready) == 0, "pipe");
	child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		struct io_uring ring;

		word = try_ring(&ring) == 0;
		if (write(ready[1], &word, 1) == 1)
			pause();
		_exit(0);
	}
	need(read(ready[0], &word, 1) == 1 && word, "a first ring");
	return child;
}

int main(void)
{
	const struct rlimit limit = { LIMIT, LIMIT };
	struct io_uring one, two;
	pid_t other;
	int ms;

	need(geteuid() == 0 && setgid(USER) == 0 && setuid(USER) == 0,
	     "to become another user");
	need(setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "a lower limit of locked memory");
	errno = -try_ring(&one);
	need(errno == 0, "a ring");
	if (try_ring(&two) == 0) {
		printf("note: two rings below the limit for one: a kernel before 6.14\n");
		return 77;
	}
	claim(try_ring(&two) == -ENOMEM,
	      "two rings beyond the limit are refused with ENOMEM");
	io_uring_queue_exit(&one);
	ms = ms_until_ring();
	printf("note: a ring that was closed was out of the way after %d ms\n", ms);
	claim(ms >= 0 && ms < 400, "one that was closed is out of the way within 400 ms");
	wait_ms(100);
	other = holder();
	claim(try_ring(&two) == -ENOMEM,
	      "that of another process of this user counts as well");
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	ms = ms_until_ring();
	printf("note: that of a process that was killed was out of the way after %d ms\n",
	       ms);
	claim(ms >= 0 && ms < 400, "also if it was killed");
	return failed;
}
