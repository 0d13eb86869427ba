/* What are the results of a cancel and its operation, and is a byte ever lost between
 * them? */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

#define TRIALS_MAX 4000
#define RACE_MS 1500

static char received[64];

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

/* The flags of src/io/ringsetup.c. */
static void open_ring(unsigned entries, unsigned cq_entries)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = cq_entries,
	};

	errno = -io_uring_queue_init_params(entries, &ring, &params);
	need(errno == 0, "io_uring_setup");
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

/* One io_uring_enter, which submits all entries written so far. */
static int enter(unsigned wait_n, unsigned timeout_ms, unsigned flags)
{
	struct __kernel_timespec ts = { .tv_sec = timeout_ms / 1000,
					.tv_nsec = timeout_ms % 1000 * 1000000ll };
	struct io_uring_getevents_arg arg = { .sigmask_sz = _NSIG / 8,
					      .ts = (uintptr_t)&ts };
	unsigned taken = __atomic_load_n(ring.sq.khead, __ATOMIC_ACQUIRE);

	return io_uring_enter2((unsigned)ring.ring_fd, *ring.sq.ktail - taken, wait_n,
			       flags | IORING_ENTER_EXT_ARG, (sigset_t *)(void *)&arg,
			       sizeof(arg));
}

/* Takes the oldest completion, without a system call. */
static bool take(struct io_uring_cqe *cqe)
{
	unsigned head = *ring.cq.khead;

	if (head == __atomic_load_n(ring.cq.ktail, __ATOMIC_ACQUIRE))
		return false;
	*cqe = ring.cq.cqes[head & ring.cq.ring_mask];
	__atomic_store_n(ring.cq.khead, head + 1, __ATOMIC_RELEASE);
	return true;
}

static int unread(int fd)
{
	int n = 0;

	ioctl(fd, FIONREAD, &n);
	return n;
}

static void receive(int fd)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, 1);

	sqe->addr = (uintptr_t)received;
	sqe->len = sizeof(received);
}

static void cancel_1(void)
{
	entry(IORING_OP_ASYNC_CANCEL, -1, 2)->addr = 1;
}

#define NOT_YET 1000

/* Waits until operation (1) and cancel (2) are complete. True: each completed exactly
 * once. */
static bool await_both(int *op, int *cancel)
{
	int *res[3] = { NULL, op, cancel };
	struct io_uring_cqe cqe;
	int ends = 0;

	*op = *cancel = NOT_YET;
	for (int i = 0; i < 40 && (*op == NOT_YET || *cancel == NOT_YET); i++) {
		enter(1, 50, IORING_ENTER_GETEVENTS);
		while (take(&cqe)) {
			*res[cqe.user_data] = cqe.res;
			ends++;
		}
	}
	return ends == 2 && *op != NOT_YET && *cancel != NOT_YET;
}

static void cancel_waiting(int pair[2])
{
	int op, cancel;

	receive(pair[0]);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	cancel_1();
	claim(await_both(&op, &cancel) && cancel == 0 && op == -ECANCELED,
	      "the operation waits: the cancel returns 0, the operation ECANCELED");
}

static void cancel_complete(int pair[2])
{
	int op, cancel;

	need(write(pair[1], "x", 1) == 1, "write");
	receive(pair[0]);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	cancel_1();
	claim(await_both(&op, &cancel) && cancel == -ENOENT && op == 1,
	      "the operation is complete but its completion not taken yet: ENOENT, "
	      "and the result stays");
}

static void cancel_submitted_together(int pair[2])
{
	int op, cancel;

	receive(pair[0]);
	cancel_1();
	claim(await_both(&op, &cancel) && cancel == 0 && op == -ECANCELED,
	      "the operation is submitted together with its cancel: the same results "
	      "as if it had waited");
}

/* Opening a fifo without a writer blocks a worker thread. Returns the result of a cancel
 * after delay_ms, the time for a thread to take the operation. */
static int cancel_open(const char *path, unsigned delay_ms, int *op)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_OPENAT, AT_FDCWD, 1);
	int cancel;

	sqe->addr = (uintptr_t)path;
	sqe->open_flags = O_RDONLY | O_CLOEXEC;
	sqe->flags = IOSQE_ASYNC;
	enter(0, 0, IORING_ENTER_GETEVENTS);
	usleep(delay_ms * 1000);
	cancel_1();
	need(await_both(op, &cancel), "a completion of each");
	return cancel;
}

/* Until a thread has taken the operation, a cancel removes it from the queue, which is
 * not the case under test. On a busy machine that can take long. */
static void cancel_on_thread(void)
{
	int op = NOT_YET, cancel = 0;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/fairlead-note-%d", getpid());
	need(mkfifo(path, 0600) == 0, "a fifo in /tmp");
	for (unsigned ms = 50; ms <= 3200 && cancel == 0; ms *= 2)
		cancel = cancel_open(path, ms, &op);
	unlink(path);
	errno = ETIME;
	need(cancel != 0, "a thread that takes the operation within 3.2 s");
	claim(cancel == -EALREADY && op < 0,
	      "the operation runs on a thread of the kernel: EALREADY, and it is "
	      "interrupted");
}

static void cancel_all(void)
{
	struct io_uring_cqe cqe;
	int pairs[3][2], res = NOT_YET, ended = 0;

	for (int i = 0; i < 3; i++) {
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) == 0, "socketpair");
		receive(pairs[i][0]);
	}
	entry(IORING_OP_ASYNC_CANCEL, -1, 2)->cancel_flags = IORING_ASYNC_CANCEL_ANY |
							     IORING_ASYNC_CANCEL_ALL;
	enter(4, 1000, IORING_ENTER_GETEVENTS);
	while (take(&cqe)) {
		if (cqe.user_data == 2)
			res = cqe.res;
		else
			ended += cqe.res == -ECANCELED;
	}
	claim(res == 3 && ended == 3,
	      "a cancel of ALL returns how many it cancelled, which may be 0");
	for (int i = 0; i < 3; i++) {
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
}

/* ---- the race ---- */

static atomic_int round_now, writes_now, over;
static int far_end;

static void pause_for(int turns)
{
	while (turns-- > 0)
		__asm__ volatile("" ::: "memory");
}

static void await_value(atomic_int *value, int n)
{
	for (int i = 0; atomic_load(value) < n; i++)
		if (i > 1000)
			sched_yield();
}

/* Writes one byte in each round, a little earlier or later each time. */
static void *writer(void *arg)
{
	(void)arg;
	for (int i = 1; i <= TRIALS_MAX; i++) {
		await_value(&round_now, i);
		if (atomic_load(&over))
			break;
		atomic_store(&writes_now, i);
		pause_for(i % 64 * 256);
		if (i % 8 < 2) /* in case both threads share one processor */
			sched_yield();
		if (write(far_end, "x", 1) != 1)
			break;
	}
	return NULL;
}

/* One round. Returns false if a byte was lost or delivered twice, or if a completion was
 * missing or came twice. */
static bool round_is_right(int fd, int i, bool completes, int seen[2])
{
	int op, cancel, left;

	receive(fd);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	atomic_store(&round_now, i);
	await_value(&writes_now, i);
	pause_for(i / 64 % 64 * 256);
	if (completes)
		enter(0, 0, IORING_ENTER_GETEVENTS);
	cancel_1();
	if (!await_both(&op, &cancel) || (op != 1 && op != -ECANCELED))
		return false;
	if (cancel == 0 && op != -ECANCELED)
		return false;
	seen[op == 1]++;
	left = op == 1 ? 0 : 1;
	for (int k = 0; k < 5000 && unread(fd) < left; k++)
		usleep(100);
	if (unread(fd) != left)
		return false;
	return left == 0 || read(fd, received, sizeof(received)) == 1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void race(int pair[2])
{
	uint64_t until_ms = now_ms() + RACE_MS;
	int seen[2][2] = { { 0 } }, i;
	bool as_expected = true;
	pthread_t thread;

	far_end = pair[1];
	need(pthread_create(&thread, NULL, writer, NULL) == 0, "a thread");
	for (i = 1; i <= TRIALS_MAX && now_ms() < until_ms; i++)
		as_expected &= round_is_right(pair[0], i, i % 2 == 0, seen[i % 2 == 0]);
	atomic_store(&over, 1);
	atomic_store(&round_now, i);
	pthread_join(thread, NULL);
	printf("note: the byte won %d of %d races; with an enter before the cancel "
	       "%d of %d\n",
	       seen[0][1], i / 2, seen[1][1], (i - 1) / 2);
	claim(seen[0][1] == 0,
	      "a cancel wins over bytes that have arrived but were not completed "
	      "before it was submitted");
	claim(as_expected,
	      "in each race both complete once, and the byte is in the receive's "
	      "buffer or still in the socket");
}

int main(void)
{
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	open_ring(8, 64);
	cancel_waiting(pair);
	cancel_complete(pair);
	cancel_submitted_together(pair);
	cancel_on_thread();
	cancel_all();
	race(pair);
	return failed;
}
