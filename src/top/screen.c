#include "screen.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

unsigned screen_line(struct screen *s, enum look look)
{
	if (s->n == s->max && s->max < SCREEN_LINES_MAX) {
		unsigned max = s->max > 0 ? 2 * s->max : 64;
		struct screen_line *lines = realloc(s->lines, max * sizeof(lines[0]));

		if (lines) {
			s->lines = lines;
			s->max = max;
		}
	}
	if (s->n == s->max)
		return SCREEN_LINES_MAX;
	memset(s->lines[s->n].text, ' ', sizeof(s->lines[s->n].text));
	memset(s->lines[s->n].look, look, sizeof(s->lines[s->n].look));
	return s->n++;
}

unsigned screen_put(struct screen *s, unsigned line, unsigned column, enum look look,
		    const char *format, ...)
{
	char text[SCREEN_WIDTH_MAX + 1];
	va_list args;
	unsigned n;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	n = (unsigned)strlen(text);
	for (unsigned i = 0; i < n && line < s->n && column + i < s->width; i++) {
		s->lines[line].text[column + i] = text[i] >= ' ' && text[i] < 0x7f ? text[i]
										   : '?';
		s->lines[line].look[column + i] = (uint8_t)look;
	}
	return column + n;
}

void screen_print(const struct screen *s, FILE *out)
{
	for (unsigned i = 0; i < s->n; i++) {
		unsigned n = s->width;

		while (n > 0 && s->lines[i].text[n - 1] == ' ')
			n--;
		fprintf(out, "%.*s\n", (int)n, s->lines[i].text);
	}
}

void screen_clear(struct screen *s)
{
	s->n = 0;
}

void screen_free(struct screen *s)
{
	free(s->lines);
	*s = (struct screen){ .n = 0 };
}

/* ---- numbers ------------------------------------------------------------------ */

/* Of what is not negative, and below 2^63; the mathematical library is not linked. */
static double rounded(double x)
{
	return (double)(long long)(x + 0.5);
}

/* In three or four digits. */
static const char *text_scaled(char text[NUMBER_TEXT], double x, const char *unit)
{
	bool whole = x >= 99.95 || (x - rounded(x) < 0.005 && rounded(x) - x < 0.005);

	snprintf(text, NUMBER_TEXT, "%.*f%s", whole ? 0 : 1, x, unit);
	return text;
}

const char *text_number(char text[NUMBER_TEXT], double x)
{
	if (!isfinite(x))
		return "-";
	if (x >= 1e9)
		return text_scaled(text, x / 1e9, "G");
	if (x >= 1e6)
		return text_scaled(text, x / 1e6, "M");
	return x >= 1e5 ? text_scaled(text, x / 1e3, "k") : text_scaled(text, x, "");
}

const char *text_seconds(char text[NUMBER_TEXT], double x)
{
	if (!isfinite(x))
		return "-";
	if (x < 1e-3)
		return text_scaled(text, rounded(x * 1e6), "us");
	if (x < 1)
		return text_scaled(text, x * 1e3, "ms");
	if (x < 600)
		return text_scaled(text, x, "s");
	return x < 36000 ? text_scaled(text, x / 60, "m") : text_scaled(text, x / 3600, "h");
}

const char *text_bytes(char text[NUMBER_TEXT], double x)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned i = 0;

	if (!isfinite(x))
		return "-";
	for (; x >= 1024 && i < 4; i++)
		x /= 1024;
	return text_scaled(text, i == 0 ? rounded(x) : x, units[i]);
}

const char *text_percent(char text[NUMBER_TEXT], double share)
{
	return isfinite(share) ? text_scaled(text, 100 * share, "%") : "-";
}
