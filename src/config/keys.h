/* The rows of keys.def as a table. */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "config/config.h"

enum section {
#define SECTION(id, path, type) SECTION_##id,
#include "config/keys.def"
	SECTIONS,
};

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

/* Indices of the rows, in keys[] and in struct section_values. */
enum key_id {
#define KEY(section, name, ...) KEY_##section##_##name,
#define NODE(section, name, ...) KEY_##section##_##name,
#include "config/keys.def"
	KEYS,
};

struct key {
	enum section section;
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

extern const struct key keys[KEYS];

/* The prefix of the names of a section's keys, such as "limits." */
extern const char *const section_paths[SECTIONS];

/* restart.c: a change of the key takes effect only when a new worker process starts. */
bool key_needs_restart(const struct key *k);

/* NULL: the section has no key with that name. */
const struct key *key_find(enum section s, struct slice name);

#endif
