#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef FAIRLEAD_CHECK
bool check_states = true;
#else
bool check_states = false;
#endif

_Noreturn void check_failed(const char *file, int line, const char *expression)
{
	fprintf(stderr, "fairlead: %s:%d: must hold: %s\n", file, line, expression);
	abort();
}
