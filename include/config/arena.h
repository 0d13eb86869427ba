/* An arena: memory that is allocated in pieces and freed all at once.
 *
 * Errors: none; running out of memory ends the process (ASSERT). A configuration is read at start
 * and by the loader process of a reload, never by a worker. */
#ifndef CONFIG_ARENA_H
#define CONFIG_ARENA_H

#include <stddef.h>

#include "base/slice.h"

struct arena {
	struct arena_block *blocks; /* newest first */
	size_t left;                /* free bytes of the newest block */
	size_t bytes;               /* of all blocks */
};

/* n zeroed bytes, aligned for any type; never NULL. */
void *arena_alloc(struct arena *a, size_t n);

/* A copy of n bytes. */
void *arena_copy(struct arena *a, const void *from, size_t n);

/* A NUL-terminated copy. */
char *arena_text(struct arena *a, struct slice text);

/* printf() into the arena; at most 511 bytes. */
char *arena_format(struct arena *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void arena_free(struct arena *a);

/* Before arena_free(): overwrites everything with zeros, because there are secrets in it. */
void arena_cleanse(struct arena *a);

#endif
