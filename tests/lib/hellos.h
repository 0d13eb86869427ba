/* Builds ClientHello messages, for tests of tls/hello.h and tls/ja4.h. */
#ifndef LIB_HELLOS_H
#define LIB_HELLOS_H

#include <string.h>

#include "../../src/tls/hello.h"
#include "lib/hex.h"

#define HELLOS_MAX 20000

struct hellos {
	uint8_t bytes[HELLOS_MAX];
	size_t n;
	size_t extensions; /* where their length is */
};

static inline void hellos_put(struct hellos *b, const void *bytes, size_t n)
{
	ASSERT(b->n + n <= sizeof(b->bytes));
	memcpy(b->bytes + b->n, bytes, n);
	b->n += n;
}

static inline void hellos_put16(struct hellos *b, size_t value)
{
	hellos_put(b, (uint8_t[]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

static inline void hellos_put_hex(struct hellos *b, const char *hex)
{
	b->n += hex_read(hex, b->bytes + b->n, sizeof(b->bytes) - b->n);
}

/* Sets the lengths of the message and of its extensions. */
static inline void hellos_end(struct hellos *b)
{
	size_t n = b->n - 4, extensions = b->n - b->extensions - 2;

	b->bytes[1] = (uint8_t)(n >> 16);
	b->bytes[2] = (uint8_t)(n >> 8);
	b->bytes[3] = (uint8_t)n;
	b->bytes[b->extensions] = (uint8_t)(extensions >> 8);
	b->bytes[b->extensions + 1] = (uint8_t)extensions;
}

/* Up to the extensions. `suites`: hexadecimal. */
static inline void hellos_begin(struct hellos *b, uint16_t version, const char *suites)
{
	static const uint8_t random[32] = "the random of the client, which";
	uint8_t list[2000];
	size_t n = hex_read(suites, list, sizeof(list));

	b->n = 0;
	hellos_put(b, "\1\0\0", 4);
	hellos_put16(b, version);
	hellos_put(b, random, sizeof(random));
	hellos_put(b, "\4sess", 5);
	hellos_put16(b, n);
	hellos_put(b, list, n);
	hellos_put(b, "\1", 2);
	b->extensions = b->n;
	hellos_put16(b, 0);
	hellos_end(b);
}

static inline void hellos_extension(struct hellos *b, uint16_t type, const char *hex)
{
	size_t at = b->n;

	hellos_put16(b, type);
	hellos_put16(b, 0);
	hellos_put_hex(b, hex);
	b->bytes[at + 2] = (uint8_t)((b->n - at - 4) >> 8);
	b->bytes[at + 3] = (uint8_t)(b->n - at - 4);
	hellos_end(b);
}

static inline void hellos_name(struct hellos *b, struct slice name)
{
	hellos_put16(b, 0);
	hellos_put16(b, name.len + 5);
	hellos_put16(b, name.len + 3);
	hellos_put(b, "", 1);
	hellos_put16(b, name.len);
	hellos_put(b, name.ptr, name.len);
	hellos_end(b);
}

static inline struct slice hellos_message(const struct hellos *b)
{
	return (struct slice){ (const char *)b->bytes, b->n };
}

/* The message in records of `fragment` bytes; returns the length. */
static inline size_t hellos_records(const struct hellos *b, size_t fragment, char *out)
{
	char *at = out;

	for (size_t i = 0; i < b->n; i += fragment) {
		size_t n = b->n - i < fragment ? b->n - i : fragment;

		*at++ = 22;
		*at++ = 3;
		*at++ = 1;
		*at++ = (char)(n >> 8);
		*at++ = (char)n;
		memcpy(at, b->bytes + i, n);
		at += n;
	}
	return (size_t)(at - out);
}

#endif
