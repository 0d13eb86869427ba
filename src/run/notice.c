#include "run/notice.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"

static void write_ejected(const struct roster_cell *cell, FILE *out)
{
	uint64_t n = stat_read(&cell->failures_n);
	double seconds = (double)stat_read(&cell->eject_ms) / 1000;

	if (stat_read(&cell->reason) == REASON_UNREACHED)
		fputs("cannot be connected: its keys are misses", out);
	else if (stat_read(&cell->reason) == REASON_RATE)
		fprintf(out, "is ejected for %g s: %" PRIu64 "%% of its answers were failures",
			seconds, n);
	else
		fprintf(out, "is ejected for %g s: %" PRIu64 " failure%s in a row", seconds, n,
			n == 1 ? "" : "s");
}

static void write_cell(const struct roster *r, const struct roster_row *row, unsigned worker,
		       uint64_t standing, FILE *out)
{
	const struct roster_cell *cell = roster_cell(r, row, worker);

	fprintf(out, "fairlead: upstream %s: server %s", r->upstream, row->name);
	/* An address that was written as such says it all. */
	if (row->address[0] && strcmp(row->name, row->address) != 0)
		fprintf(out, " (%s)", row->address);
	fputc(' ', out);
	if (standing == STANDING_EJECTED)
		write_ejected(cell, out);
	else
		fputs("is asked again", out);
	fprintf(out, ", worker %u\n", worker);
}

void notice_write(struct roster *r, FILE *out)
{
	ROSTER_EACH(r, row) {
		if (!atomic_load(&row->named))
			continue;
		for (unsigned w = 0; w < r->worker_n; w++) {
			struct roster_cell *cell = roster_cell(r, row, w);
			uint64_t standing = stat_read(&cell->standing);

			if (!atomic_load(&cell->entered) || standing == STANDING_DOWN ||
			    standing == cell->noticed)
				continue;
			cell->noticed = standing;
			write_cell(r, row, w, standing, out);
		}
	}
}

void notice_changed(struct message *m)
{
	struct roster *r = CONTAINER(m, struct roster, changed);

	atomic_store(&r->changed_posted, false);
	notice_write(r, stderr);
}
