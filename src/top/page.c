#include "page.h"

#include <math.h>

/* A figure of the summary: what it is called, and its text. */
struct figure {
	const char *before, *text, *after;
	bool bad;
};

static void put_figures(struct screen *s, const char *title, const struct figure *figures,
			unsigned n)
{
	unsigned line = screen_line(s, LOOK_PLAIN), column = 12;

	screen_put(s, line, 0, LOOK_LABEL, "%s", title);
	for (unsigned i = 0; i < n; i++) {
		const struct figure *f = &figures[i];

		column = screen_put(s, line, column, LOOK_LABEL, "%s", f->before);
		column = screen_put(s, line, column, f->bad ? LOOK_BAD : LOOK_NUMBER, "%s",
				    f->text);
		column = screen_put(s, line, column, LOOK_LABEL, "%s  ", f->after);
	}
}

#define FIGURES(s, title, figures) \
	put_figures(s, title, figures, sizeof(figures) / sizeof((figures)[0]))

/* What each line needs: the rate of a counter, and room for its text. */
struct rates {
	const struct reading *now, *before;
	double seconds;
	char text[8][NUMBER_TEXT];
};

#define RATE(r, field) \
	(((r)->now->field - (r)->before->field) / (r)->seconds)

static void put_requests(struct screen *s, struct rates *r)
{
	double rate = RATE(r, requests), errors = RATE(r, responses_5xx);
	double share = rate > 0 ? errors / rate : NAN;
	const struct figure figures[] = {
		{ "", text_number(r->text[0], rate), "/s", false },
		{ "in progress ", text_number(r->text[1], r->now->in_flight), "", false },
		{ "5xx ", text_percent(r->text[2], share), "", errors > 0 },
		{ "4xx ", text_number(r->text[3], RATE(r, responses_4xx)), "/s", false },
		{ "clients left ", text_number(r->text[4], RATE(r, abandoned)), "/s", false },
	};

	FIGURES(s, "requests", figures);
}

static double quantile_of(const struct rates *r, double q)
{
	return buckets_quantile(&r->now->request_seconds, &r->before->request_seconds, q);
}

static void put_times(struct screen *s, struct rates *r)
{
	const struct figure figures[] = {
		{ "50% ", text_seconds(r->text[0], quantile_of(r, 0.5)), "", false },
		{ "90% ", text_seconds(r->text[1], quantile_of(r, 0.9)), "", false },
		{ "99% ", text_seconds(r->text[2], quantile_of(r, 0.99)), "", false },
		{ "sent ", text_bytes(r->text[3], RATE(r, sent)), "/s", false },
		{ "received ", text_bytes(r->text[4], RATE(r, received)), "/s", false },
	};

	FIGURES(s, "time", figures);
}

static void put_connections(struct screen *s, struct rates *r)
{
	const struct figure figures[] = {
		{ "", text_number(r->text[0], r->now->connections), " open", false },
		{ "", text_number(r->text[1], r->now->idle), " idle", false },
		{ "", text_number(r->text[2], r->now->tunnels), " upgraded", false },
		{ "", text_number(r->text[3], RATE(r, accepted)), "/s accepted", false },
		{ "", text_number(r->text[4], RATE(r, evicted)), "/s evicted",
		  RATE(r, evicted) > 0 },
	};

	FIGURES(s, "connections", figures);
}

static void figures_tls(struct screen *s, struct rates *r)
{
	double shaken = RATE(r, handshakes), failed = RATE(r, handshakes_failed);
	double resumed = shaken > 0 ? RATE(r, resumed) / shaken : NAN;
	double to_servers = RATE(r, handshakes_upstream);
	const struct figure figures[] = {
		{ "", text_number(r->text[0], shaken), "/s handshakes", false },
		{ "", text_percent(r->text[1], resumed), " resumed", false },
		{ "", text_number(r->text[2], failed), "/s failed", failed > 0 },
		{ "", text_number(r->text[3], r->now->handshakes_now), " now", false },
		{ "", text_number(r->text[4], to_servers), "/s to servers", false },
	};

	FIGURES(s, "TLS", figures);
}

static void put_engine(struct screen *s, struct rates *r)
{
	double requests = RATE(r, requests), used = r->now->buffers - r->now->buffers_free;
	double calls = requests > 0 ? RATE(r, syscalls) / requests : NAN;
	double enters = requests > 0 ? RATE(r, enters) / requests : NAN;
	double lost = RATE(r, lines_lost);
	const struct figure figures[] = {
		{ "", text_number(r->text[0], calls), " calls", false },
		{ "", text_number(r->text[1], enters), " enters/request", false },
		{ "", text_number(r->text[2], RATE(r, ticks)), " rounds/s", false },
		{ "buffers ", text_number(r->text[3], used), "", false },
		{ "lines lost ", text_number(r->text[4], lost), "/s", lost > 0 },
	};

	FIGURES(s, "engine", figures);
}

static void put_title(const struct top_page *p, struct screen *s)
{
	unsigned line = screen_line(s, LOOK_PLAIN), column;

	column = screen_put(s, line, 0, LOOK_NUMBER, "fairlead %s", p->version);
	column = screen_put(s, line, column + 2, LOOK_LABEL, "%s", p->name);
	if (p->lost)
		column = screen_put(s, line, column + 2, LOOK_BAD, "no answer: %s", p->lost);
	if (p->paused)
		screen_put(s, line, column + 2, LOOK_BAD, "paused");
	if (s->width > 60)
		screen_put(s, line, s->width - 8, LOOK_LABEL, "%s", p->clock);
}

static void put_help(const struct top_page *p, struct screen *s)
{
	unsigned line;

	if (p->height == 0)
		return;
	while (s->n + PAGE_FOOT_LINES < p->height && s->n < SCREEN_LINES_MAX)
		if (screen_line(s, LOOK_PLAIN) == SCREEN_LINES_MAX)
			return;
	line = screen_line(s, LOOK_BAR);
	screen_put(s, line, 0, LOOK_BAR, "%s",
		   p->table == TABLE_UPSTREAMS
			   ? "q quit  c connections  sort: n name r req e err t 99% b busy w wait"
			     "  - reverse"
			   : "q quit  u upstreams  sort: n client t age b sent  - reverse  "
			     "space pause");
}

void page_draw(struct top_page *p, struct screen *s, const struct reading *now,
	       const struct reading *before)
{
	struct rates r = { .now = now, .before = before, .seconds = now->at_s - before->at_s };

	if (!(r.seconds > 0))
		r.seconds = 1;
	screen_clear(s);
	put_title(p, s);
	put_requests(s, &r);
	put_times(s, &r);
	put_connections(s, &r);
	figures_tls(s, &r);
	put_engine(s, &r);
	screen_line(s, LOOK_PLAIN);
	tables_draw(p, s, now, before);
	put_help(p, s);
}
