/* A copy of bytes that ends exactly at an unreadable page. Reading or writing one byte too far is
 * a crash, with any compiler and without ASan. */
#ifndef LIB_GUARD_H
#define LIB_GUARD_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Size of the readable pages: the bytes, and before them their number for guard_free(). */
static inline size_t guard_room(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (sizeof(n) + n + page - 1) / page * page;
}

/* Never NULL; for n == 0 the first byte is the unreadable one. */
static inline char *guard_copy(const char *bytes, size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t room = guard_room(n);
	char *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p = map + room - n;

	if (map == MAP_FAILED || mprotect(map + room, page, PROT_NONE) != 0)
		abort();
	memcpy(p - sizeof(n), &n, sizeof(n));
	if (n > 0)
		memcpy(p, bytes, n);
	return p;
}

/* p came from guard_copy(), or is NULL. */
static inline void guard_free(char *p)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t n;

	if (!p)
		return;
	memcpy(&n, p - sizeof(n), sizeof(n));
	munmap(p + n - guard_room(n), guard_room(n) + page);
}

#endif
