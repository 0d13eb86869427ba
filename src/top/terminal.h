/* The terminal, by libncursesw, which is opened by terminal_open() and not linked: only this
 * command loads it.
 *
 * Colours, unless the environment has NO_COLOR or the terminal has none; then bold and reverse.
 * Owner: the process; there is one. Errors: a reason. */
#ifndef SRC_TOP_TERMINAL_H
#define SRC_TOP_TERMINAL_H

#include "screen.h"

enum terminal_input {
	INPUT_NONE = -1, /* the time has passed */
	INPUT_SIZE = 1000, /* the size has changed */
	INPUT_UP,
	INPUT_DOWN,
	INPUT_PAGE_UP,
	INPUT_PAGE_DOWN,
	INPUT_FIRST,
	/* Below 256: that character. */
};

/* NULL: it is open; else why not, in static memory. */
const char *terminal_open(void);
void terminal_close(void);

unsigned terminal_width(void);
unsigned terminal_height(void);

void terminal_show(const struct screen *s);

/* Waits for a key, for so many ms at most. */
int terminal_wait_key(int ms);

#endif
