/* The page that `fairlead top` shows: a summary, and a table of upstreams with their servers or of
 * connections.
 *
 * Owner: the caller. Pure: from two readings to a screen. */
#ifndef SRC_TOP_PAGE_H
#define SRC_TOP_PAGE_H

#include <stdbool.h>

#include "reading.h"
#include "screen.h"

enum page_table { TABLE_UPSTREAMS, TABLE_CONNECTIONS };

/* What a table is sorted by; each has a key of its letter. */
enum page_sort {
	SORT_NAME,
	SORT_REQUESTS,
	SORT_ERRORS,
	SORT_TIME, /* 99 %; of connections: age */
	SORT_BUSY, /* in progress; of connections: bytes sent */
	SORT_WAITING,
	SORTS
};

struct top_page {
	enum page_table table;
	enum page_sort sort;
	bool reversed;
	bool paused;
	unsigned from;     /* the first row of the table that is shown */
	unsigned row_n;    /* rows that the table has; set by page_draw() */
	unsigned height;   /* lines; 0: as many as there are */
	const char *name;  /* of the address */
	const char *lost;  /* why there is no answer; NULL: there was one */
	const char *no_connections; /* why there is no list of them; NULL: there is one */
	char version[32];
	char clock[16];
};

/* Lines above the rows of the table, and below. */
#define PAGE_HEAD_LINES 8
#define PAGE_FOOT_LINES 1

/* Draws what happened between the two readings. */
void page_draw(struct top_page *p, struct screen *s, const struct reading *now,
	       const struct reading *before);

/* The table of the page, without its head; tables.c */
void tables_draw(struct top_page *p, struct screen *s, const struct reading *now,
		 const struct reading *before);

#endif
