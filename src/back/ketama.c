#include "back/ketama.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

/* libmemcached's constants. */
#define POINTS_PER_SERVER 160
#define POINTS_PER_DIGEST 4
#define DIGEST_BYTES 16

struct point {
	uint32_t value;
	uint32_t server;
};

struct ketama {
	EVP_MD *md5;
	EVP_MD_CTX *digest; /* reused for every key */
	unsigned servers;
	size_t points_n;
	struct point *points; /* by value */
};

static void digest(const struct ketama *k, struct slice bytes, unsigned char *out)
{
	ASSERT(EVP_DigestInit_ex(k->digest, k->md5, NULL) == 1);
	ASSERT(EVP_DigestUpdate(k->digest, bytes.ptr, bytes.len) == 1);
	ASSERT(EVP_DigestFinal_ex(k->digest, out, NULL) == 1);
}

/* Each digest holds four points, little end first. */
static uint32_t point_value(const unsigned char *d)
{
	return (uint32_t)d[3] << 24 | (uint32_t)d[2] << 16 | (uint32_t)d[1] << 8 | d[0];
}

/* In single precision and in this order, to round as libmemcached does: one digest more
 * or less would move keys. */
static unsigned digests_of(unsigned weight, uint64_t weights, unsigned n)
{
	float share = (float)weight / (float)weights;

	return (unsigned)(share * POINTS_PER_SERVER / POINTS_PER_DIGEST * (float)n +
			  0.0000000001F);
}

static int point_compare(const void *a, const void *b)
{
	const struct point *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return (x->server > y->server) - (x->server < y->server);
}

static void add_server(struct ketama *k, unsigned server, struct slice name,
		       unsigned digests)
{
	unsigned char d[DIGEST_BYTES];
	char text[320];

	for (unsigned i = 0; i < digests; i++) {
		int len = snprintf(text, sizeof(text), "%.*s-%u", SLICE_ARG(name), i);

		ASSERT(len > 0 && (size_t)len < sizeof(text));
		digest(k, (struct slice){ text, (size_t)len }, d);
		for (unsigned j = 0; j < POINTS_PER_DIGEST; j++)
			k->points[k->points_n++] = (struct point){ point_value(d + 4 * j),
								   server };
	}
}

static bool points_build(struct ketama *k, const struct ketama_server *servers)
{
	uint64_t weights = 0;
	size_t points = 0;

	for (unsigned i = 0; i < k->servers; i++)
		weights += servers[i].weight;
	for (unsigned i = 0; i < k->servers; i++)
		points += POINTS_PER_DIGEST *
			  (size_t)digests_of(servers[i].weight, weights, k->servers);
	k->points = calloc(points, sizeof(*k->points));
	if (!k->points)
		return false;
	for (unsigned i = 0; i < k->servers; i++)
		add_server(k, i, servers[i].name,
			   digests_of(servers[i].weight, weights, k->servers));
	ASSERT(k->points_n == points && points > 0);
	qsort(k->points, k->points_n, sizeof(*k->points), point_compare);
	return true;
}

struct ketama *ketama_new(const struct ketama_server *servers, unsigned n)
{
	struct ketama *k = calloc(1, sizeof(*k));

	ASSERT(n > 0);
	if (!k)
		return NULL;
	k->servers = n;
	k->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
	k->digest = EVP_MD_CTX_new();
	if (k->md5 && k->digest && points_build(k, servers))
		return k;
	ketama_free(k);
	return NULL;
}

void ketama_free(struct ketama *k)
{
	if (!k)
		return;
	free(k->points);
	EVP_MD_CTX_free(k->digest);
	EVP_MD_free(k->md5);
	free(k);
}

unsigned ketama_server(const struct ketama *k, struct slice key)
{
	unsigned char d[DIGEST_BYTES];
	size_t left = 0, right = k->points_n;
	uint32_t value;

	if (k->servers == 1)
		return 0;
	digest(k, key, d);
	value = point_value(d);
	/* The first point at or after the key's value; past the last point the first one. */
	while (left < right) {
		size_t middle = left + (right - left) / 2;

		if (k->points[middle].value < value)
			left = middle + 1;
		else
			right = middle;
	}
	return k->points[left == k->points_n ? 0 : left].server;
}
