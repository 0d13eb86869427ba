#include "certtable.h"

#include <stdlib.h>

#include "base/check.h"

/* Of two for one name: the later expiry, so that a renewed certificate wins over the old one; else
 * the first in the list. */
static void set_offer(struct certset *set, const struct certificate *c)
{
	const struct certificate **best = &set->of[c->kind];

	if (!*best || c->seen.not_after > (*best)->seen.not_after)
		*best = c;
}

static bool certtable_add(struct certtable *t, const struct certificate *c, size_t *room)
{
	for (size_t i = 0; i < c->seen.names_n; i++) {
		struct slice name = slice_of(c->seen.names[i]);
		const uint32_t *known = nametable_at(&t->names, name);

		if (!known) {
			if (t->sets_n == *room) {
				size_t more = *room ? 2 * *room : 8;
				struct certset *sets = realloc(t->sets,
							       more * sizeof(*sets));

				if (!sets)
					return false;
				t->sets = sets;
				*room = more;
			}
			if (!nametable_add(&t->names, name, (uint32_t)t->sets_n))
				return false;
			t->sets[t->sets_n++] = (struct certset){ 0 };
			known = nametable_at(&t->names, name);
		}
		set_offer(&t->sets[*known], c);
	}
	return true;
}

/* The first pair, and those of other kinds that its first name has. */
static void certtable_choose_first(struct certtable *t, const struct certificate *c)
{
	if (c->seen.names_n > 0)
		t->first = t->sets[*nametable_at(&t->names, slice_of(c->seen.names[0]))];
	t->first.of[c->kind] = c;
}

bool certtable_init(struct certtable *t, struct certificate *const *certificates,
		    size_t n)
{
	size_t room = 0;

	ASSERT(n > 0);
	*t = (struct certtable){ 0 };
	for (size_t i = 0; i < n; i++)
		if (!certtable_add(t, certificates[i], &room))
			return false;
	certtable_choose_first(t, certificates[0]);
	return true;
}

const struct certset *certtable_find(const struct certtable *t, struct slice name)
{
	uint32_t value;

	return nametable_find(&t->names, name, &value) ? &t->sets[value] : NULL;
}

void certtable_done(struct certtable *t)
{
	nametable_free(&t->names);
	free(t->sets);
	*t = (struct certtable){ 0 };
}
