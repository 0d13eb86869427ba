/* Orders to a running supervisor over its control socket: one line asks, one line answers when
 * it is done. Only root and the user that the supervisor runs as are heard. */
#ifndef RUN_COMMAND_H
#define RUN_COMMAND_H

#include "config/config.h"

enum command { COMMAND_NONE, COMMAND_RELOAD, COMMAND_UPGRADE };

/* The one that gives it. Returns the exit status: what came of it was said. */
int command_send(const struct config *config, enum command command);

/* The one that takes it, from a listening socket. *client then waits for command_reply(); -1:
 * nobody does. */
enum command command_receive(int listener, int *client);

/* Tells *client, if there is one, and leaves -1. */
void command_reply(int *client, bool done, const char *text);

/* By the word on the command line. */
enum command command_by_name(const char *word);

#endif
