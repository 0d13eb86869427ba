#include "keys.h"

#include "http/head.h"

#define SECTION(id, path, type) typedef type type_##id;
#include "config/keys.def"

const char *const section_paths[SECTIONS] = {
#define SECTION(id, path, type) path,
#include "config/keys.def"
};

const struct key keys[KEYS] = {
#define KEY(section_, name_, kind_, field_, preset_, min_, max_, words_, protocol_, \
	    help_)                                                                  \
	{ .section = SECTION_##section_,                                            \
	  .name = { #name_, sizeof(#name_) - 1 },                                   \
	  .kind = KIND_##kind_,                                                     \
	  .offset = offsetof(type_##section_, field_),                              \
	  .bytes = sizeof(((type_##section_ *)NULL)->field_),                       \
	  .preset = preset_,                                                        \
	  .required = !preset_,                                                     \
	  .min = min_,                                                              \
	  .max = max_,                                                              \
	  .words = words_,                                                          \
	  .protocol = PROTOCOL_##protocol_,                                         \
	  .help = help_ },
#define NODE(section_, name_, form_, preset_, help_)                                \
	{ .section = SECTION_##section_,                                            \
	  .name = { #name_, sizeof(#name_) - 1 },                                   \
	  .kind = KIND_NODE,                                                        \
	  .preset = preset_,                                                        \
	  .required = sizeof(preset_) == sizeof("required") && (preset_)[0] == 'r', \
	  .form = form_,                                                            \
	  .help = help_ },
#include "config/keys.def"
};

const struct key *key_find(enum section s, struct slice name)
{
	for (size_t i = 0; i < KEYS; i++)
		if (keys[i].section == s && slice_equal(keys[i].name, name))
			return &keys[i];
	return NULL;
}
