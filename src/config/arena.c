#include "config/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

/* A new block has a quarter of the bytes allocated so far, within these bounds: little memory
 * is left unused, and free() returns large blocks to the system. */
#define BLOCK_BYTES_MIN ((size_t)16384)
#define BLOCK_BYTES_MAX ((size_t)1 << 20)

struct arena_block {
	struct arena_block *next;
	size_t bytes;
	_Alignas(max_align_t) char data[];
};

static size_t block_bytes(const struct arena *a)
{
	size_t share = a->bytes / 4;

	return share < BLOCK_BYTES_MIN   ? BLOCK_BYTES_MIN
	       : share > BLOCK_BYTES_MAX ? BLOCK_BYTES_MAX
					 : share;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t need = (n + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);

	if (!a->blocks || a->left < need) {
		size_t bytes = need > block_bytes(a) ? need : block_bytes(a);
		struct arena_block *b = calloc(1, sizeof(*b) + bytes);

		ASSERT(b);
		b->bytes = bytes;
		b->next = a->blocks;
		a->blocks = b;
		a->left = bytes;
		a->bytes += bytes;
	}
	a->left -= need;
	return a->blocks->data + (a->blocks->bytes - a->left - need);
}

void *arena_copy(struct arena *a, const void *from, size_t n)
{
	void *copy = arena_alloc(a, n);

	return n > 0 ? memcpy(copy, from, n) : copy;
}

char *arena_text(struct arena *a, struct slice text)
{
	char *copy = arena_alloc(a, text.len + 1);

	if (text.len > 0)
		memcpy(copy, text.ptr, text.len);
	return copy;
}

char *arena_format(struct arena *a, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return arena_text(a, slice_of(text));
}

void arena_cleanse(struct arena *a)
{
	for (struct arena_block *b = a->blocks; b; b = b->next)
		explicit_bzero(b->data, b->bytes);
}

void arena_free(struct arena *a)
{
	struct arena_block *b = a->blocks;

	while (b) {
		struct arena_block *next = b->next;

		free(b);
		b = next;
	}
	*a = (struct arena){ 0 };
}
