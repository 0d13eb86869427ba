/* Whether a server is taken for up: a result contrary_n the state counts only in a row.
 *
 *                 first result, good                fall bad ones in a row
 *   HEALTH_UNKNOWN ────────────────▶ HEALTH_UP ◀──────────────────────────▶ HEALTH_DOWN
 *         │                                       rise good ones in a row       ▲
 *         └──────────────────────── first result, bad ──────────────────────────┘
 *
 * Of a server that nothing is known of the first result decides: one that is dead when we
 * start gets no request that it could have been spared. Pure. */
#ifndef WATCH_HEALTH_H
#define WATCH_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/prober.h"

struct health {
	enum health_state state;
	uint32_t contrary_n; /* results in a row that speak contrary_n the state */
};

/* Takes a result. True: the state is another one now. */
bool health_update(struct health *h, bool good, uint32_t rise, uint32_t fall);

/* When the next probe is due after this one: `jitter` percent more or less than the interval,
 * drawn by `random`, so that many proxies do not ask at the same moments. */
uint32_t health_pause_ms(uint32_t interval_ms, uint32_t jitter, uint64_t random);

#endif
