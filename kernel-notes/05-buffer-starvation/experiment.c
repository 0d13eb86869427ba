/* What happens to a receive that finds no buffer, and what does arming it again cost? */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct io_uring ring;

#define BUFS 8
#define BUF_BYTES 1024
#define PAIRS 6

static struct io_uring_buf_ring *bufs;
static char memory[BUFS][BUF_BYTES];
static char stream[5 * BUF_BYTES];
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

static int unread(int fd)
{
	int n = 0;

	ioctl(fd, FIONREAD, &n);
	return n;
}

/* Delivery over loopback can take some time on a busy machine. */
static void await_unread(int fd, int n)
{
	for (int i = 0; i < 2000 && unread(fd) < n; i++)
		usleep(1000);
	need(unread(fd) >= n, "the bytes in the socket");
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

static void arm(int fd, bool multishot)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, 1);

	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
	if (multishot)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
}

static bool next_completion(struct io_uring_cqe *cqe)
{
	if (take(cqe))
		return true;
	enter(1, 50, IORING_ENTER_GETEVENTS);
	return take(cqe);
}

static bool ended_without_buffer(const struct io_uring_cqe *cqe)
{
	return cqe->res == -ENOBUFS && cqe->flags == 0;
}

/* Takes the delivered bytes and compares them with the stream from *seen on. The buffers
 * are not given back. Returns whether the receive ended for lack of a buffer. */
static bool drain_until_no_buffer(size_t *seen)
{
	struct io_uring_cqe cqe;

	while (next_completion(&cqe)) {
		if (cqe.res <= 0)
			return ended_without_buffer(&cqe);
		if (memcmp(memory[cqe.flags >> IORING_CQE_BUFFER_SHIFT], stream + *seen,
			   (size_t)cqe.res) != 0)
			return false;
		*seen += (size_t)cqe.res;
		if (!(cqe.flags & IORING_CQE_F_MORE))
			return false;
	}
	return false;
}

static void none_at_all(int pair[2])
{
	struct io_uring_cqe cqe;

	arm(pair[0], true);
	claim(!next_completion(&cqe), "without a buffer a receive with POLL_FIRST waits");
	need(write(pair[1], stream, sizeof(stream)) == sizeof(stream), "write");
	await_unread(pair[0], sizeof(stream));
	claim(next_completion(&cqe) && ended_without_buffer(&cqe) &&
		      unread(pair[0]) == sizeof(stream),
	      "when bytes arrive it ends with ENOBUFS and they stay in the socket");
}

/* A hundred arms without a buffer: each is an enter and a completion, and nothing
 * moves. */
static void arm_without_buffer(int pair[2])
{
	struct io_uring_cqe cqe;
	int ended = 0;

	for (int i = 0; i < 100; i++) {
		arm(pair[0], true);
		enter(1, 1000, IORING_ENTER_GETEVENTS);
		ended += take(&cqe) && ended_without_buffer(&cqe);
	}
	claim(ended == 100,
	      "armed again without a buffer it ends at once, each of 100 times");
}

static void runs_out_of_buffers(int pair[2])
{
	size_t seen = 0;
	bool as_expected;

	publish_buf(0);
	publish_buf(1);
	arm(pair[0], true);
	as_expected = drain_until_no_buffer(&seen) && seen == 2 * BUF_BYTES &&
		      unread(pair[0]) == (int)(sizeof(stream) - seen);
	for (unsigned short id = 2; id < 5; id++)
		publish_buf(id);
	arm(pair[0], true);
	drain_until_no_buffer(&seen);
	claim(as_expected && seen == sizeof(stream),
	      "a multishot receive that runs out of buffers ends with ENOBUFS too, "
	      "and the next receive continues with the following byte");
}

/* Arms the receives from..to, which all have bytes. Returns how many got a buffer. */
static int served(int from, int to, int *without_buffer)
{
	struct io_uring_cqe cqe;
	int n = 0;

	*without_buffer = 0;
	for (int i = from; i < to; i++)
		arm(pairs[i][0], false);
	while (n + *without_buffer < to - from && next_completion(&cqe)) {
		n += cqe.res == BUF_BYTES;
		*without_buffer += ended_without_buffer(&cqe);
	}
	return n;
}

static void more_receives_than_buffers(void)
{
	int without_buffer, n;

	for (int i = 0; i < PAIRS; i++) {
		tcp_pair(pairs[i]);
		need(write(pairs[i][1], stream, BUF_BYTES) == BUF_BYTES, "write");
		await_unread(pairs[i][0], BUF_BYTES);
	}
	publish_buf(5);
	publish_buf(6);
	n = served(0, PAIRS, &without_buffer);
	claim(n == 2 && without_buffer == PAIRS - 2,
	      "of more receives than buffers, as many as there are buffers get one; "
	      "all others end with ENOBUFS");
	publish_buf(5);
	publish_buf(6);
	n = served(2, 4, &without_buffer);
	claim(n == 2 && without_buffer == 0,
	      "of as many receives as buffers, all get one");
}

int main(void)
{
	int pair[2];

	for (size_t i = 0; i < sizeof(stream); i++)
		stream[i] = (char)(i * 2654435761u >> 24);
	open_ring(8, 64);
	open_bufs();
	tcp_pair(pair);
	none_at_all(pair);
	arm_without_buffer(pair);
	runs_out_of_buffers(pair);
	more_receives_than_buffers();
	return failed;
}
