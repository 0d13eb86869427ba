/* What goes over from a supervisor to the next: its worker processes and listening sockets, by
 * their descriptors, which stay open across the exec. */
#ifndef RUN_ESTATE_H
#define RUN_ESTATE_H

#include "process.h"

struct estate {
	const char *program;         /* path of the program that was started */
	char **argv;
	struct process *processes;   /* PROCESSES_MAX of them */
	const struct outlets *outlets, *spare;
	int order;                   /* who waits for the outcome; -1: nobody */
};

/* In a child: executes the next program, which reads the configuration and keeps a snapshot.
 * What names stand for in the one of now is left for it. Returns an exit status if that fails. */
int estate_try(const char *program, char **argv, const struct config *config, int snapshot);

/* Becomes it, with the snapshot that it has kept. Returns only if that fails, and then has told
 * why to `errors` as well. */
void estate_pass(const struct estate *e, int snapshot, FILE *errors);

#define ESTATE_VERSION_BYTES 32

/* UPGRADE_NEXT: takes it over. `before`: the version of who has left it, if that says so. False:
 * told why. */
bool estate_take(struct process *processes, struct outlets *outlets, int *order, char *before);

#endif
