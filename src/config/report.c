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

struct report_file {
	struct report_file *previous;
	unsigned number;
	const char *name;
};

unsigned report_file(struct report *r, const char *name)
{
	struct report_file *f;

	for (f = r->files; f; f = f->previous)
		if (strcmp(f->name, name) == 0)
			return f->number;
	f = arena_alloc(&r->memory, sizeof(*f));
	*f = (struct report_file){ r->files, ++r->file_n, name };
	r->files = f;
	return f->number;
}

const char *report_file_name(const struct report *r, unsigned file)
{
	for (const struct report_file *f = r->files; f; f = f->previous)
		if (f->number == file)
			return f->name;
	return r->file;
}

const char *report_line(struct report *r, struct source_pos at, struct source_pos from)
{
	return at.file == from.file
		       ? arena_format(&r->memory, "line %u", at.line)
		       : arena_format(&r->memory, "line %u of %s", at.line,
				      report_file_name(r, at.file));
}

/* Control characters of a configuration must not reach a terminal. */
static void mask_controls(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* What several sections inherit is reported by each of them. False: it was reported before. */
static bool is_new(struct report *r, const struct report_error *e)
{
	char key[sizeof(e->at) + 1024];
	size_t n = strlen(e->text);
	struct slice name = { key, sizeof(e->at) + n };
	struct names_entry *entry;

	memcpy(key, &e->at, sizeof(e->at));
	memcpy(key + sizeof(e->at), e->text, n);
	if (names_find(&r->seen, name))
		return false;
	entry = arena_alloc(&r->memory, sizeof(*entry));
	names_put(&r->seen, entry,
		  (struct slice){ arena_text(&r->memory, name), name.len });
	return true;
}

static void report_add(struct report *r, struct source_pos at, bool warning,
		       const char *format, va_list arguments)
{
	struct report_error *e, new = { .at = at, .warning = warning };
	unsigned *n = warning ? &r->warning_n : &r->error_n;
	char text[1024];

	vsnprintf(text, sizeof(text), format, arguments);
	mask_controls(text);
	new.text = text;
	if (*n < REPORT_ERRORS_MAX && !is_new(r, &new))
		return;
	if ((*n)++ >= REPORT_ERRORS_MAX)
		return;
	e = arena_copy(&r->memory, &new, sizeof(new));
	e->n = r->error_n + r->warning_n;
	e->text = arena_text(&r->memory, slice_of(text));
	e->previous = r->last;
	r->last = e;
}

void report_error(struct report *r, struct source_pos at, const char *format, ...)
{
	va_list arguments;

	r->n++;
	va_start(arguments, format);
	report_add(r, at, false, format, arguments);
	va_end(arguments);
}

void report_warning(struct report *r, struct source_pos at, const char *format, ...)
{
	va_list arguments;

	if (r->no_warnings)
		return;
	va_start(arguments, format);
	report_add(r, at, true, format, arguments);
	va_end(arguments);
}

static int compare(const void *left, const void *right)
{
	const struct report_error *a = *(struct report_error *const *)left;
	const struct report_error *b = *(struct report_error *const *)right;

	if (a->at.file != b->at.file)
		return a->at.file < b->at.file ? -1 : 1;
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
		fprintf(out, "%s:%u:%u: %s%s\n", report_file_name(r, all[i]->at.file),
			all[i]->at.line, all[i]->at.column,
			all[i]->warning ? "warning: " : "", all[i]->text);
	print_omitted(r, r->error_n, "errors", out);
	print_omitted(r, r->warning_n, "warnings", out);
}

void report_done(struct report *r)
{
	names_done(&r->seen);
	arena_free(&r->memory);
	r->last = NULL;
}
