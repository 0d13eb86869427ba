/* Worker processes: starting, replacing and restarting them. */
#include "supervision.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/diagnostics.h"
#include "base/errorlog.h"
#include "notify.h"
#include "run/handover.h"
#include "run/supervisor/command.h"
#include "run/version.h"

/* The delay before a restart doubles while worker processes end sooner than this. */
#define STEADY_MS 10000
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 16000

/* ---- start ------------------------------------------------------------------ */

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
						   .logs = &s->logs };

	if (p)
		return process_start(p, &worker_setup, supervisor_close_fds, s);
	errorlog_put(EVENT_RESOURCE_SHORT,
		     "cannot start a worker process: %d are running already",
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
	errorlog_put(EVENT_NO_EFFECT,
		     "continuing without what cannot be opened, until a reload");
	return true;
}

/* Not while the loader runs or has a result that waits: the client waits for the result of
 * that change, and the worker process was started for another reason. */
static void reply_command(struct supervisor *s, bool done, const char *text)
{
	if (s->loader.kind == LOADER_NONE)
		command_reply(&s->command_fd, done, text);
}

/* Descriptors or processes may be short for a moment: so once a process was ready, a
 * failed start is tried again. */
static void start_failed(struct supervisor *s, const char *why)
{
	if (process_of(s, PROCESS_SERVING)) {
		errorlog_put(
			EVENT_CHANGE_FAILED,
			"no new worker process; the previous worker process continues");
		change_roll_back(s);
	} else if (s->was_ready) {
		restart_later(s);
	}
	supervisor_rest(s);
	reply_command(s, false, why);
}

int replace_start(struct supervisor *s)
{
	bool open = open_enough(s);

	s->restart_ms = 0;
	if (open && fork_worker_process(s) == 0) {
		lifecycle_set(&s->lifecycle, LIFECYCLE_STARTING);
		return 0;
	}
	start_failed(s, open ? "no worker process can be started now"
			     : "an address or log of the configuration cannot be opened");
	return -1;
}

/* ---- messages --------------------------------------------------------------- */

static void reply_ready(struct supervisor *s)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "a new worker process has taken over; version %s -> %s",
		 s->serving_version, FAIRLEAD_VERSION);
	reply_command(s, true, text);
	strcpy(s->serving_version, FAIRLEAD_VERSION);
}

/* STARTING: the process serves, and the previous one drains. */
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
	supervisor_rest(s);
	diagnostics_wait_budget(0);
	listen_addrs_mark_served(&s->listen_addrs);
	listen_addrs_close(&s->old_listen_addrs, &s->listen_addrs, true);
	errorlog_put(EVENT_READY, "ready engine=%s workers=%u", io_engine_name(p->engine),
		     s->options->workers);
	errorlog_started();
	change_report_ready(s);
	reply_ready(s);
}

void replace_take_message(struct supervisor *s, struct process *p)
{
	enum lifecycle_state state = s->lifecycle.state;
	char message;

	if (recv(p->channel, &message, 1, MSG_DONTWAIT) != 1) {
		/* It ended; SIGCHLD reports how. */
		close(p->channel);
		p->channel = -1;
		return;
	}
	if (message == CHANNEL_LOG_GONE) {
		access_logs_reconnect(&s->logs, s->config);
		errorlog_reconnect();
	} else if (message == CHANNEL_ALIVE) {
		if (p->state == PROCESS_SERVING) {
			p->alive = true;
			notify_alive();
		}
	} else if (message == CHANNEL_READY_RING || message == CHANNEL_READY_EPOLL) {
		p->engine = message == CHANNEL_READY_RING ? IO_ENGINE_RING
							  : IO_ENGINE_EPOLL;
		if (state == LIFECYCLE_STARTING && p->state == PROCESS_STARTING)
			process_ready(s, p);
	} else if (state == LIFECYCLE_APPLYING && p->state == PROCESS_SERVING) {
		if (message == CHANNEL_ADOPTED)
			change_adopted(s);
		else if (message == CHANNEL_REFUSED)
			change_failed(s, "the worker process could not apply it");
	}
}

/* ---- the end of a process --------------------------------------------------- */

struct ended_process {
	enum process_state was;
	pid_t pid;
	uint64_t started_ms;
	int status;    /* of waitpid() */
	char how[160]; /* "was killed by …", "ended with status …" */
};

/* No process serves or starts: the next one is started after a pause. */
static void restart(struct supervisor *s, const struct ended_process *e)
{
	uint64_t lived = process_now_ms() - e->started_ms;

	if (lived >= STEADY_MS)
		s->backoff_ms = 0;
	errorlog_put(EVENT_PROCESS_ENDED,
		     "the worker process %d %s after %llu ms; starting another in "
		     "%u ms",
		     (int)e->pid, e->how, (unsigned long long)lived, s->backoff_ms);
	restart_later(s);
	supervisor_rest(s);
	reply_command(s, false, "the worker process ended; it is being restarted");
}

/* IDLE, READING, TRYING. In the last two the loader goes on. */
static void ended_at_work(struct supervisor *s, const struct ended_process *e)
{
	ASSERT(e->was == PROCESS_SERVING);
	restart(s, e);
}

static void ended_in_applying(struct supervisor *s, const struct ended_process *e)
{
	ASSERT(e->was == PROCESS_SERVING);
	change_failed(s, "the worker process ended");
	restart(s, e);
}

static void ended_in_starting(struct supervisor *s, const struct ended_process *e)
{
	if (e->was == PROCESS_SERVING) {
		errorlog_put(EVENT_PROCESS_ENDED,
			     "the worker process %d %s; another is starting already",
			     (int)e->pid, e->how);
	} else if (!s->was_ready) {
		errorlog_put(EVENT_PROCESS_ENDED, "the worker process %s", e->how);
		supervisor_end(s, 1);
	} else if (process_of(s, PROCESS_SERVING)) {
		errorlog_put(EVENT_PROCESS_ENDED,
			     "the new worker process %s; the previous worker process "
			     "continues",
			     e->how);
		change_roll_back(s);
		supervisor_rest(s);
		reply_command(s, false,
			      "the new worker process ended; the previous one continues");
	} else {
		restart(s, e);
	}
}

/* The exit status of the supervisor is that of the last process that failed. */
static void ended_in_draining(struct supervisor *s, const struct ended_process *e)
{
	bool exited = WIFEXITED(e->status);

	if (!exited)
		errorlog_put(EVENT_PROCESS_ENDED, "the worker process %s", e->how);
	if (e->status != 0)
		s->status = exited ? WEXITSTATUS(e->status) : 1;
	if (!supervisor_has_process(s))
		supervisor_end(s, s->status);
}

/* In each state but DRAINING: another process has replaced it. */
static void previous_ended(const struct ended_process *e)
{
	if (e->status != 0)
		errorlog_put(EVENT_PROCESS_ENDED, "the previous worker process %s",
			     e->how);
}

static void handle_end(struct supervisor *s, const struct ended_process *e)
{
	switch (s->lifecycle.state) {
	case LIFECYCLE_IDLE:
	case LIFECYCLE_READING:
	case LIFECYCLE_TRYING:
		ended_at_work(s, e);
		break;
	case LIFECYCLE_APPLYING:
		ended_in_applying(s, e);
		break;
	case LIFECYCLE_STARTING:
		ended_in_starting(s, e);
		break;
	case LIFECYCLE_DRAINING:
		ended_in_draining(s, e);
		break;
	case LIFECYCLE_BEGINNING:
	case LIFECYCLE_PAUSED:
	case LIFECYCLE_ENDED:
		ASSERT(false); /* there is no process that serves or starts */
	}
}

void replace_ended(struct supervisor *s, struct process *p, int status)
{
	struct ended_process e = { .was = p->state,
				   .pid = p->pid,
				   .started_ms = p->started_ms,
				   .status = status };
	struct process *serving;

	process_describe_end(status, e.how, sizeof(e.how));
	process_close(p);
	serving = process_of(s, PROCESS_SERVING);
	if (serving)
		process_send(serving, CHANNEL_REARM);
	if (e.was == PROCESS_DRAINING && s->lifecycle.state != LIFECYCLE_DRAINING)
		previous_ended(&e);
	else
		handle_end(s, &e);
}
