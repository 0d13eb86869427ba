/* What a child of the supervisor does, as it may take long, and nobody else must wait for it:
 * names are looked up while a configuration is read. For a reload this program reads it, for an
 * upgrade the next one, which is tried that way. The configuration comes back as a snapshot.
 *
 * One at a time; after ERRAND_MS it is killed. */
#ifndef RUN_ERRAND_H
#define RUN_ERRAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"

#define ERRAND_MS 60000

enum errand_kind { ERRAND_NONE, ERRAND_READ, ERRAND_TRY };

struct errand {
	enum errand_kind kind; /* NONE: nobody is on his way */
	pid_t pid;
	int snapshot;
	uint64_t end_ms;
	char how[160];         /* the last one ended: "was killed by …" */
};

/* Forks; `run` is called in the child, and gives its exit status. False: told why. */
bool errand_start(struct errand *e, enum errand_kind kind,
		  int (*run)(void *owner, int snapshot), void *owner);

/* Whether it has come back. If so it is NONE, and the descriptor of the snapshot, empty if the
 * child has failed, belongs to the caller. */
bool errand_ended(struct errand *e, enum errand_kind *kind, int *snapshot);

/* It is not wanted any more: killed, and gone when this returns. */
void errand_drop(struct errand *e);

/* 0, or a negative errno: told why. */
int errand_keep(int snapshot, const struct config *config);

/* What was kept; closes the descriptor. NULL: nothing, or it cannot be read. */
struct config *errand_take(int snapshot);

#endif
