/* In which order do operations run and complete, and what does a link add? */
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct io_uring ring;

#define STREAM_BYTES (4 << 20)

static char stream[STREAM_BYTES];
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

static int unread(int fd)
{
	int n = 0;

	ioctl(fd, FIONREAD, &n);
	return n;
}

static void pair_of(int pair[2])
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
}

static void close_pair(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

static struct io_uring_sqe *receive(int fd, uint64_t id)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, id);

	sqe->addr = (uintptr_t)received;
	sqe->len = sizeof(received);
	return sqe;
}

static struct io_uring_sqe *send_entry(int fd, uint64_t id, unsigned len, unsigned flags)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_SEND, fd, id);

	sqe->addr = (uintptr_t)stream;
	sqe->len = len;
	sqe->msg_flags = MSG_NOSIGNAL | flags;
	return sqe;
}

/* The user data of all completions, in order, as decimal digits; their results in
 * res[]. */
static unsigned completed(unsigned wait_n, int res[10])
{
	struct io_uring_cqe cqe;
	unsigned order = 0;

	enter(wait_n, 100, IORING_ENTER_GETEVENTS);
	while (take(&cqe)) {
		order = order * 10 + (unsigned)cqe.user_data;
		res[cqe.user_data] = cqe.res;
	}
	return order;
}

static void at_once(void)
{
	int pair[2], res[10];
	char seen[3] = "";

	for (uint64_t i = 1; i <= 8; i++)
		entry(IORING_OP_NOP, -1, i);
	claim(completed(8, res) == 12345678,
	      "operations that need not wait complete in the order of their entries");
	pair_of(pair);
	for (int i = 0; i < 3; i++)
		stream[i] = (char)('a' + i);
	for (uint64_t i = 0; i < 3; i++)
		send_entry(pair[0], i + 1, 1, 0)->addr += i;
	completed(3, res);
	claim(read(pair[1], seen, 3) == 3 && memcmp(seen, "abc", 3) == 0,
	      "operations are tried in the order of their entries");
	close_pair(pair);
}

/* Bytes arrive for the second of two receives first. */
static void as_bytes_come(void)
{
	int first[2], second[2], res[10];

	pair_of(first);
	pair_of(second);
	receive(first[0], 1);
	receive(second[0], 2);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	need(write(second[1], "x", 1) == 1 && write(first[1], "x", 1) == 1, "write");
	claim(completed(2, res) == 21,
	      "operations that wait complete in the order of their events");
	close_pair(first);
	close_pair(second);
}

/* A receive that waits and a send behind it, with and without a link. */
static void waits_for(void)
{
	int in[2], out[2], res[10];
	unsigned order;

	pair_of(in);
	pair_of(out);
	receive(in[0], 1);
	send_entry(out[0], 2, 4, 0);
	completed(1, res);
	claim(unread(out[1]) == 4,
	      "without a link the second operation does not wait for the first");
	need(write(in[1], "x", 1) == 1 && completed(1, res) == 1, "the receive");
	close_pair(out);
	pair_of(out);
	receive(in[0], 1)->flags = IOSQE_IO_LINK;
	send_entry(out[0], 2, 4, 0);
	completed(1, res);
	claim(unread(out[1]) == 0, "linked, the second operation waits");
	need(write(in[1], "x", 1) == 1, "write");
	order = completed(2, res);
	claim(order == 12 && unread(out[1]) == 4,
	      "a linked operation runs when the first is complete");
	close_pair(in);
	close_pair(out);
}

static void failure_cancels_chain(void)
{
	int pair[2], res[10];

	pair_of(pair);
	receive(-1, 1)->flags = IOSQE_IO_LINK;
	send_entry(pair[0], 2, 4, 0)->flags = IOSQE_IO_LINK;
	entry(IORING_OP_NOP, -1, 3);
	entry(IORING_OP_NOP, -1, 4);
	completed(4, res);
	claim(res[1] == -EBADF && res[2] == -ECANCELED && res[3] == -ECANCELED &&
		      unread(pair[1]) == 0,
	      "an operation that fails cancels all that are linked behind it");
	claim(res[4] == 0, "it cancels nothing behind the end of the chain");
	close_pair(pair);
}

/* A send of more than the socket takes, and one linked behind it. */
static int behind_short(unsigned flags)
{
	int pair[2], res[10] = { 0 };

	pair_of(pair);
	send_entry(pair[0], 1, STREAM_BYTES, MSG_DONTWAIT | flags)->flags = IOSQE_IO_LINK;
	entry(IORING_OP_NOP, -1, 2);
	completed(2, res);
	need(res[1] > 0 && res[1] < STREAM_BYTES, "a short send");
	close_pair(pair);
	return res[2];
}

static void short_sends(void)
{
	claim(behind_short(0) == 0, "a short send counts as success for its link");
	claim(behind_short(MSG_WAITALL) == -ECANCELED,
	      "with MSG_WAITALL a short send counts as a failure");
}

/* Three sends without completions on success; the second does not fit. */
static void silent_chain(void)
{
	struct io_uring_cqe cqe;
	unsigned completions = 0, id = 0;
	int pair[2];

	pair_of(pair);
	for (uint64_t i = 1; i <= 3; i++) {
		struct io_uring_sqe *sqe = send_entry(pair[0], i,
						      i == 2 ? STREAM_BYTES : 16,
						      MSG_DONTWAIT | MSG_WAITALL);

		sqe->flags = IOSQE_CQE_SKIP_SUCCESS | (i < 3 ? IOSQE_IO_LINK : 0);
	}
	enter(1, 100, IORING_ENTER_GETEVENTS);
	while (take(&cqe)) {
		completions++;
		id = (unsigned)cqe.user_data;
	}
	claim(completions == 1 && id == 2,
	      "of a silent chain only the operation that failed makes a completion, "
	      "not those cancelled because of it");
	close_pair(pair);
}

int main(void)
{
	open_ring(16, 64);
	at_once();
	as_bytes_come();
	waits_for();
	failure_cancels_chain();
	short_sends();
	silent_chain();
	return failed;
}
