/* How do a seccomp filter and the sysctl refuse a ring? */
#include <errno.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The stage at which an attempt to make a ring ended, and its result. */
enum stage { SETUP, REGISTER, ENTER, ALL };

struct setup_try {
	enum stage stage;
	int res;
};

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

/* setup, register and enter in the order of src/io/ringsetup.c. */
static struct setup_try try_ring(void)
{
	unsigned workers[2] = { 1, 1 };
	struct io_uring ring;
	int res = io_uring_queue_init(8, &ring, 0);

	if (res < 0)
		return (struct setup_try){ SETUP, res };
	res = io_uring_register_iowq_max_workers(&ring, workers);
	if (res < 0)
		return (struct setup_try){ REGISTER, res };
	res = io_uring_enter2((unsigned)ring.ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL,
			      _NSIG / 8);
	return res < 0 ? (struct setup_try){ ENTER, res } : (struct setup_try){ ALL, 0 };
}

/* From here on the system call `number` returns `error` in this process. */
static bool install_filter(unsigned number, unsigned error)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(steps) / sizeof(*steps), steps };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Tries in a child process, with the filter or, if error is 0, without it. */
static struct setup_try attempt(unsigned number, int error)
{
	struct setup_try *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct setup_try a;
	int status = -1;
	pid_t child;

	need(shared != MAP_FAILED, "mmap");
	child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		if (error != 0 && !install_filter(number, (unsigned)error))
			_exit(77);
		*shared = try_ring();
		_exit(0);
	}
	waitpid(child, &status, 0);
	a = *shared;
	munmap(shared, sizeof(*shared));
	errno = EPERM;
	need(!WIFEXITED(status) || WEXITSTATUS(status) != 77, "a seccomp filter");
	if (!WIFEXITED(status))
		a = (struct setup_try){ SETUP, 0 }; /* ended by a signal: no result */
	return a;
}

static bool refused(unsigned number, int error, enum stage stage)
{
	struct setup_try a = attempt(number, error);

	return a.stage == stage && a.res == -error;
}

/* kernel.io_uring_disabled; -1: a kernel before 6.6. */
static int disabled(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "r");
	int value = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

int main(void)
{
	struct setup_try unfiltered = attempt(0, 0);
	int value = disabled();

	printf("note: kernel.io_uring_disabled is %d; a ring without our own filter: "
	       "%s\n",
	       value, unfiltered.stage == ALL ? "works" : strerror(-unfiltered.res));
	if (unfiltered.stage == SETUP && value > 0) {
		claim(unfiltered.res == -EPERM, "the sysctl refuses setup with EPERM");
		return failed;
	}
	errno = -unfiltered.res;
	need(unfiltered.stage == ALL, "a ring without our own filter");
	claim(value < 2, "a ring can be made, so the sysctl is not 2");
	claim(refused(SYS_io_uring_setup, EPERM, SETUP),
	      "EPERM from a filter is returned by setup unchanged");
	claim(refused(SYS_io_uring_setup, ENOSYS, SETUP),
	      "ENOSYS from a filter is returned by setup, as from a kernel without "
	      "io_uring");
	claim(refused(SYS_io_uring_register, EPERM, REGISTER),
	      "a filter on register alone takes effect after setup");
	claim(refused(SYS_io_uring_enter, EPERM, ENTER),
	      "a filter on enter alone takes effect at the first enter");
	return failed;
}
