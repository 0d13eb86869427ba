/* A page of text with attributes, before it is shown in a terminal or printed.
 *
 * Owner: the caller; screen_free() in any state. Limits: SCREEN_WIDTH_MAX columns, SCREEN_LINES_MAX
 * lines; what is outside is left out. Errors: no memory: lines are left out. */
#ifndef SRC_TOP_SCREEN_H
#define SRC_TOP_SCREEN_H

#include <stdint.h>
#include <stdio.h>

#define SCREEN_WIDTH_MAX 240
#define SCREEN_LINES_MAX 10000

enum look {
	LOOK_PLAIN,
	LOOK_LABEL,  /* what is said of a number */
	LOOK_NUMBER,
	LOOK_GOOD,
	LOOK_BAD,
	LOOK_BAR,    /* head of a table, help */
	LOOK_SORTED, /* the column of the head that the table is sorted by */
};

struct screen_line {
	char text[SCREEN_WIDTH_MAX];
	uint8_t look[SCREEN_WIDTH_MAX]; /* enum look */
};

struct screen {
	unsigned width;
	unsigned n, max;
	struct screen_line *lines;
};

/* Adds an empty line, in one look. Returns its number. */
unsigned screen_line(struct screen *s, enum look look);

/* Writes into a line, with '?' for each octet that is no printable character of ASCII: what an
 * endpoint sends is never a control sequence of the terminal. Returns the column behind it. */
unsigned screen_put(struct screen *s, unsigned line, unsigned column, enum look look,
		    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Prints all lines, without the spaces at their ends. */
void screen_print(const struct screen *s, FILE *out);

/* No lines are left; the memory stays. */
void screen_clear(struct screen *s);
void screen_free(struct screen *s);

/* ---- numbers ------------------------------------------------------------------ */

#define NUMBER_TEXT 16

/* "1.2k", "850us" and the like; "-" for what is not known (NAN). */
const char *text_number(char text[NUMBER_TEXT], double x);
const char *text_seconds(char text[NUMBER_TEXT], double x);
const char *text_bytes(char text[NUMBER_TEXT], double x);
const char *text_percent(char text[NUMBER_TEXT], double share);

#endif
