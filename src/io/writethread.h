/* A thread that writes for an epoll loop, because files and terminals cannot be
 * waited for. One producer and one consumer each way: the loop hands ops over
 * through a bounded queue and gets them back through another. */
#ifndef IO_WRITETHREAD_H
#define IO_WRITETHREAD_H

#include <stdbool.h>

struct io_loop;
struct io_write;
struct write_thread;

/* Starts the thread. It calls io_wake(loop) when it has written. NULL: no memory or
 * no thread to be had. */
struct write_thread *write_thread_open(struct io_loop *loop);

/* Nothing is in flight. */
void write_thread_close(struct write_thread *w);

/* The loop's thread. False: the queue is full. */
bool write_thread_put(struct write_thread *w, struct io_write *op);

/* The loop's thread: the next op that was written, its result in op->op.res; or NULL. */
struct io_write *write_thread_take(struct write_thread *w);

#endif
