/* What does SQPOLL save, and what does it cost on a machine with two cores? */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
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

#define IDLE_MS 1000
#define WAIT_MS 300
#define ROUNDS 200
#define PATIENCE_MS 10000 /* on a busy machine the thread has to wait for a core */
#define TRIES_MAX 100

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

static int open_with(unsigned flags)
{
	struct io_uring_params params = { .flags = flags, .sq_thread_idle = IDLE_MS };
	int res = io_uring_queue_init_params(8, &ring, &params);

	for (unsigned i = 0; res == 0 && i < ring.sq.ring_entries; i++)
		ring.sq.array[i] = i;
	return res;
}

static uint64_t cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The fence orders the new tail before the flag, as the thread orders the flag before its last
 * look at the tail. */
static bool needs_wakeup(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(ring.sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP;
}

static bool completes(struct io_uring_cqe *cqe, int timeout_ms)
{
	for (int i = 0; i < timeout_ms; i++) {
		if (take(cqe))
			return true;
		usleep(1000);
	}
	return false;
}

static void wake(void)
{
	io_uring_enter((unsigned)ring.ring_fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL);
}

/* Waits for a completion while the thread is awake. */
static bool completes_awake(struct io_uring_cqe *cqe)
{
	for (int i = 0; i < PATIENCE_MS; i++) {
		bool sleeping = needs_wakeup();

		if (take(cqe))
			return true;
		if (sleeping)
			return false;
		usleep(1000);
	}
	return false;
}

/* If this process loses its core for IDLE_MS before its entry, the thread sleeps by then. It
 * is woken, and the entry says nothing: another one is tried. */
static void no_calls(void)
{
	struct io_uring_cqe cqe;
	bool taken = false;

	for (int i = 0; i < TRIES_MAX && !taken; i++) {
		entry(IORING_OP_NOP, -1, 1);
		taken = completes_awake(&cqe);
		if (taken || !needs_wakeup())
			break;
		wake();
		need(completes(&cqe, PATIENCE_MS), "a woken polling thread");
	}
	claim(taken,
	      "a thread of the kernel takes the entry: no system call except to sleep");
}

/* Processor time used while there is nothing to do. */
static uint64_t idle_us(void)
{
	uint64_t began = cpu_us();

	usleep(WAIT_MS * 1000);
	return cpu_us() - began;
}

static uint64_t spent_awake_us(void)
{
	struct io_uring_cqe cqe;

	entry(IORING_OP_NOP, -1, 1);
	if (!completes_awake(&cqe)) {
		wake();
		need(completes(&cqe, PATIENCE_MS), "an awake polling thread");
	}
	return idle_us();
}

/* If other threads want the core as well, the polling thread gets only a share of it. So
 * ten windows are measured. */
static void burns_core(uint64_t without)
{
	uint64_t with = 0;

	for (int i = 0; i < 10 && with <= WAIT_MS * 1000 / 20; i++)
		with = spent_awake_us();
	printf("note: %d ms with nothing to do took %llu ms of processor time, %llu "
	       "without SQPOLL\n",
	       WAIT_MS, (unsigned long long)with / 1000,
	       (unsigned long long)without / 1000);
	claim(with > 10 * without && with > WAIT_MS * 1000 / 20,
	      "with nothing to do the thread keeps a core busy");
}

static void sleeps(void)
{
	struct io_uring_cqe cqe;

	for (int i = 0; i < PATIENCE_MS && !needs_wakeup(); i++)
		usleep(1000);
	claim(needs_wakeup(),
	      "after its idle time the thread sleeps and sets NEED_WAKEUP");
	entry(IORING_OP_NOP, -1, 1);
	claim(!completes(&cqe, 20), "while the thread sleeps an entry waits");
	wake();
	claim(completes(&cqe, PATIENCE_MS), "an enter with SQ_WAKEUP wakes the thread");
}

/* Silent sends whose buffers are reused when the entry was taken, as in a tick. Returns
 * how many of ROUNDS were not sent by then. */
static int early_sends(int pair[2])
{
	char text[] = "x", seen;
	int early = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct io_uring_sqe *sqe = entry(IORING_OP_SEND, pair[0], 2);

		text[0] = 'x';
		sqe->addr = (uintptr_t)text;
		sqe->len = 1;
		sqe->msg_flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
		sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
		io_uring_enter((unsigned)ring.ring_fd, 1, 0,
			       IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP, NULL);
		text[0] = 'o';
		need(read(pair[1], &seen, 1) == 1, "the byte");
		early += seen == 'o';
	}
	return early;
}

/* On a busy machine this process can lose its core whenever it wakes the thread. So there
 * are many attempts, and if no early send is seen there is no verdict. */
static void silence(void)
{
	int pair[2], early = 0, tries = 0;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	while (early == 0 && tries++ < TRIES_MAX)
		early = early_sends(pair);
	printf("note: of %d silent sends %d were not sent when the enter returned\n",
	       tries * ROUNDS, early);
	errno = ETIME;
	need(early > 0, "a send that was still to come");
	claim(early > 0,
	      "an enter that has returned does not mean that sends were made: a "
	      "silent send's bytes may not be reused yet");
	close(pair[0]);
	close(pair[1]);
}

/* Time for a byte to a socket and back, as a worker does it (wall clock). */
static double round_us(bool polled, const int pair[2])
{
	uint64_t began = now_us();
	struct io_uring_cqe cqe;
	char c;

	for (int i = 0; i < ROUNDS; i++) {
		struct io_uring_sqe *sqe = entry(IORING_OP_RECV, pair[0], 1);

		sqe->addr = (uintptr_t)&c;
		sqe->len = 1;
		need(write(pair[1], "x", 1) == 1, "write");
		if (polled)
			io_uring_enter(
				(unsigned)ring.ring_fd, 1, 1,
				IORING_ENTER_GETEVENTS |
					(needs_wakeup() ? IORING_ENTER_SQ_WAKEUP : 0),
				NULL);
		else
			enter(1, 1000, IORING_ENTER_GETEVENTS);
		need(take(&cqe) && cqe.res == 1, "the byte");
	}
	return (double)(now_us() - began) / ROUNDS;
}

int main(void)
{
	uint64_t without;
	int pair[2];
	double own, polled;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	errno = -open_with(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	need(errno == 0, "io_uring_setup");
	without = idle_us();
	own = round_us(false, pair);
	io_uring_queue_exit(&ring);
	claim(open_with(IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER |
			IORING_SETUP_DEFER_TASKRUN) == -EINVAL,
	      "SQPOLL and DEFER_TASKRUN exclude each other: EINVAL");
	errno = -open_with(IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER);
	need(errno == 0, "SQPOLL");
	no_calls();
	burns_core(without);
	polled = round_us(true, pair);
	printf("note: a receive took %.1f us submitted by an enter, %.1f by the thread\n",
	       own, polled);
	sleeps();
	silence();
	io_uring_queue_exit(&ring);
	return failed;
}
