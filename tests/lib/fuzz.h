/* Common parts of the fuzz targets. Each target defines LLVMFuzzerTestOneInput(), which
 * libFuzzer calls with one input; fuzzmain.c has a main() that replays files instead. */
#ifndef LIB_FUZZ_H
#define LIB_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* The rest of an input; values are taken from its front. */
struct fuzz {
	const char *at;
	size_t left;
};

static inline struct fuzz fuzz_begin(const uint8_t *bytes, size_t n)
{
	return (struct fuzz){ (const char *)bytes, n };
}

static inline struct slice fuzz_rest(const struct fuzz *f)
{
	return (struct slice){ f->at, f->left };
}

/* Takes one octet; 0 at the end of the input. */
static inline unsigned fuzz_octet(struct fuzz *f)
{
	if (f->left == 0)
		return 0;
	f->left--;
	return (uint8_t)*f->at++;
}

/* Takes the bytes before the next separator, and the separator; without one: all bytes. */
struct slice fuzz_take_until(struct fuzz *f, struct slice separator);

/* The next place behind `at` to cut n bytes: each byte if they are few, else a few hundred
 * places in all. */
static inline size_t fuzz_cut(size_t at, size_t n)
{
	size_t step = n < 256 ? 1 : 1 + at * 2654435761u % (n / 64);

	return n - at < step ? n : at + step;
}

/* With ASan: an access to the bytes in [from, to) is an error from now on; is allowed again. */
void fuzz_forbid(const char *from, const char *to);
void fuzz_allow(const char *from, const char *to);

#endif
