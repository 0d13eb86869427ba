/* What the rules of an exchange's route hold (see proxy/rule.h).
 *
 * Owner: the exchange, from the first rule_begin_work() to rules_ended(); from a slab of the
 * worker. */
#ifndef PROXY_RULEWORK_H
#define PROXY_RULEWORK_H

#include "config/rule.h"

struct rules_at_work {
	uint8_t waiting;        /* EXCHANGE_CHECKING: the index of the rule that waits */
	struct slice user;      /* of the client; empty: none */
	void *works[RULES_MAX]; /* by index of the rule in the route; NULL: it has none */
};

#endif
