#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/errorlog.h"

#ifdef FAIRLEAD_CHECK
bool check_states = true;
#else
bool check_states = false;
#endif

_Noreturn void check_failed(const char *file, int line, const char *expression)
{
	errorlog_put(EVENT_ASSERTION, "%s:%d: must hold: %s", file, line, expression);
	abort();
}
