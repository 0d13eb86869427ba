/* The listening addresses of the supervisor, each with its sockets: one for each worker,
 * among which the kernel distributes connections (SO_REUSEPORT), or one that all workers
 * share.
 *
 * A socket is bound once: connections in the accept queue of a socket that is closed
 * would be reset. As long as a configuration has the address, its sockets stay open here,
 * also while worker processes end and start, and they are passed to the next program at
 * an upgrade. */
#ifndef RUN_SUPERVISOR_LISTENADDR_H
#define RUN_SUPERVISOR_LISTENADDR_H

#include <stdbool.h>

#include "config/config.h"

enum listen_addr_kind { LISTEN_ADDR_CLIENTS, LISTEN_ADDR_ADMIN, LISTEN_ADDR_CONTROL };

struct listen_addr {
	unsigned number;            /* identifies it to the worker process; never reused */
	enum listen_addr_kind kind; /* CONTROL: used by the supervisor only */
	struct sockaddr_storage sa;
	socklen_t len;
	bool shared; /* bound without SO_REUSEPORT: one socket, for all workers */
	bool managed; /* opened by the service manager: path, owner and mode are not ours */
	unsigned served_n; /* sockets that a worker process has; the supervisor for CONTROL */
	unsigned socket_n;
	unsigned previous_n; /* socket_n before the listen_addrs_open() in progress */
	int *sockets;   /* socket k is used by worker k % workers */
};

struct listen_addrs {
	struct listen_addr **all; /* in the order of the configuration */
	unsigned n;
};

/* Makes *next the addresses of `config`: those of `have` are reused, others are opened.
 * Returns false if one cannot be opened, and logs the reason; then nothing has
 * changed. */
bool listen_addrs_open(struct listen_addrs *next, const struct listen_addrs *have,
		       const struct config *config, unsigned workers);

/* Closes the addresses of `from` that are not in `kept` (NULL: none), and empties `from`.
 * unlinked: the paths of closed unix sockets are removed, but not those of the service
 * manager, which goes on to listen there. */
void listen_addrs_close(struct listen_addrs *from, const struct listen_addrs *kept,
			bool unlinked);

/* For draining: closes all but the admin address, which responds until the end, and
 * removes their paths. */
void listen_addrs_drain(struct listen_addrs *addrs);

/* An address of the previous program, from its listening sockets. NULL: no memory, or the
 * descriptors are not sockets. */
struct listen_addr *listen_addr_adopt(unsigned number, enum listen_addr_kind kind,
				      const int *sockets, unsigned n);

/* The next unused number, for listen_addr_adopt(). */
unsigned listen_addr_next_number(void);

/* False: no memory. */
bool listen_addrs_add(struct listen_addrs *addrs, struct listen_addr *la);

/* Moves all of `from`. Without memory the rest stays in `from`. */
void listen_addrs_merge(struct listen_addrs *addrs, struct listen_addrs *from);

/* Whether there is an address for clients. */
bool listen_addrs_have_clients(const struct listen_addrs *addrs);

/* The worker process that has these sockets is ready. */
void listen_addrs_mark_served(struct listen_addrs *addrs);

/* That worker process did not become ready: closes the sockets that no process accepts
 * from. */
void listen_addrs_rollback(struct listen_addrs *addrs);

/* The listening socket of the control address; -1: there is none. */
int listen_addrs_control_fd(const struct listen_addrs *addrs);

bool listen_addrs_contain(const struct listen_addrs *addrs, const struct listen_addr *la);

/* Removes the paths of all unix sockets that were bound here, so that a later start can bind
 * them. */
void listen_addrs_unlink(const struct listen_addrs *addrs);

#endif
