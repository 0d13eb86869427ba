#include "simnet.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define CAPACITY_FIRST 512u

static void pipe_grow(struct endpoint *e, uint32_t len)
{
	uint32_t capacity = e->capacity ? e->capacity : CAPACITY_FIRST;
	uint32_t first = e->capacity - e->head < e->len ? e->capacity - e->head : e->len;
	char *data;

	while (capacity < len)
		capacity *= 2;
	if (capacity == e->capacity)
		return;
	data = malloc(capacity);
	ASSERT(data);
	if (e->len > 0) {
		memcpy(data, e->data + e->head, first);
		memcpy(data + first, e->data, e->len - first);
	}
	free(e->data);
	e->data = data;
	e->capacity = capacity;
	e->head = 0;
}

void pipe_write(struct endpoint *e, const char *bytes, uint32_t n)
{
	uint32_t at, first;

	pipe_grow(e, e->len + n);
	at = (e->head + e->len) % e->capacity;
	first = e->capacity - at < n ? e->capacity - at : n;
	memcpy(e->data + at, bytes, first);
	memcpy(e->data, bytes + first, n - first);
	e->len += n;
}

void pipe_read(struct endpoint *e, char *bytes, uint32_t n)
{
	uint32_t first = e->capacity - e->head < n ? e->capacity - e->head : n;

	ASSERT(n <= e->len);
	if (n == 0)
		return;
	if (bytes) {
		memcpy(bytes, e->data + e->head, first);
		memcpy(bytes + first, e->data, n - first);
	}
	e->head = (e->head + n) % e->capacity;
	e->read += n;
	e->len -= n;
}
