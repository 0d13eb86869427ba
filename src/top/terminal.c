#include "terminal.h"

#define NCURSES_NOMACROS 1 /* functions, by their names */
#include <curses.h>
#include <dlfcn.h>
#include <locale.h>
#include <stdlib.h>
#include <unistd.h>

#define LIBRARY "libncursesw.so.6"

/* The functions of the library that are used. */
#define CALLS(X)                                                                       \
	X(newterm) X(endwin) X(cbreak) X(noecho) X(nonl) X(keypad) X(wtimeout) X(wgetch)   \
	X(werase) X(wmove) X(waddnstr) X(wrefresh) X(wattr_on) X(wattr_off) X(curs_set)    \
	X(has_colors) X(start_color) X(use_default_colors) X(init_pair) X(getmaxx) X(getmaxy)

static struct {
#define X(name) __typeof__(name) *name;
	CALLS(X)
#undef X
	WINDOW *window;
	bool colors;
} curses;

/* ---- the library --------------------------------------------------------------- */

static const char *library_open(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return LIBRARY " is missing; install it (Debian: libncursesw6), or use --once";
#define X(name)                                                              \
	*(void **)(void *)&curses.name = dlsym(library, #name);               \
	if (!curses.name)                                                     \
		return LIBRARY " has no " #name "(); use --once";
	CALLS(X)
#undef X
	return NULL;
}

/* The window of the whole screen, which newterm() has made. */
static WINDOW *library_window(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
	WINDOW **window = library ? dlsym(library, "stdscr") : NULL;

	return window ? *window : NULL;
}

static void colors_begin(void)
{
	const char *none = getenv("NO_COLOR");

	if ((none && none[0] != '\0') || !curses.has_colors() || curses.start_color() != OK)
		return;
	curses.colors = true;
	curses.use_default_colors();
	curses.init_pair(LOOK_LABEL, COLOR_CYAN, -1);
	curses.init_pair(LOOK_GOOD, COLOR_GREEN, -1);
	curses.init_pair(LOOK_BAD, COLOR_RED, -1);
}

const char *terminal_open(void)
{
	const char *fault;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return "this is no terminal; use --once";
	setlocale(LC_CTYPE, "");
	fault = library_open();
	if (fault)
		return fault;
	if (!curses.newterm(NULL, stdout, stdin))
		return "this is no terminal that TERM describes; use --once";
	curses.window = library_window();
	if (!curses.window) {
		curses.endwin();
		return LIBRARY " has no window; use --once";
	}
	curses.cbreak();
	curses.noecho();
	curses.nonl();
	curses.keypad(curses.window, TRUE);
	curses.curs_set(0);
	colors_begin();
	return NULL;
}

void terminal_close(void)
{
	curses.endwin();
}

unsigned terminal_width(void)
{
	int n = curses.getmaxx(curses.window);

	return n < 1 ? 1 : n > SCREEN_WIDTH_MAX ? SCREEN_WIDTH_MAX : (unsigned)n;
}

unsigned terminal_height(void)
{
	int n = curses.getmaxy(curses.window);

	return n < 1 ? 1 : (unsigned)n;
}

/* ---- the page ---------------------------------------------------------------------- */

static attr_t attribute_of(enum look look)
{
	attr_t color = curses.colors ? NCURSES_BITS((attr_t)look, 0) & A_COLOR : 0;

	switch (look) {
	case LOOK_PLAIN:
		return A_NORMAL;
	case LOOK_LABEL:
	case LOOK_GOOD:
		return color;
	case LOOK_NUMBER:
		return A_BOLD;
	case LOOK_BAD:
		return color | A_BOLD;
	case LOOK_BAR:
		return A_REVERSE;
	case LOOK_SORTED:
		return A_REVERSE | A_BOLD | A_UNDERLINE;
	}
	return A_NORMAL;
}

/* The parts of a line in one look each. Its last column may be the last of the screen: the cursor
 * stays there. */
static void show_line(const struct screen_line *l, unsigned width)
{
	for (unsigned from = 0, to; from < width; from = to) {
		attr_t a = attribute_of((enum look)l->look[from]);

		for (to = from + 1; to < width && l->look[to] == l->look[from];)
			to++;
		curses.wattr_on(curses.window, a, NULL);
		curses.waddnstr(curses.window, l->text + from, (int)(to - from));
		curses.wattr_off(curses.window, a, NULL);
	}
}

void terminal_show(const struct screen *s)
{
	unsigned height = terminal_height();

	curses.werase(curses.window);
	for (unsigned i = 0; i < s->n && i < height; i++) {
		curses.wmove(curses.window, (int)i, 0);
		show_line(&s->lines[i], s->width);
	}
	curses.wrefresh(curses.window);
}

int terminal_wait_key(int ms)
{
	int key;

	curses.wtimeout(curses.window, ms);
	key = curses.wgetch(curses.window);
	switch (key) {
	case ERR:
		return INPUT_NONE;
	case KEY_RESIZE:
		return INPUT_SIZE;
	case KEY_UP:
		return INPUT_UP;
	case KEY_DOWN:
		return INPUT_DOWN;
	case KEY_PPAGE:
		return INPUT_PAGE_UP;
	case KEY_NPAGE:
		return INPUT_PAGE_DOWN;
	case KEY_HOME:
		return INPUT_FIRST;
	}
	return key < 256 ? key : INPUT_NONE;
}
