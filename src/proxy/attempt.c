#include "proxy/attempt.h"

#include <string.h>

#include "lateness.h"
#include "proxy/identity.h"
#include "proxy/requesttimes.h"
#include "spans.h"

static struct tick *attempt_tick(const struct attempt *a)
{
	return a->request->tick;
}

static bool leased(const struct attempt *a)
{
	return a->lease.state == LEASE_READY;
}

/* The diagram of attempt.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[ATTEMPT_WAITING] = 1u << ATTEMPT_SENDING | 1u << ATTEMPT_FAILED,
	[ATTEMPT_SENDING] = 1u << ATTEMPT_WAITING | 1u << ATTEMPT_AWAITING_HEAD |
			  1u << ATTEMPT_RELAYING | 1u << ATTEMPT_FAILED,
	[ATTEMPT_AWAITING_HEAD] = 1u << ATTEMPT_WAITING | 1u << ATTEMPT_RELAYING |
				1u << ATTEMPT_FAILED,
	[ATTEMPT_RELAYING] = 1u << ATTEMPT_ENDED | 1u << ATTEMPT_FAILED,
	[ATTEMPT_ENDED] = 0,
	[ATTEMPT_FAILED] = 0,
};

static void set_state(struct attempt *a, enum attempt_state state)
{
	ASSERT(next_states[a->state] >> state & 1);
	a->state = (uint8_t)state;
	a->since_ms = attempt_tick(a)->now_ms;
}

void attempt_check(const struct attempt *a)
{
	const struct lease *l = &a->lease;

	lease_check(l);
	ASSERT(a->ending == 0 || a->state == ATTEMPT_FAILED);
	switch ((enum attempt_state)a->state) {
	case ATTEMPT_WAITING:
		ASSERT(l->state != LEASE_NONE);
		ASSERT(a->status == 0 && !a->tunnel);
		break;
	case ATTEMPT_SENDING:
	case ATTEMPT_AWAITING_HEAD:
		ASSERT(l->state == LEASE_READY);
		ASSERT(a->sent_us > 0 && a->status == 0 &&
		       l->stream->deadline.owner == a);
		ASSERT(a->state == ATTEMPT_SENDING || l->stream->sent);
		break;
	case ATTEMPT_RELAYING:
		ASSERT(l->state == LEASE_READY && a->status > 0);
		break;
	case ATTEMPT_ENDED:
		ASSERT(l->state == LEASE_NONE && !a->tunnel);
		break;
	case ATTEMPT_FAILED:
		ASSERT(l->state == LEASE_NONE);
		break;
	}
}

static enum ending ending_of_fault(enum tls_fault fault)
{
	static const uint8_t endings[TLS_FAULTS] = {
#define TLS_FAULT(name, error, text) [TLS_FAULT_##name] = ENDING_TLS_##name,
#include "tls/fault.def"
#undef TLS_FAULT
	};

	ASSERT(fault != TLS_FAULT_NONE);
	return (enum ending)endings[fault];
}

/* Of a connection that ended before the head of a response was complete. */
static enum ending ending_of_close(const struct attempt *a)
{
	enum tls_fault fault = lease_tls_fault(&a->lease);

	return fault == TLS_FAULT_NONE ? ENDING_ORIGIN_CLOSED : ending_of_fault(fault);
}

/* True: the server is to blame. A reused connection may close just as the request is sent,
 * which is not the server's fault. */
static bool is_failure(const struct attempt *a, enum ending ending)
{
	if (a->lease.state == LEASE_CONNECTING)
		return ending == ENDING_CONNECT_TIMEOUT;
	if (a->lease.state != LEASE_READY)
		return false;
	if (ending == ENDING_ORIGIN_CLOSED)
		return !a->lease.reused;
	if (ending == ending_of_close(a))
		return true;
	return ending == ENDING_ORIGIN_BAD || ending == ENDING_ORIGIN_TIMEOUT ||
	       ending == ENDING_ORIGIN_SEND_TIMEOUT || ending == ENDING_ORIGIN_TRUNCATED;
}

/* Counts a failure of the server, for ejection. An idle tunnel that timed out is none. */
static void blame(struct attempt *a, enum ending ending)
{
	if (a->tunnel || !is_failure(a, ending))
		return;
	if (a->status > 0) /* its status was counted already */
		upstream_truncated(&a->lease, a->status);
	else
		upstream_failed(&a->lease);
}

static void attempt_fail(struct attempt *a, enum ending ending)
{
	struct upstream_stats *stats;

	set_state(a, ATTEMPT_FAILED);
	a->ending = (uint8_t)ending;
	blame(a, ending);
	span_end_try(a, ending_text(ending));
	stats = upstream_stats(a->request->upstream);
	if (ending == ENDING_ORIGIN_TIMEOUT || ending == ENDING_ORIGIN_SEND_TIMEOUT ||
	    ending == ENDING_CONNECT_TIMEOUT)
		stat_add(&stats->timeouts, 1);
	else
		stat_add(&stats->errors, 1);
	if (a->lease.state != LEASE_NONE)
		upstream_return(&a->lease, false);
}

/* ---- the request ---------------------------------------------------------- */

static void request_complete(struct attempt *a)
{
	if (a->state != ATTEMPT_SENDING) {
		/* After an early response: the server's time starts now. */
		a->since_ms = attempt_tick(a)->now_ms;
		return;
	}
	set_state(a, ATTEMPT_AWAITING_HEAD);
	lateness_begin(a);
}

static void begin_sending(struct attempt *a)
{
	struct stream *s = a->lease.stream;

	s->limits = &a->request->limits;
	deadline_own(&s->deadline, &lateness_rules, a);
	a->sent_us = attempt_tick(a)->now_us;
	stat_add(&upstream_stats(a->request->upstream)->requests, 1);
	set_state(a, ATTEMPT_SENDING);
	if (!stream_send_kept_head(s, span_head(a),
				   (enum framing)a->request->framing,
				   a->request->length)) {
		attempt_fail(a, ENDING_NO_MEMORY);
		return;
	}
	if (s->sent)
		request_complete(a);
	else
		lateness_begin(a);
}

static enum ending ending_of_lease(const struct lease *l)
{
	switch ((enum lease_failure)l->failure) {
	case LEASE_NO_SERVER:
		return ENDING_NO_SERVER;
	case LEASE_ORDERED_DOWN:
		return ENDING_ORDERED_DOWN;
	case LEASE_REFUSED:
		return ENDING_ORIGIN_REFUSED;
	case LEASE_FORBIDDEN:
		return ENDING_ORIGIN_FORBIDDEN;
	case LEASE_UNROUTABLE:
		return ENDING_ORIGIN_UNROUTABLE;
	case LEASE_NO_SOCKET:
		return ENDING_NO_SOCKET;
	case LEASE_CONNECT_TIMEOUT:
		return ENDING_CONNECT_TIMEOUT;
	case LEASE_TLS:
		return ending_of_fault((enum tls_fault)l->tls_fault);
	case LEASE_QUEUE_FULL:
		return ENDING_QUEUE_FULL;
	case LEASE_QUEUE_TIMEOUT:
		return ENDING_QUEUE_TIMEOUT;
	case LEASE_NO_MEMORY:
		break;
	}
	return ENDING_NO_MEMORY;
}

static void lease_step(struct attempt *a)
{
	switch ((enum lease_state)a->lease.state) {
	case LEASE_READY:
		begin_sending(a);
		break;
	case LEASE_FAILED:
		attempt_fail(a, ending_of_lease(&a->lease));
		break;
	case LEASE_NONE:
	case LEASE_WAITING:
	case LEASE_CONNECTING:
		break;
	}
}

bool attempt_may_resend(const struct attempt *a)
{
	return a->lease.reused && !a->retried && a->interim_n == 0 &&
	       method_idempotent((enum method)a->request->method);
}

/* The connection was closed before any byte of a response. */
static void stale_close(struct attempt *a)
{
	if (!attempt_may_resend(a) || a->body_not_replayable) {
		attempt_fail(a, ending_of_close(a));
		return;
	}
	a->retried = true;
	stat_add(&upstream_stats(a->request->upstream)->retries, 1);
	stat_add(&upstream_stats(a->request->upstream)->stale_retries, 1);
	upstream_return(&a->lease, false);
	set_state(a, ATTEMPT_WAITING);
	upstream_lease(a->request->upstream, &a->lease, a->request->avoid, true,
		       a->request->waiter);
	lease_step(a);
}

void attempt_step(struct attempt *a)
{
	bool sending = a->state == ATTEMPT_SENDING;

	if (a->state == ATTEMPT_WAITING) {
		lease_step(a);
		return;
	}
	if (a->timed_out && leased(a) && a->state != ATTEMPT_ENDED)
		attempt_fail(a, a->state == ATTEMPT_RELAYING ? ENDING_ORIGIN_TRUNCATED
			      : sending                  ? ENDING_ORIGIN_SEND_TIMEOUT
							 : ENDING_ORIGIN_TIMEOUT);
}

void attempt_time_out(struct attempt *a)
{
	switch ((enum attempt_state)a->state) {
	case ATTEMPT_WAITING:
		attempt_fail(a, a->lease.state == LEASE_WAITING ? ENDING_QUEUE_TIMEOUT
							      : ENDING_CONNECT_TIMEOUT);
		break;
	case ATTEMPT_SENDING:
		attempt_fail(a, ENDING_ORIGIN_SEND_TIMEOUT);
		break;
	case ATTEMPT_AWAITING_HEAD:
		attempt_fail(a, ENDING_ORIGIN_TIMEOUT);
		break;
	case ATTEMPT_RELAYING:
	case ATTEMPT_ENDED:
	case ATTEMPT_FAILED:
		break;
	}
}

static bool takes_body(const struct attempt *a)
{
	return a->state == ATTEMPT_SENDING ||
	       (a->state == ATTEMPT_RELAYING && leased(a) && !a->lease.stream->sent);
}

uint32_t attempt_send_space(const struct attempt *a)
{
	return takes_body(a) ? stream_space(a->lease.stream) : 0;
}

void attempt_await_space(struct attempt *a)
{
	if (takes_body(a))
		stream_await_space(a->lease.stream);
}

void attempt_send(struct attempt *a, struct piece *p, bool kept)
{
	ASSERT(a->state == ATTEMPT_SENDING || a->state == ATTEMPT_RELAYING);
	a->body_not_replayable |= !kept;
	if (!stream_send(a->lease.stream, p))
		attempt_fail(a, ENDING_NO_MEMORY);
}

void attempt_send_end(struct attempt *a, struct buf *trailers, bool kept)
{
	ASSERT(a->state == ATTEMPT_SENDING || a->state == ATTEMPT_RELAYING);
	a->body_not_replayable |= trailers && !kept;
	if (stream_send_end(a->lease.stream, trailers))
		request_complete(a);
	else
		attempt_fail(a, ENDING_NO_MEMORY);
}

static enum verdict refuse_head(struct attempt *a, enum ending ending)
{
	attempt_fail(a, ending);
	return VERDICT_BAD;
}

enum verdict attempt_head(struct attempt *a, struct head *h)
{
	struct stream *s = a->lease.stream;

	if (a->state == ATTEMPT_FAILED)
		return VERDICT_BAD;
	if (!leased(a))
		return VERDICT_MORE;
	switch (stream_head(s, h)) {
	case VERDICT_OK:
		break;
	case VERDICT_BAD:
		return refuse_head(a, h->fault == FAULT_NO_MEMORY ? ENDING_NO_MEMORY :
								    ENDING_ORIGIN_BAD);
	case VERDICT_MORE:
		if (!s->eof && !s->receive_failed)
			return VERDICT_MORE;
		if (stream_progress(s).unread)
			return refuse_head(a, ending_of_close(a));
		stale_close(a);
		return a->state == ATTEMPT_FAILED ? VERDICT_BAD : VERDICT_MORE;
	}
	if (h->status < 200 && h->status != 101 && ++a->interim_n > ATTEMPT_INTERIM_MAX)
		return refuse_head(a, ENDING_ORIGIN_BAD);
	return VERDICT_OK;
}

/* True: the response has a body that nobody will read: that to GET, for a client's HEAD. */
static bool body_is_left(const struct attempt *a, const struct head *h, enum framing framing)
{
	return framing == FRAMING_NONE &&
	       head_response_framing(h, (enum method)a->request->method) != FRAMING_NONE;
}

/* Adds to the histograms of the upstream, or of the server; NULL: there are none. */
static void count_head(const struct attempt *a, struct phases *p)
{
	const struct lease_times *t = a->lease.times;

	if (!p)
		return;
	lease_phases_add(p, t);
	phases_add(p, PHASE_RESPONSE, attempt_tick(a)->now_us - t->ready);
}

static void count_end(const struct attempt *a, struct phases *p)
{
	if (p)
		phases_add(p, PHASE_TOTAL, attempt_tick(a)->now_us - a->lease.times->asked);
}

void attempt_take_head(struct attempt *a, const struct head *h, enum framing framing)
{
	struct stream *s = a->lease.stream;

	ASSERT(leased(a) && a->state != ATTEMPT_RELAYING);
	if (h->status < 200 && h->status != 101) {
		stream_skip_head(s);
		/* The server is working: its time starts anew. */
		a->since_ms = attempt_tick(a)->now_ms;
		return;
	}
	a->status = (uint16_t)h->status;
	if (identity_challenged(h))
		upstream_hold(&a->lease);
	upstream_announced_idle(&a->lease, h->idle_s);
	histogram_add(&upstream_stats(a->request->upstream)->latency,
		      attempt_tick(a)->now_us - a->sent_us);
	count_head(a, upstream_stats(a->request->upstream)->phases);
	count_head(a, lease_phases(&a->lease));
	upstream_responded(&a->lease, h->status);
	/* A 204 that announces a body: the body may still come, and would be taken for the next
	 * response. */
	a->reusable = h->keep_alive && framing != FRAMING_CLOSE &&
		      !(h->status == 204 && (h->framing == FRAMING_CHUNKED || h->length > 0)) &&
		      !body_is_left(a, h, framing);
	set_state(a, ATTEMPT_RELAYING);
	stream_begin_body(s, framing, h->length);
	lateness_begin(a);
}

void attempt_set_stalled(struct attempt *a, bool stalled)
{
	if (a->stalled && !stalled)
		a->since_ms = attempt_tick(a)->now_ms;
	/* If nothing was received, the response is late because of the server. */
	a->stalled = stalled && (a->state == ATTEMPT_RELAYING ||
				 (leased(a) && stream_progress(a->lease.stream).unread));
}

static void response_ended(struct attempt *a)
{
	set_state(a, ATTEMPT_ENDED);
	count_end(a, upstream_stats(a->request->upstream)->phases);
	count_end(a, lease_phases(&a->lease));
	span_end_try(a, NULL);
	upstream_completed(&a->lease);
	upstream_return(&a->lease, a->reusable && a->lease.stream->sent);
}

/* The ending of a response whose body is incomplete or malformed. */
static enum ending ending_of_body(enum fault fault)
{
	if (fault == FAULT_NO_MEMORY)
		return ENDING_NO_MEMORY;
	return fault == FAULT_BODY_SHORT ? ENDING_ORIGIN_TRUNCATED : ENDING_ORIGIN_BAD;
}

enum body_event attempt_body(struct attempt *a, struct head *trailers, struct piece *p)
{
	struct stream *s = a->lease.stream;
	enum body_event event;

	ASSERT(a->state == ATTEMPT_RELAYING);
	event = stream_body(s, trailers, p);
	switch (event) {
	case BODY_END:
		response_ended(a);
		break;
	case BODY_MORE:
		if (!s->receive_failed)
			break;
		attempt_fail(a, ENDING_ORIGIN_TRUNCATED);
		return BODY_BAD;
	case BODY_BAD:
		attempt_fail(a, ending_of_body((enum fault)s->fault));
		return BODY_BAD;
	case BODY_DATA:
	case BODY_TRAILERS:
		break;
	}
	return event;
}

void attempt_end_trailers(struct attempt *a)
{
	stream_end_trailers(a->lease.stream);
}

void attempt_begin_tunnel(struct attempt *a)
{
	ASSERT(a->state == ATTEMPT_RELAYING && a->status == 101);
	stream_begin_tunnel(a->lease.stream);
	a->tunnel = true;
	a->reusable = false;
	a->since_ms = attempt_tick(a)->now_ms;
	lateness_begin(a);
}

/* True: the request must not go out on a reused connection. A client whose own connection
 * turns out to be closed sends its request again (RFC 9112 9.3.1). After the first request
 * on a new connection it does not, so a stale connection here would become its error. */
static bool wants_new_connection(const struct attempt_request *q)
{
	switch (q->config->reuse) {
	case CONFIG_REUSE_SAFE:
		return q->first && !method_idempotent((enum method)q->method);
	case CONFIG_REUSE_ALWAYS:
		return false;
	case CONFIG_REUSE_NEVER:
		break;
	}
	return true;
}

void attempt_begin(struct attempt *a, const struct attempt_request *q,
		   struct lease_times *times)
{
	ASSERT(!a->request && a->lease.state == LEASE_NONE && q->head);
	a->request = q;
	a->since_ms = q->tick->now_ms;
	a->lease.hash = q->hash;
	a->lease.held_list = q->held_list;
	a->lease.hold_on_return = q->hold_on_return;
	a->lease.preamble = q->preamble;
	a->lease.times = times ? times : &a->times;
	*a->lease.times = (struct lease_times){ .asked = q->tick->now_us };
	upstream_lease(q->upstream, &a->lease, q->avoid, wants_new_connection(q), q->waiter);
}

void attempt_end(struct attempt *a)
{
	span_end_try(a, a->tunnel ? NULL : "cancelled");
	if (a->lease.state != LEASE_NONE)
		upstream_return(&a->lease, false);
}
