/* A view of bytes that another object owns: pointer and length. Not NUL-terminated; never
 * freed through the slice. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct slice {
	const char *ptr; /* may be NULL when len is 0 */
	size_t len;
};

/* A string literal as a slice. */
#define SLICE(literal) ((struct slice){ (literal), sizeof(literal) - 1 })

/* For printf: "%.*s", SLICE_ARG(s) */
#define SLICE_ARG(s) (int)(s).len, (s).ptr

static inline struct slice slice_of(const char *string)
{
	return (struct slice){ string, string ? strlen(string) : 0 };
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Equal but for ASCII case: for field names, hosts and most tokens. */
static inline bool slice_equal_nocase(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
	return s.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* The same but for ASCII case. */
static inline bool slice_starts_nocase(struct slice s, struct slice prefix)
{
	return s.len >= prefix.len &&
	       slice_equal_nocase((struct slice){ s.ptr, prefix.len }, prefix);
}

/* The slice without its first n bytes; n <= s.len. */
static inline struct slice slice_after(struct slice s, size_t n)
{
	return (struct slice){ s.ptr + n, s.len - n };
}

/* The slice without spaces and tabs (OWS, RFC 9110 5.6.3) at either end. */
static inline struct slice slice_trim(struct slice s)
{
	while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
		s.ptr++;
		s.len--;
	}
	while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Copies the bytes to `at`; returns where the copy ends. Names and most values are short: copying
 * those here, in two halves that may overlap, takes half the instructions of a call. */
static inline char *slice_append(char *at, struct slice s)
{
	if (s.len >= 32)
		return mempcpy(at, s.ptr, s.len);
	if (s.len >= 16) {
		memcpy(at, s.ptr, 16);
		memcpy(at + s.len - 16, s.ptr + s.len - 16, 16);
	} else if (s.len >= 8) {
		memcpy(at, s.ptr, 8);
		memcpy(at + s.len - 8, s.ptr + s.len - 8, 8);
	} else if (s.len >= 4) {
		memcpy(at, s.ptr, 4);
		memcpy(at + s.len - 4, s.ptr + s.len - 4, 4);
	} else if (s.len > 0) {
		at[0] = s.ptr[0];
		at[s.len / 2] = s.ptr[s.len / 2];
		at[s.len - 1] = s.ptr[s.len - 1];
	}
	return at + s.len;
}

#endif
