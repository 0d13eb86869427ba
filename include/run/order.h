/* Orders to a running supervisor over its control socket: one line asks, one line answers when
 * it is done. Only root and the user that the supervisor runs as are heard. */
#ifndef RUN_ORDER_H
#define RUN_ORDER_H

#include "config/config.h"

enum order { ORDER_NONE, ORDER_RELOAD, ORDER_UPGRADE };

/* The one that gives it. Returns the exit status: what came of it was said. */
int order_give(const struct config *config, enum order order);

/* The one that takes it, from a listening socket. *client then waits for order_answer(); -1:
 * nobody does. */
enum order order_take(int listener, int *client);

/* Tells *client, if there is one, and leaves -1. */
void order_answer(int *client, bool done, const char *text);

/* By the word on the command line. */
enum order order_by_name(const char *word);

#endif
