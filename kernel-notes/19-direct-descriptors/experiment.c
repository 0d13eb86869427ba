/* What does a direct descriptor save, and what does it cost? */
#include <dirent.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
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

#define SLOTS 4
#define ROUNDS 4000

/* Constants that liburing 2.3 lacks or names differently. */
#define OP_FIXED_FD_INSTALL 54
#define CMD_SETSOCKOPT 3
#define ANY_SLOT (~0u)

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

static int client_of(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	need(connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0, "connect");
	return fd;
}

/* Submits the entry that was written and returns its result. */
static int result(void)
{
	struct io_uring_cqe cqe = { .res = -ETIME };

	enter(1, 1000, IORING_ENTER_GETEVENTS);
	take(&cqe);
	return cqe.res;
}

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	need(dir != NULL, "/proc/self/fd");
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int accept_direct(int listener, struct sockaddr_in *peer)
{
	static socklen_t len;
	struct io_uring_sqe *sqe = entry(IORING_OP_ACCEPT, listener, 1);

	len = sizeof(*peer);
	sqe->addr = (uintptr_t)peer;
	sqe->addr2 = (uintptr_t)&len;
	sqe->file_index = ANY_SLOT;
	return result();
}

static int use_slot(uint8_t opcode, int slot, unsigned len)
{
	struct io_uring_sqe *sqe = entry(opcode, slot, 1);

	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)received;
	sqe->len = len;
	return result();
}

static int close_slot(int slot)
{
	entry(IORING_OP_CLOSE, 0, 1)->file_index = (uint32_t)slot + 1;
	return result();
}

static bool sees_end(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	char c;

	return poll(&p, 1, 1000) == 1 && read(fd, &c, 1) <= 0;
}

static void accepted(int listener, const struct sockaddr_in *at)
{
	int before = open_descriptors(), client = client_of(at), slot;
	struct sockaddr_in peer = { 0 }, own;
	socklen_t len = sizeof(own);

	getsockname(client, (struct sockaddr *)&own, &len);
	slot = accept_direct(listener, &peer);
	claim(slot >= 0 && slot < SLOTS && open_descriptors() == before + 1,
	      "an accept into a slot uses no descriptor of the process");
	claim(peer.sin_port == own.sin_port,
	      "an accept into a slot reports the peer's address");
	need(write(client, "four", 4) == 4, "write");
	claim(use_slot(IORING_OP_RECV, slot, 64) == 4 &&
		      use_slot(IORING_OP_SEND, slot, 4) == 4,
	      "the ring receives and sends by slot");
	claim(close_slot(slot) == 0 && read(client, received, 64) == 4 &&
		      sees_end(client),
	      "the ring closes the socket by slot");
	claim(use_slot(IORING_OP_SEND, slot, 4) == -EBADF,
	      "a slot is empty after its close");
	close(client);
}

/* System calls that the proxy makes on a socket outside of the ring. */
static void system_calls_need_descriptor(int listener, const struct sockaddr_in *at)
{
	int client = client_of(at), on = 0, fd, slot;
	struct sockaddr_in peer;
	socklen_t len = sizeof(on);
	struct io_uring_sqe *sqe;
	static const int one = 1;

	slot = accept_direct(listener, &peer);
	sqe = entry(IORING_OP_URING_CMD, slot, 1);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->off = CMD_SETSOCKOPT;
	sqe->addr = (uint64_t)TCP_NODELAY << 32 | IPPROTO_TCP;
	sqe->file_index = sizeof(one);
	sqe->addr3 = (uintptr_t)&one;
	fd = result();
	printf("note: setsockopt by the ring: %s\n", fd == 0 ? "works" : strerror(-fd));
	entry(OP_FIXED_FD_INSTALL, slot, 1)->flags = IOSQE_FIXED_FILE;
	fd = result();
	errno = -fd;
	need(fd >= 0, "FIXED_FD_INSTALL (Linux 6.8)");
	claim(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0,
	      "a system call needs a descriptor, which another operation installs");
	close_slot(slot);
	claim(recv(client, received, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN,
	      "that descriptor keeps the socket open although its slot is closed");
	close(fd);
	claim(sees_end(client),
	      "the socket is closed when the descriptor is closed as well");
	close(client);
}

static void full(int listener, const struct sockaddr_in *at)
{
	int clients[SLOTS + 1], slots[SLOTS], waiting;
	struct sockaddr_in peer;
	struct pollfd p;

	for (int i = 0; i < SLOTS; i++) {
		clients[i] = client_of(at);
		slots[i] = accept_direct(listener, &peer);
		need(slots[i] >= 0, "an accept");
	}
	waiting = clients[SLOTS] = client_of(at);
	p = (struct pollfd){ listener, POLLIN, 0 };
	need(poll(&p, 1, 1000) == 1, "a connection");
	claim(accept_direct(listener, &peer) == -ENFILE && poll(&p, 1, 0) == 0 &&
		      sees_end(waiting),
	      "with the table full an accept fails with ENFILE, and its connection is lost");
	for (int i = 0; i < SLOTS; i++) {
		close_slot(slots[i]);
		close(clients[i]);
	}
	close(waiting);
}

/* For comparison: an ordinary accept when the process has no descriptor left. */
static void full_process(int listener, const struct sockaddr_in *at)
{
	struct rlimit was, none;
	int client = client_of(at), res, fd;
	struct pollfd p = { listener, POLLIN, 0 };

	need(poll(&p, 1, 1000) == 1, "a connection");
	getrlimit(RLIMIT_NOFILE, &was);
	none = (struct rlimit){ 0, was.rlim_max };
	setrlimit(RLIMIT_NOFILE, &none);
	entry(IORING_OP_ACCEPT, listener, 1);
	res = result();
	setrlimit(RLIMIT_NOFILE, &was);
	claim(res == -EMFILE && poll(&p, 1, 0) == 1,
	      "an ordinary accept without a free descriptor leaves the connection in "
	      "the backlog");
	fd = accept(listener, NULL, NULL);
	close(fd);
	close(client);
}

/* Not by the function of liburing, which raises the limit and tries again. */
static int make_table(struct io_uring *other, unsigned n)
{
	struct io_uring_rsrc_register reg = { .nr = n,
					      .flags = IORING_RSRC_REGISTER_SPARSE };

	return io_uring_register((unsigned)other->ring_fd, IORING_REGISTER_FILES2, &reg,
				 sizeof(reg));
}

static void table_size(void)
{
	struct rlimit was, few;
	struct io_uring other;
	int res;

	getrlimit(RLIMIT_NOFILE, &was);
	few = (struct rlimit){ 64, was.rlim_max };
	errno = -io_uring_queue_init(2, &other, 0);
	need(errno == 0, "io_uring_setup");
	setrlimit(RLIMIT_NOFILE, &few);
	res = make_table(&other, 65);
	claim(res == -EMFILE && make_table(&other, 64) == 0,
	      "a table cannot be larger than the descriptor limit, although it uses "
	      "no descriptors");
	setrlimit(RLIMIT_NOFILE, &was);
	io_uring_queue_exit(&other);
}

/* Sends and receives of a byte by descriptor or by slot; one enter for each pair. */
static double pair_ns(const int fds[2], uint8_t flags)
{
	struct timespec began, ended;
	struct io_uring_cqe cqe;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
	for (int i = 0; i < ROUNDS; i++) {
		for (int k = 0; k < 2; k++) {
			struct io_uring_sqe *sqe =
				entry(k ? IORING_OP_RECV : IORING_OP_SEND, fds[k], 1);

			sqe->flags = flags;
			sqe->addr = (uintptr_t)received;
			sqe->len = 1;
		}
		enter(2, 1000, IORING_ENTER_GETEVENTS);
		while (take(&cqe))
			continue;
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
	return ((double)(ended.tv_sec - began.tv_sec) * 1e9 +
		(double)(ended.tv_nsec - began.tv_nsec)) /
	       ROUNDS;
}

/* For the note only: no claim depends on it. */
static void compare_cost(void)
{
	int pair[2];
	const int slots[2] = { 0, 1 };
	double by_number = 1e9, by_slot = 1e9;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	need(io_uring_register_files_update(&ring, 0, pair, 2) == 2, "the table");
	for (int i = 0; i < 5; i++) {
		double n = pair_ns(pair, 0), s = pair_ns(slots, IOSQE_FIXED_FILE);

		by_number = n < by_number ? n : by_number;
		by_slot = s < by_slot ? s : by_slot;
	}
	printf("note: a send and a receive of one byte took %.0f ns by descriptor, "
	       "%.0f by slot\n",
	       by_number, by_slot);
}

int main(void)
{
	struct sockaddr_in at;
	int listener = listen_somewhere(&at);

	open_ring(8, 64);
	errno = -io_uring_register_files_sparse(&ring, SLOTS);
	need(errno == 0, "a table of registered descriptors");
	accepted(listener, &at);
	system_calls_need_descriptor(listener, &at);
	full(listener, &at);
	full_process(listener, &at);
	table_size();
	compare_cost();
	return failed;
}
