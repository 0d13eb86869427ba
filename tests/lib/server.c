/* Those who are asked: origins, which check that what reaches them is what was asked, and
 * caches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/town.h"

#define FLOOD 40
#define LONG_HEAD 20000

/* One connection to an origin. */
struct visit {
	struct list node;
	struct server *server;
	struct sim_peer *peer;
	struct request *now;  /* its body is being read */
	struct wire wire;
	bool answered;        /* `now` was, before it was whole */
	bool last;            /* no further request may come */
	bool spoke;           /* without having been asked */
	unsigned holder;      /* it is authenticated: the customer + 1 */
	bool rests;           /* ends with the request at hand, without an answer */
	unsigned n;           /* requests that came */
	enum play play;       /* of the last request */
	struct timer later;
	struct stand stand;
};

/* ---- answers ---------------------------------------------------------------- */

static void say(struct visit *v, struct text *x)
{
	sim_peer_send(v->peer, (struct slice){ x->at, x->n });
	free(x->at);
}

static void head(struct town *t, struct text *x, const struct request *r, const char *status)
{
	text_add(x, "HTTP/1.1 %s\r\nX-Id: %u\r\n", status, r->id);
	if (r->hop)
		text_add(x, "X-Hop: secret\r\nKeep-Alive: timeout=%u\r\nConnection: x-hop\r\n",
			 r->id % 3);
	if (town_chance(t, 4))
		text_add(x, "Server: town\r\nX-Pad: %0*d\r\n", (int)town_draw(t, 2000) + 1, 7);
}

static const char *length_status(const struct request *r)
{
	if (r->play == PLAY_BUSY)
		return "503 Busy";
	return r->ntlm ? "401 Unauthorized\r\nWWW-Authenticate: NTLM" : "200 OK";
}

static void length_head(struct town *t, struct text *x, const struct request *r)
{
	head(t, x, r, length_status(r));
	text_add(x, "Content-Length: %u\r\n", r->down_bytes);
}

static void body(struct text *x, const struct request *r, uint32_t n)
{
	if (r->method != 1)
		text_body(x, r->id, WIRE_DOWN, 0, n);
}

static void poison(struct visit *v, struct text *x)
{
	v->spoke = true;
	text_add(x, "HTTP/1.1 200 OK\r\nX-Id: poison\r\nConnection: close\r\n"
		    "Content-Length: 6\r\n\r\npoison");
}

static void chunked(struct town *t, struct text *x, const struct request *r, bool whole)
{
	uint32_t at = 0;

	head(t, x, r, "200 OK");
	text_add(x, "Transfer-Encoding: chunked\r\n\r\n");
	if (r->method == 1)
		return;
	while (at < r->down_bytes) {
		uint32_t n = 1 + (uint32_t)town_draw(t, r->down_bytes - at);

		text_chunk(x, r->id, WIRE_DOWN, at, n, "");
		at += n;
	}
	if (whole) {
		text_add(x, town_chance(t, 3) ? "0\r\nX-Sum: 1\r\n\r\n" : "0\r\n\r\n");
		return;
	}
	text_add(x, "5\r\n"); /* and seven bytes */
	text_body(x, r->id, WIRE_DOWN, at, 7);
}

static void bad_head(struct town *t, struct text *x, const struct request *r)
{
	static const char *const fields[] = {
		"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
		"Content-Length: 3\r\nContent-Length: 3\r\n",
		"Content-Length: 3, 3\r\n",
		"Transfer-Encoding: chunked, gzip\r\n",
		"Content-Length: 3 3\r\n",
		"X: a\r\n b\r\n",
		"X: a\002\r\n",
		"Content-Length: -1\r\n",
	};
	uint64_t way = town_draw(t, COUNT(fields) + 2);

	if (way == COUNT(fields))
		text_add(x, "HTTP/1.1 2x0 OK\r\nX-Id: %u\r\n", r->id);
	else
		text_add(x, "HTTP/1.1 200 OK\r\nX-Id: %u\r\n", r->id);
	if (way < COUNT(fields))
		text_add(x, "%s", fields[way]);
	else
		text_add(x, "X-Pad: %0*d\r\n", way == COUNT(fields) ? 1 : LONG_HEAD, 7);
	text_add(x, "\r\nabc");
}

static void later(struct visit *v)
{
	struct town *t = v->server->town;

	timer_set(&t->sim.tick.wheel, &v->later, t->sim.tick.now_ms + 1 + town_draw(t, 300));
}

static void answer_whole(struct visit *v, struct text *x, const struct request *r)
{
	struct town *t = v->server->town;

	switch ((unsigned)r->play) {
	case PLAY_CHUNKED:
		chunked(t, x, r, true);
		return;
	case PLAY_UNTIL_CLOSE:
		head(t, x, r, "200 OK");
		text_add(x, "\r\n");
		break;
	case PLAY_LAST:
		text_add(x, "HTTP/1.1 200 OK\r\nX-Id: %u\r\nConnection: close\r\n"
			    "Content-Length: %u\r\n\r\n", r->id, r->down_bytes);
		break;
	case PLAY_EMPTY:
		head(t, x, r, r->id % 2 ? "204 No Content" : "304 Not Modified");
		text_add(x, "\r\n");
		return;
	case PLAY_INTERIM:
		for (uint64_t n = town_draw(t, 4); n > 0; n--)
			text_add(x, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
		/* fall through */
	default:
		length_head(t, x, r);
		text_add(x, "\r\n");
		break;
	}
	body(x, r, r->down_bytes);
}

static void answer_broken(struct visit *v, struct text *x, const struct request *r)
{
	struct town *t = v->server->town;

	if (r->play == PLAY_BAD_CHUNK) {
		chunked(t, x, r, false);
		return;
	}
	length_head(t, x, &(struct request){ .id = r->id, .hop = r->hop,
					     .down_bytes = r->down_bytes + 1 });
	text_add(x, "\r\n");
	body(x, r, r->down_bytes);
}

static void answer_none(struct visit *v, struct text *x, const struct request *r)
{
	if (r->play == PLAY_BAD_HEAD)
		bad_head(v->server->town, x, r);
	else if (r->play == PLAY_HALF_HEAD)
		text_add(x, "HTTP/1.1 200 OK\r\nX-Id: %u\r\nContent-Le", r->id);
	for (unsigned i = 0; r->play == PLAY_FLOOD && i < FLOOD; i++)
		text_add(x, "HTTP/1.1 103 Early Hints\r\n\r\n");
}

/* What happens to the connection once the answer was said. An answer to HEAD has no body that
 * could be broken or without an end. */
static void after(struct visit *v, const struct request *r)
{
	struct sim_peer *a = v->peer;

	v->last = r->play == PLAY_LAST || r->play == PLAY_REJECTS || r->play >= PLAY_NONE ||
		  (r->method != 1 && (r->play == PLAY_UNTIL_CLOSE || r->play >= PLAY_BROKEN));
	if ((r->play == PLAY_UNTIL_CLOSE && r->method != 1) || r->play == PLAY_REJECTS)
		sim_peer_shutdown(a);
	else if (r->play == PLAY_SHORT || r->play == PLAY_CLOSES || r->play == PLAY_HALF_HEAD)
		sim_peer_close(a);
	else if (r->play == PLAY_RESET_BODY)
		sim_peer_reset(a);
	else if (r->play == PLAY_CLOSES_IDLE || r->play == PLAY_SPEAKS_IDLE)
		later(v);
}

static void answer(struct visit *v, const struct request *asked)
{
	struct request as_played = *asked;
	const struct request *r = &as_played;
	struct text x = { 0 };

	as_played.play = v->play;
	v->peer->pause_ms = r->play == PLAY_SLOW ? 1 + r->id % 20 : 0;
	v->peer->uncut = r->play == PLAY_TWICE;
	if (r->play == PLAY_REJECTS)
		text_add(&x, "HTTP/1.1 413 Too Large\r\nX-Id: %u\r\nConnection: close\r\n"
			     "Content-Length: %u\r\n\r\n", r->id, r->down_bytes);
	if (r->play == PLAY_REJECTS)
		body(&x, r, r->down_bytes);
	else if (r->play >= PLAY_NONE)
		answer_none(v, &x, r);
	else if (r->play >= PLAY_BROKEN)
		answer_broken(v, &x, r);
	else
		answer_whole(v, &x, r);
	if (x.n > 0 && memmem(x.at, x.n, "\r\nWWW-Auth", 10))
		v->holder = r->number + 1;
	if (r->play == PLAY_TWICE || r->play == PLAY_LONGER)
		poison(v, &x);
	if (r->stands_down && r->play == asked->play)
		stand_begin(&v->stand, &v->server->town->requests[r->id], v->peer,
			    WIRE_DOWN, &x);
	else
		say(v, &x);
	after(v, r);
}

static void later_rang(struct timer *timer)
{
	struct visit *v = CONTAINER(timer, struct visit, later);
	struct text x = { 0 };

	if (v->peer->fd < 0)
		return;
	if (v->play == PLAY_CLOSES_IDLE) {
		sim_peer_close(v->peer);
		return;
	}
	poison(v, &x);
	say(v, &x);
}

/* ---- requests --------------------------------------------------------------- */

static struct request *find(struct visit *v, struct slice line)
{
	struct town *t = v->server->town;
	char method[16], goal, end[16];
	unsigned upstream, id;
	struct request *r;

	if (sscanf(line.ptr, "%15s /%c%u/%u %15s", method, &goal, &upstream, &id, end) != 5 ||
	    id >= t->request_n)
		town_wrong(t, "an origin is asked %.*s", (int)line.len, line.ptr);
	r = &t->requests[id];
	if (strcmp(method, request_method(r)) != 0 || strcmp(end, "HTTP/1.1") != 0 ||
	    goal != (r->goal == GOAL_ORIGIN ? 'u' : 'n') || upstream != r->upstream ||
	    r->goal == GOAL_CACHE || v->server->upstream != upstream || r->bad_head)
		town_wrong(t, "an origin of upstream %u is asked %.*s", v->server->upstream,
			   (int)line.len, line.ptr);
	return r;
}

static void check_head(struct town *t, const struct request *r, struct slice h)
{
	const char *fault = wire_head_fault(h);
	char length[16];

	snprintf(length, sizeof(length), "%u", r->up_bytes);
	if (fault)
		town_wrong(t, "request %u reaches an origin with %s", r->id, fault);
	if (!wire_is(h, "Host", "town") || wire_field(h, "Host", 1).ptr)
		town_wrong(t, "request %u reaches an origin with another Host", r->id);
	if (wire_has(h, "X-Hop") || wire_has(h, "Keep-Alive") || wire_has(h, "Connection"))
		town_wrong(t, "request %u brings fields of its connection along", r->id);
	if (wire_has(h, "X_Real_IP") || wire_is(h, "X-Forwarded-For", "6.6.6.6") ||
	    wire_field(h, "X-Forwarded-For", 1).ptr || !wire_is(h, "X-Forwarded-Port", "80"))
		town_wrong(t, "request %u says itself who asks", r->id);
	if (wire_has(h, "Transfer-Encoding") != r->chunked ||
	    (!r->chunked && r->up_bytes > 0 && !wire_is(h, "Content-Length", length)))
		town_wrong(t, "request %u reaches an origin with another length", r->id);
	if (wire_field(h, "X-Pad", 0).len != r->pad_bytes ||
	    wire_has(h, "Expect") != r->expects || !wire_has(h, "Via"))
		town_wrong(t, "request %u has lost a field", r->id);
}

/* Each try may meet a stale connection, and is sent once more if that is safe. */
static unsigned sent_max(const struct town *t, const struct request *r)
{
	const struct rule *rule = &t->rules[r->upstream];
	unsigned tries = rule->tries > 0 ? rule->tries : 1;

	if (rule->hedged && r->up_bytes == 0 && !r->chunked)
		tries += request_idempotent(r);
	if (request_idempotent(r))
		return 2 * tries;
	return rule->all_methods ? tries : 1;
}

/* A connection that was idle may end just when it is asked. */
static bool may_go_out(const struct visit *v, const struct request *r)
{
	switch (v->server->town->reuse[v->server->upstream]) {
	case CONFIG_REUSE_NEVER:
		return v->n == 1;
	case CONFIG_REUSE_SAFE:
		return v->n == 1 || !r->opens || request_idempotent(r);
	case CONFIG_REUSE_ALWAYS:
		break;
	}
	return true;
}

/* So it does, also on a fine day, where that must be nobody's loss. */
static bool origin_rests(struct visit *v, const struct request *r)
{
	struct town *t = v->server->town;
	const struct rule *rule = &t->rules[r->upstream];
	uint32_t kept = rule->tries > 0 ? rule->body : 16384;

	if (v->n == 1 || r->seen > 1 || !request_idempotent(r) || r->up_bytes > kept ||
	    (t->seed + r->id) % 4 > 0)
		return false;
	town_note(t, "an origin of upstream %u rests", v->server->upstream);
	return true;
}

static void count(struct visit *v, struct request *r)
{
	struct town *t = v->server->town;

	r->seen++;
	v->n++;
	r->poisoned |= v->spoke;
	town_note(t, "an origin of upstream %u is asked %u", v->server->upstream, r->id);
	if (v->last)
		town_wrong(t, "request %u comes where the origin has said its last", r->id);
	if (v->holder > 0 && v->holder != r->number + 1)
		town_wrong(t, "request %u comes as another customer's", r->id);
	if (v->server->shop != SHOP_OPEN)
		town_wrong(t, "request %u comes to a closed shop", r->id);
	if (!may_go_out(v, r))
		town_wrong(t, "request %u goes out on a connection that was used", r->id);
	if (r->seen > sent_max(t, r))
		town_wrong(t, "request %u is sent %u times", r->id, r->seen);
}

/* What is decided by the head alone. False: nothing more is read. */
static bool head_play(struct visit *v, struct request *r)
{
	struct text x = { 0 };

	v->play = r->seen <= r->firsts ? r->first : r->play;
	switch ((unsigned)v->play) {
	case PLAY_RESETS:
		sim_peer_reset_now(v->peer);
		return false;
	case PLAY_CLOSES:
		sim_peer_close(v->peer);
		return false;
	case PLAY_DEAF:
		v->peer->stopped_reading = true;
		v->last = true;
		io_cancel(v->server->town->sim.tick.loop, &v->peer->recv.op);
		return false;
	case PLAY_EARLY:
	case PLAY_REJECTS:
		v->answered = true;
		answer(v, r);
		if (v->play == PLAY_EARLY && r->id % 2)
			sim_peer_send_first(v->peer);
		break;
	default:
		if (r->expects) {
			text_add(&x, "HTTP/1.1 100 Continue\r\n\r\n");
			say(v, &x);
		}
	}
	return true;
}

static bool hear_head(struct visit *v, struct slice rest)
{
	struct slice h = wire_head(rest);
	struct request *r;

	if (h.len == 0)
		return false;
	r = find(v, wire_line(h));
	count(v, r);
	check_head(v->server->town, r, h);
	v->peer->in_used += h.len;
	v->answered = false;
	timer_stop(&v->server->town->sim.tick.wheel, &v->later);
	wire_begin(&v->wire, h, false, false, r->id, WIRE_UP);
	v->now = r;
	v->rests = v->last = origin_rests(v, r);
	if (!v->rests)
		return head_play(v, r);
	if (r->id / 4 % 2)
		sim_peer_close(v->peer);
	return r->id / 4 % 2 == 0;
}

static void request_whole(struct visit *v)
{
	struct request *r = v->now;
	struct town *t = v->server->town;

	v->now = NULL;
	r->whole++;
	if (v->wire.got != r->up_bytes || r->bad_body)
		town_wrong(t, "request %u reaches an origin with %llu of %u bytes", r->id,
			   (unsigned long long)v->wire.got, r->up_bytes);
	if (v->rests)
		sim_peer_close(v->peer);
	else if (!v->answered)
		answer(v, r);
}

static bool hear_one(struct visit *v)
{
	struct sim_peer *a = v->peer;
	struct slice rest = { a->in + a->in_used, a->in_n - a->in_used };
	const char *fault;
	size_t used;

	if (a->fd < 0 || (!v->now && !hear_head(v, rest)) || a->fd < 0)
		return false;
	rest = (struct slice){ a->in + a->in_used, a->in_n - a->in_used };
	fault = wire_feed(&v->wire, rest, &used);
	if (fault)
		town_wrong(v->server->town, "the body of request %u reaches an origin with %s",
			   v->now->id, fault);
	a->in_used += used;
	v->now->up_got = v->wire.got;
	v->now->up_open = v->wire.state == WIRE_CHUNK || v->wire.state == WIRE_CHUNK_END;
	if (v->wire.state != WIRE_WHOLE)
		return false;
	request_whole(v);
	return true;
}

static struct visit *visit_of(struct sim_peer *a)
{
	struct server *s;
	struct visit *v = a->owner;

	if (a->step++ > 0)
		return v;
	s = a->owner;
	v = calloc(1, sizeof(*v));
	ASSERT(v);
	*v = (struct visit){ .server = s, .peer = a };
	a->owner = v;
	timer_init(&v->later, later_rang);
	list_init(&v->node);
	list_append(&s->town->visits, &v->node);
	return v;
}

static bool is_closing(const struct server *s)
{
	return s->town->closing;
}

static void origin_heard(struct sim_peer *a)
{
	struct visit *v;
	struct town *t;

	if (a->step == 0 && is_closing(a->owner))
		return; /* nobody would free its visit */
	v = visit_of(a);
	t = v->server->town;
	town_mark_bytes(t, (struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	while (hear_one(v))
		;
	if (sim_peer_finished(a) && a->fd >= 0)
		sim_peer_close(a);
}

/* ---- caches ----------------------------------------------------------------- */

static void value(struct text *x, const struct request *r, const char *key)
{
	text_add(x, "VALUE %s 0 %u\r\n", key, r->down_bytes);
	text_body(x, r->id, WIRE_CACHED, 0, r->down_bytes);
	text_add(x, "\r\nEND\r\n");
}

/* False: nothing more is read. */
static bool reply(struct sim_peer *a, const struct request *r, const char *key)
{
	struct text x = { 0 };

	if (r->reply == REPLY_MISS)
		text_add(&x, "END\r\n");
	else if (r->reply == REPLY_ERROR)
		text_add(&x, "SERVER_ERROR out of sorts\r\n");
	else if (r->reply == REPLY_BAD)
		text_add(&x, "VALUE %s 0 x\r\n", key);
	else if (r->reply == REPLY_OTHER_KEY)
		value(&x, r, "another");
	else if (r->reply <= REPLY_SLOW || r->reply == REPLY_CUT)
		value(&x, r, key);
	a->pause_ms = r->reply == REPLY_SLOW ? 1 + r->id % 9 : 0;
	if (x.n > 0)
		sim_peer_send(
			a, (struct slice){ x.at, r->reply == REPLY_CUT ? x.n - 3 : x.n });
	free(x.at);
	if (r->reply == REPLY_CUT || r->reply == REPLY_CLOSES)
		sim_peer_close(a);
	return r->reply <= REPLY_OTHER_KEY;
}

/* Once in a town's life a cache ends a link on which it has answered and calls are coming, as
 * those do that close what rests: so no call can meet it twice, and even on a fine day all are
 * answered. Neither may a reset overtake the answers before it. */
static bool cache_rests(struct town *t, struct sim_peer *a, const struct request *r)
{
	bool one_by_one = t->pipeline == 1 && !t->weather.moves;

	if (t->link_stale || a->out_n == 0 || (t->seed + r->id) % 4 > 0 ||
	    (!one_by_one && t->weather.late))
		return false;
	t->link_stale = true;
	town_note(t, "a cache rests");
	if (one_by_one)
		sim_peer_close(a);
	else
		sim_peer_reset(a);
	return true;
}

static bool cache_one(struct sim_peer *a)
{
	struct server *s = a->owner;
	struct slice rest = { a->in + a->in_used, a->in_n - a->in_used };
	const char *end = memmem(rest.ptr, rest.len, "\r\n", 2);
	char key[32], goal;
	struct request *r;
	unsigned id;

	if (!end || a->fd < 0)
		return false;
	if (sscanf(rest.ptr, "get %31s\r\n", key) != 1 ||
	    sscanf(key, "%c0-%u", &goal, &id) != 2 || id >= s->town->request_n ||
	    s->town->requests[id].goal != (goal == 'c' ? GOAL_CACHE : GOAL_CACHE_THEN_ORIGIN))
		town_wrong(s->town, "a cache is asked %.*s", (int)(end - rest.ptr), rest.ptr);
	town_note(s->town, "a cache is asked %u", id);
	r = &s->town->requests[id];
	/* A link that is stale, or late, loses it; then it is asked once more. */
	if (++r->asked > 2)
		town_wrong(s->town, "request %u is asked of caches %u times", id,
			   r->asked);
	a->in_used = (size_t)(end + 2 - a->in);
	if (!cache_rests(s->town, a, r) && reply(a, r, key))
		return true;
	a->on_input = NULL;
	return false;
}

static void cache_heard(struct sim_peer *a)
{
	struct server *s = a->owner;

	town_mark_bytes(s->town,
			(struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	while (cache_one(a))
		;
	if (sim_peer_finished(a) && a->fd >= 0)
		sim_peer_close(a);
}

/* ---- opening and ending ----------------------------------------------------- */

void server_open(struct server *s, struct town *t, unsigned upstream, unsigned port, bool cache)
{
	struct sockaddr_in addr = simrig_address(port);

	*s = (struct server){ .town = t, .upstream = upstream, .port = port };
	if ((cache ? t->weather.ill_caches : t->weather.ill_origins) && town_chance(t, 4))
		s->shop = town_chance(t, 2) ? SHOP_REFUSES : SHOP_NEVER_ACCEPTS;
	if (s->shop == SHOP_OPEN)
		sim_server_open(&s->host, &t->sim, port,
				cache ? cache_heard : origin_heard, s);
	else if (s->shop == SHOP_NEVER_ACCEPTS)
		s->host.listener = sim_listen(t->sim.tick.loop, (struct sockaddr *)&addr,
					      sizeof(addr), 1 + (int)town_draw(t, 3));
}

void server_flap(struct server *s)
{
	struct town *t = s->town;

	if (s->shop != SHOP_OPEN)
		return;
	if (s->host.listener < 0) {
		sim_server_open(&s->host, &t->sim, s->port, origin_heard, s);
		return;
	}
	sim_server_close(&s->host);
	if (s->host.last && s->host.last->fd >= 0 && town_chance(t, 2))
		sim_peer_reset_now(s->host.last);
}

static void server_done(struct server *s)
{
	if (s->shop == SHOP_NEVER_ACCEPTS)
		io_close(s->town->sim.tick.loop, s->host.listener);
}

void servers_done(struct town *t)
{
	t->closing = true;
	LIST_EACH(&t->visits, node) {
		struct visit *v = LIST_ITEM(node, struct visit, node);

		timer_stop(&t->sim.tick.wheel, &v->later);
		stand_end(&v->stand);
		v->peer->on_input = NULL;
		list_remove(&v->node);
		free(v);
	}
	for (unsigned u = 0; u < t->upstream_n; u++)
		for (unsigned i = 0; i < t->server_n[u]; i++)
			server_done(&t->servers[u][i]);
	for (unsigned u = 0; t->watch && u < t->upstream_n; u++)
		for (unsigned i = 0; i < t->server_n[u]; i++)
			server_done(&t->moved[u][i]);
	for (unsigned i = 0; i < t->cache_n; i++)
		server_done(&t->caches[i]);
}
