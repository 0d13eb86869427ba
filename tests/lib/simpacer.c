/* The pacer of a sim world: sends a message one element at a time (a head, a 1xx, a chunk, the
 * last chunk with its trailers), with a pause after each that is longer than the simulated
 * network delays anything. At the end of each pause the other side must have received every
 * complete element: the proxy holds none of them back.
 * Owner: struct sim_client or struct sim_origin_conn. */
#include <stdlib.h>
#include <string.h>

#include "lib/simworld.h"

#define PACER_PAUSE_MS 10000
#define PACER_BYTES_MAX 3000

static void pacer_count_element(struct pacer *p, struct slice element)
{
	if (p->in_body) {
		p->body_sent += p->chunked ? strtoul(element.ptr, NULL, 16) : element.len;
	} else if (p->way == WIRE_DOWN && slice_starts(element, SLICE("HTTP/1.1 1"))) {
		p->interims++;
	} else {
		p->in_body = true;
		p->chunked = wire_has(element, "Transfer-Encoding");
	}
}

static size_t chunk_length(struct slice rest)
{
	const char *line_end = memmem(rest.ptr, rest.len, "\r\n", 2);
	size_t size = strtoul(rest.ptr, NULL, 16);

	if (size > 0)
		return (size_t)(line_end + 2 - rest.ptr) + size + 2;
	return (size_t)((const char *)memmem(rest.ptr, rest.len, "\r\n\r\n", 4) + 4 -
			rest.ptr);
}

static void pacer_send_element(struct pacer *p)
{
	struct slice rest = { p->text.data + p->at, p->text.len - p->at };

	if (!p->in_body)
		rest = wire_head(rest);
	else
		rest.len = p->chunked ? chunk_length(rest) : (rest.len + 1) / 2;
	pacer_count_element(p, rest);
	p->at += rest.len;
	sim_peer_send(p->peer, rest);
	timer_set(&p->world->sim.tick.wheel, &p->timer,
		  p->world->sim.tick.now_ms + PACER_PAUSE_MS);
}

/* The earlier requests of its connection are answered, and this one is not. */
static bool is_current(const struct sim_client *c, const struct sim_request *r)
{
	return !c->over && c->answered < c->sent && c->requests[c->answered] == r;
}

static bool client_received_all(const struct pacer *p)
{
	const struct sim_request *r = p->request;
	const struct sim_client *c = r->client;

	if (p->at == p->text.len || !is_current(c, r))
		return c->over || r->answered || !is_current(c, r);
	if (c->peer->in_used < c->peer->in_n ||
	    (r->minor > 0 && c->interims != p->interims))
		return false;
	return !p->in_body ||
	       (c->in_body && c->wire.got == p->body_sent &&
		c->wire.state != WIRE_CHUNK_END && c->wire.state != WIRE_CHUNK);
}

/* Where a limit is configured the request may still wait in the queue. */
static bool origin_received_all(const struct pacer *p)
{
	const struct simworld *w = p->world;
	const struct sim_request *r = p->request;
	bool limited = w->connections[r->upstream] > 0 ||
		       w->requests_max[r->upstream] > 0;

	if (!is_current(r->client, r) || (r->heads == 0 && limited))
		return true;
	if (p->at == p->text.len)
		return r->complete > 0;
	return r->heads > 0 && r->up_got == p->body_sent && !r->up_in_chunk;
}

static void pacer_fired(struct timer *timer)
{
	struct pacer *p = CONTAINER(timer, struct pacer, timer);
	bool unfinished = p->peer->fd >= 0 && p->at < p->text.len;

	if (p->peer->fd >= 0 && p->peer->out_sent == p->peer->out_n &&
	    !(p->way == WIRE_DOWN ? client_received_all(p) : origin_received_all(p)))
		simworld_fail(p->world,
			      "the proxy holds back a complete element of %s %u",
			      p->way == WIRE_DOWN ? "the response to" : "request",
			      p->request->id);
	if (unfinished)
		pacer_send_element(p);
	else
		pacer_stop(p);
}

/* Only where nothing else delays bytes, and once in a run: other requests wait meanwhile. */
void pacer_choose(struct simworld *w, struct sim_client *c, struct sim_request *r)
{
	const struct simworld_faults *f = &w->faults;
	bool undisturbed = simworld_must_succeed(w) && !f->few_buffers && !f->watched &&
			   !f->moves && !(f->late_segments && f->small_sockets) &&
			   !f->faulty_clients;

	r->client = c;
	if (!undisturbed || w->has_pacer || (w->seed + r->id) % 4 > 0 ||
	    c->behavior != BEHAVIOR_GOOD || r->goal != GOAL_ORIGIN || r->first_n > 0 ||
	    r->ruling.rule != SIM_RULE_NONE ||
	    r->expects || r->bad_head || r->bad_body || w->policies[r->upstream].hedged ||
	    r->up_bytes > PACER_BYTES_MAX || r->down_bytes > PACER_BYTES_MAX ||
	    r->method == 1 || r->response > RESPONSE_INTERIM)
		return;
	r->paced_down = r->response == RESPONSE_CHUNKED ||
			r->response == RESPONSE_INTERIM;
	r->paced_up = r->chunked && r->minor > 0;
	w->has_pacer = r->paced_down || r->paced_up;
}

void pacer_start(struct pacer *p, struct sim_request *r, struct sim_peer *peer,
		 enum wire_way way, struct strbuf *text)
{
	*p = (struct pacer){ .world = r->client->world,
			     .request = r,
			     .peer = peer,
			     .way = way,
			     .text = *text };
	*text = (struct strbuf){ 0 };
	simworld_log(p->world, "%u is sent element by element", r->id);
	timer_init(&p->timer, pacer_fired);
	pacer_send_element(p);
}

void pacer_stop(struct pacer *p)
{
	if (!p->text.data)
		return;
	timer_stop(&p->world->sim.tick.wheel, &p->timer);
	free(p->text.data);
	p->text.data = NULL;
}
