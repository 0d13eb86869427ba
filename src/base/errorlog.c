#include "base/errorlog.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

const struct event_row event_rows[EVENTS] = {
#define EVENT(name, word, level, help) { word, LEVEL_##level, help },
#include "base/event.def"
#undef EVENT
};

static const char *const level_words[] = {
	[LEVEL_CRITICAL] = "critical", [LEVEL_ERROR] = "error",
	[LEVEL_WARNING] = "warning",   [LEVEL_NOTICE] = "notice",
	[LEVEL_INFO] = "info",
};

/* What all processes share that errorlog_open() comes before. */
struct errorlog_shared {
	_Atomic int level;
};

static struct errorlog_shared own = { LEVEL_INFO };
static struct errorlog_shared *shared = &own;

void errorlog_open(void)
{
	void *memory = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return; /* each process has a level of its own */
	shared = memory;
	atomic_store(&shared->level, LEVEL_INFO);
}

/* ---- levels ----------------------------------------------------------------- */

void errorlog_set_level(enum errorlog_level level)
{
	atomic_store(&shared->level, (int)level);
}

enum errorlog_level errorlog_level(void)
{
	return (enum errorlog_level)atomic_load(&shared->level);
}

const char *errorlog_level_word(enum errorlog_level level)
{
	ASSERT(level >= LEVEL_CRITICAL && level <= LEVEL_INFO);
	return level_words[level];
}

bool errorlog_level_by_word(struct slice word, enum errorlog_level *level)
{
	for (int i = LEVEL_CRITICAL; i <= LEVEL_INFO; i++) {
		if (!slice_equal(word, slice_of(level_words[i])))
			continue;
		*level = (enum errorlog_level)i;
		return true;
	}
	return false;
}

/* ---- lines ------------------------------------------------------------------ */

/* Room for a line of which each byte is escaped. */
#define ESCAPED_BYTES (4 * ERRORLOG_LINE_MAX + 1)

/* The length of the character that begins at s: printable, in valid UTF-8. 0: none does. */
static size_t printable_bytes(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] < 0x20 || s[0] == 0x7f || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* C1 controls, overlong forms, surrogates, above U+10FFFF. */
	if ((s[0] == 0xc2 && s[1] < 0xa0) || (s[0] == 0xe0 && s[1] < 0xa0) ||
	    (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* Escapes what could end a line or reach a terminal as a control sequence. */
static void text_escape(const char *text, char line[ESCAPED_BYTES])
{
	while (*text) {
		size_t n = printable_bytes((const unsigned char *)text);

		if (n == 0)
			line += sprintf(line, "\\x%02x", (unsigned char)*text++);
		for (; n > 0; n--)
			*line++ = *text++;
	}
	*line = '\0';
}

static void line_write(enum errorlog_event event, const char *prefix, const char *text)
{
	char line[ESCAPED_BYTES];

	if (event_rows[event].level > errorlog_level())
		return;
	text_escape(text, line);
	fprintf(stderr, "%s%s\n", prefix, line);
}

void errorlog_put(enum errorlog_event event, const char *format, ...)
{
	char text[ERRORLOG_LINE_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	line_write(event, "fairlead: ", text);
}

/* ---- lines of a reader ------------------------------------------------------ */

struct line_stream {
	FILE *stream;
	enum errorlog_event event;
	size_t n; /* bytes of the line so far; more than ERRORLOG_LINE_MAX - 1: cut */
	char line[ERRORLOG_LINE_MAX];
};

static struct line_stream lines;

static void stream_line_end(struct line_stream *l)
{
	bool warning;

	l->line[l->n] = '\0';
	warning = l->event == EVENT_CONFIG_FAULT && strstr(l->line, ": warning: ");
	line_write(warning ? EVENT_CONFIG_WARNING : l->event, "", l->line);
	l->n = 0;
}

static ssize_t stream_write(void *cookie, const char *bytes, size_t n)
{
	struct line_stream *l = cookie;

	for (size_t i = 0; i < n; i++)
		if (bytes[i] == '\n')
			stream_line_end(l);
		else if (l->n < sizeof(l->line) - 1)
			l->line[l->n++] = bytes[i];
	return (ssize_t)n;
}

FILE *errorlog_stream(enum errorlog_event event)
{
	lines.event = event;
	if (lines.stream)
		return lines.stream;
	lines.stream = fopencookie(&lines, "w",
				   (cookie_io_functions_t){ .write = stream_write });
	if (!lines.stream)
		return stderr;
	setvbuf(lines.stream, NULL, _IOLBF, BUFSIZ);
	return lines.stream;
}
