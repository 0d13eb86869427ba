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

/* O_NONBLOCK during the open only: opening a FIFO without a reader would block. */
static int open_path(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);

	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

/* A datagram socket, connected to a daemon. */
static int open_socket(const struct config_address *a)
{
	int fd = socket(a->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0)
		return fd;
	close(fd);
	return -1;
}

static int open_file(const struct config_access_log *log)
{
	int fd = strcmp(log->path, "-") == 0 ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
					     : open_path(log->path);

	if (fd < 0 && errno == ENXIO)
		errorlog_put(EVENT_LOG_UNOPENED,
			     "cannot open the access log %s: nobody reads it; start "
			     "its reader first, or choose another path",
			     log->path);
	else if (fd < 0)
		errorlog_put(EVENT_LOG_UNOPENED,
			     "cannot open the access log %s: %s; create its "
			     "directory or choose another path",
			     log->path, strerror(errno));
	return fd;
}

static int open_log(const struct config_access_log *log)
{
	int fd;

	if (log->target == CONFIG_LOG_FILE)
		return open_file(log);
	fd = open_socket(log->address);
	if (fd < 0)
		errorlog_put(EVENT_LOG_UNOPENED,
			     "cannot open the access log at %s: %s; start its daemon, or "
			     "choose another address",
			     log->address->text, strerror(errno));
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
