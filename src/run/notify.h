/* What the service manager is told (sd_notify(3)), if there is one: the environment names its
 * socket. The protocol is one datagram of lines; no library is needed for it. */
#ifndef RUN_NOTIFY_H
#define RUN_NOTIFY_H

void notify_ready(const char *status);
void notify_reloading(void); /* notify_ready() follows, however it ends */
void notify_stopping(void);

#endif
