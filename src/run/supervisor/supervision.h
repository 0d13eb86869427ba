/* What the supervisor holds, shared by its files:
 *
 *   supervisor.c  the loop: signals, messages, commands, deadlines
 *   replace.c     worker processes: starting, replacing and restarting them
 *   change.c      reload, reopening of the access log, upgrade
 *
 * Which of these may happen now is decided by `lifecycle` (lifecycle.h has the diagram). A
 * change that fails before STARTING leaves the configuration in force. In STARTING the
 * new configuration is in force already: if the new process ends, the previous process
 * continues with the old configuration, and the next process starts with the new one.
 * command_fd gets its reply when the change has ended. */
#ifndef RUN_SUPERVISOR_SUPERVISION_H
#define RUN_SUPERVISOR_SUPERVISION_H

#include "accesslog.h"
#include "lifecycle.h"
#include "loader.h"
#include "upgradestate.h"

struct supervisor {
	const struct run_options *options;
	struct lifecycle lifecycle;
	struct config *config;            /* in force */
	struct listen_addrs listen_addrs; /* open for `config` */
	struct access_logs logs;
	bool error_logs_open; /* those of `config` are in use */
	int signals;          /* signalfd */
	struct process processes[PROCESSES_MAX];
	bool was_ready;       /* a worker process has been ready */
	int status; /* exit status: in DRAINING, of a worker process that failed */
	uint32_t backoff_ms;  /* before the next restart */
	uint64_t
		restart_ms; /* no process serves or starts: when the next one is started; else 0 */
	uint64_t fed_ms;      /* the last notify_alive() of the supervisor itself */
	struct loader loader; /* READING, TRYING; a result may be kept in STARTING */
	/* APPLYING: */
	struct config *next_config; /* NULL: none */
	struct listen_addrs next_listen_addrs;
	struct access_logs next_logs;
	struct error_logs next_error_logs;
	uint64_t reply_deadline_ms;
	enum lifecycle_request change; /* RELOAD, REOPEN or LOOK: what the change is */
	uint64_t
		look_ms; /* when the files of certificates are looked at next; 0: never */
	/* Addresses that are not in `listen_addrs`, but a worker process still accepts
	 * from. */
	struct listen_addrs old_listen_addrs;
	char serving_version[UPGRADE_VERSION_BYTES]; /* program of the serving process */
	int command_fd;       /* control client that waits for the result; -1: none */
};

/* ---- supervisor.c ----------------------------------------------------------- */

/* A process in this state; NULL: there is none. */
struct process *process_of(struct supervisor *s, enum process_state state);

/* Whether there is a worker process, in any state. */
bool supervisor_has_process(const struct supervisor *s);

/* In a child process: closes the descriptors of the supervisor. */
void supervisor_close_fds(void *supervisor);

/* A change, or the start of a process, has ended: lifecycle_rest(). */
void supervisor_rest(struct supervisor *s);

/* ENDED: the supervisor exits with this status after the present event. */
void supervisor_end(struct supervisor *s, int status);

/* ---- replace.c -------------------------------------------------------------- */

/* Starts a worker process with the configuration in force: STARTING. Returns -1 if it
 * failed, and logs the reason; if no process is serving, it is tried again later:
 * PAUSED. */
int replace_start(struct supervisor *s);

/* A message of a worker process is there, or its channel was closed. */
void replace_take_message(struct supervisor *s, struct process *p);

/* The process has ended; `status` is that of waitpid(). */
void replace_ended(struct supervisor *s, struct process *p, int status);

/* ---- change.c --------------------------------------------------------------- */

/* At rest: begins the change. */
void change_begin(struct supervisor *s, enum lifecycle_request request);

/* READING, TRYING, and the loader has ended: applies the configuration, or executes the
 * next program. */
void change_continue(struct supervisor *s);

/* The loader exceeded its time: kills it; the change failed. */
void change_loader_overdue(struct supervisor *s);

/* The worker process did not reply in time. */
void change_reply_overdue(struct supervisor *s);

/* APPLYING: the result of the worker process. */
void change_adopted(struct supervisor *s);

/* A reload or a reopening failed; `why` ends a message of the log. */
void change_failed(struct supervisor *s, const char *why);

/* Told to end: drops the loader, and what was opened for `next_config`. Sends no reply. */
void change_discard(struct supervisor *s);

/* Opens what the configuration in force names and is not open, for example after a failed
 * change. Returns false if something cannot be opened, and logs the reason; the rest
 * stays open. */
bool change_open_configured(struct supervisor *s);

/* After a worker process failed to start: the serving process continues with the
 * addresses that it accepts from; those opened for the new one are closed. */
void change_roll_back(struct supervisor *s);

/* Begins to wait for the next look at the files of certificates. */
void change_look_later(struct supervisor *s);

/* Tells the service manager that no change is in progress any more. */
void change_report_ready(struct supervisor *s);

#endif
