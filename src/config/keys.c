#include "config/keys.h"

#include "base/check.h"
#include "config/rule.h"
#include "http/head.h"
#include "reader.h"

#define SECTION(id, path, type) \
	typedef type type_##id; \
	static const struct key rows_of_##id[] = {
#define KEY(section, ...) KEY_ROW(type_##section, __VA_ARGS__),
#define NODE(section, ...) NODE_ROW(__VA_ARGS__),
#define END(id) };
#include "config/keys.def"

#define SECTION(id, path, type) \
	const struct section section_##id = { path, rows_of_##id, COUNT(rows_of_##id) };
#include "config/keys.def"

const struct section *const core_sections[] = {
#define SECTION(id, path, type) &section_##id,
#include "config/keys.def"
	NULL,
};

size_t actions_count(void)
{
	size_t n = 0;

	while (config_actions[n])
		n++;
	return n;
}

const struct key *section_key(const struct section *s, size_t index)
{
	const struct config_rule *rule;

	ASSERT(index < SECTION_KEYS_MAX);
	if (index < s->row_n)
		return &s->rows[index];
	if (s != &section_route)
		return NULL;
	index -= s->row_n;
	if (index < actions_count())
		return &config_actions[index]->key;
	rule = config_rules[index - actions_count()];
	return rule ? &rule->key : NULL;
}
