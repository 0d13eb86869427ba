/* Do the bytes of two sends keep their order when both are in flight on one socket? */
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
#include <sys/socket.h>
#include <unistd.h>

static struct io_uring ring;

#define FIRST_BYTES (4 << 20)
#define SNDBUF_BYTES 65536

static char first[FIRST_BYTES]; /* zeros */
static char part[65536];

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

static void send_entry(int fd, uint64_t id, const char *ptr, unsigned len)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_SEND, fd, id);

	sqe->addr = (uintptr_t)ptr;
	sqe->len = len;
	sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
}

struct byte_stream {
	size_t bytes;
	size_t second_at; /* offset at which the second send's byte was found */
};

static void read_available(int fd, struct byte_stream *s)
{
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0) {
		const char *found = memchr(part, '2', (size_t)n);

		if (found)
			s->second_at = s->bytes + (size_t)(found - part);
		s->bytes += (size_t)n;
	}
}

/* Reads until both sends are complete and all their bytes were read. */
static bool read_until_complete(int pair[2], struct byte_stream *s, unsigned n)
{
	struct io_uring_cqe cqe;
	bool whole = true;

	for (int i = 0; i < 2000 && (n > 0 || s->bytes < FIRST_BYTES + 1); i++) {
		read_available(pair[1], s);
		enter(1, 1, IORING_ENTER_GETEVENTS);
		while (n > 0 && take(&cqe)) {
			whole &= cqe.res == (cqe.user_data == 1 ? FIRST_BYTES : 1);
			n--;
		}
	}
	return whole && n == 0 && s->bytes == FIRST_BYTES + 1;
}

/* Starts the first send, which sends a part and waits for space. */
static void start_first_send(int pair[2])
{
	int bytes = SNDBUF_BYTES;

	tcp_pair(pair);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	send_entry(pair[0], 1, first, FIRST_BYTES);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	need(io_uring_cq_ready(&ring) == 0, "a send that waits for space");
}

/* There is space again, and the second send is submitted before the first is tried
 * again. */
static void two_in_flight(void)
{
	struct byte_stream s = { 0 };
	struct pollfd p = { .events = POLLOUT };
	int pair[2];
	bool whole;

	start_first_send(pair);
	p.fd = pair[0];
	for (int i = 0; i < 2000 && poll(&p, 1, 1) == 0; i++)
		read_available(pair[1], &s);
	need(p.revents & POLLOUT, "space in the socket");
	send_entry(pair[0], 2, "2", 1);
	whole = read_until_complete(pair, &s, 2);
	claim(whole && s.second_at < FIRST_BYTES,
	      "the bytes of a second send can appear in the middle of a waiting one, "
	      "and both report success");
	printf("note: the second send's byte was byte %zu of the stream, not byte %d\n",
	       s.second_at, FIRST_BYTES);
	close(pair[0]);
	close(pair[1]);
}

static void one_after_another(void)
{
	struct byte_stream s = { 0 };
	struct io_uring_cqe cqe;
	int pair[2];

	start_first_send(pair);
	for (int i = 0; i < 2000 && io_uring_cq_ready(&ring) == 0; i++) {
		read_available(pair[1], &s);
		enter(1, 1, IORING_ENTER_GETEVENTS);
	}
	need(take(&cqe), "the end of the first send");
	send_entry(pair[0], 2, "2", 1);
	claim(read_until_complete(pair, &s, 1) && s.second_at == FIRST_BYTES &&
		      cqe.res == FIRST_BYTES,
	      "the bytes of a send that starts when the first has completed come "
	      "after it");
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	open_ring(8, 64);
	two_in_flight();
	one_after_another();
	return failed;
}
