/* System calls that the closed sandbox permits or kills for: each case is a child process
 * that closes the sandbox and makes one call. That it permits every call that is needed
 * is shown by all other tests of a release build. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/worker/sandbox.h"
#include "base/check.h"

/* Exit status of a child that could not close the sandbox. */
#define CANNOT_CLOSE 99

/* Not an open descriptor, but the argument has the permitted value. */
#define PARCELS 77

static const char null_path[] = "/dev/null";

struct sandbox_attempt {
	const char *name;
	long number;
	long args[6];
};

#define CALL(call, ...) { #call " " #__VA_ARGS__, SYS_##call, { __VA_ARGS__ } }

static const struct sandbox_attempt killed[] = {
	CALL(execve, (long)null_path, 0, 0),
	CALL(execveat, AT_FDCWD, (long)null_path, 0, 0, 0),
	CALL(openat, AT_FDCWD, (long)null_path, O_RDONLY),
	CALL(openat2, AT_FDCWD, (long)null_path, 0, 0),
#ifdef SYS_open
	CALL(open, (long)null_path, O_RDONLY),
	CALL(fork, 0),
	CALL(vfork, 0),
	CALL(unlink, (long)null_path),
#endif
	CALL(clone, SIGCHLD, 0, 0, 0, 0),
	CALL(clone3, 0, 0),
	CALL(unlinkat, AT_FDCWD, (long)null_path, 0),
	CALL(renameat2, AT_FDCWD, 0, AT_FDCWD, 0, 0),
	CALL(newfstatat, AT_FDCWD, (long)null_path, 0, 0),
	CALL(getdents64, 0, 0, 0),
	CALL(memfd_create, (long)"x", 0),
	CALL(dup3, 0, 1, 0),
	CALL(fcntl, 0, F_DUPFD, 0),
	CALL(ioctl, 0, TIOCSTI, 0),
	CALL(bind, 0, 0, 0),
	CALL(listen, 0, 1),
	CALL(recvmsg, 0, 0, 0),
	CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, 0),
	CALL(socket, AF_PACKET, SOCK_RAW, 0),
	CALL(socket, AF_NETLINK, SOCK_RAW, 0),
	CALL(socket, AF_VSOCK, SOCK_STREAM, 0),
	CALL(socket, AF_INET, SOCK_RAW, IPPROTO_ICMP),
	CALL(socket, AF_INET, SOCK_DGRAM, 0),
	CALL(socket, AF_INET, SOCK_STREAM, IPPROTO_SCTP),
	CALL(socket, AF_UNIX, SOCK_DGRAM, 0),
	CALL(setsockopt, 0, SOL_SOCKET, SO_ATTACH_FILTER, 0, 0),
	CALL(setsockopt, 0, IPPROTO_TCP, TCP_ULP, 0, 0),
	CALL(setsockopt, 0, SOL_SOCKET, SO_RCVTIMEO, 0, 0),
	CALL(getsockopt, 0, SOL_SOCKET, SO_PEERCRED, 0, 0),
	CALL(mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	CALL(mprotect, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC),
	CALL(io_uring_setup, 1, 0),
	CALL(io_uring_register, 0, 2, 0, 0),
	CALL(bpf, 0, 0, 0),
	CALL(perf_event_open, 0, 0, 0, 0, 0),
	CALL(ptrace, 0, 0, 0, 0),
	CALL(process_vm_readv, 1, 0, 0, 0, 0, 0),
	CALL(pidfd_open, 1, 0),
	CALL(kill, 1, 0),
	CALL(tgkill, 1, 1, 0),
	CALL(setuid, 0),
	CALL(capset, 0, 0),
	CALL(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0),
	CALL(seccomp, 0, 0, 0),
	CALL(unshare, 0),
	CALL(mount, 0, 0, 0, 0, 0),
	CALL(chroot, (long)null_path),
	CALL(keyctl, 0, 0, 0, 0, 0),
	CALL(init_module, 0, 0, 0),
	CALL(userfaultfd, 0),
	{ "a call that does not exist", 100000, { 0 } },
};

static const struct sandbox_attempt allowed[] = {
	CALL(write, -1, 0, 0),
	CALL(close, -1),
	CALL(poll, 0, 0, 0),
	CALL(pwritev2, STDERR_FILENO, 0, 0, 0, 0, 0),
	CALL(sendto, STDERR_FILENO, 0, 0, 0, 0, 0),
	CALL(socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	CALL(socket, AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0),
	CALL(socket, AF_UNIX, SOCK_STREAM, 0),
	CALL(setsockopt, -1, IPPROTO_TCP, TCP_NODELAY, 0, 0),
	CALL(setsockopt, -1, SOL_SOCKET, SO_LINGER, 0, 0),
	CALL(getsockname, -1, 0, 0),
	CALL(getsockopt, -1, IPPROTO_TCP, TCP_INFO, 0, 0),
	CALL(getsockopt, -1, SOL_SOCKET, SO_COOKIE, 0, 0),
	CALL(ioctl, -1, SIOCOUTQ, 0),
	CALL(shutdown, -1, 0),
	CALL(poll, 0, 0, 0),
	CALL(recvmsg, PARCELS, 0, 0),
	CALL(fcntl, -1, F_GETFL, 0),
	CALL(mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	CALL(clock_gettime, CLOCK_THREAD_CPUTIME_ID, 0),
	CALL(restart_syscall, 0),
	CALL(exit_group, 0),
};

/* Permitted for the engine that needs it only. */
static const struct sandbox_attempt ring_only[] = {
	CALL(io_uring_enter, -1, 0, 0, 0, 0, 0),
	CALL(io_uring_register, -1, 21, 0, 0),
	CALL(getsockopt, -1, SOL_SOCKET, SO_DOMAIN, 0, 0),
};

static const struct sandbox_attempt epoll_only[] = {
	CALL(epoll_ctl, -1, 0, 0, 0), CALL(accept4, -1, 0, 0, 0),
	CALL(connect, -1, 0, 0),      CALL(recvfrom, -1, 0, 0, 0, 0, 0),
	CALL(sendmsg, -1, 0, 0),      CALL(getsockopt, -1, SOL_SOCKET, SO_ERROR, 0, 0),
};

static const struct sandbox_attempt block_only[] = {
	CALL(sendto, -1, 0, 0, 0, 0, 0),
	CALL(setsockopt, -1, SOL_SOCKET, SO_RCVTIMEO, 0, 0),
};

/* Calls of the DNS thread: permitted only if names are resolved. */
static const struct sandbox_attempt names_only[] = {
	CALL(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	CALL(socket, AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_IP),
	CALL(recvfrom, -1, 0, 0, 0, 0, 0),
	CALL(sendmsg, -1, 0, 0),
};

/* Killed for also then. */
static const struct sandbox_attempt names_neither[] = {
	CALL(socket, AF_UNIX, SOCK_DGRAM, 0),
	CALL(socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP),
	CALL(socket, AF_INET, SOCK_RAW, IPPROTO_ICMP),
	CALL(socket, AF_NETLINK, SOCK_DGRAM, 0),
	CALL(openat, AT_FDCWD, (long)null_path, O_RDONLY),
	CALL(bind, 0, 0, 0),
};

/* Names are resolved again. */
static bool names;

static void close_sandbox(enum io_engine_kind engine, bool block)
{
	struct config config = { .study = block, .resolver.off = !names };
	const char *what;

	/* As privilege_drop() does before. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    sandbox_close(engine, &config, PARCELS, &what) < 0)
		_exit(CANNOT_CLOSE);
}

static bool ended_by_sandbox(pid_t pid, const char *name)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return false;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		fail_msg("%s: status %#x", name, (unsigned)status);
	return true;
}

static bool is_killed(const struct sandbox_attempt *a, enum io_engine_kind engine,
		      bool block)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close_sandbox(engine, block);
		syscall(a->number, a->args[0], a->args[1], a->args[2], a->args[3], a->args[4],
			a->args[5]);
		_exit(0);
	}
	return ended_by_sandbox(pid, a->name);
}

static void expect(const struct sandbox_attempt *list, size_t n,
		   enum io_engine_kind engine, bool block, bool killed_expected)
{
	for (size_t i = 0; i < n; i++)
		if (is_killed(&list[i], engine, block) != killed_expected)
			fail_msg("%s, %s: %s", io_engine_name(engine), list[i].name,
				 killed_expected ? "was permitted" : "was killed");
}

static void skip_without(void)
{
	if (strstr(sandbox_describe(), " no "))
		skip();
}

static void test_killed(void **state)
{
	(void)state;
	skip_without();
	expect(killed, COUNT(killed), IO_ENGINE_RING, false, true);
	expect(killed, COUNT(killed), IO_ENGINE_EPOLL, false, true);
}

static void test_allowed(void **state)
{
	(void)state;
	skip_without();
	expect(allowed, COUNT(allowed), IO_ENGINE_RING, false, false);
	expect(allowed, COUNT(allowed), IO_ENGINE_EPOLL, false, false);
}

static void test_engines(void **state)
{
	(void)state;
	skip_without();
	expect(ring_only, COUNT(ring_only), IO_ENGINE_RING, false, false);
	expect(ring_only, COUNT(ring_only), IO_ENGINE_EPOLL, false, true);
	expect(epoll_only, COUNT(epoll_only), IO_ENGINE_EPOLL, false, false);
	expect(epoll_only, COUNT(epoll_only), IO_ENGINE_RING, false, true);
}

/* `study` actions use blocking calls. */
static void test_block(void **state)
{
	(void)state;
	skip_without();
	expect(block_only, COUNT(block_only), IO_ENGINE_RING, true, false);
	expect(block_only, COUNT(block_only), IO_ENGINE_RING, false, true);
	expect(block_only, COUNT(block_only), IO_ENGINE_EPOLL, false, true);
}

static void test_names(void **state)
{
	(void)state;
	skip_without();
	expect(names_only, COUNT(names_only), IO_ENGINE_RING, false, true);
	names = true;
	expect(names_only, COUNT(names_only), IO_ENGINE_RING, false, false);
	expect(names_only, COUNT(names_only), IO_ENGINE_EPOLL, false, false);
	expect(names_neither, COUNT(names_neither), IO_ENGINE_RING, false, true);
	names = false;
}

static void *open_after_close(void *closed)
{
	sem_wait(closed);
	syscall(SYS_openat, AT_FDCWD, null_path, O_RDONLY);
	_exit(0);
}

/* The filter applies to threads that existed before. */
static void test_threads(void **state)
{
	pid_t pid;

	(void)state;
	skip_without();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pthread_t thread;
		sem_t closed;

		sem_init(&closed, 0, 0);
		pthread_create(&thread, NULL, open_after_close, &closed);
		close_sandbox(IO_ENGINE_EPOLL, false);
		sem_post(&closed);
		pthread_join(thread, NULL);
		_exit(0);
	}
	assert_true(ended_by_sandbox(pid, "openat on another thread"));
}

/* Enough memory that free() returns it to the system. */
static void *allocate_and_free(void *closed)
{
	static void *blocks[200];

	sem_wait(closed);
	for (unsigned i = 0; i < COUNT(blocks); i++) {
		blocks[i] = malloc(20000);
		ASSERT(blocks[i]);
		memset(blocks[i], 1, 20000);
	}
	for (unsigned i = 0; i < COUNT(blocks); i++)
		free(blocks[i]);
	return NULL;
}

/* malloc() and free() of a thread make only permitted calls. */
static void test_memory(void **state)
{
	pid_t pid;

	(void)state;
	skip_without();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pthread_t thread;
		sem_t closed;

		sandbox_prepare();
		sem_init(&closed, 0, 0);
		pthread_create(&thread, NULL, allocate_and_free, &closed);
		close_sandbox(IO_ENGINE_EPOLL, false);
		sem_post(&closed);
		pthread_join(thread, NULL);
		_exit(0);
	}
	assert_false(ended_by_sandbox(pid, "malloc and free on another thread"));
}

static void *wait_for(void *never)
{
	sem_wait(never);
	return NULL;
}

/* Closed while threads are starting. */
static void test_starting_threads(void **state)
{
	(void)state;
	skip_without();
	for (unsigned i = 0; i < 100; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			pthread_t thread;
			sem_t never;

			sem_init(&never, 0, 0);
			pthread_create(&thread, NULL, wait_for, &never);
			close_sandbox(IO_ENGINE_EPOLL, false);
			sem_post(&never);
			pthread_join(thread, NULL);
			_exit(0);
		}
		assert_false(ended_by_sandbox(pid, "a thread that starts"));
	}
}

/* A failed assertion still prints its message and ends by SIGABRT. */
static void test_abort(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	skip_without();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close_sandbox(IO_ENGINE_RING, false);
		check_failed("test_sandbox.c", 1, "is expected here");
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),	cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_engines), cmocka_unit_test(test_block),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_threads), cmocka_unit_test(test_starting_threads),
		cmocka_unit_test(test_abort),	cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
