/* The only channel between threads: any thread may post, one thread drains.
 *
 * Mail is embedded in the object it is about. From post until deliver() it belongs to the
 * receiver; deliver() may free it. Nothing is allocated, nothing locks, nothing fails.
 * There is no limit: each mail is in one mailbox at a time. */
#ifndef NET_MAILBOX_H
#define NET_MAILBOX_H

#include <stdatomic.h>

struct mail {
	struct mail *next;
	void (*deliver)(struct mail *m); /* on the receiving thread */
};

struct mailbox {
	_Atomic(struct mail *) head;    /* most recent first */
	void (*wake)(void *sleeper);    /* called by a post to an empty mailbox */
	void *sleeper;                  /* passed to wake: the receiving thread's loop */
};

/* `wake` is called on the posting thread: io_wake() for an event loop. */
void mailbox_init(struct mailbox *box, void (*wake)(void *sleeper), void *sleeper);

/* On any thread. m is in no mailbox. */
void mailbox_post(struct mailbox *box, struct mail *m);

/* On the receiving thread: delivers all mail, in the order posted. */
void mailbox_drain(struct mailbox *box);

#endif
