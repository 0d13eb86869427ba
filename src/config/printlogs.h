/* The part of --print for logs. Internal to config. */
#ifndef CONFIG_PRINTLOGS_H
#define CONFIG_PRINTLOGS_H

#include "config/action.h"

void print_logs(FILE *out, const struct config *c);
void print_route_logs(FILE *out, const struct config *c, const struct config_route *route);
void print_error_logs(FILE *out, const struct config *c);

#endif
