#include "run/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "estate.h"
#include "notify.h"
#include "process.h"
#include "run/handover.h"
#include "run/order.h"

/* A worker process that dies sooner than this is started again more and more slowly. */
#define STEADY_MS 10000
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 16000

struct supervisor {
	const struct run_options *options;
	struct config *config;
	struct outlets outlets;
	int log;              /* -1: none */
	int signals;
	struct process processes[PROCESSES_MAX];
	bool was_ready;       /* ever */
	bool draining;
	int status;           /* of the worst worker process, as they end */
	uint32_t backoff_ms;
	uint64_t restart_ms;  /* 0: not waiting to restart */
	/* A reload that the worker process has not answered yet. */
	struct config *next;  /* NULL: none */
	struct outlets next_outlets;
	int next_log;
	bool reload_wanted, upgrade_wanted; /* asked for while something was under way */
	struct outlets spare; /* what only the worker process of before serves */
	int order;            /* who waits for the outcome of what is under way; -1: nobody */
};

/* ---- logs ------------------------------------------------------------------- */

/* -1: none is wanted. -2: told why. */
static int open_log(const struct config *config)
{
	int fd;

	if (config->log_format == CONFIG_LOG_OFF)
		return -1;
	if (strcmp(config->log_path, "-") == 0)
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	else
		fd = open(config->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0)
		return fd;
	fprintf(stderr, "fairlead: cannot open the access log %s: %s; create its directory or "
			"choose another path\n", config->log_path, strerror(errno));
	return -2;
}

static void close_log(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- worker processes ------------------------------------------------------- */

static struct process *process_of(struct supervisor *s, enum process_state state)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state == state)
			return &s->processes[i];
	return NULL;
}

/* In a child: what belongs to the supervisor alone. */
static void close_all(void *owner)
{
	struct supervisor *s = owner;

	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].pid != 0)
			process_close(&s->processes[i]);
	close(s->signals);
	outlets_close(&s->outlets, NULL, false);
	outlets_close(&s->spare, NULL, false);
	close_log(&s->log);
	if (s->order >= 0)
		close(s->order);
}

static int start_worker_process(struct supervisor *s)
{
	struct process *p = process_of(s, PROCESS_NONE);
	const struct goods goods = { .options = s->options, .config = s->config,
				     .outlets = &s->outlets, .log = s->log };

	s->restart_ms = 0;
	if (!p) {
		fprintf(stderr, "fairlead: %u worker processes are there\n", PROCESSES_MAX);
		return -1;
	}
	return process_start(p, &goods, close_all, s);
}

static void restart_later(struct supervisor *s)
{
	s->restart_ms = process_now_ms() + s->backoff_ms + 1;
	s->backoff_ms = s->backoff_ms ? 2 * s->backoff_ms : BACKOFF_FIRST_MS;
	if (s->backoff_ms > BACKOFF_MAX_MS)
		s->backoff_ms = BACKOFF_MAX_MS;
}

/* ---- reload ----------------------------------------------------------------- */

static void tell_ready(const struct supervisor *s)
{
	char status[128];

	snprintf(status, sizeof(status), "engine=%s workers=%u",
		 io_engine_name(s->options->engine), s->options->workers);
	notify_ready(status);
}

static void drop_next(struct supervisor *s)
{
	if (!s->next)
		return;
	outlets_close(&s->next_outlets, &s->outlets, true);
	close_log(&s->next_log);
	config_free(s->next);
	s->next = NULL;
}

static void reload_failed(struct supervisor *s, const char *why)
{
	fprintf(stderr, "fairlead: not reloaded: %s; the configuration of before goes on\n", why);
	drop_next(s);
	tell_ready(s);
	order_answer(&s->order, false, why);
}

/* From now on another worker process would start with it. What only the one that serves has
 * is kept as long as that serves. */
static void commit(struct supervisor *s)
{
	for (unsigned i = 0; i < s->outlets.n; i++)
		if (!outlets_have(&s->next_outlets, s->outlets.all[i]))
			outlets_add(&s->spare, s->outlets.all[i]);
	free(s->outlets.all);
	s->outlets = s->next_outlets;
	close_log(&s->log);
	s->log = s->next_log;
	config_free(s->config);
	s->config = s->next;
	s->next = NULL;
}

static void reload_done(struct supervisor *s)
{
	config_restart_needed(s->config, s->next, stderr);
	commit(s);
	outlets_close(&s->spare, &s->outlets, true);
	fprintf(stderr, "fairlead: reloaded %s\n", s->config->file);
	tell_ready(s);
	order_answer(&s->order, true, "reloaded");
}

/* Threads and system calls that it needs are not to be had any more. */
static bool needs_restart(const struct supervisor *s, const struct config *next)
{
	return next->study && !s->config->study;
}

/* Reads the file and opens what is new in it. False: told why. */
static bool open_next(struct supervisor *s)
{
	s->next_outlets = (struct outlets){ 0 };
	s->next_log = -1;
	s->next = config_read(s->config->file, stderr);
	if (!s->next) {
		reload_failed(s, "the file has errors");
		return false;
	}
	if (needs_restart(s, s->next)) {
		reload_failed(s, "'study: true' takes an upgrade or a restart");
		return false;
	}
	s->next_log = open_log(s->next);
	if (s->next_log >= -1 &&
	    outlets_open(&s->next_outlets, &s->outlets, s->next, s->options->workers))
		return true;
	reload_failed(s, "what it names cannot be opened");
	return false;
}

/* One thing after the other. */
static bool is_busy(const struct supervisor *s)
{
	return s->next || process_of((struct supervisor *)s, PROCESS_STARTING) || s->restart_ms;
}

/* One that another program has started may not understand us: another takes its place. */
static void reload(struct supervisor *s)
{
	struct process *p = process_of(s, PROCESS_SERVING);

	s->reload_wanted = !p || is_busy(s);
	if (s->reload_wanted)
		return;
	notify_reloading();
	if (!open_next(s))
		return;
	if (p->foreign) {
		commit(s);
		start_worker_process(s);
		return;
	}
	process_load(p, &(struct goods){ .options = s->options, .config = s->next,
					 .outlets = &s->next_outlets, .known = &s->outlets,
					 .log = s->next_log });
}

/* ---- upgrade ---------------------------------------------------------------- */

/* Returns if it failed. */
static void upgrade(struct supervisor *s)
{
	struct estate estate = { .program = estate_program(), .argv = s->options->argv,
				 .processes = s->processes, .outlets = &s->outlets,
				 .spare = &s->spare, .order = s->order };

	s->upgrade_wanted = is_busy(s);
	if (s->upgrade_wanted)
		return;
	if (!process_of(s, PROCESS_NONE)) {
		fprintf(stderr, "fairlead: not upgraded: %u worker processes of before still "
				"serve; wait, or shorten limits.retire_timeout\n",
			PROCESSES_MAX - 1);
		order_answer(&s->order, false, "too many worker processes of before still serve");
		return;
	}
	notify_reloading();
	if (estate.program)
		estate_pass(&estate, stderr);
	fprintf(stderr, "fairlead: not upgraded; all goes on as before\n");
	tell_ready(s);
	order_answer(&s->order, false, "not upgraded; its log says why");
}

/* What had to wait. */
static void go_on(struct supervisor *s)
{
	if (s->draining)
		return;
	if (s->reload_wanted)
		reload(s);
	if (s->upgrade_wanted)
		upgrade(s);
}

/* ---- words ------------------------------------------------------------------ */

static void process_ready(struct supervisor *s, struct process *p)
{
	struct process *before = process_of(s, PROCESS_SERVING);

	if (before) {
		before->state = PROCESS_RETIRING;
		process_say(before, CHANNEL_RETIRE);
	}
	p->state = PROCESS_SERVING;
	s->was_ready = true;
	outlets_close(&s->spare, &s->outlets, true);
	fprintf(stderr, "fairlead: ready engine=%s workers=%u\n",
		io_engine_name(s->options->engine), s->options->workers);
	tell_ready(s);
	order_answer(&s->order, true, "another worker process has taken over");
}

static void take_word(struct supervisor *s, struct process *p)
{
	char word;

	if (recv(p->channel, &word, 1, MSG_DONTWAIT) != 1) {
		/* It ended; SIGCHLD says how. */
		close(p->channel);
		p->channel = -1;
		return;
	}
	if (word == CHANNEL_READY && p->state == PROCESS_STARTING)
		process_ready(s, p);
	else if (word == CHANNEL_ADOPTED && s->next)
		reload_done(s);
	else if (word == CHANNEL_REFUSED && s->next)
		reload_failed(s, "the worker process could not take it over");
	go_on(s);
}

/* ---- the end of a worker process -------------------------------------------- */

static bool has_process(const struct supervisor *s)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE)
			return true;
	return false;
}

static void start_again(struct supervisor *s, const struct process *p, const char *how)
{
	uint64_t lived = process_now_ms() - p->started_ms;

	if (lived >= STEADY_MS)
		s->backoff_ms = 0;
	fprintf(stderr, "fairlead: the worker process %d %s after %llu ms; starting another in "
			"%u ms\n", (int)p->pid, how, (unsigned long long)lived, s->backoff_ms);
	restart_later(s);
}

/* Returns the exit status of the supervisor, or -1 to go on. */
static int process_ended(struct supervisor *s, struct process *p, int status)
{
	enum process_state was = p->state;
	const struct process gone = *p;
	char how[160];

	process_close(p);
	process_describe_end(status, how, sizeof(how));
	if (s->draining) {
		if (!WIFEXITED(status))
			fprintf(stderr, "fairlead: the worker process %s\n", how);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			s->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		return has_process(s) ? -1 : s->status;
	}
	if (was == PROCESS_RETIRING) {
		if (status != 0)
			fprintf(stderr, "fairlead: the worker process of before %s\n", how);
		return -1;
	}
	if (was == PROCESS_STARTING && !s->was_ready) {
		fprintf(stderr, "fairlead: the worker process %s\n", how);
		return 1;
	}
	if (was == PROCESS_STARTING && process_of(s, PROCESS_SERVING)) {
		fprintf(stderr, "fairlead: the new worker process %s; the one of before goes on\n",
			how);
		tell_ready(s);
		order_answer(&s->order, false, "the new worker process ended; that of before "
					       "goes on");
		go_on(s);
		return -1;
	}
	if (s->next)
		reload_failed(s, "the worker process ended meanwhile");
	if (!process_of(s, PROCESS_STARTING))
		start_again(s, &gone, how);
	return -1;
}

static int reap(struct supervisor *s)
{
	int status, result = -1;

	for (unsigned i = 0; i < PROCESSES_MAX && result < 0; i++) {
		struct process *p = &s->processes[i];

		if (p->state != PROCESS_NONE && waitpid(p->pid, &status, WNOHANG) == p->pid)
			result = process_ended(s, p, status);
	}
	return result;
}

/* ---- signals ---------------------------------------------------------------- */

/* Returns the exit status, or -1 to go on. */
static int asked_to_end(struct supervisor *s)
{
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
	fprintf(stderr, "fairlead: draining; a second signal ends at once\n");
	notify_stopping();
	drop_next(s);
	outlets_unlink(&s->outlets);
	outlets_close(&s->outlets, NULL, false);
	outlets_unlink(&s->spare);
	outlets_close(&s->spare, NULL, false);
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (s->processes[i].state != PROCESS_NONE)
			process_say(&s->processes[i], CHANNEL_DRAIN);
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
		return asked_to_end(s);
	case SIGCHLD:
		return reap(s);
	case SIGHUP:
		if (!s->draining)
			reload(s);
		return -1;
	case SIGUSR2:
		if (!s->draining)
			upgrade(s);
		return -1;
	}
	return -1;
}

static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* ---- the loop --------------------------------------------------------------- */

static int until_restart_ms(const struct supervisor *s)
{
	uint64_t now = process_now_ms();

	if (s->restart_ms == 0)
		return -1;
	return s->restart_ms > now ? (int)(s->restart_ms - now) : 0;
}

/* One order at a time: the next waits until this one is carried out. */
static int order_listener(const struct supervisor *s)
{
	return is_busy(s) || s->order >= 0 || s->draining ? -1 : outlets_control(&s->outlets);
}

static void take_order(struct supervisor *s, int listener)
{
	switch (order_take(listener, &s->order)) {
	case ORDER_RELOAD:
		reload(s);
		break;
	case ORDER_UPGRADE:
		upgrade(s);
		break;
	case ORDER_NONE:
		break;
	}
}

/* Returns the exit status, or -1 to go on. */
static int watch_once(struct supervisor *s)
{
	struct pollfd fds[2 + PROCESSES_MAX] = { { s->signals, POLLIN, 0 } };
	const int orders = 1 + PROCESSES_MAX;

	fds[orders] = (struct pollfd){ order_listener(s), POLLIN, 0 };
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		fds[1 + i] = (struct pollfd){ s->processes[i].state == PROCESS_NONE ? -1 :
						      s->processes[i].channel, POLLIN, 0 };
	if (poll(fds, COUNT(fds), until_restart_ms(s)) < 0)
		return errno == EINTR ? -1 : 1;
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		if (fds[1 + i].revents)
			take_word(s, &s->processes[i]);
	if (fds[0].revents)
		return take_signal(s);
	if (fds[orders].revents && order_listener(s) == fds[orders].fd)
		take_order(s, fds[orders].fd);
	return -1;
}

static int watch(struct supervisor *s)
{
	int status = -1;

	while (status < 0) {
		status = watch_once(s);
		if (status < 0 && s->restart_ms && process_now_ms() >= s->restart_ms &&
		    !s->draining && start_worker_process(s) < 0)
			restart_later(s); /* short of descriptors or processes just now */
	}
	return status;
}

/* The first, or one in the place of those that another program has left. */
static bool begin(struct supervisor *s)
{
	struct outlets left = { 0 };

	if (s->options->next && !estate_take(s->processes, &left, &s->order))
		return false;
	s->was_ready = process_of(s, PROCESS_SERVING) != NULL;
	s->log = open_log(s->config);
	if (s->log < -1 || !outlets_open(&s->outlets, &left, s->config, s->options->workers)) {
		/* Who serves goes on, with what there is. */
		s->outlets = left;
		close_log(&s->log);
		s->log = -1;
		order_answer(&s->order, false, "what the file names cannot be opened");
		return s->was_ready;
	}
	for (unsigned i = 0; i < left.n; i++)
		if (!outlets_have(&s->outlets, left.all[i]))
			outlets_add(&s->spare, left.all[i]);
	free(left.all);
	return start_worker_process(s) == 0 || s->was_ready;
}

int supervisor_run(const struct run_options *options, struct config *config)
{
	struct supervisor s = { .options = options, .config = config, .log = -1, .order = -1 };
	int status = 1;

	estate_program();
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		s.processes[i] = (struct process){ .channel = -1, .parcels = -1 };
	s.signals = watch_signals();
	if (s.signals >= 0 && begin(&s)) {
		reap(&s); /* who ended while nobody looked */
		status = watch(&s);
	}
	if (s.was_ready)
		outlets_unlink(&s.outlets);
	outlets_close(&s.outlets, NULL, false);
	config_free(s.config);
	return status;
}
