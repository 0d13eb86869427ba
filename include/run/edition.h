/* A configuration of the worker process, and what all workers share of it.
 *
 *   reload.c makes it ─▶ each worker makes a generation of it ─▶ all adopt it ─▶ another takes
 *   over ─▶ each worker is through with its generation ─▶ freed
 *
 * Counters and the length of the line of an upstream belong to its name and protocol (account),
 * so that they go on from edition to edition.
 *
 * Owner: the control thread, which alone makes, looks at and frees them. A turn goes to its
 * worker with a message and comes back with one. */
#ifndef RUN_EDITION_H
#define RUN_EDITION_H

#include "config/config.h"
#include "front/listener.h"
#include "proxy/proxy.h"

struct worker;
struct delivery;
struct lookout;

struct account {
	struct names_entry entry;    /* in editions->accounts */
	char key[SERVICE_KEY_MAX];   /* protocol and name */
	unsigned refs;               /* editions */
	struct quota line;
	struct roster *roster;
	struct upstream_stats stats[]; /* by worker */
};

/* A listening socket of a worker. */
struct door {
	struct list node;
	unsigned number;             /* of its address, as the supervisor counts them */
	int fd;
	bool paths_strict;           /* of its address, by the newest edition */
	struct listener listener;    /* once it was opened */
};

/* What an edition is for one worker. */
struct turn {
	struct message message;      /* there and back: make it, adopt it or drop it */
	struct message over;         /* back: the worker is through with it */
	struct edition *edition;
	struct worker *worker;
	struct list doors;           /* to be opened */
	int log_fd;                  /* -1: no access log */
	bool log_is_file;            /* where each write is whole, however long */
	bool log_kept;               /* that of before goes on */
	struct share *shares;        /* by index of config->upstreams */
	struct generation *generation;
	struct access *access;
	int error;
};

struct edition {
	struct list node;            /* in editions->all */
	struct config *config;
	struct account **accounts;   /* by index of config->upstreams */
	struct names *accounts_of;   /* all editions */
	unsigned kept_n;
	unsigned number_n;
	unsigned *numbers;           /* of the addresses of its doors, as configured */
	unsigned *kept;              /* numbers of the addresses whose doors stay open */
	unsigned over_n, passed_n, worker_n; /* workers */
	unsigned readers_n;          /* who read its metrics just now */
	struct lookout *lookout;     /* once it is in force; NULL: none. Reads the configuration */
	struct turn turns[];         /* by worker */
};

struct editions {
	struct list all;             /* oldest first */
	struct names accounts;
	struct edition *current;     /* of requests that begin now */
	unsigned worker_n;
	struct mailbox *control;
};

void editions_init(struct editions *e, unsigned worker_n, struct mailbox *control);

/* All workers have ended. */
void editions_done(struct editions *e);

/* Takes over the configuration. NULL: no memory, and it is freed. */
struct edition *edition_new(struct editions *e, struct config *config);

/* No worker has anything of it. */
void edition_free(struct edition *e);

/* New lengths of lines count from now on. */
void edition_current(struct editions *all, struct edition *e);

/* A door of this number is one of its. */
void edition_note(struct edition *e, unsigned number);

/* `paths: strict` is written of the address of this number. Where some address could not be
 * opened, so that it is not known which is which: of any. */
bool edition_paths_strict(const struct edition *e, unsigned number);

/* Its doors of this number stay as they are. */
bool edition_keeps(const struct edition *e, unsigned number);

#endif
