#include "exposition.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void exposition_put(struct exposition *e, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(e->at, (size_t)(e->end - e->at), format, args);
	va_end(args);
	if (n < 0 || n >= e->end - e->at)
		e->overflow = true;
	else
		e->at += n;
}

void exposition_help(struct exposition *e, const char *name, const char *kind,
		     const char *help)
{
	const char *total = strcmp(kind, "counter") == 0 ? "_total" : "";

	exposition_put(e, "# HELP fairlead_%s%s %s\n# TYPE fairlead_%s%s %s\n", name, total, help,
		       name, total, kind);
}

void exposition_label(struct exposition *e, const char *value)
{
	exposition_put(e, "\"");
	for (; *value; value++)
		exposition_put(e, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
	exposition_put(e, "\"");
}
