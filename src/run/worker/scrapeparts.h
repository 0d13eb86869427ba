/* What the files of a scrape share: how a family is written, in steps.
 *
 *   scrape.c           the table of all families; workers, their loops, the process
 *   scrapeupstreams.c  upstreams and servers
 *   scrapephases.c     times by phase of routes, upstreams and servers
 *   scrapetls.c        TLS and certificates
 *
 * Owner: scrape.c. Limits: a step writes SCRAPE_STEP_BYTES at most. Errors: none. */
#ifndef RUN_WORKER_SCRAPEPARTS_H
#define RUN_WORKER_SCRAPEPARTS_H

#include "scrape.h"

struct metric_family {
	const char *prefix, *name, *kind, *help;
	/* Writes some samples and advances. False: the family is complete. */
	bool (*step)(struct scrape *s, const struct metric_family *f);
	size_t offset; /* of the counter in its struct; some steps use it otherwise */
};

/* A sample sums the workers from first to end - 1: one, or all. */
unsigned scrape_first_worker(const struct scrape *s);
unsigned scrape_end_worker(const struct scrape *s);

/* False: all workers have their samples; begins again with the first. */
bool scrape_next_worker(struct scrape *s);

/* Begins a sample, with its label `worker` if samples have one. */
void scrape_begin(struct scrape *s, const char *suffix);

/* A counter of a struct, by its offset. */
uint64_t scrape_counter_at(const void *base, size_t offset);

void scrape_add_histogram(struct histogram *sum, const struct histogram *h);

/* All samples of a histogram; `put_labels` adds labels to each. */
void scrape_put_histogram(struct scrape *s, const struct histogram *h,
			  void (*put_labels)(struct scrape *s));

/* ---- scrapeupstreams.c; `offset`: in struct upstream_stats, or struct registry_record */
bool scrape_step_upstream(struct scrape *s, const struct metric_family *f);
bool scrape_step_latency(struct scrape *s, const struct metric_family *f);
bool scrape_step_server(struct scrape *s, const struct metric_family *f);
bool scrape_step_server_drained(struct scrape *s, const struct metric_family *f);
bool scrape_step_server_weight(struct scrape *s, const struct metric_family *f);
bool scrape_step_server_state(struct scrape *s, const struct metric_family *f);

/* The server at s->upstream and s->position; NULL: the upstream has no more, or there is none. */
const struct registry_entry *scrape_entry(const struct scrape *s);

/* The next server, whatever the worker, or the first of the next upstream. False: there is none. */
bool scrape_next_entry(struct scrape *s);

/* ---- scrapephases.c */
bool scrape_step_route_phases(struct scrape *s, const struct metric_family *f);
bool scrape_step_upstream_phases(struct scrape *s, const struct metric_family *f);
bool scrape_step_server_phases(struct scrape *s, const struct metric_family *f);
bool scrape_step_sharing(struct scrape *s, const struct metric_family *f);

/* ---- scrapetls.c; `offset`: in struct tls_stats, or struct tls_counts */
bool scrape_step_tls(struct scrape *s, const struct metric_family *f);
bool scrape_step_handshakes(struct scrape *s, const struct metric_family *f);
bool scrape_step_handshake_seconds(struct scrape *s, const struct metric_family *f);
bool scrape_step_tickets(struct scrape *s, const struct metric_family *f);
bool scrape_step_tls_failures(struct scrape *s, const struct metric_family *f);
bool scrape_step_tls_counts(struct scrape *s, const struct metric_family *f);
bool scrape_step_library_bytes(struct scrape *s, const struct metric_family *f);
bool scrape_step_refused(struct scrape *s, const struct metric_family *f);
bool scrape_step_expiry(struct scrape *s, const struct metric_family *f);

#endif
