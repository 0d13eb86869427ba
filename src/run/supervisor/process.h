/* The worker processes of a supervisor. Usually one; two or more while one replaces
 * another.
 *
 *   STARTING ─ ready ─▶ SERVING ─ a newer process is ready ─▶ DRAINING ─▶ (ended)
 *
 * At most one process is STARTING and one SERVING (processes_check()). Two socketpairs lead
 * to each process: the channel for one-byte messages, whose end means "drain", and the setup
 * channel (run/handover.h). */
#ifndef RUN_SUPERVISOR_PROCESS_H
#define RUN_SUPERVISOR_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "listenaddr.h"
#include "accesslog.h"
#include "run/options.h"

#define PROCESSES_MAX 8

enum process_state { PROCESS_NONE, PROCESS_STARTING, PROCESS_SERVING, PROCESS_DRAINING };

struct process {
	enum process_state state;
	pid_t pid;
	int channel, setup_channel; /* -1: closed */
	uint64_t started_ms;
	bool foreign;               /* started by the program before an upgrade */
	bool alive; /* has sent CHANNEL_ALIVE, and so does from now on */
	bool tls; /* its threads are prepared for TLS: the configuration it began with uses it */
	bool rule_threads; /* likewise of rules: config_has_threads() */
	enum io_engine_kind engine; /* set when ready; AUTO: not known */
};

/* What a worker process is sent. */
struct worker_setup {
	const struct run_options *options;
	enum io_engine_kind engine; /* overrides that of `options` */
	struct config *config;
	const struct listen_addrs *listen_addrs;
	/* Addresses that the process has already: their listeners are kept. NULL:
	 * none. */
	const struct listen_addrs *current_listen_addrs;
	const struct access_logs *logs;
	/* Those that it has already, and their configuration. NULL: none. */
	const struct access_logs *current_logs;
	const struct config *current_config;
	/* Of a reload: its error log. NULL: the process inherits that of the supervisor. */
	const struct error_logs *error_logs;
};

/* Forks and sends the setup; the process becomes STARTING. The child first calls
 * `closed`, which closes descriptors it must not inherit. Returns -1 if it failed, and
 * logs the reason. */
int process_start(struct process *p, const struct worker_setup *setup,
		  void (*closed)(void *owner), void *owner);

/* Sends a new configuration to a serving process. Returns 0, or a negative errno; then
 * the setup channel is closed. */
int process_send_config(struct process *p, const struct worker_setup *setup);

/* Closes the setup channel: the process can be sent no further configuration. */
void process_close_setup(struct process *p);

/* Sends a one-byte message. Errors are ignored: SIGCHLD reports the end of the
 * process. */
void process_send(struct process *p, char message);

/* After the process has ended: closes its channels; PROCESS_NONE. */
void process_close(struct process *p);

/* Asserts what always holds of PROCESSES_MAX processes. */
void processes_check(const struct process *processes);

/* Writes "was killed by …" or "ended with status …"; `status` is that of waitpid(). */
void process_describe_end(int status, char *text, size_t size);

uint64_t process_now_ms(void); /* CLOCK_MONOTONIC */

#endif
