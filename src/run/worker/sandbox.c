#include "run/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "back/ketama.h"
#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define HAS_SANITIZER true
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER false
#endif

/* From <linux/io_uring.h>, which only io includes: the operations of io_free(). */
#define UNREGISTER_RING_FDS 21
#define UNREGISTER_PBUF_RING 23

#define MASK_OF_TYPE 0xf /* of the type argument of socket(); the rest are flags */

/* Memory, time, locks, the end of a thread and of the process, abort(). */
static const int common_calls[] = {
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* At the start of a thread, which may not have run yet. */
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	/* eventfd, standard error, access log. */
	SCMP_SYS(write),
	SCMP_SYS(close),
	SCMP_SYS(shutdown),
	/* Our address, for a PROXY header to a server. */
	SCMP_SYS(getsockname),
	/* Standard error; the threads that write the log and query nameservers; detecting
	 * that a client has closed while nothing is received from it. */
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
};

static const int ring_calls[] = { SCMP_SYS(io_uring_enter) };

static const int epoll_calls[] = {
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl),
	SCMP_SYS(accept4),    SCMP_SYS(connect),     SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg),
};

/* sock_query() */
static const int block_calls[] = { SCMP_SYS(connect), SCMP_SYS(sendto),
				   SCMP_SYS(recvfrom) };

/* The DNS thread. */
static const int dns_calls[] = {
	SCMP_SYS(connect),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg),
};

/* Allowed if argument number `arg` has `value` under `mask`, and `arg2` has `value2`. */
struct arg_rule {
	int call;
	unsigned arg;
	uint64_t mask, value;
	unsigned arg2; /* 0: none */
	uint64_t value2;
};

static const struct arg_rule arg_rules[] = {
	/* No executable memory. */
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0, 0, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0, 0, 0 },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL, 0, 0 },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFL, 0, 0 },
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_INET, 2, 0 },
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_INET6, 2, 0 },
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX, 2, 0 },
	{ SCMP_SYS(setsockopt), 1, UINT32_MAX, SOL_SOCKET, 2, SO_LINGER },
	{ SCMP_SYS(setsockopt), 1, UINT32_MAX, IPPROTO_TCP, 2, TCP_NODELAY },
	/* How much the peer has acknowledged. */
	{ SCMP_SYS(getsockopt), 1, UINT32_MAX, IPPROTO_TCP, 2, TCP_INFO },
	{ SCMP_SYS(ioctl), 1, UINT32_MAX, SIOCOUTQ, 0, 0 },
	/* The ids of connections in the admin API. */
	{ SCMP_SYS(getsockopt), 1, UINT32_MAX, SOL_SOCKET, 2, SO_COOKIE },
	/* A message on standard error without waiting (base/diagnostics). */
	{ SCMP_SYS(pwritev2), 0, UINT32_MAX, STDERR_FILENO, 0, 0 },
	{ SCMP_SYS(sendto), 0, UINT32_MAX, STDERR_FILENO, 0, 0 },
};

static const struct arg_rule ring_arg_rules[] = {
	{ SCMP_SYS(io_uring_register), 1, UINT32_MAX, UNREGISTER_RING_FDS, 0, 0 },
	{ SCMP_SYS(io_uring_register), 1, UINT32_MAX, UNREGISTER_PBUF_RING, 0, 0 },
	{ SCMP_SYS(getsockopt), 1, UINT32_MAX, SOL_SOCKET, 2, SO_DOMAIN },
};

static const struct arg_rule epoll_arg_rules[] = {
	{ SCMP_SYS(getsockopt), 1, UINT32_MAX, SOL_SOCKET, 2, SO_ERROR },
};

/* Type SOCK_DGRAM; all other rules for socket() are for SOCK_STREAM. */
static const struct arg_rule dns_arg_rules[] = {
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_INET, 2, 0 },
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_INET6, 2, 0 },
};

static const struct arg_rule block_arg_rules[] = {
	{ SCMP_SYS(setsockopt), 1, UINT32_MAX, SOL_SOCKET, 2, SO_RCVTIMEO },
	{ SCMP_SYS(setsockopt), 1, UINT32_MAX, SOL_SOCKET, 2, SO_SNDTIMEO },
};

static int allow(scmp_filter_ctx filter, const int *calls, size_t n)
{
	int error = 0;

	for (size_t i = 0; i < n && error == 0; i++)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return error;
}

static int allow_by_args(scmp_filter_ctx filter, const struct arg_rule *rules, size_t n,
			 int socket_type)
{
	int error = 0;

	for (size_t i = 0; i < n && error == 0; i++) {
		const struct arg_rule *a = &rules[i];
		struct scmp_arg_cmp args[3];
		unsigned arg_n = 0;

		args[arg_n++] = SCMP_CMP64(a->arg, SCMP_CMP_MASKED_EQ, a->mask, a->value);
		if (a->arg2 > 0)
			args[arg_n++] = SCMP_CMP64(a->arg2, SCMP_CMP_MASKED_EQ, UINT32_MAX,
						   a->value2);
		if (a->call == SCMP_SYS(socket))
			args[arg_n++] = SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, MASK_OF_TYPE,
						   (scmp_datum_t)socket_type);
		error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, a->call, arg_n, args);
	}
	return error;
}

/* abort() */
static int allow_signal_to_self(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				SCMP_A0_64(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
}

#define ALLOW(filter, list) allow(filter, list, COUNT(list))
#define ALLOW_BY_ARGS(filter, list) allow_by_args(filter, list, COUNT(list), SOCK_STREAM)

/* recvmsg(), which can receive descriptors, on the setup channel only. */
static int allow_setup_channel(scmp_filter_ctx filter, int setup_channel)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(recvmsg), 1,
				SCMP_A0_32(SCMP_CMP_EQ, (scmp_datum_t)setup_channel, 0));
}

static int add_rules(scmp_filter_ctx filter, enum io_engine_kind engine,
		     const struct config *config, int setup_channel)
{
	int error = ALLOW(filter, common_calls);

	if (error == 0)
		error = allow_setup_channel(filter, setup_channel);
	if (error == 0)
		error = ALLOW_BY_ARGS(filter, arg_rules);
	if (error == 0)
		error = allow_signal_to_self(filter);
	if (error == 0 && engine == IO_ENGINE_RING)
		error = ALLOW(filter, ring_calls);
	if (error == 0 && engine == IO_ENGINE_RING)
		error = ALLOW_BY_ARGS(filter, ring_arg_rules);
	if (error == 0 && engine == IO_ENGINE_EPOLL)
		error = ALLOW(filter, epoll_calls);
	if (error == 0 && engine == IO_ENGINE_EPOLL)
		error = ALLOW_BY_ARGS(filter, epoll_arg_rules);
	if (error == 0 && !config->resolver.off)
		error = ALLOW(filter, dns_calls);
	if (error == 0 && !config->resolver.off)
		error = allow_by_args(filter, dns_arg_rules, COUNT(dns_arg_rules),
				      SOCK_DGRAM);
	if (error == 0 && config->study)
		error = ALLOW(filter, block_calls);
	if (error == 0 && config->study)
		error = ALLOW_BY_ARGS(filter, block_arg_rules);
	return error;
}

/* A malloc() arena of a thread opens /proc/sys/vm/overcommit_memory when it first
 * shrinks; the main arena does not. One arena is enough: the slabs of the threads do not
 * use malloc(). */
void sandbox_prepare(void)
{
	struct ketama_server server = { SLICE("any"), 1 };

	mallopt(M_ARENA_MAX, 1);
	/* At their first use, which may be at a reload, qsort() and OpenSSL make system
	 * calls and read a file: use them now. */
	ketama_free(ketama_new(&server, 1));
}

/* The kernel caches which calls are permitted with any arguments, so the calls of the
 * data path are cheap. System calls of another architecture (32-bit) have no rules and
 * kill the process. */
int sandbox_close(enum io_engine_kind engine, const struct config *config,
		  int setup_channel, const char **what)
{
	scmp_filter_ctx filter;
	int error;

	*what = "seccomp";
	if (HAS_SANITIZER)
		return 0;
	errno = 0;
	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter) /* it checks whether the kernel has the call */
		return errno ? -errno : -ENOMEM;
	*what = "rules";
	error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (error == 0) /* report the kernel's error instead of ECANCELED */
		error = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	if (error == 0)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (error == 0)
		error = add_rules(filter, engine, config, setup_channel);
	if (error == 0) {
		*what = "seccomp";
		error = seccomp_load(filter);
	}
	seccomp_release(filter);
	return error;
}

const char *sandbox_describe(void)
{
	return HAS_SANITIZER ? "seccomp      no   this build has sanitizers" :
			       "seccomp      yes  system calls that are not needed kill the worker "
			       "process";
}
