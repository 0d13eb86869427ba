/* Status notifications to the service manager (sd_notify(3)). The protocol is one
 * datagram of text lines to the socket that the environment names (NOTIFY_SOCKET);
 * without it nothing is sent. Errors are ignored. */
#ifndef RUN_SUPERVISOR_NOTIFY_H
#define RUN_SUPERVISOR_NOTIFY_H

void notify_ready(const char *status);
void notify_reloading(void); /* notify_ready() follows, also if the reload fails */
void notify_stopping(void);
void notify_alive(void); /* for the watchdog */

#endif
