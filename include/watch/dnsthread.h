/* The DNS thread: sleeps in poll() on the sockets of c-ares and on one that wakes it.
 * Queries and results pass through mailboxes only.
 *
 * Owner: the process. There is one for the life of the process, whatever configurations
 * come and go: the sandbox allows no later start of a thread. */
#ifndef WATCH_DNSTHREAD_H
#define WATCH_DNSTHREAD_H

#include "net/mailbox.h"
#include "watch/resolver.h"

struct dns_thread;

/* Starts the thread. Results are delivered to `home`. Returns 0 or a negative errno. */
int dns_thread_new(struct dns_thread **where, struct mailbox *home);

/* Sets the nameservers: "ADDRESS:PORT,…"; NULL: those of the system. Queries in flight
 * fail. False: no memory, and nothing has changed. */
bool dns_thread_set_servers(struct dns_thread *t, const char *servers);

/* On the thread of `home`. The query belongs to the DNS thread until its done() is called
 * on the thread of `home`. */
void dns_thread_query(struct dns_thread *t, struct resolver_query *query);

/* Ends the thread. When this returns all queries have been posted to `home`. */
void dns_thread_free(struct dns_thread *t);

#endif
