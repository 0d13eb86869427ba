#include "nametable.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

#define PLACES_FIRST 16

static uint32_t hash_of(struct slice name)
{
	return (uint32_t)hash_mix(hash_bytes(HASH_BEGIN, name));
}

/* Where the name is, or the free place where it would be. */
static uint32_t *place_of(const struct nametable *t, struct slice name, uint32_t hash)
{
	size_t at = hash & t->places_mask;

	for (;; at = (at + 1) & t->places_mask) {
		uint32_t *place = &t->places[at];
		const struct nametable_row *row = *place ? &t->rows[*place - 1] : NULL;

		if (!row || (row->hash == hash && slice_equal(row->name, name)))
			return place;
	}
}

static bool places_grow(struct nametable *t)
{
	size_t n = t->places ? 2 * (t->places_mask + 1) : PLACES_FIRST;
	uint32_t *places = calloc(n, sizeof(*places));

	if (!places)
		return false;
	free(t->places);
	t->places = places;
	t->places_mask = n - 1;
	for (size_t i = 0; i < t->n; i++)
		*place_of(t, t->rows[i].name, t->rows[i].hash) = (uint32_t)i + 1;
	return true;
}

static bool rows_grow(struct nametable *t)
{
	size_t room = t->room ? 2 * t->room : PLACES_FIRST / 2;
	struct nametable_row *rows = realloc(t->rows, room * sizeof(*rows));

	if (!rows)
		return false;
	t->rows = rows;
	t->room = room;
	return true;
}

bool nametable_add(struct nametable *t, struct slice name, uint32_t value)
{
	uint32_t hash = hash_of(name);
	uint32_t *place;

	ASSERT(t->n < UINT32_MAX / 2);
	if ((t->n == t->room && !rows_grow(t)) ||
	    ((!t->places || 2 * (t->n + 1) > t->places_mask + 1) && !places_grow(t)))
		return false;
	place = place_of(t, name, hash);
	ASSERT(*place == 0);
	t->rows[t->n] = (struct nametable_row){ name, value, hash };
	*place = (uint32_t)++t->n;
	return true;
}

uint32_t *nametable_at(const struct nametable *t, struct slice name)
{
	uint32_t place = t->n > 0 ? *place_of(t, name, hash_of(name)) : 0;

	return place ? &t->rows[place - 1].value : NULL;
}

/* `*.rest` for the first label of a host. False: the host has one label only, or is too long. */
static bool wildcard_of(struct slice host, char *text, size_t size,
			struct slice *wildcard)
{
	const char *dot = host.len > 0 ? memchr(host.ptr, '.', host.len) : NULL;
	struct slice rest;

	if (!dot || dot == host.ptr)
		return false;
	rest = slice_after(host, (size_t)(dot - host.ptr));
	if (rest.len + 1 > size)
		return false;
	text[0] = '*';
	memcpy(text + 1, rest.ptr, rest.len);
	*wildcard = (struct slice){ text, rest.len + 1 };
	return true;
}

bool nametable_find(const struct nametable *t, struct slice host, uint32_t *value)
{
	char text[256];
	struct slice wildcard;
	const uint32_t *found;

	if (host.len > 0 && host.ptr[host.len - 1] == '.')
		host.len--;
	/* A host that begins with an asterisk is not a host. */
	if (t->n == 0 || host.len == 0 || host.ptr[0] == '*')
		return false;
	found = nametable_at(t, host);
	if (!found && wildcard_of(host, text, sizeof(text), &wildcard))
		found = nametable_at(t, wildcard);
	if (found)
		*value = *found;
	return found;
}

void nametable_free(struct nametable *t)
{
	free(t->rows);
	free(t->places);
	*t = (struct nametable){ 0 };
}
