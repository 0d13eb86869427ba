/* The inbox of a conn: received buffers, in order. Private to net. */
#ifndef NET_INBOX_H
#define NET_INBOX_H

#include "net/conn.h"

/* A received segment of at most this size is appended to the previous one. */
#define COALESCE_BYTES_MAX (BUF_BYTES / 16)

/* Bytes of buffers that the inbox may have at present. */
uint32_t inbox_window(const struct conn *c);

/* … that it may still take. */
uint32_t inbox_space(const struct conn *c);

/* Arms a receive, unless one is in flight or the connection cannot receive. */
void inbox_receive(struct conn *c);

/* Appends a received buffer; takes over its reference. */
void inbox_append(struct conn *c, struct buf *b);

/* Drops everything. */
void inbox_drop(struct conn *c);

#endif
