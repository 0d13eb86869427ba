/* What goes over from a supervisor to the next: its worker processes and listening sockets, by
 * their descriptors, which stay open across the exec. */
#ifndef RUN_UPGRADESTATE_H
#define RUN_UPGRADESTATE_H

#include "process.h"

struct upgrade_state {
	const char *program; /* path of the program that was started */
	char **argv;
	struct process *processes; /* PROCESSES_MAX of them */
	const struct listen_addrs *listen_addrs, *old_listen_addrs;
	int command_fd; /* who waits for the outcome; -1: nobody */
};

/* In a child: executes the next program, which reads the configuration and keeps a snapshot.
 * What names stand for in the one of now is left for it. Returns an exit status if that fails. */
int upgrade_exec_trial(const char *program, char **argv, const struct config *config,
		       int snapshot);

/* Becomes it, with the snapshot that it has kept. Returns only if that fails, and then has told
 * why to `errors` as well. */
void upgrade_exec(const struct upgrade_state *state, int snapshot, FILE *errors);

#define UPGRADE_VERSION_BYTES 32

/* UPGRADE_NEXT: takes it over. `before`: the version of who has left it, if that says so. False:
 * told why. */
bool upgrade_inherit(struct process *processes, struct listen_addrs *listen_addrs,
		     int *command_fd, char *previous_version);

#endif
