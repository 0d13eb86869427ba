/* Does an accepted socket inherit TCP_NODELAY from its listener? */
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
#include <sys/socket.h>
#include <unistd.h>

static struct io_uring ring;

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

static bool has_nodelay(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0 && on != 0;
}

static int connect_one(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	need(connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0, "connect");
	return fd;
}

static bool accepted_has(int listener, const struct sockaddr_in *at)
{
	int client = connect_one(at), fd = accept(listener, NULL, NULL);
	bool has = has_nodelay(fd);

	need(fd >= 0, "accept");
	close(client);
	close(fd);
	return has;
}

static void through_ring(int listener, const struct sockaddr_in *at)
{
	struct io_uring_cqe cqe = { .res = -1 };
	int client = connect_one(at);

	errno = -io_uring_queue_init(8, &ring, 0);
	if (errno != 0) {
		printf("note: no io_uring here: %s\n", strerror(errno));
		return;
	}
	for (unsigned i = 0; i < ring.sq.ring_entries; i++)
		ring.sq.array[i] = i;
	entry(IORING_OP_ACCEPT, listener, 1);
	enter(1, 1000, IORING_ENTER_GETEVENTS);
	claim(take(&cqe) && cqe.res >= 0 && has_nodelay(cqe.res),
	      "a socket accepted by the ring inherits it too");
	close(client);
}

int main(void)
{
	const int on = 1;
	struct sockaddr_in at;
	int listener = listen_somewhere(&at);

	claim(!accepted_has(listener, &at),
	      "a socket from a listener without TCP_NODELAY does not have it");
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	claim(accepted_has(listener, &at),
	      "a socket from a listener with TCP_NODELAY has it");
	through_ring(listener, &at);
	return failed;
}
