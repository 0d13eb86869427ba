/* Control commands: `fairlead reload` and `fairlead upgrade` to a running supervisor,
 * over its control socket. A connection carries one command, as a line of text; the reply
 * is one line, sent when the command has finished. Only root and the user of the
 * supervisor are permitted (SO_PEERCRED). */
#ifndef RUN_SUPERVISOR_COMMAND_H
#define RUN_SUPERVISOR_COMMAND_H

#include "config/config.h"

enum command { COMMAND_NONE, COMMAND_RELOAD, COMMAND_UPGRADE };

/* Client: sends the command, waits for the reply and prints it. Returns the exit
 * status. */
int command_send(const struct config *config, enum command command);

/* Server: accepts a connection and reads its command. A connection that sends none, or is
 * not permitted, gets a negative reply: COMMAND_NONE. Otherwise *client is the
 * connection, which waits for command_reply(). */
enum command command_receive(int listener, int *client);

/* Server: replies, closes the connection and sets *client to -1. Does nothing if it is
 * -1. */
void command_reply(int *client, bool done, const char *text);

/* COMMAND_NONE: `word` is not a command. */
enum command command_by_name(const char *word);

#endif
