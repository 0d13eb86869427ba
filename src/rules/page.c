#include "page.h"

#include "base/check.h"
#include "config/tls.h"

static const struct slice text_type = { "text/plain; charset=utf-8", 25 };

/* By the end of the name; without charset where the format says it itself. */
static struct slice type_of_name(struct slice name)
{
	static const struct {
		struct slice end, type;
	} types[] = {
		{ { ".html", 5 }, { "text/html", 9 } },
		{ { ".htm", 4 }, { "text/html", 9 } },
		{ { ".txt", 4 }, { "text/plain; charset=utf-8", 25 } },
		{ { ".json", 5 }, { "application/json", 16 } },
		{ { ".problem", 8 }, { "application/problem+json", 24 } },
		{ { ".xml", 4 }, { "application/xml", 15 } },
		{ { ".css", 4 }, { "text/css", 8 } },
		{ { ".js", 3 }, { "text/javascript", 15 } },
		{ { ".svg", 4 }, { "image/svg+xml", 13 } },
		{ { ".png", 4 }, { "image/png", 9 } },
		{ { ".jpg", 4 }, { "image/jpeg", 10 } },
		{ { ".ico", 4 }, { "image/x-icon", 12 } },
	};

	for (size_t i = 0; i < COUNT(types); i++) {
		struct slice end = types[i].end;

		if (name.len > end.len &&
		    slice_equal_nocase(slice_after(name, name.len - end.len), end))
			return types[i].type;
	}
	return SLICE("application/octet-stream");
}

static bool size_check(struct config_reader *r, const struct node *n, size_t bytes)
{
	if (bytes > PAGE_BYTES_MAX)
		report_error(
			reader_report(r), n->at,
			"this body has %zu bytes, and each response has a copy of it; shorten "
			"it to at most %d KiB, or use an origin",
			bytes, PAGE_BYTES_MAX / 1024);
	return bytes <= PAGE_BYTES_MAX;
}

bool page_file_read(struct config_reader *r, const struct node *n, const char *form,
		    struct page *page)
{
	const struct config_file *f = file_read(r, n, form);

	if (!f || !size_check(r, n, f->bytes.len))
		return false;
	*page = (struct page){ .path = f->text,
			       .body = f->bytes,
			       .type = type_of_name(slice_of(f->path)) };
	return true;
}

bool page_text_read(struct config_reader *r, const struct node *n, struct page *page)
{
	if (!scalar_check(r, n, "'body: TEXT'") || !size_check(r, n, n->text.len))
		return false;
	*page = (struct page){ .body = { arena_text(reader_memory(r), n->text),
					 n->text.len },
			       .type = text_type };
	return true;
}
