#include "listenaddr.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "io/sock.h"
#include "rights.h"
#include "run/remedy.h"

#define ADMIN_BACKLOG 256
/* How long an address that is in use is tried again: a worker may be closing our own
 * socket. */
#define CLOSING_MS 400
#define CLOSING_STEP_MS 20

static bool is_unix(const struct config_address *a)
{
	return a->sa.ss_family == AF_UNIX;
}

static const char *remedy_of_path(const char *path, int error)
{
	struct stat st;

	switch (error) {
	case EADDRINUSE:
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
			return "this is a directory; write the path of a socket in it";
		if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			return "this is not a socket; remove it, or choose another path";
		return "another process listens there; stop it, or choose another path";
	case EACCES:
		return "the user that fairlead is started as cannot access its directory; "
		       "change its permissions, or choose another path";
	case ENOENT:
		return "its directory does not exist; create it, or choose another path";
	case ENOTDIR:
		return "a part of its path is not a directory; choose another path";
	case EROFS:
		return "this file system is read-only; choose another path";
	}
	return remedy_of(error);
}

static const char *remedy_of_port(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "another process listens there; stop it or choose another port";
	case EACCES:
		return "ports below 1024 need root or CAP_NET_BIND_SERVICE";
	case EADDRNOTAVAIL:
		return "this machine has no such address; write one that it has, or 0.0.0.0 for "
		       "all of IPv4";
	case EAFNOSUPPORT:
		return "this machine has no IPv6; write an address of IPv4";
	}
	return remedy_of(error);
}

static int report_error(const struct config_address *a, int fd)
{
	const struct sockaddr_un *un = (const void *)&a->sa;

	if (fd < 0)
		errorlog_put(EVENT_LISTEN_FAILED, "cannot listen on %s: %s; %s", a->text,
			     strerror(-fd),
			     is_unix(a) ? remedy_of_path(un->sun_path, -fd)
					: remedy_of_port(-fd));
	return fd;
}

static int listen_on(const struct config_address *a, int backlog, bool reuse_port)
{
	return report_error(a, sock_listen((const struct sockaddr *)&a->sa, a->len,
					   backlog, reuse_port));
}

static unsigned port_of(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)sa)->sin_port;
	if (sa->ss_family == AF_INET6)
		return ((const struct sockaddr_in6 *)(const void *)sa)->sin6_port;
	return 0;
}

static bool uses_port(const struct listen_addrs *addrs, const struct config_address *a)
{
	for (unsigned i = 0; i < addrs->n; i++)
		if (port_of(&addrs->all[i]->sa) == port_of(&a->sa))
			return true;
	return false;
}

/* Workers may need a moment to close an address that a reload removed. */
static int listen_with_retries(const struct config_address *a, int backlog)
{
	const struct timespec step = { 0, CLOSING_STEP_MS * 1000000 };
	int fd = -EADDRINUSE;

	for (unsigned ms = 0; fd == -EADDRINUSE && ms <= CLOSING_MS;
	     ms += CLOSING_STEP_MS) {
		if (ms > 0)
			nanosleep(&step, NULL);
		fd = sock_listen((const struct sockaddr *)&a->sa, a->len, backlog, false);
	}
	return report_error(a, fd);
}

/* SO_REUSEPORT lets two programs share a port by accident. So a new address is first
 * bound once without it. This is not possible, and skipped, if sockets of our own use the
 * port. */
static bool is_port_free(const struct listen_addrs *ours, const struct config_address *a,
			 int backlog)
{
	int fd;

	if (is_unix(a) || uses_port(ours, a))
		return true;
	fd = listen_with_retries(a, backlog);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* ---- one address ------------------------------------------------------------ */

static void listen_addr_shrink(struct listen_addr *la, unsigned n)
{
	while (la->socket_n > n)
		close(la->sockets[--la->socket_n]);
}

/* The path of a unix socket. The service manager listens on its own, whatever runs here. */
static void listen_addr_unlink(const struct listen_addr *la)
{
	if (!la->managed)
		sock_unlink((const struct sockaddr *)&la->sa);
}

static void listen_addr_close(struct listen_addr *la)
{
	listen_addr_shrink(la, 0);
	free(la->sockets);
	free(la);
}

/* `closed`: only the own user may connect until rights_apply() has set the configured
 * mode. The control socket is always created this way. */
static int listen_for(enum listen_addr_kind kind, const struct config_address *a,
		      int backlog, bool closed)
{
	mode_t before;
	int fd;

	if (kind != LISTEN_ADDR_CONTROL && !closed)
		return listen_on(a, backlog, !is_unix(a) && kind == LISTEN_ADDR_CLIENTS);
	before = umask(0177);
	fd = listen_on(a, backlog, false);
	umask(before);
	return fd;
}

/* Binds the control socket again if its path was removed, for example by a cleaner of
 * /tmp. */
static bool listen_addr_rebind(struct listen_addr *la, const struct config_address *a,
			       int backlog)
{
	const struct sockaddr_un *un = (const void *)&la->sa;
	int fd;

	if (la->kind != LISTEN_ADDR_CONTROL || la->socket_n == 0 ||
	    access(un->sun_path, F_OK) == 0 || errno != ENOENT)
		return true;
	fd = listen_for(la->kind, a, backlog, true);
	if (fd < 0)
		return false;
	close(la->sockets[0]);
	la->sockets[0] = fd;
	errorlog_put(EVENT_SOCKET_RECREATED, "%s was missing; it was created again",
		     a->text);
	return true;
}

/* Opens sockets until there are n. False: it failed; those opened so far stay. */
static bool listen_addr_grow(struct listen_addr *la, const struct config_address *a,
			     unsigned n, int backlog, bool closed)
{
	int *grown = la->socket_n < n ? realloc(la->sockets, n * sizeof(*grown))
				      : la->sockets;

	if (!grown)
		return false;
	la->sockets = grown;
	while (la->socket_n < n) {
		int fd = listen_for(la->kind, a, backlog, closed);

		if (fd < 0)
			return false;
		la->sockets[la->socket_n++] = fd;
	}
	return true;
}

static unsigned last_number;

static struct listen_addr *listen_addr_new(const struct config_address *a,
					   enum listen_addr_kind kind)
{
	struct listen_addr *la = calloc(1, sizeof(*la));

	if (!la)
		return NULL;
	la->number = ++last_number;
	la->kind = kind;
	la->sa = a->sa;
	la->len = a->len;
	return la;
}

unsigned listen_addr_next_number(void)
{
	return last_number + 1;
}

/* Also a socket of another user, such as the service manager's: the kernel lets only that user bind
 * beside it. */
static bool is_shared(int socket)
{
	int reuse_port = 1;
	socklen_t len = sizeof(reuse_port);
	struct stat st;

	if (fstat(socket, &st) == 0 && st.st_uid != geteuid())
		return true;

	return getsockopt(socket, SOL_SOCKET, SO_REUSEPORT, &reuse_port, &len) == 0 &&
	       !reuse_port;
}

struct listen_addr *listen_addr_adopt(unsigned number, enum listen_addr_kind kind,
				      const int *sockets, unsigned n)
{
	struct config_address a = { .len = sizeof(a.sa) };
	struct listen_addr *la;

	if (n == 0 || getsockname(sockets[0], (struct sockaddr *)&a.sa, &a.len) < 0)
		return NULL;
	la = listen_addr_new(&a, kind);
	if (!la)
		return NULL;
	la->number = number;
	last_number = number > last_number ? number : last_number;
	la->sockets = calloc(n, sizeof(la->sockets[0]));
	if (!la->sockets) {
		free(la);
		return NULL;
	}
	memcpy(la->sockets, sockets, n * sizeof(sockets[0]));
	la->socket_n = la->served_n = n;
	la->shared = is_shared(sockets[0]);
	return la;
}

static struct listen_addr *listen_addr_find(const struct listen_addrs *have,
					    const struct config_address *a,
					    enum listen_addr_kind kind)
{
	for (unsigned i = 0; i < have->n; i++)
		if (have->all[i]->kind == kind &&
		    sock_equal((const struct sockaddr *)&have->all[i]->sa,
			       (const struct sockaddr *)&a->sa))
			return have->all[i];
	return NULL;
}

/* ---- all addresses ---------------------------------------------------------- */

bool listen_addrs_contain(const struct listen_addrs *addrs, const struct listen_addr *la)
{
	for (unsigned i = 0; i < addrs->n; i++)
		if (addrs->all[i] == la)
			return true;
	return false;
}

bool listen_addrs_add(struct listen_addrs *addrs, struct listen_addr *la)
{
	struct listen_addr **grown = realloc(addrs->all, (addrs->n + 1) * sizeof(*grown));

	if (!grown)
		return false;
	addrs->all = grown;
	addrs->all[addrs->n++] = la;
	return true;
}

void listen_addrs_merge(struct listen_addrs *addrs, struct listen_addrs *from)
{
	while (from->n > 0 && listen_addrs_add(addrs, from->all[from->n - 1]))
		from->n--;
	if (from->n > 0)
		return;
	free(from->all);
	*from = (struct listen_addrs){ 0 };
}

bool listen_addrs_have_clients(const struct listen_addrs *addrs)
{
	for (unsigned i = 0; i < addrs->n; i++)
		if (addrs->all[i]->kind == LISTEN_ADDR_CLIENTS)
			return true;
	return false;
}

/* listen() on a listening socket changes the length of its accept queue. */
static void set_backlog(const struct listen_addr *la, int backlog)
{
	for (unsigned i = 0; i < la->socket_n; i++)
		listen(la->sockets[i], backlog);
}

/* All workers share the socket of a unix path, which can be bound once only. */
static bool listen_addr_open(struct listen_addrs *next, const struct listen_addrs *have,
			     const struct config_address *a, enum listen_addr_kind kind,
			     unsigned workers, int backlog,
			     const struct config_rights *rights)
{
	struct listen_addr *la = listen_addr_find(have, a, kind);
	bool is_new = !la, closed = rights && rights->mode[0] != '\0';

	if (is_new && is_port_free(have, a, backlog))
		la = listen_addr_new(a, kind);
	if (!la)
		return false;
	if (kind != LISTEN_ADDR_CLIENTS || is_unix(a) || la->shared)
		workers = 1;
	la->previous_n = la->socket_n;
	if (listen_addr_rebind(la, a, backlog) &&
	    listen_addr_grow(la, a, workers, backlog, closed) &&
	    listen_addrs_add(next, la))
		return true;
	if (is_new)
		listen_addr_close(la);
	else
		listen_addr_shrink(la, la->previous_n);
	return false;
}

/* Closes the sockets opened by a listen_addrs_open() that failed: connections in their
 * accept queues would never be accepted. */
static void undo_open(struct listen_addrs *next, const struct listen_addrs *have)
{
	for (unsigned i = 0; i < next->n; i++)
		if (listen_addrs_contain(have, next->all[i]))
			listen_addr_shrink(next->all[i], next->all[i]->previous_n);
	listen_addrs_close(next, have, true);
}

void listen_addrs_mark_served(struct listen_addrs *addrs)
{
	for (unsigned i = 0; i < addrs->n; i++)
		addrs->all[i]->served_n = addrs->all[i]->socket_n;
}

/* The control socket stays: it is used by the supervisor itself. */
void listen_addrs_rollback(struct listen_addrs *addrs)
{
	unsigned n = 0;

	for (unsigned i = 0; i < addrs->n; i++) {
		struct listen_addr *la = addrs->all[i];

		if (la->kind == LISTEN_ADDR_CONTROL)
			la->served_n = la->socket_n;
		listen_addr_shrink(la, la->served_n);
		if (la->socket_n > 0) {
			addrs->all[n++] = la;
			continue;
		}
		listen_addr_unlink(la);
		listen_addr_close(la);
	}
	addrs->n = n;
}

int listen_addrs_control_fd(const struct listen_addrs *addrs)
{
	for (unsigned i = 0; i < addrs->n; i++)
		if (addrs->all[i]->kind == LISTEN_ADDR_CONTROL)
			return addrs->all[i]->sockets[0];
	return -1;
}

/* Whether the kernel has the family of this address. An address without a host is two
 * addresses, IPv4 and IPv6; without IPv6 it is served on IPv4 only. */
static bool has_family(const struct config_address *a)
{
	const struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	int fd;

	if (a->half != CONFIG_HALF_IPV6)
		return true;
	fd = sock_listen((const struct sockaddr *)&any, sizeof(any), 1, false);
	if (fd >= 0)
		close(fd);
	if (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL)
		return true;
	errorlog_put(EVENT_LISTEN_PARTLY,
		     "no IPv6 on this machine (%s): continuing without %s", strerror(-fd),
		     a->text);
	return false;
}

static bool is_managed(const struct listen_addrs *addrs, const struct config_address *a)
{
	const struct listen_addr *la = listen_addr_find(addrs, a, LISTEN_ADDR_CLIENTS);

	return la && la->managed;
}

/* The kernel distributes connections over the sockets
 * (kernel-notes/11-reuseport-spread). */
bool listen_addrs_open(struct listen_addrs *next, const struct listen_addrs *have,
		       const struct config *config, unsigned workers)
{
	int backlog = (int)config->limits.backlog;
	bool good = true;

	*next = (struct listen_addrs){ 0 };
	for (unsigned i = 0; i < config->listen_n && good; i++)
		good = !has_family(&config->listens[i]) ||
		       listen_addr_open(next, have, &config->listens[i],
					LISTEN_ADDR_CLIENTS, workers, backlog,
					config_rights_of(config, &config->listens[i]));
	if (good && config->has_admin)
		good = listen_addr_open(next, have, &config->admin, LISTEN_ADDR_ADMIN,
					workers, ADMIN_BACKLOG,
					config_rights_of(config, &config->admin));
	if (good && config->has_control)
		good = listen_addr_open(next, have, &config->control, LISTEN_ADDR_CONTROL,
					workers, ADMIN_BACKLOG, NULL);
	for (unsigned i = 0; i < config->rights_n && good; i++)
		good = is_managed(next, config->rights[i].address) ||
		       rights_apply(&config->rights[i]);
	if (!good)
		undo_open(next, have);
	for (unsigned i = 0; i < next->n; i++)
		if (next->all[i]->kind == LISTEN_ADDR_CLIENTS)
			set_backlog(next->all[i], backlog);
	return good;
}

void listen_addrs_close(struct listen_addrs *from, const struct listen_addrs *kept,
			bool unlinked)
{
	for (unsigned i = 0; i < from->n; i++) {
		if (kept && listen_addrs_contain(kept, from->all[i]))
			continue;
		if (unlinked)
			listen_addr_unlink(from->all[i]);
		listen_addr_close(from->all[i]);
	}
	free(from->all);
	*from = (struct listen_addrs){ 0 };
}

void listen_addrs_drain(struct listen_addrs *addrs)
{
	unsigned n = 0;

	for (unsigned i = 0; i < addrs->n; i++) {
		if (addrs->all[i]->kind == LISTEN_ADDR_ADMIN) {
			addrs->all[n++] = addrs->all[i];
			continue;
		}
		listen_addr_unlink(addrs->all[i]);
		listen_addr_close(addrs->all[i]);
	}
	addrs->n = n;
}

void listen_addrs_unlink(const struct listen_addrs *addrs)
{
	for (unsigned i = 0; i < addrs->n; i++)
		listen_addr_unlink(addrs->all[i]);
}
