/* A thread that writes to files for an epoll loop, because epoll cannot wait for files.
 *
 * The loop passes ops to the thread through one bounded queue and gets completed ops back
 * through another; each queue has one producer and one consumer. At most 256 ops are in
 * flight. */
#ifndef IO_WRITETHREAD_H
#define IO_WRITETHREAD_H

#include <stdbool.h>

struct io_loop;
struct io_write;
struct write_thread;

/* Starts the thread, which calls io_wake(loop) after each write. NULL: no memory, or the
 * thread could not be created. */
struct write_thread *write_thread_open(struct io_loop *loop);

/* Ends the thread. No op may be in flight. */
void write_thread_close(struct write_thread *w);

/* Called on the loop's thread. Passes op to the thread; false: 256 ops are in flight. */
bool write_thread_put(struct write_thread *w, struct io_write *op);

/* Called on the loop's thread. The next completed op, its result in op->op.res; or
 * NULL. */
struct io_write *write_thread_take(struct write_thread *w);

#endif
