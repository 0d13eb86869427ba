#include "run/supervisor/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accesslog.h"
#include "activation.h"
#include "base/errorlog.h"
#include "notify.h"
#include "program.h"
#include "run/handover.h"
#include "run/privilege.h"
#include "run/remedy.h"
#include "run/supervisor/command.h"
#include "run/version.h"
#include "supervision.h"
#include "upgradestate.h"

/* ---- state ------------------------------------------------------------------ */

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
	access_logs_close(&s->logs);
	if (s->loader.kind != LOADER_NONE)
		close(s->loader.snapshot);
	if (s->command_fd >= 0)
		close(s->command_fd);
}

bool supervisor_has_process(const struct supervisor *s)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE)
			return true;
	return false;
}

static struct lifecycle_facts facts_of(struct supervisor *s)
{
	return (struct lifecycle_facts){
		.starting = process_of(s, PROCESS_STARTING),
		.serving = process_of(s, PROCESS_SERVING),
		.reading = s->loader.kind == LOADER_READ || s->loader.kind == LOADER_LOOK,
		.trying = s->loader.kind == LOADER_TRIAL,
		.applying = s->next_config,
		.pausing = s->restart_ms,
	};
}

void supervisor_rest(struct supervisor *s)
{
	struct lifecycle_facts facts = facts_of(s);

	lifecycle_rest(&s->lifecycle, &facts);
}

void supervisor_end(struct supervisor *s, int status)
{
	lifecycle_set(&s->lifecycle, LIFECYCLE_ENDED);
	s->status = status;
}

static bool has_ended(const struct supervisor *s)
{
	return s->lifecycle.state == LIFECYCLE_ENDED;
}

static bool is_draining(const struct supervisor *s)
{
	return s->lifecycle.state == LIFECYCLE_DRAINING;
}

/* After each event: asserts what holds between two of them. */
static void check_supervisor(struct supervisor *s)
{
	struct lifecycle_facts facts = facts_of(s);

	if (has_ended(s))
		return;
	lifecycle_check(&s->lifecycle, &facts);
	processes_check(s->processes);
}

/* After each event: the result that the loader kept, and requests that waited. */
static void continue_changes(struct supervisor *s)
{
	enum lifecycle_state state = s->lifecycle.state;
	enum lifecycle_request request;

	if (s->loader.ended && s->loader.kind != LOADER_NONE &&
	    (state == LIFECYCLE_READING || state == LIFECYCLE_TRYING))
		change_continue(s);
	while (lifecycle_next(&s->lifecycle, &request))
		change_begin(s, request);
	CHECK_STATE(check_supervisor(s));
}

/* ---- children --------------------------------------------------------------- */

static bool is_own_child(const struct supervisor *s, pid_t pid)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE && s->processes[i].pid == pid)
			return true;
	return loader_runs(&s->loader) && s->loader.pid == pid;
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

static void reap(struct supervisor *s)
{
	int status;

	for (unsigned i = 0; i < PROCESSES_MAX && !has_ended(s); i++) {
		struct process *p = &s->processes[i];

		if (p->state != PROCESS_NONE &&
		    waitpid(p->pid, &status, WNOHANG) == p->pid)
			replace_ended(s, p, status);
	}
	loader_reap(&s->loader);
	reap_orphans(s);
}

/* ---- signals ---------------------------------------------------------------- */

static void kill_processes(struct supervisor *s)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++) {
		if (s->processes[i].state == PROCESS_NONE)
			continue;
		kill(s->processes[i].pid, SIGKILL);
		waitpid(s->processes[i].pid, NULL, 0);
	}
}

static void drain(struct supervisor *s)
{
	lifecycle_set(&s->lifecycle, LIFECYCLE_DRAINING);
	s->restart_ms = 0;
	errorlog_put(EVENT_STOPPING, "draining; a second signal ends at once");
	notify_stopping();
	command_reply(&s->command_fd, false, "fairlead is draining");
	listen_addrs_drain(&s->listen_addrs);
	listen_addrs_unlink(&s->old_listen_addrs);
	listen_addrs_close(&s->old_listen_addrs, NULL, false);
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE)
			process_send(&s->processes[i], CHANNEL_DRAIN);
}

static void stop_requested(struct supervisor *s)
{
	change_discard(s);
	if (!is_draining(s) && supervisor_has_process(s)) {
		drain(s);
		return;
	}
	kill_processes(s);
	errorlog_put(EVENT_STOPPING, "ended at once");
	supervisor_end(s, is_draining(s));
}

static void take_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTERM:
	case SIGINT:
	case SIGQUIT:
		stop_requested(s);
		break;
	case SIGCHLD:
		reap(s);
		break;
	case SIGHUP:
		lifecycle_ask(&s->lifecycle, REQUEST_RELOAD);
		break;
	case SIGUSR1:
		lifecycle_ask(&s->lifecycle, REQUEST_REOPEN);
		break;
	case SIGUSR2:
		if (is_draining(s))
			errorlog_put(EVENT_CHANGE_FAILED,
				     "not upgraded: fairlead is draining");
		lifecycle_ask(&s->lifecycle, REQUEST_UPGRADE);
		break;
	}
}

/* Signals that end a process by default and are not sent by an operator: an alarm set by
 * the program that executed this one, a file at its size limit, a power failure. */
static void ignore_stray_signals(void)
{
	static const int strays[] = { SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF,
				      SIGIO,   SIGPWR,  SIGXFSZ };

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
		errorlog_put(EVENT_START_FAILED,
			     "cannot watch signals (signalfd4): %s; %s", strerror(errno),
			     remedy_of(errno));
	return fd;
}

/* ---- the loop --------------------------------------------------------------- */

/* Until the daemon of the error log that is gone is looked for again. */
#define RECONNECT_MS 1000

/* 0: never. */
static uint64_t earlier_ms(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* As long as no process tells that it is alive, the supervisor does so for itself: it watches over
 * starts. When it does so next; 0: never. */
static uint64_t feed_ms(struct supervisor *s)
{
	const struct process *p = process_of(s, PROCESS_SERVING);

	/* While a process takes over a configuration its control thread may be busy for long; that
	 * has a time limit of its own. */
	if (s->options->watchdog_ms == 0 ||
	    (p && p->alive && s->lifecycle.state != LIFECYCLE_APPLYING))
		return 0;
	return s->fed_ms + s->options->watchdog_ms / 2;
}

/* When check_deadlines() has something to do; 0: never. */
static uint64_t next_deadline_ms(struct supervisor *s)
{
	uint64_t reply_ms = s->lifecycle.state == LIFECYCLE_APPLYING
				    ? s->reply_deadline_ms
				    : 0;
	uint64_t read_ms = loader_runs(&s->loader) ? s->loader.end_ms : 0;

	return earlier_ms(earlier_ms(earlier_ms(s->restart_ms, s->look_ms), feed_ms(s)),
			  earlier_ms(reply_ms, read_ms));
}

static int poll_timeout_ms(struct supervisor *s)
{
	uint64_t now = process_now_ms(), next = next_deadline_ms(s);
	int report_ms = errorlog_report();
	int next_ms = next == 0 ? -1 : next > now ? (int)(next - now) : 0;

	if (errorlog_daemon_gone()) {
		errorlog_reconnect();
		report_ms = RECONNECT_MS;
	}
	return next_ms < 0 || (report_ms >= 0 && report_ms < next_ms) ? report_ms
								      : next_ms;
}

static void check_deadlines(struct supervisor *s)
{
	uint64_t now = process_now_ms(), feed = feed_ms(s);

	if (feed && now >= feed) {
		s->fed_ms = now;
		notify_alive();
	}
	if (s->lifecycle.state == LIFECYCLE_APPLYING && now >= s->reply_deadline_ms)
		change_reply_overdue(s);
	if (loader_runs(&s->loader) && now >= s->loader.end_ms)
		change_loader_overdue(s);
	if (s->restart_ms && now >= s->restart_ms)
		replace_start(s);
	if (s->look_ms && now >= s->look_ms) {
		change_look_later(s);
		lifecycle_ask(&s->lifecycle, REQUEST_LOOK);
	}
}

/* One command at a time: the next connection waits in the accept queue. */
static int command_listen_fd(struct supervisor *s)
{
	if (!lifecycle_at_rest(&s->lifecycle) || s->command_fd >= 0)
		return -1;
	return listen_addrs_control_fd(&s->listen_addrs);
}

static void take_command(struct supervisor *s, int listener)
{
	switch (command_receive(listener, &s->command_fd)) {
	case COMMAND_RELOAD:
		lifecycle_ask(&s->lifecycle, REQUEST_RELOAD);
		break;
	case COMMAND_UPGRADE:
		lifecycle_ask(&s->lifecycle, REQUEST_UPGRADE);
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

static void take_event(struct supervisor *s, int fd, struct process *p)
{
	if (p)
		replace_take_message(s, p);
	else if (fd == s->signals)
		take_signal(s);
	else if (fd == command_listen_fd(s))
		take_command(s, fd);
	continue_changes(s);
}

static void supervise_once(struct supervisor *s)
{
	struct poll_set set;

	poll_set_fill(s, &set);
	if (poll(set.fds, set.n, poll_timeout_ms(s)) < 0) {
		if (errno == EINTR)
			return;
		errorlog_put(EVENT_PROCESS_ENDED, "poll: %s; exiting", strerror(errno));
		supervisor_end(s, 1);
		return;
	}
	for (unsigned i = 0; i < set.n && !has_ended(s); i++)
		if (set.fds[i].revents)
			take_event(s, set.fds[i].fd, set.processes[i]);
	if (!has_ended(s)) {
		check_deadlines(s);
		continue_changes(s);
	}
}

static bool inherit_from_previous(struct supervisor *s)
{
	if (!upgrade_inherit(s->processes, &s->listen_addrs, &s->command_fd,
			     s->serving_version))
		return false;
	errorlog_put(EVENT_UPGRADED, "version %s -> %s, %s", s->serving_version,
		     FAIRLEAD_VERSION, program_path(NULL));
	return true;
}

/* The first worker process, or the first of this program after an upgrade. */
static bool start_first_process(struct supervisor *s)
{
	if (s->options->next && !inherit_from_previous(s))
		return false;
	if (!s->options->next)
		activation_take(&s->listen_addrs, s->config);
	s->was_ready = s->options->next;
	return replace_start(s) == 0 || s->was_ready;
}

int supervisor_run(const struct run_options *options, struct config *config)
{
	struct supervisor s = { .options = options,
				.config = config,
				.logs = ACCESS_LOGS_NONE,
				.next_logs = ACCESS_LOGS_NONE,
				.next_error_logs = ERROR_LOGS_NONE,
				.command_fd = -1,
				.serving_version = "unknown" };

	program_path(options->argv[0]); /* before it can be replaced */
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		s.processes[i] = (struct process){ .channel = -1, .setup_channel = -1 };
	if (config->pairs || config->has_secrets)
		privilege_hide_memory();
	s.fed_ms = process_now_ms();
	change_look_later(&s);
	s.signals = watch_signals();
	if (s.signals >= 0 && start_first_process(&s)) {
		reap(&s); /* processes that ended before signals were watched */
		while (!has_ended(&s))
			supervise_once(&s);
	} else {
		s.status = 1;
	}
	if (s.was_ready)
		listen_addrs_unlink(&s.listen_addrs);
	listen_addrs_close(&s.listen_addrs, NULL, false);
	errorlog_end();
	config_free(s.config);
	return s.status;
}
