/* Standard error of a process that serves: writing to it never blocks.
 *
 * A full pipe, a terminal that was stopped with ^S, a socket that nobody reads, a full disk:
 * what is not taken at once is lost, counted, and told as soon as something is taken again.
 * Everything goes through the stream `stderr`, which diagnostics_open() replaces; whoever prints
 * needs to know nothing of it. The count belongs to the process that opened it and to all that it
 * forks.
 *
 * What is shared is not disturbed: O_NONBLOCK belongs to the open file description, which the
 * shell or another program may have as well. So a pipe or terminal is opened once more by way of
 * /proc/self/fd/2, and descriptor 2 is then that; where this is not allowed (another user's
 * pipe) each write asks not to wait (RWF_NOWAIT), and where the kernel does not know that,
 * poll() is asked before. A socket is asked so with each send. A file is written as ever, as no
 * file system says when it would block.
 *
 * Limits: a line of up to PIPE_BUF bytes is whole or lost; a longer one may lose its end.
 * Several threads may print. */
#ifndef BASE_DIAGNOSTICS_H
#define BASE_DIAGNOSTICS_H

#include <stdint.h>

/* At the start of a program that is to serve, with one thread; descriptor 2 may be closed.
 * SIGPIPE, and SIGTTOU for a terminal that stops who writes from the background, are ignored
 * from now on. */
void diagnostics_open(void);

/* For so long, all in all, this process may still wait to be taken; 0 from diagnostics_open() on.
 * A program that starts, or reads a configuration, has time to say what is wrong. */
void diagnostics_wait_budget(int ms);

/* Tells how many lines were lost, if there are some and it is taken now. */
void diagnostics_report(void);

/* Lines lost so far, told or not. */
uint64_t diagnostics_lost(void);

#endif
