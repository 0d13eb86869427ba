#include "hashring.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

/* Points of a server of weight 1, as long as the average weight is WEIGHT_MAX at most. */
#define POINTS 16
#define WEIGHT_MAX 4

/* Positions of a key. */
#define PROBES 8

/* Unusable points that follow a position and are passed over. */
#define STEPS_MAX 16

/* A point with less than a whole share is there for that share of the keys only: so a server
 * has a fraction of a point. */
#define WHOLE 0xffff

struct ring_point {
	uint32_t position;
	uint16_t server;
	uint16_t share;
};

struct hashring {
	uint32_t point_n;
	unsigned shift;   /* a position's bucket is position >> shift */
	uint32_t *bucket; /* the index of the first point in this bucket, or after it */
	struct ring_point *points;             /* by position */
	const struct hashring_server *servers; /* while it is built */
	double points_per_weight;
};

/* ---- building: the points are sorted by bucket, then within each bucket ---------------- */

static uint64_t weight_sum(const struct hashring_server *servers, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += servers[i].weight;
	return sum;
}

static void set_unit(struct hashring *r, unsigned n)
{
	double mean = (double)weight_sum(r->servers, n) / n;

	r->points_per_weight = mean <= WEIGHT_MAX ? POINTS : POINTS * WEIGHT_MAX / mean;
}

/* Points of the server, the fraction included. */
static double points_of(const struct hashring *r, unsigned server)
{
	return r->servers[server].weight * r->points_per_weight;
}

static uint32_t point_count(const struct hashring *r, unsigned server)
{
	double points = points_of(r, server);
	uint32_t whole = (uint32_t)points;

	return points > whole ? whole + 1 : whole;
}

static struct ring_point point_make(const struct hashring *r, unsigned server, uint32_t i)
{
	double left = points_of(r, server) - i;

	return (struct ring_point){
		.position = (uint32_t)(hash_mix(r->servers[server].hash + i) >> 32),
		.server = (uint16_t)server,
		.share = left >= 1 ? WHOLE : (uint16_t)(left * WHOLE),
	};
}

static bool point_before(const struct hashring *r, struct ring_point a,
			 struct ring_point b)
{
	if (a.position != b.position)
		return a.position < b.position;
	return r->servers[a.server].hash < r->servers[b.server].hash;
}

/* Puts a point behind those that its bucket has: next[bucket] is where they end. */
static void bucket_put(struct hashring *r, uint32_t *next, struct ring_point p)
{
	uint32_t bucket = p.position >> r->shift, at = next[bucket]++;

	for (; at > r->bucket[bucket] && point_before(r, p, r->points[at - 1]); at--)
		r->points[at] = r->points[at - 1];
	r->points[at] = p;
}

/* bucket[i]: how many points are in the buckets before it. */
static void buckets_size(struct hashring *r, unsigned n)
{
	uint32_t buckets = (uint32_t)(1ull << (32 - r->shift));

	for (unsigned i = 0; i < n; i++)
		for (uint32_t j = 0; j < point_count(r, i); j++)
			r->bucket[(point_make(r, i, j).position >> r->shift) + 1]++;
	for (uint32_t i = 0; i < buckets; i++)
		r->bucket[i + 1] += r->bucket[i];
}

static bool points_build(struct hashring *r, unsigned n)
{
	uint32_t buckets, *next;

	for (unsigned i = 0; i < n; i++)
		r->point_n += point_count(r, i);
	ASSERT(r->point_n > 0);
	for (r->shift = 31; r->shift > 0 && r->point_n >> (32 - r->shift) > 1;)
		r->shift--;
	buckets = (uint32_t)(1ull << (32 - r->shift));
	r->bucket = calloc(buckets + 1, sizeof(r->bucket[0]));
	r->points = malloc(r->point_n * sizeof(r->points[0]));
	next = malloc(buckets * sizeof(next[0]));
	if (!r->bucket || !r->points || !next) {
		free(next);
		return false;
	}
	buckets_size(r, n);
	for (uint32_t i = 0; i < buckets; i++)
		next[i] = r->bucket[i];
	for (unsigned i = 0; i < n; i++)
		for (uint32_t j = 0; j < point_count(r, i); j++)
			bucket_put(r, next, point_make(r, i, j));
	free(next);
	return true;
}

struct hashring *hashring_new(const struct hashring_server *servers, unsigned n)
{
	struct hashring *r = calloc(1, sizeof(*r));

	ASSERT(n > 0 && n <= UINT16_MAX);
	if (!r)
		return NULL;
	r->servers = servers;
	set_unit(r, n);
	if (!points_build(r, n)) {
		hashring_free(r);
		return NULL;
	}
	r->servers = NULL;
	return r;
}

void hashring_free(struct hashring *r)
{
	if (!r)
		return;
	free(r->bucket);
	free(r->points);
	free(r);
}

/* ---- a key ------------------------------------------------------------------------------ */

/* The index of the first point at this position or after it. */
static uint32_t first_point(const struct hashring *r, uint32_t position)
{
	uint32_t i = r->bucket[position >> r->shift];

	while (i < r->point_n && r->points[i].position < position)
		i++;
	return i < r->point_n ? i : 0;
}

/* Whether a point with less than a whole share is there for this key. */
static bool has_key(struct ring_point p, uint64_t key)
{
	return p.share == WHOLE || (hash_mix(key ^ p.position) & WHOLE) < p.share;
}

/* The search for the server of a key. */
struct search {
	uint64_t key;
	bool (*usable)(void *owner, uint32_t server);
	void *owner;
	uint64_t least; /* distance of the nearest usable point so far */
	uint32_t server;
};

/* Follows the points after a position up to the first usable one, or until they are no
 * nearer than one that was found: so most points are passed over without a question. */
static void probe(const struct hashring *r, struct search *search, uint32_t position)
{
	uint32_t at = first_point(r, position);

	for (unsigned steps = 0; steps < STEPS_MAX; steps++) {
		struct ring_point p = r->points[at];
		uint32_t distance = p.position - position;

		if (distance >= search->least)
			return;
		if (has_key(p, search->key) && search->usable(search->owner, p.server)) {
			search->least = distance;
			search->server = p.server;
			return;
		}
		at = at + 1 < r->point_n ? at + 1 : 0;
	}
}

uint32_t hashring_find(const struct hashring *r, uint64_t key,
		       bool (*usable)(void *owner, uint32_t server), void *owner)
{
	struct search search = { key, usable, owner, UINT64_MAX, HASHRING_FAR };
	uint64_t seed = hash_mix(key);

	for (unsigned i = 0; i < PROBES; i++)
		probe(r, &search, (uint32_t)(hash_mix(seed + i) >> 32));
	return search.server;
}
