/* The connections of clients of one worker, as the admin API lists them: who, where, how long.
 *
 * A listing is made in slices: each looks at CONNECTIONS_SLICE clients at most, so that a worker
 * with 100,000 of them goes on with its work in between. Nothing is kept for it in a client: what a
 * row has is read from the client, its exchange and the kernel when it is made.
 *
 * A connection's id is its descriptor and the cookie of its socket, which the kernel gives to no
 * other socket, so an id never names another connection later.
 *
 * Owner: the listing of the admin API, lent to the worker's thread. Errors: none. Limits: texts
 * that are too long are cut. */
#ifndef PROXY_CONNECTIONS_H
#define PROXY_CONNECTIONS_H

#include "base/ip.h"
#include "proxy/proxy.h"

#define CONNECTIONS_SLICE 256 /* clients */
#define CONNECTIONS_ROWS 32   /* of one slice */

enum connection_phase {
#define PHASE(name, text) CONNECTION_##name,
#include "proxy/connectionphase.def"
#undef PHASE
};

const char *connection_phase_text(enum connection_phase phase);

struct connection_row {
	int fd;
	uint64_t cookie;
	struct peer peer;       /* of the connection, or what it has stated (PROXY protocol) */
	struct peer client;     /* the same, or whom a trusted peer names in its request */
	enum connection_phase phase;
	uint64_t age_ms;        /* of the request in progress; without one: of the phase */
	uint64_t received, sent; /* bytes since the connection was opened */
	uint32_t requests;      /* with the present one */
	/* Empty: none, or it is not known. */
	char tls[16], sni[128]; /* version; name that the client asked for */
	char request[128];      /* its line; without an access log its method only */
	char host[128], route[128], upstream[CONFIG_NAME_MAX], server[160];
};

/* What is listed; zero: all. */
struct connection_filter {
	bool by_client;
	struct ip_range client;
	char upstream[CONFIG_NAME_MAX];
	uint64_t older_ms; /* age_ms of at least that */
	uint64_t cookie;   /* only the connection with this id */
	int fd;
};

struct connection_walk {
	struct connection_filter filter;
	bool kill;  /* close what is found */
	bool begun; /* front_walk_end() is due */
	bool ended; /* there are no more */
	struct front_walk front;
	unsigned row_n;
	struct connection_row rows[CONNECTIONS_ROWS];
};

/* The next slice: sets rows and `ended`. The first call begins the walk; it ends by itself. */
void connections_read(struct proxy *p, struct connection_walk *w);

/* Ends a walk that has not ended. */
void connections_end(struct connection_walk *w);

#endif
