/* Templates: text with variables, such as "session:${path.rest}"; "$$" is a dollar sign.
 *
 * Compiled when the configuration is read; evaluated per request by route/variable.
 * Limits: TEMPLATE_PARTS_MAX parts. Variables: variables.def.
 * Owner: the configuration; the parts point into its memory. */
#ifndef CONFIG_TEMPLATE_H
#define CONFIG_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

enum variable {
#define VARIABLE(name, text, argument, help) VARIABLE_##name,
#include "config/variables.def"
#undef VARIABLE
	VARIABLE_NONE, /* literal text */
/* Of lines of logs only: */
#define LOG_VARIABLE(name, text, help) LOG_VARIABLE_##name,
#include "config/logvariables.def"
#undef LOG_VARIABLE
	LOG_VARIABLES_END,
};

#define TEMPLATE_PARTS_MAX 16

struct template_part {
	enum variable variable;
	/* VARIABLE_NONE: the literal text; otherwise the argument, or empty */
	struct slice text;
};

struct template
{
	unsigned part_n;
	const struct template_part *parts;
};

/* Compiles `text` into `parts`, an array of TEMPLATE_PARTS_MAX. The template points to `parts`,
 * and these point into `text`. Returns 0; or -1 and sets *column to the offset of the error (from
 * 0) and *why to what is wrong and the remedy (static text, or valid until the next call on this
 * thread). */
int template_compile(struct template *t, struct template_part *parts, struct slice text,
		     size_t *column, const char **why);

/* As template_compile(), with the variables of logs. */
int template_compile_log(struct template *t, struct template_part *parts, struct slice text,
			 size_t *column, const char **why);

/* The name of a variable, as between "${" and "}", without its argument. */
struct slice variable_text(enum variable v);

#endif
