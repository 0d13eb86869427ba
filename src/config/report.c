#include "config/report.h"

#include <stdarg.h>
#include <stdlib.h>

struct report_error {
	struct report_error *previous;
	struct source_pos at;
	unsigned n; /* order of errors with equal positions */
	bool warning;
	const char *text;
};

/* Control characters of a configuration must not reach a terminal. */
static void mask_controls(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void report_add(struct report *r, struct source_pos at, bool warning,
		       const char *format, va_list arguments)
{
	struct report_error *e;
	char text[1024];

	vsnprintf(text, sizeof(text), format, arguments);
	mask_controls(text);
	e = arena_alloc(&r->memory, sizeof(*e));
	e->at = at;
	e->n = r->n + r->warning_n;
	e->warning = warning;
	e->text = arena_text(&r->memory, slice_of(text));
	e->previous = r->last;
	r->last = e;
}

void report_error(struct report *r, struct source_pos at, const char *format, ...)
{
	va_list arguments;

	if (r->n++ >= REPORT_ERRORS_MAX)
		return;
	va_start(arguments, format);
	report_add(r, at, false, format, arguments);
	va_end(arguments);
}

void report_warning(struct report *r, struct source_pos at, const char *format, ...)
{
	va_list arguments;

	if (r->no_warnings || r->warning_n++ >= REPORT_ERRORS_MAX)
		return;
	va_start(arguments, format);
	report_add(r, at, true, format, arguments);
	va_end(arguments);
}

static int compare(const void *left, const void *right)
{
	const struct report_error *a = *(struct report_error *const *)left;
	const struct report_error *b = *(struct report_error *const *)right;

	if (a->at.line != b->at.line)
		return a->at.line < b->at.line ? -1 : 1;
	if (a->at.column != b->at.column)
		return a->at.column < b->at.column ? -1 : 1;
	return a->n < b->n ? -1 : 1;
}

static void print_omitted(struct report *r, unsigned n, const char *what, FILE *out)
{
	if (out && n > REPORT_ERRORS_MAX)
		fprintf(out, "%s: and %u more %s\n", r->file, n - REPORT_ERRORS_MAX,
			what);
}

void report_print(struct report *r, FILE *out)
{
	struct report_error *all[2 * REPORT_ERRORS_MAX];
	unsigned n = 0;

	for (struct report_error *e = r->last; e && out; e = e->previous)
		all[n++] = e;
	if (n > 0)
		qsort(all, n, sizeof(all[0]), compare);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "%s:%u:%u: %s%s\n", r->file, all[i]->at.line,
			all[i]->at.column, all[i]->warning ? "warning: " : "",
			all[i]->text);
	print_omitted(r, r->n, "errors", out);
	print_omitted(r, r->warning_n, "warnings", out);
}

void report_done(struct report *r)
{
	arena_free(&r->memory);
	r->last = NULL;
}
