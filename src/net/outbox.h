/* The outbox of a conn: pushing, and releasing what was sent. Private to net. */
#ifndef NET_OUTBOX_H
#define NET_OUTBOX_H

#include "net/conn.h"

/* The outbox, made if there is none. NULL: no memory. */
struct outbox *outbox_take(struct conn *c);

/* Entries [from, to) were sent or are dropped: releases their buffers and their
 * charge. */
void outbox_release(struct outbox *o, unsigned from, unsigned to);

/* Frees the outbox, which is empty. */
void outbox_free(struct conn *c);

/* Drops the entries that were not submitted; frees the outbox if none was. */
void outbox_drop(struct conn *c);

#endif
