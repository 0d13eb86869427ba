#include "run/memory.h"

#include <malloc.h>

/* glibc's own first value: it would grow with each block of this kind that is freed, and soon
 * what a large configuration leaves behind would be kept for the next one. */
#define MAPPED_BYTES_MIN (128 * 1024)

void memory_prepare(void)
{
	mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
}

void memory_return(void)
{
	malloc_trim(0);
}
