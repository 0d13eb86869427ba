/* What happens to completions for which the queue has no space? */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct io_uring ring;

#define CQ_ENTRIES 4
#define BUFS 8
#define BUF_BYTES 1024

static struct io_uring_buf_ring *bufs;
static char memory[BUFS][BUF_BYTES];
static char stream[6 * BUF_BYTES];

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

static void open_bufs(void)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFS };

	bufs = mmap(NULL, BUFS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(bufs != MAP_FAILED, "mmap");
	reg.ring_addr = (uintptr_t)bufs;
	errno = -io_uring_register_buf_ring(&ring, &reg, 0);
	need(errno == 0, "a buffer ring");
	io_uring_buf_ring_init(bufs);
}

static void publish_buf(unsigned short id)
{
	io_uring_buf_ring_add(bufs, memory[id], BUF_BYTES, id, BUFS - 1, 0);
	io_uring_buf_ring_advance(bufs, 1);
}

static bool overflowed(void)
{
	return __atomic_load_n(ring.sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_CQ_OVERFLOW;
}

static void fill(unsigned n)
{
	for (unsigned i = 0; i < n; i += CQ_ENTRIES) {
		for (unsigned j = i; j < i + CQ_ENTRIES; j++)
			entry(IORING_OP_NOP, -1, 100 + j);
		enter(0, 0, 0);
	}
}

static unsigned more_enters;

/* The next completion, as handle_all_completions() fetches it. */
static bool next_completion(struct io_uring_cqe *cqe)
{
	if (take(cqe))
		return true;
	if (overflowed()) {
		enter(0, 0, IORING_ENTER_GETEVENTS);
		more_enters++;
	}
	return take(cqe);
}

static void many_completions(void)
{
	struct io_uring_cqe cqe;
	unsigned n = 10 * CQ_ENTRIES, seen = 0;
	bool ordered = true;

	fill(n);
	claim(io_uring_cq_ready(&ring) == CQ_ENTRIES && overflowed(),
	      "the overflow flag is set when the queue is full");
	for (; next_completion(&cqe); seen++)
		ordered &= cqe.user_data == 100 + seen;
	claim(seen == n && ordered && *ring.cq.koverflow == 0,
	      "each completion is delivered once and in order while the queue is "
	      "emptied");
	claim(!overflowed(), "the flag is clear when all have been fetched");
	claim(more_enters == n / CQ_ENTRIES - 1,
	      "the cost is one more enter for each time the queue was full");
}

/* Without space for its completion, the failure of a silent send is not in the queue
 * after the enter. */
static void silent_failure(void)
{
	struct io_uring_cqe cqe = { 0 };
	struct io_uring_sqe *sqe;
	bool flag_set, seen = false;
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	close(pair[1]);
	fill(CQ_ENTRIES);
	need(!overflowed(), "a queue that is full and has not overflowed");
	sqe = entry(IORING_OP_SEND, pair[0], 1);
	sqe->addr = (uintptr_t)stream;
	sqe->len = 1;
	sqe->msg_flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	enter(0, 0, IORING_ENTER_GETEVENTS);
	flag_set = overflowed();
	for (int i = 0; i < CQ_ENTRIES; i++)
		seen |= take(&cqe) && cqe.user_data == 1;
	claim(!seen && flag_set,
	      "a silent send that fails then has no completion in the queue, but the "
	      "overflow flag is set");
	claim(next_completion(&cqe) && cqe.user_data == 1 && cqe.res == -EPIPE,
	      "one more enter brings its completion");
	close(pair[0]);
}

static void arm(int fd)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, 1);

	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->ioprio = IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT;
}

/* A receive delivers more buffers than the queue has space for. */
static void receive(void)
{
	struct io_uring_cqe cqe;
	size_t got = 0;
	bool as_expected = true;
	int pair[2], arms = 1;

	tcp_pair(pair);
	arm(pair[0]);
	enter(0, 0, 0);
	fill(CQ_ENTRIES);
	need(write(pair[1], stream, sizeof(stream)) == sizeof(stream), "write");
	await_unread(pair[0], sizeof(stream));
	enter(0, 0, IORING_ENTER_GETEVENTS);
	for (int i = 0; i < 100 && got < sizeof(stream); i++) {
		if (!next_completion(&cqe)) {
			enter(1, 50, IORING_ENTER_GETEVENTS);
			continue;
		}
		if (cqe.user_data != 1 || cqe.res <= 0)
			continue;
		as_expected &= memcmp(memory[cqe.flags >> IORING_CQE_BUFFER_SHIFT],
				      stream + got, (size_t)cqe.res) == 0;
		got += (size_t)cqe.res;
		if (!(cqe.flags & IORING_CQE_F_MORE) && got < sizeof(stream)) {
			arm(pair[0]);
			arms++;
		}
	}
	claim(as_expected && got == sizeof(stream),
	      "a multishot receive neither loses nor repeats a byte");
	printf("note: the receive was armed %d times for %d buffers\n", arms, 6);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(stream); i++)
		stream[i] = (char)(i * 2654435761u >> 24);
	open_ring(4, CQ_ENTRIES);
	errno = EINVAL;
	need(ring.features & IORING_FEAT_NODROP, "IORING_FEAT_NODROP");
	many_completions();
	silent_failure();
	open_bufs();
	for (unsigned short id = 0; id < BUFS; id++)
		publish_buf(id);
	receive();
	return failed;
}
