/* The schema of the file as tables: a section for each map, a key for each of its entries.
 *
 * The rows of keys.def are the sections of the core. An action has sections of its own, which it
 * writes with the same macros (see struct config_action). All are constant. */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "config/config.h"
#include "config/match.h"
#include "config/tls.h"
#include "config/upstreamtls.h"

enum value_kind {
	KIND_COUNT,
	KIND_DURATION,
	KIND_SIZE,
	KIND_WORD,
	KIND_STRING,
	KIND_PATH,
	KIND_HOST,
	KIND_VALUE,
	KIND_URI,
	KIND_NODE, /* not a scalar, or a scalar with a parser of its own */
};

enum key_protocol { PROTOCOL_ANY, PROTOCOL_HTTP, PROTOCOL_MEMCACHED };

struct key {
	struct slice name;
	enum value_kind kind;
	size_t offset, bytes; /* of the field in the struct of the section */
	const char *preset;   /* the default, as in the file; NULL: required */
	bool required;
	uint64_t min, max;
	const char *words; /* "a|b": see keys.def */
	enum key_protocol protocol;
	const char *form; /* of KIND_NODE: the syntax of the value */
	const char *help;
};

/* Initializers of a key, with the columns of keys.def; `type` is the struct of the section. */
#define KEY_ROW(type, name_, kind_, field_, preset_, min_, max_, words_, protocol_, help_) \
	{ .name = { #name_, sizeof(#name_) - 1 },                                          \
	  .kind = KIND_##kind_,                                                            \
	  .offset = offsetof(type, field_),                                                \
	  .bytes = sizeof(((type *)NULL)->field_),                                         \
	  .preset = preset_,                                                               \
	  .required = !preset_,                                                            \
	  .min = min_,                                                                     \
	  .max = max_,                                                                     \
	  .words = words_,                                                                 \
	  .protocol = PROTOCOL_##protocol_,                                                \
	  .help = help_ }
#define NODE_ROW(name_, form_, preset_, help_)                                    \
	{ .name = { #name_, sizeof(#name_) - 1 },                                 \
	  .kind = KIND_NODE,                                                      \
	  .preset = preset_,                                                      \
	  .required = sizeof(preset_) == sizeof("required") && (preset_)[0] == 'r', \
	  .form = form_,                                                          \
	  .help = help_ }

/* A map in the file. */
struct section {
	const char *path; /* prefix of the names of its keys, such as "limits." */
	const struct key *rows;
	size_t row_n;
};

/* Most keys of a section, with the actions and rules of a route. */
#define SECTION_KEYS_MAX 96

#define SECTION(id, path, type) extern const struct section section_##id;
#include "config/keys.def"

/* The sections of keys.def, in its order; ends with NULL. */
extern const struct section *const core_sections[];

/* Indices of the rows of keys.def in their section, and in struct section_values. */
enum key_id {
#define SECTION(id, path, type) KEY_##id##_begin = -1,
#define KEY(section, name, ...) KEY_##section##_##name,
#define NODE(section, name, ...) KEY_##section##_##name,
#include "config/keys.def"
};

/* The key of a row of keys.def. */
#define KEY_OF(section, name) (&section_##section.rows[KEY_##section##_##name])

/* The key with an index in the section; behind the rows of a route those of the actions, then those
 * of the rules. NULL: the index is past the last one. */
const struct key *section_key(const struct section *s, size_t index);

/* restart.c: a change of the key takes effect only when a new worker process starts. */
bool key_needs_restart(const struct key *k);

#endif
