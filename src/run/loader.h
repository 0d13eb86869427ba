/* What a child of the supervisor does, as it may take long, and nobody else must wait for it:
 * names are looked up while a configuration is read. For a reload this program reads it, for an
 * upgrade the next one, which is tried that way. The configuration comes back as a snapshot.
 *
 * One at a time; after LOADER_MS it is killed. */
#ifndef RUN_LOADER_H
#define RUN_LOADER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"

#define LOADER_MS 60000

enum loader_kind { LOADER_NONE, LOADER_READ, LOADER_TRIAL };

struct loader {
	enum loader_kind kind; /* NONE: nobody is on his way */
	pid_t pid;
	int snapshot;
	uint64_t end_ms;
	char how[160]; /* the last one ended: "was killed by …" */
};

/* Forks; `run` is called in the child, and gives its exit status. False: told why. */
bool loader_start(struct loader *loader, enum loader_kind kind,
		  int (*run)(void *owner, int snapshot), void *owner);

/* Whether it has come back. If so it is NONE, and the descriptor of the snapshot, empty if the
 * child has failed, belongs to the caller. */
bool loader_ended(struct loader *loader, enum loader_kind *kind, int *snapshot);

/* It is not wanted any more: killed, and gone when this returns. */
void loader_kill(struct loader *loader);

/* 0, or a negative errno: told why. */
int loader_write_snapshot(int snapshot, const struct config *config);

/* What was kept; closes the descriptor. NULL: nothing, or it cannot be read. */
struct config *loader_read_snapshot(int snapshot);

#endif
