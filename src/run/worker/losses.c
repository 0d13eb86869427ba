#include "losses.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/errorlog.h"

void losses_report(struct log_losses *l, uint64_t now_ms)
{
	uint64_t lost = 0, error = 0, n;

	for (unsigned i = 0; i < l->worker_n; i++) {
		const struct worker_stats *s = &l->workers[i].stats;

		lost += stat_read(&s->log_lines_dropped);
		if (error == 0)
			error = stat_read(&s->log_error);
	}
	n = lost - l->reported_n;
	if (n == 0)
		return;
	l->reported_n = lost;
	l->next_ms = now_ms + LOSSES_PAUSE_MS;
	errorlog_put(EVENT_LINES_LOST, "%" PRIu64 " line%s of the access log lost: %s", n,
		     n == 1 ? "" : "s",
		     error == 0 ? "they are produced faster than they are written"
				: strerror((int)error));
}

void losses_check(struct log_losses *l, uint64_t now_ms)
{
	if (now_ms >= l->next_ms)
		losses_report(l, now_ms);
}

bool losses_daemon_gone(struct log_losses *l)
{
	uint64_t n = 0, before = l->refused_n;

	for (unsigned i = 0; i < l->worker_n; i++)
		n += stat_read(&l->workers[i].stats.log_refusals);
	l->refused_n = n;
	return n > before;
}
