/* What a restricted ring refuses, and that a ring without restrictions does not. That a
 * restricted ring still does all that the engine needs is shown by the contract suite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../../src/io/ring.h"

#define MARK 7777 /* user_data of the test's entries; the engine never sees it */

static struct ring *ring_with(bool restrictions)
{
	struct ring_features has = ring_probe()->has;
	struct io_loop *loop;
	const char *stage;

	if (ring_probe()->error < 0)
		skip();
	has.restrictions = restrictions;
	assert_int_equal(ring_start(&loop, &(struct io_options){ .buffers = 1 }, &has,
				    &stage), 0);
	return ring_of(loop);
}

/* Submits the last entry and returns the result of its completion. */
static int result_of(struct ring *r)
{
	struct io_uring_cq *cq = &r->uring.cq;
	unsigned head = *cq->khead;
	struct io_uring_cqe cqe;

	ring_enter(r, 1, 1000000, IORING_ENTER_GETEVENTS);
	assert_int_equal(__atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE), head + 1);
	cqe = cq->cqes[head & cq->ring_mask];
	__atomic_store_n(cq->khead, head + 1, __ATOMIC_RELEASE);
	assert_int_equal(cqe.user_data, MARK);
	return cqe.res;
}

static int openat_result(struct ring *r)
{
	struct io_uring_sqe *sqe = ring_sqe(r, IORING_OP_OPENAT, AT_FDCWD, MARK);

	sqe->addr = (uintptr_t)"/dev/null";
	sqe->open_flags = O_RDONLY | O_CLOEXEC;
	return result_of(r);
}

/* One operation of each kind that an attacker in a worker would need. */
static void test_operations(void **state)
{
	static const uint8_t forbidden[] = {
		IORING_OP_OPENAT, IORING_OP_OPENAT2, IORING_OP_STATX, IORING_OP_UNLINKAT,
		IORING_OP_RENAMEAT, IORING_OP_MKDIRAT, IORING_OP_SYMLINKAT, IORING_OP_LINKAT,
		IORING_OP_SOCKET, IORING_OP_SPLICE, IORING_OP_TEE, IORING_OP_FALLOCATE,
		IORING_OP_MADVISE, IORING_OP_EPOLL_CTL, IORING_OP_MSG_RING,
		IORING_OP_URING_CMD, IORING_OP_PROVIDE_BUFFERS, IORING_OP_FILES_UPDATE,
		IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_RECVMSG, IORING_OP_SETXATTR,
		IORING_OP_TIMEOUT, IORING_OP_SHUTDOWN, IORING_OP_NOP,
	};
	struct ring *r = ring_with(true);

	(void)state;
	for (size_t i = 0; i < COUNT(forbidden); i++) {
		ring_sqe(r, forbidden[i], -1, MARK);
		assert_int_equal(result_of(r), -EACCES);
	}
	assert_int_equal(openat_result(r), -EACCES);
	io_free(&r->loop);
}

/* Allowed operations are executed: here they fail with EBADF. */
static void test_allowed(void **state)
{
	static const uint8_t allowed[] = {
		IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_SEND, IORING_OP_CLOSE,
		IORING_OP_READ, IORING_OP_WRITE, IORING_OP_POLL_ADD,
	};
	struct ring *r = ring_with(true);

	(void)state;
	for (size_t i = 0; i < COUNT(allowed); i++) {
		ring_sqe(r, allowed[i], 1000000, MARK);
		assert_int_equal(result_of(r), -EBADF);
	}
	io_free(&r->loop);
}

static void test_flags(void **state)
{
	static const uint8_t forbidden[] = { IOSQE_FIXED_FILE, IOSQE_IO_DRAIN, IOSQE_ASYNC };
	struct ring *r = ring_with(true);

	(void)state;
	for (size_t i = 0; i < COUNT(forbidden); i++) {
		ring_sqe(r, IORING_OP_CLOSE, 1000000, MARK)->flags = forbidden[i];
		assert_int_equal(result_of(r), -EACCES);
	}
	io_free(&r->loop);
}

/* Nothing can be registered any more: no files, no eventfd, no other restrictions. */
static void test_registering(void **state)
{
	struct ring *r = ring_with(true);
	unsigned fd = (unsigned)r->uring.ring_fd;
	int files[1] = { 0 };

	(void)state;
	assert_int_equal(io_uring_register(fd, IORING_REGISTER_FILES, files, 1), -EACCES);
	assert_int_equal(io_uring_register(fd, IORING_REGISTER_PERSONALITY, NULL, 0),
			 -EACCES);
	assert_int_equal(io_uring_register(fd, IORING_REGISTER_EVENTFD, &r->wake_fd, 1),
			 -EACCES);
	assert_true(io_uring_register(fd, IORING_REGISTER_RESTRICTIONS, NULL, 0) < 0);
	assert_true(io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0);
	io_free(&r->loop);
}

/* Without restrictions openat succeeds: so it is the restrictions that refuse it. */
static void test_without(void **state)
{
	struct ring *r = ring_with(false);
	int fd = openat_result(r);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	io_free(&r->loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_operations),  cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_flags),       cmocka_unit_test(test_registering),
		cmocka_unit_test(test_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
