/* Compares, for many sets of servers, which server libmemcached and ketama.c choose for keys.
 * Prints the first few differences and one line with the sum; exit status 1 if there is any. */
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>

#include "back/ketama.h"
#include "base/check.h"

#define SERVERS_MAX 100 /* the maximum of libmemcached 1.1.4 */
#define KEYS 5000
#define SHOWN_MAX 10

struct ketama_member {
	char host[64];
	in_port_t port;
	unsigned weight;
};

struct set {
	const char *what;
	unsigned n;
	struct ketama_member servers[SERVERS_MAX];
};

static unsigned long compared, differences;

static void name_of(char *name, size_t size, const struct ketama_member *s)
{
	if (s->port == 11211)
		snprintf(name, size, "%s", s->host);
	else
		snprintf(name, size, "%s:%u", s->host, (unsigned)s->port);
}

static struct ketama *ours(const struct set *set)
{
	static char names[SERVERS_MAX][80];
	struct ketama_server servers[SERVERS_MAX];
	struct ketama *k;

	for (unsigned i = 0; i < set->n; i++) {
		name_of(names[i], sizeof(names[i]), &set->servers[i]);
		servers[i].name = slice_of(names[i]);
		servers[i].weight = set->servers[i].weight;
	}
	k = ketama_new(servers, set->n);
	ASSERT(k);
	return k;
}

static memcached_st *theirs(const struct set *set)
{
	memcached_st *m = memcached_create(NULL);

	ASSERT(m);
	ASSERT(memcached_success(
		memcached_behavior_set(m, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1)));
	for (unsigned i = 0; i < set->n; i++) {
		const struct ketama_member *s = &set->servers[i];

		ASSERT(memcached_success(memcached_server_add_with_weight(
			m, s->host, s->port, s->weight)));
	}
	return m;
}

static void compare_key(const struct set *set, const struct ketama *k, memcached_st *m,
			const char *key, size_t len)
{
	unsigned a = ketama_server(k, (struct slice){ key, len });
	unsigned b = memcached_generate_hash(m, key, len);

	compared++;
	if (a == b)
		return;
	if (differences++ < SHOWN_MAX)
		printf("%s: key %.*s: %u, libmemcached says %u\n", set->what, (int)len,
		       key, a, b);
}

static void compare(const struct set *set)
{
	static const char *const forms[] = { "%u", "session:%u", "user/%08x/profile" };
	struct ketama *k = ours(set);
	memcached_st *m = theirs(set);
	char key[64];

	for (unsigned i = 0; i < KEYS; i++) {
		for (unsigned j = 0; j < COUNT(forms); j++) {
			int len = snprintf(key, sizeof(key), forms[j], i);

			compare_key(set, k, m, key, (size_t)len);
		}
	}
	memcached_free(m);
	ketama_free(k);
}

/* ---- sets of servers -------------------------------------------------------- */

static void add(struct set *set, in_port_t port, unsigned weight, const char *form,
		unsigned number)
{
	struct ketama_member *s = &set->servers[set->n++];

	snprintf(s->host, sizeof(s->host), form, number);
	s->port = port;
	s->weight = weight;
}

static void sets_of_one_weight(void)
{
	static const unsigned counts[] = { 1, 2, 3, 7, 50, SERVERS_MAX };

	for (unsigned i = 0; i < COUNT(counts); i++) {
		struct set ports = { .what = "ports" }, hosts = { .what = "hosts" };

		for (unsigned j = 0; j < counts[i]; j++) {
			add(&ports, (in_port_t)(11211 + j), 1, "127.0.0.1", 0);
			add(&hosts, 11211, 1, "cache%u.example.org", j);
		}
		compare(&ports);
		compare(&hosts);
	}
}

static void sets_of_many_weights(void)
{
	unsigned seed = 1;

	for (unsigned i = 0; i < 40; i++) {
		struct set set = { .what = "weights" };
		unsigned n = 2 + i;

		for (unsigned j = 0; j < n; j++) {
			unsigned weight = 1 +
					  (unsigned)rand_r(&seed) % (i % 2 ? 10 : 1000);

			add(&set, j % 3 ? 11211 : 11300, weight, "node-%u", j);
		}
		compare(&set);
	}
}

int main(void)
{
	sets_of_one_weight();
	sets_of_many_weights();
	printf("ketama: %lu keys compared with libmemcached %s, %lu differences\n",
	       compared, memcached_lib_version(), differences);
	return differences > 0;
}
