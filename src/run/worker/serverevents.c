#include "run/worker/serverevents.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/errorlog.h"

#define WHY_BYTES 128

static void describe_ejection(const struct registry_record *record, char why[WHY_BYTES])
{
	uint64_t n = stat_read(&record->failures_n);
	double seconds = (double)stat_read(&record->eject_ms) / 1000;

	if (stat_read(&record->reason) == REASON_UNREACHED)
		snprintf(why, WHY_BYTES, "cannot be connected to: its keys are misses");
	else if (stat_read(&record->reason) == REASON_RATE)
		snprintf(why, WHY_BYTES,
			 "is ejected for %g s: %" PRIu64
			 "%% of its responses were failures",
			 seconds, n);
	else
		snprintf(why, WHY_BYTES,
			 "is ejected for %g s: %" PRIu64 " consecutive failure%s",
			 seconds, n, n == 1 ? "" : "s");
}

static void write_view(const struct registry *r, const struct registry_entry *entry,
		       unsigned worker, uint64_t server_status)
{
	bool down = server_status == SERVER_STATUS_EJECTED;
	/* If the server is configured by address, name and address are equal. */
	bool both = entry->address[0] && strcmp(entry->name, entry->address) != 0;
	char what[WHY_BYTES] = "is used again";

	if (down)
		describe_ejection(registry_record(r, entry, worker), what);
	errorlog_put(down ? EVENT_SERVER_DOWN : EVENT_SERVER_UP,
		     "upstream %s: server %s%s%s%s %s, worker %u", r->upstream,
		     entry->name, both ? " (" : "", both ? entry->address : "",
		     both ? ")" : "", what, worker);
}

static void write_changes(struct registry *r)
{
	REGISTRY_EACH(r, entry) {
		if (!atomic_load(&entry->published))
			continue;
		for (unsigned w = 0; w < r->worker_n; w++) {
			struct registry_record *record = registry_record(r, entry, w);
			uint64_t server_status = stat_read(&record->status);

			if (!atomic_load(&record->entered) ||
			    server_status == SERVER_STATUS_DOWN ||
			    server_status == record->reported_status)
				continue;
			record->reported_status = server_status;
			write_view(r, entry, w, server_status);
		}
	}
}

void server_events_changed(struct mail *m)
{
	struct registry *r = CONTAINER(m, struct registry, changed);

	atomic_store(&r->changed_posted, false);
	write_changes(r);
}
