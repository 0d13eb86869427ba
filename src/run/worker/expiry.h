/* Says when a certificate of the current configuration version is about to expire: one line on
 * standard error when 14, 7, 3 and 1 days are left, and when it has expired. Thresholds that are a
 * third of its lifetime or more are left out: such certificates are replaced every few days.
 *
 * Owner: the control thread. Limits: EXPIRY_LINES_MAX lines each time. */
#ifndef RUN_WORKER_EXPIRY_H
#define RUN_WORKER_EXPIRY_H

#include "base/names.h"
#include "run/worker/configversion.h"

#define EXPIRY_LINES_MAX 20
#define EXPIRY_INTERVAL_MS 60000

struct expiry {
	struct names told; /* certificates that a line was written of, by digest */
	struct list all;   /* the same */
	uint64_t next_ms;  /* when it looks again */
	const struct config_version *seen; /* looked at last; for comparison only */
};

void expiry_init(struct expiry *e);

/* Often enough for EXPIRY_INTERVAL_MS. `now_ms`: monotonic. */
void expiry_check(struct expiry *e, const struct config_version *current, uint64_t now_ms,
		  uint64_t wall_ms);

void expiry_done(struct expiry *e);

#endif
