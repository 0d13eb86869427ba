/* What the next program takes over at an upgrade: contents of files, the secret of tickets. The
 * numbers of record kinds are those of one program, so the kinds have names here. */
#include "contents.h"

#include <inttypes.h>
#include <stdlib.h>

static const struct {
	enum record_kind kind;
	const char *name;
} kinds[] = {
	{ RECORD_CONTENT, "content" }, { RECORD_FOLDER, "folder" },
	{ RECORD_PAIR, "pair" },       { RECORD_REFUSED, "refused" },
	{ RECORD_REFUSED_N, "count" }, { RECORD_SECRET, "secret" },
};

#define NAME_MAX_BYTES 16

void config_write_contents(const struct config *c, FILE *out)
{
	struct snapshot all = { .bytes = (char *)(uintptr_t)c->snapshot.ptr,
				.n = c->snapshot.len };
	struct slice key, value;

	for (size_t i = 0; i < COUNT(kinds); i++)
		for (size_t at = 0;
		     snapshot_next(&all, &at, kinds[i].kind, &key, &value);) {
			fprintf(out, "%s %zu %zu\n", kinds[i].name, key.len, value.len);
			fwrite(key.ptr, 1, key.len, out);
			fwrite(value.ptr, 1, value.len, out);
		}
}

/* Takes the first line of a record. False: it is not one, or its bytes are not all there. */
static bool head_take(struct slice *text, char name[NAME_MAX_BYTES], size_t *key_n,
		      size_t *value_n)
{
	char line[64];
	const char *end = memchr(text->ptr, '\n', text->len);
	size_t n = end ? (size_t)(end - text->ptr) : 0;

	if (!end || n >= sizeof(line))
		return false;
	memcpy(line, text->ptr, n);
	line[n] = '\0';
	if (sscanf(line, "%15s %zu %zu", name, key_n, value_n) != 3)
		return false;
	*text = slice_after(*text, n + 1);
	return *key_n <= text->len && *value_n <= text->len - *key_n;
}

void contents_parse(struct snapshot *s, struct slice text)
{
	char name[NAME_MAX_BYTES];
	size_t key_n, value_n;

	while (text.len > 0 && head_take(&text, name, &key_n, &value_n)) {
		struct slice key = { text.ptr, key_n },
			     value = { text.ptr + key_n, value_n };

		for (size_t i = 0; i < COUNT(kinds); i++)
			if (strcmp(name, kinds[i].name) == 0)
				snapshot_add(s, kinds[i].kind, key, value);
		text = slice_after(text, key_n + value_n);
	}
}
