/* Does a ring count as locked memory, for which user, and until when? */
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

#define USER 31999u /* a user without other rings */
#define ENTRIES 256u
#define LIMIT ((rlim_t)60 * 1024) /* enough for one ring of 36 KiB, not for two */

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

/* Milliseconds until a ring can be made; -1: not within a second. */
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
static pid_t ring_holder(void)
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
	need(read(ready[0], &word, 1) == 1 && word, "a ring in the other process");
	return child;
}

int main(void)
{
	const struct rlimit limit = { LIMIT, LIMIT };
	struct io_uring one, two;
	pid_t other;
	int ms;

	need(geteuid() == 0 && setgid(USER) == 0 && setuid(USER) == 0,
	     "the right to become another user");
	need(setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "a lower RLIMIT_MEMLOCK");
	errno = -try_ring(&one);
	need(errno == 0, "a ring");
	if (try_ring(&two) == 0) {
		printf("note: two rings with a limit for one: a kernel before 6.14\n");
		return 77;
	}
	claim(try_ring(&two) == -ENOMEM,
	      "a second ring beyond the limit is refused with ENOMEM");
	io_uring_queue_exit(&one);
	ms = ms_until_ring();
	printf("note: a closed ring was no longer counted after %d ms\n", ms);
	claim(ms >= 0 && ms < 400,
	      "a closed ring is no longer counted after at most 400 ms");
	wait_ms(100);
	other = ring_holder();
	claim(try_ring(&two) == -ENOMEM,
	      "a ring of another process of this user counts as well");
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	ms = ms_until_ring();
	printf("note: the ring of a killed process was no longer counted after %d ms\n",
	       ms);
	claim(ms >= 0 && ms < 400,
	      "the ring of a killed process is no longer counted after at most 400 ms");
	return failed;
}
