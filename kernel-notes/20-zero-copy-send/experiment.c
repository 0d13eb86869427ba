/* What does a zero-copy send guarantee, what does it cost, and does it avoid the copy on
 * loopback? */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

#define BYTES_MAX (256 << 10)

/* Linux 6.2: the notification reports whether the bytes were copied after all. */
#define REPORT_USAGE (1u << 3)
#define WAS_COPIED 0x80000000u

static char bytes[BYTES_MAX], seen[BYTES_MAX];

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

static struct io_uring_sqe *send_entry(uint8_t opcode, int fd, unsigned len)
{
	struct io_uring_sqe *sqe = entry(opcode, fd, 1);

	sqe->addr = (uintptr_t)bytes;
	sqe->len = len;
	sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
	return sqe;
}

static bool next_completion(struct io_uring_cqe *cqe, unsigned timeout_ms)
{
	if (take(cqe))
		return true;
	enter(1, timeout_ms, IORING_ENTER_GETEVENTS);
	return take(cqe);
}

static bool read_all(int fd, size_t len)
{
	return recv(fd, seen, len, MSG_WAITALL) == (ssize_t)len;
}

/* A send of 16 KiB whose bytes are read only afterwards. */
static void two_completions(int pair[2])
{
	struct io_uring_cqe sent = { 0 }, over = { 0 }, early;
	bool was_early;

	send_entry(IORING_OP_SEND_ZC, pair[0], 16384)->ioprio = REPORT_USAGE;
	need(next_completion(&sent, 1000) && sent.res != -EINVAL,
	     "SEND_ZC with a usage report (Linux 6.2)");
	claim(sent.res == 16384 && sent.flags & IORING_CQE_F_MORE,
	      "the first completion of a zero-copy send is its result, with MORE");
	was_early = next_completion(&early, 20);
	need(read_all(pair[1], 16384), "the bytes");
	if (was_early)
		over = early;
	else
		next_completion(&over, 1000);
	printf("note: the notification came %s the bytes were read\n",
	       was_early ? "before" : "after");
	claim(over.flags & IORING_CQE_F_NOTIF && !(over.flags & IORING_CQE_F_MORE),
	      "the second is a notification that the bytes may be reused");
	claim((unsigned)over.res == WAS_COPIED,
	      "on loopback the kernel has copied the bytes nevertheless");
}

static void cannot_be_silent(int pair[2])
{
	struct io_uring_cqe cqe = { 0 };

	send_entry(IORING_OP_SEND_ZC, pair[0], 4096)->flags = IOSQE_CQE_SKIP_SUCCESS;
	claim(next_completion(&cqe, 1000) && cqe.res == -EINVAL,
	      "a zero-copy send cannot skip its completion: EINVAL");
	while (next_completion(&cqe, 10))
		continue;
}

static void unix_socket(void)
{
	struct io_uring_cqe cqe = { 0 };
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	send_entry(IORING_OP_SEND_ZC, pair[0], 4096);
	claim(next_completion(&cqe, 1000) && cqe.res == -EOPNOTSUPP,
	      "a zero-copy send on a unix socket fails: EOPNOTSUPP");
	while (next_completion(&cqe, 10))
		continue;
	close(pair[0]);
	close(pair[1]);
}

/* Completions of one send and its read. */
static unsigned completions;

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static double send_us(uint8_t opcode, int pair[2], unsigned len, int rounds)
{
	uint64_t began = cpu_ns();
	struct io_uring_cqe cqe;

	completions = 0;
	for (int i = 0; i < rounds; i++) {
		bool more = opcode == IORING_OP_SEND_ZC, sent = false;

		send_entry(opcode, pair[0], len);
		enter(0, 0, IORING_ENTER_GETEVENTS);
		need(read_all(pair[1], len), "the bytes");
		while ((!sent || more) && next_completion(&cqe, 1000)) {
			completions++;
			sent = true;
			more = cqe.flags & IORING_CQE_F_MORE;
		}
	}
	return (double)(cpu_ns() - began) / rounds / 1000;
}

/* The claim is about the count of completions only; times are a note. */
static void compare_sizes(int pair[2])
{
	static const unsigned lens[] = { 1024, 4096, 16384, 65536, BYTES_MAX };
	bool twice = true;

	for (unsigned i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		int rounds = lens[i] < 65536 ? 300 : 60;
		double us[2] = { 1e9, 1e9 };

		for (int k = 0; k < 6; k++) {
			double t = send_us(k % 2 ? IORING_OP_SEND_ZC : IORING_OP_SEND,
					   pair, lens[i], rounds);

			us[k % 2] = t < us[k % 2] ? t : us[k % 2];
			twice &= completions == (unsigned)rounds * (k % 2 + 1);
		}
		printf("note: %6u bytes: %.1f us with a copy, %.1f with zero-copy (%.2f)\n",
		       lens[i], us[0], us[1], us[1] / us[0]);
	}
	claim(twice, "a zero-copy send makes twice as many completions, at every size");
}

int main(void)
{
	int pair[2], room = 4 * BYTES_MAX;

	open_ring(8, 64);
	tcp_pair(pair);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	two_completions(pair);
	cannot_be_silent(pair);
	unix_socket();
	compare_sizes(pair);
	return failed;
}
