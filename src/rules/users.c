#include "users.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "credentials.h"
#include "password.h"

static int compare_names(struct slice a, struct slice b)
{
	int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_users(const void *a, const void *b)
{
	return compare_names(((const struct user *)a)->name,
			     ((const struct user *)b)->name);
}

static struct slice take_line(struct slice *rest)
{
	const char *end = memchr(rest->ptr, '\n', rest->len);
	struct slice line = *rest;

	if (end)
		line.len = (size_t)(end - rest->ptr);
	*rest = slice_after(*rest, line.len + (end ? 1 : 0));
	if (line.len > 0 && line.ptr[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* Cuts text up to the next colon off. */
static struct slice take_part(struct slice *rest)
{
	const char *colon = rest->len > 0 ? memchr(rest->ptr, ':', rest->len) : NULL;
	struct slice part = *rest;

	if (colon)
		part.len = (size_t)(colon - rest->ptr);
	*rest = slice_after(*rest, part.len + (colon ? 1 : 0));
	return part;
}

static bool name_usable(struct slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.ptr[i] < ' ' || name.ptr[i] == 0x7f)
			return false;
	return name.len > 0 && name.len <= CREDENTIALS_USER_MAX;
}

/* NULL, or what is wrong with the line. */
static const char *user_read(struct user *u, struct slice line, struct arena *memory)
{
	const char *fault;

	if (!memchr(line.ptr, ':', line.len))
		return "there is no ':' in it; write NAME:HASH";
	u->name = take_part(&line);
	u->hash = take_part(&line);
	if (!name_usable(u->name))
		return "the name is empty, longer than 255 bytes or has control characters; write "
		       "NAME:HASH";
	fault = password_hash_fault(u->hash);
	return fault ? arena_format(memory, "the hash of '%.*s' %s", SLICE_ARG(u->name),
				    fault)
		     : NULL;
}

static unsigned count_lines(struct slice text)
{
	unsigned n = 1;

	for (size_t i = 0; i < text.len; i++)
		n += text.ptr[i] == '\n';
	return n;
}

/* The second user of a name that two have; NULL: none have. */
static const struct user *twice(const struct users *u)
{
	for (unsigned i = 1; i < u->n; i++)
		if (compare_users(&u->all[i - 1], &u->all[i]) == 0)
			/* Both point into the text: the one that comes later. */
			return u->all[i].name.ptr > u->all[i - 1].name.ptr
				       ? &u->all[i]
				       : &u->all[i - 1];
	return NULL;
}

bool users_read(struct users *u, struct slice text, struct arena *memory,
		struct users_fault *fault)
{
	struct slice rest = text;
	unsigned lines = count_lines(text);
	const struct user *second;

	*u = (struct users){ 0 };
	*fault = (struct users_fault){ 1, NULL };
	if (lines <= USERS_MAX)
		u->all = arena_alloc(memory, lines * sizeof(u->all[0]));
	else
		fault->text =
			"the file has more than 100000 lines; move some to another one";
	for (; rest.len > 0 && !fault->text; fault->line++) {
		struct slice line = take_line(&rest);

		if (line.len == 0 || line.ptr[0] == '#')
			continue;
		fault->text = user_read(&u->all[u->n++], line, memory);
		if (fault->text)
			return false;
	}
	if (!fault->text && u->n == 0)
		*fault = (struct users_fault){
			1, "the file has no users; run htpasswd -B to add one"
		};
	if (fault->text)
		return false;
	qsort(u->all, u->n, sizeof(u->all[0]), compare_users);
	second = twice(u);
	if (second) {
		text.len = (size_t)(second->name.ptr - text.ptr);
		fault->line = count_lines(text);
		fault->text = arena_format(
			memory, "'%.*s' is there already; remove one of the two",
			SLICE_ARG(second->name));
	}
	return !fault->text;
}

const struct user *users_find(const struct users *u, struct slice name)
{
	unsigned from = 0, to = u->n;

	while (from < to) {
		unsigned middle = from + (to - from) / 2;
		int order = compare_names(u->all[middle].name, name);

		if (order == 0)
			return &u->all[middle];
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

const struct user *users_any(const struct users *u, uint64_t number)
{
	ASSERT(u->n > 0);
	return &u->all[number % u->n];
}
