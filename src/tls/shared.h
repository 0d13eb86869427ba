/* Objects that are decoded once per process and shared by contexts: pairs, issuers, trust. Each is
 * found by the SHA-256 of the bytes it was made from, so a reload decodes only what has changed.
 *
 * Owner: counted references; the last one frees. Contexts hold them, so no connection touches a
 * count. Thread-safe: one lock. Limits: those of the configurations in use. */
#ifndef TLS_SHARED_H
#define TLS_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define SHARED_DIGEST 32

enum shared_kind {
	SHARED_PAIR,
	SHARED_ISSUERS,
	SHARED_TRUST,
	SHARED_POLICY,
	SHARED_SESSION
};

/* The first member of each such object. */
struct shared {
	struct shared *next;
	unsigned refs;
	uint8_t digest[SHARED_DIGEST];
	void (*free)(struct shared *s);
};

/* SHA-256 of the kind and of the parts with their lengths. False: the library failed. */
bool shared_digest(uint8_t digest[SHARED_DIGEST], enum shared_kind kind,
		   const struct slice *parts, size_t n);

/* A new reference; NULL: there is none. */
struct shared *shared_find(const uint8_t digest[SHARED_DIGEST]);

/* Adds a new object, which gets its first reference, `digest` and `free`. If another thread has
 * added the same one, that one is returned instead, and `s` is freed. */
struct shared *shared_add(struct shared *s, const uint8_t digest[SHARED_DIGEST],
			  void (*free)(struct shared *s));

struct shared *shared_ref(struct shared *s);
void shared_unref(struct shared *s); /* NULL: nothing */

#endif
