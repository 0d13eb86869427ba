/* Passive health checks: a server that fails gets no requests for some time (it is
 * ejected).
 *
 * Each worker decides by its own requests. Each further ejection lasts twice as long. A
 * limit on the share of ejected servers keeps the others from being overloaded. After an
 * ejection the server is on probation: one failure ejects it again. */
#include "server.h"

/* The failure rate counts in periods of this length, and from this many responses on. */
#define PERIOD_MS 10000
#define PERIOD_REQUESTS 20

/* Each ejection lasts twice as long as the previous one; doubled at most so many times. */
#define DOUBLINGS_MAX 5

static enum server_status status_of(const struct server *s)
{
	return s->probed_down ? SERVER_STATUS_DOWN
	       : s->ejected   ? SERVER_STATUS_EJECTED
			      : SERVER_STATUS_UP;
}

void server_set_status(struct server *s)
{
	member_set_status(&s->member, status_of(s));
}

void server_slow_start(struct server *s)
{
	s->slow_start_until_ms = s->upstream->tick->now_ms +
				 s->upstream->table.config.slow_start_ms;
}

static void server_readmit(struct server *s)
{
	struct upstream *u = s->upstream;

	rank_set_ejected(s, false);
	s->readmitted_ms = u->tick->now_ms;
	s->period_ms = s->good_n = s->bad_n = 0;
	s->consecutive_failures = u->table.config.eject_failures > 0
					  ? u->table.config.eject_failures - 1
					  : 0;
	s->consecutive_truncated = s->consecutive_failures;
	server_slow_start(s);
	server_set_status(s);
	upstream_schedule_queue(u);
}

static void ejection_expired(struct timer *t)
{
	server_readmit(CONTAINER(t, struct server, ejection));
}

void server_ejection_init(struct server *s)
{
	timer_init(&s->ejection, ejection_expired);
}

void server_ejection_stop(struct server *s)
{
	timer_stop(&s->upstream->tick->wheel, &s->ejection);
}

/* A truncated response has a good head, which resets consecutive_failures. Truncations
 * are counted separately, else a server that truncates each response would never reach
 * the limit. */
static uint32_t consecutive_of(const struct server *s)
{
	return s->consecutive_failures > s->consecutive_truncated
		       ? s->consecutive_failures
		       : s->consecutive_truncated;
}

/* Whether one more ejection stays within the limit: a share of the servers that are not
 * probed down, and never the last one. */
static bool may_eject(const struct upstream *u)
{
	uint32_t there = u->probed_up_n, ejected = u->ejected_n + 1;

	return ejected * 100 <= u->table.config.eject_max_percent * there &&
	       ejected < there;
}

static enum ejection_reason reason_to_eject(const struct server *s)
{
	const struct config_upstream *c = &s->upstream->table.config;
	uint32_t n = s->good_n + s->bad_n;

	if (c->eject_failures > 0 && consecutive_of(s) >= c->eject_failures)
		return REASON_CONSECUTIVE;
	if (c->eject_rate > 0 && n >= PERIOD_REQUESTS && s->bad_n * 100 >= c->eject_rate * n)
		return REASON_RATE;
	return REASON_NONE;
}

/* A server that was not ejected for twice as long as its last ejection lasted starts
 * again at eject_time. */
static uint64_t next_ejection_ms(struct server *s)
{
	const struct upstream *u = s->upstream;
	uint64_t last_ms = (uint64_t)u->table.config.eject_time_ms << s->doublings;

	if (s->readmitted_ms == 0 || u->tick->now_ms - s->readmitted_ms > 2 * last_ms)
		s->doublings = 0;
	else if (s->doublings < DOUBLINGS_MAX)
		s->doublings++;
	return (uint64_t)u->table.config.eject_time_ms << s->doublings;
}

static void eject(struct server *s, enum ejection_reason reason)
{
	struct upstream *u = s->upstream;
	uint64_t time_ms = next_ejection_ms(s);

	rank_set_ejected(s, true);
	timer_set(&u->tick->wheel, &s->ejection, u->tick->now_ms + time_ms);
	stat_set(&s->member.record->reason, reason);
	stat_set(&s->member.record->failures_n,
		 reason == REASON_CONSECUTIVE ? consecutive_of(s)
					      : s->bad_n * 100 / (s->good_n + s->bad_n));
	stat_set(&s->member.record->eject_ms, time_ms);
	stat_add(&s->member.record->ejections, 1);
	stat_add(&u->stats->ejections, 1);
	server_set_status(s);
	upstream_schedule_queue(u); /* leases may wait for this server */
}

static void period_roll(struct server *s)
{
	uint64_t now_ms = s->upstream->tick->now_ms;

	if (now_ms - s->period_ms < PERIOD_MS)
		return;
	s->period_ms = now_ms;
	s->good_n = s->bad_n = 0;
}

void server_failed(struct server *s)
{
	enum ejection_reason reason;

	stat_add(&s->member.record->failures, 1);
	if (member_is_leaving(&s->member) || s->ejected)
		return;
	period_roll(s);
	s->bad_n++;
	s->consecutive_failures++;
	reason = reason_to_eject(s);
	if (reason != REASON_NONE && may_eject(s->upstream))
		eject(s, reason);
}

static void server_succeeded(struct server *s)
{
	if (s->ejected)
		return;
	s->consecutive_failures = 0;
	if (s->upstream->table.config.eject_rate == 0)
		return;
	period_roll(s);
	s->good_n++;
}

static bool is_failure(const struct upstream *u, int status)
{
	switch (u->table.config.eject_on) {
	case CONFIG_EJECT_ON_CONNECTION:
		return false;
	case CONFIG_EJECT_ON_GATEWAY:
		return status >= 502 && status <= 504;
	case CONFIG_EJECT_ON_SERVER_ERROR:
		return status >= 500;
	}
	return false;
}

void upstream_responded(struct lease *l, int status)
{
	struct server *s = l->origin->server;

	ASSERT(l->state == LEASE_READY);
	if (is_failure(l->upstream, status))
		server_failed(s);
	else
		server_succeeded(s);
}

void upstream_completed(struct lease *l)
{
	ASSERT(l->state == LEASE_READY);
	l->origin->server->consecutive_truncated = 0;
}

/* Its head was counted already: a bad one is not counted twice. */
void upstream_truncated(struct lease *l, int status)
{
	struct server *s = l->origin->server;

	ASSERT(l->state == LEASE_READY);
	if (is_failure(l->upstream, status))
		return;
	if (s->good_n > 0)
		s->good_n--;
	if (!s->ejected)
		s->consecutive_truncated++;
	server_failed(s);
}

void upstream_failed(struct lease *l)
{
	struct server *s = l->origin->server;

	ASSERT(l->state == LEASE_READY || l->state == LEASE_CONNECTING);
	if (l->state == LEASE_CONNECTING)
		rank_connect_failed(s);
	server_failed(s);
}
