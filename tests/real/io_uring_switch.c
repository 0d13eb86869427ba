/* Runs a program for which io_uring can be forbidden and allowed again, as by the sysctl
 * kernel.io_uring_disabled, but for this program alone: while FILE exists, io_uring_setup fails
 * with EPERM.
 *
 *   io_uring_switch FILE PROGRAM [ARGUMENT]...
 *
 * The program keeps this process id. The process that looks for the file is not its child, and
 * ends with it. Exit status 77: no such filter can be installed on this system. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT 77

static int install(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static void answer(int listener, const char *file)
{
	struct seccomp_notif asked;
	struct seccomp_notif_resp response;

	memset(&asked, 0, sizeof(asked));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
		return;
	memset(&response, 0, sizeof(response));
	response.id = asked.id;
	if (access(file, F_OK) == 0)
		response.error = -EPERM;
	else
		response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void watch(int listener, int program, const char *file)
{
	struct pollfd fds[2] = { { listener, POLLIN, 0 }, { program, POLLIN, 0 } };

	while (poll(fds, 2, -1) >= 0 && !fds[1].revents)
		if (fds[0].revents & POLLIN)
			answer(listener, file);
}

int main(int argc, char **argv)
{
	int program = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int listener;
	pid_t child;

	if (argc < 3)
		return 2;
	listener = program >= 0 ? install() : -1;
	child = listener >= 0 ? fork() : -1;
	if (child < 0) {
		perror("io_uring_switch");
		return CANNOT;
	}
	if (child == 0) {
		if (fork() == 0)
			watch(listener, program, argv[1]);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	close(listener);
	close(program);
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 1;
}
