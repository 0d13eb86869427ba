#include "statuspage.h"

#include "base/check.h"
#include "statuspage.def"

/* The compiler's working directory is that of the Makefile, which names the file as well. */
__asm__(".pushsection .rodata\n"
	".globl status_page_begin\n"
	".globl status_page_end\n"
	"status_page_begin:\n"
	".incbin \"src/run/worker/status.html\"\n"
	"status_page_end:\n"
	".popsection\n");

extern const char status_page_begin[], status_page_end[];

const struct forward_field status_page_fields[] = {
	{ SLICE("Content-Security-Policy"), SLICE(STATUS_PAGE_POLICY) },
	{ SLICE("X-Content-Type-Options"), SLICE("nosniff") },
	{ SLICE("Referrer-Policy"), SLICE("no-referrer") },
	{ SLICE("Cache-Control"), SLICE("no-cache") },
};
const unsigned status_page_field_n = COUNT(status_page_fields);

struct slice status_page(void)
{
	return (struct slice){ status_page_begin,
			       (size_t)(status_page_end - status_page_begin) };
}
