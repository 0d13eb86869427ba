#include "base/diagnostics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SELF "/proc/self/fd/2"

enum way { WAY_PLAIN, WAY_SOCKET, WAY_ASKED };

/* Of all processes that write there. */
struct losses {
	_Atomic uint64_t lost, untold;
	_Atomic int error; /* of the last one */
	_Atomic bool torn; /* half a line is there */
};

static struct losses own;
static struct losses *losses = &own;
static enum way way;
static _Atomic int patience_ms;

/* ---- one write ------------------------------------------------------------ */

static bool has_room(int wait_ms)
{
	struct pollfd p = { STDERR_FILENO, POLLOUT, 0 };

	return poll(&p, 1, wait_ms) > 0;
}

/* Somebody else may write between the question and the answer: then this blocks, on kernels
 * before 6.4 only. */
static ssize_t write_asked(const char *bytes, size_t n)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, n };
	ssize_t written = pwritev2(STDERR_FILENO, &iov, 1, -1, RWF_NOWAIT);

	if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return written;
	if (has_room(0))
		return write(STDERR_FILENO, bytes, n);
	errno = EAGAIN;
	return -1;
}

static ssize_t write_once(const char *bytes, size_t n)
{
	switch (way) {
	case WAY_SOCKET:
		return send(STDERR_FILENO, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	case WAY_ASKED:
		return write_asked(bytes, n);
	case WAY_PLAIN:
		break;
	}
	return write(STDERR_FILENO, bytes, n);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* False: no patience is left. */
static bool wait_for_room(void)
{
	int patience = atomic_load(&patience_ms);
	int64_t before = now_ms();

	if (patience <= 0)
		return false;
	has_room(patience);
	atomic_fetch_sub(&patience_ms, (int)(now_ms() - before) + 1);
	return true;
}

/* How many were taken; fewer: errno says why. */
static size_t write_all(const char *bytes, size_t n)
{
	size_t taken = 0;

	while (taken < n) {
		ssize_t written = write_once(bytes + taken, n - taken);

		if (written >= 0)
			taken += (size_t)written;
		else if (errno != EINTR && (errno != EAGAIN || !wait_for_room()))
			break;
	}
	return taken;
}

/* ---- lines ---------------------------------------------------------------- */

static uint64_t lines_of(const char *bytes, size_t n)
{
	uint64_t lines = 0;

	for (size_t i = 0; i < n; i++)
		lines += bytes[i] == '\n';
	return lines;
}

static void lose(uint64_t lines)
{
	atomic_store(&losses->error, errno);
	atomic_fetch_add(&losses->lost, lines);
	atomic_fetch_add(&losses->untold, lines);
}

/* Half a line is ended first, so that what follows is a line of its own. */
static bool end_torn_line(void)
{
	if (!atomic_load(&losses->torn))
		return true;
	if (write_all("\n", 1) < 1)
		return false;
	atomic_store(&losses->torn, false);
	return true;
}

/* False: it takes nothing. */
static bool tell(void)
{
	uint64_t n = atomic_exchange(&losses->untold, 0);
	int error = atomic_load(&losses->error);
	char line[256];
	int len;

	if (n == 0)
		return true;
	len = snprintf(line, sizeof(line),
		       "fairlead: %llu line%s of standard error lost: %s\n",
		       (unsigned long long)n, n == 1 ? "" : "s",
		       error == EAGAIN ? "nobody read it" : strerror(error));
	if (end_torn_line() && write_all(line, (size_t)len) == (size_t)len)
		return true;
	atomic_fetch_add(&losses->untold, n);
	return false;
}

/* At most PIPE_BUF: a pipe takes them whole or not at all. */
static void put(const char *bytes, size_t n)
{
	size_t taken;

	if (!tell() || !end_torn_line()) {
		lose(lines_of(bytes, n));
		return;
	}
	taken = write_all(bytes, n);
	if (taken == n)
		return;
	lose(lines_of(bytes + taken, n - taken));
	if (taken > 0 && bytes[taken - 1] != '\n')
		atomic_store(&losses->torn, true);
}

static ssize_t write_cookie(void *cookie, const char *bytes, size_t n)
{
	(void)cookie;
	for (size_t step, done = 0; done < n; done += step) {
		step = n - done < PIPE_BUF ? n - done : PIPE_BUF;
		put(bytes + done, step);
	}
	return (ssize_t)n; /* what was lost is not tried again by the stream */
}

/* ---- descriptor 2 --------------------------------------------------------- */

static enum way way_to_write(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode))
		return WAY_PLAIN;
	if (S_ISSOCK(st.st_mode))
		return WAY_SOCKET;
	fd = open(SELF, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return WAY_ASKED;
	dup2(fd, STDERR_FILENO);
	close(fd);
	return WAY_PLAIN;
}

void diagnostics_open(void)
{
	static char line[PIPE_BUF];
	FILE *stream = fopencookie(NULL, "w",
				   (cookie_io_functions_t){ .write = write_cookie });
	void *shared = mmap(NULL, sizeof(*losses), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	if (shared != MAP_FAILED)
		losses = shared;
	way = way_to_write();
	if (!stream)
		return; /* no memory this early: the program will not get far */
	setvbuf(stream, line, _IOLBF, sizeof(line));
	stderr = stream;
}

void diagnostics_wait_budget(int ms)
{
	atomic_store(&patience_ms, ms);
}

void diagnostics_report(void)
{
	tell();
}

uint64_t diagnostics_lost(void)
{
	return atomic_load(&losses->lost);
}
