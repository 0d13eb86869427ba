/* Who says one element of a message after the other (a head, a 1xx, a chunk, the last one with its
 * trailers) and stands still behind each, for longer than anything is on its way: by then the
 * other side has all that was said whole. */
#include <stdlib.h>
#include <string.h>

#include "lib/town.h"

#define STAND_MS 10000
#define STAND_BYTES_MAX 3000

static void element_said(struct stand *s, struct slice element)
{
	if (s->in_body) {
		s->got += s->chunked ? strtoul(element.ptr, NULL, 16) : element.len;
	} else if (s->way == WIRE_DOWN && slice_starts(element, SLICE("HTTP/1.1 1"))) {
		s->interims++;
	} else {
		s->in_body = true;
		s->chunked = wire_has(element, "Transfer-Encoding");
	}
}

static size_t chunk_length(struct slice rest)
{
	const char *line_end = memmem(rest.ptr, rest.len, "\r\n", 2);
	size_t size = strtoul(rest.ptr, NULL, 16);

	if (size > 0)
		return (size_t)(line_end + 2 - rest.ptr) + size + 2;
	return (size_t)((const char *)memmem(rest.ptr, rest.len, "\r\n\r\n", 4) + 4 - rest.ptr);
}

static void say_element(struct stand *s)
{
	struct slice rest = { s->text.at + s->at, s->text.n - s->at };

	if (!s->in_body)
		rest = wire_head(rest);
	else
		rest.len = s->chunked ? chunk_length(rest) : (rest.len + 1) / 2;
	element_said(s, rest);
	s->at += rest.len;
	sim_peer_send(s->peer, rest);
	timer_set(&s->town->sim.tick.wheel, &s->timer, s->town->sim.tick.now_ms + STAND_MS);
}

/* Those before it on its connection come first. */
static bool is_next(const struct customer *c, const struct request *r)
{
	return !c->over && c->answered < c->said && c->requests[c->answered] == r;
}

static bool customer_has_all(const struct stand *s)
{
	const struct request *r = s->request;
	const struct customer *c = r->customer;

	if (s->at == s->text.n || !is_next(c, r))
		return c->over || r->answered || !is_next(c, r);
	if (c->peer->in_used < c->peer->in_n ||
	    (r->minor > 0 && c->interims != s->interims))
		return false;
	return !s->in_body || (c->in_body && c->wire.got == s->got &&
			       c->wire.state != WIRE_CHUNK_END && c->wire.state != WIRE_CHUNK);
}

/* Where there is a limit it may still be in line. */
static bool origin_has_all(const struct stand *s)
{
	const struct town *t = s->town;
	const struct request *r = s->request;
	bool limited = t->connections[r->upstream] > 0 || t->requests_max[r->upstream] > 0;

	if (!is_next(r->customer, r) || (r->seen == 0 && limited))
		return true;
	if (s->at == s->text.n)
		return r->whole > 0;
	return r->seen > 0 && r->up_got == s->got && !r->up_open;
}

static void stood(struct timer *timer)
{
	struct stand *s = CONTAINER(timer, struct stand, timer);
	bool more = s->peer->fd >= 0 && s->at < s->text.n;

	if (s->peer->fd >= 0 && s->peer->out_sent == s->peer->out_n &&
	    !(s->way == WIRE_DOWN ? customer_has_all(s) : origin_has_all(s)))
		town_wrong(s->town, "what was said whole of %s %u is withheld",
			   s->way == WIRE_DOWN ? "the answer to" : "request", s->request->id);
	if (more)
		say_element(s);
	else
		stand_end(s);
}

/* Only where nothing else keeps bytes from their way, and once in a town: others wait. */
void stand_draw(struct town *t, struct customer *c, struct request *r)
{
	const struct weather *w = &t->weather;
	bool calm = town_certain(t) && !w->few_buffers && !w->watched && !w->moves &&
		    !(w->late && w->small_sockets) && !w->ill_customers;

	r->customer = c;
	if (!calm || t->stands || (t->seed + r->id) % 4 > 0 || c->manner != MANNER_GOOD ||
	    r->goal != GOAL_ORIGIN || r->firsts > 0 || r->expects || r->bad_head || r->bad_body ||
	    t->rules[r->upstream].hedged || r->up_bytes > STAND_BYTES_MAX ||
	    r->down_bytes > STAND_BYTES_MAX || r->method == 1 || r->play > PLAY_INTERIM)
		return;
	r->stands_down = r->play == PLAY_CHUNKED || r->play == PLAY_INTERIM;
	r->stands_up = r->chunked && r->minor > 0;
	t->stands = r->stands_down || r->stands_up;
}

void stand_begin(struct stand *s, struct request *r, struct sim_peer *a,
		 enum wire_way way, struct text *text)
{
	*s = (struct stand){ .town = r->customer->town,
			     .request = r,
			     .peer = a,
			     .way = way,
			     .text = *text };
	*text = (struct text){ 0 };
	town_note(s->town, "%u is said element by element", r->id);
	timer_init(&s->timer, stood);
	say_element(s);
}

void stand_end(struct stand *s)
{
	if (!s->text.at)
		return;
	timer_stop(&s->town->sim.tick.wheel, &s->timer);
	free(s->text.at);
	s->text.at = NULL;
}
