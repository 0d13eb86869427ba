/* Keys that a reload cannot change: see restart.def. */
#include "config/config.h"

#include <string.h>

#include "value.h"

static const struct {
	const struct section *section;
	enum key_id key;
} restart_keys[] = {
#define RESTART(section, name) { &section_##section, KEY_##section##_##name },
#include "config/restart.def"
#undef RESTART
};

bool key_needs_restart(const struct key *k)
{
	for (size_t i = 0; i < COUNT(restart_keys); i++)
		if (k == &restart_keys[i].section->rows[restart_keys[i].key])
			return true;
	return false;
}

static const void *struct_of(const struct config *c, const struct section *s)
{
	return s == &section_limits ? (const void *)&c->limits : (const void *)c;
}

static bool value_equal(const struct section *s, const struct key *k,
			const struct config *a, const struct config *b)
{
	const char *in_a = struct_of(a, s), *in_b = struct_of(b, s);

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
		const struct section *s = restart_keys[i].section;
		const struct key *k = &s->rows[restart_keys[i].key];

		if (value_equal(s, k, running, wanted))
			continue;
		n++;
		fprintf(out,
			"%s: '%s%s' stays as it was; a change requires an upgrade or a "
			"restart\n",
			wanted->file, s->path, k->name.ptr);
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
