/* A configuration version: one configuration of the worker process, with its state in
 * each worker and the upstream state that all workers share.
 *
 *   setup_receive() makes it ─▶ each worker prepares a generation of it ─▶ all workers adopt it
 *   ─▶ a newer version replaces it ─▶ each worker releases its generation ─▶ freed
 *
 * The counters, the queue limit and the server registry of an upstream belong to its
 * protocol and name (upstream_shared). Versions that have this upstream share them, so
 * counters continue after a reload.
 *
 * Owner: the control thread; no other thread creates, changes or frees a version. A
 * worker_config is lent to its worker by a message and comes back by a message. Freed by
 * monitors_sweep(). */
#ifndef RUN_WORKER_CONFIGVERSION_H
#define RUN_WORKER_CONFIGVERSION_H

#include "config/config.h"
#include "config/tls.h"
#include "front/listener.h"
#include "proxy/proxy.h"

/* Bytes of the name of a route in metrics, with its end. */
#define ROUTE_NAME_MAX 200

struct worker;
struct setup;
struct monitor;

struct upstream_shared {
	struct names_entry entry;  /* in config_versions->upstreams_shared */
	char key[SERVICE_KEY_MAX]; /* protocol and name */
	unsigned refs;             /* number of configuration versions that have it */
	struct quota queue_quota;
	struct registry *registry;
	uint32_t phase_slot;       /* in phase_tables.upstreams */
	struct upstream_stats stats[]; /* by worker */
};

/* Histograms of phases, of all workers: base/phases.h. */
struct phase_tables {
	struct phase_table routes, upstreams, servers;
};

/* What versions share of a route, by its name in metrics. */
struct route_shared {
	struct names_entry entry;     /* in config_versions->routes_shared */
	unsigned refs;                /* number of configuration versions that have it */
	uint32_t slot;                /* in phase_tables.routes */
	/* The newest version that has the name, and how often; not dereferenced. */
	const struct config_version *version;
	unsigned repeated;
	char name[ROUTE_NAME_MAX];
};

/* A listening socket of a worker. */
struct worker_listener {
	struct list node;
	unsigned number; /* of its address: listen_addr.number of the supervisor */
	int fd;
	/* Of its address in the newest version; holds a reference of the context. */
	struct accept_settings settings;
	struct listener listener; /* valid once started */
};

struct version_address {
	unsigned number; /* of the supervisor's listen_addr */
	unsigned index;  /* in config->listens */
};

/* The part of a configuration version that belongs to one worker. */
struct worker_config {
	struct mail message;  /* to the worker: prepare, adopt or drop; then back as the reply */
	struct mail released; /* to the control thread: the worker released its generation */
	struct config_version *config_version;
	struct worker *worker;
	struct list listeners; /* worker_listeners that the worker will start */
	struct worker_log {
		int fd;        /* -1: none */
		bool is_file;  /* a regular file: a write is never partial or interleaved */
		bool kept;     /* it is log number `current` of the configuration in force */
		unsigned current;
	} logs[CONFIG_LOGS_MAX];
	struct upstream_view *upstream_views; /* by index of config->upstreams */
	struct generation *generation;        /* prepared and not adopted yet */
	struct access_set access;             /* likewise; NULL: those that are kept */
	int error;                            /* of the preparation: 0 or a negative errno */
};

struct config_version {
	struct list node; /* in config_versions->all */
	struct config *config;
	struct upstream_shared **upstreams_shared; /* by index of config->upstreams */
	struct config_versions *all;
	/* By index of config->routes; NULL: nothing is counted by route. */
	struct route_shared **routes_shared;
	uint32_t *route_slots;        /* likewise */
	unsigned kept_n;
	unsigned address_n;
	struct version_address *addresses; /* those that are open */
	/* By index of config->tls; NULL until config_version_open_tls(). */
	struct tls_context **contexts;
	/* By config_pair.index, of the contexts; NULL: of none. */
	const struct tls_certificate **certificates;
	int *keylogs; /* by index of config->tls: descriptors, only until then; -1: none */
	unsigned *kept;       /* address numbers whose listeners stay open in the workers */
	unsigned released_n;  /* workers that released their generation */
	unsigned flushed_n;   /* workers that worker_flush() has finished for */
	unsigned worker_n;
	unsigned readers_n;   /* responses of /metrics that are reading it */
	struct monitor *monitor; /* set when it becomes current; NULL: none. Reads `config` */
	struct worker_config worker_configs[]; /* by worker */
};

struct config_versions {
	struct list all; /* oldest first */
	struct names upstreams_shared;
	struct names routes_shared;
	struct phase_tables *phases; /* NULL: nothing is counted by phase */
	struct config_version *current; /* used by new requests */
	unsigned worker_n;
	struct mailbox *control;
};

void config_versions_init(struct config_versions *all, unsigned worker_n,
			  struct mailbox *control, struct phase_tables *phases);

/* Frees all versions. All workers must have ended. */
void config_versions_done(struct config_versions *all);

/* Takes over `config`. Returns NULL without memory; `config` is freed then as well. */
struct config_version *config_version_new(struct config_versions *all,
					  struct config *config);

/* No worker may refer to it. */
void config_version_free(struct config_version *version);

/* Makes it the current version. Its queue limits take effect. */
void config_versions_set_current(struct config_versions *all,
				 struct config_version *version);

/* Makes the TLS contexts, or takes over those of the current version that are the same; then the
 * private keys of `config` are forgotten. Slow. False: it failed, and logged the reason. */
bool config_version_open_tls(struct config_versions *all, struct config_version *version);

/* Records that the address config->listens[index] has this number. A number that is recorded
 * is ignored. */
void config_version_add_address(struct config_version *version, unsigned number,
				unsigned index);

/* Sets what is configured for the address of this number, which the version has. `settings` holds a
 * reference of its context, and gives back that of the previous one; all zero: none. It refers to
 * the version for `proxy_protocol`. */
void config_version_settings(const struct config_version *version, unsigned number,
			     struct accept_settings *settings);

/* Whether listeners that a worker has open on this address stay open. */
bool config_version_keeps_address(const struct config_version *version, unsigned number);

#endif
