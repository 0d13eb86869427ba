#include "config/template.h"

#include <stdio.h>

#include "base/check.h"
#include "config/nearest.h"

static const struct {
	struct slice text;
	bool argument;
} variables[] = {
#define VARIABLE(name, text_, argument_, help) \
	{ { text_, sizeof(text_) - 1 }, argument_ },
#include "config/variables.def"
#undef VARIABLE
};

static const struct slice log_variables[] = {
#define LOG_VARIABLE(name, text_, help) { text_, sizeof(text_) - 1 },
#include "config/logvariables.def"
#undef LOG_VARIABLE
};

/* Buffer of messages with variable content; valid until the next message. */
static _Thread_local char message[256];

struct slice variable_text(enum variable v)
{
	if (v > VARIABLE_NONE)
		return log_variables[v - VARIABLE_NONE - 1];
	ASSERT((size_t)v < COUNT(variables));
	return variables[v].text;
}

static bool takes_argument(struct slice text)
{
	for (size_t i = 0; i < COUNT(variables); i++)
		if (slice_equal(variables[i].text, text))
			return variables[i].argument;
	return false;
}

static struct slice nearest_variable(struct slice name, bool log)
{
	struct nearest near = { .word = name };

	for (size_t i = 0; i < COUNT(variables); i++)
		nearest_offer(&near, variables[i].text);
	for (size_t i = 0; i < COUNT(log_variables) && log; i++)
		nearest_offer(&near, log_variables[i]);
	return near.best;
}

/* The message for an unknown variable, with the most similar one. */
static const char *unknown_variable(struct slice name, bool log)
{
	const char *dot = memchr(name.ptr, '.', name.len);
	struct slice meant = nearest_variable(name, log);

	if (meant.len == 0 && dot)
		meant = nearest_variable(
			(struct slice){ name.ptr, (size_t)(dot - name.ptr) }, log);
	if (meant.len == 0)
		return "unknown variable; write ${path}, ${path.rest}, ${query.NAME}, "
		       "${header.NAME}, ${cookie.NAME}, ${host}, ${method} or "
		       "${client.address}";
	snprintf(message, sizeof(message), "unknown variable; write ${%.*s%s}",
		 SLICE_ARG(meant), takes_argument(meant) ? ".NAME" : "");
	return message;
}

/* True: not empty, printable ASCII without spaces. */
static bool is_argument(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
			return false;
	return s.len > 0;
}

/* Compiles the text between the braces. Returns NULL, or what is wrong and the remedy. */
static const char *compile_variable(struct template_part *part, struct slice name,
				    bool log)
{
	for (size_t i = 0; i < COUNT(log_variables) && log; i++)
		if (slice_equal(log_variables[i], name)) {
			part->variable = (enum variable)(VARIABLE_NONE + 1 + i);
			part->text = slice_after(name, name.len);
			return NULL;
		}
	for (size_t i = 0; i < COUNT(variables); i++) {
		struct slice text = variables[i].text;

		if (!variables[i].argument && slice_equal(text, name)) {
			part->variable = (enum variable)i;
			part->text = slice_after(name, name.len);
			return NULL;
		}
		if (!variables[i].argument || !slice_starts(name, text) ||
		    (name.len > text.len && name.ptr[text.len] != '.'))
			continue;
		part->variable = (enum variable)i;
		part->text = slice_after(name,
					 name.len > text.len ? text.len + 1 : text.len);
		if (is_argument(part->text))
			return NULL;
		snprintf(message, sizeof(message),
			 "this variable needs a name; write ${%.*s.NAME}",
			 SLICE_ARG(text));
		return message;
	}
	return unknown_variable(name, log);
}

/* Compiles the first part of `text`, which has *used bytes. */
static const char *compile_part(struct template_part *part, struct slice text, bool log,
				size_t *used)
{
	const char *dollar = memchr(text.ptr, '$', text.len);
	const char *brace;

	*used = dollar ? (size_t)(dollar - text.ptr) : text.len;
	if (*used > 0 || (text.len > 1 && text.ptr[1] == '$')) {
		bool escaped = dollar && *used + 1 < text.len && dollar[1] == '$';

		/* The first of two dollar signs is text, the second is skipped. */
		*part = (struct template_part){ VARIABLE_NONE,
						{ text.ptr, *used + (escaped ? 1 : 0) } };
		*used += escaped ? 2 : 0;
		return NULL;
	}
	if (text.len < 2 || text.ptr[1] != '{')
		return "'$' does not begin a variable; write '$$' for a dollar sign";
	brace = memchr(text.ptr, '}', text.len);
	if (!brace)
		return "'${' is not closed; write '}' after the name";
	*used = (size_t)(brace - text.ptr) + 1;
	return compile_variable(part, (struct slice){ text.ptr + 2, *used - 3 }, log);
}

static int parts_compile(struct template *t, struct template_part *parts, struct slice text,
		   bool log, size_t *column, const char **why)
{
	*t = (struct template){ .parts = parts };
	for (size_t at = 0, used; at < text.len; at += used) {
		*column = at;
		*why = "more than 16 variables and pieces of text; shorten it";
		if (t->part_n == TEMPLATE_PARTS_MAX)
			return -1;
		*why = compile_part(&parts[t->part_n++], slice_after(text, at), log, &used);
		if (*why)
			return -1;
	}
	return 0;
}

int template_compile(struct template *t, struct template_part *parts, struct slice text,
		     size_t *column, const char **why)
{
	return parts_compile(t, parts, text, false, column, why);
}

int template_compile_log(struct template *t, struct template_part *parts, struct slice text,
			 size_t *column, const char **why)
{
	return parts_compile(t, parts, text, true, column, why);
}
