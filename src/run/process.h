/* The worker processes of a supervisor: mostly one; while one takes the place of another, two or
 * more.
 *
 *   STARTING ─ ready ─▶ SERVING ─ another is ready ─▶ RETIRING ─▶ (ended)
 *
 * Two socketpairs lead to each: one for words, whose end is the command to drain, so that no worker
 * outlives its supervisor, and one for what is handed over (run/handover.h). */
#ifndef RUN_PROCESS_H
#define RUN_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "listenaddr.h"
#include "run/supervisor.h"

#define PROCESSES_MAX 8

enum process_state { PROCESS_NONE, PROCESS_STARTING, PROCESS_SERVING, PROCESS_DRAINING };

struct process {
	enum process_state state;
	pid_t pid;
	int channel, setup_channel;
	uint64_t started_ms;
	bool foreign;               /* another program has started it */
	enum io_engine_kind engine; /* once it is ready; AUTO: not known */
};

/* What is handed over. */
struct worker_setup {
	const struct run_options *options;
	enum io_engine_kind engine; /* instead of that of the options */
	struct config *config;
	const struct listen_addrs *listen_addrs;
	const struct listen_addrs
		*current_listen_addrs; /* of which it has these already; NULL: none */
	int log;                /* -1: no access log */
	int current_log;        /* that it has already, of the same format; -1: none */
};

/* Forks; in the child `closed` is called first, to close what it must not have. -1: told why. */
int process_start(struct process *p, const struct worker_setup *setup,
		  void (*closed)(void *owner), void *owner);

/* To one that runs: another configuration. 0, or a negative errno: it was given up. */
int process_send_config(struct process *p, const struct worker_setup *setup);

/* Nothing can be handed to it any more: `setup_channel` is -1. */
void process_close_setup(struct process *p);

/* Not heard: then it has ended. */
void process_send(struct process *p, char message);

/* It has ended. */
void process_close(struct process *p);

/* "was killed by …" */
void process_describe_end(int status, char *text, size_t size);

uint64_t process_now_ms(void);

#endif
