#include "snapshot.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct record {
	uint32_t kind, key_n, value_n;
};

void snapshot_add(struct snapshot *s, enum record_kind kind, struct slice key,
		  struct slice value)
{
	struct record r = { kind, (uint32_t)key.len, (uint32_t)value.len };
	size_t need = s->n + sizeof(r) + key.len + value.len;

	if (need > s->capacity) {
		s->capacity = need + need / 2;
		s->bytes = realloc(s->bytes, s->capacity);
		ASSERT(s->bytes); /* out of memory: see arena.h */
	}
	memcpy(s->bytes + s->n, &r, sizeof(r));
	memcpy(s->bytes + s->n + sizeof(r), key.ptr, key.len);
	if (value.len > 0)
		memcpy(s->bytes + s->n + sizeof(r) + key.len, value.ptr, value.len);
	s->n = need;
}

struct slice snapshot_take(struct snapshot *s)
{
	char *bytes = s->n > 0 ? realloc(s->bytes, s->n) : NULL;
	struct slice taken = { bytes ? bytes : s->bytes, s->n };

	*s = (struct snapshot){ 0 };
	return taken;
}

/* Reads the record at *at and advances *at behind it. False: there is no complete record. */
static bool record_next(const struct snapshot *s, size_t *at, struct record *r,
			struct slice *key, struct slice *value)
{
	const char *text;
	size_t left = s->n - *at;

	if (left < sizeof(*r))
		return false;
	text = s->bytes + *at + sizeof(*r);
	memcpy(r, s->bytes + *at, sizeof(*r));
	left -= sizeof(*r);
	if (left < r->key_n || left - r->key_n < r->value_n)
		return false;
	*key = (struct slice){ text, r->key_n };
	*value = (struct slice){ text + r->key_n, r->value_n };
	*at += sizeof(*r) + r->key_n + r->value_n;
	return true;
}

void snapshot_copy(struct snapshot *s, const struct snapshot *from, enum record_kind end)
{
	struct slice key, value;
	struct record r;

	for (size_t at = 0; record_next(from, &at, &r, &key, &value);)
		if (r.kind < (uint32_t)end)
			snapshot_add(s, (enum record_kind)r.kind, key, value);
}

/* Searches from s->at to the end, then from the start to where the search began: records are
 * read in the order in which they were written, so that the next one mostly matches. */
bool snapshot_find(struct snapshot *s, enum record_kind kind, struct slice key,
		   struct slice *value)
{
	size_t begin = s->at;
	struct slice record_key;
	struct record r;

	for (int round = 0; round < 2; round++) {
		while (record_next(s, &s->at, &r, &record_key, value)) {
			if (r.kind == kind && slice_equal(record_key, key))
				return true;
			if (round == 1 && s->at > begin)
				return false;
		}
		s->at = 0;
	}
	return false;
}

bool snapshot_next(const struct snapshot *s, size_t *at, enum record_kind kind,
		   struct slice *key, struct slice *value)
{
	struct record r;

	while (record_next(s, at, &r, key, value))
		if (r.kind == kind)
			return true;
	return false;
}

bool snapshot_first(const struct snapshot *s, enum record_kind kind, struct slice *key,
		    struct slice *value)
{
	size_t at = 0;

	return snapshot_next(s, &at, kind, key, value);
}
