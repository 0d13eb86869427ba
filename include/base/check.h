/* Assertions that stay on in release builds: a proxy that has lost track of
 * itself must stop, not guess. The supervisor starts a new worker process. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stddef.h>

/* Prints "fairlead: FILE:LINE: EXPRESSION" to standard error and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *expression);

/* What assertions cost is measured against a build without (bench/privileges), which is good
 * for nothing else. */
#ifdef FAIRLEAD_UNCHECKED
#define ASSERT(expression) ((void)(expression)) /* some of them do something */
#else
#define ASSERT(expression)                                                     \
	do {                                                                   \
		if (__builtin_expect(!(expression), 0))                        \
			check_failed(__FILE__, __LINE__, #expression);         \
	} while (0)
#endif

/* The structure that embeds `member`, from the address of the member. */
#define CONTAINER(ptr, type, member)                                           \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define MUST_USE __attribute__((warn_unused_result))

#endif
