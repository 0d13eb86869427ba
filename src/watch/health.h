/* The health state of a server: it changes only after several consecutive contrary
 * results. Pure.
 *
 *                 first result, good              `fall` consecutive bad results
 *   HEALTH_UNKNOWN ────────────────▶ HEALTH_UP ◀──────────────────────────▶ HEALTH_DOWN
 *         │                                       `rise` consecutive good ones   ▲
 *         └──────────────────────── first result, bad ───────────────────────────┘
 *
 * In HEALTH_UNKNOWN the first result decides: a server that is dead when we start should
 * get no request. */
#ifndef WATCH_HEALTH_H
#define WATCH_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/prober.h"

struct health {
	enum health_state state;
	uint32_t contrary_n; /* consecutive results against the state */
};

/* Adds a result. True: the state has changed. */
bool health_update(struct health *h, bool good, uint32_t rise, uint32_t fall);

/* Time until the next probe: the interval, more or less a random part of `jitter` percent
 * of it, so that many proxies do not probe at the same moments. */
uint32_t health_pause_ms(uint32_t interval_ms, uint32_t jitter, uint64_t random);

#endif
