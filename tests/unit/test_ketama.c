/* The values in these tables are those of libmemcached 1.1.4 with
 * MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED; tests/real/ketama.sh compares with it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "back/ketama.h"
#include "base/check.h"

static const char *const keys[] = {
	"foo",        "bar",       "a",         "session:1", "session:2",   "session:3",
	"session:42", "user:1001", "user:1002", "user:1003", "/index.html", "\xc3\xa4",
	"k1",         "k2",        "k3",        "k4",        "k5",          "k6",
	"k7",         "k8",        "k9",        "k10",       "k11",         "k12",
};

#define SERVERS_MAX 5
#define KEYS_MANY 10000

static const struct {
	struct ketama_server servers[SERVERS_MAX];
	unsigned n;
	uint8_t placed[COUNT(keys)];
	uint32_t many; /* of key:0 ... key:9999: sum = sum * 31 + server */
} sets
	[] = {
		{
			{ { SLICE("127.0.0.1"), 1 },
			  { SLICE("127.0.0.1:11212"), 1 },
			  { SLICE("127.0.0.1:11213"), 1 } },
			3,
			{ 0, 1, 1, 1, 1, 1, 2, 2, 0, 1, 2, 2,
			  0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0 },
			3335035145u,
		},
		{
			{ { SLICE("10.0.1.1"), 600 },
			  { SLICE("10.0.1.2"), 300 },
			  { SLICE("10.0.1.3"), 200 },
			  { SLICE("10.0.1.4"), 350 },
			  { SLICE("10.0.1.5"), 1000 } },
			5,
			{ 4, 4, 4, 0, 1, 4, 0, 4, 3, 0, 3, 3,
			  3, 2, 3, 2, 0, 4, 4, 4, 4, 3, 0, 4 },
			2419428515u,
		},
		{
			{ { SLICE("a"), 1 },
			  { SLICE("b"), 3 },
			  { SLICE("cache.example.org:11300"), 2 },
			  { SLICE("d"), 40 } },
			4,
			{ 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
			  3, 3, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3 },
			809758678u,
		},
		{
			{ { SLICE("left"), 7 }, { SLICE("right"), 3 } },
			2,
			{ 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0,
			  0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0 },
			991099232u,
		},
	};

static void keys_are_where_libmemcached_puts_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sets); i++) {
		struct ketama *k = ketama_new(sets[i].servers, sets[i].n);

		assert_non_null(k);
		for (size_t j = 0; j < COUNT(keys); j++) {
			if (ketama_server(k, slice_of(keys[j])) != sets[i].placed[j])
				fail_msg("set %zu, key %s", i, keys[j]);
		}
		ketama_free(k);
	}
}

static void many_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sets); i++) {
		struct ketama *k = ketama_new(sets[i].servers, sets[i].n);
		uint32_t sum = 0;
		char key[32];

		assert_non_null(k);
		for (unsigned j = 0; j < KEYS_MANY; j++) {
			int len = snprintf(key, sizeof(key), "key:%u", j);

			sum = sum * 31 +
			      ketama_server(k, (struct slice){ key, (size_t)len });
		}
		assert_int_equal(sum, sets[i].many);
		ketama_free(k);
	}
}

static void one_server_gets_all(void **state)
{
	struct ketama_server only = { SLICE("127.0.0.1:11212"), 3 };
	struct ketama *k = ketama_new(&only, 1);

	(void)state;
	assert_non_null(k);
	for (size_t j = 0; j < COUNT(keys); j++)
		assert_int_equal(ketama_server(k, slice_of(keys[j])), 0);
	ketama_free(k);
}

/* A weight that rounds to no point gets no key. */
static void very_small_weight(void **state)
{
	struct ketama_server servers[] = { { SLICE("small"), 1 },
					   { SLICE("large"), 1000 } };
	struct ketama *k = ketama_new(servers, COUNT(servers));

	(void)state;
	assert_non_null(k);
	for (size_t j = 0; j < COUNT(keys); j++)
		assert_int_equal(ketama_server(k, slice_of(keys[j])), 1);
	ketama_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_where_libmemcached_puts_them),
		cmocka_unit_test(many_keys),
		cmocka_unit_test(one_server_gets_all),
		cmocka_unit_test(very_small_weight),
	};

	return cmocka_run_group_tests_name("ketama", tests, NULL, NULL);
}
