/* What supervisor.c (worker processes, signals, words) and change.c (reload, upgrade) share. */
#ifndef RUN_SUPERVISION_H
#define RUN_SUPERVISION_H

#include "loader.h"
#include "upgradestate.h"

struct supervisor {
	const struct run_options *options;
	struct config *config;
	struct listen_addrs listen_addrs;
	int log;              /* -1: none */
	int signals;
	struct process processes[PROCESSES_MAX];
	bool was_ready;       /* ever */
	bool draining;
	int status;           /* of the worst worker process, as they end */
	uint32_t backoff_ms;
	uint64_t restart_ms;  /* 0: not waiting to restart */
	struct loader loader; /* of a reload or an upgrade: reads the configuration */
	/* A reload that the worker process has not answered yet. */
	struct config *next_config; /* NULL: none */
	struct listen_addrs next_listen_addrs;
	int next_log;
	uint64_t reply_deadline_ms; /* until when */
	bool reopening;       /* it is the configuration in force, for its log */
	bool reload_wanted, upgrade_wanted, reopen_wanted; /* asked for while something was under
							      way */
	bool retry_pending; /* what was read was not used: it is read again */
	struct listen_addrs
		old_listen_addrs; /* what only the worker process of before serves; none of these is
				 in `listen_addrs` */
	char serving_version
		[UPGRADE_VERSION_BYTES]; /* version of the worker process that serves */
	int command_fd; /* who waits for the outcome of what is under way; -1: nobody */
};

/* ---- supervisor.c ----------------------------------------------------------- */

/* One in this state; NULL: there is none. */
struct process *process_of(struct supervisor *s, enum process_state state);

/* With what is in force. -1: told why; if none serves it is tried again later. */
int start_worker_process(struct supervisor *s);

/* In a child: closes what belongs to the supervisor alone. */
void supervisor_close_fds(void *supervisor);

/* ---- change.c --------------------------------------------------------------- */

/* -1: none is wanted. -2: told why. */
int access_log_open(const struct config *config);
void access_log_close(int *fd);

/* Opens what the configuration in force names and is not open, as after a change that came to
 * nothing. False: told why; what is there stays. */
bool change_open_configured(struct supervisor *s);

/* The worker process that serves goes on, with what it serves. */
void change_roll_back(struct supervisor *s);

/* One thing after the other: something is under way. */
bool change_in_progress(struct supervisor *s);

/* Begun at once, or when that is over. */
void change_reload(struct supervisor *s);
void change_upgrade(struct supervisor *s);

/* Likewise: the configuration in force once more, without a look at its file, so that its access
 * log is opened anew. */
void change_reopen_log(struct supervisor *s);

/* What was put off, if nothing is under way any more. */
void change_start_pending(struct supervisor *s);

/* Whether the configuration has been read; if so it goes on, or becomes another program. */
bool change_loader_ended(struct supervisor *s);

/* It takes too long to read it. */
void change_loader_overdue(struct supervisor *s);

/* The worker process has answered a reload, or will not. */
void change_reload_done(struct supervisor *s);
void change_reload_failed(struct supervisor *s, const char *why);
void change_reload_overdue(struct supervisor *s);

/* Forgets it without a word. */
void change_reload_discard(struct supervisor *s);

/* To the service manager: all that was asked for has been done. */
void change_report_ready(struct supervisor *s);

#endif
