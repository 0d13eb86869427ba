/* Which sends are short, and what does MSG_WAITALL make of them? */
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

/* What the experiment needs and is not about; without it, what has failed still has. */
static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("cannot tell here: %s: %s\n", what, strerror(errno));
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

/* One io_uring_enter, which submits all that was written. */
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

/* The oldest completion, without a system call. */
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

/* pair[0] was accepted, pair[1] has connected. */
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

static void drop(int pair[2])
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

/* The result of operation 1 or -ETIME, after at most so long. */
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

/* Reads until operation 1 is complete and then what is left. Returns the bytes seen, or
 * 0 if they are not those of the stream. */
static size_t read_all(int fd, int *res)
{
	static char part[65536];
	size_t seen = 0;
	bool right = true;

	*res = -ETIME;
	for (int i = 0; i < 5000; i++) {
		ssize_t n = recv(fd, part, sizeof(part), MSG_DONTWAIT);

		if (n > 0) {
			right &= seen + (size_t)n <= STREAM_BYTES &&
				 memcmp(part, stream + seen, (size_t)n) == 0;
			seen += (size_t)n;
		}
		if (*res == -ETIME)
			*res = result(n > 0 ? 0 : 1);
		else if (seen >= (size_t)(*res > 0 ? *res : 0))
			break;
	}
	return right ? seen : 0;
}

static void without(void)
{
	int pair[2];
	ssize_t n;

	tcp_pair(pair);
	n = send(pair[0], stream, STREAM_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
	claim(is_part((int)n), "send(2) that may not wait takes what there is room for");
	drop(pair);

	tcp_pair(pair);
	send_entry(pair[0], 0);
	claim(is_part(result(100)),
	      "so does a send by the ring, although the ring could wait for room");
	drop(pair);
}

static void with(void)
{
	int pair[2], res;

	tcp_pair(pair);
	send_entry(pair[0], MSG_WAITALL);
	claim(result(50) == -ETIME, "with MSG_WAITALL it waits");
	claim(read_all(pair[1], &res) == STREAM_BYTES && res == STREAM_BYTES,
	      "and completes once, with all, each byte at its place");
	drop(pair);
}

static void in_parts(void)
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
	      "so with several parts");
	claim(iov[0].iov_base == stream && iov[0].iov_len == 100,
	      "whose list is not touched");
	drop(pair);
}

/* Bytes until the end of the stream; -1: it does not come. */
static long read_to_end(int fd)
{
	const struct timeval patience = { .tv_sec = 2 };
	static char part[65536];
	long seen = 0;
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while ((n = read(fd, part, sizeof(part))) > 0)
		seen += n;
	return n == 0 ? seen : -1;
}

static void cancelled(void)
{
	int pair[2], res;

	tcp_pair(pair);
	send_entry(pair[0], MSG_WAITALL);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	entry(IORING_OP_ASYNC_CANCEL, -1, 2)->addr = 1;
	res = result(100);
	claim(is_part(res), "cancelled, it says how much was taken, not ECANCELED");
	close(pair[0]);
	claim(read_to_end(pair[1]) == res, "and so much arrives");
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
	      "when the peer resets it likewise says a count, and no error");
	send_entry(pair[0], MSG_WAITALL);
	res = result(1000);
	claim(res == -EPIPE || res == -ECONNRESET, "which is for the next send to hear");
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
	claim(of_parts(pair[0], IOV_MAX) == IOV_MAX, "1024 parts are sent");
	claim(of_parts(pair[0], IOV_MAX + 1) == -EMSGSIZE, "and not one more: EMSGSIZE");
	drop(pair);
}

int main(void)
{
	for (size_t i = 0; i < STREAM_BYTES; i++)
		stream[i] = (char)(i * 2654435761u >> 24);
	open_ring(8, 64);
	without();
	with();
	in_parts();
	cancelled();
	peer_gone();
	too_many_parts();
	return failed;
}
