/* The clients of a sim world: draw requests, send them, and check every byte of the responses.
 * Owner: struct simworld. A wrong response is a simworld_fail(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/simworld.h"

#define BODY_WAIT_MS 300

static const char *const bad_head_fields[] = {
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

static void client_check_over(struct sim_client *c);

/* ---- drawing requests ------------------------------------------------------- */

static void draw_goal(struct simworld *w, struct sim_request *r)
{
	r->goal = w->cache_n > 0 && simworld_chance(w, 4)
			  ? simworld_chance(w, 2) ? GOAL_CACHE : GOAL_CACHE_THEN_ORIGIN
			  : GOAL_ORIGIN;
	r->upstream = r->goal == GOAL_ORIGIN ? (unsigned)simworld_draw(w, w->upstream_n)
					     : 0;
	r->response = (enum origin_response)simworld_draw(
		w, w->faults.faulty_origins && simworld_chance(w, 2) ? RESPONSES
								     : RESPONSE_FAULTY);
	r->reply = (enum cache_reply)simworld_draw(
		w, w->faults.faulty_caches && simworld_chance(w, 3) ? REPLIES
								    : REPLY_FAULTY);
}

/* With the retries of its route the request outlasts its origin's first responses. */
static bool passes_first_responses(const struct retry_policy *policy,
				   const struct sim_request *r)
{
	return r->first_n < policy->tries && policy->all_conditions &&
	       r->up_bytes <= policy->body && !(r->chunked && policy->body == 0) &&
	       (policy->all_methods || sim_request_idempotent(r));
}

static void draw_first_responses(struct simworld *w, struct sim_request *r)
{
	static const enum origin_response choices[] = {
		RESPONSE_BUSY,      RESPONSE_BUSY,     RESPONSE_CLOSES, RESPONSE_RESETS,
		RESPONSE_HALF_HEAD, RESPONSE_BAD_HEAD, RESPONSE_SILENT
	};

	if (r->goal == GOAL_CACHE || simworld_chance(w, 2))
		return;
	/* Where each request must succeed, none may wait a minute for a silent origin: others
	 * would wait in the queue behind it. */
	r->first_response =
		choices[simworld_draw(w, COUNT(choices) - simworld_must_succeed(w))];
	r->first_n = 1 + (unsigned)simworld_draw(w, 3);
	if (simworld_must_succeed(w) &&
	    !passes_first_responses(&w->policies[r->upstream], r))
		r->first_n = 0;
}

/* `last`: of its client. Only that one may end or break the connection. */
static void draw_request(struct simworld *w, struct sim_request *r, bool last,
			 bool faulty)
{
	draw_goal(w, r);
	r->method = (unsigned)simworld_draw(w, 8);
	if (r->goal != GOAL_ORIGIN)
		r->method = (unsigned)simworld_draw(w, 2);
	if (r->method >= 3) {
		r->up_bytes = simworld_draw_size(w);
		r->chunked = simworld_chance(w, 2);
		r->expects = simworld_chance(w, 6);
		r->waits = r->expects && simworld_chance(w, 2);
	}
	r->down_bytes = simworld_draw_size(w);
	r->hop_fields = simworld_chance(w, 3);
	if (simworld_chance(w, 6))
		r->pad_bytes = 1 + (uint32_t)simworld_draw(w, 3000);
	r->minor = 1;
	draw_first_responses(w, r);
	if (!last)
		return;
	r->closes = simworld_chance(w, 4);
	if (simworld_chance(w, 6) && !r->chunked) {
		r->minor = 0;
		r->expects = r->waits = false;
	}
	if (faulty && simworld_chance(w, 5))
		r->bad_head = 1 + (unsigned)simworld_draw(w, COUNT(bad_head_fields));
	else if (faulty && r->chunked)
		r->bad_body = simworld_chance(w, 3);
}

/* ---- sending ---------------------------------------------------------------- */

static void client_add_head(struct strbuf *x, const struct sim_request *r)
{
	static const char goals[] = { 'u', 'c', 'n' };

	strbuf_addf(x, "%s /%c%u/%u HTTP/1.%u\r\nHost: test\r\n", sim_request_method(r),
		    r->goal == GOAL_ORIGIN ? simrules_letter(r) : goals[r->goal],
		    r->upstream, r->id, r->minor);
	simrules_add_fields(x, r);
	simmirror_add_fields(r->client->world, x, r);
	if (r->hop_fields)
		strbuf_addf(x,
			    "X-Hop: secret\r\nConnection: x-hop%s\r\nKeep-Alive: 9\r\n"
			    "X-Forwarded-For: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\n",
			    r->closes ? ", close" : "");
	else if (r->closes)
		strbuf_addf(x, "Connection: close\r\n");
	else if (r->minor == 0 && r->id % 2)
		strbuf_addf(x, "Connection: keep-alive\r\n");
	if (r->pad_bytes > 0)
		strbuf_addf(x, "X-Pad: %0*d\r\n", (int)r->pad_bytes, 7);
	if (r->expects)
		strbuf_addf(x, "Expect: 100-continue\r\n");
	if (r->bad_head)
		strbuf_addf(x, "%s", bad_head_fields[r->bad_head - 1]);
	else if (r->chunked)
		strbuf_addf(x, "Transfer-Encoding: chunked\r\n");
	else if (r->up_bytes > 0)
		strbuf_addf(x, "Content-Length: %u\r\n", r->up_bytes);
	strbuf_addf(x, "\r\n");
}

static void client_add_body(struct sim_client *c, struct strbuf *x,
			    const struct sim_request *r)
{
	struct simworld *w = c->world;
	uint32_t at = 0;

	if (!r->chunked) {
		strbuf_add_body(x, r->id, WIRE_UP, 0, r->up_bytes);
		return;
	}
	while (at < r->up_bytes) {
		uint32_t n = 1 + (uint32_t)simworld_draw(w, r->up_bytes - at);

		strbuf_add_chunk(x, r->id, WIRE_UP, at, n,
				 simworld_chance(w, 8) ? ";ext=1" : "");
		at += n;
		if (r->bad_body && simworld_chance(w, 2))
			break;
	}
	strbuf_addf(x, r->bad_body             ? "0x0\r\n\r\n"
		       : simworld_chance(w, 4) ? "0\r\nX-Trailer: 1\r\n\r\n"
					       : "0\r\n\r\n");
}

/* How the session of a client that cuts a request ends. */
static enum simtls_end client_ending(const struct sim_client *c)
{
	if (c->behavior != BEHAVIOR_CUT_FIN || !c->peer->tls)
		return SIMTLS_CLOSES;
	return (enum simtls_end)simworld_choice(c->world, c->number, SIMTLS_ENDS);
}

static void client_cut(struct sim_client *c)
{
	if (c->behavior == BEHAVIOR_CUT_FIN && client_ending(c) == SIMTLS_ALERTS)
		simtls_end(c->peer, SIMTLS_ALERTS);
	else if (c->behavior == BEHAVIOR_CUT_FIN)
		sim_peer_shutdown(c->peer);
	else if (c->behavior == BEHAVIOR_CUT_RESETS)
		sim_peer_reset(c->peer);
	c->fault_done = true;
}

static void client_send(struct sim_client *c, struct strbuf *x, bool whole)
{
	size_t n = whole ? x->len : (size_t)simworld_draw(c->world, x->len);

	if (!whole &&
	    (client_ending(c) == SIMTLS_CUTS_OFF || client_ending(c) == SIMTLS_CORRUPTS))
		simtls_end(c->peer, client_ending(c));
	sim_peer_send(c->peer, (struct slice){ x->data, n });
	if (!whole && client_ending(c) == SIMTLS_GOES_ON)
		simtls_send_behind(c->peer, (struct slice){ x->data + n, x->len - n });
	free(x->data);
}

static void client_send_request(struct sim_client *c)
{
	struct sim_request *r = c->requests[c->sent++];
	bool cut = c->behavior >= BEHAVIOR_CUT_FIN &&
		   c->behavior <= BEHAVIOR_CUT_STALLS && c->sent == c->cut_request;
	struct strbuf x = { 0 };

	simworld_log(
		c->world,
		"client %u sends request %u: %s, response %d, reply %d, up %u, down %u%s%s",
		c->number, r->id, sim_request_method(r), r->response, r->reply,
		r->up_bytes, r->down_bytes, r->bad_head ? ", bad head" : "",
		cut ? ", cut" : "");
	if (cut)
		r->ending = client_ending(c);
	client_add_head(&x, r);
	if (r->waits && !r->bad_head && !cut) {
		c->body_held = r;
		timer_set(&c->world->sim.tick.wheel, &c->body,
			  c->world->sim.tick.now_ms + BODY_WAIT_MS);
	} else if (!r->bad_head) {
		client_add_body(c, &x, r);
	}
	if (r->paced_up)
		pacer_start(&c->pacer, r, c->peer, WIRE_UP, &x);
	else
		client_send(c, &x, !cut);
	if (cut)
		client_cut(c);
}

static void client_send_held_body(struct sim_client *c)
{
	struct strbuf x = { 0 };
	struct sim_request *r = c->body_held;

	timer_stop(&c->world->sim.tick.wheel, &c->body);
	c->body_held = NULL;
	if (!r || c->peer->fd < 0)
		return;
	client_add_body(c, &x, r);
	client_send(c, &x, true);
}

static void client_send_next(struct sim_client *c)
{
	while (c->sent < c->n && c->sent < c->answered + c->pipeline_depth &&
	       !c->fault_done && !c->body_held && !c->closing && !pacer_active(&c->pacer))
		client_send_request(c);
	if (c->behavior == BEHAVIOR_FIN_AT_END && c->sent == c->n && !c->body_held)
		sim_peer_shutdown(c->peer);
}

/* ---- receiving -------------------------------------------------------------- */

/* The request that the next response belongs to. */
static struct sim_request *current_request(struct sim_client *c)
{
	if (c->answered >= c->sent)
		simworld_fail(c->world,
			      "client %u gets a response that no request is waiting for",
			      c->number);
	return c->requests[c->answered];
}

static bool request_must_succeed(const struct sim_client *c, const struct sim_request *r)
{
	return simworld_must_succeed(c->world) && c->behavior < BEHAVIOR_FAULTY &&
	       !r->bad_head && !r->bad_body;
}

/* The client has sent FIN, and no route says `half_close: allow`: it is owed nothing. */
static bool has_left(const struct sim_client *c)
{
	return c->behavior == BEHAVIOR_FIN_AT_END && !c->world->half_close &&
	       c->peer->fin_wanted;
}

/* For a response that the proxy made itself. */
static void check_own_status(struct sim_client *c, const struct sim_request *r,
			     int status)
{
	struct simworld *w = c->world;
	bool cut = c->behavior >= BEHAVIOR_FAULTY;

	if (simrules_explain(w, r, status) ||
	    (status == 404 && r->goal == GOAL_CACHE && r->reply == REPLY_MISS))
		return;
	if (status == 200 && r->goal != GOAL_ORIGIN && r->reply <= REPLY_SLOW &&
	    r->reply != REPLY_MISS)
		return;
	if (request_must_succeed(c, r))
		simworld_fail(w, "request %u gets status %d without a reason", r->id,
			      status);
	/* A query to a cache that is down is a miss. */
	if (status == 502 || status == 503 || status == 504 ||
	    (status == 404 && r->goal == GOAL_CACHE) ||
	    (status == 429 && simworld_limits(w, r->upstream)) ||
	    (status == 400 &&
	     (r->bad_head || r->bad_body || cut || (r->chunked && w->faults.memory))) ||
	    (status == 408 && (cut || w->faults.few_buffers)))
		return;
	simworld_fail(w, "request %u gets status %d", r->id, status);
}

/* It may have got the 503 of its origin's first responses. */
static bool may_be_busy(const struct sim_request *r)
{
	return r->status == 503 && r->first_n > 0 && r->first_response == RESPONSE_BUSY;
}

/* One attempt may reach an origin, and another one get the unsolicited response on a reused
 * connection. */
static bool may_be_repeated(const struct sim_client *c, const struct sim_request *r)
{
	const struct retry_policy *policy = &c->world->policies[r->upstream];

	return policy->tries > 1 || policy->hedged;
}

static void check_origin_head(struct sim_client *c, struct sim_request *r,
			      struct slice head)
{
	struct simworld *w = c->world;
	struct slice id = wire_field(head, "X-Id", 0);

	if (slice_equal(id, SLICE("poison"))) {
		if (r->heads > 0 && !r->after_unsolicited && !may_be_repeated(c, r))
			simworld_fail(w, "request %u gets an unsolicited response",
				      r->id);
		return;
	}
	if (r->bad_head || r->heads == 0 ||
	    (r->response >= RESPONSE_MISSING && !may_be_busy(r)))
		simworld_fail(w,
			      "request %u gets a response that its origin did not send",
			      r->id);
	if (request_must_succeed(c, r) && r->status == 503 &&
	    r->response != RESPONSE_BUSY)
		simworld_fail(w, "request %u was not retried", r->id);
	if (strtoul(id.ptr, NULL, 10) != r->id)
		simworld_fail(w, "request %u gets the response to %.*s", r->id,
			      (int)id.len, id.ptr);
	if (wire_has(head, "X-Hop") || wire_has(head, "Keep-Alive"))
		simworld_fail(w, "a hop-by-hop field of the origin reaches client %u",
			      c->number);
}

static void response_head_received(struct sim_client *c, struct slice head, int status)
{
	struct sim_request *r = current_request(c);
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
	/* A request that was malformed or incomplete may be answered as if it was not a
	 * HEAD. */
	wire_begin(&c->wire, head,
		   (r->method == 1 && status != 400 && status != 408) || status == 204 ||
			   status == 304,
		   true, r->id, way);
	c->in_body = true;
	if (c->wire.state == WIRE_CLOSE && !c->closing)
		simworld_fail(
			c->world,
			"the response to %u ends with the connection, and does not say so",
			r->id);
	c->closing |= c->wire.state == WIRE_CLOSE;
}

static void response_complete(struct sim_client *c)
{
	struct sim_request *r = current_request(c);
	bool body = r->method != 1 && r->status != 204 && r->status != 304;

	simworld_log(c->world, "client %u has the response to %u: %d, %llu bytes",
		     c->number, r->id, r->status, (unsigned long long)c->wire.got);
	if (c->wire.way == WIRE_DOWN && r->response >= RESPONSE_INCOMPLETE && body &&
	    !may_be_busy(r))
		simworld_fail(c->world, "an incomplete response to %u looks complete",
			      r->id);
	if (c->wire.way != WIRE_ANY && body && c->wire.got != r->down_bytes)
		simworld_fail(c->world, "the response to %u has %llu bytes, not %u",
			      r->id, (unsigned long long)c->wire.got, r->down_bytes);
	r->answered = true;
	c->interims = 0;
	c->in_body = false;
	c->answered++;
	if (c->body_held == r && c->closing)
		c->body_held = NULL;
	client_send_held_body(c);
}

/* False: no complete head was received. */
static bool client_read_head(struct sim_client *c, struct slice rest)
{
	struct slice head = wire_head(rest);
	const char *fault;
	int status;

	if (head.len == 0)
		return false;
	fault = wire_head_fault(head);
	if (fault || !slice_starts(head, SLICE("HTTP/1.1 ")))
		simworld_fail(c->world, "client %u gets a head with %s", c->number,
			      fault ? fault : "no status");
	status = atoi(head.ptr + 9);
	c->peer->in_used += head.len;
	simrules_check_response(c->world, current_request(c), head, status,
				wire_has(head, "X-Id"));
	if (status >= 200) {
		response_head_received(c, head, status);
		return true;
	}
	if (current_request(c)->minor == 0 || (status != 100 && status != 103))
		simworld_fail(c->world, "client %u gets an interim response %d",
			      c->number, status);
	c->interims++;
	if (c->body_held && status == 100)
		client_send_held_body(c);
	return true;
}

/* Handles one head or some of a body. False: there is nothing more to handle. */
static bool client_read_element(struct sim_client *c)
{
	struct sim_peer *p = c->peer;
	struct slice rest = { p->in + p->in_used, p->in_n - p->in_used };
	const char *fault;
	size_t used;

	if (!c->in_body) {
		/* Without memory even a HEAD may get a response with a body, before its head
		 * was parsed. */
		if (rest.len > 0 && c->closing && c->world->faults.memory)
			return false;
		if (rest.len > 0 && c->closing)
			simworld_fail(c->world,
				      "client %u gets bytes after the last response",
				      c->number);
		if (!client_read_head(c, rest))
			return false;
	} else {
		fault = wire_feed(&c->wire, rest, &used);
		if (fault)
			simworld_fail(c->world, "client %u, response to %u: %s",
				      c->number, current_request(c)->id, fault);
		p->in_used += used;
		if (used == 0)
			return false;
	}
	if (c->in_body && c->wire.state == WIRE_WHOLE)
		response_complete(c);
	return true;
}

static void client_leave(struct sim_client *c)
{
	struct wheel *wheel = &c->world->sim.tick.wheel;

	c->over = true;
	timer_stop(wheel, &c->start);
	timer_stop(wheel, &c->fault);
	timer_stop(wheel, &c->body);
	pacer_stop(&c->pacer);
	if (c->peer && c->peer->fd >= 0)
		sim_peer_close_now(c->peer);
	simworld_hash(c->world, c->answered);
	simworld_log(c->world, "client %u ends with %u of %u responses", c->number,
		     c->answered, c->n);
}

/* A request reaches an origin only after the earlier ones on its connection were answered. So
 * their responses must arrive, whatever happens to this one. Exceptions: a reset may overtake
 * them, which the proxy sends when a close-delimited body breaks (HTTP/1.0), when the worker is
 * aborted, and when the client seems too slow; and without memory nothing can be sealed. */
static void check_earlier_responses(struct sim_client *c)
{
	const struct simworld *w = c->world;
	unsigned last = 0;

	if (c->behavior >= BEHAVIOR_FAULTY || w->cut || w->faults.few_buffers ||
	    (w->secured && w->faults.memory) || c->sent == 0 ||
	    c->requests[c->sent - 1]->minor == 0)
		return;
	for (unsigned i = 0; i < c->sent; i++)
		if (c->requests[i]->heads > 0)
			last = i;
	for (unsigned i = 0; i < last; i++)
		if (!c->requests[i]->answered)
			simworld_fail(c->world,
				      "the response to %u is lost with that to %u",
				      c->requests[i]->id, c->requests[last]->id);
}

/* Each request that was sent and must succeed has its response, even if the connection breaks
 * at a later one. Exceptions: the connection may end after a response that came before its
 * request was complete; and a client that has left gets the rest of a response that began, but
 * no other. */
static void check_answered(struct sim_client *c)
{
	if (has_left(c)) {
		if (c->in_body && simworld_must_succeed(c->world) &&
		    c->requests[c->answered]->response != RESPONSE_EARLY)
			simworld_fail(
				c->world,
				"the response to %u breaks off because its client has sent FIN",
				c->requests[c->answered]->id);
		return;
	}
	for (unsigned i = 0; i < c->sent && !c->closing; i++) {
		const struct sim_request *r = c->requests[i];

		if ((r->response == RESPONSE_EARLY || simrules_status(c->world, r)) &&
		    r->goal == GOAL_ORIGIN && r->method >= 3)
			return;
		if (request_must_succeed(c, r) && !r->answered)
			simworld_fail(c->world, "request %u of client %u has no response",
				      r->id, c->number);
	}
}

/* Ends the client if its connection has ended, or all its requests have responses. */
static void client_check_over(struct sim_client *c)
{
	struct sim_peer *p = c->peer;

	if (c->over)
		return;
	if (sim_peer_finished(p)) {
		if (p->eof && c->in_body && c->wire.state == WIRE_CLOSE)
			response_complete(c);
		else if (p->eof && !c->in_body && p->in_used < p->in_n &&
			 !wire_head((struct slice){ p->in + p->in_used, 1 }).len)
			simworld_log(c->world, "client %u has got half a head",
				     c->number);
		check_earlier_responses(c);
		check_answered(c);
		client_leave(c);
	} else if (c->answered == c->n && !c->closing &&
		   c->behavior != BEHAVIOR_FIN_AT_END) {
		client_leave(c);
	}
}

static void client_on_input(struct sim_peer *p)
{
	struct sim_client *c = p->owner;

	simworld_hash_bytes(c->world,
			    (struct slice){ p->in + p->in_used, p->in_n - p->in_used });
	simworld_hash(c->world, (uint64_t)p->eof << 1 | (p->error != 0));
	while (!c->over && client_read_element(c))
		;
	client_send_next(c);
	client_check_over(c);
}

/* ---- start, faults and end -------------------------------------------------- */

#define SIM_PROXY_HEADER "PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n"

static void client_start_fired(struct timer *timer)
{
	struct sim_client *c = CONTAINER(timer, struct sim_client, start);

	if (c->peer) { /* a slow reader, whose pause is over */
		sim_peer_resume_reading(c->peer);
		return;
	}
	c->peer = sim_peer_connect(&c->world->sim, SIMWORLD_PROXY_PORT);
	c->peer->on_input = client_on_input;
	c->peer->owner = c;
	if (c->world->proxied)
		sim_peer_append_output(c->peer, SIM_PROXY_HEADER,
				       sizeof(SIM_PROXY_HEADER) - 1);
	if (c->world->secured)
		simtls_secure(c->peer, c->world->peers, c->world->client_context,
			      SLICE("example.org"), NULL);
	if (c->world->secured && !c->peer->tls) {
		c->peer->on_input = NULL; /* slab_fail_at() */
		client_leave(c);
		return;
	}
	c->peer->crumbs = c->peer->tls && simworld_choice(c->world, c->number, 9) == 0;
	if (c->behavior == BEHAVIOR_SLOW_READER) {
		c->peer->stopped_reading = true;
		timer_set(&c->world->sim.tick.wheel, timer,
			  c->world->sim.tick.now_ms + simworld_draw(c->world, 400));
	}
	client_send_next(c);
}

static void client_fault_fired(struct timer *timer)
{
	struct sim_client *c = CONTAINER(timer, struct sim_client, fault);

	c->fault_done = true;
	if (!c->peer || c->over)
		return;
	simworld_log(c->world, "client %u does its fault: behavior %d", c->number,
		     c->behavior);
	if (c->behavior == BEHAVIOR_FIN_EARLY) {
		if (c->peer->tls && simworld_choice(c->world, c->number, 2))
			simtls_end(c->peer, SIMTLS_CUTS_OFF);
		sim_peer_shutdown(c->peer);
		return;
	}
	if (c->peer->fd >= 0 && c->behavior == BEHAVIOR_RESETS)
		sim_peer_reset_now(c->peer);
	client_leave(c);
}

static void client_body_fired(struct timer *timer)
{
	struct sim_client *c = CONTAINER(timer, struct sim_client, body);

	client_send_held_body(c);
	client_send_next(c);
}

/* A time at most `most` ms ahead; with same_start the same for all clients. */
static uint64_t draw_start_ms(struct simworld *w, uint32_t most)
{
	return w->sim.tick.now_ms +
	       (w->faults.same_start ? most / 2 : 1 + simworld_draw(w, most));
}

void sim_client_init(struct sim_client *c, struct simworld *w, unsigned number)
{
	bool faulty = w->faults.faulty_clients && simworld_chance(w, 2);

	*c = (struct sim_client){ .world = w, .number = number };
	c->behavior = (enum client_behavior)simworld_draw(w, faulty ? BEHAVIORS
								    : BEHAVIOR_FAULTY);
	c->n = 1 + (unsigned)simworld_draw(w, SIMWORLD_REQUESTS);
	c->pipeline_depth = simworld_chance(w, 2)
				    ? 1
				    : 1 + (unsigned)simworld_draw(w, SIMWORLD_REQUESTS);
	c->cut_request = 1 + (unsigned)simworld_draw(w, c->n);
	for (unsigned i = 0; i < c->n; i++) {
		struct sim_request *r = &w->requests[w->request_n];

		*r = (struct sim_request){ .id = w->request_n++,
					   .number = number,
					   .first_of_client = i == 0,
					   .ntlm = simworld_chance(w, 8) };
		draw_request(w, r, i == c->n - 1, w->faults.faulty_clients);
		simrules_choose(w, r);
		pacer_choose(w, c, r);
		c->requests[i] = r;
	}
	timer_init(&c->start, client_start_fired);
	timer_init(&c->fault, client_fault_fired);
	timer_init(&c->body, client_body_fired);
	timer_set(&w->sim.tick.wheel, &c->start, draw_start_ms(w, 300));
	if (c->behavior >= BEHAVIOR_RESETS)
		timer_set(&w->sim.tick.wheel, &c->fault, draw_start_ms(w, 500));
}

void sim_client_check_socket(struct sim_client *c)
{
	const struct sim_peer *p = c->peer;

	if (!c->over && p && (p->connect_error || (p->connected && p->fd < 0)))
		client_leave(c);
}

void sim_client_end(struct sim_client *c)
{
	if (!c->over)
		client_leave(c);
}

void sim_client_fail_stuck(struct sim_client *c)
{
	const struct sim_peer *p = c->peer;

	simworld_fail(
		c->world,
		"client %u waits for ever: %s, %u requests sent, %u answered, %zu of %zu "
		"bytes sent%s%s%s%s",
		c->number,
		!p             ? "not started"
		: p->connected ? "connected"
			       : "connecting",
		c->sent, c->answered, p ? p->out_sent : 0, p ? p->out_n : 0,
		c->in_body ? ", in a body" : "", c->closing ? ", closing" : "",
		p && p->stopped_reading ? ", not reading" : "",
		p && p->eof ? ", received the end" : "");
}
