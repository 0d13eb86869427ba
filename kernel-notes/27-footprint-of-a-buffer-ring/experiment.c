/* Which memory do receives use, and what decides it? */
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct io_uring ring;

#define BUF_BYTES 16384
#define BUFS_MAX 2048
#define RECEIVES 2048
#define PAGE 4096

static struct io_uring_buf_ring *bufs;
static unsigned published;
static char *memory;
static unsigned short reserve[BUFS_MAX]; /* free and not published; a stack */
static unsigned reserved;
static int pair[2];

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

static char *buf(unsigned short id)
{
	return memory + (size_t)id * BUF_BYTES;
}

static void publish_buf(unsigned short id)
{
	io_uring_buf_ring_add(bufs, buf(id), BUF_BYTES, id, BUFS_MAX - 1, 0);
	io_uring_buf_ring_advance(bufs, 1);
	published++;
}

/* Puts all buffers into the reserve, lowest on top, and publishes n of them. */
static void open_bufs(unsigned n)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFS_MAX };
	size_t size = BUFS_MAX * sizeof(struct io_uring_buf);

	bufs = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	memory = mmap(NULL, (size_t)BUFS_MAX * BUF_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	need(bufs != MAP_FAILED && memory != MAP_FAILED, "mmap");
	madvise(memory, (size_t)BUFS_MAX * BUF_BYTES, MADV_NOHUGEPAGE);
	reg.ring_addr = (uintptr_t)bufs;
	errno = -io_uring_register_buf_ring(&ring, &reg, 0);
	need(errno == 0, "a buffer ring");
	io_uring_buf_ring_init(bufs);
	reserved = 0;
	for (unsigned i = BUFS_MAX; i-- > 0;)
		reserve[reserved++] = (unsigned short)i;
	for (published = 0; published < n;)
		publish_buf(reserve[--reserved]);
}

static void close_bufs(void)
{
	io_uring_unregister_buf_ring(&ring, 0);
	munmap(bufs, BUFS_MAX * sizeof(struct io_uring_buf));
	munmap(memory, (size_t)BUFS_MAX * BUF_BYTES);
}

/* The number of buffers whose first page was ever touched. */
static unsigned touched(void)
{
	static unsigned char in[(size_t)BUFS_MAX * BUF_BYTES / PAGE];
	unsigned n = 0;

	need(mincore(memory, (size_t)BUFS_MAX * BUF_BYTES, in) == 0, "mincore");
	for (unsigned i = 0; i < BUFS_MAX; i++)
		n += in[i * (BUF_BYTES / PAGE)] & 1;
	return n;
}

/* Receives len bytes into the buffer that the kernel picks. Returns its number. */
static unsigned short receive(unsigned len)
{
	static const char text[BUF_BYTES];
	struct io_uring_cqe cqe = { 0 };

	need(write(pair[1], text, len) == (ssize_t)len, "write");
	entry(IORING_OP_RECV, pair[0], 1)->flags = IOSQE_BUFFER_SELECT;
	enter(1, 1000, IORING_ENTER_GETEVENTS);
	need(take(&cqe) && cqe.res == (int)len, "the bytes");
	published--;
	return (unsigned short)(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
}

/* Receives one at a time; each buffer is published again before the next receive. */
static unsigned round_ids(unsigned n, bool last_first)
{
	unsigned in_order = 0;

	open_bufs(n);
	for (unsigned i = 0; i < RECEIVES; i++) {
		unsigned short id = receive(16);

		in_order += id == i % n;
		if (last_first) {
			reserve[reserved++] = id;
			publish_buf(reserve[--reserved]);
		} else {
			publish_buf(id);
		}
	}
	return in_order;
}

static void order(void)
{
	unsigned n;

	claim(round_ids(BUFS_MAX, false) == RECEIVES,
	      "buffers are used in the order in which they were published, not the "
	      "warmest first");
	n = touched();
	close_bufs();
	claim(n == BUFS_MAX,
	      "so receives, one at a time, use all published buffers in turn");
	round_ids(8, true);
	n = touched();
	close_bufs();
	claim(n == 8, "with 8 published they use 8, however large the reserve");
}

/* The published buffers are a queue, even if the reserve is a stack. */
static void burst(void)
{
	unsigned short ids[64];
	unsigned n;

	open_bufs(64);
	for (int round = 0; round < 32; round++) {
		for (int i = 0; i < 64; i++)
			ids[i] = receive(16);
		for (int i = 0; i < 64; i++)
			reserve[reserved++] = ids[i];
		for (int i = 0; i < 64; i++)
			publish_buf(reserve[--reserved]);
	}
	n = touched();
	close_bufs();
	claim(n == 64,
	      "with a last-in-first-out reserve receives keep using the same buffers");
}

static double cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Time for receives of whole buffers, each read once, as a send would; measured after a
 * round that touches every page. */
static double receive_us(unsigned n)
{
	double best = 1e9;
	unsigned sum = 0;

	open_bufs(n);
	for (int turn = 0; turn < 3; turn++) {
		double began = cpu_us();

		for (unsigned i = 0; i < RECEIVES; i++) {
			unsigned short id = receive(BUF_BYTES);

			for (unsigned k = 0; k < BUF_BYTES; k += 64)
				sum += (unsigned char)buf(id)[k];
			publish_buf(id);
		}
		if (turn > 0 && cpu_us() - began < best)
			best = cpu_us() - began;
	}
	close_bufs();
	need(sum == 0, "zeros");
	return best / RECEIVES;
}

/* For the note only: no claim depends on it. */
static void cost(void)
{
	printf("note: 16 KiB written, received and read:");
	for (unsigned n = 8; n <= BUFS_MAX; n *= 16)
		printf(" %.1f us of %u KiB%s", receive_us(n), n * BUF_BYTES / 1024,
		       n < BUFS_MAX ? "," : "\n");
}

int main(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	open_ring(8, 64);
	order();
	burst();
	cost();
	return failed;
}
