/* Memory that is taken piece by piece and given back all at once. Reading a
 * configuration happens at start and at a reload, never on a worker: to run out of
 * memory there ends the process. */
#ifndef CONFIG_ARENA_H
#define CONFIG_ARENA_H

#include <stddef.h>

#include "base/slice.h"

struct arena {
	struct arena_block *blocks; /* newest first */
	size_t left;                /* of the newest */
	size_t bytes;               /* of all */
};

/* Zeroed, aligned for anything; never NULL. */
void *arena_take(struct arena *a, size_t n);

/* A copy of n bytes. */
void *arena_copy(struct arena *a, const void *from, size_t n);

/* A copy with a NUL behind it. */
char *arena_text(struct arena *a, struct slice text);

/* printf into the arena. */
char *arena_format(struct arena *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void arena_free(struct arena *a);

#endif
