/* The rows of keys.def. */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "config/config.h"

enum section {
#define SECTION(id, path, type) SECTION_##id,
#include "config/keys.def"
	SECTIONS,
};

enum kind {
	KIND_COUNT,
	KIND_DURATION,
	KIND_SIZE,
	KIND_WORD,
	KIND_STRING,
	KIND_PATH,
	KIND_HOST,
	KIND_VALUE,
	KIND_URI,
	KIND_NODE, /* read by code of its own */
};

enum key_protocol { PROTOCOL_ANY, PROTOCOL_HTTP, PROTOCOL_MEMCACHED };

/* Names of the rows, for the code that reads what is no plain value. */
enum key_id {
#define KEY(section, name, ...) KEY_##section##_##name,
#define NODE(section, name, ...) KEY_##section##_##name,
#include "config/keys.def"
	KEYS,
};

struct key {
	enum section section;
	struct slice name;
	enum kind kind;
	size_t offset, bytes; /* of the field in the section's struct */
	const char *preset;
	bool required;
	uint64_t min, max;
	const char *words;
	enum key_protocol protocol;
	const char *form; /* of KIND_NODE: what one writes */
	const char *help;
};

extern const struct key keys[KEYS];

/* The path of a section's keys: "limits." */
extern const char *const section_paths[SECTIONS];

/* restart.c: it goes by what it was when the worker process started. */
bool key_needs_restart(const struct key *k);

/* NULL: there is none of that name. */
const struct key *key_find(enum section s, struct slice name);

#endif
