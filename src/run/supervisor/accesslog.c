#include "accesslog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errorlog.h"

_Static_assert(CONFIG_LOGS_MAX == 8, "ACCESS_LOGS_NONE");

/* What is opened, for messages. */
struct log_target {
	const char *what;
	enum config_log_target kind;
	const char *path;
	const struct config_address *address;
};

/* O_NONBLOCK: opening a FIFO without a reader would block. */
static int open_path(const char *path)
{
	return open(path,
		    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		    0644);
}

/* A datagram socket, connected to a daemon. */
static int open_socket(const struct config_address *a)
{
	int fd = socket(a->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Returns a descriptor with O_NONBLOCK, or -1; then the reason is logged. */
static int target_open(const struct log_target *t)
{
	int fd;

	if (t->kind != CONFIG_LOG_FILE) {
		fd = open_socket(t->address);
		if (fd < 0)
			errorlog_put(
				EVENT_LOG_UNOPENED,
				"cannot open the %s at %s: %s; start its daemon, or choose "
				"another address",
				t->what, t->address->text, strerror(errno));
		return fd;
	}
	fd = open_path(t->path);
	if (fd < 0 && errno == ENXIO)
		errorlog_put(
			EVENT_LOG_UNOPENED,
			"cannot open the %s %s: nobody reads it; start its reader first, or "
			"choose another path",
			t->what, t->path);
	else if (fd < 0)
		errorlog_put(
			EVENT_LOG_UNOPENED,
			"cannot open the %s %s: %s; create its directory or choose another "
			"path",
			t->what, t->path, strerror(errno));
	return fd;
}

/* ---- access logs ------------------------------------------------------------ */

static int open_log(const struct config_access_log *log)
{
	int fd;

	if (log->target == CONFIG_LOG_FILE && strcmp(log->path, "-") == 0)
		return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	fd = target_open(&(struct log_target){ "access log", log->target, log->path,
					       log->address });
	/* Its writers say how they write. */
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

bool access_logs_open(struct access_logs *logs, const struct config *config)
{
	bool good = true;

	for (unsigned i = 0; i < config->log_n; i++) {
		if (logs->fds[i] < 0)
			logs->fds[i] = open_log(&config->logs[i]);
		good &= logs->fds[i] >= 0;
	}
	return good;
}

void access_logs_close(struct access_logs *logs)
{
	for (unsigned i = 0; i < CONFIG_LOGS_MAX; i++) {
		if (logs->fds[i] >= 0)
			close(logs->fds[i]);
		logs->fds[i] = -1;
	}
}

void access_logs_reconnect(const struct access_logs *logs, const struct config *config)
{
	for (unsigned i = 0; i < config->log_n; i++) {
		const struct config_address *a = config->logs[i].address;

		if (config->logs[i].target != CONFIG_LOG_FILE && logs->fds[i] >= 0 &&
		    errorlog_reconnect_socket(logs->fds[i],
					      (const struct sockaddr *)&a->sa, a->len))
			errorlog_put(EVENT_LOG_REOPENED,
				     "the daemon of the access log at %s is back",
				     a->text);
	}
}

/* ---- error log -------------------------------------------------------------- */

bool error_logs_open(struct error_logs *logs, const struct config *config)
{
	bool good = true;

	for (unsigned i = 0; i < config->error_log_n; i++) {
		const struct config_error_log *log = &config->error_logs[i];

		if (logs->fds[i] >= 0 ||
		    (log->target == CONFIG_LOG_FILE && strcmp(log->path, "-") == 0))
			continue;
		logs->fds[i] = target_open(&(struct log_target){
			"error log", log->target, log->path, log->address });
		good &= logs->fds[i] >= 0;
	}
	return good;
}
