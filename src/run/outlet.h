/* The listening addresses of the supervisor, each with its sockets: one for each worker, as the
 * kernel spreads connections over those of an address (SO_REUSEPORT), or one that all share.
 *
 * A socket is never bound a second time: what waits in the queue of one that is closed is reset.
 * As long as a configuration has the address its sockets live here, whatever becomes of the
 * worker processes, and go over to the next program at an upgrade. */
#ifndef RUN_OUTLET_H
#define RUN_OUTLET_H

#include <stdbool.h>

#include "config/config.h"

enum outlet_kind { OUTLET_CLIENTS, OUTLET_ADMIN, OUTLET_CONTROL };

struct outlet {
	unsigned number;        /* what the worker process knows it by */
	enum outlet_kind kind;  /* the last is the supervisor's own */
	struct sockaddr_storage sa;
	socklen_t len;
	unsigned served_n;      /* sockets that a worker process accepts from, or has */
	unsigned socket_n;
	unsigned had_n;         /* before those were opened that are on their way */
	int *sockets;           /* socket k is worker k % workers' */
};

struct outlets {
	struct outlet **all;    /* as configured */
	unsigned n;
};

/* Those that `have` has, and new ones, opened. False: told why, and nothing has changed. */
bool outlets_open(struct outlets *next, const struct outlets *have, const struct config *config,
		  unsigned workers);

/* Closes those of `from` that `kept` (or NULL) does not have, and leaves nothing in it.
 * unlinked: their paths, too, are free for others. */
void outlets_close(struct outlets *from, const struct outlets *kept, bool unlinked);

/* Nobody new is taken: closes all but the admin address, which answers until the end, and
 * frees their paths. */
void outlets_drain(struct outlets *o);

/* For what has come from the program before. NULL: no memory, or no listening sockets. */
struct outlet *outlet_adopt(unsigned number, enum outlet_kind kind, const int *sockets,
			    unsigned n);
bool outlets_add(struct outlets *o, struct outlet *outlet);

/* All of `from`; without memory for it, it keeps the rest. */
void outlets_join(struct outlets *o, struct outlets *from);

/* One at least is for clients. */
bool outlets_serve(const struct outlets *o);

/* The worker process that they were handed to is ready. */
void outlets_served(struct outlets *o);

/* It is not to be had: what nobody accepts from is closed again. */
void outlets_narrow(struct outlets *o);

/* The listening socket of the control address; -1: there is none. */
int outlets_control(const struct outlets *o);

bool outlets_have(const struct outlets *o, const struct outlet *outlet);

/* Once they have listened, a later start must find the paths free. */
void outlets_unlink(const struct outlets *o);

#endif
