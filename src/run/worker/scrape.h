/* One response of /metrics, produced in chunks: each call does a bounded amount of work,
 * and the memory in use is bounded by what the client has not read.
 *
 * Samples are sums over the workers, or have a label `worker`. All samples of a family
 * are consecutive. A sample has the value of the moment it is written; the samples of one
 * histogram are of the same moment.
 *
 * Owner: the control thread. A scrape keeps the configuration version that was current
 * when it was opened from being freed. */
#ifndef RUN_WORKER_SCRAPE_H
#define RUN_WORKER_SCRAPE_H

#include "exposition.h"
#include "run/worker/configversion.h"
#include "run/worker/worker.h"

/* Most bytes of one step: the three states of a server, or the buckets of a histogram. */
#define SCRAPE_STEP_BYTES 24576

struct scrape_options {
	bool by_worker;
	bool open_metrics;
};

struct scrape {
	struct config_version *config_version;
	const struct worker *workers;
	unsigned worker_n;
	bool by_worker;
	struct exposition e;
	/* The next sample: its family, and its indices within the family as far as it has
	 * them. */
	unsigned family;
	/* upstream: or of a route. position: of a server, or of a monitor's sample */
	unsigned upstream, position, worker;
	unsigned phase; /* enum phase */
	const struct registry_entry *entry;  /* the server, unless `position` is 0: the first */
};

void scrape_open(struct scrape *s, struct config_version *config_version,
		 const struct worker *workers, unsigned worker_n,
		 const struct scrape_options *options);

/* Writes the next *n bytes to `room`, perhaps none; size >= SCRAPE_STEP_BYTES. Returns
 * false when the response is complete. */
bool scrape_read(struct scrape *s, char *room, size_t size, size_t *n);

/* May be called at any time after scrape_open(). */
void scrape_close(struct scrape *s);

#endif
