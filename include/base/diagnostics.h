/* Standard error of a process that serves: writing to it never blocks.
 *
 * A full pipe, a terminal stopped with ^S, a socket that nobody reads, a full disk: lines
 * that cannot be written at once are lost and counted, and the count is printed as soon
 * as writing works again. diagnostics_open() replaces the stream `stderr`, so callers
 * print as usual. The count is shared by the process that opened it and all processes
 * that it forks.
 *
 * O_NONBLOCK is never set on the inherited descriptor: the flag belongs to the open file
 * description, which the shell or another program may share. Instead:
 *   pipe, terminal  opened once more through /proc/self/fd/2 with O_NONBLOCK; the new
 *                   description replaces descriptor 2. If the open is refused (a pipe of
 *                   another user), each write uses RWF_NOWAIT, or is preceded by poll()
 *                   on a kernel without that flag.
 *   socket          each send uses MSG_DONTWAIT.
 *   file            plain write(): a file system does not report that it would block.
 *
 * Limits: a line of up to PIPE_BUF bytes is written whole or lost; a longer line may be
 * cut. Any thread may print. */
#ifndef BASE_DIAGNOSTICS_H
#define BASE_DIAGNOSTICS_H

#include <stdint.h>

/* Called once at program start, while there is one thread; descriptor 2 may be closed.
 * Ignores SIGPIPE, and SIGTTOU (a terminal with `stty tostop` stops background
 * writers). */
void diagnostics_open(void);

/* The total time, in milliseconds, for which writes of this process may still block; 0
 * after diagnostics_open(). While a program starts or reads a configuration it can afford
 * to wait, so that its error messages are not lost. */
void diagnostics_wait_budget(int ms);

/* Prints the number of lines lost since the last report, if there are any and writing
 * works. */
void diagnostics_report(void);

/* Lines lost so far, reported or not. */
uint64_t diagnostics_lost(void);

#endif
