/* The lookouts of all configurations that somebody still reads, and the thread that asks
 * nameservers for them: that of the one in force tells, the others come to their end.
 *
 * An edition is freed here, when no worker has anything of it, nobody reads its metrics and its
 * lookout is idle.
 *
 * Owner: the control thread. */
#ifndef RUN_LOOKOUTS_H
#define RUN_LOOKOUTS_H

#include "run/edition.h"
#include "run/lookout.h"

struct lookouts {
	struct tick *tick;
	struct editions *editions;
	struct quota *descriptors;
	struct worker *workers;
	unsigned worker_n;
	struct dns_thread *dns; /* NULL: names are not resolved again */
};

/* The fields above `dns` are filled in. Before the sandbox is closed: makes a thread, and reads
 * what the system says of its nameservers. Returns 0 or a negative errno. */
int lookouts_open(struct lookouts *l);

/* Another edition is in force; all workers have it. Without memory it goes without, and says
 * so. */
void lookouts_change(struct lookouts *l);

/* Frees the editions that have ended. */
void lookouts_sweep(struct lookouts *l);

/* Nothing more is told. */
void lookouts_stop(struct lookouts *l);

/* The workers are gone. Lookouts and thread are freed, editions are not. */
void lookouts_done(struct lookouts *l);

#endif
