#include "lib/fuzz.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

struct slice fuzz_take_until(struct fuzz *f, struct slice separator)
{
	const char *end = memmem(f->at, f->left, separator.ptr, separator.len);
	struct slice part = fuzz_rest(f);

	if (!end) {
		f->at += f->left;
		f->left = 0;
		return part;
	}
	part.len = (size_t)(end - f->at);
	f->at += part.len + separator.len;
	f->left -= part.len + separator.len;
	return part;
}

void fuzz_forbid(const char *from, const char *to)
{
#ifdef __SANITIZE_ADDRESS__
	__asan_poison_memory_region(from, (size_t)(to - from));
#else
	(void)from;
	(void)to;
#endif
}

void fuzz_allow(const char *from, const char *to)
{
#ifdef __SANITIZE_ADDRESS__
	__asan_unpoison_memory_region(from, (size_t)(to - from));
#else
	(void)from;
	(void)to;
#endif
}
