#include "accesslog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* O_NONBLOCK during the open only: opening a FIFO without a reader would block. */
static int access_log_open_path(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);

	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

int access_log_open(const struct config *config)
{
	int fd;

	if (config->log_format == CONFIG_LOG_OFF)
		return -1;
	if (strcmp(config->log_path, "-") == 0)
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	else
		fd = access_log_open_path(config->log_path);
	if (fd >= 0)
		return fd;
	if (errno == ENXIO)
		fprintf(stderr,
			"fairlead: cannot open the access log %s: nobody reads it; start "
			"its reader first, or choose another path\n",
			config->log_path);
	else
		fprintf(stderr,
			"fairlead: cannot open the access log %s: %s; create its "
			"directory or choose another path\n",
			config->log_path, strerror(errno));
	return -2;
}

void access_log_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
