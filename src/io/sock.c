#include "io/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"

/* An IPv4 client of an IPv6 socket has an IPv4-mapped address: it is stored as IPv4. */
static void peer_from6(struct peer *p, const struct sockaddr_in6 *in6)
{
	p->port = ntohs(in6->sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		p->family = AF_INET;
		memcpy(p->addr, in6->sin6_addr.s6_addr + 12, 4);
		return;
	}
	p->family = AF_INET6;
	memcpy(p->addr, &in6->sin6_addr, 16);
}

void peer_from(struct peer *p, const struct sockaddr_storage *ss)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	memset(p, 0, sizeof(*p));
	p->family = AF_UNIX;
	if (ss->ss_family == AF_INET) {
		memcpy(&in, ss, sizeof(in));
		p->family = AF_INET;
		p->port = ntohs(in.sin_port);
		memcpy(p->addr, &in.sin_addr, 4);
	} else if (ss->ss_family == AF_INET6) {
		memcpy(&in6, ss, sizeof(in6));
		peer_from6(p, &in6);
	}
}

uint64_t sock_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

bool sock_equal(const struct sockaddr *a, const struct sockaddr *b)
{
	struct sockaddr_in x, y;
	struct sockaddr_in6 x6, y6;

	if (a->sa_family != b->sa_family)
		return false;
	switch (a->sa_family) {
	case AF_INET:
		memcpy(&x, a, sizeof(x));
		memcpy(&y, b, sizeof(y));
		return x.sin_port == y.sin_port && x.sin_addr.s_addr == y.sin_addr.s_addr;
	case AF_INET6:
		memcpy(&x6, a, sizeof(x6));
		memcpy(&y6, b, sizeof(y6));
		return x6.sin6_port == y6.sin6_port && x6.sin6_scope_id == y6.sin6_scope_id &&
		       memcmp(&x6.sin6_addr, &y6.sin6_addr, sizeof(x6.sin6_addr)) == 0;
	}
	return strcmp(((const struct sockaddr_un *)a)->sun_path,
		      ((const struct sockaddr_un *)b)->sun_path) == 0;
}

bool sock_shortage(int error)
{
	switch (error) {
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
	case -EAGAIN:
	case -EADDRNOTAVAIL:
		return true;
	}
	return false;
}

/* Used for each forwarded request. inet_ntop() formats with snprintf(): 1,400 of the
 * 18,000 instructions of a request. */
static size_t inet4_text(const uint8_t *addr, char *text)
{
	char *at = text;

	for (unsigned i = 0; i < 4; i++) {
		if (addr[i] >= 100)
			*at++ = (char)('0' + addr[i] / 100);
		if (addr[i] >= 10)
			*at++ = (char)('0' + addr[i] / 10 % 10);
		*at++ = (char)('0' + addr[i] % 10);
		*at++ = '.';
	}
	*--at = '\0';
	return (size_t)(at - text);
}

size_t peer_text(const struct peer *p, char *text, size_t size)
{
	ASSERT(size >= SOCK_TEXT_MAX);
	if (p->family == AF_INET)
		return inet4_text(p->addr, text);
	if (p->family == AF_UNIX || !inet_ntop(p->family, p->addr, text, (socklen_t)size))
		memcpy(text, "unix", sizeof("unix"));
	return strlen(text);
}

static int inet_text(const struct sockaddr *sa, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE + 1] = "";
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (sa->sa_family == AF_INET) {
		memcpy(&in, sa, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
		return snprintf(text, size, "%s:%u", host, ntohs(in.sin_port));
	}
	memcpy(&in6, sa, sizeof(in6));
	inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
	if (in6.sin6_scope_id != 0)
		snprintf(scope, sizeof(scope), "%%%u", in6.sin6_scope_id);
	return snprintf(text, size, "[%s%s]:%u", host, scope, ntohs(in6.sin6_port));
}

size_t sock_text(const struct sockaddr *sa, char *text, size_t size)
{
	const struct sockaddr_un *un = (const void *)sa;
	int n;

	ASSERT(size > 0);
	if (sa->sa_family == AF_UNIX)
		n = snprintf(text, size, "unix:%.*s", (int)sizeof(un->sun_path),
			     un->sun_path);
	else if (sa->sa_family == AF_INET || sa->sa_family == AF_INET6)
		n = inet_text(sa, text, size);
	else
		n = snprintf(text, size, "?");
	return (size_t)n < size ? (size_t)n : size - 1;
}

/* Removes the path if it is a socket on which no process listens. */
static void remove_stale(const struct sockaddr *sa, socklen_t len)
{
	const struct sockaddr_un *un = (const void *)sa;
	struct stat st;
	int fd;

	if (un->sun_path[0] == '\0' || lstat(un->sun_path, &st) < 0 ||
	    !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, sa, len) < 0 && errno == ECONNREFUSED)
		unlink(un->sun_path);
	close(fd);
}

/* Accepted sockets inherit these (kernel-notes/10-nodelay-is-inherited). */
static int set_options(int fd, int family, bool reuse_port)
{
	const int on = 1;

	if (family == AF_UNIX)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		return -1;
	/* So that [::] and 0.0.0.0 can use the same port. */
	if (family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -1;
	if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
		return -1;
	return 0;
}

int sock_listen(const struct sockaddr *sa, socklen_t len, int backlog, bool reuse_port)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	if (sa->sa_family == AF_UNIX)
		remove_stale(sa, len);
	if (set_options(fd, sa->sa_family, reuse_port) == 0 && bind(fd, sa, len) == 0 &&
	    listen(fd, backlog) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

void sock_steer(int fd, int cpu)
{
	setsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, sizeof(cpu));
}

size_t sock_raise_limit(size_t want)
{
	struct rlimit limit, higher;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	higher = (struct rlimit){ .rlim_cur = want, .rlim_max = want };
	if (want > limit.rlim_max && setrlimit(RLIMIT_NOFILE, &higher) == 0)
		return want;
	higher = (struct rlimit){ .rlim_cur = limit.rlim_max,
				  .rlim_max = limit.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
		return limit.rlim_max;
	return limit.rlim_cur;
}

void sock_unlink(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)(const void *)sa)->sun_path);
}
