#include "run/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/sock.h"
#include "privilege.h"
#include "run/control.h"
#include "run/handover.h"

/* A worker process that dies sooner than this is started again more and more slowly. */
#define STEADY_MS 10000
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 16000

struct supervisor {
	const struct run_options *options;
	int *listeners;       /* address by address, worker by worker; -1: shares the first */
	int admin, log;       /* -1: none */
	int signals;
	int channel;          /* to the worker process; -1: there is none */
	pid_t pid;
	bool was_ready;       /* ever */
	bool draining;
	uint64_t started_ms;
	uint32_t backoff_ms;
	uint64_t restart_ms;  /* 0: not waiting to restart */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- listeners and logs --------------------------------------------------- */

static const char *remedy(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "another process listens there; stop it or choose another port";
	case EACCES:
		return "ports below 1024 need root or CAP_NET_BIND_SERVICE";
	case EADDRNOTAVAIL:
		return "this machine has no such address";
	case EMFILE:
		return "raise the limit of descriptors (ulimit -n)";
	default:
		return "see the address in the configuration";
	}
}

static int listen_at(const struct config_address *a, int backlog, bool reuse_port)
{
	int fd = sock_listen((const struct sockaddr *)&a->sa, a->len, backlog, reuse_port);

	if (fd < 0)
		fprintf(stderr, "fairlead: cannot listen on %s: %s; %s\n", a->text,
			strerror(-fd), remedy(-fd));
	return fd;
}

/* SO_REUSEPORT lets two programs share a port by accident: the first socket is bound
 * without it, once, to find out. */
static bool is_free(const struct config_address *a, int backlog)
{
	int fd;

	if (a->sa.ss_family == AF_UNIX)
		return true;
	fd = listen_at(a, backlog, false);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* One for each worker; the kernel spreads (kernel-notes/11-reuseport-spread). */
static int open_listeners(struct supervisor *s)
{
	const struct config *config = s->options->config;
	unsigned workers = s->options->workers;
	int backlog = (int)config->limits.backlog;

	s->listeners = calloc((size_t)config->listen_n * workers, sizeof(int));
	if (!s->listeners)
		return -1;
	for (unsigned i = 0; i < config->listen_n; i++) {
		const struct config_address *a = &config->listens[i];
		bool is_unix = a->sa.ss_family == AF_UNIX;

		if (!is_free(a, backlog))
			return -1;
		for (unsigned w = 0; w < workers; w++) {
			int *fd = &s->listeners[i * workers + w];

			/* A path can be bound once: all workers share its socket. */
			*fd = is_unix && w > 0 ? -1 : listen_at(a, backlog, !is_unix);
			if (*fd < 0 && !(is_unix && w > 0))
				return -1;
		}
	}
	if (!config->has_admin)
		return 0;
	s->admin = listen_at(&config->admin, 64, false);
	return s->admin < 0 ? -1 : 0;
}

static int open_log(struct supervisor *s)
{
	const struct config *config = s->options->config;

	if (config->log_format == CONFIG_LOG_OFF)
		return 0;
	if (strcmp(config->log_path, "-") == 0)
		s->log = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	else
		s->log = open(config->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (s->log >= 0)
		return 0;
	fprintf(stderr, "fairlead: cannot open the access log %s: %s; create its directory or "
			"choose another path\n", config->log_path, strerror(errno));
	return -1;
}

static void close_listeners(struct supervisor *s)
{
	const struct config *config = s->options->config;

	for (unsigned i = 0; i < config->listen_n * s->options->workers; i++) {
		if (s->listeners[i] >= 0)
			close(s->listeners[i]);
		s->listeners[i] = -1;
	}
}

/* ---- the worker process --------------------------------------------------- */

static int hand_over(struct supervisor *s)
{
	unsigned workers = s->options->workers;
	int error = 0;

	for (unsigned i = 0; i < s->options->config->listen_n * workers && error == 0; i++) {
		int fd = s->listeners[i] >= 0 ? s->listeners[i] : s->listeners[i - i % workers];

		error = handover_send(s->channel, &(struct handover){ HANDOVER_LISTENER,
								      i % workers, fd });
	}
	if (error == 0 && s->admin >= 0)
		error = handover_send(s->channel,
				      &(struct handover){ HANDOVER_ADMIN, 0, s->admin });
	if (error == 0 && s->log >= 0)
		error = handover_send(s->channel, &(struct handover){ HANDOVER_LOG, 0, s->log });
	if (error == 0)
		error = handover_send(s->channel, &(struct handover){ HANDOVER_END, 0, -1 });
	return error;
}

/* In the child. */
static void give_up_privileges(const struct config *config)
{
	const char *what;
	int error = privilege_drop(config, &what);

	if (error == 0)
		return;
	fprintf(stderr, "fairlead: the worker process cannot %s (%s): %s; start with "
			"CAP_SETUID and CAP_SETGID, or write 'user: root'\n", what,
		config->user, strerror(-error));
	_exit(1);
}

/* In the child. Signals are the supervisor's business; it tells us over the channel. */
_Noreturn static void be_worker_process(struct supervisor *s, int channel)
{
	int status;
	sigset_t all;

	close(s->channel);
	close(s->signals);
	close_listeners(s);
	if (s->admin >= 0)
		close(s->admin);
	if (s->log >= 0)
		close(s->log);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	give_up_privileges(s->options->config);
	status = control_run(s->options, channel);
	free(s->listeners);
	exit(status);
}

static int start_worker_process(struct supervisor *s)
{
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		fprintf(stderr, "fairlead: socketpair: %s\n", strerror(errno));
		return -1;
	}
	s->channel = pair[0];
	s->started_ms = now_ms();
	s->restart_ms = 0;
	s->pid = fork();
	if (s->pid < 0) {
		fprintf(stderr, "fairlead: cannot start the worker process: %s\n", strerror(errno));
		close(pair[0]);
		close(pair[1]);
		s->channel = -1;
		s->pid = 0;
		return -1;
	}
	if (s->pid == 0)
		be_worker_process(s, pair[1]);
	close(pair[1]);
	error = hand_over(s);
	if (error == -EPIPE || error == -ECONNRESET)
		return 0; /* it has ended: SIGCHLD tells */
	if (error < 0) {
		fprintf(stderr, "fairlead: cannot hand descriptors to the worker process: %s\n",
			strerror(-error));
		shutdown(s->channel, SHUT_RDWR); /* it waits for them, and ends */
	}
	return 0;
}

static void describe_death(int status, char *text, size_t size)
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

static void restart_later(struct supervisor *s)
{
	s->restart_ms = now_ms() + s->backoff_ms + 1;
	s->backoff_ms = s->backoff_ms ? 2 * s->backoff_ms : BACKOFF_FIRST_MS;
	if (s->backoff_ms > BACKOFF_MAX_MS)
		s->backoff_ms = BACKOFF_MAX_MS;
}

/* Returns the exit status of the supervisor, or -1 to go on. */
static int worker_process_ended(struct supervisor *s, int status)
{
	char how[160];
	uint64_t lived = now_ms() - s->started_ms;

	close(s->channel);
	s->channel = -1;
	if (s->draining && WIFEXITED(status))
		return WEXITSTATUS(status);
	describe_death(status, how, sizeof(how));
	if (s->draining || !s->was_ready) {
		fprintf(stderr, "fairlead: the worker process %s\n", how);
		return 1;
	}
	if (lived >= STEADY_MS)
		s->backoff_ms = 0;
	fprintf(stderr, "fairlead: the worker process %d %s after %llu ms; starting another in "
			"%u ms\n", (int)s->pid, how, (unsigned long long)lived, s->backoff_ms);
	s->pid = 0;
	restart_later(s);
	return -1;
}

/* ---- signals and words ---------------------------------------------------- */

/* Returns the exit status, or -1 to go on. */
static int asked_to_end(struct supervisor *s)
{
	char word = CHANNEL_DRAIN;

	if (s->draining || s->pid == 0) {
		if (s->pid > 0) {
			kill(s->pid, SIGKILL);
			waitpid(s->pid, NULL, 0);
		}
		fprintf(stderr, "fairlead: ended at once\n");
		return s->draining ? 1 : 0;
	}
	s->draining = true;
	fprintf(stderr, "fairlead: draining; a second signal ends at once\n");
	close_listeners(s);
	if (send(s->channel, &word, 1, MSG_NOSIGNAL) < 0)
		fprintf(stderr, "fairlead: the worker process does not listen: %s\n",
			strerror(errno));
	return -1;
}

static int take_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;
	int status;

	if (read(s->signals, &info, sizeof(info)) != sizeof(info))
		return -1;
	switch (info.ssi_signo) {
	case SIGTERM:
	case SIGINT:
		return asked_to_end(s);
	case SIGCHLD:
		if (s->pid > 0 && waitpid(s->pid, &status, WNOHANG) == s->pid)
			return worker_process_ended(s, status);
		return -1;
	case SIGHUP:
		fprintf(stderr, "fairlead: SIGHUP: the configuration is read at start only; "
				"restart to apply a change\n");
		return -1;
	}
	return -1;
}

static void take_word(struct supervisor *s)
{
	char word;

	if (recv(s->channel, &word, 1, MSG_DONTWAIT) != 1) {
		/* It ended; SIGCHLD says how. */
		close(s->channel);
		s->channel = -1;
		return;
	}
	if (word != CHANNEL_READY)
		return;
	s->was_ready = true;
	fprintf(stderr, "fairlead: ready engine=%s workers=%u\n",
		io_engine_name(s->options->engine), s->options->workers);
}

static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int until_restart_ms(const struct supervisor *s)
{
	uint64_t now = now_ms();

	if (s->restart_ms == 0)
		return -1;
	return s->restart_ms > now ? (int)(s->restart_ms - now) : 0;
}

static int watch(struct supervisor *s)
{
	for (;;) {
		struct pollfd fds[] = { { s->signals, POLLIN, 0 }, { s->channel, POLLIN, 0 } };
		int status = -1;

		if (poll(fds, 2, until_restart_ms(s)) < 0 && errno != EINTR)
			return 1;
		if (fds[1].revents)
			take_word(s);
		if (fds[0].revents)
			status = take_signal(s);
		if (status >= 0)
			return status;
		if (s->restart_ms && now_ms() >= s->restart_ms && start_worker_process(s) < 0)
			restart_later(s); /* short of descriptors or processes just now */
	}
}

/* Once a worker process has listened, a later start must find the paths free. */
static void unlink_paths(const struct config *config)
{
	for (unsigned i = 0; i < config->listen_n; i++)
		sock_unlink((const struct sockaddr *)&config->listens[i].sa);
	if (config->has_admin)
		sock_unlink((const struct sockaddr *)&config->admin.sa);
}

int supervisor_run(const struct run_options *options)
{
	struct supervisor s = { .options = options, .admin = -1, .log = -1, .channel = -1 };
	int status = 1;

	s.signals = watch_signals();
	if (s.signals >= 0 && open_listeners(&s) == 0 && open_log(&s) == 0 &&
	    start_worker_process(&s) == 0)
		status = watch(&s);
	if (s.was_ready)
		unlink_paths(options->config);
	free(s.listeners);
	return status;
}
