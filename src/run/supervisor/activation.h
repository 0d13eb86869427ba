/* Listening sockets that the service manager has opened (sd_listen_fds(3)): a start finds the
 * connections that came before it, and needs no right to bind. */
#ifndef RUN_SUPERVISOR_ACTIVATION_H
#define RUN_SUPERVISOR_ACTIVATION_H

#include "listenaddr.h"

/* Adds them as addresses for clients, if `config` listens there. The others are closed, and named
 * on standard error by LISTEN_FDNAMES. They are taken once: the variables are removed from the
 * environment. */
void activation_take(struct listen_addrs *listen_addrs, const struct config *config);

#endif
