#include "activation.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "io/sock.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define FDS_MAX 1024

/* How many there are for this process. */
static unsigned count(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	unsigned long n;

	if (!pid || !fds || strtoul(pid, NULL, 10) != (unsigned long)getpid())
		return 0;
	n = strtoul(fds, NULL, 10);
	return n < FDS_MAX ? (unsigned)n : FDS_MAX;
}

/* The next name of a list with colons. */
static struct slice next_name(const char **names)
{
	struct slice name = { *names, strcspn(*names, ":") };

	*names += name.len + ((*names)[name.len] == ':');
	return name.len > 0 ? name : SLICE("unknown");
}

static bool is_listening(int fd)
{
	int type, accepts;
	socklen_t type_len = sizeof(type), accepts_len = sizeof(accepts);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &accepts_len) == 0 &&
	       type == SOCK_STREAM && accepts;
}

static bool is_configured(const struct config *config, int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return false;
	for (unsigned i = 0; i < config->listen_n; i++)
		if (sock_equal((const struct sockaddr *)&config->listens[i].sa,
			       (const struct sockaddr *)&sa))
			return true;
	return false;
}

static void take(struct listen_addrs *listen_addrs, const struct config *config, int fd,
		 struct slice name)
{
	struct listen_addr *la;

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (is_listening(fd) && is_configured(config, fd)) {
		la = listen_addr_adopt(listen_addr_next_number(), LISTEN_ADDR_CLIENTS, &fd,
				       1);
		if (la && listen_addrs_add(listen_addrs, la)) {
			la->managed = true;
			errorlog_put(EVENT_SOCKET_ADOPTED,
				     "the socket '%.*s' is that of the service manager",
				     SLICE_ARG(name));
			return;
		}
	}
	errorlog_put(EVENT_NO_EFFECT,
		     "the service manager passed the socket '%.*s', but the "
		     "configuration does not listen there; it is closed",
		     SLICE_ARG(name));
	close(fd);
}

void activation_take(struct listen_addrs *listen_addrs, const struct config *config)
{
	const char *names = getenv("LISTEN_FDNAMES");
	unsigned n = count();

	if (!names)
		names = "";
	for (unsigned i = 0; i < n; i++)
		take(listen_addrs, config, FIRST_FD + (int)i, next_name(&names));
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}
