/* Does a waiting receive hold a buffer? */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct io_uring ring;

#define BUFS 8
#define BUF_BYTES 1024
#define PAIRS 64

static struct io_uring_buf_ring *bufs;
static char memory[BUFS][BUF_BYTES];
static int pairs[PAIRS][2];

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

static int listen_somewhere(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	need(fd >= 0 && bind(fd, (struct sockaddr *)at, len) == 0 &&
		     listen(fd, 128) == 0 &&
		     getsockname(fd, (struct sockaddr *)at, &len) == 0,
	     "a listener on 127.0.0.1");
	return fd;
}

/* pair[0] is the accepted socket, pair[1] the connecting one. */
static void tcp_pair(int pair[2])
{
	struct sockaddr_in at;
	int listener = listen_somewhere(&at);

	pair[1] = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(pair[1], (struct sockaddr *)&at, sizeof(at)) == 0, "connect");
	pair[0] = accept(listener, NULL, NULL);
	need(pair[0] >= 0, "accept");
	close(listener);
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
}

static void publish_buf(unsigned short id)
{
	io_uring_buf_ring_add(bufs, memory[id], BUF_BYTES, id, BUFS - 1, 0);
	io_uring_buf_ring_advance(bufs, 1);
}

static void arm(int fd, uint64_t id, unsigned ioprio)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, id);

	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->ioprio = (uint16_t)(IORING_RECV_MULTISHOT | ioprio);
	enter(0, 0, IORING_ENTER_GETEVENTS);
}

static bool next_completion(struct io_uring_cqe *cqe)
{
	if (take(cqe))
		return true;
	enter(1, 1000, IORING_ENTER_GETEVENTS);
	return take(cqe);
}

/* Sends a byte to each in turn; all must be received with the only buffer, number 0.
 * Returns how many were. */
static int served(void)
{
	struct io_uring_cqe cqe;
	int n = 0;

	for (unsigned i = 0; i < PAIRS; i++) {
		need(write(pairs[i][1], "x", 1) == 1, "write");
		if (!next_completion(&cqe) || cqe.user_data != i || cqe.res != 1 ||
		    !(cqe.flags & IORING_CQE_F_BUFFER) ||
		    cqe.flags >> IORING_CQE_BUFFER_SHIFT != 0)
			break;
		n += (cqe.flags & IORING_CQE_F_MORE) != 0;
		publish_buf(0);
	}
	return n;
}

static void drop_pairs(void)
{
	struct io_uring_cqe cqe;

	for (unsigned i = 0; i < PAIRS; i++) {
		close(pairs[i][1]);
		next_completion(&cqe);
		close(pairs[i][0]);
	}
}

static void poll_first(void)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		tcp_pair(pairs[i]);
		arm(pairs[i][0], i, IORING_RECVSEND_POLL_FIRST);
	}
	claim(io_uring_cq_ready(&ring) == 0,
	      "64 receives with POLL_FIRST are armed without any buffer");
	publish_buf(0);
	claim(served() == PAIRS, "one buffer serves all 64");
	claim(served() == PAIRS,
	      "one buffer serves all 64 again: after a delivery a receive holds none "
	      "either");
	drop_pairs();
}

/* Without POLL_FIRST: each receive is tried with the only buffer when it is armed. */
static void at_once(void)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		tcp_pair(pairs[i]);
		arm(pairs[i][0], i, 0);
	}
	claim(io_uring_cq_ready(&ring) == 0,
	      "64 receives without POLL_FIRST are armed with one buffer");
	claim(served() == PAIRS,
	      "that buffer serves all of them: an attempt that finds no bytes gives "
	      "it back");
}

/* The buffer ring is empty here, as it is when all buffers hold bytes. */
static void without(void)
{
	struct io_uring_cqe cqe;
	int pair[2];

	need(write(pairs[0][1], "x", 1) == 1 && next_completion(&cqe) && cqe.res == 1,
	     "the use of the last buffer");
	tcp_pair(pair);
	arm(pair[0], PAIRS, 0);
	claim(take(&cqe) && cqe.user_data == PAIRS && cqe.res == -ENOBUFS,
	      "without a buffer a receive without POLL_FIRST ends at once with ENOBUFS");
}

int main(void)
{
	open_ring(8, 256);
	open_bufs();
	poll_first();
	at_once();
	without();
	return failed;
}
