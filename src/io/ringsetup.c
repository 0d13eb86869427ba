#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A ring is locked memory, which may be scarce (kernel-notes/31-rings-are-locked-memory),
 * so the queues are small. Measured with 1,000 connections opened and closed as fast as
 * possible, and with bursts of 4,000: no tick wrote more than 208 entries or found more
 * than 133 completions. More would cost another enter (queue_flush(),
 * handle_all_completions()). */
#define ENTRIES_DEFAULT 256u
#define CQ_ENTRIES_DEFAULT 1024u

#define ENTRIES_MAX 32768u

#define HEADS_BYTES 320u /* heads, tails and masks of both queues */

/* Closed rings count as locked memory for a moment longer: those of a dead worker
 * process, or of the trial in probe.c. ring_start() retries for that long. */
#define RELEASE_MS 400u
#define RELEASE_STEP_MS 50u

static size_t bufs_bytes(void)
{
	return RING_BUF_ENTRIES * sizeof(struct io_uring_buf);
}

static unsigned queue_size(const char *name, unsigned requested, unsigned fallback)
{
	const char *text = getenv(name);
	unsigned long n = text ? strtoul(text, NULL, 10) : 0;

	if (n > 0 && n <= ENTRIES_MAX)
		return (unsigned)n;
	return requested > 0 ? requested : fallback;
}

static unsigned sq_size(const struct io_options *options)
{
	return queue_size("FAIRLEAD_RING_ENTRIES", options->entries, ENTRIES_DEFAULT);
}

static unsigned cq_size(const struct io_options *options)
{
	unsigned n = queue_size("FAIRLEAD_RING_CQ", options->cq_entries,
				CQ_ENTRIES_DEFAULT);
	unsigned entries = sq_size(options);

	return n < 2 * entries ? 2 * entries : n;
}

static size_t pages(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

size_t ring_bytes(const struct io_options *options)
{
	size_t entries = sq_size(options);

	return pages(entries * sizeof(struct io_uring_sqe)) +
	       pages(HEADS_BYTES + cq_size(options) * sizeof(struct io_uring_cqe) +
		     entries * sizeof(uint32_t)) +
	       pages(bufs_bytes());
}

/* SINGLE_ISSUER and DEFER_TASKRUN: completions are posted only while this thread is in
 * its enter (kernel-notes/01-one-enter-per-tick). SUBMIT_ALL: an entry in error does not
 * stop the entries after it. Why no SQPOLL: kernel-notes/25-a-thread-that-polls. Why no
 * NO_SQARRAY: kernel-notes/29-a-trap-not-sprung. */
static int setup_queues(struct ring *r, const struct io_options *options)
{
	unsigned entries = sq_size(options);
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
			 IORING_SETUP_CLAMP |
			 (r->has.restrictions ? IORING_SETUP_R_DISABLED : 0),
		.cq_entries = cq_size(options),
	};
	int res = io_uring_queue_init_params(entries, &r->uring, &params);

	if (res < 0)
		return res;
	for (unsigned i = 0; r->uring.sq.array && i < r->uring.sq.ring_entries; i++)
		r->uring.sq.array[i] = i;
	r->tail = *r->uring.sq.ktail;
	r->enter_fd = r->uring.ring_fd;
	if (!(params.features & IORING_FEAT_NO_IOWAIT))
		r->has.no_iowait = false;
	if (!(params.features & IORING_FEAT_MIN_TIMEOUT))
		r->has.min_wait = false;
	if (!(params.features & IORING_FEAT_RECVSEND_BUNDLE))
		r->has.bundle = false;
	if (r->has.no_iowait)
		r->enter_flags |= IORING_ENTER_NO_IOWAIT;
	return 0;
}

/* Populated at once, like the first chunk of buffers. */
static int setup_bufs(struct ring *r)
{
	struct io_uring_buf_reg reg = {
		.ring_entries = RING_BUF_ENTRIES,
		.bgid = RING_BUFFER_GROUP,
	};
	void *p = mmap(NULL, bufs_bytes(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int res;

	if (p == MAP_FAILED)
		return -ENOMEM;
	reg.ring_addr = (uintptr_t)p;
	res = io_uring_register_buf_ring(&r->uring, &reg, 0);
	if (res < 0) {
		munmap(p, bufs_bytes());
		return res;
	}
	r->bufs = p;
	io_uring_buf_ring_init(r->bufs);
	r->published_target = RING_PUBLISHED_MIN;
	return 0;
}

/* Limits what an attacker who controls a worker can do with its ring: the operations of
 * the proxy, on descriptors that it has (kernel-notes/28-a-restricted-ring). The first
 * restriction also restricts flags, so those in use are listed. Afterwards nothing can be
 * registered: only the calls of ring_tear_down() are allowed. */
static int restrict_ring(struct ring *r)
{
	static const uint8_t ops[] = {
		IORING_OP_ACCEPT,  IORING_OP_CONNECT, IORING_OP_RECV,
		IORING_OP_SEND,    IORING_OP_SENDMSG, IORING_OP_CLOSE,
		IORING_OP_READ,    IORING_OP_WRITE,   IORING_OP_POLL_ADD,
		IORING_OP_ASYNC_CANCEL,
	};
	static const uint8_t registers[] = {
		IORING_UNREGISTER_PBUF_RING,
		IORING_UNREGISTER_RING_FDS,
	};
	struct io_uring_restriction list[COUNT(ops) + COUNT(registers) + 1];
	unsigned n = 0;

	memset(list, 0, sizeof(list));
	for (size_t i = 0; i < COUNT(ops); i++) {
		list[n].opcode = IORING_RESTRICTION_SQE_OP;
		list[n++].sqe_op = ops[i];
	}
	for (size_t i = 0; i < COUNT(registers); i++) {
		list[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		list[n++].register_op = registers[i];
	}
	/* Why no links: kernel-notes/16-order-and-links. */
	list[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	list[n++].sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
	/* liburing 2.3 declares functions for this and for enabling, but exports
	 * neither. */
	return io_uring_register((unsigned)r->uring.ring_fd, IORING_REGISTER_RESTRICTIONS,
				 list, n);
}

/* Registers buffers, limits, the ring itself and restrictions, and enables the ring. With
 * restrictions the last two must come last. */
static int setup_registered(struct ring *r)
{
	unsigned workers[2] = { 1, 1 }; /* kernel-notes/24-who-needs-a-thread */
	int res = setup_bufs(r);

	if (res < 0)
		return res;
	res = io_uring_register_iowq_max_workers(&r->uring, workers);
	if (res < 0)
		return res;
	if (r->has.ringfd && io_uring_register_ring_fd(&r->uring) == 1) {
		r->enter_fd = r->uring.enter_ring_fd;
		r->enter_flags |= IORING_ENTER_REGISTERED_RING;
	} else {
		r->has.ringfd = false;
	}
	if (!r->has.restrictions)
		return 0;
	res = restrict_ring(r);
	return res < 0 ? res : io_uring_register((unsigned)r->uring.ring_fd,
						 IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* The first enter: a filter may refuse it, and in ring_enter() an error would fail an
 * assertion (kernel-notes/14-a-refused-ring). */
static int try_enter(struct ring *r)
{
	int res = io_uring_enter2((unsigned)r->enter_fd, 0, 0,
				  IORING_ENTER_GETEVENTS | r->enter_flags, NULL,
				  _NSIG / 8);

	return res < 0 ? res : 0;
}

static int ring_setup(struct ring *r, const struct io_options *options,
		      const char **stage)
{
	int res;

	*stage = "eventfd";
	r->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (r->wake_fd < 0)
		return -errno;
	*stage = "io_uring_setup";
	res = setup_queues(r, options);
	if (res < 0)
		return res;
	*stage = "io_uring_register";
	res = setup_registered(r);
	if (res < 0)
		return res;
	*stage = "io_uring_enter";
	return try_enter(r);
}

/* The published buffers are the only ones still in use. */
static void reclaim_bufs(struct ring *r)
{
	struct buf_pool *pool = &r->loop.bufs;

	io_uring_unregister_buf_ring(&r->uring, RING_BUFFER_GROUP);
	for (uint32_t i = 0; i < pool->count; i++) {
		if (pool->all[i]->refs == 0)
			continue;
		ASSERT(pool->published > 0);
		pool->published--;
		buf_put(pool->all[i]);
	}
	ASSERT(pool->published == 0);
	munmap(r->bufs, bufs_bytes());
}

static void ring_tear_down(struct ring *r)
{
	if (r->bufs)
		reclaim_bufs(r);
	if (r->uring.ring_fd > 0)
		io_uring_queue_exit(&r->uring);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	fds_done(&r->fds);
}

static int start_once(struct io_loop **loop, const struct io_options *options,
		      const struct ring_features *has, const char **stage)
{
	struct ring *r = calloc(1, sizeof(*r));
	int res;

	*stage = "memory";
	if (!r)
		return -ENOMEM;
	r->has = *has;
	list_init(&r->silent);
	list_init(&r->buffer_waiters[false]);
	list_init(&r->buffer_waiters[true]);
	list_init(&r->cancelling);
	fds_init(&r->fds, sizeof(struct ring_fd));
	res = loop_init(&r->loop, &ring_engine, IO_ENGINE_RING, options);
	if (res < 0) {
		free(r);
		return res;
	}
	res = ring_setup(r, options, stage);
	if (res < 0) {
		ring_tear_down(r);
		buf_pool_done(&r->loop.bufs);
		free(r);
		return res;
	}
	loop_clock(&r->loop);
	*loop = &r->loop;
	return 0;
}

/* A failed attempt counts for a moment itself: the pause is longer than that. */
int ring_start(struct io_loop **loop, const struct io_options *options,
	       const struct ring_features *has, const char **stage)
{
	const struct timespec step = { .tv_nsec = RELEASE_STEP_MS * 1000000L };
	int res = start_once(loop, options, has, stage);

	for (unsigned ms = 0; res == -ENOMEM && ms < RELEASE_MS; ms += RELEASE_STEP_MS) {
		nanosleep(&step, NULL);
		res = start_once(loop, options, has, stage);
	}
	return res;
}

int ring_open(struct io_loop **loop, const struct io_options *options)
{
	const struct ring_probe *probe = ring_probe();
	const char *stage;

	if (probe->error < 0)
		return probe->error;
	return ring_start(loop, options, &probe->has, &stage);
}

/* Submits the last entries, among them closes, before the ring is freed. */
void ring_done(struct io_loop *loop)
{
	struct ring *r = CONTAINER(loop, struct ring, loop);

	ring_quiesce(r);
	ring_tear_down(r);
}
