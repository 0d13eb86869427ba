/* Can one completion fill several buffers, and which are they? */
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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

static struct io_uring ring;

#define BUFS 8
#define BUF_BYTES 1024

#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE (1U << 4)
#define IORING_FEAT_RECVSEND_BUNDLE (1U << 14)
#endif

static struct io_uring_buf_ring *bufs;
static char memory[BUFS][BUF_BYTES];

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
	errno = ENOSYS;
	need(params.features & IORING_FEAT_RECVSEND_BUNDLE, "bundled receives");
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

/* The cap is in the field that other operations use as file_index (Linux 6.17). */
static void arm(int fd, unsigned cap, bool bundle)
{
	struct io_uring_sqe *sqe = entry(IORING_OP_RECV, fd, 1);

	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	if (bundle)
		sqe->ioprio |= IORING_RECVSEND_BUNDLE;
	sqe->file_index = cap;
}

/* The received bytes, in the order that the completions give. */
static char seen[8 * BUF_BYTES];

/* Results of one receive, until it ends or no completion comes. */
struct brought {
	unsigned completions, bytes, buffers;
	int last; /* the last result; -ETIME: no completion */
	bool more;
};

/* Copies n bytes from this buffer and those published after it, and publishes them
 * again. */
static void collect_bytes(struct brought *b, unsigned short id, unsigned n)
{
	for (unsigned part; n > 0; n -= part) {
		part = n < BUF_BYTES ? n : BUF_BYTES;
		memcpy(seen + b->bytes, memory[id], part);
		publish_buf(id);
		id = (unsigned short)((id + 1) % BUFS);
		b->bytes += part;
		b->buffers++;
	}
}

static bool next_result(struct brought *b)
{
	struct io_uring_cqe cqe;

	b->last = -ETIME;
	if (!take(&cqe)) {
		enter(1, 50, IORING_ENTER_GETEVENTS);
		if (!take(&cqe))
			return false;
	}
	b->last = cqe.res;
	b->more = cqe.flags & IORING_CQE_F_MORE;
	if (cqe.res <= 0)
		return false;
	b->completions++;
	collect_bytes(b, (unsigned short)(cqe.flags >> IORING_CQE_BUFFER_SHIFT),
		      (unsigned)cqe.res);
	return b->more;
}

static char text[6000];

/* Sends bytes to a receive with a window, and collects its results. */
static struct brought receive(unsigned bytes, unsigned window, bool bundle, bool ends)
{
	struct brought b = { .more = true };
	int pair[2];

	tcp_pair(pair);
	need(write(pair[1], text, bytes) == (ssize_t)bytes, "write");
	if (ends)
		shutdown(pair[1], SHUT_WR);
	await_unread(pair[0], (int)bytes);
	arm(pair[0], window, bundle);
	while (next_result(&b))
		continue;
	if (ends && b.last > 0 && !b.more) {
		arm(pair[0], window, bundle);
		next_result(&b);
	}
	close(pair[0]);
	close(pair[1]);
	if (b.more && b.last == -ETIME) {
		struct brought end = { 0 };

		next_result(&end);
	}
	return b;
}

static void several_at_once(void)
{
	struct brought one = receive(5000, 8192, false, false), all;

	errno = EINVAL;
	need(one.last != -EINVAL, "a cap for multishot receives (Linux 6.17)");
	all = receive(5000, 8192, true, false);
	printf("note: %u completions for 5 buffers, %u in a bundle\n", one.completions,
	       all.completions);
	claim(one.completions == 5 && all.completions < one.completions &&
		      all.bytes == 5000 && all.buffers == 5,
	      "one completion covers several buffers");
	claim(memcmp(seen, text, 5000) == 0,
	      "they are the buffer it names and those published after it, in this order");
}

/* Each buffer but the last is filled, so the byte count determines which they are. */
static void windows(void)
{
	static const unsigned sizes[] = { 1, 1024, 1500, 2048, 4097 };
	bool as_expected = true;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		unsigned whole = (sizes[i] + BUF_BYTES - 1) / BUF_BYTES * BUF_BYTES;
		struct brought b = receive(6000, sizes[i], true, false);

		printf("note: window %u: %u bytes in %u buffers\n", sizes[i], b.bytes,
		       b.buffers);
		as_expected &= !b.more && b.bytes >= sizes[i] && b.bytes <= whole &&
			       b.buffers == whole / BUF_BYTES &&
			       memcmp(seen, text, b.bytes) == 0;
	}
	claim(as_expected,
	      "a receive ends at its window, within the last buffer it needs");
}

static void few_buffers(void)
{
	struct brought b = receive(6000, 65536, true, false);

	claim(b.bytes == 6000 && memcmp(seen, text, 6000) == 0,
	      "buffers published meanwhile are used in order");
}

static void ends(void)
{
	claim(receive(3000, 8192, true, true).last == 0,
	      "a bundled receive reports an end of the stream that arrives with the "
	      "bytes");
}

int main(void)
{
	struct utsname u;

	signal(SIGPIPE, SIG_IGN);
	uname(&u);
	printf("note: Linux %s\n", u.release);
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)(i / 7 + i / 1024);
	open_ring(16, 64);
	open_bufs();
	for (unsigned short id = 0; id < BUFS; id++)
		publish_buf(id);
	several_at_once();
	windows();
	few_buffers();
	ends();
	return failed;
}
