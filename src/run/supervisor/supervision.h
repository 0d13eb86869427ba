/* The state of the supervisor, shared by supervisor.c (worker processes, signals,
 * messages) and change.c (reload, reopening of the access log, upgrade).
 *
 * A change is one of these three. Changes run one at a time; another request of the same
 * kind is remembered in a *_wanted flag and started when the current change ends.
 *
 *                 ┌─ loader fails or is late ──▶ failed
 *   reload ─▶ LOADING ─▶ APPLYING ─┬─ adopted ─▶ done
 *                 ▲          │     └─ refused, process ended, no reply in time ─▶ failed
 *   reopen ───────┼──────────┘
 *                 │          └─ no process that can be sent a configuration ─▶ STARTING
 *   upgrade ─▶ LOADING (trial) ─┬─ trial fails or is late ─▶ failed
 *                               └─ exec; the next supervisor begins in STARTING
 *   STARTING ─┬─ new process ready ─▶ done; the previous process drains gracefully
 *             └─ new process ends ──▶ failed; the previous process continues
 *
 *   LOADING    loader.kind != LOADER_NONE   a child reads the configuration
 *   APPLYING   next_config != NULL          sent to the serving process; reply_deadline_ms runs
 *   STARTING   a process is PROCESS_STARTING, after an upgrade, a reload or a crash
 *
 * change_in_progress() is true in each of them. If a worker process is restarted after a
 * crash while the loader reads, its result is discarded and the change is requested
 * again: retry_pending. command_fd gets its reply at done or failed.
 *
 * A change that fails before STARTING leaves the configuration in force. In STARTING the
 * new configuration is in force already: if the new process ends, the previous process
 * continues with the old configuration, and the next process starts with the new one. */
#ifndef RUN_SUPERVISOR_SUPERVISION_H
#define RUN_SUPERVISOR_SUPERVISION_H

#include "loader.h"
#include "upgradestate.h"

struct supervisor {
	const struct run_options *options;
	struct config *config;            /* in force */
	struct listen_addrs listen_addrs; /* open for `config` */
	int log;              /* access log; -1: none */
	int signals;          /* signalfd */
	struct process processes[PROCESSES_MAX];
	bool was_ready;       /* a worker process has been ready */
	bool draining;        /* told to end */
	int status;           /* exit status while draining: of a worker process that failed */
	uint32_t backoff_ms;  /* before the next restart */
	uint64_t restart_ms;  /* when the worker process is restarted; 0: it is not */
	struct loader loader;
	/* APPLYING: */
	struct config *next_config; /* NULL: no reload is being applied */
	struct listen_addrs next_listen_addrs;
	int next_log;
	uint64_t reply_deadline_ms;
	bool reopening;       /* the change is a reopening of the access log */
	/* Changes requested while another was in progress: */
	bool reload_wanted, upgrade_wanted, reopen_wanted;
	bool retry_pending;   /* the loader's result was discarded; *_wanted is set again */
	/* Addresses that are not in `listen_addrs`, but a worker process still accepts
	 * from. */
	struct listen_addrs old_listen_addrs;
	char serving_version[UPGRADE_VERSION_BYTES]; /* program of the serving process */
	int command_fd;       /* control client that waits for the result; -1: none */
};

/* ---- supervisor.c ----------------------------------------------------------- */

/* A process in this state; NULL: there is none. */
struct process *process_of(struct supervisor *s, enum process_state state);

/* Starts a worker process with the configuration in force. Returns -1 if it failed, and
 * logs the reason; if no process is serving, it is tried again later. */
int start_worker_process(struct supervisor *s);

/* In a child process: closes the descriptors of the supervisor. */
void supervisor_close_fds(void *supervisor);

/* ---- change.c --------------------------------------------------------------- */

/* Opens the access log. Returns its descriptor; -1: the configuration has none; -2: it
 * failed, and the reason is logged. */
int access_log_open(const struct config *config);

/* Closes *fd unless it is -1, and sets it to -1. */
void access_log_close(int *fd);

/* Opens what the configuration in force names and is not open, for example after a failed
 * change. Returns false if something cannot be opened, and logs the reason; the rest
 * stays open. */
bool change_open_configured(struct supervisor *s);

/* After a worker process failed to start: the serving process continues with the
 * addresses that it accepts from; those opened for the new one are closed. */
void change_roll_back(struct supervisor *s);

bool change_in_progress(struct supervisor *s);

/* Start the change now, or when the current one ends. */
void change_reload(struct supervisor *s);
void change_upgrade(struct supervisor *s);

/* Opens the access log again and applies the configuration in force with it; the
 * configuration file is not read. */
void change_reopen_log(struct supervisor *s);

/* Starts the changes that wait, if no change is in progress. */
void change_start_pending(struct supervisor *s);

/* Returns false if the loader has not ended. Otherwise continues the change: applies the
 * configuration, or executes the next program. */
bool change_loader_ended(struct supervisor *s);

/* The loader exceeded its time: kills it; the change failed. */
void change_loader_overdue(struct supervisor *s);

/* The result of the worker process for `next_config`. */
void change_reload_done(struct supervisor *s);
void change_reload_failed(struct supervisor *s, const char *why);

/* The worker process did not reply in time. */
void change_reload_overdue(struct supervisor *s);

/* Closes and frees `next_config` and what was opened for it. Sends no reply. */
void change_reload_discard(struct supervisor *s);

/* Tells the service manager that no change is in progress any more. */
void change_report_ready(struct supervisor *s);

#endif
