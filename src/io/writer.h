/* A thread that writes for an epoll loop, because files and terminals cannot be
 * waited for. One producer and one consumer each way: the loop hands ops over
 * through a bounded queue and gets them back through another. */
#ifndef IO_WRITER_H
#define IO_WRITER_H

#include <stdbool.h>

struct io_loop;
struct io_write;
struct writer;

/* Starts the thread. It calls io_wake(loop) when it has written. NULL: no memory or
 * no thread to be had. */
struct writer *writer_open(struct io_loop *loop);

/* Nothing is in flight. */
void writer_close(struct writer *w);

/* The loop's thread. False: the queue is full. */
bool writer_put(struct writer *w, struct io_write *op);

/* The loop's thread: the next op that was written, its result in op->op.res; or NULL. */
struct io_write *writer_take(struct writer *w);

#endif
