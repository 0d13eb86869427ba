/* The configuration loader: a child process of the supervisor which reads the
 * configuration and returns it as a snapshot. The supervisor does not read it itself,
 * because looking up names may take long. For a reload the child runs this program, for
 * an upgrade it executes the next program as a trial. A child also looks at the files of
 * certificates (certificates.watch): they may be on a file system that does not respond, and their
 * private keys are checked.
 *
 * One child at a time. The supervisor kills it after LOADER_MS. */
#ifndef RUN_SUPERVISOR_LOADER_H
#define RUN_SUPERVISOR_LOADER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"

#define LOADER_MS 60000

enum loader_kind { LOADER_NONE, LOADER_READ, LOADER_LOOK, LOADER_TRIAL };

struct loader {
	enum loader_kind kind; /* NONE: no child is running, and no result is kept */
	bool ended;            /* its child has ended: loader_take() returns the result */
	pid_t pid;             /* of the child, unless it has ended */
	int snapshot;          /* memfd that the child writes to */
	uint64_t end_ms;       /* when it is overdue */
	char how[160];         /* how the last child ended: "was killed by …" */
};

/* Forks. The child calls `run` and exits with the status that it returns. Returns false
 * if there is no child, and logs the reason. */
bool loader_start(struct loader *loader, enum loader_kind kind,
		  int (*run)(void *owner, int snapshot), void *owner);

/* Whether the child is running. */
bool loader_runs(const struct loader *loader);

/* Sets `ended` if the child has ended, and logs how if it was killed. */
void loader_reap(struct loader *loader);

/* `ended`: returns the descriptor of the snapshot, which is empty if the child failed; the
 * caller owns it. The loader is NONE. */
int loader_take(struct loader *loader);

/* Kills the child, if there is one, and waits for its end; drops a kept result. */
void loader_kill(struct loader *loader);

/* In the child. Returns 0 or a negative errno, and logs the reason. */
int loader_write_snapshot(int snapshot, const struct config *config);

/* Reads the configuration from a snapshot; closes the descriptor. NULL: the snapshot is
 * empty or cannot be read; the reason is logged. */
struct config *loader_read_snapshot(int snapshot);

#endif
