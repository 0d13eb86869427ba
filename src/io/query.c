/* The only code that blocks on a socket: see sock_query(). */
#include "io/sock.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/time.h>
#include <unistd.h>

static long query_send(int fd, struct slice s)
{
	while (s.len > 0) {
		ssize_t n = send(fd, s.ptr, s.len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			s = slice_after(s, (size_t)n);
	}
	return 0;
}

static long query_receive(int fd, char *response, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = recv(fd, response + got, size - got, 0);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			got += (size_t)n;
	}
	return (long)got;
}

long sock_query(const struct sockaddr *sa, socklen_t len, struct slice request,
		char *response, size_t size, unsigned timeout_ms)
{
	struct timeval timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long result;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	result = connect(fd, sa, len) < 0 ? -errno : query_send(fd, request);
	if (result == 0)
		result = query_receive(fd, response, size);
	close(fd);
	return result;
}
