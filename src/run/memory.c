#include "run/memory.h"

#include <malloc.h>

/* The initial value of glibc. Setting it keeps it fixed: else it grows with each large
 * block that is freed, and the memory of a large configuration would stay in the heap. */
#define MAPPED_BYTES_MIN (128 * 1024)

void memory_prepare(void)
{
	mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
}

void memory_return(void)
{
	malloc_trim(0);
}
