/* One-shot accepts: which address does each report, how many complete, do the sockets
 * block? */
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

#define ARMED 4
#define CLIENTS 6

static struct sockaddr_in peers[ARMED];
static socklen_t peer_lens[ARMED];
static int clients[CLIENTS];

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

static void arm(int listener, unsigned i, unsigned ioprio)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_ACCEPT, listener, i);

	peer_lens[i] = sizeof(peers[i]);
	sqe->addr = (uintptr_t)&peers[i];
	sqe->addr2 = (uintptr_t)&peer_lens[i];
	sqe->accept_flags = SOCK_CLOEXEC;
	sqe->ioprio = (uint16_t)ioprio;
}

static bool next_completion(struct io_uring_cqe *cqe, unsigned timeout_ms)
{
	if (take(cqe))
		return true;
	enter(1, timeout_ms, IORING_ENTER_GETEVENTS);
	return take(cqe);
}

static int connect_one(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	need(connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0, "connect");
	return fd;
}

static in_port_t port_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_in in = { 0 };
	socklen_t len = sizeof(in);

	get(fd, (struct sockaddr *)&in, &len);
	return in.sin_port;
}

static bool nonblocking(int fd)
{
	return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

/* Accepts the connections that are left in the backlog. Returns how many there were. */
static int accept_rest(int listener, int expected)
{
	struct pollfd p = { listener, POLLIN, 0 };
	int n = 0;

	while (poll(&p, 1, n < expected ? 1000 : 20) == 1) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			break;
		close(fd);
		n++;
	}
	return n;
}

static void one_shot(int listener, const struct sockaddr_in *at)
{
	struct io_uring_cqe cqe;
	unsigned n = 0, addressed = 0, blocking = 0;

	for (unsigned i = 0; i < ARMED; i++)
		arm(listener, i, 0);
	enter(0, 0, IORING_ENTER_GETEVENTS);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = connect_one(at);
	for (; n < ARMED && next_completion(&cqe, 1000) && cqe.res >= 0; n++) {
		const struct sockaddr_in *peer = &peers[cqe.user_data];

		addressed += peer->sin_port == port_of(cqe.res, getpeername) &&
			     peer_lens[cqe.user_data] == sizeof(*peer);
		blocking += !nonblocking(cqe.res) &&
			    fcntl(cqe.res, F_GETFD) == FD_CLOEXEC;
		close(cqe.res);
	}
	claim(n == ARMED && addressed == ARMED,
	      "each accept completes with the address of its own peer");
	claim(n == ARMED && blocking == ARMED,
	      "the new sockets are blocking and close-on-exec");
	claim(!next_completion(&cqe, 20) &&
		      accept_rest(listener, CLIENTS - ARMED) == CLIENTS - ARMED,
	      "no more connections are accepted than accepts were armed; the others "
	      "wait in the backlog");
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
}

/* Two connections wait, and there is one address buffer for both. */
static void multishot(int listener, const struct sockaddr_in *at)
{
	struct io_uring_cqe cqe[2];
	int named = 0;

	clients[0] = connect_one(at);
	clients[1] = connect_one(at);
	arm(listener, 0, IORING_ACCEPT_MULTISHOT);
	need(next_completion(&cqe[0], 1000) && next_completion(&cqe[1], 1000) &&
		     cqe[0].res >= 0 && cqe[1].res >= 0,
	     "a multishot accept");
	for (int i = 0; i < 2; i++)
		named += peers[0].sin_port == port_of(cqe[i].res, getpeername);
	claim(named == 1, "a multishot accept reports one address for two connections");
	for (int i = 0; i < 2; i++) {
		close(cqe[i].res);
		close(clients[i]);
	}
}

static struct io_uring_sqe *receive(int fd)
{
	static char bytes[16];
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, 1);

	sqe->addr = (uintptr_t)bytes;
	sqe->len = sizeof(bytes);
	return sqe;
}

static void o_nonblock(int listener, const struct sockaddr_in *at)
{
	struct io_uring_cqe cqe;
	int client, fd;

	fcntl(listener, F_SETFL, O_NONBLOCK);
	arm(listener, 0, 0);
	claim(!next_completion(&cqe, 20),
	      "an accept waits on a listener that is O_NONBLOCK");
	client = connect_one(at);
	need(next_completion(&cqe, 1000) && cqe.res >= 0, "an accepted socket");
	fd = cqe.res;
	claim(!nonblocking(fd), "the sockets it returns are blocking nevertheless");
	fcntl(fd, F_SETFL, O_NONBLOCK);
	receive(fd);
	claim(!next_completion(&cqe, 20), "a receive on such a socket waits");
	need(write(client, "five.", 5) == 5, "write");
	claim(next_completion(&cqe, 1000) && cqe.res == 5,
	      "that receive completes when bytes arrive");
	receive(fd)->msg_flags = MSG_DONTWAIT;
	claim(next_completion(&cqe, 1000) && cqe.res == -EAGAIN,
	      "only with MSG_DONTWAIT a receive returns EAGAIN");
	close(fd);
	close(client);
}

int main(void)
{
	struct sockaddr_in at;
	int listener = listen_somewhere(&at);

	open_ring(8, 64);
	one_shot(listener, &at);
	o_nonblock(listener, &at);
	multishot(listener, &at);
	return failed;
}
