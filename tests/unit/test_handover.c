#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "run/handover.h"

static int ends[2];

static int open_channel(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
}

static int close_channel(void **state)
{
	(void)state;
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static ino_t inode(int fd)
{
	struct stat s;

	assert_int_equal(fstat(fd, &s), 0);
	return s.st_ino;
}

/* Messages of all kinds arrive in order, with their descriptors, which are
 * close-on-exec. */
static void test_all_kinds(void **state)
{
	int fds[2];
	struct handover sent[] = { { HANDOVER_LISTENER, 7, 12, -1, 3 },
				   { HANDOVER_ADMIN, 0, 0, -1, 0 },
				   { HANDOVER_LISTENER, 3, 9, -1, 5 },
				   { HANDOVER_LOG, 2, 1, -1, 0 },
				   { HANDOVER_KEYLOG, 0, 1, -1, 0 } };
	struct handover got;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	for (unsigned i = 0; i < COUNT(sent); i++) {
		sent[i].fd = fds[i % 2];
		assert_int_equal(handover_send(ends[0], &sent[i]), 0);
	}
	assert_int_equal(
		handover_send(ends[0], &(struct handover){ HANDOVER_END, 0, 0, -1, 0 }),
		0);
	for (unsigned i = 0; i < COUNT(sent); i++) {
		assert_int_equal(handover_receive(ends[1], &got), 0);
		assert_int_equal(got.kind, sent[i].kind);
		assert_int_equal(got.worker, sent[i].worker);
		assert_int_equal(got.value, sent[i].value);
		assert_int_equal(got.index, sent[i].index);
		assert_true(got.fd >= 0 && got.fd != sent[i].fd);
		assert_int_equal(inode(got.fd), inode(sent[i].fd));
		assert_true(fcntl(got.fd, F_GETFD) & FD_CLOEXEC);
		close(got.fd);
	}
	assert_int_equal(handover_receive(ends[1], &got), 0);
	assert_int_equal(got.kind, HANDOVER_END);
	assert_int_equal(got.fd, -1);
	/* The sender keeps its descriptor. */
	assert_true(fcntl(fds[0], F_GETFD) >= 0);
	close(fds[0]);
	close(fds[1]);
}

static void test_peer_closed(void **state)
{
	struct handover got;

	(void)state;
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(handover_receive(ends[1], &got), -EPIPE);
	assert_int_equal(
		handover_send(ends[1], &(struct handover){ HANDOVER_END, 0, 0, -1, 0 }),
		-EPIPE);
	assert_int_equal(handover_receive(-1, &got), -EBADF);
}

/* A receiver at its limit of descriptors sees which message lacks its descriptor, and
 * reads the next messages correctly. */
static void test_descriptor_limit(void **state)
{
	struct rlimit before, none;
	struct handover got;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(handover_send(ends[0], &(struct handover){ HANDOVER_LOG, 5, 1,
								    ends[0], 0 }),
			 0);
	assert_int_equal(
		handover_send(ends[0],
			      &(struct handover){ HANDOVER_LISTENER_KEPT, 0, 9, -1, 2 }),
		0);
	none = (struct rlimit){ 0, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(handover_receive(ends[1], &got), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(got.kind, HANDOVER_LOG);
	assert_int_equal(got.worker, 5);
	assert_int_equal(got.fd, -1);
	assert_true(handover_lacks_fd(&got));
	assert_int_equal(handover_receive(ends[1], &got), 0);
	assert_int_equal(got.kind, HANDOVER_LISTENER_KEPT);
	assert_int_equal(got.value, 9);
	assert_false(handover_lacks_fd(&got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_kinds, open_channel,
						close_channel),
		cmocka_unit_test_setup_teardown(test_peer_closed, open_channel,
						close_channel),
		cmocka_unit_test_setup_teardown(test_descriptor_limit, open_channel,
						close_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
