#include "ring.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static struct ring_probe probe;
static pthread_once_t probe_once = PTHREAD_ONCE_INIT;

/* False: the comma-separated list FAIRLEAD_RING_WITHOUT has the name. */
static bool feature_enabled(const char *name)
{
	const char *list = getenv("FAIRLEAD_RING_WITHOUT");
	size_t len = strlen(name);

	for (const char *at = list; at && *at; at += strcspn(at, ",")) {
		at += *at == ',';
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return false;
	}
	return true;
}

struct trial {
	struct io_recv recv;
	int res;
};

static void trial_received(struct io_op *op, int res, unsigned flags)
{
	struct trial *t = CONTAINER(op, struct trial, recv.op);

	(void)flags;
	t->res = res;
}

/* Receives one byte over a socketpair, with the receive mode that the proxy uses for TCP.
 * A kernel without the feature cap reports EINVAL. */
static int receive_byte(struct io_loop *loop, bool cap)
{
	struct ring *r = CONTAINER(loop, struct ring, loop);
	struct trial t = { .res = -ETIME };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ring_fd(r, pair[0])->recv_mode = cap ? RECV_MULTISHOT : RECV_ONCE;
	io_op_init(&t.recv.op, trial_received);
	io_recv(loop, &t.recv, pair[0], 1);
	if (send(pair[1], "x", 1, MSG_NOSIGNAL) != 1)
		t.res = -errno;
	for (int i = 0; i < 10 && io_busy(&t.recv.op); i++)
		io_wait(loop, 100000);
	/* The op is on this stack: whatever its result, it must end here. */
	io_close(loop, pair[0]);
	while (io_busy(&t.recv.op))
		io_wait(loop, UINT64_MAX);
	close(pair[1]);
	return t.res == 1 ? 0 : t.res < 0 ? t.res : -EIO;
}

static int try_ring(const struct ring_features *has, const char **stage)
{
	/* Small, because it counts as locked memory for a moment after it is closed: see
	 * RELEASE_MS. */
	const struct io_options options = {
		.engine = IO_ENGINE_RING, .buffers = 1, .entries = 8, .cq_entries = 16
	};
	struct io_loop *loop;
	int res = ring_start(&loop, &options, has, stage);

	if (res < 0)
		return res;
	*stage = "a receive";
	res = receive_byte(loop, has->cap);
	io_free(loop);
	return res;
}

static void run_probe(void)
{
#define X(name, help) probe.has.name = feature_enabled(#name);
	RING_FEATURES(X)
#undef X
	probe.error = try_ring(&probe.has, &probe.stage);
	if (probe.error == -EINVAL && probe.has.cap) {
		probe.has.cap = false;
		probe.error = try_ring(&probe.has, &probe.stage);
	}
}

const struct ring_probe *ring_probe(void)
{
	pthread_once(&probe_once, run_probe);
	return &probe;
}

/* ---- explanations ----------------------------------------------------------- */

/* The sysctl kernel.io_uring_disabled (Linux 6.6); 0 if the kernel has none. It and a
 * seccomp filter fail with the same error (kernel-notes/14-a-refused-ring). */
static int disabled_by_sysctl(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int value = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%d", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

static void explain_not_permitted(const char *stage, char *why, size_t size)
{
	int value = disabled_by_sysctl();

	if (value > 0)
		snprintf(why, size,
			 "the sysctl kernel.io_uring_disabled=%d forbids io_uring here; "
			 "allow it with: sysctl -w kernel.io_uring_disabled=0",
			 value);
	else
		snprintf(
			why, size,
			"a seccomp filter or security module refuses %s (container runtimes "
			"do by default); allow io_uring_setup, io_uring_enter and "
			"io_uring_register in its profile (examples/seccomp.json)",
			stage);
}

/* False: no limit of locked memory applies to this process (RLIM_INFINITY or
 * CAP_IPC_LOCK). */
static bool is_limited(rlim_t *limit)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { { 0 } };
	struct rlimit locked;

	if (getrlimit(RLIMIT_MEMLOCK, &locked) < 0 || locked.rlim_cur == RLIM_INFINITY)
		return false;
	*limit = locked.rlim_cur;
	return syscall(SYS_capget, &head, sets) < 0 ||
	       !(sets[0].effective & 1u << CAP_IPC_LOCK);
}

static void explain_no_memory(unsigned loops, char *why, size_t size)
{
	unsigned kib = (unsigned)(ring_bytes(&(struct io_options){ 0 }) / 1024);
	rlim_t limit;

	if (is_limited(&limit))
		snprintf(
			why, size,
			"%u rings take %u KiB of locked memory, and the limit is %llu KiB "
			"for all processes of this user together (RLIMIT_MEMLOCK); raise it "
			"with 'LimitMEMLOCK=infinity' in the unit of systemd, '--ulimit "
			"memlock=-1' of docker run, or 'ulimit -l unlimited'",
			loops, loops * kib, (unsigned long long)limit / 1024);
	else
		snprintf(
			why, size,
			"no memory for %u rings of %u KiB; raise the memory limit of the "
			"control group ('MemoryMax=' of systemd, '--memory' of docker run)",
			loops, kib);
}

static void explain(int error, const char *stage, unsigned loops, char *why, size_t size)
{
	struct utsname kernel;

	if (uname(&kernel) < 0)
		memcpy(kernel.release, "?", 2);
	switch (error) {
	case -ENOSYS:
		snprintf(
			why, size,
			"kernel %s has no io_uring, or a seccomp filter hides it; use "
			"Linux 6.1 or later with CONFIG_IO_URING, or allow it in the filter",
			kernel.release);
		return;
	case -EPERM:
	case -EACCES:
		explain_not_permitted(stage, why, size);
		return;
	case -ENOMEM:
		explain_no_memory(loops, why, size);
		return;
	case -EMFILE:
	case -ENFILE:
		snprintf(why, size, "no descriptors left for %s; raise ulimit -n", stage);
		return;
	case -EINVAL:
		snprintf(
			why, size,
			"kernel %s refuses %s: its io_uring is too old; use Linux 6.1 or "
			"later",
			kernel.release, stage);
		return;
	}
	snprintf(why, size, "io_uring does not work on kernel %s: %s failed: %s",
		 kernel.release, stage, strerror(-error));
}

enum io_engine_kind io_choose(char *why, size_t why_size)
{
	const struct ring_probe *p = ring_probe();

	ASSERT(why_size > 0);
	why[0] = '\0';
	if (p->error == 0)
		return IO_ENGINE_RING;
	explain(p->error, p->stage, 1, why, why_size);
	return IO_ENGINE_EPOLL;
}

void io_explain(enum io_engine_kind kind, int error, unsigned loops, char *why,
		size_t why_size)
{
	const struct ring_probe *p;

	ASSERT(why_size > 0 && error < 0);
	if (kind != IO_ENGINE_RING) {
		snprintf(why, why_size, "%s", strerror(-error));
		return;
	}
	p = ring_probe();
	explain(error, p->error < 0 ? p->stage : "one ring of several", loops, why,
		why_size);
}

void io_raise_limit(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0 ||
	    getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_MEMLOCK, &limit);
}

__attribute__((format(printf, 3, 4))) static void text_append(char *text, size_t size,
							      const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, size - used, format, args);
	va_end(args);
}

void ring_describe(char *text, size_t size)
{
	const struct ring_probe *p = ring_probe();

	if (p->error < 0) {
		explain(p->error, p->stage, 1, text, size);
		text_append(text, size, "\n");
		return;
	}
#define X(name, help)                                                                  \
	text_append(text, size, "%-12s %-3s  %s\n", #name, p->has.name ? "yes" : "no", \
		    help);
	RING_FEATURES(X)
#undef X
}
