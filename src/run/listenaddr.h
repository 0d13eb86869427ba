/* The listening addresses of the supervisor, each with its sockets: one for each worker, as the
 * kernel spreads connections over those of an address (SO_REUSEPORT), or one that all share.
 *
 * A socket is never bound a second time: what waits in the queue of one that is closed is reset.
 * As long as a configuration has the address its sockets live here, whatever becomes of the
 * worker processes, and go over to the next program at an upgrade. */
#ifndef RUN_LISTENADDR_H
#define RUN_LISTENADDR_H

#include <stdbool.h>

#include "config/config.h"

enum listen_addr_kind { LISTEN_ADDR_CLIENTS, LISTEN_ADDR_ADMIN, LISTEN_ADDR_CONTROL };

struct listen_addr {
	unsigned number;            /* what the worker process knows it by */
	enum listen_addr_kind kind; /* the last is the supervisor's own */
	struct sockaddr_storage sa;
	socklen_t len;
	unsigned served_n; /* sockets that a worker process accepts from, or has */
	unsigned socket_n;
	unsigned previous_n; /* before those were opened that are on their way */
	int *sockets;   /* socket k is worker k % workers' */
};

struct listen_addrs {
	struct listen_addr **all; /* as configured */
	unsigned n;
};

/* Those that `have` has, and new ones, opened. False: told why, and nothing has changed. */
bool listen_addrs_open(struct listen_addrs *next, const struct listen_addrs *have,
		       const struct config *config, unsigned workers);

/* Closes those of `from` that `kept` (or NULL) does not have, and leaves nothing in it.
 * unlinked: their paths, too, are free for others. */
void listen_addrs_close(struct listen_addrs *from, const struct listen_addrs *kept,
			bool unlinked);

/* Nobody new is taken: closes all but the admin address, which answers until the end, and
 * frees their paths. */
void listen_addrs_drain(struct listen_addrs *addrs);

/* For what has come from the program before. NULL: no memory, or no listening sockets. */
struct listen_addr *listen_addr_adopt(unsigned number, enum listen_addr_kind kind,
				      const int *sockets, unsigned n);
bool listen_addrs_add(struct listen_addrs *addrs, struct listen_addr *la);

/* All of `from`; without memory for it, it keeps the rest. */
void listen_addrs_merge(struct listen_addrs *addrs, struct listen_addrs *from);

/* One at least is for clients. */
bool listen_addrs_have_clients(const struct listen_addrs *addrs);

/* The worker process that they were handed to is ready. */
void listen_addrs_mark_served(struct listen_addrs *addrs);

/* It is not to be had: what nobody accepts from is closed again. */
void listen_addrs_rollback(struct listen_addrs *addrs);

/* The listening socket of the control address; -1: there is none. */
int listen_addrs_control_fd(const struct listen_addrs *addrs);

bool listen_addrs_contain(const struct listen_addrs *addrs, const struct listen_addr *la);

/* Once they have listened, a later start must find the paths free. */
void listen_addrs_unlink(const struct listen_addrs *addrs);

#endif
