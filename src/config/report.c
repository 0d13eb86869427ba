#include "report.h"

#include <stdarg.h>
#include <stdlib.h>

struct report_error {
	struct report_error *before;
	struct place at;
	unsigned n; /* errors of one place keep their order */
	const char *text;
};

/* A configuration must not be able to write control characters to a terminal. */
static void mask_controls(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

void report_error(struct report *r, struct place at, const char *format, ...)
{
	char text[1024];
	struct report_error *e;
	va_list arguments;

	if (r->n++ >= REPORT_ERRORS_MAX)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	mask_controls(text);
	e = arena_take(&r->memory, sizeof(*e));
	e->at = at;
	e->n = r->n;
	e->text = arena_text(&r->memory, slice_of(text));
	e->before = r->last;
	r->last = e;
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

void report_print(struct report *r, FILE *out)
{
	struct report_error *errors[REPORT_ERRORS_MAX];
	unsigned n = 0;

	for (struct report_error *e = r->last; e; e = e->before)
		errors[n++] = e;
	qsort(errors, n, sizeof(errors[0]), compare);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "%s:%u:%u: %s\n", r->file, errors[i]->at.line,
			errors[i]->at.column, errors[i]->text);
	if (r->n > n)
		fprintf(out, "%s: and %u more errors\n", r->file, r->n - n);
}

void report_done(struct report *r)
{
	arena_free(&r->memory);
	r->last = NULL;
}
