#include "run/worker/serverevents.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"

static void write_ejected(const struct registry_record *record, FILE *out)
{
	uint64_t n = stat_read(&record->failures_n);
	double seconds = (double)stat_read(&record->eject_ms) / 1000;

	if (stat_read(&record->reason) == REASON_UNREACHED)
		fputs("cannot be connected to: its keys are misses", out);
	else if (stat_read(&record->reason) == REASON_RATE)
		fprintf(out,
			"is ejected for %g s: %" PRIu64
			"%% of its responses were failures",
			seconds, n);
	else
		fprintf(out, "is ejected for %g s: %" PRIu64 " consecutive failure%s",
			seconds, n, n == 1 ? "" : "s");
}

static void write_view(const struct registry *r, const struct registry_entry *entry,
		       unsigned worker, uint64_t server_status, FILE *out)
{
	const struct registry_record *record = registry_record(r, entry, worker);

	fprintf(out, "fairlead: upstream %s: server %s", r->upstream, entry->name);
	/* If the server is configured by address, name and address are equal. */
	if (entry->address[0] && strcmp(entry->name, entry->address) != 0)
		fprintf(out, " (%s)", entry->address);
	fputc(' ', out);
	if (server_status == SERVER_STATUS_EJECTED)
		write_ejected(record, out);
	else
		fputs("is used again", out);
	fprintf(out, ", worker %u\n", worker);
}

void server_events_write(struct registry *r, FILE *out)
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
			write_view(r, entry, w, server_status, out);
		}
	}
}

void server_events_changed(struct mail *m)
{
	struct registry *r = CONTAINER(m, struct registry, changed);

	atomic_store(&r->changed_posted, false);
	server_events_write(r, stderr);
}
