/* The origins and caches of a sim world. Origins check that each request that reaches them is
 * the one that its client sent; then they respond as the request's `response` says.
 * Owner: struct simworld. A wrong request is a simworld_fail(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/simworld.h"

#define FLOOD 40
#define LONG_HEAD 20000

/* One connection to an origin. */
struct sim_origin_conn {
	struct list node;
	struct simworld_server *server;
	struct sim_peer *peer;
	struct sim_request *request; /* its body is being read */
	struct wire wire;
	bool answered;                 /* `request` was, before it was complete */
	bool last;                     /* no further request may come */
	bool unsolicited;              /* sent an unsolicited response */
	unsigned authenticated;        /* 0, or the number + 1 of the client that did */
	bool closes_reused;            /* closes after this request, without a response */
	unsigned n;                    /* requests that came */
	enum origin_response response; /* to the last request */
	struct timer idle_fault;
	struct pacer pacer;
};

/* ---- responses -------------------------------------------------------------- */

static void origin_send(struct sim_origin_conn *oc, struct strbuf *x)
{
	sim_peer_send(oc->peer, (struct slice){ x->data, x->len });
	free(x->data);
}

static void add_head(struct simworld *w, struct strbuf *x, const struct sim_request *r,
		     const char *status)
{
	strbuf_addf(x, "HTTP/1.1 %s\r\nX-Id: %u\r\n", status, r->id);
	/* What rules rewrite, without a draw. */
	if (r->id % 5 == 0)
		strbuf_addf(x,
			    "Location: /u%u/%u?x\r\nSet-Cookie: a=/u%u; Path=/u%u\r\n",
			    r->upstream, r->id, r->upstream, r->upstream);
	if (r->hop_fields)
		strbuf_addf(
			x,
			"X-Hop: secret\r\nKeep-Alive: timeout=%u\r\nConnection: x-hop\r\n",
			r->id % 3);
	if (simworld_chance(w, 4))
		strbuf_addf(x, "Server: test\r\nX-Pad: %0*d\r\n",
			    (int)simworld_draw(w, 2000) + 1, 7);
}

static const char *length_status(const struct sim_request *r)
{
	if (r->response == RESPONSE_BUSY)
		return "503 Busy";
	return r->ntlm ? "401 Unauthorized\r\nWWW-Authenticate: NTLM" : "200 OK";
}

static void add_length_head(struct simworld *w, struct strbuf *x,
			    const struct sim_request *r)
{
	add_head(w, x, r, length_status(r));
	strbuf_addf(x, "Content-Length: %u\r\n", r->down_bytes);
}

static void add_body(struct strbuf *x, const struct sim_request *r, uint32_t n)
{
	if (r->method != 1)
		strbuf_add_body(x, r->id, WIRE_DOWN, 0, n);
}

static void add_unsolicited(struct sim_origin_conn *oc, struct strbuf *x)
{
	oc->unsolicited = true;
	strbuf_addf(x, "HTTP/1.1 200 OK\r\nX-Id: poison\r\nConnection: close\r\n"
		       "Content-Length: 6\r\n\r\npoison");
}

static void add_chunked(struct simworld *w, struct strbuf *x, const struct sim_request *r,
			bool complete)
{
	uint32_t at = 0;

	add_head(w, x, r, "200 OK");
	strbuf_addf(x, "Transfer-Encoding: chunked\r\n\r\n");
	if (r->method == 1)
		return;
	while (at < r->down_bytes) {
		uint32_t n = 1 + (uint32_t)simworld_draw(w, r->down_bytes - at);

		strbuf_add_chunk(x, r->id, WIRE_DOWN, at, n, "");
		at += n;
	}
	if (complete) {
		strbuf_addf(x, simworld_chance(w, 3) ? "0\r\nX-Sum: 1\r\n\r\n"
						     : "0\r\n\r\n");
		return;
	}
	strbuf_addf(x, "5\r\n"); /* and then seven bytes, without CRLF */
	strbuf_add_body(x, r->id, WIRE_DOWN, at, 7);
}

static void add_bad_head(struct simworld *w, struct strbuf *x,
			 const struct sim_request *r)
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
	uint64_t way = simworld_draw(w, COUNT(fields) + 2);

	if (way == COUNT(fields))
		strbuf_addf(x, "HTTP/1.1 2x0 OK\r\nX-Id: %u\r\n", r->id);
	else
		strbuf_addf(x, "HTTP/1.1 200 OK\r\nX-Id: %u\r\n", r->id);
	if (way < COUNT(fields))
		strbuf_addf(x, "%s", fields[way]);
	else
		strbuf_addf(x, "X-Pad: %0*d\r\n", way == COUNT(fields) ? 1 : LONG_HEAD,
			    7);
	strbuf_addf(x, "\r\nabc");
}

static void arm_idle_fault(struct sim_origin_conn *oc)
{
	struct simworld *w = oc->server->world;

	timer_set(&w->sim.tick.wheel, &oc->idle_fault,
		  w->sim.tick.now_ms + 1 + simworld_draw(w, 300));
}

static void add_complete(struct sim_origin_conn *oc, struct strbuf *x,
			 const struct sim_request *r)
{
	struct simworld *w = oc->server->world;

	switch ((unsigned)r->response) {
	case RESPONSE_CHUNKED:
		add_chunked(w, x, r, true);
		return;
	case RESPONSE_UNTIL_CLOSE:
		add_head(w, x, r, "200 OK");
		strbuf_addf(x, "\r\n");
		break;
	case RESPONSE_SAYS_CLOSE:
		strbuf_addf(x,
			    "HTTP/1.1 200 OK\r\nX-Id: %u\r\nConnection: close\r\n"
			    "Content-Length: %u\r\n\r\n",
			    r->id, r->down_bytes);
		break;
	case RESPONSE_EMPTY:
		add_head(w, x, r, r->id % 2 ? "204 No Content" : "304 Not Modified");
		strbuf_addf(x, "\r\n");
		return;
	case RESPONSE_INTERIM:
		for (uint64_t n = simworld_draw(w, 4); n > 0; n--)
			strbuf_addf(x, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
		/* fall through */
	default:
		add_length_head(w, x, r);
		strbuf_addf(x, "\r\n");
		break;
	}
	add_body(x, r, r->down_bytes);
}

/* Of a response that breaks: how the session ends, if it is secured. */
static enum simtls_end origin_ending(const struct sim_origin_conn *oc,
				     const struct sim_request *r)
{
	unsigned choice = simworld_choice(oc->server->world, r->id, 3);

	if (!oc->peer->tls)
		return SIMTLS_CLOSES;
	switch ((unsigned)oc->response) {
	case RESPONSE_SHORT:
	case RESPONSE_CLOSES:
	case RESPONSE_HALF_HEAD:
		return choice > 0 ? SIMTLS_CUTS_OFF : SIMTLS_CLOSES;
	case RESPONSE_RESETS:
		return choice > 0 ? SIMTLS_ALERTS : SIMTLS_CLOSES;
	case RESPONSE_BAD_HEAD:
		return choice > 0 ? SIMTLS_CORRUPTS : SIMTLS_CLOSES;
	}
	return SIMTLS_CLOSES;
}

/* Whole, but for close_notify: it ends with the connection. */
static void add_cut_off(struct simworld *w, struct strbuf *x, const struct sim_request *r)
{
	add_head(w, x, r, "200 OK");
	strbuf_addf(x, "\r\n");
	add_body(x, r, r->down_bytes);
}

static void add_incomplete(struct sim_origin_conn *oc, struct strbuf *x,
			   const struct sim_request *r)
{
	struct simworld *w = oc->server->world;

	if (origin_ending(oc, r) == SIMTLS_CUTS_OFF) {
		add_cut_off(w, x, r);
		return;
	}
	if (r->response == RESPONSE_BAD_CHUNK) {
		add_chunked(w, x, r, false);
		return;
	}
	add_length_head(w, x,
			&(struct sim_request){ .id = r->id,
					       .upstream = r->upstream,
					       .hop_fields = r->hop_fields,
					       .down_bytes = r->down_bytes + 1 });
	strbuf_addf(x, "\r\n");
	add_body(x, r, r->down_bytes);
}

static void add_malformed(struct sim_origin_conn *oc, struct strbuf *x,
			  const struct sim_request *r)
{
	if (origin_ending(oc, r) == SIMTLS_CORRUPTS)
		add_cut_off(oc->server->world, x, r);
	else if (r->response == RESPONSE_BAD_HEAD)
		add_bad_head(oc->server->world, x, r);
	else if (r->response == RESPONSE_HALF_HEAD)
		strbuf_addf(x, "HTTP/1.1 200 OK\r\nX-Id: %u\r\nContent-Le", r->id);
	for (unsigned i = 0; r->response == RESPONSE_FLOOD && i < FLOOD; i++)
		strbuf_addf(x, "HTTP/1.1 103 Early Hints\r\n\r\n");
}

/* What happens to the connection after the response. A response to HEAD has no body that could
 * be incomplete or without an end. */
static void after_response(struct sim_origin_conn *oc, const struct sim_request *r)
{
	struct sim_peer *a = oc->peer;

	oc->last = r->response == RESPONSE_SAYS_CLOSE ||
		   r->response == RESPONSE_REJECTS || r->response >= RESPONSE_MISSING ||
		   (r->method != 1 && (r->response == RESPONSE_UNTIL_CLOSE ||
				       r->response >= RESPONSE_INCOMPLETE));
	if ((r->response == RESPONSE_UNTIL_CLOSE && r->method != 1) ||
	    r->response == RESPONSE_REJECTS)
		sim_peer_shutdown(a);
	else if (r->response == RESPONSE_SHORT || r->response == RESPONSE_CLOSES ||
		 r->response == RESPONSE_HALF_HEAD)
		sim_peer_close(a);
	else if (r->response == RESPONSE_RESET_BODY)
		sim_peer_reset(a);
	else if (r->response == RESPONSE_CLOSES_IDLE ||
		 r->response == RESPONSE_UNSOLICITED)
		arm_idle_fault(oc);
}

static void origin_respond(struct sim_origin_conn *oc, const struct sim_request *received)
{
	struct sim_request as_sent = *received;
	const struct sim_request *r = &as_sent;
	struct strbuf x = { 0 };

	as_sent.response = oc->response;
	if (origin_ending(oc, r) != SIMTLS_CLOSES)
		simtls_end(oc->peer, origin_ending(oc, r));
	oc->peer->pause_ms = r->response == RESPONSE_SLOW ? 1 + r->id % 20 : 0;
	oc->peer->uncut = r->response == RESPONSE_TWICE;
	if (r->response == RESPONSE_REJECTS)
		strbuf_addf(&x,
			    "HTTP/1.1 413 Too Large\r\nX-Id: %u\r\nConnection: close\r\n"
			    "Content-Length: %u\r\n\r\n",
			    r->id, r->down_bytes);
	if (r->response == RESPONSE_REJECTS)
		add_body(&x, r, r->down_bytes);
	else if (r->response >= RESPONSE_MISSING)
		add_malformed(oc, &x, r);
	else if (r->response >= RESPONSE_INCOMPLETE)
		add_incomplete(oc, &x, r);
	else
		add_complete(oc, &x, r);
	if (x.len > 0 && memmem(x.data, x.len, "\r\nWWW-Auth", 10))
		oc->authenticated = r->number + 1;
	if (r->response == RESPONSE_TWICE || r->response == RESPONSE_LONGER)
		add_unsolicited(oc, &x);
	if (r->paced_down && r->response == received->response)
		pacer_start(&oc->pacer, &oc->server->world->requests[r->id], oc->peer,
			    WIRE_DOWN, &x);
	else
		origin_send(oc, &x);
	after_response(oc, r);
}

static void idle_fault_fired(struct timer *timer)
{
	struct sim_origin_conn *oc = CONTAINER(timer, struct sim_origin_conn, idle_fault);
	struct strbuf x = { 0 };

	if (oc->peer->fd < 0)
		return;
	if (oc->response == RESPONSE_CLOSES_IDLE) {
		oc->peer->cuts_off = oc->n % 2;
		sim_peer_close(oc->peer);
		return;
	}
	add_unsolicited(oc, &x);
	origin_send(oc, &x);
}

/* ---- requests --------------------------------------------------------------- */

static struct sim_request *request_of_line(struct sim_origin_conn *oc, struct slice line)
{
	struct simworld *w = oc->server->world;
	char method[16], goal, end[16];
	unsigned upstream, id;
	struct sim_request *r;

	if (sscanf(line.ptr, "%15s /%c%u/%u %15s", method, &goal, &upstream, &id, end) !=
		    5 ||
	    id >= w->request_n)
		simworld_fail(w, "an origin gets the request line %.*s", (int)line.len,
			      line.ptr);
	r = &w->requests[id];
	if (strcmp(method, sim_request_method(r)) != 0 || strcmp(end, "HTTP/1.1") != 0 ||
	    goal != (r->goal == GOAL_ORIGIN ? 'u' : 'n') || upstream != r->upstream ||
	    r->goal == GOAL_CACHE || oc->server->upstream != upstream || r->bad_head)
		simworld_fail(w, "an origin of upstream %u gets the request line %.*s",
			      oc->server->upstream, (int)line.len, line.ptr);
	return r;
}

static void origin_check_head(struct simworld *w, const struct sim_request *r,
			      struct slice h)
{
	const char *fault = wire_head_fault(h);
	char length[16];

	snprintf(length, sizeof(length), "%u", r->up_bytes);
	if (fault)
		simworld_fail(w, "request %u reaches an origin with %s", r->id, fault);
	if (!wire_is(h, "Host", "test") || wire_field(h, "Host", 1).ptr)
		simworld_fail(w, "request %u reaches an origin with another Host", r->id);
	if (wire_has(h, "X-Hop") || wire_has(h, "Keep-Alive") ||
	    wire_has(h, "Connection"))
		simworld_fail(w, "request %u reaches an origin with hop-by-hop fields",
			      r->id);
	if (wire_has(h, "X_Real_IP") || wire_is(h, "X-Forwarded-For", "6.6.6.6") ||
	    wire_field(h, "X-Forwarded-For", 1).ptr ||
	    (w->proxied && !wire_is(h, "X-Forwarded-For", "192.0.2.7")) ||
	    !wire_is(h, "X-Forwarded-Port", w->secured ? "443" : "80") ||
	    !wire_is(h, "X-Forwarded-Proto", w->secured ? "https" : "http"))
		simworld_fail(w,
			      "request %u reaches an origin with forged client addresses",
			      r->id);
	if (wire_has(h, "Transfer-Encoding") != r->chunked ||
	    (!r->chunked && r->up_bytes > 0 && !wire_is(h, "Content-Length", length)))
		simworld_fail(w, "request %u reaches an origin with another length",
			      r->id);
	simrules_check_request(w, r, h);
	simmirror_check_request(w, r, h);
	if (wire_field(h, "X-Pad", 0).len != r->pad_bytes ||
	    wire_has(h, "Expect") != r->expects || !wire_has(h, "Via"))
		simworld_fail(
			w, "request %u reaches an origin with a field missing or added",
			r->id);
}

/* Each attempt may find that its idle connection has just been closed, and is then sent once
 * more if that is safe. */
static unsigned attempts_max(const struct simworld *w, const struct sim_request *r)
{
	const struct retry_policy *policy = &w->policies[r->upstream];
	unsigned tries = policy->tries > 0 ? policy->tries : 1;

	if (policy->hedged && r->up_bytes == 0 && !r->chunked)
		tries += sim_request_idempotent(r);
	if (sim_request_idempotent(r))
		return 2 * tries;
	return policy->all_methods ? tries : 1;
}

/* By `reuse`: whether this request may be sent on a connection that was used before. */
static bool may_reuse(const struct sim_origin_conn *oc, const struct sim_request *r)
{
	switch (oc->server->world->reuse[oc->server->upstream]) {
	case CONFIG_REUSE_NEVER:
		return oc->n == 1;
	case CONFIG_REUSE_SAFE:
		return oc->n == 1 || !r->first_of_client || sim_request_idempotent(r);
	case CONFIG_REUSE_ALWAYS:
		break;
	}
	return true;
}

/* Sometimes an origin closes a reused connection just as a request arrives; also in runs where
 * each request must succeed, so only if that request can be sent again: with `body: 0B` not even
 * the trailers of an empty body are kept. */
static bool origin_closes_reused(struct sim_origin_conn *oc, const struct sim_request *r)
{
	struct simworld *w = oc->server->world;
	const struct retry_policy *policy = &w->policies[r->upstream];
	uint32_t kept = policy->tries > 0 ? policy->body : 16384;

	if (oc->n == 1 || r->heads > 1 || !sim_request_idempotent(r) ||
	    r->up_bytes > kept || (r->chunked && kept == 0) || (w->seed + r->id) % 4 > 0)
		return false;
	simworld_log(w, "an origin of upstream %u closes a reused connection",
		     oc->server->upstream);
	return true;
}

static void count_request(struct sim_origin_conn *oc, struct sim_request *r)
{
	struct simworld *w = oc->server->world;

	r->heads++;
	oc->n++;
	r->after_unsolicited |= oc->unsolicited;
	simworld_log(w, "an origin of upstream %u gets request %u", oc->server->upstream,
		     r->id);
	if (r->ending == SIMTLS_CORRUPTS)
		simworld_fail(w, "request %u comes of a record with a wrong tag", r->id);
	if (oc->last)
		simworld_fail(
			w,
			"request %u comes on a connection whose last response was sent",
			r->id);
	if (oc->authenticated > 0 && oc->authenticated != r->number + 1)
		simworld_fail(
			w,
			"request %u comes on a connection that another client authenticated",
			r->id);
	if (oc->server->mode != SERVER_LISTENS)
		simworld_fail(w, "request %u comes to a server that does not listen",
			      r->id);
	if (!may_reuse(oc, r))
		simworld_fail(w,
			      "request %u is sent on a used connection, against `reuse`",
			      r->id);
	if (r->heads > attempts_max(w, r))
		simworld_fail(w, "request %u is sent %u times", r->id, r->heads);
}

/* The responses that need only the request's head. False: the connection is not read on. */
static bool respond_to_head(struct sim_origin_conn *oc, struct sim_request *r)
{
	struct strbuf x = { 0 };

	oc->response = r->heads <= r->first_n ? r->first_response : r->response;
	switch ((unsigned)oc->response) {
	case RESPONSE_RESETS:
		if (origin_ending(oc, r) == SIMTLS_ALERTS)
			simtls_end(oc->peer, SIMTLS_ALERTS);
		else
			sim_peer_reset_now(oc->peer);
		return false;
	case RESPONSE_CLOSES:
		oc->peer->cuts_off = origin_ending(oc, r) == SIMTLS_CUTS_OFF;
		sim_peer_close(oc->peer);
		return false;
	case RESPONSE_STOPS_READING:
		oc->peer->stopped_reading = true;
		oc->last = true;
		io_cancel(oc->server->world->sim.tick.loop, &oc->peer->recv.op);
		return false;
	case RESPONSE_EARLY:
	case RESPONSE_REJECTS:
		oc->answered = true;
		origin_respond(oc, r);
		if (oc->response == RESPONSE_EARLY && r->id % 2)
			sim_peer_send_first(oc->peer);
		break;
	default:
		if (r->expects) {
			strbuf_addf(&x, "HTTP/1.1 100 Continue\r\n\r\n");
			origin_send(oc, &x);
		}
	}
	return true;
}

static bool origin_read_head(struct sim_origin_conn *oc, struct slice rest)
{
	struct slice h = wire_head(rest);
	struct sim_request *r;

	if (h.len == 0)
		return false;
	r = request_of_line(oc, wire_line(h));
	count_request(oc, r);
	origin_check_head(oc->server->world, r, h);
	oc->peer->in_used += h.len;
	oc->answered = false;
	timer_stop(&oc->server->world->sim.tick.wheel, &oc->idle_fault);
	wire_begin(&oc->wire, h, false, false, r->id, WIRE_UP);
	oc->request = r;
	oc->closes_reused = oc->last = origin_closes_reused(oc, r);
	if (!oc->closes_reused)
		return respond_to_head(oc, r);
	oc->peer->cuts_off = simworld_choice(oc->server->world, r->id, 2);
	if (r->id / 4 % 2)
		sim_peer_close(oc->peer);
	return r->id / 4 % 2 == 0;
}

static void origin_request_complete(struct sim_origin_conn *oc)
{
	struct sim_request *r = oc->request;
	struct simworld *w = oc->server->world;

	oc->request = NULL;
	r->complete++;
	if (r->ending != SIMTLS_CLOSES)
		simworld_fail(w, "request %u is completed by the end of its session",
			      r->id);
	if (oc->wire.got != r->up_bytes || r->bad_body)
		simworld_fail(w,
			      "request %u reaches an origin with %llu of %u body bytes",
			      r->id, (unsigned long long)oc->wire.got, r->up_bytes);
	if (oc->closes_reused)
		sim_peer_close(oc->peer);
	else if (!oc->answered)
		origin_respond(oc, r);
}

static bool origin_read_request(struct sim_origin_conn *oc)
{
	struct sim_peer *a = oc->peer;
	struct slice rest = { a->in + a->in_used, a->in_n - a->in_used };
	const char *fault;
	size_t used;

	if (a->fd < 0 || (!oc->request && !origin_read_head(oc, rest)) || a->fd < 0)
		return false;
	rest = (struct slice){ a->in + a->in_used, a->in_n - a->in_used };
	fault = wire_feed(&oc->wire, rest, &used);
	if (fault)
		simworld_fail(oc->server->world,
			      "the body of request %u reaches an origin with %s",
			      oc->request->id, fault);
	a->in_used += used;
	oc->request->up_got = oc->wire.got;
	oc->request->up_in_chunk = oc->wire.state == WIRE_CHUNK ||
				   oc->wire.state == WIRE_CHUNK_END;
	if (oc->wire.state != WIRE_WHOLE)
		return false;
	origin_request_complete(oc);
	return true;
}

static struct sim_origin_conn *origin_conn_of(struct sim_peer *a)
{
	struct simworld_server *s;
	struct sim_origin_conn *oc = a->owner;

	if (a->step++ > 0)
		return oc;
	s = a->owner;
	oc = calloc(1, sizeof(*oc));
	ASSERT(oc);
	*oc = (struct sim_origin_conn){ .server = s, .peer = a };
	a->owner = oc;
	timer_init(&oc->idle_fault, idle_fault_fired);
	list_init(&oc->node);
	list_append(&s->world->origin_conns, &oc->node);
	return oc;
}

static bool is_closing(const struct simworld_server *s)
{
	return s->world->closing;
}

static void origin_on_input(struct sim_peer *a)
{
	struct sim_origin_conn *oc;
	struct simworld *w;

	if (a->step == 0 && is_closing(a->owner))
		return; /* nothing would free its sim_origin_conn */
	oc = origin_conn_of(a);
	w = oc->server->world;
	simworld_hash_bytes(w,
			    (struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	while (origin_read_request(oc))
		;
	if (sim_peer_finished(a) && a->fd >= 0)
		sim_peer_close(a);
}

/* ---- caches ----------------------------------------------------------------- */

static void add_value(struct strbuf *x, const struct sim_request *r, const char *key)
{
	strbuf_addf(x, "VALUE %s 0 %u\r\n", key, r->down_bytes);
	strbuf_add_body(x, r->id, WIRE_CACHED, 0, r->down_bytes);
	strbuf_addf(x, "\r\nEND\r\n");
}

/* False: the connection is not read on. */
static bool cache_reply_to(struct sim_peer *a, const struct sim_request *r,
			   const char *key)
{
	struct strbuf x = { 0 };

	if (r->reply == REPLY_MISS)
		strbuf_addf(&x, "END\r\n");
	else if (r->reply == REPLY_ERROR)
		strbuf_addf(&x, "SERVER_ERROR out of sorts\r\n");
	else if (r->reply == REPLY_BAD)
		strbuf_addf(&x, "VALUE %s 0 x\r\n", key);
	else if (r->reply == REPLY_OTHER_KEY)
		add_value(&x, r, "another");
	else if (r->reply <= REPLY_SLOW || r->reply == REPLY_CUT)
		add_value(&x, r, key);
	a->pause_ms = r->reply == REPLY_SLOW ? 1 + r->id % 9 : 0;
	if (x.len > 0)
		sim_peer_send(a, (struct slice){ x.data, r->reply == REPLY_CUT ? x.len - 3
									       : x.len });
	free(x.data);
	if (r->reply == REPLY_CUT || r->reply == REPLY_CLOSES)
		sim_peer_close(a);
	return r->reply <= REPLY_OTHER_KEY;
}

/* Once in a run a cache closes a link on which it has replied before, just as a query arrives,
 * like a server that closes idle links. Only once, so that no query can meet it twice: all
 * queries are answered, even where each request must succeed. For the same reason a reset must
 * not overtake earlier replies. */
static bool cache_closes_link(struct simworld *w, struct sim_peer *a,
			      const struct sim_request *r)
{
	bool one_by_one = w->pipeline == 1 && !w->faults.moves;
	bool has_replied = (a->tls ? a->plain_n : a->out_n) > 0;

	if (w->cache_closed_link || !has_replied || (w->seed + r->id) % 4 > 0 ||
	    (!one_by_one && w->faults.late_segments))
		return false;
	w->cache_closed_link = true;
	a->cuts_off = simworld_choice(w, r->id, 2);
	simworld_log(w, "a cache closes a link");
	if (one_by_one)
		sim_peer_close(a);
	else
		sim_peer_reset(a);
	return true;
}

static bool cache_read_query(struct sim_peer *a)
{
	struct simworld_server *s = a->owner;
	struct slice rest = { a->in + a->in_used, a->in_n - a->in_used };
	const char *end = memmem(rest.ptr, rest.len, "\r\n", 2);
	char key[32], goal;
	struct sim_request *r;
	unsigned id;

	if (!end || a->fd < 0)
		return false;
	if (simworld_is_counter(rest)) {
		rest.len = (size_t)(end - rest.ptr);
		a->in_used += rest.len + 2;
		if (simworld_counter_reply(s->world, a, rest))
			return true;
		a->on_input = NULL;
		return false;
	}
	if (sscanf(rest.ptr, "get %31s\r\n", key) != 1 ||
	    sscanf(key, "%c0-%u", &goal, &id) != 2 || id >= s->world->request_n ||
	    s->world->requests[id].goal !=
		    (goal == 'c' ? GOAL_CACHE : GOAL_CACHE_THEN_ORIGIN))
		simworld_fail(s->world, "a cache gets the query %.*s",
			      (int)(end - rest.ptr), rest.ptr);
	simworld_log(s->world, "a cache gets the query of request %u", id);
	r = &s->world->requests[id];
	/* A link that was closed or is late loses the query, which is then sent once more. */
	if (++r->cache_queries > 2)
		simworld_fail(s->world, "the query of request %u is sent %u times", id,
			      r->cache_queries);
	a->in_used = (size_t)(end + 2 - a->in);
	if (!cache_closes_link(s->world, a, r) && cache_reply_to(a, r, key))
		return true;
	a->on_input = NULL;
	return false;
}

static void cache_on_input(struct sim_peer *a)
{
	struct simworld_server *s = a->owner;

	simworld_hash_bytes(s->world,
			    (struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	while (cache_read_query(a))
		;
	if (sim_peer_finished(a) && a->fd >= 0)
		sim_peer_close(a);
}

/* ---- opening and ending ----------------------------------------------------- */

void simworld_server_open(struct simworld_server *s, struct simworld *w,
			  unsigned upstream, unsigned port, bool cache)
{
	struct sockaddr_in addr = simrig_address(port);

	*s = (struct simworld_server){ .world = w, .upstream = upstream, .port = port };
	if ((cache ? w->faults.faulty_caches : w->faults.faulty_origins) &&
	    simworld_chance(w, 4))
		s->mode = simworld_chance(w, 2) ? SERVER_REFUSES : SERVER_NEVER_ACCEPTS;
	if (s->mode == SERVER_LISTENS)
		sim_server_open(&s->listening, &w->sim, port,
				cache ? cache_on_input : origin_on_input, s);
	else if (s->mode == SERVER_NEVER_ACCEPTS)
		s->listening.listener = sim_listen(w->sim.tick.loop,
						   (struct sockaddr *)&addr, sizeof(addr),
						   1 + (int)simworld_draw(w, 3));
	if (simworld_secures(w, upstream))
		s->listening.tls = w->server_context;
}

void simworld_server_flap(struct simworld_server *s)
{
	struct simworld *w = s->world;

	if (s->mode != SERVER_LISTENS)
		return;
	if (s->listening.listener < 0) {
		sim_server_open(&s->listening, &w->sim, s->port, origin_on_input, s);
		return;
	}
	sim_server_close(&s->listening);
	if (s->listening.last && s->listening.last->fd >= 0 && simworld_chance(w, 2))
		sim_peer_reset_now(s->listening.last);
}

static void simworld_server_done(struct simworld_server *s)
{
	if (s->mode == SERVER_NEVER_ACCEPTS)
		io_close(s->world->sim.tick.loop, s->listening.listener);
}

void simworld_servers_close(struct simworld *w)
{
	w->closing = true;
	LIST_EACH(&w->origin_conns, node) {
		struct sim_origin_conn *oc = LIST_ITEM(node, struct sim_origin_conn,
						       node);

		timer_stop(&w->sim.tick.wheel, &oc->idle_fault);
		pacer_stop(&oc->pacer);
		oc->peer->on_input = NULL;
		list_remove(&oc->node);
		free(oc);
	}
	for (unsigned u = 0; u < w->upstream_n; u++)
		for (unsigned i = 0; i < w->server_n[u]; i++)
			simworld_server_done(&w->servers[u][i]);
	for (unsigned u = 0; w->watch && u < w->upstream_n; u++)
		for (unsigned i = 0; i < w->server_n[u]; i++)
			simworld_server_done(&w->moved[u][i]);
	for (unsigned i = 0; i < w->cache_n; i++)
		simworld_server_done(&w->caches[i]);
}
