/* The attempts of a fetch: begins them, replaces one by another or by its hedge, and ends them.
 * The state of the fetch is set here and in fetch.c.
 *
 * Owner: the fetch. retry.h and hedge.h decide; what they decide is done here. */
#ifndef PROXY_ATTEMPTS_H
#define PROXY_ATTEMPTS_H

#include "proxy/fetch.h"

/* Changes the state, and asserts that the diagram of fetch.h allows it. */
void fetch_set_state(struct fetch *f, enum fetch_state state);

void fetch_fail(struct fetch *f, enum ending ending);

/* Begins an attempt; the fetch has none now. */
void attempts_begin(struct fetch *f);

/* Steps the attempts; begins and ends some if a deadline has passed or a pause is over. May fail
 * the fetch. */
void attempts_step(struct fetch *f);

/* FETCH_TRYING: the attempt has failed. VERDICT_MORE: another one follows or continues.
 * VERDICT_BAD: the fetch has failed. */
enum verdict attempts_failed(struct fetch *f) MUST_USE;

/* FETCH_TRYING, with a struct retry: the attempt has brought the head h. True: the response is not
 * used, and another attempt follows or continues. */
bool attempts_reject(struct fetch *f, const struct head *h) MUST_USE;

/* Ends the hedge, if there is one. */
void attempts_drop_hedge(struct fetch *f);

/* Ends all. */
void attempts_end(struct fetch *f);

#endif
