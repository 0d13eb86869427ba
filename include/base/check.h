/* Assertions that stay on in release builds.
 *
 * A proxy whose state contradicts itself must stop, not guess: the process aborts, and
 * the supervisor starts a new worker process. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* Prints "fairlead: FILE:LINE: must hold: EXPRESSION" to standard error and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *expression);

/* FAIRLEAD_UNCHECKED is for one purpose: bench/privileges measures the cost of the
 * assertions against a build without them. */
#ifdef FAIRLEAD_UNCHECKED
#define ASSERT(expression) ((void)(expression)) /* evaluated: some have side effects */
#else
#define ASSERT(expression)                                                     \
	do {                                                                   \
		if (__builtin_expect(!(expression), 0))                        \
			check_failed(__FILE__, __LINE__, #expression);         \
	} while (0)
#endif

/* Checks an object after one of its steps, as in CHECK_STATE(client_check(c)): in builds with a
 * sanitizer (FAIRLEAD_CHECK), and on the simulated engine (sim_open()). In other programs a step
 * costs one test of a flag: the checks took one of twenty-five instructions of a request. */
#define CHECK_STATE(call)                              \
	do {                                           \
		if (__builtin_expect(check_states, 0)) \
			call;                          \
	} while (0)

/* Set before the first check, by one thread. */
extern bool check_states;

/* The structure that embeds `member`, from the address of that member. */
#define CONTAINER(ptr, type, member)                                           \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define MUST_USE __attribute__((warn_unused_result))

#endif
