/* Two rings wait for connections of one listening socket. Which one is woken, and is the wake-up
 * passed on if that accept ends by cancellation or by the end of its process? */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ACCEPT 1
#define CANCEL 2
#define SILENCE_MS 50
#define KILLS 40

static struct sockaddr_in address;
static int listener;
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
static void open_ring(struct io_uring *ring)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL,
	};

	errno = -io_uring_queue_init_params(8, ring, &params);
	need(errno == 0, "io_uring_setup");
	for (unsigned i = 0; i < ring->sq.ring_entries; i++)
		ring->sq.array[i] = i;
}

static struct io_uring_sqe *entry(struct io_uring *ring, uint8_t opcode, int fd,
				  uint64_t id)
{
	unsigned tail = *ring->sq.ktail;
	struct io_uring_sqe *sqe = &ring->sq.sqes[tail & ring->sq.ring_mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->user_data = id;
	__atomic_store_n(ring->sq.ktail, tail + 1, __ATOMIC_RELEASE);
	return sqe;
}

/* One io_uring_enter, which submits all entries written so far. Without GETEVENTS no
 * completion is made. */
static void enter(struct io_uring *ring, unsigned wait_n, unsigned timeout_ms,
		  unsigned flags)
{
	struct __kernel_timespec ts = { .tv_nsec = timeout_ms * 1000000ll };
	struct io_uring_getevents_arg arg = { .sigmask_sz = _NSIG / 8,
					      .ts = (uintptr_t)&ts };
	unsigned taken = __atomic_load_n(ring->sq.khead, __ATOMIC_ACQUIRE);

	io_uring_enter2((unsigned)ring->ring_fd, *ring->sq.ktail - taken, wait_n,
			flags | IORING_ENTER_EXT_ARG, (sigset_t *)(void *)&arg,
			sizeof(arg));
}

/* Takes the oldest completion; waits for it if there is none. */
static bool next_completion(struct io_uring *ring, struct io_uring_cqe *cqe,
			    unsigned timeout_ms)
{
	unsigned head = *ring->cq.khead;

	if (head == __atomic_load_n(ring->cq.ktail, __ATOMIC_ACQUIRE))
		enter(ring, 1, timeout_ms, IORING_ENTER_GETEVENTS);
	if (head == __atomic_load_n(ring->cq.ktail, __ATOMIC_ACQUIRE))
		return false;
	*cqe = ring->cq.cqes[head & ring->cq.ring_mask];
	__atomic_store_n(ring->cq.khead, head + 1, __ATOMIC_RELEASE);
	return true;
}

static void arm(struct io_uring *ring)
{
	entry(ring, IORING_OP_ACCEPT, listener, ACCEPT)->accept_flags = SOCK_CLOEXEC;
	enter(ring, 0, 0, 0);
}

static void cancel(struct io_uring *ring)
{
	entry(ring, IORING_OP_ASYNC_CANCEL, -1, CANCEL)->addr = ACCEPT;
}

/* Cancels the accept and returns its result; the cancel has one of its own. */
static int cancelled(struct io_uring *ring)
{
	struct io_uring_cqe cqe;
	int res = -ETIME;

	cancel(ring);
	for (int i = 0; i < 2; i++) {
		need(next_completion(ring, &cqe, 900),
		     "a completion of the accept and of its cancel");
		if (cqe.user_data == ACCEPT)
			res = cqe.res;
	}
	return res;
}

/* The accept completes within a moment. */
static bool accepts(struct io_uring *ring)
{
	struct io_uring_cqe cqe;
	bool accepted = next_completion(ring, &cqe, SILENCE_MS) && cqe.res >= 0;

	if (accepted)
		close(cqe.res);
	return accepted;
}

static bool waits_in_backlog(void)
{
	struct pollfd p = { listener, POLLIN, 0 };

	return poll(&p, 1, 0) == 1;
}

static int client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	need(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	return fd;
}

static void listen_somewhere(void)
{
	socklen_t len = sizeof(address);

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	need(listener >= 0 && bind(listener, (struct sockaddr *)&address, len) == 0 &&
		     listen(listener, 128) == 0 &&
		     getsockname(listener, (struct sockaddr *)&address, &len) == 0,
	     "a listener on 127.0.0.1");
}

/* The first ring does not run between the connection and the cancel. */
static void cancel_after(struct io_uring *first, struct io_uring *second)
{
	int res, a, b;

	arm(first);
	arm(second);
	a = client();
	claim(!accepts(second),
	      "a connection does not wake the ring that has waited for a shorter time");
	res = cancelled(first);
	claim(res == -ECANCELED && waits_in_backlog(),
	      "if the woken accept is cancelled before its ring runs, the connection stays "
	      "in the backlog");
	claim(!accepts(second), "the other ring is not woken for that connection");
	b = client();
	claim(accepts(second) && waits_in_backlog(),
	      "the next connection wakes the other ring, which accepts the older connection");
	arm(second);
	claim(accepts(second),
	      "an accept that is armed while a connection waits takes it at once");
	close(a);
	close(b);
}

/* The cancel was submitted, and its completion was not made yet. */
static void cancel_before(struct io_uring *first, struct io_uring *second)
{
	struct io_uring_cqe cqe;
	int a;

	arm(first);
	arm(second);
	cancel(first);
	enter(first, 0, 0, 0);
	a = client();
	claim(!accepts(second),
	      "an accept whose cancel was submitted takes a wake-up until its ring has run");
	claim(next_completion(first, &cqe, 900) && next_completion(first, &cqe, 900) &&
		      waits_in_backlog(),
	      "when that accept has ended, the connection is in the backlog");
	arm(first);
	claim(accepts(first), "another accept of the same ring takes the connection");
	need(cancelled(second) == -ECANCELED, "a cancel");
	close(a);
}

/* Starts a process with a ring that waits for a connection, and whose thread never enters
 * again. */
static pid_t waiting_process(void)
{
	struct io_uring ring;
	int ready[2];
	char byte;
	pid_t pid;

	need(pipe(ready) == 0 && (pid = fork()) >= 0, "a process");
	if (pid == 0) {
		open_ring(&ring);
		arm(&ring);
		need(write(ready[1], "x", 1) == 1, "write");
		while (true)
			pause();
	}
	close(ready[1]);
	need(read(ready[0], &byte, 1) == 1, "a ring in another process");
	close(ready[0]);
	return pid;
}

static void kill_and_wait(pid_t pid)
{
	kill(pid, SIGKILL);
	need(waitpid(pid, NULL, 0) == pid, "waitpid");
}

static void process_killed(struct io_uring *second)
{
	pid_t pid = waiting_process();
	int a;

	arm(second);
	a = client();
	kill_and_wait(pid);
	claim(!accepts(second) && waits_in_backlog(),
	      "if the process of the woken ring is killed, no other ring is woken");
	need(cancelled(second) == -ECANCELED, "a cancel");
	arm(second);
	claim(accepts(second),
	      "an accept of that other ring that is cancelled and armed again takes "
	      "the connection");
	close(a);
}

/* Connects delay_us after such a process was reaped. Returns how many of KILLS connections
 * woke no ring. */
static unsigned lost_after_kill(struct io_uring *second, unsigned delay_us)
{
	unsigned lost = 0;

	for (int i = 0; i < KILLS; i++) {
		pid_t pid = waiting_process();
		int a;

		arm(second);
		kill_and_wait(pid);
		usleep(delay_us);
		a = client();
		if (!accepts(second)) {
			lost++;
			need(cancelled(second) == -ECANCELED, "a cancel");
			arm(second);
			need(accepts(second), "the connection");
		}
		close(a);
	}
	return lost;
}

int main(void)
{
	struct io_uring first, second;

	listen_somewhere();
	open_ring(&first);
	open_ring(&second);
	cancel_after(&first, &second);
	cancel_before(&first, &second);
	process_killed(&second);
	printf("note: of %d connections directly after the process was reaped %u woke no ring; "
	       "30 ms later %u\n",
	       KILLS, lost_after_kill(&second, 0), lost_after_kill(&second, 30000));
	return failed;
}
