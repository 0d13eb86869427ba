/* How many system calls does a request take through epoll and through a ring? */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct io_uring ring;

/* A proxy with PAIRS clients and as many origins. A request is a byte that passes the
 * proxy to the origin and comes back. */
#define PAIRS 16
#define ROUNDS 8
#define BUFS 64
#define BUF_BYTES 64

static int client[PAIRS][2], origin[PAIRS][2]; /* [0] is the proxy's end */
static struct io_uring_buf_ring *bufs;
static char memory[BUFS][BUF_BYTES];

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

/* Numbers that no system call has: the child marks its position, the parent counts the
 * calls between marks. */
#define MARK 100000
#define MARKS 16

static void mark(int n)
{
	syscall(MARK + n);
}

/* Runs run() in a child. counts[n] is the number of system calls made after mark(n). */
static void count_calls(void (*run)(void), unsigned counts[MARKS])
{
	struct __ptrace_syscall_info info = { 0 };
	int at = 0, status;
	pid_t pid;

	fflush(stdout);
	memset(counts, 0, MARKS * sizeof(*counts));
	pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		need(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "ptrace");
		raise(SIGSTOP);
		run();
		fflush(stdout);
		_exit(failed);
	}
	waitpid(pid, &status, 0);
	need(WIFSTOPPED(status), "ptrace");
	need(ptrace(PTRACE_SETOPTIONS, pid, NULL,
		    (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) == 0,
	     "ptrace");
	for (long sig = 0; ptrace(PTRACE_SYSCALL, pid, NULL, (void *)sig) == 0;) {
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			break;
		sig = WSTOPSIG(status);
		if (sig != (SIGTRAP | 0x80))
			continue;
		sig = 0;
		ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info);
		if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
			continue;
		if (info.entry.nr >= MARK && info.entry.nr < MARK + MARKS)
			at = (int)(info.entry.nr - MARK);
		else
			counts[at]++;
	}
	need(WIFEXITED(status), "the counted child");
	if (WEXITSTATUS(status) == 77)
		exit(failed ? 1 : 77);
	failed |= WEXITSTATUS(status);
}

static void open_pairs(void)
{
	for (int i = 0; i < PAIRS; i++)
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, client[i]) == 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM, 0, origin[i]) == 0,
		     "socketpair");
}

/* Socket number k is client k or, from PAIRS on, origin k - PAIRS. */
static int near_end(int k)
{
	return k < PAIRS ? client[k][0] : origin[k - PAIRS][0];
}

static int far_end(int k)
{
	return k < PAIRS ? client[k][1] : origin[k - PAIRS][1];
}

static int other(int k)
{
	return k < PAIRS ? k + PAIRS : k - PAIRS;
}

/* n clients (from = 0) or origins (from = PAIRS) write, and read, one byte each. */
static void all_write(int from, int n)
{
	for (int k = from; k < from + n; k++)
		need(write(far_end(k), "x", 1) == 1, "write");
}

static void all_read(int from, int n)
{
	char c;

	for (int k = from; k < from + n; k++)
		need(read(far_end(k), &c, 1) == 1, "read");
}

/* ---- epoll ---- */

static int poller;
static bool until_empty; /* reads until EAGAIN, as often recommended */
static bool again;       /* arms again for each read (EPOLLONESHOT) */

static void open_epoll(void)
{
	poller = epoll_create1(0);
	need(poller >= 0, "epoll");
	for (int k = 0; k < 2 * PAIRS; k++) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP |
						       (again ? EPOLLONESHOT : EPOLLET),
					     .data.u32 = (uint32_t)k };

		need(epoll_ctl(poller, EPOLL_CTL_ADD, near_end(k), &event) == 0, "epoll");
	}
}

static void pass_one(int k)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT,
				     .data.u32 = (uint32_t)k };
	char c[BUF_BYTES];

	need(recv(near_end(k), c, sizeof(c), MSG_DONTWAIT) == 1, "the byte");
	if (until_empty)
		need(recv(near_end(k), c, sizeof(c), MSG_DONTWAIT) < 0, "EAGAIN");
	if (again)
		epoll_ctl(poller, EPOLL_CTL_MOD, near_end(k), &event);
	need(send(near_end(other(k)), c, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1, "send");
}

static void by_epoll(int n)
{
	struct epoll_event events[2 * PAIRS];
	int ready;

	for (; n > 0; n -= ready) {
		ready = epoll_wait(poller, events, 2 * PAIRS, 5000);
		need(ready > 0, "events");
		for (int i = 0; i < ready; i++)
			pass_one((int)events[i].data.u32);
	}
}

/* n requests at a time. System calls of the proxy follow mark(1), all others mark(2). */
static void epoll_requests(int n)
{
	for (int i = 0; i < ROUNDS; i++) {
		for (int from = 0; from <= PAIRS; from += PAIRS) {
			mark(2);
			all_write(from, n);
			mark(1);
			by_epoll(n);
			mark(2);
			all_read(PAIRS - from, n);
		}
	}
}

/* ---- ring ---- */

static void open_ring_side(void)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFS };

	open_ring(128, 512);
	bufs = mmap(NULL, BUFS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(bufs != MAP_FAILED, "mmap");
	reg.ring_addr = (uintptr_t)bufs;
	errno = -io_uring_register_buf_ring(&ring, &reg, 0);
	need(errno == 0, "a buffer ring");
	io_uring_buf_ring_init(bufs);
	for (unsigned short id = 0; id < BUFS; id++)
		io_uring_buf_ring_add(bufs, memory[id], BUF_BYTES, id, BUFS - 1, id);
	io_uring_buf_ring_advance(bufs, BUFS);
	for (int k = 0; k < 2 * PAIRS; k++) {
		struct io_uring_sqe *sqe = entry(IORING_OP_RECV, near_end(k),
						 (uint64_t)k);

		sqe->flags = IOSQE_BUFFER_SELECT;
		sqe->ioprio = IORING_RECV_MULTISHOT;
	}
	enter(0, 0, IORING_ENTER_GETEVENTS);
}

static void pass_on(const struct io_uring_cqe *cqe)
{
	unsigned short id = (unsigned short)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
	struct io_uring_sqe *sqe;

	need(cqe->res == 1 && cqe->flags & IORING_CQE_F_MORE, "the byte");
	sqe = entry(IORING_OP_SEND, near_end(other((int)cqe->user_data)), 1000);
	sqe->addr = (uintptr_t)memory[id];
	sqe->len = 1;
	sqe->msg_flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	/* The byte is sent before its buffer is filled again: there are more buffers than
	 * bytes. */
	io_uring_buf_ring_add(bufs, memory[id], BUF_BYTES, id, BUFS - 1, 0);
	io_uring_buf_ring_advance(bufs, 1);
}

/* Clients and origins, in a process of their own, whose calls are not counted. */
static void others(int n)
{
	for (int i = 0; i < ROUNDS; i++) {
		all_write(0, n);
		all_read(PAIRS, n);
		all_write(PAIRS, n);
		all_read(0, n);
	}
}

/* Loops as a worker does: the sends of one tick are submitted with the wait of the next,
 * here for as many requests as are in flight together. */
static void ring_requests(int n)
{
	struct io_uring_cqe cqe;
	pid_t pid = fork();

	need(pid >= 0, "fork");
	if (pid == 0) {
		others(n);
		_exit(0);
	}
	mark(1);
	for (int left = 2 * n * ROUNDS; left > 0;) {
		enter((unsigned)n, 5000, IORING_ENTER_GETEVENTS);
		for (; take(&cqe); left--)
			pass_on(&cqe);
	}
	enter(0, 0, 0);
	mark(2);
	waitpid(pid, NULL, 0);
}

/* ---- the counts ---- */

static bool through_ring;
static int at_a_time;

static void run(void)
{
	open_pairs();
	if (through_ring) {
		open_ring_side();
		ring_requests(at_a_time);
	} else {
		open_epoll();
		epoll_requests(at_a_time);
	}
}

/* The system calls of the proxy in all rounds. */
static unsigned proxy_calls(const char *name, int n)
{
	unsigned counts[MARKS];

	at_a_time = n;
	count_calls(run, counts);
	printf("note: %-40s %2d at a time: %.2f system calls per request\n", name, n,
	       (double)counts[1] / (ROUNDS * n));
	return counts[1];
}

#define ALL (ROUNDS * PAIRS)

int main(void)
{
	claim(proxy_calls("epoll, no read after a short one", 1) == 6 * ROUNDS &&
		      proxy_calls("epoll, no read after a short one", PAIRS) ==
			      4 * ALL + 2 * ROUNDS,
	      "epoll: two waits, two reads and two writes; only the waits are shared");
	until_empty = true;
	claim(proxy_calls("epoll, reading until EAGAIN", 1) == 8 * ROUNDS &&
		      proxy_calls("epoll, reading until EAGAIN", PAIRS) ==
			      6 * ALL + 2 * ROUNDS,
	      "two more calls if each read is followed by one that returns EAGAIN");
	until_empty = false;
	again = true;
	claim(proxy_calls("epoll, armed for each read", 1) == 8 * ROUNDS &&
		      proxy_calls("epoll, armed for each read", PAIRS) ==
			      6 * ALL + 2 * ROUNDS,
	      "two more calls if the socket is armed again for each read");
	through_ring = true;
	claim(proxy_calls("ring, sends submitted with the next wait", 1) ==
			      2 * ROUNDS + 1 &&
		      proxy_calls("ring, sends submitted with the next wait", PAIRS) ==
			      2 * ROUNDS + 1,
	      "a ring: two calls, however many requests are in flight together, and "
	      "one at the end");
	return failed;
}
