/* Microbenchmarks of the parts of a request: functions of fairlead, run many times in one
 * thread without sockets. bench/micro/run measures them. */
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
	void (*prepare_row)(size_t row); /* for one of the micros only; may be NULL */
};

extern const struct micro_set micro_heads, micro_routes, micro_routetables, micro_timers,
	micro_buffers, micro_mail, micro_balance, micro_records, micro_sessions, micro_certificates;

/* Ends the program if a measured function did not do its work. */
void micro_must(int good, const char *what);

/* Prevents the compiler from removing a result that is not used. */
static inline void micro_keep(const void *p)
{
	__asm__ volatile("" : : "g"(p) : "memory");
}

#endif
