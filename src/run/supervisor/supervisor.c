#include "run/supervisor/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/diagnostics.h"
#include "notify.h"
#include "program.h"
#include "run/remedy.h"
#include "run/supervisor/command.h"
#include "run/handover.h"
#include "run/version.h"
#include "supervision.h"
#include "upgradestate.h"

/* The delay before a restart doubles while worker processes end sooner than this. */
#define STEADY_MS 10000
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 16000

/* ---- worker processes ------------------------------------------------------- */

struct process *process_of(struct supervisor *s, enum process_state state)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state == state)
			return &s->processes[i];
	return NULL;
}

void supervisor_close_fds(void *supervisor)
{
	struct supervisor *s = supervisor;

	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].pid != 0)
			process_close(&s->processes[i]);
	close(s->signals);
	listen_addrs_close(&s->listen_addrs, NULL, false);
	listen_addrs_close(&s->old_listen_addrs, NULL, false);
	access_log_close(&s->log);
	if (s->loader.kind != LOADER_NONE)
		close(s->loader.snapshot);
	if (s->command_fd >= 0)
		close(s->command_fd);
}

static void restart_later(struct supervisor *s)
{
	s->restart_ms = process_now_ms() + s->backoff_ms + 1;
	s->backoff_ms = s->backoff_ms ? 2 * s->backoff_ms : BACKOFF_FIRST_MS;
	if (s->backoff_ms > BACKOFF_MAX_MS)
		s->backoff_ms = BACKOFF_MAX_MS;
}

/* `engine: io_uring` is strict at the start and at an upgrade: if io_uring is not
 * available, it fails. A restart after a crash falls back to epoll rather than serve
 * nothing. */
static enum io_engine_kind engine_to_start(struct supervisor *s)
{
	if (s->options->engine == IO_ENGINE_RING && s->was_ready &&
	    !process_of(s, PROCESS_SERVING))
		return IO_ENGINE_AUTO;
	return s->options->engine;
}

static int fork_worker_process(struct supervisor *s)
{
	struct process *p = process_of(s, PROCESS_NONE);
	const struct worker_setup worker_setup = { .options = s->options,
						   .engine = engine_to_start(s),
						   .config = s->config,
						   .listen_addrs = &s->listen_addrs,
						   .log = s->log,
						   .current_log = -1 };

	if (p)
		return process_start(p, &worker_setup, supervisor_close_fds, s);
	fprintf(stderr,
		"fairlead: cannot start a worker process: %d are running already\n",
		PROCESSES_MAX);
	return -1;
}

/* If some addresses cannot be opened, a restart continues with the others, but a
 * replacement of a serving process fails. */
static bool open_enough(struct supervisor *s)
{
	if (change_open_configured(s))
		return true;
	if (!s->was_ready || process_of(s, PROCESS_SERVING) ||
	    !listen_addrs_have_clients(&s->listen_addrs))
		return false;
	fprintf(stderr,
		"fairlead: continuing without what cannot be opened, until a reload\n");
	return true;
}

/* Not while the loader runs or a retry is pending: the client waits for the result of
 * that change, and the worker process was started for another reason. */
static void reply_command(struct supervisor *s, bool done, const char *text)
{
	if (s->loader.kind == LOADER_NONE && !s->retry_pending)
		command_reply(&s->command_fd, done, text);
}

/* Descriptors or processes may be short for a moment: so once a process was ready, a
 * failed start is tried again. */
int start_worker_process(struct supervisor *s)
{
	bool open = open_enough(s);

	s->restart_ms = 0;
	if (open && fork_worker_process(s) == 0)
		return 0;
	if (process_of(s, PROCESS_SERVING)) {
		fprintf(stderr,
			"fairlead: no new worker process; the previous worker process continues\n");
		change_roll_back(s);
	} else if (s->was_ready) {
		restart_later(s);
	}
	reply_command(s, false,
		      open ? "no worker process can be started now"
			   : "an address or log of the configuration cannot be opened");
	return -1;
}

/* ---- messages of worker processes ------------------------------------------- */

static void reply_ready(struct supervisor *s)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "a new worker process has taken over; version %s -> %s",
		 s->serving_version, FAIRLEAD_VERSION);
	reply_command(s, true, text);
	strcpy(s->serving_version, FAIRLEAD_VERSION);
}

static void process_ready(struct supervisor *s, struct process *p)
{
	struct process *before = process_of(s, PROCESS_SERVING);

	if (before) {
		before->state = PROCESS_DRAINING;
		process_send(before, CHANNEL_DRAIN_GRACEFULLY);
	}
	p->state = PROCESS_SERVING;
	if (s->was_ready)
		process_send(p, CHANNEL_REARM);
	s->was_ready = true;
	diagnostics_wait_budget(0);
	listen_addrs_mark_served(&s->listen_addrs);
	listen_addrs_close(&s->old_listen_addrs, &s->listen_addrs, true);
	fprintf(stderr, "fairlead: ready engine=%s workers=%u\n",
		io_engine_name(p->engine), s->options->workers);
	change_report_ready(s);
	reply_ready(s);
}

static void take_reload_result(struct supervisor *s, char message)
{
	if (message == CHANNEL_ADOPTED)
		change_reload_done(s);
	else if (message == CHANNEL_REFUSED)
		change_reload_failed(s, "the worker process could not apply it");
}

static void take_process_message(struct supervisor *s, struct process *p)
{
	char message;

	if (recv(p->channel, &message, 1, MSG_DONTWAIT) != 1) {
		/* It ended; SIGCHLD reports how. */
		close(p->channel);
		p->channel = -1;
		return;
	}
	if (message == CHANNEL_READY_RING || message == CHANNEL_READY_EPOLL) {
		p->engine = message == CHANNEL_READY_RING ? IO_ENGINE_RING
							  : IO_ENGINE_EPOLL;
		if (p->state == PROCESS_STARTING && !s->draining)
			process_ready(s, p);
	}
	if (s->next_config && p->state == PROCESS_SERVING)
		take_reload_result(s, message);
	change_start_pending(s);
}

/* ---- the end of a worker process -------------------------------------------- */

static bool has_process(const struct supervisor *s)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE)
			return true;
	return false;
}

static void restart_after_end(struct supervisor *s, const struct process *p,
			      const char *how)
{
	uint64_t lived = process_now_ms() - p->started_ms;

	if (lived >= STEADY_MS)
		s->backoff_ms = 0;
	fprintf(stderr, "fairlead: the worker process %d %s after %llu ms; starting another in "
			"%u ms\n", (int)p->pid, how, (unsigned long long)lived, s->backoff_ms);
	restart_later(s);
}

/* What follows depends on the state that the process had:
 *   any, while draining             the supervisor exits after the last process
 *   DRAINING                        nothing: another process has replaced it
 *   STARTING, none was ready ever   the start has failed: the supervisor exits
 *   STARTING, another is SERVING    the change has failed: the other continues
 *   SERVING, another is STARTING    nothing but a line in the log: the other will serve
 *   else                            none serves: a restart
 * Returns the exit status of the supervisor, or -1 to continue. */
static int process_ended(struct supervisor *s, struct process *p, int status)
{
	enum process_state was = p->state;
	const struct process ended = *p;
	char how[160];

	process_close(p);
	if (process_of(s, PROCESS_SERVING))
		process_send(process_of(s, PROCESS_SERVING), CHANNEL_REARM);
	process_describe_end(status, how, sizeof(how));
	if (s->draining) {
		if (!WIFEXITED(status))
			fprintf(stderr, "fairlead: the worker process %s\n", how);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			s->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		return has_process(s) ? -1 : s->status;
	}
	if (was == PROCESS_DRAINING) {
		if (status != 0)
			fprintf(stderr, "fairlead: the previous worker process %s\n",
				how);
		return -1;
	}
	if (was == PROCESS_STARTING && !s->was_ready) {
		fprintf(stderr, "fairlead: the worker process %s\n", how);
		return 1;
	}
	if (was == PROCESS_STARTING && process_of(s, PROCESS_SERVING)) {
		fprintf(stderr,
			"fairlead: the new worker process %s; the previous worker process "
			"continues\n",
			how);
		change_roll_back(s);
		reply_command(s, false,
			      "the new worker process ended; the previous one continues");
		change_start_pending(s);
		return -1;
	}
	if (s->next_config)
		change_reload_failed(s, "the worker process ended");
	if (process_of(s, PROCESS_STARTING)) {
		fprintf(stderr,
			"fairlead: the worker process %d %s; another is starting already\n",
			(int)ended.pid, how);
	} else {
		restart_after_end(s, &ended, how);
		reply_command(s, false,
			      "the worker process ended; it is being restarted");
	}
	change_start_pending(s);
	return -1;
}

static bool is_own_child(const struct supervisor *s, pid_t pid)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE && s->processes[i].pid == pid)
			return true;
	return s->loader.kind != LOADER_NONE && s->loader.pid == pid;
}

/* Process 1 of a container inherits the orphans of all processes. */
static void reap_orphans(const struct supervisor *s)
{
	siginfo_t info = { 0 };

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0 && !is_own_child(s, info.si_pid)) {
		waitpid(info.si_pid, NULL, WNOHANG);
		info.si_pid = 0;
	}
}

static int reap(struct supervisor *s)
{
	int status, result = -1;

	for (unsigned i = 0; i < PROCESSES_MAX && result < 0; i++) {
		struct process *p = &s->processes[i];

		if (p->state != PROCESS_NONE && waitpid(p->pid, &status, WNOHANG) == p->pid)
			result = process_ended(s, p, status);
	}
	if (result < 0 && change_loader_ended(s))
		change_start_pending(s);
	reap_orphans(s);
	return result;
}

/* ---- signals ---------------------------------------------------------------- */

/* Returns the exit status, or -1 to continue. */
static int stop_requested(struct supervisor *s)
{
	loader_kill(&s->loader);
	if (s->draining || !has_process(s)) {
		for (unsigned i = 0; i < PROCESSES_MAX; i++) {
			if (s->processes[i].state == PROCESS_NONE)
				continue;
			kill(s->processes[i].pid, SIGKILL);
			waitpid(s->processes[i].pid, NULL, 0);
		}
		fprintf(stderr, "fairlead: ended at once\n");
		return s->draining ? 1 : 0;
	}
	s->draining = true;
	s->restart_ms = 0;
	fprintf(stderr, "fairlead: draining; a second signal ends at once\n");
	notify_stopping();
	change_reload_discard(s);
	command_reply(&s->command_fd, false, "fairlead is draining");
	listen_addrs_drain(&s->listen_addrs);
	listen_addrs_unlink(&s->old_listen_addrs);
	listen_addrs_close(&s->old_listen_addrs, NULL, false);
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE)
			process_send(&s->processes[i], CHANNEL_DRAIN);
	return -1;
}

static int take_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) != sizeof(info))
		return -1;
	switch (info.ssi_signo) {
	case SIGTERM:
	case SIGINT:
	case SIGQUIT:
		return stop_requested(s);
	case SIGCHLD:
		return reap(s);
	case SIGHUP:
		if (!s->draining)
			change_reload(s);
		return -1;
	case SIGUSR1:
		if (!s->draining)
			change_reopen_log(s);
		return -1;
	case SIGUSR2:
		if (s->draining)
			fprintf(stderr, "fairlead: not upgraded: fairlead is draining\n");
		else
			change_upgrade(s);
		return -1;
	}
	return -1;
}

/* Signals that end a process by default and are not sent by an operator: an alarm set by
 * the program that executed this one, a file at its size limit, a power failure. */
static void ignore_stray_signals(void)
{
	static const int strays[] = { SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR,
				      SIGXFSZ };

	for (size_t i = 0; i < COUNT(strays); i++)
		signal(strays[i], SIG_IGN);
}

static int watch_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ignore_stray_signals();
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		fprintf(stderr, "fairlead: cannot watch signals (signalfd4): %s; %s\n",
			strerror(errno), remedy_of(errno));
	return fd;
}

/* ---- the loop --------------------------------------------------------------- */

/* 0: never. */
static uint64_t earlier_ms(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* When check_deadlines() has something to do; 0: never. */
static uint64_t next_deadline_ms(const struct supervisor *s)
{
	uint64_t reply_deadline_ms = s->next_config ? s->reply_deadline_ms : 0;
	uint64_t read_ms = s->loader.kind != LOADER_NONE ? s->loader.end_ms : 0;

	return earlier_ms(s->restart_ms, earlier_ms(reply_deadline_ms, read_ms));
}

static int poll_timeout_ms(const struct supervisor *s)
{
	uint64_t now = process_now_ms(), next = next_deadline_ms(s);

	if (next == 0)
		return -1;
	return next > now ? (int)(next - now) : 0;
}

static void check_deadlines(struct supervisor *s)
{
	if (s->next_config && process_now_ms() >= s->reply_deadline_ms)
		change_reload_overdue(s);
	if (s->loader.kind != LOADER_NONE && process_now_ms() >= s->loader.end_ms)
		change_loader_overdue(s);
	if (s->restart_ms && process_now_ms() >= s->restart_ms)
		start_worker_process(s);
}

/* One command at a time: the next connection waits in the accept queue. */
static int command_listen_fd(struct supervisor *s)
{
	if (change_in_progress(s) || s->command_fd >= 0 || s->draining)
		return -1;
	return listen_addrs_control_fd(&s->listen_addrs);
}

static void take_command(struct supervisor *s, int listener)
{
	switch (command_receive(listener, &s->command_fd)) {
	case COMMAND_RELOAD:
		change_reload(s);
		break;
	case COMMAND_UPGRADE:
		change_upgrade(s);
		break;
	case COMMAND_NONE:
		break;
	}
}

struct poll_set {
	struct pollfd fds[2 + PROCESSES_MAX];
	struct process *processes[2 + PROCESSES_MAX]; /* NULL: signals, control socket */
	unsigned n;
};

static void poll_set_add(struct poll_set *set, int fd, struct process *p)
{
	if (fd < 0)
		return;
	set->fds[set->n] = (struct pollfd){ fd, POLLIN, 0 };
	set->processes[set->n++] = p;
}

/* Only open descriptors: poll() refuses more entries than RLIMIT_NOFILE. */
static void poll_set_fill(struct supervisor *s, struct poll_set *set)
{
	set->n = 0;
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE)
			poll_set_add(set, s->processes[i].channel, &s->processes[i]);
	poll_set_add(set, s->signals, NULL);
	poll_set_add(set, command_listen_fd(s), NULL);
}

/* Returns the exit status, or -1 to continue. */
static int supervise_once(struct supervisor *s)
{
	struct poll_set set;
	int status = -1;

	poll_set_fill(s, &set);
	if (poll(set.fds, set.n, poll_timeout_ms(s)) < 0) {
		if (errno == EINTR)
			return -1;
		fprintf(stderr, "fairlead: poll: %s; exiting\n", strerror(errno));
		return 1;
	}
	for (unsigned i = 0; i < set.n && status < 0; i++) {
		if (!set.fds[i].revents)
			continue;
		if (set.processes[i])
			take_process_message(s, set.processes[i]);
		else if (set.fds[i].fd == s->signals)
			status = take_signal(s);
		else if (set.fds[i].fd == command_listen_fd(s))
			take_command(s, set.fds[i].fd);
	}
	return status;
}

static int supervise(struct supervisor *s)
{
	int status = -1;

	while (status < 0) {
		status = supervise_once(s);
		if (status < 0 && !s->draining)
			check_deadlines(s);
	}
	return status;
}

static bool inherit_from_previous(struct supervisor *s)
{
	if (!upgrade_inherit(s->processes, &s->listen_addrs, &s->command_fd,
			     s->serving_version))
		return false;
	fprintf(stderr, "fairlead: version %s -> %s, %s\n", s->serving_version,
		FAIRLEAD_VERSION, program_path(NULL));
	return true;
}

/* The first worker process, or the first of this program after an upgrade. */
static bool start_first_process(struct supervisor *s)
{
	if (s->options->next && !inherit_from_previous(s))
		return false;
	s->was_ready = s->options->next;
	return start_worker_process(s) == 0 || s->was_ready;
}

int supervisor_run(const struct run_options *options, struct config *config)
{
	struct supervisor s = { .options = options,
				.config = config,
				.log = -1,
				.command_fd = -1,
				.serving_version = "unknown" };
	int status = 1;

	program_path(options->argv[0]); /* before it can be replaced */
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		s.processes[i] = (struct process){ .channel = -1, .setup_channel = -1 };
	s.signals = watch_signals();
	if (s.signals >= 0 && start_first_process(&s)) {
		status = reap(&s); /* processes that ended before signals were watched */
		if (status < 0)
			status = supervise(&s);
	}
	if (s.was_ready)
		listen_addrs_unlink(&s.listen_addrs);
	listen_addrs_close(&s.listen_addrs, NULL, false);
	config_free(s.config);
	return status;
}
