#include "config/nearest.h"

#define WORD_MAX 64
#define DISTANCE_MAX 2

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Optimal string alignment distance of words up to WORD_MAX. Stops, with any result above
 * DISTANCE_MAX, once the distance must exceed that. */
static unsigned distance(struct slice a, struct slice b)
{
	unsigned rows[3][WORD_MAX + 1];

	for (unsigned j = 0; j <= b.len; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a.len; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *above = rows[(i + 2) % 3], *above_two = rows[(i + 1) % 3];
		unsigned lowest = i;

		row[0] = i;
		for (unsigned j = 1; j <= b.len; j++) {
			bool same = a.ptr[i - 1] == b.ptr[j - 1];

			row[j] = least(above[j - 1] + !same,
				       least(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] &&
			    a.ptr[i - 2] == b.ptr[j - 1])
				row[j] = least(row[j], above_two[j - 2] + 1);
			lowest = least(lowest, row[j]);
		}
		if (lowest > DISTANCE_MAX)
			return lowest;
	}
	return rows[a.len % 3][b.len];
}

void nearest_offer(struct nearest *n, struct slice candidate)
{
	size_t shorter = n->word.len < candidate.len ? n->word.len : candidate.len;
	bool begins = shorter >= 2 && (slice_starts(n->word, candidate) ||
				       slice_starts(candidate, n->word));
	unsigned d;

	if (n->word.len > WORD_MAX || candidate.len > WORD_MAX || shorter == 0)
		return;
	d = distance(n->word, candidate);
	if (d > (shorter <= 3 ? 1 : DISTANCE_MAX)) {
		if (!begins)
			return;
		d = DISTANCE_MAX + 1; /* a prefix counts less than a small distance */
	}
	if (n->best.len == 0 || d < n->distance) {
		n->best = candidate;
		n->distance = d;
	}
}
