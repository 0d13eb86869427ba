/* Do an unlinked cancel and close end operations in flight, and what does a close alone
 * do? */
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
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

#define SEND_BYTES (8 << 20)
#define WAITING 400

static char bytes[SEND_BYTES];
static char received[64];

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

static void receive(int fd, uint64_t id, unsigned ioprio)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, id);

	sqe->addr = (uintptr_t)received;
	sqe->len = sizeof(received);
	sqe->ioprio = (uint16_t)ioprio;
}

/* Sends more than the socket takes, so that the send waits for space. */
static void send_much(int fd, uint64_t id)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_SEND, fd, id);

	sqe->addr = (uintptr_t)bytes;
	sqe->len = SEND_BYTES;
	sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
}

/* Cancel and close, as ring_close() writes them: by the user data of an operation, or by
 * descriptor. */
static void cancel_and_close(int fd, uint64_t op)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_ASYNC_CANCEL, op ? -1 : fd, 2);

	sqe->addr = op;
	sqe->cancel_flags = op ? 0 : IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	entry(IORING_OP_CLOSE, fd, 3)->flags = IOSQE_CQE_SKIP_SUCCESS;
}

static void cancel_op(uint64_t op, uint64_t id)
{
	entry(IORING_OP_ASYNC_CANCEL, -1, id)->addr = op;
}

/* The result of operation id; -ETIME: no completion. Other completions are dropped. */
static int result(uint64_t id)
{
	struct io_uring_cqe cqe;

	for (int i = 0; i < 10; i++) {
		while (take(&cqe))
			if (cqe.user_data == id)
				return cqe.res;
		if (enter(1, 50, IORING_ENTER_GETEVENTS) == -ETIME)
			break;
	}
	return -ETIME;
}

static void drop_completions(void)
{
	struct io_uring_cqe cqe;

	enter(0, 0, IORING_ENTER_GETEVENTS);
	while (take(&cqe))
		continue;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static bool sees_end(int fd, int timeout_ms)
{
	struct pollfd p = { fd, POLLIN, 0 };
	char c;

	return poll(&p, 1, timeout_ms) == 1 && read(fd, &c, 1) == 0;
}

static void cancel_close_ends_receive(uint64_t op)
{
	int pair[2], again;

	tcp_pair(pair);
	receive(pair[0], 1, 0);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	cancel_and_close(pair[0], op);
	enter(0, 0, 0);
	again = fcntl(pair[1], F_DUPFD, pair[0]);
	claim(again == pair[0] && io_uring_cq_ready(&ring) == 0,
	      op ? "by user data: after cancel and close the descriptor is free while the "
		   "receive's completion is still to come"
		 : "by descriptor: after cancel and close the descriptor is free while "
		   "the receive's completion is still to come");
	claim(result(1) == -ECANCELED, "the cancelled receive completes with ECANCELED");
	claim(sees_end(pair[1], 1000), "the peer sees the end of the stream");
	close(again);
	close(pair[1]);
}

static void cancel_close_ends_send(void)
{
	int pair[2], res;

	tcp_pair(pair);
	send_much(pair[0], 1);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	need(io_uring_cq_ready(&ring) == 0, "a send that waits");
	cancel_and_close(pair[0], 0);
	res = result(1);
	claim(res == -ECANCELED || (res > 0 && res < SEND_BYTES),
	      "a send that waits for space completes with ECANCELED or its count");
	close(pair[1]);
}

static void close_alone(void)
{
	struct io_uring_cqe cqe = { .res = -1 };
	int pair[2];

	tcp_pair(pair);
	receive(pair[0], 1, 0);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	entry(IORING_OP_CLOSE, pair[0], 3);
	enter(1, 1000, IORING_ENTER_GETEVENTS);
	take(&cqe);
	claim(cqe.user_data == 3 && cqe.res == 0 && !sees_end(pair[1], 20),
	      "after a close alone the socket stays open while a receive holds it");
	need(write(pair[1], "late", 4) == 4, "write");
	claim(result(1) == 4, "that receive still receives bytes");
	claim(sees_end(pair[1], 1000),
	      "the socket is closed when that receive completes");
	close(pair[1]);
}

static void wrong_order(void)
{
	int pair[2];

	tcp_pair(pair);
	receive(pair[0], 1, 0);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	entry(IORING_OP_CLOSE, pair[0], 3);
	entry(IORING_OP_ASYNC_CANCEL, pair[0], 2)->cancel_flags = IORING_ASYNC_CANCEL_FD |
								  IORING_ASYNC_CANCEL_ALL;
	claim(result(2) == -EBADF && result(1) == -ETIME,
	      "with the close first the cancel finds no file and the receive continues");
	cancel_op(1, 2);
	need(result(1) == -ECANCELED, "the end of the receive");
	close(pair[1]);
}

/* With POLL_FIRST the receive finds bytes when it begins to wait and is queued for an
 * attempt, which happens in the next enter with GETEVENTS. Until then a cancel cannot
 * find it. */
static void arm_between_poll_and_attempt(int pair[2])
{
	tcp_pair(pair);
	need(write(pair[1], "first", 5) == 5, "write");
	await_unread(pair[0], 5);
	receive(pair[0], 1, IORING_RECVSEND_POLL_FIRST);
	enter(0, 0, 0);
}

static void missed(void)
{
	struct io_uring_cqe cqe = { 0 };
	char c[8];
	int pair[2];

	arm_between_poll_and_attempt(pair);
	cancel_op(1, 2);
	enter(0, 0, 0);
	claim(take(&cqe) && cqe.user_data == 2 && cqe.res == -ENOENT,
	      "a cancel misses an operation between its poll and its next attempt: "
	      "ENOENT");
	claim(result(1) == 5, "the operation that was missed continues");
	close(pair[0]);
	close(pair[1]);
	drop_completions();

	arm_between_poll_and_attempt(pair);
	need(read(pair[0], c, sizeof(c)) == 5, "read");
	cancel_op(1, 2);
	claim(result(2) == -ENOENT && result(1) == -ETIME,
	      "if its attempt finds no bytes it waits again");
	cancel_op(1, 2);
	claim(result(1) == -ECANCELED, "a second cancel finds it");
	close(pair[0]);
	close(pair[1]);
}

/* The poll of a multishot receive stays registered between its attempts. */
static void multishot_is_found(void)
{
	struct io_uring_sqe *sqe;
	int pair[2];

	tcp_pair(pair);
	need(write(pair[1], "first", 5) == 5, "write");
	await_unread(pair[0], 5);
	sqe = entry(IORING_OP_RECV, pair[0], 1);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->ioprio = IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT;
	enter(0, 0, 0);
	cancel_op(1, 2);
	claim(result(1) == -ECANCELED && unread(pair[0]) == 5,
	      "a cancel finds a multishot receive between its attempts as well");
	close(pair[0]);
	close(pair[1]);
}

/* The cancel misses in the same way, and the close does not end the operation that was
 * missed. */
static void outlives_close(void)
{
	char c[8];
	int pair[2];

	arm_between_poll_and_attempt(pair);
	need(read(pair[0], c, sizeof(c)) == 5, "read");
	cancel_and_close(pair[0], 1);
	claim(result(2) == -ENOENT && !sees_end(pair[1], 20),
	      "a receive missed by the cancel survives the close, and the peer sees "
	      "no end of the stream");
	cancel_op(1, 4);
	claim(result(1) == -ECANCELED && sees_end(pair[1], 1000),
	      "a second cancel ends it");
	close(pair[1]);
}

/* For the note only: no claim depends on it. */
static void cost(void)
{
	static int pairs[WAITING][2];
	uint64_t us[2];

	for (int i = 0; i < WAITING; i++) {
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) == 0, "socketpair");
		receive(pairs[i][0], 1000 + (uint64_t)i, 0);
		enter(0, 0, 0);
	}
	for (int way = 0; way < 2; way++) {
		us[way] = now_us();
		for (int i = way * 100; i < way * 100 + 100; i++) {
			cancel_and_close(pairs[i][0], way == 0 ? 0 : 1000 + (uint64_t)i);
			enter(0, 0, IORING_ENTER_GETEVENTS);
		}
		us[way] = now_us() - us[way];
	}
	printf("note: with %d receives waiting, cancel and close took %.1f us by "
	       "descriptor, %.1f by user data\n",
	       WAITING, (double)us[0] / 100, (double)us[1] / 100);
}

static void shut_down(void)
{
	int pair[2], res;

	tcp_pair(pair);
	send_much(pair[0], 1);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	need(io_uring_cq_ready(&ring) == 0, "a send that waits");
	shutdown(pair[0], SHUT_RDWR);
	res = result(1);
	claim(res != -ETIME && res < SEND_BYTES,
	      "a waiting send ends without a cancel when its socket is shut down");
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	open_ring(8, 64);
	cancel_close_ends_receive(0);
	cancel_close_ends_receive(1);
	cancel_close_ends_send();
	drop_completions();
	close_alone();
	drop_completions();
	wrong_order();
	drop_completions();
	missed();
	drop_completions();
	multishot_is_found();
	drop_completions();
	outlives_close();
	drop_completions();
	shut_down();
	drop_completions();
	cost();
	return failed;
}
