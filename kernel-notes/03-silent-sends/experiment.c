/* What does a send with CQE_SKIP_SUCCESS report, and when may its bytes be reused? */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

#define SNDBUF_BYTES 65536
#define PART_BYTES (4 * SNDBUF_BYTES)
#define STREAM_BYTES (32 * PART_BYTES)

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

static struct io_uring_sqe *send_entry(int fd, const void *ptr, unsigned len, int flags)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_SEND, fd, 1);

	sqe->addr = (uintptr_t)ptr;
	sqe->len = len;
	sqe->msg_flags = (unsigned)flags | MSG_NOSIGNAL;
	return sqe;
}

static void send_silently(int fd, const void *ptr, unsigned len)
{
	send_entry(fd, ptr, len, MSG_DONTWAIT | MSG_WAITALL)->flags =
		IOSQE_CQE_SKIP_SUCCESS;
}

/* The result after exactly one enter; 1 if there is no completion: all bytes were
 * taken. */
static int result(void)
{
	struct io_uring_cqe cqe;

	enter(0, 0, IORING_ENTER_GETEVENTS);
	return take(&cqe) ? cqe.res : 1;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void small_pair(int pair[2])
{
	int bytes = SNDBUF_BYTES;

	tcp_pair(pair);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
}

static void taken_at_once(void)
{
	char text[] = "as it was", seen[32] = "";
	struct iovec iov[2] = { { text, 3 }, { text + 3, 6 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	struct io_uring_sqe *sqe;
	uint64_t began_us;
	int pair[2];

	small_pair(pair);
	send_silently(pair[0], text, 9);
	began_us = now_us();
	enter(1, 20, IORING_ENTER_GETEVENTS);
	claim(io_uring_cq_ready(&ring) == 0 && now_us() - began_us >= 19000,
	      "a send whose bytes were all taken makes no completion and ends no wait");
	memcpy(text, "as it is!", 9);
	await_unread(pair[1], 9);
	claim(read(pair[1], seen, sizeof(seen)) == 9 && memcmp(seen, "as it was", 9) == 0,
	      "its bytes may be reused when that enter has returned");
	sqe = entry(IORING_OP_SENDMSG, pair[0], 1);
	sqe->addr = (uintptr_t)&msg;
	sqe->len = 1;
	sqe->msg_flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	claim(result() == 1, "a send of several parts makes no completion either");
	memcpy(text, "as it was", 9);
	iov[0].iov_len = iov[1].iov_len = 0;
	await_unread(pair[1], 9);
	claim(read(pair[1], seen, sizeof(seen)) == 9 && memcmp(seen, "as it is!", 9) == 0,
	      "its parts and their iovecs may be reused when that enter has returned");
	close(pair[0]);
	close(pair[1]);
}

/* Reads the bytes that are there and compares them with the stream from *seen on. */
static bool read_and_compare(int fd, size_t *seen)
{
	static char part[PART_BYTES];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0) {
		if (*seen + (size_t)n > STREAM_BYTES ||
		    memcmp(part, stream + *seen, (size_t)n) != 0)
			return false;
		*seen += (size_t)n;
	}
	return true;
}

/* Sends parts silently until one was short and one found no space. Returns the number of
 * bytes taken, computed from the completions that came and those that did not. */
static size_t fill(int fd, int *shorts)
{
	size_t sent = 0;

	*shorts = 0;
	for (int i = 0; i < 1000 && sent + PART_BYTES <= STREAM_BYTES; i++) {
		unsigned len = i < 4 ? 4096 : PART_BYTES;
		int res;

		send_silently(fd, stream + sent, len);
		res = result();
		if (res == -EAGAIN && *shorts > 0)
			return sent;
		if (res != -EAGAIN && res < 0)
			break;
		if (res == 1)
			sent += len;
		else if (res > 0)
			sent += (size_t)res;
		*shorts += res > 1;
	}
	return 0;
}

/* Sends the rest with a completion while the other side reads. */
static bool send_rest(const int pair[2], size_t sent, size_t *seen)
{
	struct io_uring_cqe cqe;
	unsigned left = (unsigned)(STREAM_BYTES - sent);
	bool as_expected = true;

	send_entry(pair[0], stream + sent, left, MSG_WAITALL);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	for (int i = 0; i < 2000 && io_uring_cq_ready(&ring) == 0; i++) {
		as_expected &= read_and_compare(pair[1], seen);
		enter(1, 1, IORING_ENTER_GETEVENTS);
	}
	as_expected &= take(&cqe) && cqe.res == (int)left;
	for (int i = 0; i < 2000 && *seen < STREAM_BYTES && as_expected; i++) {
		as_expected &= read_and_compare(pair[1], seen);
		usleep(1000);
	}
	return as_expected && *seen == STREAM_BYTES && !take(&cqe);
}

static void short_and_full(void)
{
	size_t sent, seen = 0;
	int pair[2], shorts;

	for (size_t i = 0; i < STREAM_BYTES; i++)
		stream[i] = (char)(i * 2654435761u >> 24);
	small_pair(pair);
	sent = fill(pair[0], &shorts);
	claim(sent > 0,
	      "a short send reports its count and a send without space EAGAIN, both "
	      "in the enter that took the entry");
	claim(sent > 0 && send_rest(pair, sent, &seen),
	      "a later send with MSG_WAITALL waits for space by itself and completes "
	      "once, with all bytes; the reader finds each byte once");
	close(pair[0]);
	close(pair[1]);
}

static void peer_gone(void)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	struct pollfd p;
	int pair[2], res;

	small_pair(pair);
	setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(pair[1]);
	p = (struct pollfd){ pair[0], POLLIN, 0 };
	need(poll(&p, 1, 2000) == 1, "a reset");
	send_silently(pair[0], "x", 1);
	res = result();
	claim(res == -ECONNRESET || res == -EPIPE,
	      "a send to a peer that has reset reports an error");
	close(pair[0]);
}

/* Nothing reads from this pair, so the number of bytes taken does not depend on time. */
static void without_waitall(void)
{
	int pair[2], res;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	send_entry(pair[0], stream, STREAM_BYTES, MSG_DONTWAIT)->flags =
		IOSQE_CQE_SKIP_SUCCESS;
	res = result();
	claim(res == 1 && unread(pair[1]) < STREAM_BYTES,
	      "without MSG_WAITALL a short send makes no completion");
}

int main(void)
{
	open_ring(8, 64);
	taken_at_once();
	short_and_full();
	peer_gone();
	without_waitall();
	return failed;
}
