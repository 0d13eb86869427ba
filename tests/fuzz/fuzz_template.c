/* Key templates. An input is a template, LF, and a request head. The compiled template can be
 * written out as the text it came from; and its expansion is that of its parts one by one,
 * whatever the size of the buffer. */
#include <stdlib.h>

#include "back/memcachewire.h"
#include "config/template.h"
#include "lib/fuzz.h"
#include "route/variable.h"

#define ROOM 512

/* The template written out again. */
static size_t write_template(char *out, const struct template *t)
{
	char *at = out;

	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *p = &t->parts[i];
		struct slice name;

		if (p->variable == VARIABLE_NONE) {
			for (size_t k = 0; k < p->text.len; k++) {
				*at++ = p->text.ptr[k];
				if (p->text.ptr[k] == '$')
					*at++ = '$';
			}
			continue;
		}
		name = variable_text(p->variable);
		at = mempcpy(at, "${", 2);
		at = mempcpy(at, name.ptr, name.len);
		if (p->text.len > 0) {
			*at++ = '.';
			at = mempcpy(at, p->text.ptr, p->text.len);
		}
		*at++ = '}';
	}
	return (size_t)(at - out);
}

/* The compiled template writes out as its text, and compiles again. */
static void check_compiled(const struct template *t, struct slice text)
{
	char *out = malloc(2 * text.len + 1);
	struct template_part room[TEMPLATE_PARTS_MAX];
	struct template again;
	const char *why;
	size_t n = write_template(out, t), column;

	ASSERT(slice_equal((struct slice){ out, n }, text));
	ASSERT(template_compile(&again, room, (struct slice){ out, n }, &column, &why) ==
	       0);
	ASSERT(again.part_n == t->part_n);
	free(out);
}

/* Expands into a buffer of exactly `room` bytes; writing further is an error. */
static long expand(const struct template *t, const struct request_view *v, char *out, size_t room)
{
	long n;

	fuzz_forbid(out + room, out + ROOM);
	n = variable_expand(t, v, out, room);
	fuzz_allow(out + room, out + ROOM);
	return n;
}

/* The parts one by one. -1: one has no value; ROOM or more: the result does not fit. */
static long expand_by_parts(const struct template *t, const struct request_view *v,
			    char *out)
{
	static char room[65536];
	size_t n = 0;

	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *p = &t->parts[i];
		struct slice value = p->text;

		if (p->variable != VARIABLE_NONE &&
		    !variable_value(p->variable, p->text, v, room, sizeof(room), &value))
			return n >= ROOM ? ROOM : -1;
		if (n + value.len <= ROOM)
			memcpy(out + n, value.ptr, value.len);
		n += value.len;
	}
	return (long)n;
}

static bool key_is_valid(struct slice key)
{
	for (size_t i = 0; i < key.len; i++)
		if ((unsigned char)key.ptr[i] <= 0x20 || key.ptr[i] == 0x7f)
			return false;
	return key.len >= 1 && key.len <= 250;
}

static void check_key(struct slice key)
{
	char line[MEMCACHE_REQUEST_MAX];
	size_t n;

	ASSERT(memcache_key_valid(key) == key_is_valid(key));
	if (!key_is_valid(key))
		return;
	n = memcache_emit(line, MEMCACHE_MG, key, 0);
	ASSERT(n == key.len + 7 && memcmp(line, "mg ", 3) == 0);
	ASSERT(memcmp(line + 3, key.ptr, key.len) == 0);
	ASSERT(memcmp(line + 3 + key.len, " v\r\n", 4) == 0);
	n = memcache_emit(line, MEMCACHE_GET, key, 0);
	ASSERT(n == key.len + 6 && memcmp(line, "get ", 4) == 0);
}

static void check_expanded(const struct template *t, const struct request_view *v)
{
	char *out = malloc(ROOM), *slow = malloc(ROOM);
	long n = expand(t, v, out, ROOM), expected = expand_by_parts(t, v, slow);

	if (n >= 0) {
		ASSERT(n == expected && memcmp(out, slow, (size_t)n) == 0);
		ASSERT(expand(t, v, slow, (size_t)n) == n);
		ASSERT(memcmp(out, slow, (size_t)n) == 0);
		if (n > 0)
			ASSERT(expand(t, v, slow, (size_t)n - 1) == -2);
		check_key((struct slice){ out, (size_t)n });
	} else {
		ASSERT(n == -1 ? expected == -1 || expected >= ROOM : expected >= ROOM);
	}
	free(out);
	free(slow);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const struct config_route route = { .path = { "/p/", 3 }, .prefix = true };
	static struct head h;
	const struct head_limits limits = { 8192, 50, 0 };
	struct fuzz f = fuzz_begin(bytes, n);
	struct slice text = fuzz_take_until(&f, SLICE("\n"));
	struct template_part room[TEMPLATE_PARTS_MAX];
	struct template t;
	struct request_view v;
	const char *why = NULL;
	size_t column = SIZE_MAX;
	uint32_t scanned = 0;
	char *scratch;

	if (template_compile(&t, room, text, &column, &why) != 0) {
		ASSERT(column < text.len && why && strstr(why, "; "));
		return 0;
	}
	check_compiled(&t, text);
	if (head_parse_request(&h, f.at, f.left, &limits, &scanned) != VERDICT_OK)
		return 0;
	scratch = malloc(h.path.len + h.authority.len + HOST_GROWTH);
	request_view_init(&v, &h, SLICE("192.0.2.1"), scratch);
	v.route = slice_starts(v.path, route.path) ? &route : NULL;
	check_expanded(&t, &v);
	free(scratch);
	return 0;
}
