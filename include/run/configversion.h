/* A configuration of the worker process, and what all workers upstream_view of it.
 *
 *   reload.c makes it ─▶ each worker makes a generation of it ─▶ all adopt it ─▶ another takes
 *   over ─▶ each worker is through with its generation ─▶ freed
 *
 * Counters and the length of the line of an upstream belong to its name and protocol
 * (upstream_shared), so that they go on from config_version to config_version.
 *
 * Owner: the control thread, which alone makes, looks at and frees them. A
 * worker_config goes to its worker with a message and comes back with one. */
#ifndef RUN_CONFIGVERSION_H
#define RUN_CONFIGVERSION_H

#include "config/config.h"
#include "front/listener.h"
#include "proxy/proxy.h"

struct worker;
struct setup;
struct monitor;

struct upstream_shared {
	struct names_entry entry;  /* in config_versions->upstreams_shared */
	char key[SERVICE_KEY_MAX]; /* protocol and name */
	unsigned refs;             /* config_versions */
	struct quota queue_quota;
	struct registry *registry;
	struct upstream_stats stats[]; /* by worker */
};

/* A listening socket of a worker. */
struct worker_listener {
	struct list node;
	unsigned number; /* of its address, as the supervisor counts them */
	int fd;
	bool paths_strict;        /* of its address, by the newest config_version */
	struct listener listener; /* once it was opened */
};

/* What an config_version is for one worker. */
struct worker_config {
	struct mail message; /* there and back: make it, adopt it or drop it */
	struct mail released; /* back: the worker is through with it */
	struct config_version *config_version;
	struct worker *worker;
	struct list listeners; /* to be opened */
	int log_fd;            /* -1: no access log */
	bool log_is_file;      /* where each write is whole, however long */
	bool log_kept;         /* that of before goes on */
	struct upstream_view *upstream_views; /* by index of config->upstreams */
	struct generation *generation;
	struct access *access;
	int error;
};

struct config_version {
	struct list node; /* in config_versions->all */
	struct config *config;
	struct upstream_shared **upstreams_shared; /* by index of config->upstreams */
	struct names *upstream_names;              /* all config_versions */
	unsigned kept_n;
	unsigned number_n;
	unsigned *numbers; /* of the addresses of its listeners, as configured */
	unsigned *kept;    /* numbers of the addresses whose listeners stay open */
	unsigned released_n, flushed_n, worker_n; /* workers */
	unsigned readers_n;                  /* who read its metrics just now */
	struct monitor
		*monitor; /* once it is in force; NULL: none. Reads the configuration */
	struct worker_config worker_configs[]; /* by worker */
};

struct config_versions {
	struct list all; /* oldest first */
	struct names upstreams_shared;
	struct config_version *current; /* of requests that begin now */
	unsigned worker_n;
	struct mailbox *control;
};

void config_versions_init(struct config_versions *e, unsigned worker_n,
			  struct mailbox *control);

/* All workers have ended. */
void config_versions_done(struct config_versions *e);

/* Takes over the configuration. NULL: no memory, and it is freed. */
struct config_version *config_version_new(struct config_versions *e,
					  struct config *config);

/* No worker has anything of it. */
void config_version_free(struct config_version *version);

/* New lengths of lines count from now on. */
void config_versions_set_current(struct config_versions *all,
				 struct config_version *version);

/* A worker_listener of this number is one of its. */
void config_version_add_address(struct config_version *version, unsigned number);

/* `paths: strict` is written of the address of this number. Where some address could not be
 * opened, so that it is not known which is which: of any. */
bool config_version_paths_strict(const struct config_version *version, unsigned number);

/* Its listeners of this number stay as they are. */
bool config_version_keeps_address(const struct config_version *version, unsigned number);

#endif
