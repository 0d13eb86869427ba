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

enum write_mode { WRITE_PLAIN, WRITE_SOCKET, WRITE_NOWAIT };

/* Shared by all processes that write there. */
struct lost_lines {
	_Atomic uint64_t lost, unreported;
	_Atomic int error; /* errno of the last lost line */
	_Atomic bool torn; /* the last line was cut: a part of it was written */
};

static struct lost_lines own;
static struct lost_lines *lines = &own;
static enum write_mode write_mode;
static _Atomic int wait_budget_ms;

/* ---- one write ------------------------------------------------------------ */

static bool stderr_writable(int wait_ms)
{
	struct pollfd p = { STDERR_FILENO, POLLOUT, 0 };

	return poll(&p, 1, wait_ms) > 0;
}

/* Kernels before 6.4: if another process fills the pipe between poll() and write(), this
 * blocks. */
static ssize_t write_nowait(const char *bytes, size_t n)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, n };
	ssize_t written = pwritev2(STDERR_FILENO, &iov, 1, -1, RWF_NOWAIT);

	if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return written;
	if (stderr_writable(0))
		return write(STDERR_FILENO, bytes, n);
	errno = EAGAIN;
	return -1;
}

static ssize_t write_once(const char *bytes, size_t n)
{
	switch (write_mode) {
	case WRITE_SOCKET:
		return send(STDERR_FILENO, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	case WRITE_NOWAIT:
		return write_nowait(bytes, n);
	case WRITE_PLAIN:
		break;
	}
	return write(STDERR_FILENO, bytes, n);
}

static int64_t monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* False: the wait budget is used up. */
static bool wait_writable(void)
{
	int budget = atomic_load(&wait_budget_ms);
	int64_t before = monotonic_ms();

	if (budget <= 0)
		return false;
	stderr_writable(budget);
	atomic_fetch_sub(&wait_budget_ms, (int)(monotonic_ms() - before) + 1);
	return true;
}

/* Returns the bytes written; if they are fewer than n, errno is set. */
static size_t stderr_write(const char *bytes, size_t n)
{
	size_t taken = 0;

	while (taken < n) {
		ssize_t written = write_once(bytes + taken, n - taken);

		if (written >= 0)
			taken += (size_t)written;
		else if (errno != EINTR && (errno != EAGAIN || !wait_writable()))
			break;
	}
	return taken;
}

/* ---- lines ---------------------------------------------------------------- */

static uint64_t count_lines(const char *bytes, size_t n)
{
	uint64_t lines_n = 0;

	for (size_t i = 0; i < n; i++)
		lines_n += bytes[i] == '\n';
	return lines_n;
}

static void lines_lost(uint64_t n)
{
	atomic_store(&lines->error, errno);
	atomic_fetch_add(&lines->lost, n);
	atomic_fetch_add(&lines->unreported, n);
}

/* Ends a line that was cut, so that the next output starts a new line. False: stderr
 * takes nothing. */
static bool end_torn_line(void)
{
	if (!atomic_load(&lines->torn))
		return true;
	if (stderr_write("\n", 1) < 1)
		return false;
	atomic_store(&lines->torn, false);
	return true;
}

/* Prints the number of lost lines, if any. False: stderr takes nothing. */
static bool report_lost(void)
{
	uint64_t n = atomic_exchange(&lines->unreported, 0);
	int error = atomic_load(&lines->error);
	char line[256];
	int len;

	if (n == 0)
		return true;
	len = snprintf(line, sizeof(line),
		       "fairlead: %llu line%s of standard error lost: %s\n",
		       (unsigned long long)n, n == 1 ? "" : "s",
		       error == EAGAIN ? "its reader is too slow" : strerror(error));
	if (end_torn_line() && stderr_write(line, (size_t)len) == (size_t)len)
		return true;
	atomic_fetch_add(&lines->unreported, n);
	return false;
}

/* n <= PIPE_BUF: a pipe takes all of the bytes or none. */
static void write_piece(const char *bytes, size_t n)
{
	size_t taken;

	if (!report_lost() || !end_torn_line()) {
		lines_lost(count_lines(bytes, n));
		return;
	}
	taken = stderr_write(bytes, n);
	if (taken == n)
		return;
	lines_lost(count_lines(bytes + taken, n - taken));
	if (taken > 0 && bytes[taken - 1] != '\n')
		atomic_store(&lines->torn, true);
}

static ssize_t write_cookie(void *cookie, const char *bytes, size_t n)
{
	(void)cookie;
	for (size_t step, done = 0; done < n; done += step) {
		step = n - done < PIPE_BUF ? n - done : PIPE_BUF;
		write_piece(bytes + done, step);
	}
	return (ssize_t)n; /* lost bytes included: the stream must not retry them */
}

/* ---- descriptor 2 --------------------------------------------------------- */

static enum write_mode reopen_nonblocking(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode))
		return WRITE_PLAIN;
	if (S_ISSOCK(st.st_mode))
		return WRITE_SOCKET;
	fd = open(SELF, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return WRITE_NOWAIT;
	dup2(fd, STDERR_FILENO);
	close(fd);
	return WRITE_PLAIN;
}

void diagnostics_open(void)
{
	static char line[PIPE_BUF];
	FILE *stream = fopencookie(NULL, "w",
				   (cookie_io_functions_t){ .write = write_cookie });
	void *shared = mmap(NULL, sizeof(*lines), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	if (shared != MAP_FAILED)
		lines = shared;
	write_mode = reopen_nonblocking();
	if (!stream)
		return; /* no memory this early: stderr stays unbuffered */
	setvbuf(stream, line, _IOLBF, sizeof(line));
	stderr = stream;
}

void diagnostics_wait_budget(int ms)
{
	atomic_store(&wait_budget_ms, ms);
}

void diagnostics_report(void)
{
	report_lost();
}

uint64_t diagnostics_lost(void)
{
	return atomic_load(&lines->lost);
}
