/* How does one thread wake another that waits, at what cost, and can the wake-up be
 * missed? */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct io_uring ring;

static int wake_fd;
static uint64_t count;

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

static void arm(void)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_READ, wake_fd, 1);

	sqe->addr = (uintptr_t)&count;
	sqe->len = sizeof(count);
}

static void wake(void)
{
	const uint64_t one = 1;

	need(write(wake_fd, &one, sizeof(one)) == sizeof(one), "write");
}

/* True: the read completed in one enter. */
static bool woken(unsigned timeout_ms)
{
	struct io_uring_cqe cqe;

	enter(1, timeout_ms, IORING_ENTER_GETEVENTS);
	return take(&cqe) && cqe.user_data == 1 && cqe.res == sizeof(count);
}

static void *wake_later(void *arg)
{
	(void)arg;
	usleep(20000);
	wake();
	return NULL;
}

static void while_waiting(void)
{
	pthread_t thread;

	arm();
	need(pthread_create(&thread, NULL, wake_later, NULL) == 0, "a thread");
	claim(woken(5000),
	      "a write to an eventfd ends a wait that has a read of it armed");
	pthread_join(thread, NULL);
	claim(!woken(10), "the read is one-shot: the next wake-up needs another entry");
}

static void before_waiting(void)
{
	wake();
	arm();
	claim(woken(5000), "a wake-up before the wait and before the read is not lost");
}

static void wake_five_times(void)
{
	for (int i = 0; i < 5; i++)
		wake();
}

static void many_are_one(void)
{
	wake_five_times();
	arm();
	claim(woken(5000) && count == 5,
	      "five wake-ups before the read are one completion with the count 5");
	arm();
	enter(0, 0, IORING_ENTER_GETEVENTS);
	wake_five_times();
	claim(woken(5000) && count == 5,
	      "five wake-ups are one completion also if the read is armed already");
	wake();
	arm();
	claim(woken(5000) && count == 1,
	      "a wake-up after the count was taken is another completion");
}

/* Another ring that puts a completion into this one. */
static void by_ring(void)
{
	struct io_uring_cqe cqe = { 0 };
	struct io_uring_sqe *sqe;
	struct io_uring other;

	errno = -io_uring_queue_init(4, &other, 0);
	need(errno == 0, "io_uring_setup");
	for (int i = 0; i < 2; i++) {
		sqe = io_uring_get_sqe(&other);
		io_uring_prep_msg_ring(sqe, ring.ring_fd, 7, (uint64_t)(40 + i), 0);
		io_uring_submit(&other);
	}
	enter(1, 5000, IORING_ENTER_GETEVENTS);
	claim(take(&cqe) && cqe.user_data == 40 && cqe.res == 7,
	      "a ring can put a completion into another, which has nothing armed for it");
	claim(take(&cqe) && cqe.user_data == 41,
	      "each message is a completion of its own: two are not merged");
	claim(io_uring_cq_ready(&other) == 2,
	      "each message makes another completion for the sender");
	io_uring_queue_exit(&other);
}

/* As the epoll engine does it: registered once, and never read. */
static void epoll_edges(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int fd = epoll_create1(0), again = 0;

	need(fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, wake_fd, &event) == 0, "epoll");
	for (int i = 0; i < 10; i++) {
		wake();
		again += epoll_wait(fd, &event, 1, 1000) == 1 &&
			 epoll_wait(fd, &event, 1, 0) == 0;
	}
	claim(again == 10,
	      "edge-triggered epoll reports each write once, though the counter "
	      "is never read");
	event.events = EPOLLIN;
	epoll_ctl(fd, EPOLL_CTL_MOD, wake_fd, &event);
	claim(epoll_wait(fd, &event, 1, 0) == 1 && epoll_wait(fd, &event, 1, 0) == 1,
	      "level-triggered it would be reported until it is read");
	close(fd);
}

int main(void)
{
	wake_fd = eventfd(0, EFD_CLOEXEC);
	need(wake_fd >= 0, "eventfd");
	open_ring(8, 64);
	while_waiting();
	before_waiting();
	many_are_one();
	by_ring();
	epoll_edges();
	return failed;
}
