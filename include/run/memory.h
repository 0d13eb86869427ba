/* Memory of malloc() goes back to the system when a configuration is let go of.
 *
 * What requests need stands in slabs and buffers, which see to that themselves
 * (base/slab.h, io/buf.h). */
#ifndef RUN_MEMORY_H
#define RUN_MEMORY_H

/* Once, before threads are made: large blocks are mapped by themselves, and unmapped when they
 * are freed, however large others were before. */
void memory_prepare(void);

/* Much was freed: pages that hold nothing go back. Takes milliseconds where there are very many,
 * during which other threads that call malloc() or free() wait; no thread does so for a
 * request. */
void memory_return(void);

#endif
