/* What the parts of a request cost: pieces of the program, run many times in one thread
 * without a socket. bench/micro/run measures them. */
#ifndef MICRO_H
#define MICRO_H

#include <stddef.h>

struct micro {
	const char *name, *what;
	void (*run)(unsigned n); /* n operations */
};

struct micro_set {
	const struct micro *micros;
	size_t n;
	void (*prepare)(void);
};

extern const struct micro_set micro_heads, micro_routes, micro_timers, micro_buffers,
	micro_mail;

/* Ends the program if something that is measured did not do what it is for. */
void micro_must(int good, const char *what);

/* The compiler has to believe that somebody looks at it. */
static inline void micro_keep(const void *p)
{
	__asm__ volatile("" : : "g"(p) : "memory");
}

#endif
