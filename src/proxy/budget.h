/* How much more traffic than it was asked for an upstream may get from one worker: retries, or
 * second tries beside slow ones. If everything fails, its load then grows by that share and
 * not by the number of tries, so that retries do not keep down what is down.
 *
 * Allowed are `per_second` in each second, whatever happens, and beyond that as long as
 * all of the last BUDGET_SECONDS, this one included, are at most `percent` of the requests of
 * that time.
 *
 * NULL stands for one for which there was no memory: it allows nothing.
 *
 * Owner: the retry_state. Routes with different shares may use one budget: each earns
 * by its own. */
#ifndef PROXY_BUDGET_H
#define PROXY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

#define BUDGET_SECONDS 10

struct budget {
	uint64_t now_s;                  /* the second that was written last */
	uint32_t earned[BUDGET_SECONDS]; /* hundredths, by second modulo BUDGET_SECONDS */
	uint32_t spent[BUDGET_SECONDS];
	uint64_t earned_sum, spent_sum;  /* sums of the above */
};

/* A request was asked. */
void budget_earn(struct budget *b, const struct config_budget *share, uint64_t now_ms);

/* One more try is wanted. True: it is allowed, and counted. */
bool budget_spend(struct budget *b, const struct config_budget *share, uint64_t now_ms);

#endif
