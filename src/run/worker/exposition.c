#include "exposition.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

static void put_bytes(struct exposition *e, const char *text, size_t n)
{
	if ((size_t)(e->end - e->at) < n) {
		e->overflow = true;
		return;
	}
	memcpy(e->at, text, n);
	e->at += n;
}

static void put_text(struct exposition *e, const char *text)
{
	put_bytes(e, text, strlen(text));
}

static void put_number(struct exposition *e, uint64_t n)
{
	char digits[20], *at = digits + sizeof(digits);

	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	put_bytes(e, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_family_name(struct exposition *e, bool total)
{
	put_text(e, "fairlead_");
	put_text(e, e->prefix);
	put_text(e, e->name);
	if (total && strcmp(e->kind, "counter") == 0)
		put_text(e, "_total");
}

static void put_comment(struct exposition *e, const char *what, const char *text)
{
	put_text(e, what);
	/* In OpenMetrics the suffix belongs to the sample, not to the family. */
	put_family_name(e, !e->open_metrics);
	put_bytes(e, " ", 1);
	put_text(e, text);
	put_bytes(e, "\n", 1);
}

void exposition_family(struct exposition *e, const char *prefix, const char *name,
		       const char *kind, const char *help)
{
	e->prefix = prefix;
	e->name = name;
	e->kind = kind;
	e->help = help;
	e->headed = false;
}

void exposition_sample(struct exposition *e, const char *suffix)
{
	if (!e->headed) {
		put_comment(e, "# HELP ", e->help);
		put_comment(e, "# TYPE ", e->kind);
		e->headed = true;
	}
	e->labelled = false;
	put_family_name(e, true);
	put_text(e, suffix);
}

static void begin_label(struct exposition *e, const char *name)
{
	put_bytes(e, e->labelled ? "," : "{", 1);
	e->labelled = true;
	put_text(e, name);
	put_bytes(e, "=\"", 2);
}

/* Names may have characters that a label value must escape. */
void exposition_label(struct exposition *e, const char *name, const char *value)
{
	begin_label(e, name);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\' || *value == '\n')
			put_bytes(e, "\\", 1);
		put_bytes(e, *value == '\n' ? "n" : value, 1);
	}
	put_bytes(e, "\"", 1);
}

void exposition_index(struct exposition *e, const char *name, unsigned value)
{
	begin_label(e, name);
	put_number(e, value);
	put_bytes(e, "\"", 1);
}

static void end_labels(struct exposition *e)
{
	if (e->labelled)
		put_bytes(e, "}", 1);
	put_bytes(e, " ", 1);
}

void exposition_count(struct exposition *e, uint64_t value)
{
	end_labels(e);
	put_number(e, value);
	put_bytes(e, "\n", 1);
}

void exposition_real(struct exposition *e, double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.15g", value);
	end_labels(e);
	put_text(e, text);
	put_bytes(e, "\n", 1);
}

void exposition_exemplar(struct exposition *e, const struct exemplar_copy *x)
{
	char text[96];

	ASSERT(e->open_metrics && e->at[-1] == '\n');
	e->at--;
	put_text(e, " # {trace_id=\"");
	put_bytes(e, x->id, sizeof(x->id));
	snprintf(text, sizeof(text), "\"} %.15g %.3f\n", (double)x->value_us / 1e6,
		 (double)x->wall_ms / 1e3);
	put_text(e, text);
}

void exposition_end(struct exposition *e)
{
	if (e->open_metrics)
		put_text(e, "# EOF\n");
}
