/* Which sends are short, and what does MSG_WAITALL change? */
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

static struct io_uring ring;

#define STREAM_BYTES (8 << 20)

static char stream[STREAM_BYTES];

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

static void close_pair(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

static void send_entry(int fd, unsigned flags)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_SEND, fd, 1);

	sqe->addr = (uintptr_t)stream;
	sqe->len = STREAM_BYTES;
	sqe->msg_flags = MSG_NOSIGNAL | flags;
}

/* The result of operation 1, or -ETIME after timeout_ms. */
static int result(unsigned timeout_ms)
{
	struct io_uring_cqe cqe;

	enter(timeout_ms > 0, timeout_ms, IORING_ENTER_GETEVENTS);
	while (take(&cqe))
		if (cqe.user_data == 1)
			return cqe.res;
	return -ETIME;
}

static bool is_part(int n)
{
	return n > 0 && n < STREAM_BYTES;
}

/* Reads until operation 1 is complete, and then the remaining bytes. Returns the number
 * of bytes read, or 0 if they are not those of the stream. */
static size_t read_all(int fd, int *res)
{
	static char part[65536];
	size_t seen = 0;
	bool as_expected = true;

	*res = -ETIME;
	for (int i = 0; i < 5000; i++) {
		ssize_t n = recv(fd, part, sizeof(part), MSG_DONTWAIT);

		if (n > 0) {
			as_expected &= seen + (size_t)n <= STREAM_BYTES &&
				       memcmp(part, stream + seen, (size_t)n) == 0;
			seen += (size_t)n;
		}
		if (*res == -ETIME)
			*res = result(n > 0 ? 0 : 1);
		else if (seen >= (size_t)(*res > 0 ? *res : 0))
			break;
	}
	return as_expected ? seen : 0;
}

static void without_waitall(void)
{
	int pair[2];
	ssize_t n;

	tcp_pair(pair);
	n = send(pair[0], stream, STREAM_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
	claim(is_part((int)n),
	      "send(2) with MSG_DONTWAIT takes as much as there is space for");
	close_pair(pair);

	tcp_pair(pair);
	send_entry(pair[0], 0);
	claim(is_part(result(100)),
	      "a send by the ring does so too, although the ring could wait for space");
	close_pair(pair);
}

static void with_waitall(void)
{
	int pair[2], res;

	tcp_pair(pair);
	send_entry(pair[0], MSG_WAITALL);
	claim(result(50) == -ETIME, "with MSG_WAITALL a send by the ring waits");
	claim(read_all(pair[1], &res) == STREAM_BYTES && res == STREAM_BYTES,
	      "it completes once, with all bytes, each at its place");
	close_pair(pair);
}

static void send_of_parts(void)
{
	struct iovec iov[3] = { { stream, 100 },
				{ stream + 100, STREAM_BYTES / 2 },
				{ stream + 100 + STREAM_BYTES / 2,
				  STREAM_BYTES / 2 - 100 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };
	struct io_uring_sqe *sqe;
	int pair[2], res;

	tcp_pair(pair);
	sqe = entry(IORING_OP_SENDMSG, pair[0], 1);
	sqe->addr = (uintptr_t)&msg;
	sqe->len = 1;
	sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
	enter(0, 0, IORING_ENTER_GETEVENTS);
	claim(read_all(pair[1], &res) == STREAM_BYTES && res == STREAM_BYTES,
	      "a send of several parts with MSG_WAITALL does the same");
	claim(iov[0].iov_base == stream && iov[0].iov_len == 100,
	      "its iovecs are not modified");
	close_pair(pair);
}

/* The number of bytes until the end of the stream; -1: no end of the stream. */
static long read_to_end(int fd)
{
	const struct timeval timeout = { .tv_sec = 2 };
	static char part[65536];
	long seen = 0;
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	while ((n = read(fd, part, sizeof(part))) > 0)
		seen += n;
	return n == 0 ? seen : -1;
}

static void cancelled_send(void)
{
	int pair[2], res;

	tcp_pair(pair);
	send_entry(pair[0], MSG_WAITALL);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	entry(IORING_OP_ASYNC_CANCEL, -1, 2)->addr = 1;
	res = result(100);
	claim(is_part(res), "a cancelled send reports how much was taken, not ECANCELED");
	close(pair[0]);
	claim(read_to_end(pair[1]) == res, "that many bytes arrive");
	close(pair[1]);
}

static void peer_gone(void)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	int pair[2], res;

	tcp_pair(pair);
	send_entry(pair[0], MSG_WAITALL);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(pair[1]);
	claim(is_part(result(1000)),
	      "when the peer resets, a send that took a part reports its count and "
	      "no error");
	send_entry(pair[0], MSG_WAITALL);
	res = result(1000);
	claim(res == -EPIPE || res == -ECONNRESET, "the next send reports the error");
	close(pair[0]);
}

static int of_parts(int fd, unsigned n)
{
	static struct iovec iov[IOV_MAX + 1];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	struct io_uring_sqe *sqe = entry(IORING_OP_SENDMSG, fd, 1);

	for (unsigned i = 0; i < n; i++)
		iov[i] = (struct iovec){ stream, 1 };
	sqe->addr = (uintptr_t)&msg;
	sqe->len = 1;
	return result(100);
}

static void too_many_parts(void)
{
	int pair[2];

	tcp_pair(pair);
	claim(of_parts(pair[0], IOV_MAX) == IOV_MAX, "a send of 1024 parts works");
	claim(of_parts(pair[0], IOV_MAX + 1) == -EMSGSIZE,
	      "a send of 1025 parts fails with EMSGSIZE");
	close_pair(pair);
}

int main(void)
{
	for (size_t i = 0; i < STREAM_BYTES; i++)
		stream[i] = (char)(i * 2654435761u >> 24);
	open_ring(8, 64);
	without_waitall();
	with_waitall();
	send_of_parts();
	cancelled_send();
	peer_gone();
	too_many_parts();
	return failed;
}
