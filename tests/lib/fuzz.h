/* What the programs of tests/fuzz have in common. Each defines the function that libFuzzer
 * calls with one input; fuzzmain.c gives it a main() that replays files instead. */
#ifndef LIB_FUZZ_H
#define LIB_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* An input as it is used up from the front. */
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

/* 0 when there is none left. */
static inline unsigned fuzz_octet(struct fuzz *f)
{
	if (f->left == 0)
		return 0;
	f->left--;
	return (uint8_t)*f->at++;
}

/* What stands before the separator, or all; takes both off. */
struct slice fuzz_part(struct fuzz *f, struct slice separator);

/* Where to cut n bytes next behind `at`: at every byte if they are few, else so that a few
 * hundred cuts are made. */
static inline size_t fuzz_cut(size_t at, size_t n)
{
	size_t step = n < 256 ? 1 : 1 + at * 2654435761u % (n / 64);

	return n - at < step ? n : at + step;
}

/* Bytes from `from` on to `to` must not be touched, or may be again: ASan watches. */
void fuzz_close(const char *from, const char *to);
void fuzz_open(const char *from, const char *to);

#endif
