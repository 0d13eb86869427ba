/* Returns memory of malloc() to the system when a configuration is freed.
 *
 * Memory of requests is in slabs and buffers, which return theirs themselves
 * (base/slab.h, io/buf.h). */
#ifndef RUN_MEMORY_H
#define RUN_MEMORY_H

/* Called once, before the first thread is made: large blocks are mapped one by one, and
 * unmapped when they are freed, regardless of earlier block sizes. */
void memory_prepare(void);

/* Returns free pages of the heap to the system, after much memory was freed. It takes
 * some milliseconds if there are many. Other threads that call malloc() or free() wait
 * meanwhile; no thread calls them for a request. */
void memory_return(void);

#endif
