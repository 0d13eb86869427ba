/* Can a wait ask for n completions and accept fewer after a time? */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

#define PAIRS 8

/* Linux 6.12. */
#define FEAT_MIN_TIMEOUT (1u << 15)

static int pairs[PAIRS][2];
static char received[PAIRS][16];
static bool armed[PAIRS];

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

static void open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL,
	};

	errno = -io_uring_queue_init_params(2 * PAIRS, &ring, &params);
	need(errno == 0, "io_uring_setup");
	errno = EINVAL;
	need(params.features & FEAT_MIN_TIMEOUT, "a minimum wait time (Linux 6.12)");
	for (unsigned i = 0; i < ring.sq.ring_entries; i++)
		ring.sq.array[i] = i;
}

static struct io_uring_sqe *entry(uint8_t opcode, int fd, uint64_t id)
{
	unsigned tail = *ring.sq.ktail;
	struct io_uring_sqe *sqe = &ring.sq.sqes[tail & ring.sq.ring_mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->user_data = id;
	__atomic_store_n(ring.sq.ktail, tail + 1, __ATOMIC_RELEASE);
	return sqe;
}

/* Waits for n completions; after min_ms for one; and at most timeout_ms. */
static int enter(unsigned n, unsigned min_ms, unsigned timeout_ms)
{
	struct __kernel_timespec ts = { .tv_sec = timeout_ms / 1000,
					.tv_nsec = timeout_ms % 1000 * 1000000ll };
	/* The minimum time is where liburing 2.3 has padding. */
	struct io_uring_getevents_arg arg = { .sigmask_sz = _NSIG / 8,
					      .pad = min_ms * 1000,
					      .ts = (uintptr_t)&ts };
	unsigned taken = __atomic_load_n(ring.sq.khead, __ATOMIC_ACQUIRE);

	return io_uring_enter2((unsigned)ring.ring_fd, *ring.sq.ktail - taken, n,
			       IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
			       (sigset_t *)(void *)&arg, sizeof(arg));
}

static unsigned take_all(void)
{
	unsigned tail = __atomic_load_n(ring.cq.ktail, __ATOMIC_ACQUIRE);
	unsigned n = 0;

	for (unsigned head = *ring.cq.khead; head != tail; head++, n++)
		armed[ring.cq.cqes[head & ring.cq.ring_mask].user_data] = false;
	__atomic_store_n(ring.cq.khead, tail, __ATOMIC_RELEASE);
	return n;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void arm(void)
{
	for (uint64_t i = 0; i < PAIRS; i++) {
		struct io_uring_sqe *sqe;

		if (armed[i])
			continue;
		armed[i] = true;
		sqe = entry(IORING_OP_RECV, pairs[i][0], i);
		sqe->addr = (uintptr_t)received[i];
		sqe->len = sizeof(received[i]);
	}
	enter(0, 0, 0);
}

static void write_to(int n)
{
	for (int i = 0; i < n; i++)
		need(write(pairs[i][1], "x", 1) == 1, "write");
}

static void *all_later(void *arg)
{
	(void)arg;
	usleep(20000);
	write_to(PAIRS);
	return NULL;
}

static void *one_later(void *arg)
{
	(void)arg;
	usleep(50000);
	write_to(1);
	return NULL;
}

/* One completion is there, and the wait asks for more. */
static void too_few(void)
{
	uint64_t began = now_ms();
	int res;

	arm();
	write_to(1);
	res = enter(PAIRS, 0, 60);
	claim(res == 0 && now_ms() - began >= 59 && take_all() == 1,
	      "a wait for 8 with one completion lasts until its timeout");
	began = now_ms();
	arm();
	write_to(1);
	enter(PAIRS, 60, 20000);
	claim(now_ms() - began >= 59 && now_ms() - began < 10000 && take_all() == 1,
	      "with a minimum time it ends after that time if there is one completion");
	began = now_ms();
	arm();
	write_to(1);
	enter(1, 5000, 20000);
	claim(now_ms() - began < 4000 && take_all() == 1,
	      "a wait for one ends with that one: a minimum time has an effect only "
	      "with more");
}

static void all_there(void)
{
	uint64_t began = now_ms();
	pthread_t thread;

	arm();
	need(pthread_create(&thread, NULL, all_later, NULL) == 0, "a thread");
	enter(PAIRS, 20000, 30000);
	claim(now_ms() - began < 10000 && take_all() == PAIRS,
	      "a wait for 8 ends at once when all 8 are there, however long the "
	      "minimum time");
	pthread_join(thread, NULL);
}

static void none_there(void)
{
	pthread_t thread;

	arm();
	need(pthread_create(&thread, NULL, one_later, NULL) == 0, "a thread");
	claim(enter(PAIRS, 1, 20000) >= 0 && take_all() == 1,
	      "if there is no completion after the minimum time, the wait ends with "
	      "the first one");
	pthread_join(thread, NULL);
	claim(enter(1, 1, 30) == -ETIME && take_all() == 0,
	      "without any completion the wait ends with its timeout");
}

static long switches(void)
{
	struct rusage use;

	getrusage(RUSAGE_THREAD, &use);
	return use.ru_nvcsw;
}

static void *one_by_one(void *arg)
{
	(void)arg;
	for (int i = 0; i < PAIRS; i++) {
		usleep(5000);
		need(write(pairs[i][1], "x", 1) == 1, "write");
	}
	return NULL;
}

/* Counts the enters and sleeps for eight events that arrive one by one. */
static void count_sleeps(unsigned n, unsigned min_ms, unsigned *enters, long *sleeps)
{
	pthread_t thread;
	unsigned seen = 0;

	arm();
	need(pthread_create(&thread, NULL, one_by_one, NULL) == 0, "a thread");
	*sleeps = switches();
	for (*enters = 0; seen < PAIRS; seen += take_all(), ++*enters)
		enter(n, min_ms, 10000);
	*sleeps = switches() - *sleeps;
	pthread_join(thread, NULL);
}

static void saved(void)
{
	unsigned enters, fewer;
	long sleeps, less;

	count_sleeps(1, 0, &enters, &sleeps);
	count_sleeps(PAIRS, 5000, &fewer, &less);
	printf("note: waiting for one: %u enters and %ld sleeps for 8 events; for eight: %u "
	       "and %ld\n",
	       enters, sleeps, fewer, less);
	claim(fewer == 1 && less <= 2,
	      "a wait for 8 sleeps once while they arrive: the first seven do not "
	      "wake it");
}

int main(void)
{
	for (int i = 0; i < PAIRS; i++)
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) == 0, "socketpair");
	open_ring();
	saved();
	too_few();
	all_there();
	none_there();
	return failed;
}
