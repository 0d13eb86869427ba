/* Does a multishot receive with a cap stop by itself at the window, in whole buffers? */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

static struct io_uring ring;

#define BUFS 8
#define BUF_BYTES 1024

static struct io_uring_buf_ring *bufs;
static char memory[BUFS][BUF_BYTES];
static uint16_t poll_first; /* IORING_RECVSEND_POLL_FIRST or 0 */

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

/* The cap is in the field that other operations use as file_index (Linux 6.17). */
static void arm(int fd, unsigned cap)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, 1);

	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->ioprio = poll_first;
	if (cap == 0)
		return;
	sqe->ioprio |= IORING_RECV_MULTISHOT;
	sqe->file_index = cap;
}

/* The next completion, whose buffer goes back at once; -ETIME if there is none. */
static int next_result(bool *more)
{
	struct io_uring_cqe cqe;

	*more = false;
	if (!take(&cqe)) {
		enter(1, 50, IORING_ENTER_GETEVENTS);
		if (!take(&cqe))
			return -ETIME;
	}
	*more = cqe.flags & IORING_CQE_F_MORE;
	if (cqe.flags & IORING_CQE_F_BUFFER)
		publish_buf((unsigned short)(cqe.flags >> IORING_CQE_BUFFER_SHIFT));
	return cqe.res;
}

static void close_pair(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

/* Sends 6000 bytes to a receive with a window. True: it delivered whole buffers until the
 * window was used up, had MORE set before that and not after, and left the rest. */
static bool stops_at(unsigned window)
{
	static const char text[6000];
	unsigned got = 0, whole = (window + BUF_BYTES - 1) / BUF_BYTES * BUF_BYTES;
	bool more = true, as_expected = true;
	int pair[2], n;

	tcp_pair(pair);
	arm(pair[0], window);
	enter(0, 0, 0);
	need(write(pair[1], text, sizeof(text)) == sizeof(text), "write");
	await_unread(pair[0], sizeof(text));
	while (more && (n = next_result(&more)) > 0) {
		got += (unsigned)n;
		as_expected &= more == (got < window);
	}
	as_expected &= got == whole && unread(pair[0]) == (int)(sizeof(text) - got);
	arm(pair[0], window);
	as_expected &= next_result(&more) > 0;
	close_pair(pair);
	while (next_result(&more) >= 0 && more)
		continue;
	return as_expected;
}

static void windows(void)
{
	static const unsigned sizes[] = { 1, 1024, 1500, 2048, 4097 };
	bool as_expected = true;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		as_expected &= stops_at(sizes[i]);
	claim(as_expected,
	      "a multishot receive with a cap delivers whole buffers up to the "
	      "window, ends there, and leaves the remaining bytes to the next receive");
}

/* Six segments of 500 bytes, one after another, for a window of 3000. */
static void over_time(void)
{
	bool more, as_expected = true;
	char text[500] = "";
	int pair[2];

	tcp_pair(pair);
	arm(pair[0], 3000);
	for (int i = 1; i <= 6; i++) {
		need(write(pair[1], text, sizeof(text)) == sizeof(text), "write");
		await_unread(pair[0], i == 1 ? 0 : 1);
		as_expected &= next_result(&more) == (int)sizeof(text) && more == (i < 6);
	}
	claim(as_expected,
	      "one submission lasts until the window is used up, however slowly "
	      "bytes arrive");
	close_pair(pair);
}

static void without_cap(void)
{
	bool more;
	char text[3000] = "";
	int pair[2];

	tcp_pair(pair);
	need(write(pair[1], text, sizeof(text)) == sizeof(text), "write");
	await_unread(pair[0], sizeof(text));
	arm(pair[0], 0);
	claim(next_result(&more) == BUF_BYTES && !more && next_result(&more) == -ETIME,
	      "a receive that is not multishot takes one buffer");
	close_pair(pair);
}

static void await_state(int fd, int state)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	for (int i = 0; i < 2000 && info.tcpi_state != state; i++) {
		usleep(1000);
		getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	}
	need(info.tcpi_state == state, "the end of the stream");
}

/* Bytes and the end of the stream arrive together, while a receive waits or before it is
 * armed. Returns whether the receive reports both. */
static bool sees_end(int family, bool multishot, bool waits)
{
	bool more;
	int pair[2], n;

	if (family == AF_INET)
		tcp_pair(pair);
	else
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	if (waits)
		arm(pair[0], multishot ? 4096 : 0);
	enter(0, 0, 0);
	need(write(pair[1], "end", 3) == 3, "write");
	shutdown(pair[1], SHUT_WR);
	if (family == AF_INET)
		await_state(pair[0], TCP_CLOSE_WAIT);
	if (!waits)
		arm(pair[0], multishot ? 4096 : 0);
	n = next_result(&more);
	if (n == 3 && !more) {
		arm(pair[0], 0);
		n = next_result(&more);
	} else if (n == 3) {
		n = next_result(&more);
	}
	/* A receive that missed the end stays armed until the program ends. */
	return n == 0;
}

static void end_with_bytes(void)
{
	claim(sees_end(AF_INET, true, true) && sees_end(AF_INET, true, false),
	      "over TCP it reports bytes and end of the stream that arrive together");
	claim(sees_end(AF_UNIX, false, true) && sees_end(AF_UNIX, false, false),
	      "on a unix socket a receive that is not multishot reports both");
}

/* The same with bytes and a reset. */
static bool sees_reset(bool waits)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	bool more;
	int pair[2];

	tcp_pair(pair);
	if (waits)
		arm(pair[0], 4096);
	enter(0, 0, 0);
	need(write(pair[1], "end", 3) == 3, "write");
	setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(pair[1]);
	await_state(pair[0], TCP_CLOSE);
	if (!waits)
		arm(pair[0], 4096);
	return next_result(&more) == 3 && next_result(&more) == -ECONNRESET;
}

static void reset_with_bytes(void)
{
	claim(sees_reset(true),
	      "over TCP a waiting receive reports bytes and reset that arrive together");
	if (poll_first == 0)
		claim(sees_reset(false),
		      "over TCP a receive that is tried at once reports bytes and reset "
		      "that arrived before");
}

/* Losses in Linux 6.18, which other kernels may not have. */
static void losses_of_6_18(void)
{
	struct utsname kernel;
	bool end = !sees_end(AF_UNIX, true, false), reset = !sees_reset(false);

	uname(&kernel);
	if (strncmp(kernel.release, "6.18.", 5) == 0) {
		claim(end,
		      "on a unix socket a POLL_FIRST multishot receive loses an end that "
		      "arrived behind bytes before it was armed (Linux 6.18)");
		claim(reset,
		      "over TCP it loses a reset that arrived in this way (Linux 6.18)");
	} else {
		printf("note: here the end on a unix socket is %s, the reset over "
		       "TCP %s\n",
		       end ? "lost" : "reported", reset ? "lost" : "reported");
	}
}

static void need_cap(void)
{
	int pair[2];
	bool more;

	tcp_pair(pair);
	need(write(pair[1], "x", 1) == 1, "write");
	arm(pair[0], 1);
	errno = EINVAL;
	need(next_result(&more) != -EINVAL, "a cap for multishot receives (Linux 6.17)");
	close_pair(pair);
}

int main(void)
{
	open_ring(8, 64);
	open_bufs();
	for (unsigned short id = 0; id < BUFS; id++)
		publish_buf(id);
	need_cap();
	for (int i = 0; i < 2; i++) {
		poll_first = i == 0 ? 0 : IORING_RECVSEND_POLL_FIRST;
		printf("note: with receives that %s:\n",
		       i == 0 ? "are tried at once"
			      : "wait for readiness first (POLL_FIRST)");
		windows();
		over_time();
		without_cap();
		end_with_bytes();
		reset_with_bytes();
	}
	losses_of_6_18();
	return failed;
}
