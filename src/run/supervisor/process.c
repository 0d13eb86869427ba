#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "config/tls.h"
#include "io/sock.h"
#include "run/cpus.h"
#include "run/handover.h"
#include "run/privilege.h"
#include "run/remedy.h"

/* A worker process reads messages at once: a longer wait means that it is stuck. */
#define SEND_TIMEOUT_S 10

uint64_t process_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- setup ------------------------------------------------------------------ */

/* A socket gets the connections that arrive on the CPU of its worker. Without `steer` none is
 * preferred; the program before may have had another setting. */
static void steer(const struct listen_addr *la, unsigned k, const struct run_options *options)
{
	bool on = options->affinity == CONFIG_AFFINITY_STEER;

	if (k < la->socket_n)
		sock_steer(la->sockets[k], on ? cpus_of_worker(k % options->workers) : -1);
}

/* Every worker gets at least one socket, and every socket goes to a worker. */
static int send_sockets(int setup_channel, const struct listen_addr *la,
			const struct run_options *options, unsigned index)
{
	unsigned workers = options->workers;
	unsigned n = la->socket_n > workers ? la->socket_n : workers;
	int error = 0;

	for (unsigned k = 0; k < n && error == 0; k++) {
		steer(la, k, options);
		error = handover_send(
			setup_channel,
			&(struct handover){ .kind = HANDOVER_LISTENER,
					    .worker = k % workers,
					    .value = la->number,
					    .fd = la->sockets[k % la->socket_n],
					    .index = index });
	}
	return error;
}

/* The index of an address in config->listens; listen_n: the configuration does not have it. */
static unsigned listen_index(const struct config *config, const struct listen_addr *la)
{
	unsigned i = 0;

	while (i < config->listen_n &&
	       !sock_equal((const struct sockaddr *)&config->listens[i].sa,
			   (const struct sockaddr *)&la->sa))
		i++;
	return i;
}

/* If addresses of the configuration cannot be opened, a restart continues with those that are open.
 * One that the configuration does not have is not served: it does not say whether with TLS. */
static int send_listen_addr(int setup_channel, const struct worker_setup *setup,
			    const struct listen_addr *la)
{
	bool is_current = setup->current_listen_addrs &&
			  listen_addrs_contain(setup->current_listen_addrs, la);
	unsigned index;

	switch (la->kind) {
	case LISTEN_ADDR_CLIENTS:
		index = listen_index(setup->config, la);
		if (index == setup->config->listen_n)
			break;
		if (!is_current)
			return send_sockets(setup_channel, la, setup->options, index);
		return handover_send(setup_channel,
				     &(struct handover){ .kind = HANDOVER_LISTENER_KEPT,
							 .value = la->number,
							 .fd = -1,
							 .index = index });
	case LISTEN_ADDR_ADMIN:
		return handover_send(
			setup_channel,
			&(struct handover){ .kind = is_current ? HANDOVER_ADMIN_KEPT
							       : HANDOVER_ADMIN,
					    .fd = is_current ? -1 : la->sockets[0] });
	case LISTEN_ADDR_CONTROL:
		break;
	}
	return 0;
}

/* Whether the workers keep a log: if it is the same pipe, terminal or device. A second
 * opening would have its own queue of lines, and without a reader one more queue after
 * each reload. A regular file is always opened again: it may have been renamed. */
static bool is_same_log(int log, int current)
{
	struct stat a, b;

	return current >= 0 && fstat(log, &a) == 0 && fstat(current, &b) == 0 &&
	       !S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The log of the workers that log i is, and no other is before it; CONFIG_LOGS_MAX: none. */
static unsigned log_to_keep(const struct worker_setup *setup, unsigned i, unsigned taken)
{
	unsigned k = 0;

	if (!setup->current_logs)
		return CONFIG_LOGS_MAX;
	while (k < CONFIG_LOGS_MAX &&
	       (taken >> k & 1 || !is_same_log(setup->logs->fds[i], setup->current_logs->fds[k]) ||
		setup->current_config->logs[k].target != setup->config->logs[i].target))
		k++;
	return k;
}

static int send_log(int setup_channel, const struct worker_setup *setup, unsigned i)
{
	int fd = setup->logs->fds[i], error = 0;
	struct stat st;
	bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

	for (unsigned w = 0; w < setup->options->workers && error == 0; w++)
		error = handover_send(setup_channel, &(struct handover){ .kind = HANDOVER_LOG,
									 .worker = w,
									 .value = is_file,
									 .fd = fd,
									 .index = i });
	return error;
}

static int send_logs(int setup_channel, const struct worker_setup *setup)
{
	unsigned taken = 0;
	int error = 0;

	for (unsigned i = 0; i < setup->config->log_n && error == 0; i++) {
		unsigned current;

		if (setup->logs->fds[i] < 0)
			continue;
		current = log_to_keep(setup, i, taken);
		if (current == CONFIG_LOGS_MAX) {
			error = send_log(setup_channel, setup, i);
			continue;
		}
		taken |= 1u << current;
		error = handover_send(setup_channel, &(struct handover){ .kind = HANDOVER_LOG_KEPT,
									 .value = current,
									 .fd = -1,
									 .index = i });
	}
	return error;
}

static int keylog_open(const struct config_tls *t)
{
	int fd = open(t->keylog_path,
		      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd < 0)
		errorlog_put(EVENT_LOG_UNOPENED, "cannot open the key log %s: %s; %s",
			     t->keylog_path, strerror(errno), remedy_of(errno));
	else
		errorlog_put(
			EVENT_KEYLOG,
			"the secrets of all TLS connections to %s are written "
			"to %s: who reads it can decrypt them; remove 'keylog' when the problem "
			"is found",
			t->name, t->keylog_path);
	return fd < 0 ? -errno : fd;
}

static int send_keylogs(int setup_channel, const struct config *config)
{
	int error = 0;

	for (unsigned i = 0; i < config->tls_n && error == 0; i++) {
		int fd;

		if (config->tls[i]->keylog[0] == '\0')
			continue;
		fd = keylog_open(config->tls[i]);
		error = fd < 0 ? fd
			       : handover_send(
					 setup_channel,
					 &(struct handover){ .kind = HANDOVER_KEYLOG,
							     .value = i,
							     .fd = fd });
		if (fd >= 0)
			close(fd);
	}
	return error;
}

static int send_error_logs(int setup_channel, const struct error_logs *logs)
{
	int error = 0;

	for (unsigned i = 0; i < CONFIG_ERROR_LOGS_MAX && error == 0; i++)
		if (logs->fds[i] >= 0)
			error = handover_send(
				setup_channel,
				&(struct handover){ .kind = HANDOVER_ERROR_LOG,
						    .fd = logs->fds[i],
						    .index = i });
	return error;
}

static int send_setup(int setup_channel, const struct worker_setup *setup)
{
	int error = 0;

	for (unsigned i = 0; i < setup->listen_addrs->n && error == 0; i++)
		error = send_listen_addr(setup_channel, setup,
					 setup->listen_addrs->all[i]);
	if (error == 0)
		error = send_logs(setup_channel, setup);
	if (error == 0 && setup->error_logs)
		error = send_error_logs(setup_channel, setup->error_logs);
	if (error == 0)
		error = send_keylogs(setup_channel, setup->config);
	if (error == 0)
		error = handover_send(
			setup_channel,
			&(struct handover){ .kind = HANDOVER_END, .fd = -1 });
	return error;
}

int process_send_config(struct process *p, const struct worker_setup *setup)
{
	struct slice snapshot = setup->config->snapshot;
	int error;

	process_send(p, CHANNEL_LOAD);
	error = handover_send(p->setup_channel,
			      &(struct handover){ .kind = HANDOVER_CONFIG,
						  .fd = -1,
						  .value = (unsigned)snapshot.len });
	if (error == 0)
		error = handover_send_bytes(p->setup_channel, snapshot.ptr, snapshot.len);
	if (error == 0)
		error = send_setup(p->setup_channel, setup);
	if (error < 0)
		process_close_setup(p);
	return error;
}

void process_close_setup(struct process *p)
{
	if (p->setup_channel >= 0)
		close(p->setup_channel);
	p->setup_channel = -1;
}

void process_send(struct process *p, char message)
{
	if (p->channel >= 0)
		(void)!send(p->channel, &message, 1, MSG_NOSIGNAL);
}

/* ---- start ------------------------------------------------------------------ */

/* In the child. */
static void give_up_privileges(const struct config *config)
{
	const char *what;
	int error = privilege_drop(config, &what);

	if (error == 0)
		return;
	errorlog_put(EVENT_START_FAILED,
		     "the worker process cannot %s (%s): %s; start with "
		     "CAP_SETUID and CAP_SETGID, or write 'user: root'",
		     what, config->user, strerror(-error));
	_exit(1);
}

/* In the child. Signals of the operator go to the supervisor, which sends messages. */
_Noreturn static void run_worker_process(const struct worker_setup *setup, int channel,
					 int setup_channel)
{
	struct run_options options = *setup->options;
	sigset_t all;

	options.engine = setup->engine;
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	give_up_privileges(setup->config);
	exit(options.worker_process(&options, setup->config, channel, setup_channel));
}

/* The send timeout: a worker process that does not read must not block the supervisor. */
static bool open_pair(int pair[2])
{
	const struct timeval patience = { SEND_TIMEOUT_S, 0 };

	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 &&
	       setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0;
}

static bool open_pairs(int channel[2], int setup_channel[2])
{
	if (open_pair(channel)) {
		if (open_pair(setup_channel))
			return true;
		close(channel[0]);
		close(channel[1]);
	}
	errorlog_put(EVENT_RESOURCE_SHORT, "socketpair: %s; %s", strerror(errno),
		     remedy_of(errno));
	return false;
}

static void close_pair(const int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

int process_start(struct process *p, const struct worker_setup *setup,
		  void (*closed)(void *owner), void *owner)
{
	int channel[2], setup_channel[2], error;

	if (!open_pairs(channel, setup_channel))
		return -1;
	*p = (struct process){ .state = PROCESS_STARTING,
			       .channel = channel[0],
			       .setup_channel = setup_channel[0],
			       .tls = config_uses_tls(setup->config),
			       .rule_threads = config_has_threads(setup->config),
			       .started_ms = process_now_ms() };
	p->pid = fork();
	if (p->pid < 0) {
		errorlog_put(EVENT_RESOURCE_SHORT,
			     "cannot start the worker process: %s; %s", strerror(errno),
			     remedy_of(errno));
		close_pair(channel);
		close_pair(setup_channel);
		*p = (struct process){ .state = PROCESS_NONE,
				       .channel = -1,
				       .setup_channel = -1 };
		return -1;
	}
	if (p->pid == 0) {
		close(channel[0]);
		close(setup_channel[0]);
		closed(owner);
		run_worker_process(setup, channel[1], setup_channel[1]);
	}
	close(channel[1]);
	close(setup_channel[1]);
	error = send_setup(p->setup_channel, setup);
	if (error == -EPIPE || error == -ECONNRESET)
		return 0; /* it has ended; SIGCHLD reports it */
	if (error < 0) {
		errorlog_put(EVENT_RESOURCE_SHORT,
			     "cannot send descriptors to the worker process: %s",
			     strerror(-error));
		shutdown(p->setup_channel,
			 SHUT_RDWR); /* it waits for them: this ends it */
	}
	return 0;
}

/* ---- the end ---------------------------------------------------------------- */

void process_close(struct process *p)
{
	if (p->channel >= 0)
		close(p->channel);
	if (p->setup_channel >= 0)
		close(p->setup_channel);
	*p = (struct process){ .state = PROCESS_NONE,
			       .channel = -1,
			       .setup_channel = -1 };
}

void processes_check(const struct process *processes)
{
	unsigned n[PROCESS_DRAINING + 1] = { 0 };

	for (unsigned i = 0; i < PROCESSES_MAX; i++) {
		const struct process *p = &processes[i];

		ASSERT(p->state < COUNT(n));
		n[p->state]++;
		ASSERT((p->state == PROCESS_NONE) == (p->pid == 0));
		ASSERT(p->state != PROCESS_NONE ||
		       (p->channel == -1 && p->setup_channel == -1));
	}
	ASSERT(n[PROCESS_STARTING] <= 1 && n[PROCESS_SERVING] <= 1);
}

void process_describe_end(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		snprintf(text, size, "was killed by signal %d (SIGSYS: a system call that the "
				     "sandbox forbids; the kernel's log names it)", SIGSYS);
	else if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
}
