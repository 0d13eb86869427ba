#include "top/top.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "page.h"
#include "terminal.h"

/* Between two readings. A reading that takes long is made less often: a tenth of the time goes into
 * it. */
#define PERIOD_MS 1000
#define SHARE 10

/* Connections that are asked for: those with the oldest requests are among them, unless there are
 * more. */
#define CONNECTIONS_PATH "/api/connections?limit=2000"

#define WIDTH_PRINTED 100

struct top {
	const struct top_target *target;
	struct top_page page;
	struct screen screen;
	struct reading now, before; /* before.at_s 0: there is one reading, or none */
	uint64_t next_ms;           /* the next reading */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- readings ------------------------------------------------------------------- */

static void read_version(struct top_page *p, const char *status)
{
	const char *at = strstr(status, "\"version\":\"");

	if (at)
		sscanf(at + 11, "%31[^\"]", p->version);
}

static void read_clock(struct top_page *p)
{
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(p->clock, sizeof(p->clock), "%H:%M:%S", &tm);
}

static void read_connections(struct top *t, struct reading *r)
{
	char *text;

	t->page.no_connections = NULL;
	text = ask(t->target, CONNECTIONS_PATH, &t->page.no_connections);
	if (text)
		reading_connections(r, text);
	free(text);
}

/* False: no answer; page.lost says why. */
static bool reading_take(struct top *t, struct reading *r)
{
	char *text = ask(t->target, "/metrics", &t->page.lost), *status;
	const char *why;

	*r = (struct reading){ .at_s = (double)now_ms() / 1e3 };
	if (!text)
		return false;
	t->page.lost = NULL;
	reading_metrics(r, text);
	free(text);
	status = t->page.version[0] ? NULL : ask(t->target, "/api/status", &why);
	if (status)
		read_version(&t->page, status);
	free(status);
	read_connections(t, r);
	return true;
}

/* Takes another reading. Counters of another worker process begin with zero: it is compared with
 * the next one only. */
static void look(struct top *t)
{
	uint64_t began = now_ms(), pause;
	struct reading r;

	if (reading_take(t, &r)) {
		reading_free(&t->before);
		t->before = t->now;
		t->now = r;
		if (t->now.ticks + t->now.accepted < t->before.ticks + t->before.accepted)
			reading_free(&t->before);
	}
	read_clock(&t->page);
	pause = t->page.lost ? 0 : SHARE * (now_ms() - began);
	t->next_ms = began + (pause > PERIOD_MS ? pause : PERIOD_MS);
}

/* ---- the page --------------------------------------------------------------------- */

/* With one reading alone nothing has happened: there are no rates yet. */
static void draw(struct top *t, unsigned width, unsigned height)
{
	t->screen.width = width;
	t->page.height = height;
	page_draw(&t->page, &t->screen, &t->now, t->before.at_s > 0 ? &t->before : &t->now);
}

static void sort_by(struct top_page *p, enum page_sort sort)
{
	p->sort = sort;
	p->from = 0;
}

static void show_table(struct top_page *p, enum page_table table)
{
	p->table = table;
	sort_by(p, table == TABLE_UPSTREAMS ? SORT_REQUESTS : SORT_TIME);
}

static void scroll(struct top_page *p, int lines)
{
	p->from = lines < 0 && p->from < (unsigned)-lines ? 0 : p->from + (unsigned)lines;
}

/* False: the end. */
static bool obey(struct top_page *p, int key)
{
	static const char sorts[] = "nretbw"; /* by enum page_sort */
	const char *sort = key > 0 && key < 256 ? strchr(sorts, key) : NULL;
	int screenful = p->height > PAGE_HEAD_LINES + PAGE_FOOT_LINES
				? (int)(p->height - PAGE_HEAD_LINES - PAGE_FOOT_LINES)
				: 1;

	if (sort)
		sort_by(p, (enum page_sort)(sort - sorts));
	else if (key == 'u' || key == 'c')
		show_table(p, key == 'u' ? TABLE_UPSTREAMS : TABLE_CONNECTIONS);
	else if (key == '-')
		p->reversed = !p->reversed;
	else if (key == ' ')
		p->paused = !p->paused;
	else if (key == INPUT_UP || key == INPUT_DOWN)
		scroll(p, key == INPUT_UP ? -1 : 1);
	else if (key == INPUT_PAGE_UP || key == INPUT_PAGE_DOWN)
		scroll(p, key == INPUT_PAGE_UP ? -screenful : screenful);
	else if (key == INPUT_FIRST)
		p->from = 0;
	return key != 'q';
}

static void run(struct top *t)
{
	bool more = true;

	while (more) {
		uint64_t now = now_ms();

		if (now >= t->next_ms && !t->page.paused)
			look(t);
		draw(t, terminal_width(), terminal_height());
		terminal_show(&t->screen);
		now = now_ms();
		more = obey(&t->page,
			    terminal_wait_key(t->page.paused	  ? PERIOD_MS
					      : t->next_ms > now ? (int)(t->next_ms - now)
								 : 0));
	}
}

/* One page, then the connections. */
static void print_once(struct top *t)
{
	const struct timespec pause = { .tv_sec = PERIOD_MS / 1000 };

	nanosleep(&pause, NULL);
	look(t);
	draw(t, WIDTH_PRINTED, 0);
	screen_print(&t->screen, stdout);
	t->screen.n = 0;
	screen_line(&t->screen, LOOK_PLAIN);
	show_table(&t->page, TABLE_CONNECTIONS);
	tables_draw(&t->page, &t->screen, &t->now, &t->before);
	screen_print(&t->screen, stdout);
}

static int fail(const struct top_target *target, const char *why)
{
	fprintf(stderr,
		"fairlead: no answer from %s: %s; write the address of 'admin', or the file that "
		"has it\n",
		target->name, why);
	return 1;
}

int top_run(const struct top_target *target, bool once)
{
	struct top t = { .target = target, .page = { .name = target->name } };
	const char *fault;
	int status = 0;

	show_table(&t.page, TABLE_UPSTREAMS);
	look(&t);
	fault = t.page.lost || once ? NULL : terminal_open();
	if (t.page.lost) {
		status = fail(target, t.page.lost);
	} else if (fault) {
		fprintf(stderr, "fairlead: %s\n", fault);
		status = 1;
	} else if (once) {
		print_once(&t);
		status = t.page.lost ? fail(target, t.page.lost) : 0;
	} else {
		run(&t);
		terminal_close();
	}
	reading_free(&t.now);
	reading_free(&t.before);
	screen_free(&t.screen);
	return status;
}
