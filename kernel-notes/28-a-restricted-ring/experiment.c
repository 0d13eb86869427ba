/* What can a restricted ring not do, and can the restriction be undone? */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

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

static int register_it(unsigned what, void *arg, unsigned n)
{
	return io_uring_register((unsigned)ring.ring_fd, what, arg, n);
}

static void open_disabled(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED,
	};

	errno = -io_uring_queue_init_params(8, &ring, &params);
	need(errno == 0, "io_uring_setup");
	for (unsigned i = 0; i < ring.sq.ring_entries; i++)
		ring.sq.array[i] = i;
}

/* Permits NOP and RECV, and flags if `flags`. */
static int restrict_it(bool flags)
{
	struct io_uring_restriction list[4];

	memset(list, 0, sizeof(list));
	list[0].opcode = list[1].opcode = IORING_RESTRICTION_SQE_OP;
	list[0].sqe_op = IORING_OP_NOP;
	list[1].sqe_op = IORING_OP_RECV;
	list[2].opcode = IORING_RESTRICTION_REGISTER_OP;
	list[2].register_op = IORING_REGISTER_IOWQ_MAX_WORKERS;
	list[3].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	list[3].sqe_flags = IOSQE_CQE_SKIP_SUCCESS;
	return register_it(IORING_REGISTER_RESTRICTIONS, list, flags ? 4 : 3);
}

/* Submits the entry that was written and returns its result; -ETIME: no completion. */
static int result(void)
{
	struct io_uring_cqe cqe = { .res = -ETIME };

	enter(1, 20, IORING_ENTER_GETEVENTS);
	take(&cqe);
	return cqe.res;
}

static int open_null(void)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_OPENAT, AT_FDCWD, 1);

	sqe->addr = (uintptr_t) "/dev/null";
	sqe->open_flags = O_RDONLY | O_CLOEXEC;
	return result();
}

static void unrestricted(void)
{
	open_disabled();
	claim(enter(0, 0, 0) == -EBADFD, "a disabled ring cannot be entered");
	need(register_it(IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0, "an enabled ring");
	claim(open_null() > 2, "without restrictions a ring opens files");
	claim(restrict_it(true) == -EBADFD,
	      "an enabled ring can no longer be restricted");
	io_uring_queue_exit(&ring);
}

static void restricted(void)
{
	unsigned workers[2] = { 1, 1 };
	int fds[2] = { 0, 1 };

	open_disabled();
	need(restrict_it(true) == 0, "restrictions");
	claim(restrict_it(true) == -EBUSY, "restrictions can be registered only once");
	need(register_it(IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0, "an enabled ring");
	entry(IORING_OP_NOP, -1, 1);
	claim(result() == 0, "a listed operation works");
	claim(open_null() == -EACCES,
	      "an operation that is not listed ends with EACCES and has no effect");
	claim(register_it(IORING_REGISTER_FILES, fds, 2) == -EACCES &&
		      register_it(IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2) == 0,
	      "a register call that is not listed is refused with EACCES too");
	claim(restrict_it(true) == -EACCES,
	      "the list cannot be changed on the enabled ring");
	entry(IORING_OP_NOP, -1, 1)->flags = IOSQE_IO_LINK;
	claim(result() == -EACCES, "a flag that is not listed is refused");
	entry(IORING_OP_NOP, -1, 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
	claim(result() == -ETIME, "a flag that is listed is accepted");
	io_uring_queue_exit(&ring);
}

static void flags_need_a_list(void)
{
	open_disabled();
	need(restrict_it(false) == 0, "restrictions");
	need(register_it(IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0, "an enabled ring");
	entry(IORING_OP_NOP, -1, 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
	claim(result() == -EACCES,
	      "a list of operations without flags forbids all flags");
	io_uring_queue_exit(&ring);
}

/* Another thread makes the ring; this one enables it. */
static void *open_elsewhere(void *arg)
{
	(void)arg;
	open_disabled();
	return NULL;
}

static void belongs_to_enabling_thread(void)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, open_elsewhere, NULL) == 0, "a thread");
	pthread_join(thread, NULL);
	need(register_it(IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0, "an enabled ring");
	entry(IORING_OP_NOP, -1, 1);
	claim(result() == 0,
	      "a ring belongs to the thread that enables it, not to the one that "
	      "made it");
	io_uring_queue_exit(&ring);
}

static double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double nop_ns(bool with)
{
	struct io_uring_cqe cqe;
	double best = 1e12;

	open_disabled();
	need(!with || restrict_it(true) == 0, "restrictions");
	need(register_it(IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0, "an enabled ring");
	for (int turn = 0; turn < 20; turn++) {
		double began = cpu_ns();

		for (int i = 0; i < 1000; i++) {
			for (int k = 0; k < 8; k++)
				entry(IORING_OP_NOP, -1, 1);
			enter(8, 1000, IORING_ENTER_GETEVENTS);
			while (take(&cqe))
				continue;
		}
		began = cpu_ns() - began;
		best = began < best ? began : best;
	}
	io_uring_queue_exit(&ring);
	return best / 8000;
}

/* For the note only: no claim depends on it. */
static void cost(void)
{
	double without = nop_ns(false), with = nop_ns(true);

	printf("note: a NOP, one of 8 in an enter, took %.0f ns without restrictions, "
	       "%.0f with\n",
	       without, with);
}

int main(void)
{
	unrestricted();
	restricted();
	flags_need_a_list();
	belongs_to_enabling_thread();
	cost();
	return failed;
}
