/* The tables of the page: upstreams, each with its servers, and connections. */
#include <math.h>
#include <stdlib.h>

#include "page.h"

#define NAME_MIN 22

/* ---- columns --------------------------------------------------------------------- */

struct column {
	const char *head;
	int width;      /* with the space before it; negative: at the left */
	int sort;       /* enum page_sort; -1: not by this one */
	unsigned wide;  /* only if the screen has so many columns */
};

static const struct column upstream_columns[] = {
	{ "STATE", -9, -1, 0 },	       { "REQ/S", 8, SORT_REQUESTS, 0 },
	{ "ERR/S", 7, SORT_ERRORS, 0 }, { "50%", 8, -1, 0 },
	{ "99%", 8, SORT_TIME, 0 },    { "BUSY", 6, SORT_BUSY, 0 },
	{ "OPEN", 6, -1, 0 },	       { "WAIT", 6, SORT_WAITING, 0 },
	{ "WEIGHT", 8, -1, 88 },       { "CHECK", 7, -1, 95 },
};

static const struct column connection_columns[] = {
	{ "STATE", -13, -1, 0 }, { "AGE", 7, SORT_TIME, 0 }, { "SENT", 9, SORT_BUSY, 0 },
	{ "RECEIVED", 10, -1, 0 },
};

#define COLUMNS_MAX 10

/* Of connections: the columns begin behind the address, and what follows them is as long as it
 * is. */
#define CLIENT_WIDTH 17
#define WHERE_COLUMN (CLIENT_WIDTH + 40)

static bool column_shown(const struct screen *s, const struct column *c)
{
	return s->width >= c->wide;
}

/* What the columns leave for the first one. */
static unsigned name_width(const struct screen *s, const struct column *columns, unsigned n)
{
	unsigned used = 0;

	for (unsigned i = 0; i < n; i++)
		used += column_shown(s, &columns[i]) ? (unsigned)abs(columns[i].width) : 0;
	return s->width > used + NAME_MIN ? s->width - used : NAME_MIN;
}

struct cell {
	char text[24];
	enum look look;
};

static void put_cells(struct screen *s, unsigned line, unsigned column,
		      const struct column *columns, unsigned n, const struct cell *cells)
{
	for (unsigned i = 0; i < n; i++) {
		int width = columns[i].width;

		if (!column_shown(s, &columns[i]))
			continue;
		if (width < 0)
			screen_put(s, line, column, cells[i].look, " %-*.*s", -width - 1,
				   -width - 1, cells[i].text);
		else
			screen_put(s, line, column, cells[i].look, "%*s", width, cells[i].text);
		column += (unsigned)abs(width);
	}
}

/* `at`: where the columns begin. */
static void put_head(const struct top_page *p, struct screen *s, const char *name, unsigned at,
		     const struct column *columns, unsigned n)
{
	unsigned line = screen_line(s, LOOK_BAR);
	struct cell cells[COLUMNS_MAX];

	screen_put(s, line, 0, p->sort == SORT_NAME ? LOOK_SORTED : LOOK_BAR, "%s", name);
	for (unsigned i = 0; i < n; i++) {
		snprintf(cells[i].text, sizeof(cells[i].text), "%s", columns[i].head);
		cells[i].look = columns[i].sort == (int)p->sort ? LOOK_SORTED : LOOK_BAR;
	}
	put_cells(s, line, at, columns, n, cells);
}

/* Which rows fit, from p->from on. */
static void rows_shown(struct top_page *p, const struct screen *s, unsigned n, unsigned *from,
		       unsigned *to)
{
	unsigned room = p->height > s->n + PAGE_FOOT_LINES ? p->height - s->n - PAGE_FOOT_LINES
							    : 1;

	p->row_n = n;
	if (p->height == 0)
		room = n;
	if (p->from + room > n)
		p->from = n > room ? n - room : 0;
	*from = p->from;
	*to = n - p->from < room ? n : p->from + room;
}

/* ---- upstreams and servers ---------------------------------------------------------- */

struct table_line {
	const struct row_reading *row;
	double requests, errors, p50, p99, busy, open, waiting;
	double value;  /* of the sorted column */
	double group;  /* that of its upstream */
};

static double or_zero(double x)
{
	return isfinite(x) ? x : 0;
}

static void line_read(struct table_line *l, const struct row_reading *now,
		      const struct row_reading *before, double seconds)
{
	static const struct row_reading none = { .health = -1 };
	const struct row_reading *was = before ? before : &none;

	*l = (struct table_line){ .row = now };
	l->requests = (now->requests - was->requests) / seconds;
	l->errors = (now->errors + now->timeouts + now->failures - was->errors - was->timeouts -
		     was->failures) /
		    seconds;
	l->p50 = buckets_quantile(&now->latency, &was->latency, 0.5);
	l->p99 = buckets_quantile(&now->latency, &was->latency, 0.99);
	l->busy = now->server[0] ? now->in_flight : now->connections - now->idle;
	l->open = now->server[0] ? NAN : now->connections;
	l->waiting = now->server[0] ? NAN : now->waiting;
}

static double line_value(const struct table_line *l, enum page_sort sort)
{
	switch (sort) {
	case SORT_REQUESTS:
		return l->requests;
	case SORT_ERRORS:
		return l->errors;
	case SORT_TIME:
		return or_zero(l->p99);
	case SORT_BUSY:
		return l->busy;
	case SORT_WAITING:
		return or_zero(l->waiting);
	case SORT_NAME:
	case SORTS:
		break;
	}
	return 0;
}

static int compare_values(double a, double b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

/* The largest first; then by name. A server is behind its upstream. */
static int compare_lines(const void *left, const void *right)
{
	const struct table_line *a = left, *b = right;
	int order = compare_values(a->group, b->group);

	if (order == 0)
		order = strcmp(a->row->upstream, b->row->upstream);
	if (order == 0)
		order = !!a->row->server[0] - !!b->row->server[0];
	if (order == 0)
		order = compare_values(a->value, b->value);
	if (order == 0)
		order = strcmp(a->row->server, b->row->server);
	return order == 0 ? strcmp(a->row->address, b->row->address) : order;
}

/* Servers follow their upstream in another family: the value of that is looked up. */
static void lines_group(struct table_line *lines, unsigned n, bool reversed)
{
	unsigned at = 0;

	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < n; k++, at = at + 1 < n ? at + 1 : 0)
			if (!lines[at].row->server[0] &&
			    strcmp(lines[at].row->upstream, lines[i].row->upstream) == 0)
				break;
		lines[i].group = reversed ? -lines[at].value : lines[at].value;
	}
	for (unsigned i = 0; i < n && reversed; i++)
		lines[i].value = -lines[i].value;
}

static const char *state_of(const struct row_reading *r, enum look *look)
{
	*look = LOOK_BAD;
	if (!r->server[0]) {
		*look = LOOK_PLAIN;
		return "";
	}
	if (r->drained > 0)
		return "drained";
	if (r->down > 0)
		return r->up + r->ejected > 0 ? "partly" : "down";
	if (r->ejected > 0)
		return "ejected";
	*look = LOOK_GOOD;
	return "up";
}

static void cell_text(struct cell *c, bool bad, const char *text)
{
	c->look = bad ? LOOK_BAD : LOOK_PLAIN;
	snprintf(c->text, sizeof(c->text), "%s", text);
}

static void put_line(struct screen *s, const struct table_line *l)
{
	const struct row_reading *r = l->row;
	unsigned n = sizeof(upstream_columns) / sizeof(upstream_columns[0]);
	unsigned width = name_width(s, upstream_columns, n), line = screen_line(s, LOOK_PLAIN);
	struct cell cells[COLUMNS_MAX];
	char text[NUMBER_TEXT];
	bool server = r->server[0];

	screen_put(s, line, 0, server ? LOOK_PLAIN : LOOK_NUMBER, "%s%.*s", server ? "  " : "",
		   (int)width - (server ? 3 : 1), server ? r->server : r->upstream);
	cell_text(&cells[0], false, state_of(r, &cells[0].look));
	(void)state_of(r, &cells[0].look);
	cell_text(&cells[1], false, text_number(text, l->requests));
	cell_text(&cells[2], l->errors > 0, text_number(text, l->errors));
	cell_text(&cells[3], false, text_seconds(text, l->p50));
	cell_text(&cells[4], false, text_seconds(text, l->p99));
	cell_text(&cells[5], false, text_number(text, l->busy));
	cell_text(&cells[6], false, server ? "" : text_number(text, l->open));
	cell_text(&cells[7], l->waiting > 0, server ? "" : text_number(text, l->waiting));
	cell_text(&cells[8], false, server ? text_number(text, r->weight) : "");
	cell_text(&cells[9], r->health == 0,
		  r->health < 0 ? "" : r->health > 0 ? "up" : "down");
	put_cells(s, line, width, upstream_columns, n, cells);
}

static void draw_upstreams(struct top_page *p, struct screen *s, const struct reading *now,
			   const struct reading *before)
{
	struct table_line *lines = calloc(now->row_n + 1, sizeof(lines[0]));
	double seconds = now->at_s > before->at_s ? now->at_s - before->at_s : 1;
	unsigned from, to, n = sizeof(upstream_columns) / sizeof(upstream_columns[0]);

	put_head(p, s, "UPSTREAM, SERVER", name_width(s, upstream_columns, n), upstream_columns, n);
	for (unsigned i = 0; lines && i < now->row_n; i++) {
		line_read(&lines[i], &now->rows[i], reading_row(before, &now->rows[i], i),
			  seconds);
		lines[i].value = line_value(&lines[i], p->sort);
	}
	if (lines) {
		lines_group(lines, now->row_n, p->reversed);
		qsort(lines, now->row_n, sizeof(lines[0]), compare_lines);
	}
	rows_shown(p, s, lines ? now->row_n : 0, &from, &to);
	for (unsigned i = from; i < to; i++)
		put_line(s, &lines[i]);
	free(lines);
}

/* ---- connections ---------------------------------------------------------------------- */

static enum page_sort connection_sort;
static bool connection_reversed;

static int compare_connections(const void *left, const void *right)
{
	const struct connection_reading *a = left, *b = right;
	int order = connection_sort == SORT_NAME   ? strcmp(a->client, b->client)
		    : connection_sort == SORT_BUSY ? compare_values(a->sent, b->sent)
						   : compare_values(a->for_ms, b->for_ms);

	return connection_reversed ? -order : order;
}

static void put_connection(struct screen *s, const struct connection_reading *c)
{
	unsigned n = sizeof(connection_columns) / sizeof(connection_columns[0]);
	unsigned line = screen_line(s, LOOK_PLAIN);
	struct cell cells[COLUMNS_MAX];
	char text[NUMBER_TEXT];

	screen_put(s, line, 0, LOOK_NUMBER, "%.16s", c->client);
	cell_text(&cells[0], false, c->state);
	cell_text(&cells[1], false, text_seconds(text, c->for_ms / 1000));
	cell_text(&cells[2], false, text_bytes(text, c->sent));
	cell_text(&cells[3], false, text_bytes(text, c->received));
	put_cells(s, line, CLIENT_WIDTH, connection_columns, n, cells);
	screen_put(s, line, WHERE_COLUMN, LOOK_LABEL, "%s%s%s", c->where, c->where[0] ? "  " : "",
		   c->request);
}

static void draw_connections(struct top_page *p, struct screen *s, const struct reading *now)
{
	unsigned n = sizeof(connection_columns) / sizeof(connection_columns[0]);
	unsigned from, to;

	put_head(p, s, "CLIENT", CLIENT_WIDTH, connection_columns, n);
	screen_put(s, s->n - 1, WHERE_COLUMN, LOOK_BAR, "UPSTREAM, SERVER, REQUEST");
	if (p->no_connections) {
		p->row_n = 0;
		screen_put(s, screen_line(s, LOOK_PLAIN), 0, LOOK_BAD, "not listed: %s",
			   p->no_connections);
		return;
	}
	connection_sort = p->sort;
	connection_reversed = p->reversed;
	qsort(now->connections_list, now->connection_n, sizeof(now->connections_list[0]),
	      compare_connections);
	rows_shown(p, s, now->connection_n, &from, &to);
	for (unsigned i = from; i < to; i++)
		put_connection(s, &now->connections_list[i]);
}

void tables_draw(struct top_page *p, struct screen *s, const struct reading *now,
		 const struct reading *before)
{
	if (p->table == TABLE_UPSTREAMS)
		draw_upstreams(p, s, now, before);
	else
		draw_connections(p, s, now);
}
