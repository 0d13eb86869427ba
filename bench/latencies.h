/* Latencies of a measurement, and their percentiles. */
#ifndef BENCH_LATENCIES_H
#define BENCH_LATENCIES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define LATENCIES_MAX (1u << 22)

struct latencies {
	uint32_t n;
	float us[LATENCIES_MAX];
};

/* Beyond LATENCIES_MAX nothing is added. */
static void latencies_add(struct latencies *l, int64_t ns)
{
	if (l->n < LATENCIES_MAX)
		l->us[l->n++] = (float)ns / 1000;
}

static int latencies_order(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double latencies_at(const struct latencies *l, double share)
{
	uint32_t at = (uint32_t)((double)l->n * share);

	return l->n ? (double)l->us[at < l->n ? at : l->n - 1] : 0;
}

/* Sorts them and prints " p50=T p99=T p999=T max=T" in microseconds. */
static void latencies_print(struct latencies *l)
{
	qsort(l->us, l->n, sizeof(*l->us), latencies_order);
	printf(" p50=%.1f p99=%.1f p999=%.1f max=%.1f", latencies_at(l, 0.5),
	       latencies_at(l, 0.99), latencies_at(l, 0.999), latencies_at(l, 1));
}

#endif
