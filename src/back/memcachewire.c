#include "back/memcachewire.h"

#include <inttypes.h>
#include <stdio.h>

/* The rest of a line that is being parsed. */
struct words {
	struct slice left;
};

bool memcache_key_valid(struct slice key)
{
	if (key.len < 1 || key.len > MEMCACHE_KEY_MAX)
		return false;
	for (size_t i = 0; i < key.len; i++) {
		unsigned char c = (unsigned char)key.ptr[i];

		if (c <= ' ' || c == 0x7f)
			return false;
	}
	return true;
}

static char *emit_append(char *out, struct slice s)
{
	memcpy(out, s.ptr, s.len);
	return out + s.len;
}

size_t memcache_emit(char *out, enum memcache_command command, struct slice key,
		     uint32_t ttl_s)
{
	char *end = out, number[16];

	ASSERT(key.len >= 1 && key.len <= MEMCACHE_KEY_MAX);
	switch (command) {
	case MEMCACHE_GET:
		end = emit_append(end, SLICE("get "));
		end = emit_append(end, key);
		break;
	case MEMCACHE_MG:
		end = emit_append(end, SLICE("mg "));
		end = emit_append(end, key);
		end = emit_append(end, SLICE(" v"));
		break;
	case MEMCACHE_COUNT:
		snprintf(number, sizeof(number), " N%" PRIu32, ttl_s);
		end = emit_append(end, SLICE("ma "));
		end = emit_append(end, key);
		end = emit_append(end, slice_of(number));
		end = emit_append(end, SLICE(" J1 v"));
		break;
	case MEMCACHE_UNCOUNT:
		end = emit_append(end, SLICE("ma "));
		end = emit_append(end, key);
		end = emit_append(end, SLICE(" MD v"));
		break;
	}
	end = emit_append(end, SLICE("\r\n"));
	return (size_t)(end - out);
}

/* ---- replies ---------------------------------------------------------------- */

/* Skips the expected bytes; false: the line does not begin with them. */
static bool skip(struct words *w, struct slice expected)
{
	if (!slice_starts(w->left, expected))
		return false;
	w->left = slice_after(w->left, expected.len);
	return true;
}

/* Parses a decimal number up to `max`, of at least one digit. */
static bool take_number(struct words *w, uint32_t max, uint64_t *value)
{
	size_t i = 0;

	*value = 0;
	for (; i < w->left.len && w->left.ptr[i] >= '0' && w->left.ptr[i] <= '9'; i++) {
		*value = *value * 10 + (uint64_t)(w->left.ptr[i] - '0');
		if (*value > max)
			return false;
	}
	w->left = slice_after(w->left, i);
	return i > 0;
}

/* "VALUE KEY FLAGS LENGTH" */
static bool parse_value(struct memcache_reply *r, struct words w, struct slice key)
{
	uint64_t flags;

	if (!skip(&w, key) || !skip(&w, SLICE(" ")) ||
	    !take_number(&w, UINT32_MAX, &flags) || !skip(&w, SLICE(" ")) ||
	    !take_number(&w, MEMCACHE_VALUE_MAX, &r->length))
		return false;
	r->kind = MEMCACHE_HIT;
	r->tail = sizeof("\r\nEND\r\n") - 1;
	return w.left.len == 0;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* "VA LENGTH", optionally with flags, each beginning with a letter. */
static bool parse_va(struct memcache_reply *r, struct words w)
{
	if (!take_number(&w, MEMCACHE_VALUE_MAX, &r->length))
		return false;
	r->kind = MEMCACHE_HIT;
	r->tail = sizeof("\r\n") - 1;
	while (w.left.len > 0) {
		if (!skip(&w, SLICE(" ")) || w.left.len == 0 || !is_letter(w.left.ptr[0]))
			return false;
		while (w.left.len > 0 && w.left.ptr[0] > ' ' && w.left.ptr[0] < 0x7f)
			w.left = slice_after(w.left, 1);
	}
	return true;
}

static bool is_error(struct slice line)
{
	return slice_equal(line, SLICE("ERROR")) || slice_starts(line, SLICE("ERROR ")) ||
	       slice_starts(line, SLICE("CLIENT_ERROR ")) ||
	       slice_starts(line, SLICE("SERVER_ERROR "));
}

static bool parse_line(struct memcache_reply *r, enum memcache_command command,
		       struct slice key, struct slice line)
{
	struct words w = { line };
	struct slice miss = SLICE("END");

	if (is_error(line)) {
		r->kind = MEMCACHE_ERROR;
		r->text = line;
		return !memchr(line.ptr, '\r', line.len);
	}
	switch (command) {
	case MEMCACHE_GET:
		if (skip(&w, SLICE("VALUE ")))
			return parse_value(r, w, key);
		break;
	case MEMCACHE_MG:
		if (skip(&w, SLICE("VA ")))
			return parse_va(r, w);
		miss = SLICE("EN");
		break;
	case MEMCACHE_COUNT:
	case MEMCACHE_UNCOUNT:
		if (skip(&w, SLICE("VA ")))
			return parse_va(r, w);
		/* Not found; not stored is nothing else to the caller. */
		miss = slice_equal(line, SLICE("NS")) ? line : SLICE("NF");
		break;
	}
	r->kind = MEMCACHE_MISS;
	return slice_equal(line, miss);
}

enum verdict memcache_parse_reply(struct memcache_reply *r, enum memcache_command command,
				  struct slice key, const char *bytes, size_t n)
{
	size_t max = n < MEMCACHE_LINE_MAX ? n : MEMCACHE_LINE_MAX;
	const char *lf = max > 0 ? memchr(bytes, '\n', max) : NULL;

	memset(r, 0, sizeof(*r));
	if (!lf)
		return max < MEMCACHE_LINE_MAX ? VERDICT_MORE : VERDICT_BAD;
	r->line = (size_t)(lf - bytes) + 1;
	if (r->line < 2 || lf[-1] != '\r')
		return VERDICT_BAD;
	if (!parse_line(r, command, key, (struct slice){ bytes, r->line - 2 }))
		return VERDICT_BAD;
	return VERDICT_OK;
}

bool memcache_tail_valid(const struct memcache_reply *r, enum memcache_command command,
			 const char *tail)
{
	switch (command) {
	case MEMCACHE_GET:
		return slice_equal((struct slice){ tail, r->tail }, SLICE("\r\nEND\r\n"));
	case MEMCACHE_MG:
	case MEMCACHE_COUNT:
	case MEMCACHE_UNCOUNT:
		return slice_equal((struct slice){ tail, r->tail }, SLICE("\r\n"));
	}
	return false;
}
