/* Limits the extra requests (retries or hedges) that one worker sends to an upstream.
 *
 * If all requests fail, the load on the upstream grows by this budget and not by the number of
 * attempts, so retries do not keep a failing upstream down.
 *
 * Allowed are `per_second` in each second, unconditionally; and further ones while the total of
 * the last BUDGET_SECONDS, the current second included, is at most `percent` of the requests of
 * that time.
 *
 * Owner: the retry_state. Routes with different percentages may share one budget: each request
 * earns the percentage of its route. A NULL budget (there was no memory for it) allows nothing. */
#ifndef PROXY_BUDGET_H
#define PROXY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

#define BUDGET_SECONDS 10

struct budget {
	uint64_t now_s;                  /* the latest second counted */
	uint32_t earned[BUDGET_SECONDS]; /* hundredths, by second modulo BUDGET_SECONDS */
	uint32_t spent[BUDGET_SECONDS];
	uint64_t earned_sum, spent_sum;  /* of the arrays */
};

/* Counts a request, which earns share->percent. */
void budget_earn(struct budget *b, const struct config_budget *share, uint64_t now_ms);

/* Asks for one extra request. True: allowed, and counted. */
bool budget_spend(struct budget *b, const struct config_budget *share, uint64_t now_ms);

#endif
