/* The outbox of a conn, for conn.c. */
#ifndef NET_OUTBOX_H
#define NET_OUTBOX_H

#include "net/conn.h"

/* The entries from … to are done with: their references are let go. */
void outbox_release(struct outbox *o, unsigned from, unsigned to);

/* It is empty. */
void outbox_give_back(struct conn *c);

/* Drops what the kernel does not have. */
void outbox_drop(struct conn *c);

#endif
