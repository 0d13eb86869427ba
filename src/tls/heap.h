/* The memory of the library: counted, and kept for the next handshake.
 *
 * A handshake allocates some 500 times, and frees all of it; two blocks have 17 KB. So a thread
 * with TLS connections keeps what was freed, by size, and a handshake takes that again, without
 * malloc()'s search and consolidation (a twentieth of a handshake's time).
 *
 * Owner: the process; lists belong to the thread. A block may be freed by another thread than has
 * taken it. Limits: HEAP_KEPT_MAX bytes for each thread; what was not needed for a second goes
 * back. With a sanitizer nothing is kept, so that it sees each block end. Errors: NULL, no
 * memory. */
#ifndef TLS_HEAP_H
#define TLS_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#define HEAP_KEPT_MAX (512u << 10)

/* Before the library's first allocation. False: it was too late; then nothing is counted or
 * kept. */
bool heap_init(void);

/* From now on, until as many calls of heap_end(), this thread keeps what is freed. */
void heap_begin(void);
void heap_end(void);

/* Once a second: gives back what was kept ever since the last call. */
void heap_trim(void);

size_t heap_kept(void); /* by this thread, for tests */

#endif
