/* Are completions made only inside io_uring_enter, and is one enter enough for a tick? */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

static void open_ring(unsigned flags)
{
	struct io_uring_params params = { .flags = flags };

	errno = -io_uring_queue_init_params(8, &ring, &params);
	need(errno == 0, "io_uring_setup");
	for (unsigned i = 0; i < ring.sq.ring_entries; i++)
		ring.sq.array[i] = i;
}

#define ENGINE_FLAGS                                               \
	(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | \
	 IORING_SETUP_SUBMIT_ALL)

static char bytes[16];

static void receive(int fd, uint64_t id)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, id);

	sqe->addr = (uintptr_t)bytes;
	sqe->len = sizeof(bytes);
}

/* A receive waits, its bytes arrive, and this thread makes other system calls. Returns
 * whether a completion appears meanwhile. */
static bool completes_outside(int pair[2])
{
	receive(pair[0], 1);
	enter(0, 0, 0);
	need(write(pair[1], "five.", 5) == 5, "write");
	for (int i = 0; i < 1000; i++)
		getppid();
	return io_uring_cq_ready(&ring) > 0;
}

static void without_defer(int pair[2])
{
	struct io_uring_cqe cqe;

	open_ring(0);
	errno = 0;
	need(completes_outside(pair),
	     "a completion outside of an enter on a ring without DEFER_TASKRUN");
	take(&cqe);
	io_uring_queue_exit(&ring);
}

static void deferred(int pair[2])
{
	struct io_uring_cqe cqe = { 0 };

	claim(!completes_outside(pair),
	      "bytes that arrive make no completion while the thread is outside of "
	      "an enter");
	enter(0, 0, 0);
	claim(io_uring_cq_ready(&ring) == 0,
	      "an enter without GETEVENTS makes no completion for them either");
	entry(IORING_OP_NOP, -1, 2);
	enter(0, 0, 0);
	claim(take(&cqe) && cqe.user_data == 2,
	      "an operation that completes when it is submitted has its completion "
	      "at once");
	enter(0, 0, IORING_ENTER_GETEVENTS);
	claim(take(&cqe) && cqe.user_data == 1 && cqe.res == 5,
	      "an enter with GETEVENTS makes the receive's completion, even if it "
	      "does not wait");
}

/* Everything that a tick submits and receives. */
static void submits_waits_returns(int pair[2])
{
	struct io_uring_cqe cqe;
	struct io_uring_sqe *sqe;
	unsigned seen = 0;

	receive(pair[0], 1);
	sqe = entry(IORING_OP_SEND, pair[1], 2);
	sqe->addr = (uintptr_t) "four";
	sqe->len = 4;
	entry(IORING_OP_NOP, -1, 3);
	enter(3, 1000, IORING_ENTER_GETEVENTS);
	while (take(&cqe))
		seen |= 1u << cqe.user_data;
	claim(seen == (1u << 1 | 1u << 2 | 1u << 3),
	      "one enter submits, waits, and returns completions that its own "
	      "submissions caused");
	claim(enter(1, 10, IORING_ENTER_GETEVENTS) == -ETIME,
	      "the timeout of the wait needs no timeout operation");
}

static void *enter_elsewhere(void *res)
{
	*(int *)res = enter(0, 0, IORING_ENTER_GETEVENTS);
	return NULL;
}

static void single_issuer(void)
{
	pthread_t thread;
	int res = 0;

	need(pthread_create(&thread, NULL, enter_elsewhere, &res) == 0, "a thread");
	pthread_join(thread, NULL);
	claim(res == -EEXIST, "an enter by another thread is refused with EEXIST");
}

/* Submits a faulty entry and a good one. Returns how many the enter takes. */
static int taken_with_error(void)
{
	struct io_uring_cqe cqe;
	int n;

	entry(255, -1, 1);
	entry(IORING_OP_NOP, -1, 2);
	n = enter(0, 0, IORING_ENTER_GETEVENTS);
	while (take(&cqe))
		continue;
	return n;
}

static void submit_all(void)
{
	claim(taken_with_error() == 2,
	      "with SUBMIT_ALL a faulty entry does not stop the submission of the "
	      "next one");
	io_uring_queue_exit(&ring);
	open_ring(ENGINE_FLAGS & ~IORING_SETUP_SUBMIT_ALL);
	claim(taken_with_error() == 1, "without SUBMIT_ALL it does");
}

int main(void)
{
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	without_defer(pair);
	open_ring(ENGINE_FLAGS);
	deferred(pair);
	submits_waits_returns(pair);
	single_issuer();
	submit_all();
	return failed;
}
