/* Is a submission only a store, and what may be changed once the entry was taken? */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct io_uring ring;

#define BATCH 64

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

/* The system calls after each mark are counted. */
static void counted(void)
{
	struct io_uring_cqe cqe;
	unsigned n = 0;

	open_ring(BATCH, 2 * BATCH);
	mark(1);
	for (uint64_t i = 0; i < BATCH; i++)
		entry(IORING_OP_NOP, -1, i);
	mark(2);
	enter(BATCH, 1000, IORING_ENTER_GETEVENTS);
	mark(3);
	while (take(&cqe))
		n += cqe.res == 0;
	mark(4);
	for (int i = 0; i < BATCH; i++)
		getppid();
	mark(5);
	claim(n == BATCH, "64 operations were submitted and completed");
}

static void calls(void)
{
	unsigned n[MARKS];

	count_calls(counted, n);
	need(n[4] == BATCH, "a count of system calls");
	claim(n[1] == 0, "writing 64 entries takes no system call");
	claim(n[2] == 1, "submitting all of them and waiting for all takes one");
	claim(n[3] == 0, "taking 64 completions takes none");
}

static unsigned taken(void)
{
	return __atomic_load_n(ring.sq.khead, __ATOMIC_ACQUIRE);
}

static void not_read_before_enter(void)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe cqe = { 0 };
	unsigned before = taken();

	sqe = entry(IORING_OP_NOP, -1, 1);
	for (int i = 0; i < 1000; i++)
		getppid();
	claim(taken() == before && io_uring_cq_ready(&ring) == 0,
	      "the kernel does not read a published entry before the enter");
	sqe->user_data = 2;
	enter(0, 0, 0);
	claim(taken() == before + 1 && take(&cqe) && cqe.user_data == 2,
	      "and counts as it is when the enter takes it");
}

static void takes_at_most(void)
{
	unsigned before = taken();
	struct io_uring_cqe cqe;
	int n;

	for (uint64_t i = 0; i < 5; i++)
		entry(IORING_OP_NOP, -1, i);
	n = io_uring_enter((unsigned)ring.ring_fd, 3, 0, IORING_ENTER_GETEVENTS, NULL);
	claim(n == 3 && taken() == before + 3,
	      "an enter takes no more entries than its argument says");
	enter(0, 0, 0);
	claim(taken() == before + 5, "the next enter continues behind them");
	while (take(&cqe))
		continue;
}

/* A receive waits while its entry is overwritten. */
static void entry_is_free(void)
{
	char there[8] = "", elsewhere[8] = "";
	struct io_uring_sqe *sqe;
	struct io_uring_cqe cqe = { 0 };
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	sqe = entry(IORING_OP_RECV, pair[0], 1);
	sqe->addr = (uintptr_t)there;
	sqe->len = sizeof(there);
	enter(0, 0, 0);
	sqe->addr = (uintptr_t)elsewhere;
	sqe->user_data = 3;
	need(write(pair[1], "1234", 4) == 4, "write");
	enter(1, 1000, IORING_ENTER_GETEVENTS);
	claim(take(&cqe) && cqe.user_data == 1 && there[0] == '1' && elsewhere[0] == 0,
	      "once taken, an entry may be reused although its operation waits");
	close(pair[0]);
	close(pair[1]);
}

#define STREAM_BYTES (4 << 20)

static char stream[STREAM_BYTES];

/* Reads all bytes, and enters the ring meanwhile so that the send continues. Returns how
 * many bytes are `c`. */
static size_t read_all(int fd, char c)
{
	static char part[65536];
	size_t seen = 0, are = 0;

	for (int i = 0; i < 5000 && seen < STREAM_BYTES; i++) {
		ssize_t n = recv(fd, part, sizeof(part), MSG_DONTWAIT);

		for (ssize_t k = 0; k < n; k++)
			are += part[k] == c;
		seen += n > 0 ? (size_t)n : 0;
		enter(n > 0 ? 0 : 1, 1, IORING_ENTER_GETEVENTS);
	}
	return are;
}

/* A send waits for space. First its iovecs and last its bytes are changed. */
static void waiting_send(void)
{
	static char other[16] = "oooooooooooooooo";
	struct iovec iov[2] = { { stream, STREAM_BYTES / 2 },
				{ stream + STREAM_BYTES / 2, STREAM_BYTES / 2 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	struct io_uring_sqe *sqe;
	struct io_uring_cqe cqe = { 0 };
	int pair[2];
	size_t as_it_was;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	memset(stream, 'a', STREAM_BYTES);
	sqe = entry(IORING_OP_SENDMSG, pair[0], 1);
	sqe->addr = (uintptr_t)&msg;
	sqe->len = 1;
	sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
	enter(0, 0, IORING_ENTER_GETEVENTS);
	need(io_uring_cq_ready(&ring) == 0, "a send that waits");
	iov[0] = iov[1] = (struct iovec){ other, sizeof(other) };
	msg = (struct msghdr){ .msg_iov = NULL };
	memset(stream, 'b', STREAM_BYTES);
	as_it_was = read_all(pair[1], 'a');
	claim(take(&cqe) && cqe.res == STREAM_BYTES,
	      "the msghdr and the iovecs of a waiting send may be reused too");
	claim(as_it_was > 0 && as_it_was < STREAM_BYTES,
	      "the bytes of a waiting send may not: bytes changed meanwhile are sent "
	      "as changed");
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	calls();
	open_ring(8, 64);
	not_read_before_enter();
	takes_at_most();
	entry_is_free();
	waiting_send();
	return failed;
}
