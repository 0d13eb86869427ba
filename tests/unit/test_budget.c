#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/proxy/budget.h"
#include "base/check.h"

static unsigned spend_all(struct budget *b, const struct config_budget *share, uint64_t now_ms)
{
	unsigned n = 0;

	while (budget_spend(b, share, now_ms))
		assert_true(++n < 100000);
	return n;
}

static void earn(struct budget *b, const struct config_budget *share, unsigned n, uint64_t now_ms)
{
	while (n-- > 0)
		budget_earn(b, share, now_ms);
}

static const struct row {
	struct config_budget share;
	unsigned requests;
	unsigned first, next; /* allowed in that second, and in the one after it */
} rows[] = {
	{ { 20, 0 }, 0, 0, 0 },	    { { 20, 0 }, 4, 0, 0 },	{ { 20, 0 }, 5, 1, 0 },
	{ { 20, 0 }, 1000, 200, 0 }, { { 0, 3 }, 1000, 3, 3 },	{ { 20, 10 }, 0, 10, 10 },
	{ { 20, 10 }, 30, 10, 10 },  { { 20, 10 }, 100, 20, 10 }, { { 100, 0 }, 7, 7, 0 },
};

static void test_shares(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct budget b = { 0 };

		earn(&b, &rows[i].share, rows[i].requests, 5000);
		assert_int_equal(spend_all(&b, &rows[i].share, 5999), rows[i].first);
		assert_int_equal(spend_all(&b, &rows[i].share, 6000), rows[i].next);
	}
}

/* What was earned and what was spent counts for ten seconds. */
static void test_window(void **state)
{
	static const struct config_budget share = { 10, 0 };

	(void)state;
	for (uint64_t later_s = 0; later_s < 25; later_s++) {
		struct budget b = { 0 };

		earn(&b, &share, 100, 1000);
		assert_int_equal(spend_all(&b, &share, 1000 + later_s * 1000),
				 later_s < BUDGET_SECONDS ? 10 : 0);
		earn(&b, &share, 100, 1000 + later_s * 1000);
		assert_int_equal(spend_all(&b, &share, 1000 + later_s * 1000), 10);
	}
}

/* With random times, the result is that of a model that keeps all counts: no ten seconds have more
 * than their percentage, and nothing within it is refused. */
static void test_model(void **state)
{
	static uint32_t requests[400], spent[400];
	static const struct config_budget share = { 25, 2 };

	(void)state;
	for (unsigned seed = 1; seed <= 50; seed++) {
		struct budget b = { 0 };
		uint64_t now_ms = 100000;

		memset(requests, 0, sizeof(requests));
		memset(spent, 0, sizeof(spent));
		srand(seed);
		for (unsigned i = 0; i < 3000; i++) {
			uint64_t requests_sum = 0, spent_sum = 0, s;
			bool allowed;

			now_ms += (uint64_t)rand() % (rand() % 50 == 0 ? 5000 : 60);
			s = now_ms / 1000 - 100;
			if (s >= COUNT(requests))
				break;
			if (rand() % 3 > 0) {
				requests[s]++;
				budget_earn(&b, &share, now_ms);
				continue;
			}
			for (uint64_t k = s < 9 ? 0 : s - 9; k <= s; k++) {
				requests_sum += requests[k];
				spent_sum += spent[k];
			}
			allowed = spent[s] < share.per_second ||
				  (spent_sum + 1) * 100 <= requests_sum * share.percent;
			assert_int_equal(budget_spend(&b, &share, now_ms), allowed);
			spent[s] += allowed;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
