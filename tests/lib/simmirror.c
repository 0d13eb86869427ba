#include "lib/simmirror.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/simworld.h"

enum { CHOICE_ON = 3000, CHOICE_BODY, CHOICE_REQUESTS, CHOICE_SHARE, CHOICE_REFUSES };

#define CHOICE_ANSWERS 20000 /* and the next ones, by request */

/* What the server does with a request. */
enum answer {
	ANSWER_OK,
	ANSWER_CHUNKED,
	ANSWER_LONG,
	ANSWER_INTERIM,
	ANSWER_EARLY, /* before the body, then it closes */
	ANSWER_SHORT,
	ANSWER_BAD,
	ANSWER_SWITCHES,
	ANSWER_CLOSES,
	ANSWER_RESETS,
	ANSWER_SILENT,
	ANSWERS,
};

static bool has_mirror(const struct simworld *w)
{
	return simworld_choice(w, CHOICE_ON, 4) == 0;
}

static uint32_t body_max(const struct simworld *w)
{
	return simworld_choice(w, CHOICE_BODY, 2) ? 1u << 20 : 300;
}

/* ---- configuration and clients --------------------------------------------------- */

void simmirror_add_upstream(const struct simworld *w, struct strbuf *x)
{
	if (has_mirror(w))
		strbuf_addf(x,
			    "  mirror:\n    servers: [127.0.0.1:%u]\n    via: off\n"
			    "    connections: %u\n    idle_timeout: 100ms\n",
			    SIMWORLD_MIRROR_PORT, 1 + w->upstream_n);
}

void simmirror_add_rule(const struct simworld *w, struct strbuf *x)
{
	if (has_mirror(w))
		strbuf_addf(x,
			    ", mirror: { upstream: mirror, share: %u%%, "
			    "request_body: %uB, requests: %u, timeout: 900ms }",
			    simworld_choice(w, CHOICE_SHARE, 3) ? 100 : 50, body_max(w),
			    simworld_choice(w, CHOICE_REQUESTS, 3) ? 1000 : 2);
}

void simmirror_add_fields(const struct simworld *w, struct strbuf *x,
			  const struct sim_request *r)
{
	if (has_mirror(w) && r->ruling.rule == SIM_RULE_NONE && r->id % 3 == 0)
		strbuf_addf(x, "X-Mirror: 1\r\nx_mirror: 2\r\n");
}

void simmirror_check_request(struct simworld *w, const struct sim_request *r,
			     struct slice h)
{
	if (wire_has(h, "X-Mirror") || wire_has(h, "x_mirror"))
		simworld_fail(w, "request %u reaches an origin with the mark of a mirror",
			      r->id);
}

/* ---- the server -------------------------------------------------------------------- */

static struct sim_request *request_mirrored(struct simworld *w, struct slice h)
{
	struct slice line = wire_line(h);
	const char *fault = wire_head_fault(h);
	unsigned upstream, id;
	struct sim_request *r;
	char method[16], letter;

	if (fault)
		simworld_fail(w, "the mirror gets a head with %s", fault);
	if (sscanf(line.ptr, "%15s /%c%u/%u HTTP/1.1\r", method, &letter, &upstream,
		   &id) != 4 ||
	    id >= w->request_n)
		simworld_fail(w, "the mirror gets the line %.*s", (int)line.len, line.ptr);
	r = &w->requests[id];
	if (upstream != r->upstream || strcmp(method, sim_request_method(r)) != 0 ||
	    r->bad_head || r->ruling.rule != SIM_RULE_NONE)
		simworld_fail(w, "the mirror gets the line %.*s", (int)line.len, line.ptr);
	if (!wire_is(h, "X-Mirror", "1") || wire_field(h, "X-Mirror", 1).ptr ||
	    wire_has(h, "x_mirror") || wire_has(h, "Expect") || wire_has(h, "Via") ||
	    !wire_is(h, "Host", "test") || wire_has(h, "X-Hop"))
		simworld_fail(w, "request %u reaches the mirror with other fields", id);
	if (wire_field(h, "X-Pad", 0).len != r->pad_bytes)
		simworld_fail(w, "request %u reaches the mirror without a field", id);
	return r;
}

/* True: all of the body has come. */
static bool mirror_read_body(struct simworld *w, struct sim_request *r, struct slice h,
		      struct slice rest, size_t *used)
{
	struct wire wire;
	const char *fault;

	wire_begin(&wire, h, false, false, r->id, WIRE_UP);
	fault = wire_feed(&wire, rest, used);
	if (fault)
		simworld_fail(w, "the body of request %u reaches the mirror with %s",
			      r->id, fault);
	if (wire.state != WIRE_WHOLE)
		return false;
	if (wire.got != r->up_bytes || r->bad_body || r->ending != SIMTLS_CLOSES)
		simworld_fail(w, "request %u reaches the mirror with %llu of %u body bytes",
			      r->id, (unsigned long long)wire.got, r->up_bytes);
	if (r->up_bytes > body_max(w))
		simworld_fail(w, "request %u is mirrored with a body of %u bytes", r->id,
			      r->up_bytes);
	if (++r->mirrored > 2)
		simworld_fail(w, "request %u is mirrored again and again", r->id);
	return true;
}

static enum answer answer_to(const struct simworld *w, const struct sim_request *r)
{
	return (enum answer)simworld_choice(w, CHOICE_ANSWERS + r->id, ANSWERS);
}

static void send_long(struct sim_peer *p, const struct sim_request *r)
{
	struct strbuf x = { 0 };
	uint32_t n = r->id % 7 == 0 ? 1200000 : 50000;

	strbuf_addf(&x, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", n);
	strbuf_add_body(&x, r->id, WIRE_DOWN, 0, n);
	sim_peer_send(p, (struct slice){ x.data, x.len });
	free(x.data);
}

/* False: no further request is read. */
static bool mirror_respond(struct simworld *w, struct sim_peer *p, const struct sim_request *r)
{
	bool head = r->method == 1;

	p->pause_ms = r->id % 4 == 0 ? 1 + r->id % 20 : 0;
	switch (answer_to(w, r)) {
	case ANSWER_OK:
	case ANSWER_EARLY:
		sim_peer_send_text(p, head ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
					   : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		return true;
	case ANSWER_CHUNKED:
		sim_peer_send_text(p, "HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n");
		if (!head)
			sim_peer_send_text(p, "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n");
		return true;
	case ANSWER_LONG:
		if (head)
			break;
		send_long(p, r);
		return r->id % 7 > 0;
	case ANSWER_INTERIM:
		sim_peer_send_text(p, "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 204 X\r\n\r\n");
		return true;
	case ANSWER_SHORT:
		sim_peer_send_text(p, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok");
		sim_peer_close(p);
		return false;
	case ANSWER_BAD:
		sim_peer_send_text(p, "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n");
		return false;
	case ANSWER_SWITCHES:
		sim_peer_send_text(p, "HTTP/1.1 101 X\r\nConnection: upgrade\r\n"
				      "Upgrade: echo\r\n\r\n");
		return false;
	case ANSWER_CLOSES:
		sim_peer_close(p);
		return false;
	case ANSWER_RESETS:
		sim_peer_reset_now(p);
		return false;
	case ANSWER_SILENT:
	case ANSWERS:
		break;
	}
	return false;
}

static bool mirror_read_request(struct sim_peer *p)
{
	struct simworld *w = p->owner;
	struct slice rest = { p->in + p->in_used, p->in_n - p->in_used };
	struct slice h = wire_head(rest);
	struct sim_request *r;
	bool early;
	size_t used;

	if (p->fd < 0 || h.len == 0)
		return false;
	r = request_mirrored(w, h);
	early = answer_to(w, r) == ANSWER_EARLY;
	if (!mirror_read_body(w, r, h, slice_after(rest, h.len), &used) && !early)
		return false;
	simworld_log(w, "the mirror gets request %u", r->id);
	p->in_used += h.len + used;
	if (mirror_respond(w, p, r) && !early)
		return true;
	if (early)
		sim_peer_close(p);
	p->on_input = NULL;
	return false;
}

static void mirror_on_input(struct sim_peer *p)
{
	while (mirror_read_request(p))
		;
	if (sim_peer_finished(p) && p->fd >= 0)
		sim_peer_close(p);
}

void simmirror_open(struct simworld *w)
{
	if (!has_mirror(w) || simworld_choice(w, CHOICE_REFUSES, 8) == 0)
		return;
	sim_server_open(&w->mirror, &w->sim, SIMWORLD_MIRROR_PORT, mirror_on_input, w);
	if (simworld_secures(w, w->upstream_n + 3))
		w->mirror.tls = w->server_context;
}

/* Where nothing goes wrong, only a response that comes before the end of its request ends it. */
static bool may_be_incomplete(const struct simworld *w)
{
	for (unsigned i = 0; i < w->request_n; i++)
		if (w->requests[i].response == RESPONSE_EARLY)
			return true;
	return !simworld_must_succeed(w) || w->faults.faulty_clients;
}

void simmirror_check(struct simworld *w)
{
	if (w->stats.mirror_dropped_incomplete > 0 && !may_be_incomplete(w))
		simworld_fail(w, "a whole request is not mirrored");
	if (!list_empty(&w->proxy.mirrors) || w->stats.mirrors_in_flight > 0)
		simworld_fail(w, "a mirrored request is left");
	if (!has_mirror(w) && w->stats.mirror_requests > 0)
		simworld_fail(w, "requests are mirrored without a rule");
}
