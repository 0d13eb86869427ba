#include "errorline.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/utf8.h"

struct line_buffer {
	char *at, *end;
};

static void buffer_put(struct line_buffer *b, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void buffer_put(struct line_buffer *b, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(b->at, (size_t)(b->end - b->at), format, arguments);
	va_end(arguments);
	ASSERT(n >= 0 && n < b->end - b->at);
	b->at += n;
}

/* The length of the character that begins at s, if it is printable; else 0. */
static size_t printable_bytes(const char *s)
{
	const unsigned char *b = (const unsigned char *)s;

	if (b[0] < 0x20 || b[0] == 0x7f ||
	    (b[0] == 0xc2 && b[1] < 0xa0)) /* C0, DEL, C1 */
		return 0;
	return utf8_bytes((struct slice){ s, strnlen(s, 4) });
}

/* Escapes what could end a line or reach a terminal as a control sequence; in JSON also what could
 * end a string. */
static void put_message_text(struct line_buffer *b, const char *text,
			     enum errorlog_format format)
{
	bool json = format == ERRORLOG_JSON;

	while (*text) {
		size_t n = printable_bytes(text);

		if (json && (*text == '"' || *text == '\\'))
			n = 0;
		if (n == 0)
			buffer_put(b, json ? "\\u%04x" : "\\x%02x",
				   (unsigned char)*text++);
		else
			buffer_put(b, "%.*s", (int)n, text);
		text += n;
	}
}

static void put_time(struct line_buffer *b, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	char text[32];

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	buffer_put(b, "%s.%03uZ", text, (unsigned)(wall_ms % 1000));
}

static void put_json(struct line_buffer *b, const struct errorline *l)
{
	const struct event_row *row = &event_rows[l->event];

	buffer_put(b, "{\"time\":\"");
	put_time(b, l->wall_ms);
	buffer_put(b, "\",\"level\":\"%s\",\"event\":\"%s\",\"pid\":%d",
		   errorlog_level_word(row->level), row->word, l->pid);
	if (l->suppressed > 0)
		buffer_put(b, ",\"suppressed\":%u", l->suppressed);
	buffer_put(b, ",\"message\":\"");
	put_message_text(b, l->text, ERRORLOG_JSON);
	buffer_put(b, "\"}");
}

/* The time of standard error is that of whoever reads it. */
static void put_stderr(struct line_buffer *b, const struct errorline *l,
		       enum errorlog_format format)
{
	if (l->journal)
		buffer_put(b, "<%d>", (int)event_rows[l->event].level);
	if (format == ERRORLOG_JSON) {
		put_json(b, l);
		return;
	}
	buffer_put(b, "%s", l->bare ? "" : "fairlead: ");
	put_message_text(b, l->text, ERRORLOG_TEXT);
}

static void put_file(struct line_buffer *b, const struct errorline *l,
		     enum errorlog_format format)
{
	const struct event_row *row = &event_rows[l->event];

	if (format == ERRORLOG_JSON) {
		put_json(b, l);
		return;
	}
	put_time(b, l->wall_ms);
	buffer_put(b, " %s %s[%d]: ", errorlog_level_word(row->level), row->word, l->pid);
	put_message_text(b, l->text, ERRORLOG_TEXT);
}

static void put_message(struct line_buffer *b, const struct errorline *l,
			enum errorlog_format format)
{
	if (format == ERRORLOG_JSON)
		put_json(b, l);
	else
		put_message_text(b, l->text, ERRORLOG_TEXT);
}

/* "<PRI>1 TIME HOST TAG PID EVENT - TEXT" (RFC 5424 6). */
static void put_syslog(struct line_buffer *b, const struct errorline *l,
		       const struct errorlog_output *o)
{
	const struct event_row *row = &event_rows[l->event];

	buffer_put(b, "<%u>1 ", o->facility * 8 + (unsigned)row->level);
	put_time(b, l->wall_ms);
	buffer_put(b, " %s %s %d %s - ", l->host, o->tag, l->pid, row->word);
	put_message(b, l, o->format);
}

/* Fields, one in a line: no value has a line feed. */
static void put_journald(struct line_buffer *b, const struct errorline *l,
			 const struct errorlog_output *o)
{
	const struct event_row *row = &event_rows[l->event];

	buffer_put(b,
		   "PRIORITY=%d\nSYSLOG_FACILITY=%u\nSYSLOG_IDENTIFIER=%s\n"
		   "FAIRLEAD_EVENT=%s\nMESSAGE=",
		   (int)row->level, o->facility, o->tag, row->word);
	put_message(b, l, o->format);
	buffer_put(b, "\n");
}

size_t errorline_write(char line[ERRORLINE_BYTES], const struct errorline *l,
		       const struct errorlog_output *output)
{
	struct line_buffer b = { line, line + ERRORLINE_BYTES };

	switch (output->target) {
	case ERRORLOG_STDERR:
		put_stderr(&b, l, output->format);
		buffer_put(&b, "\n");
		break;
	case ERRORLOG_FILE:
		put_file(&b, l, output->format);
		buffer_put(&b, "\n");
		break;
	case ERRORLOG_SYSLOG:
		put_syslog(&b, l, output);
		break;
	case ERRORLOG_JOURNALD:
		put_journald(&b, l, output);
		break;
	}
	return (size_t)(b.at - line);
}
