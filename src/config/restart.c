/* Keys that a reload cannot change: see restart.def. */
#include "config/config.h"

#include <string.h>

#include "value.h"

static const enum key_id restart_keys[] = {
#define RESTART(section, name) KEY_##section##_##name,
#include "config/restart.def"
#undef RESTART
};

bool key_needs_restart(const struct key *k)
{
	for (size_t i = 0; i < COUNT(restart_keys); i++)
		if (k == &keys[restart_keys[i]])
			return true;
	return false;
}

static const void *struct_of(const struct config *c, enum section s)
{
	return s == SECTION_limits ? (const void *)&c->limits : (const void *)c;
}

static bool value_equal(const struct key *k, const struct config *a,
			const struct config *b)
{
	const char *in_a = struct_of(a, k->section), *in_b = struct_of(b, k->section);

	if (k->kind == KIND_STRING)
		return strcmp(*(const char *const *)(const void *)(in_a + k->offset),
			      *(const char *const *)(const void *)(in_b + k->offset)) == 0;
	return value_number(k, in_a) == value_number(k, in_b);
}

unsigned config_restart_needed(const struct config *running, const struct config *wanted,
			       FILE *out)
{
	unsigned n = 0;

	for (size_t i = 0; i < COUNT(restart_keys); i++) {
		const struct key *k = &keys[restart_keys[i]];

		if (value_equal(k, running, wanted))
			continue;
		n++;
		fprintf(out,
			"%s: '%s%s' stays as it was; a change requires an upgrade or a "
			"restart\n",
			wanted->file, section_paths[k->section], k->name.ptr);
	}
	/* The worker process has no resolver thread then, and its sandbox allows no new one. */
	if (running->resolver.off && !wanted->resolver.off) {
		n++;
		fprintf(out,
			"%s: 'resolver: off' stays as it was; a change requires an upgrade "
			"or a restart\n",
			wanted->file);
	}
	return n;
}
