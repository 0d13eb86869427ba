/* What does a timeout for each operation cost, compared with one timeout for the wait? */
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

#define ROUNDS 1000
#define BUFS 8
#define BUF_BYTES 64

static struct io_uring_buf_ring *bufs;
static char memory[BUFS][BUF_BYTES];
static char received[64];

static unsigned submitted, completed;

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

static struct io_uring_sqe *receive(int fd)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, 1);

	sqe->addr = (uintptr_t)received;
	sqe->len = sizeof(received);
	submitted++;
	return sqe;
}

static struct io_uring_sqe *timeout(uint8_t opcode, const struct __kernel_timespec *after)
{
	struct io_uring_sqe *sqe = entry(opcode, -1, 2);

	sqe->addr = (uintptr_t)after;
	sqe->len = 1;
	submitted++;
	return sqe;
}

/* Takes n completions; the results of operations 1 to 3 are in res[]. */
static void take_n(unsigned n, int res[4])
{
	struct io_uring_cqe cqe;

	while (n > 0) {
		if (take(&cqe)) {
			res[cqe.user_data] = cqe.res;
			completed++;
			n--;
		} else {
			need(enter(n, 5000, IORING_ENTER_GETEVENTS) != -ETIME,
			     "a completion");
		}
	}
}

static double cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

enum way { OF_THE_WAIT, LINKED, APART };

/* Receives of a byte each, with a timeout of a minute that never fires. */
static double rounds(int pair[2], enum way way)
{
	const struct __kernel_timespec minute = { .tv_sec = 60 };
	double began = cpu_us();
	int res[4] = { 0 };

	submitted = completed = 0;
	for (int i = 0; i < ROUNDS; i++) {
		struct io_uring_sqe *sqe = receive(pair[0]);

		if (way == LINKED)
			sqe->flags = IOSQE_IO_LINK;
		if (way == LINKED)
			timeout(IORING_OP_LINK_TIMEOUT, &minute);
		if (way == APART)
			timeout(IORING_OP_TIMEOUT, &minute);
		enter(0, 0, IORING_ENTER_GETEVENTS);
		need(write(pair[1], "x", 1) == 1, "write");
		if (way == APART) {
			take_n(1, res);
			entry(IORING_OP_TIMEOUT_REMOVE, -1, 3)->addr = 2;
			submitted++;
			take_n(2, res);
		} else {
			take_n(way == LINKED ? 2 : 1, res);
		}
		need(res[1] == 1, "one byte");
		need(way == OF_THE_WAIT || res[2] == -ECANCELED,
		     "the completion of the timeout");
	}
	return (cpu_us() - began) / ROUNDS;
}

static void count_operations(int pair[2])
{
	double one = rounds(pair, OF_THE_WAIT), each;

	claim(submitted == ROUNDS && completed == ROUNDS,
	      "with one timeout for the wait 1000 receives are 1000 entries and "
	      "completions");
	each = rounds(pair, LINKED);
	claim(submitted == 2 * ROUNDS && completed == 2 * ROUNDS,
	      "with a linked timeout for each receive there are twice as many");
	printf("note: %.2f us for a receive with a timeout of the wait, %.2f with a "
	       "linked timeout",
	       one, each);
	each = rounds(pair, APART);
	printf(", %.2f with a timeout that is set and removed\n", each);
	claim(submitted == 3 * ROUNDS && completed == 3 * ROUNDS,
	      "with timeouts set and removed by entries of their own there are three "
	      "times as many");
}

static void wait_limit(void)
{
	struct io_uring_cqe cqe;

	claim(enter(1, 20, IORING_ENTER_GETEVENTS) == -ETIME && !take(&cqe),
	      "a wait whose timeout fires returns ETIME, without an entry or completion");
}

static void open_bufs(void)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFS };

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
}

/* A byte arrives every 20 ms; the timeout is 100 ms and should fire only without
 * bytes. */
static void linked_to_multishot(int pair[2])
{
	const struct __kernel_timespec limit = { .tv_nsec = 100000000 };
	struct io_uring_sqe *sqe = receive(pair[0]);
	struct io_uring_cqe cqe = { 0 };
	bool ended = false;
	int bytes = 0;

	sqe->addr = sqe->len = 0;
	sqe->flags = IOSQE_IO_LINK | IOSQE_BUFFER_SELECT;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	timeout(IORING_OP_LINK_TIMEOUT, &limit);
	for (int i = 0; i < 6 && !ended; i++) {
		need(write(pair[1], "x", 1) == 1, "write");
		enter(2, 20, IORING_ENTER_GETEVENTS);
		while (take(&cqe)) {
			bytes += cqe.user_data == 1 && cqe.res == 1;
			ended |= cqe.user_data == 1 && !(cqe.flags & IORING_CQE_F_MORE);
		}
	}
	for (int i = 0; i < 20 && !ended; i++) {
		enter(1, 100, IORING_ENTER_GETEVENTS);
		while (take(&cqe))
			ended |= cqe.user_data == 1 && !(cqe.flags & IORING_CQE_F_MORE);
	}
	printf("note: the receive was ended after %d bytes\n", bytes);
	claim(ended && bytes > 0,
	      "a timeout linked to a multishot receive ends it although bytes "
	      "arrive: it cannot detect silence");
}

int main(void)
{
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	open_ring(8, 64);
	wait_limit();
	count_operations(pair);
	open_bufs();
	linked_to_multishot(pair);
	return failed;
}
