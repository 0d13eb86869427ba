/* Text with variables: "session:${path.rest}". Compiled when the configuration is
 * read; evaluated by route/variable. "$$" is a dollar sign. */
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
};

#define TEMPLATE_PARTS_MAX 16

struct template_part {
	enum variable variable;
	struct slice text; /* literal: the text; else the argument, or empty */
};

struct template
{
	unsigned part_n;
	const struct template_part *parts;
};

/* Compiles `text`, into which the parts point, to `room` for TEMPLATE_PARTS_MAX of them, which
 * the template points to. Returns 0, or -1 with *column set to the offset (from 0) of what is
 * wrong and *why to what and the remedy (static or thread-local text). */
int template_compile(struct template *t, struct template_part *room, struct slice text,
		     size_t *column, const char **why);

/* What stands between "${" and "}", without the argument. */
struct slice variable_text(enum variable v);

#endif
