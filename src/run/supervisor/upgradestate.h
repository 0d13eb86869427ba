/* The state that a supervisor passes to the next program at an upgrade: its worker
 * processes, its listening sockets and the waiting control client. Descriptors stay open
 * across the exec; the state itself is text in a memfd.
 *
 * Environment variables:
 *   FAIRLEAD_TRIED  trial: version of the format, and descriptor for the snapshot
 *   FAIRLEAD_KNOWN  trial: descriptor of the known addresses (config_write_addresses()); optional
 *   FAIRLEAD_CONTENTS  trial: descriptor of the contents of files
 *                      (config_write_contents()); optional
 *   FAIRLEAD_NEXT   next program: descriptors of the state and of the snapshot */
#ifndef RUN_SUPERVISOR_UPGRADESTATE_H
#define RUN_SUPERVISOR_UPGRADESTATE_H

#include "process.h"

struct upgrade_state {
	const char *program; /* path to execute */
	char **argv;
	struct process *processes; /* PROCESSES_MAX of them */
	const struct listen_addrs *listen_addrs, *old_listen_addrs;
	int command_fd; /* control client that waits for the result; -1: none */
};

/* In a child process: executes the next program as a trial. It reads the configuration
 * and writes a snapshot to the descriptor `snapshot`. Returns an exit status if the exec
 * failed. */
int upgrade_exec_trial(const char *program, char **argv, const struct config *config,
		       int snapshot);

/* Executes the next program in place of this one, with the snapshot of the trial. Returns
 * only if the exec failed; the reason is logged. */
void upgrade_exec(const struct upgrade_state *state, int snapshot);

#define UPGRADE_VERSION_BYTES 32

/* UPGRADE_NEXT: reads the state that the previous program left. `previous_version` gets
 * its version, or is left unchanged. Returns false if the state cannot be read, and logs
 * that. */
bool upgrade_inherit(struct process *processes, struct listen_addrs *listen_addrs,
		     int *command_fd, char *previous_version);

#endif
