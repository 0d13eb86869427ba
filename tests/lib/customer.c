/* Those who ask: what they say, and whether what they are told is right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/town.h"

#define PROXY_PORT 8080
#define BODY_WAIT_MS 300

static const char *const mistakes[] = {
	"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
	"Content-Length: 3\r\nContent-Length: 4\r\n",
	"Transfer-Encoding: gzip, chunked\r\n",
	"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
	"Content-Length: +3\r\n",
	"Content-Length : 3\r\n",
	"Host: another\r\n",
	"X y: z\r\n",
	"X: y\r\n folded: z\r\n",
	"X: a\rb\r\n",
	"X: a\001b\r\n",
	"Content-Length: 99999999999999999999\r\n",
};

static void look_over(struct customer *c);

/* ---- what is asked ---------------------------------------------------------- */

static void draw_goal(struct town *t, struct request *r)
{
	r->goal = t->cache_n > 0 && town_chance(t, 4) ?
			  town_chance(t, 2) ? GOAL_CACHE : GOAL_CACHE_THEN_ORIGIN : GOAL_ORIGIN;
	r->upstream = r->goal == GOAL_ORIGIN ? (unsigned)town_draw(t, t->upstream_n) : 0;
	r->play = (enum play)town_draw(t, t->weather.ill_origins && town_chance(t, 2) ? PLAYS :
										PLAY_ILL);
	r->reply = (enum reply)town_draw(t, t->weather.ill_caches && town_chance(t, 3) ? REPLIES :
										 REPLY_ILL);
}

/* If it comes as often as its route has it come, it gets past its first plays. */
static bool gets_past(const struct rule *rule, const struct request *r)
{
	return r->firsts < rule->tries && rule->all_conditions && r->up_bytes <= rule->body &&
	       (rule->all_methods || request_idempotent(r));
}

static void draw_firsts(struct town *t, struct request *r)
{
	static const enum play firsts[] = { PLAY_BUSY,	    PLAY_BUSY,	   PLAY_CLOSES, PLAY_RESETS,
					    PLAY_HALF_HEAD, PLAY_BAD_HEAD, PLAY_SILENT };

	if (r->goal == GOAL_CACHE || town_chance(t, 2))
		return;
	/* On a fine day nobody waits a minute for silence: others would be in line behind it. */
	r->first = firsts[town_draw(t, COUNT(firsts) - town_certain(t))];
	r->firsts = 1 + (unsigned)town_draw(t, 3);
	if (town_certain(t) && !gets_past(&t->rules[r->upstream], r))
		r->firsts = 0;
}

/* `last`: of its customer; others must leave the connection as it is. */
static void draw_request(struct town *t, struct request *r, bool last, bool ill)
{
	draw_goal(t, r);
	r->method = (unsigned)town_draw(t, 8);
	if (r->goal != GOAL_ORIGIN)
		r->method = (unsigned)town_draw(t, 2);
	if (r->method >= 3) {
		r->up_bytes = town_draw_size(t);
		r->chunked = town_chance(t, 2);
		r->expects = town_chance(t, 6);
		r->waits = r->expects && town_chance(t, 2);
	}
	r->down_bytes = town_draw_size(t);
	r->hop = town_chance(t, 3);
	if (town_chance(t, 6))
		r->pad_bytes = 1 + (uint32_t)town_draw(t, 3000);
	r->minor = 1;
	draw_firsts(t, r);
	if (!last)
		return;
	r->closes = town_chance(t, 4);
	if (town_chance(t, 6) && !r->chunked) {
		r->minor = 0;
		r->expects = r->waits = false;
	}
	if (ill && town_chance(t, 5))
		r->bad_head = 1 + (unsigned)town_draw(t, COUNT(mistakes));
	else if (ill && r->chunked)
		r->bad_body = town_chance(t, 3);
}

/* ---- what is said ----------------------------------------------------------- */

static void add_head(struct text *x, const struct request *r)
{
	static const char *const goals[] = { "u", "c", "n" };

	text_add(x, "%s /%s%u/%u HTTP/1.%u\r\nHost: town\r\n", request_method(r),
		 goals[r->goal], r->upstream, r->id, r->minor);
	if (r->hop)
		text_add(x, "X-Hop: secret\r\nConnection: x-hop%s\r\nKeep-Alive: 9\r\n"
			    "X-Forwarded-For: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\n",
			 r->closes ? ", close" : "");
	else if (r->closes)
		text_add(x, "Connection: close\r\n");
	else if (r->minor == 0 && r->id % 2)
		text_add(x, "Connection: keep-alive\r\n");
	if (r->pad_bytes > 0)
		text_add(x, "X-Pad: %0*d\r\n", (int)r->pad_bytes, 7);
	if (r->expects)
		text_add(x, "Expect: 100-continue\r\n");
	if (r->bad_head)
		text_add(x, "%s", mistakes[r->bad_head - 1]);
	else if (r->chunked)
		text_add(x, "Transfer-Encoding: chunked\r\n");
	else if (r->up_bytes > 0)
		text_add(x, "Content-Length: %u\r\n", r->up_bytes);
	text_add(x, "\r\n");
}

static void add_body(struct customer *c, struct text *x, const struct request *r)
{
	struct town *t = c->town;
	uint32_t at = 0;

	if (!r->chunked) {
		text_body(x, r->id, WIRE_UP, 0, r->up_bytes);
		return;
	}
	while (at < r->up_bytes) {
		uint32_t n = 1 + (uint32_t)town_draw(t, r->up_bytes - at);

		text_chunk(x, r->id, WIRE_UP, at, n, town_chance(t, 8) ? ";ext=1" : "");
		at += n;
		if (r->bad_body && town_chance(t, 2))
			break;
	}
	text_add(x, r->bad_body ? "0x0\r\n\r\n" :
		    town_chance(t, 4) ? "0\r\nX-Trailer: 1\r\n\r\n" : "0\r\n\r\n");
}

static void be_cut(struct customer *c)
{
	if (c->manner == MANNER_CUT_SHUTS)
		sim_peer_shutdown(c->peer);
	else if (c->manner == MANNER_CUT_RESETS)
		sim_peer_reset(c->peer);
	c->harmed = true;
}

static void say(struct customer *c, struct text *x, bool whole)
{
	size_t n = whole ? x->n : (size_t)town_draw(c->town, x->n);

	sim_peer_send(c->peer, (struct slice){ x->at, n });
	free(x->at);
}

static void say_request(struct customer *c)
{
	struct request *r = c->requests[c->said++];
	bool cut = c->manner >= MANNER_CUT_SHUTS && c->manner <= MANNER_CUT_STALLS &&
		   c->said == c->cut;
	struct text x = { 0 };

	town_note(c->town, "customer %u asks %u: %s, play %d, reply %d, up %u, down %u%s%s",
		  c->number, r->id, request_method(r), r->play, r->reply, r->up_bytes,
		  r->down_bytes, r->bad_head ? ", bad head" : "", cut ? ", cut" : "");
	add_head(&x, r);
	if (r->waits && !r->bad_head && !cut) {
		c->held = r;
		timer_set(&c->town->sim.tick.wheel, &c->body,
			  c->town->sim.tick.now_ms + BODY_WAIT_MS);
	} else if (!r->bad_head) {
		add_body(c, &x, r);
	}
	if (r->stands_up)
		stand_begin(&c->stand, r, c->peer, WIRE_UP, &x);
	else
		say(c, &x, !cut);
	if (cut)
		be_cut(c);
}

static void say_held(struct customer *c)
{
	struct text x = { 0 };
	struct request *r = c->held;

	timer_stop(&c->town->sim.tick.wheel, &c->body);
	c->held = NULL;
	if (!r || c->peer->fd < 0)
		return;
	add_body(c, &x, r);
	say(c, &x, true);
}

static void ask_on(struct customer *c)
{
	while (c->said < c->n && c->said < c->answered + c->depth && !c->harmed && !c->held &&
	       !c->closing && !stand_on(&c->stand))
		say_request(c);
	if (c->manner == MANNER_SHUTS && c->said == c->n && !c->held)
		sim_peer_shutdown(c->peer);
}

/* ---- what is heard ---------------------------------------------------------- */

static struct request *expected(struct customer *c)
{
	if (c->answered >= c->said)
		town_wrong(c->town, "customer %u is told what it did not ask", c->number);
	return c->requests[c->answered];
}

static bool good(const struct customer *c, const struct request *r)
{
	return town_certain(c->town) && c->manner < MANNER_ILL && !r->bad_head && !r->bad_body;
}

/* It has sent FIN, and no route says that it waits. */
static bool has_left(const struct customer *c)
{
	return c->manner == MANNER_SHUTS && !c->town->half_close && c->peer->fin_wanted;
}

/* Of an answer that the proxy gave by itself. */
static void check_own_status(struct customer *c, const struct request *r, int status)
{
	struct town *t = c->town;
	bool cut = c->manner >= MANNER_ILL;

	if (status == 404 && r->goal == GOAL_CACHE && r->reply == REPLY_MISS)
		return;
	if (status == 200 && r->goal != GOAL_ORIGIN && r->reply <= REPLY_SLOW &&
	    r->reply != REPLY_MISS)
		return;
	if (good(c, r))
		town_wrong(t, "request %u is answered %d without a reason", r->id, status);
	/* A cache that is down has nothing. */
	if (status == 502 || status == 503 || status == 504 ||
	    (status == 404 && r->goal == GOAL_CACHE) ||
	    (status == 400 && (r->bad_head || r->bad_body || cut ||
			       (r->chunked && t->weather.memory))) || (status == 408 && (cut || t->weather.few_buffers)))
		return;
	town_wrong(t, "request %u is answered %d", r->id, status);
}

static bool may_be_busy(const struct request *r)
{
	return r->status == 503 && r->firsts > 0 && r->first == PLAY_BUSY;
}

/* One try may be seen, and another meet the stray answer on its way there. */
static bool may_be_repeated(const struct customer *c, const struct request *r)
{
	const struct rule *rule = &c->town->rules[r->upstream];

	return rule->tries > 1 || rule->hedged;
}

static void check_origin_head(struct customer *c, struct request *r, struct slice head)
{
	struct town *t = c->town;
	struct slice id = wire_field(head, "X-Id", 0);

	if (slice_equal(id, SLICE("poison"))) {
		if (r->seen > 0 && !r->poisoned && !may_be_repeated(c, r))
			town_wrong(t, "request %u gets a stray answer", r->id);
		return;
	}
	if (r->bad_head || r->seen == 0 || (r->play >= PLAY_NONE && !may_be_busy(r)))
		town_wrong(t, "request %u cannot have this answer", r->id);
	if (good(c, r) && r->status == 503 && r->play != PLAY_BUSY)
		town_wrong(t, "request %u is not asked again", r->id);
	if (strtoul(id.ptr, NULL, 10) != r->id)
		town_wrong(t, "request %u gets the answer to %.*s", r->id, (int)id.len, id.ptr);
	if (wire_has(head, "X-Hop") || wire_has(head, "Keep-Alive"))
		town_wrong(t, "a field of the origin's connection reaches customer %u", c->number);
}

static void head_heard(struct customer *c, struct slice head, int status)
{
	struct request *r = expected(c);
	bool origins = wire_has(head, "X-Id"), cached;
	enum wire_way way = WIRE_ANY;

	r->status = status;
	c->closing = wire_is(head, "Connection", "close");
	cached = !origins && status == 200 && r->goal != GOAL_ORIGIN;
	if (origins)
		check_origin_head(c, r, head);
	else
		check_own_status(c, r, status);
	if (origins && !wire_is(head, "X-Id", "poison"))
		way = WIRE_DOWN;
	else if (cached)
		way = WIRE_CACHED;
	/* What is malformed, or not all there, has no method that counts. */
	wire_begin(&c->wire, head, (r->method == 1 && status != 400 && status != 408) || status == 204 || status == 304, true, r->id,
		   way);
	c->in_body = true;
	if (c->wire.state == WIRE_CLOSE && !c->closing)
		town_wrong(c->town, "answer to %u has no end", r->id);
	c->closing |= c->wire.state == WIRE_CLOSE;
}

static void answer_whole(struct customer *c)
{
	struct request *r = expected(c);
	bool body = r->method != 1 && r->status != 204 && r->status != 304;

	town_note(c->town, "customer %u has its answer to %u: %d, %llu bytes", c->number, r->id,
		  r->status, (unsigned long long)c->wire.got);
	if (c->wire.way == WIRE_DOWN && r->play >= PLAY_BROKEN && body && !may_be_busy(r))
		town_wrong(c->town, "a broken answer to %u looks whole", r->id);
	if (c->wire.way != WIRE_ANY && body && c->wire.got != r->down_bytes)
		town_wrong(c->town, "answer to %u has %llu bytes, not %u", r->id,
			   (unsigned long long)c->wire.got, r->down_bytes);
	r->answered = true;
	c->interims = 0;
	c->in_body = false;
	c->answered++;
	if (c->held == r && c->closing)
		c->held = NULL;
	say_held(c);
}

/* False: nothing more to be read. */
static bool hear_head(struct customer *c, struct slice rest)
{
	struct slice head = wire_head(rest);
	const char *fault;
	int status;

	if (head.len == 0)
		return false;
	fault = wire_head_fault(head);
	if (fault || !slice_starts(head, SLICE("HTTP/1.1 ")))
		town_wrong(c->town, "customer %u hears a head with %s", c->number,
			   fault ? fault : "no status");
	status = atoi(head.ptr + 9);
	c->peer->in_used += head.len;
	if (status >= 200) {
		head_heard(c, head, status);
		return true;
	}
	if (expected(c)->minor == 0 || (status != 100 && status != 103))
		town_wrong(c->town, "customer %u hears %d", c->number, status);
	c->interims++;
	if (c->held && status == 100)
		say_held(c);
	return true;
}

static bool hear_one(struct customer *c)
{
	struct sim_peer *a = c->peer;
	struct slice rest = { a->in + a->in_used, a->in_n - a->in_used };
	const char *fault;
	size_t used;

	if (!c->in_body) {
		/* Without memory even HEAD may be answered before its head was read. */
		if (rest.len > 0 && c->closing && c->town->weather.memory)
			return false;
		if (rest.len > 0 && c->closing)
			town_wrong(c->town, "customer %u hears more after the last answer",
				   c->number);
		if (!hear_head(c, rest))
			return false;
	} else {
		fault = wire_feed(&c->wire, rest, &used);
		if (fault)
			town_wrong(c->town, "customer %u, request %u: %s", c->number,
				   expected(c)->id, fault);
		a->in_used += used;
		if (used == 0)
			return false;
	}
	if (c->in_body && c->wire.state == WIRE_WHOLE)
		answer_whole(c);
	return true;
}

static void leave(struct customer *c)
{
	struct wheel *w = &c->town->sim.tick.wheel;

	c->over = true;
	timer_stop(w, &c->start);
	timer_stop(w, &c->harm);
	timer_stop(w, &c->body);
	stand_end(&c->stand);
	if (c->peer && c->peer->fd >= 0)
		sim_peer_close_now(c->peer);
	town_mark(c->town, c->answered);
	town_note(c->town, "customer %u leaves with %u of %u answers", c->number, c->answered,
		  c->n);
}

/* A request reaches an origin when those before it on its connection are answered: their answers
 * arrive, whatever becomes of this one. Bytes without an end can only be broken by a reset, which
 * overtakes them; so can a worker that is cut off, and one whose client seems to be slow. */
static void check_kept(struct customer *c)
{
	const struct town *t = c->town;
	unsigned asked = 0;

	if (c->manner >= MANNER_ILL || t->cut || t->weather.few_buffers || c->said == 0 ||
	    c->requests[c->said - 1]->minor == 0)
		return;
	for (unsigned i = 0; i < c->said; i++)
		if (c->requests[i]->seen > 0)
			asked = i;
	for (unsigned i = 0; i < asked; i++)
		if (!c->requests[i]->answered)
			town_wrong(c->town, "the answer to %u is lost with that to %u",
				   c->requests[i]->id, c->requests[asked]->id);
}

/* What was said for certain has its answer, also if the connection breaks for a later one; but
 * one on which an answer came before its request was whole may end there. Who has left has the
 * rest of what began. */
static void check_answered(struct customer *c)
{
	if (has_left(c)) {
		if (c->in_body && town_certain(c->town) &&
		    c->requests[c->answered]->play != PLAY_EARLY)
			town_wrong(c->town, "the answer to %u breaks off, as its customer has left",
				   c->requests[c->answered]->id);
		return;
	}
	for (unsigned i = 0; i < c->said && !c->closing; i++) {
		const struct request *r = c->requests[i];

		if (r->play == PLAY_EARLY && r->goal == GOAL_ORIGIN && r->method >= 3)
			return;
		if (good(c, r) && !r->answered)
			town_wrong(c->town, "request %u of customer %u has no answer", r->id,
				   c->number);
	}
}

/* The connection has ended, or all was answered. */
static void look_over(struct customer *c)
{
	struct sim_peer *a = c->peer;

	if (c->over)
		return;
	if (sim_peer_finished(a)) {
		if (a->eof && c->in_body && c->wire.state == WIRE_CLOSE)
			answer_whole(c);
		else if (a->eof && !c->in_body && a->in_used < a->in_n &&
			 !wire_head((struct slice){ a->in + a->in_used, 1 }).len)
			town_note(c->town, "customer %u hears half a head", c->number);
		check_kept(c);
		check_answered(c);
		leave(c);
	} else if (c->answered == c->n && !c->closing && c->manner != MANNER_SHUTS) {
		leave(c);
	}
}

static void heard(struct sim_peer *a)
{
	struct customer *c = a->owner;

	town_mark_bytes(c->town,
			(struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	town_mark(c->town, (uint64_t)a->eof << 1 | (a->error != 0));
	while (!c->over && hear_one(c))
		;
	ask_on(c);
	look_over(c);
}

/* ---- a life ----------------------------------------------------------------- */

static void start_rang(struct timer *timer)
{
	struct customer *c = CONTAINER(timer, struct customer, start);

	if (c->peer) { /* a slow reader begins to read */
		sim_peer_resume_reading(c->peer);
		return;
	}
	c->peer = sim_peer_connect(&c->town->sim, PROXY_PORT);
	c->peer->on_input = heard;
	c->peer->owner = c;
	if (c->manner == MANNER_SLOW_READER) {
		c->peer->stopped_reading = true;
		timer_set(&c->town->sim.tick.wheel, timer,
			  c->town->sim.tick.now_ms + town_draw(c->town, 400));
	}
	ask_on(c);
}

static void harm_rang(struct timer *timer)
{
	struct customer *c = CONTAINER(timer, struct customer, harm);

	c->harmed = true;
	if (!c->peer || c->over)
		return;
	town_note(c->town, "customer %u does it: %d", c->number, c->manner);
	if (c->manner == MANNER_SHUTS_EARLY) {
		sim_peer_shutdown(c->peer);
		return;
	}
	if (c->peer->fd >= 0 && c->manner == MANNER_RESETS)
		sim_peer_reset_now(c->peer);
	leave(c);
}

static void body_rang(struct timer *timer)
{
	struct customer *c = CONTAINER(timer, struct customer, body);

	say_held(c);
	ask_on(c);
}

/* A time to come, or the same for all. */
static uint64_t some_ms(struct town *t, uint32_t most)
{
	return t->sim.tick.now_ms + (t->weather.together ? most / 2 : 1 + town_draw(t, most));
}

void customer_init(struct customer *c, struct town *t, unsigned number)
{
	bool ill = t->weather.ill_customers && town_chance(t, 2);

	*c = (struct customer){ .town = t, .number = number };
	c->manner = (enum manner)town_draw(t, ill ? MANNERS : MANNER_ILL);
	c->n = 1 + (unsigned)town_draw(t, TOWN_REQUESTS);
	c->depth = town_chance(t, 2) ? 1 : 1 + (unsigned)town_draw(t, TOWN_REQUESTS);
	c->cut = 1 + (unsigned)town_draw(t, c->n);
	for (unsigned i = 0; i < c->n; i++) {
		struct request *r = &t->requests[t->request_n];

		*r = (struct request){ .id = t->request_n++, .number = number,
				       .opens = i == 0, .ntlm = town_chance(t, 8) };
		draw_request(t, r, i == c->n - 1, t->weather.ill_customers);
		stand_draw(t, c, r);
		c->requests[i] = r;
	}
	timer_init(&c->start, start_rang);
	timer_init(&c->harm, harm_rang);
	timer_init(&c->body, body_rang);
	timer_set(&t->sim.tick.wheel, &c->start, some_ms(t, 300));
	if (c->manner >= MANNER_RESETS)
		timer_set(&t->sim.tick.wheel, &c->harm, some_ms(t, 500));
}

void customer_look(struct customer *c)
{
	const struct sim_peer *a = c->peer;

	if (!c->over && a && (a->connect_error || (a->connected && a->fd < 0)))
		leave(c);
}

void customer_done(struct customer *c)
{
	if (!c->over)
		leave(c);
}

void customer_waits(struct customer *c)
{
	const struct sim_peer *a = c->peer;

	town_wrong(c->town,
		   "customer %u waits for ever: %s, %u said, %u answered, %zu of %zu "
		   "bytes sent%s%s%s%s",
		   c->number,
		   !a             ? "not there"
		   : a->connected ? "connected"
				  : "connecting",
		   c->said, c->answered, a ? a->out_sent : 0, a ? a->out_n : 0,
		   c->in_body ? ", in a body" : "", c->closing ? ", closing" : "",
		   a && a->stopped_reading ? ", deaf" : "",
		   a && a->eof ? ", heard the end" : "");
}
