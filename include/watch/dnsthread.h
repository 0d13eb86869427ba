/* The thread that asks nameservers: sleeps in poll(), on the sockets of c-ares and on one by
 * which others wake it. Asked and answering by mailbox only.
 *
 * One for the life of the process, whatever configurations come and go: it opens what it
 * needs before the sandbox is closed, and none could be made afterwards. */
#ifndef WATCH_DNSTHREAD_H
#define WATCH_DNSTHREAD_H

#include "net/mailbox.h"
#include "watch/resolver.h"

struct dns_thread;

/* Answers go to `home`. Returns 0 or a negative errno. */
int dns_thread_new(struct dns_thread **where, struct mailbox *home);

/* These nameservers from now on ("ADDRESS:PORT,…", NULL: the system's). Asks that are under
 * way fail. False: no memory, and all stays as it is. */
bool dns_thread_set_servers(struct dns_thread *t, const char *servers);

/* From home's thread: the ask is the thread's until answered() is called there. */
void dns_thread_query(struct dns_thread *t, struct resolver_query *a);

/* Ends the thread. All it was asked has been posted to `home` when this returns. */
void dns_thread_free(struct dns_thread *t);

#endif
