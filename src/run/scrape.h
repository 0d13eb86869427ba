/* One reading of all metrics, in portions: whoever reads slowly, or much, costs a bounded time at
 * once and no more memory than what it has not read.
 *
 * Summed over the workers, or with a label `worker` for each of them. All samples of a family
 * stand together. Samples are of the moment they are written; those of one histogram are of the
 * same moment.
 *
 * Owner: the control thread. It holds the config_version in force when it began: that
 * is not freed. */
#ifndef RUN_SCRAPE_H
#define RUN_SCRAPE_H

#include "exposition.h"
#include "run/configversion.h"
#include "run/worker.h"

/* Most bytes of one step: the three states of a server, the buckets of a histogram. */
#define SCRAPE_STEP_BYTES 8192

struct scrape {
	struct config_version *config_version;
	const struct worker *workers;
	unsigned worker_n;
	bool by_worker;
	struct exposition e;
	unsigned family;                /* where it stands: the family, … */
	unsigned upstream, position, worker; /* … and in it, as far as it has these */
	const struct registry_entry
		*entry; /* of a server, unless `row` is 0: the first */
};

void scrape_open(struct scrape *s, struct config_version *config_version,
		 const struct worker *workers, unsigned worker_n, bool by_worker);

/* The next bytes, *n of them (perhaps none); size >= SCRAPE_STEP_BYTES. False: these were the
 * last. */
bool scrape_read(struct scrape *s, char *room, size_t size, size_t *n);

/* At any time. */
void scrape_close(struct scrape *s);

#endif
