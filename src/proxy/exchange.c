#include "proxy/exchange.h"

#include "base/reserve.h"
#include "clienttls.h"
#include "exchangelog.h"
#include "handshakelog.h"
#include "http/path.h"
#include "proxy/action.h"
#include "proxy/identity.h"
#include "proxy/rule.h"
#include "reply.h"
#include "spans.h"
#include "view.h"

/* ---- endings -------------------------------------------------------------- */

void exchange_drop_source(struct exchange *x)
{
	if (!x->relay.source)
		return;
	x->attempts_n += source_attempts(x->relay.source);
	if (x->relay.fetch)
		x->hedge = x->relay.fetch->hedge_outcome;
	relay_drop_source(&x->relay);
}

/* Logs the exchange and releases what it holds. */
static void exchange_release(struct exchange *x, enum ending ending)
{
	struct proxy *p = x->proxy;

	exchange_drop_source(x);
	exchange_note(x);
	relay_drop_tap(&x->relay);
	if (!x->relay.tunnel)
		exchange_count(x);
	exchange_log(x, ending);
	span_end_request(x, ending);
	if (ending == ENDING_CLIENT_GONE && x->relay.status == 0)
		stat_add(&p->stats->requests_abandoned, 1);
	if (x->relay.tunnel)
		stat_sub(&p->stats->tunnels, 1);
	stat_sub(&p->stats->requests_in_flight, 1);
	io_add_inflight(p->tick->loop, -1);
	if (x->work)
		action_of(x->route)->drop(x);
	rules_ended(x);
	buf_put(x->kept_head);
	if (x->relay.record)
		tick_reap_to_slab(p->tick, &p->records, &x->relay.record->reap);
	generation_put(x->generation);
	stream_release(x->down);
	task_stop(&x->task);
	tick_reap_to_slab(p->tick, &p->exchanges, &x->reap);
}

/* The diagram of exchange.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[EXCHANGE_ROUTING] = 1u << EXCHANGE_CHECKING | 1u << EXCHANGE_RELAYING |
			     1u << EXCHANGE_WORKING | 1u << EXCHANGE_REPLYING,
	[EXCHANGE_CHECKING] = 1u << EXCHANGE_ROUTING | 1u << EXCHANGE_RELAYING |
			      1u << EXCHANGE_REPLYING,
	[EXCHANGE_RELAYING] = 1u << EXCHANGE_ROUTING | 1u << EXCHANGE_REPLYING,
	[EXCHANGE_WORKING] = 1u << EXCHANGE_REPLYING,
	[EXCHANGE_REPLYING] = 0,
};

void exchange_set_state(struct exchange *x, enum exchange_state state)
{
	ASSERT(!x->ended && next_states[x->state] >> state & 1);
	x->state = (uint8_t)state;
}

void exchange_check(const struct exchange *x)
{
	ASSERT(!x->ended && x->down->task == &x->task && x->generation && x->route);
	ASSERT(!x->work == (x->state != EXCHANGE_WORKING));
	switch ((enum exchange_state)x->state) {
	case EXCHANGE_CHECKING:
		ASSERT(!x->relay.source && x->relay.status == 0);
		rules_check_waiting(x);
		break;
	case EXCHANGE_RELAYING:
		relay_check(&x->relay);
		break;
	case EXCHANGE_WORKING:
		ASSERT(!x->relay.source && x->relay.status == 0);
		break;
	case EXCHANGE_ROUTING:
	case EXCHANGE_REPLYING:
		ASSERT(false); /* these last for one call */
	}
}

static void mark_ended(struct exchange *x, enum ending ending, enum exchange_close close)
{
	ASSERT(!x->ended);
	x->ended = true;
	x->ending = (uint8_t)ending;
	x->close = (uint8_t)close;
}

void exchange_finish(struct exchange *x, enum ending ending)
{
	mark_ended(x, ending, EXCHANGE_FINISH);
}

void exchange_abort(struct exchange *x, enum ending ending)
{
	mark_ended(x, ending, EXCHANGE_ABORT);
}

static void settle_finished(struct exchange *x)
{
	bool keep_alive = x->relay.keep_alive && stream_discard_body(x->down);

	exchange_release(x, (enum ending)x->ending);
	stream_finish(x->down, keep_alive);
}

static void settle_aborted(struct exchange *x)
{
	if (!stream_responsive(x->down))
		relay_correct_sent(&x->relay);
	exchange_release(x, (enum ending)x->ending);
	stream_abort(x->down, STREAM_INCOMPLETE);
}

static void settle_abandoned(struct exchange *x)
{
	exchange_release(x, (enum ending)x->ending);
	stream_abort(x->down, STREAM_UNWANTED);
}

/* Called at the end of each step. An exchange that has ended leaves its stream here, or in
 * stream_closed(). */
static void exchange_settle(struct exchange *x)
{
	if (!x->ended) {
		CHECK_STATE(exchange_check(x));
		exchange_note(x);
		/* Once a response has begun, a client that closes its side still receives all
		 * of it. */
		stream_wait(x->down, x->relay.status == 0 && !x->route->half_close);
		return;
	}
	switch ((enum exchange_close)x->close) {
	case EXCHANGE_FINISH:
		settle_finished(x);
		break;
	case EXCHANGE_ABORT:
		settle_aborted(x);
		break;
	case EXCHANGE_ABANDON:
		settle_abandoned(x);
		break;
	}
}

bool exchange_unwanted(const struct exchange *x)
{
	return x->relay.status == 0 && !x->route->half_close && x->down->eof;
}

void exchange_abandon(struct exchange *x)
{
	mark_ended(x, ENDING_CLIENT_GONE, EXCHANGE_ABANDON);
}

void exchange_relay(struct exchange *x, struct source *s, struct fetch *fetch)
{
	exchange_set_state(x, EXCHANGE_RELAYING);
	if (x->relay.record && fetch)
		x->relay.record->upstream = fetch->request.config->name;
	if (s)
		relay_begin(&x->relay, s, fetch);
	else
		exchange_fail(x, ENDING_NO_MEMORY);
}

/* When more of the body has to arrive: client_events.body_due_ms(). */
static uint64_t body_due_ms(const struct stream *s)
{
	const struct exchange *x = CONTAINER(s->task, const struct exchange, task);

	return pace_due_ms(&x->relay.pace, s, x->proxy->tick->now_ms);
}

static void client_too_slow(struct exchange *x)
{
	if (x->down->body_awaited && x->relay.status == 0)
		exchange_fail(x, pace_stopped(&x->relay.pace, x->down, x->proxy->tick->now_ms)
					 ? ENDING_REQUEST_TIMEOUT
					 : ENDING_REQUEST_SLOW);
	else
		exchange_abort(x, ENDING_CLIENT_SLOW);
}

/* ---- routing -------------------------------------------------------------- */

/* The first route from index `from` on that matches, and whose action takes the request. */
static const struct config_route *route_choose(const struct config *c,
					       struct request_view *view, unsigned from)
{
	for (;;) {
		view->route = route_match(c, view, from);
		if (!view->route || !action_of(view->route)->passes ||
		    !action_of(view->route)->passes(view))
			return view->route;
		from = (unsigned)(view->route - c->routes) + 1;
	}
}

/* Asks the rules of the route from `rule` on, then starts its action. */
static void start(struct exchange *x, struct request_view *view, unsigned rule)
{
	switch (rules_check(x, view, rule)) {
	case RULE_GOES_ON:
		action_start(x, view);
		break;
	case RULE_WAITS:
		exchange_set_state(x, EXCHANGE_CHECKING);
		break;
	case RULE_ENDED:
	case RULE_RELAYS:
		break;
	}
}

/* The chosen route has rules. */
static void begin_rules(struct exchange *x, struct request_view *view)
{
	x->relay.stops_at_head = rules_see_responses(x->route);
	if (x->route->rules->keeps_head && !exchange_keep_head(x, view->head, KEPT_ALL))
		exchange_fail(x, ENDING_NO_MEMORY);
	else if (exchange_unwanted(x))
		exchange_abandon(x);
	else
		start(x, view, 0);
}

/* Without memory for it there is no line. */
static void refuse_unrouted(struct exchange *x, const struct head *h, enum ending ending)
{
	(void)!exchange_keep_for_logs(x, h);
	exchange_fail(x, ending);
}

/* The limits of the client are those of the route. */
static void set_limits(struct exchange *x)
{
	const struct config *c = x->generation->config;

	if (x->route)
		x->relay.body_max = config_body_max(c, x->route);
	pace_begin(&x->relay.pace, config_receive_timeout_ms(c, x->route),
		   config_min_receive_rate(c, x->route));
	client_set_sending(x->client, config_send_timeout_ms(c, x->route),
			   config_min_send_rate(c, x->route));
}

static void route(struct exchange *x, const struct head *h, unsigned from)
{
	struct exchange_view v;

	exchange_view_read(&v, x, h);
	if (!exchange_begin_record(x, &v.view, v.realip.peer.trusted)) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	if (client_tls_misdirected(x->client, v.view.host)) {
		refuse_unrouted(x, h, ENDING_MISDIRECTED);
		return;
	}
	x->route = route_choose(x->generation->config, &v.view, from);
	if (!exchange_keep_for_logs(x, h)) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	if (x->route)
		x->relay.rules = x->route->rules;
	set_limits(x);
	if (v.view.undecided)
		exchange_fail(x, ENDING_MATCH_UNDECIDED);
	else if (x->route && x->route->rules)
		begin_rules(x, &v.view);
	else
		action_start(x, &v.view);
}

/* After a cache miss: continues with the routes behind the current one. All of the head was kept,
 * since the route has `miss: next`. */
static void route_again(struct exchange *x)
{
	struct head *h = &x->proxy->request;

	kept_head_restore(kept_head_of(x), h);
	exchange_drop_source(x);
	rules_ended(x);
	x->relay.stops_at_head = false;
	exchange_set_state(x, EXCHANGE_ROUTING);
	route(x, h, (unsigned)(x->route - x->generation->config->routes) + 1);
	/* Bytes of a body may be waiting, which the new fetch has not been offered yet. */
	if (!x->ended)
		tick_run(x->proxy->tick, &x->task);
}

/* ---- steps ---------------------------------------------------------------- */

static void step_checking(struct exchange *x)
{
	struct exchange_view v;

	switch (rules_step(x)) {
	case RULE_WAITS:
	case RULE_ENDED:
		return;
	case RULE_RELAYS:
		break;
	case RULE_GOES_ON:
		exchange_set_state(x, EXCHANGE_ROUTING);
		exchange_view_restore(&v, x);
		start(x, &v.view, rules_waiting(x) + 1);
		break;
	}
	/* Bytes of a body may be waiting, which the fetch has not been offered yet; or the source
	 * has a head. */
	if (!x->ended)
		tick_run(x->proxy->tick, &x->task);
}

/* The relay has ended: so does the exchange, or another route is tried. */
static void relay_ended(struct exchange *x)
{
	enum ending ending = (enum ending)x->relay.ending;

	switch ((enum relay_state)x->relay.state) {
	case RELAY_HEAD:
	case RELAY_REQUESTING:
	case RELAY_RELAYING:
	case RELAY_TUNNEL:
		break;
	case RELAY_COMPLETE:
		exchange_finish(x, ENDING_COMPLETE);
		break;
	case RELAY_FAILED:
		if (ending == ENDING_CACHE_MISS && x->route->memcached->miss_next)
			route_again(x);
		else
			exchange_fail(x, ending);
		break;
	case RELAY_BROKEN:
		exchange_abort(x, ending);
		break;
	}
}

/* RELAY_HEAD: the rules of the route decide what becomes of the response. */
static void rules_decide(struct exchange *x)
{
	struct rule_page page;

	/* The connection must be kept for the next message of NTLM and Negotiate, and the page
	 * would cut the origin's body, with which the connection closes. */
	if (!identity_challenged(&x->proxy->response) &&
	    rules_page(x, x->proxy->response.status, false, &page))
		exchange_replace(x, &page);
	else
		relay_go_on(&x->relay, rules_response(x, &x->proxy->response));
}

static void step_state(struct exchange *x)
{
	switch ((enum exchange_state)x->state) {
	case EXCHANGE_CHECKING:
		step_checking(x);
		break;
	case EXCHANGE_RELAYING:
		relay_step(&x->relay);
		if (x->relay.state == RELAY_HEAD)
			rules_decide(x);
		if (!x->ended)
			relay_ended(x);
		break;
	case EXCHANGE_WORKING:
		action_of(x->route)->step(x);
		break;
	case EXCHANGE_ROUTING:
	case EXCHANGE_REPLYING:
		ASSERT(false);
		break;
	}
}

static void exchange_step(struct task *task)
{
	struct exchange *x = CONTAINER(task, struct exchange, task);

	if (x->down->state == STREAM_CLOSED)
		return; /* a shutdown: stream_closed() follows */
	if (stream_lost(x->down))
		exchange_abort(x, ENDING_CLIENT_GONE);
	else if (exchange_unwanted(x))
		exchange_abandon(x);
	else if (x->down->timed_out)
		client_too_slow(x);
	else
		step_state(x);
	exchange_settle(x);
}

/* ---- requests -------------------------------------------------------------- */

static struct exchange *exchange_new(struct client *c, struct stream *down,
				     const struct head *h)
{
	struct proxy *p = c->front->owner;
	struct exchange *x = slab_take(&p->exchanges);

	if (!x)
		return NULL;
	x->proxy = p;
	task_init(&x->task, exchange_step);
	x->client = c;
	x->down = down;
	x->relay.proxy = p;
	x->relay.down = down;
	x->client_addr = c->peer;
	x->started_us = p->tick->now_us;
	x->relay.method = (uint8_t)h->method;
	x->relay.http_1_0 = h->minor == 0;
	x->relay.upgrade = h->upgrade;
	x->relay.expects_continue = h->expect_continue;
	x->generation = generation_ref(p->generation);
	stat_add(&p->stats->requests_in_flight, 1);
	io_add_inflight(p->tick->loop, 1);
	return x;
}

/* No memory for an exchange: replies 503, and the connection ends. */
static void refuse_for_memory(struct proxy *p, struct stream *down, enum method method)
{
	struct relay r = { .proxy = p, .down = down, .method = (uint8_t)method };

	if (relay_out_of_memory(&r))
		stream_finish(down, false);
	else
		stream_abort(down, STREAM_INCOMPLETE);
}

static void request_received(struct client *c, struct stream *down, struct head *h)
{
	/* Once the system has refused memory, what is left is for the exchanges in flight. */
	struct exchange *x = reserve_whole() ? exchange_new(c, down, h) : NULL;

	stream_begin_body(down, h->framing, h->length);
	if (!x) {
		refuse_for_memory(c->front->owner, down, h->method);
		return;
	}
	stream_use(down, &x->task);
	if (h->method == METHOD_CONNECT)
		refuse_unrouted(x, h, ENDING_METHOD_NOT_ALLOWED);
	else if (c->paths_strict && !path_is_unambiguous(h->path))
		refuse_unrouted(x, h, ENDING_PATH_AMBIGUOUS);
	else
		route(x, h, 0);
	if (x->ended)
		exchange_settle(x);
	else
		exchange_step(&x->task);
}

/* The text of the response to a request that is refused; empty: "STATUS PHRASE". */
static struct piece refusal_text(enum fault fault)
{
	static const char plain_on_tls[] =
		"400 Bad Request: plain HTTP on a port for HTTPS; use https://\n";

	if (fault != FAULT_PLAIN_ON_TLS)
		return (struct piece){ NULL, NULL, 0 };
	return (struct piece){ NULL, plain_on_tls, sizeof(plain_on_tls) - 1 };
}

/* There is no request that an exchange could be of. The client closes the connection. */
static void request_refused(struct client *c, struct stream *down, enum fault fault)
{
	struct proxy *p = c->front->owner;
	struct relay r = { .proxy = p, .down = down, .method = METHOD_OTHER };
	enum ending ending = fault == FAULT_NONE ? ENDING_REQUEST_TIMEOUT
						 : ENDING_REQUEST_BAD;
	struct reply reply = {
		.proxy = p,
		.status = fault == FAULT_NONE ? ending_status(ending)
					      : fault_status(fault),
		.ending = ending,
		.body = refusal_text(fault),
	};

	relay_whole(&r, reply_source(&reply), NULL);
	relay_drop_source(&r);
	refusal_log(p, &c->peer, &r,
		    fault == FAULT_NONE ? ending_text(ending) : fault_text(fault));
}

static void stream_closed(struct stream *down)
{
	struct exchange *x = CONTAINER(down->task, struct exchange, task);

	relay_correct_sent(&x->relay);
	exchange_release(x, x->client->front->closing ? ENDING_SHUT_DOWN : ENDING_KILLED);
}

static void client_closed(struct client *c)
{
	upstream_close_held(&c->held);
}

const struct client_events exchange_client_events = {
	.head_received = request_received,
	.head_refused = request_refused,
	.stream_closed = stream_closed,
	.closed = client_closed,
	.handshake_failed = handshake_log_failed,
	.body_due_ms = body_due_ms,
};
