/* The only door between threads: many may post, one drains.
 *
 * A message is embedded in what it is about and belongs to the receiver from
 * post to deliver(), which may free it. Nothing is allocated, nothing locks. */
#ifndef NET_MAILBOX_H
#define NET_MAILBOX_H

#include <stdatomic.h>

struct mail {
	struct mail *next;
	void (*deliver)(struct mail *m); /* on the receiving thread */
};

struct mailbox {
	_Atomic(struct mail *) head;    /* last posted first */
	void (*wake)(void *sleeper);    /* called by who finds the box empty */
	void *sleeper;
};

/* wake may be called from any thread: io_wake() for a loop. */
void mailbox_init(struct mailbox *box, void (*wake)(void *sleeper), void *sleeper);

/* Any thread. m is not in a box. */
void mailbox_post(struct mailbox *box, struct mail *m);

/* The owner's thread: delivers all, in the order posted. */
void mailbox_drain(struct mailbox *box);

#endif
