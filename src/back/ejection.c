/* Servers that fail are left alone for a time.
 *
 * Each worker judges by what it sees itself. The longer a server keeps failing, the longer it
 * is left alone; never so many at once that the others would be overrun. Who comes back is on
 * probation: the next failure counts as the last of the row. */
#include "server.h"

/* The rate is looked at over so long, and among so many answers at least. */
#define WINDOW_MS 10000
#define WINDOW_REQUESTS 20

/* Each ejection is twice as long as the one before, so often at most. */
#define DOUBLINGS_MAX 5

static enum server_status status_of(const struct server *s)
{
	return s->probed_down ? SERVER_STATUS_DOWN
	       : s->ejected   ? SERVER_STATUS_EJECTED
			      : SERVER_STATUS_UP;
}

void server_set_status(struct server *s)
{
	struct upstream *u = s->upstream;
	enum server_status status = status_of(s);

	if (!s->leaving && stat_read(&s->view->status) != status)
		registry_set_status(u->registry, s->view, status);
}

void server_slow_start(struct server *s)
{
	s->slow_start_until_ms = s->upstream->tick->now_ms +
				 s->upstream->config.slow_start_ms;
}

static void server_readmit(struct server *s)
{
	struct upstream *u = s->upstream;

	s->ejected = false;
	s->readmitted_ms = u->tick->now_ms;
	s->window_ms = s->good_n = s->bad_n = 0;
	s->consecutive_failures = u->config.eject_failures > 0
					  ? u->config.eject_failures - 1
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
	s->ejected = false;
}

/* An answer that was cut short began well: without a row of their own a server that sends none
 * whole would never have two in a row. */
static uint32_t consecutive_of(const struct server *s)
{
	return s->consecutive_failures > s->consecutive_truncated
		       ? s->consecutive_failures
		       : s->consecutive_truncated;
}

/* A share of those that are not known to be down, and never the last of them. */
static bool may_eject(const struct upstream *u)
{
	unsigned there = 0, ejected = 1;

	for (unsigned i = 0; i < u->server_n; i++) {
		const struct server *s = u->servers[i];

		there += !s->probed_down;
		ejected += !s->probed_down && s->ejected;
	}
	return ejected * 100 <= u->config.eject_max_percent * there && ejected < there;
}

static enum ejection_reason reason_to_eject(const struct server *s)
{
	const struct config_upstream *c = &s->upstream->config;
	uint32_t n = s->good_n + s->bad_n;

	if (c->eject_failures > 0 && consecutive_of(s) >= c->eject_failures)
		return REASON_CONSECUTIVE;
	if (c->eject_rate > 0 && n >= WINDOW_REQUESTS && s->bad_n * 100 >= c->eject_rate * n)
		return REASON_RATE;
	return REASON_NONE;
}

/* Who has been well for twice as long as it was away begins anew. */
static uint64_t next_ejection_ms(struct server *s)
{
	const struct upstream *u = s->upstream;
	uint64_t last_ms = (uint64_t)u->config.eject_time_ms << s->doublings;

	if (s->readmitted_ms == 0 || u->tick->now_ms - s->readmitted_ms > 2 * last_ms)
		s->doublings = 0;
	else if (s->doublings < DOUBLINGS_MAX)
		s->doublings++;
	return (uint64_t)u->config.eject_time_ms << s->doublings;
}

static void eject(struct server *s, enum ejection_reason reason)
{
	struct upstream *u = s->upstream;
	uint64_t time_ms = next_ejection_ms(s);

	s->ejected = true;
	timer_set(&u->tick->wheel, &s->ejection, u->tick->now_ms + time_ms);
	stat_set(&s->view->reason, reason);
	stat_set(&s->view->failures_n, reason == REASON_CONSECUTIVE
					       ? consecutive_of(s)
					       : s->bad_n * 100 / (s->good_n + s->bad_n));
	stat_set(&s->view->eject_ms, time_ms);
	stat_add(&s->view->ejections, 1);
	stat_add(&u->stats->ejections, 1);
	server_set_status(s);
	upstream_schedule_queue(u); /* somebody may have waited for this one */
}

static void window_roll(struct server *s)
{
	uint64_t now_ms = s->upstream->tick->now_ms;

	if (now_ms - s->window_ms < WINDOW_MS)
		return;
	s->window_ms = now_ms;
	s->good_n = s->bad_n = 0;
}

void server_failed(struct server *s)
{
	enum ejection_reason reason;

	stat_add(&s->view->failures, 1);
	if (s->leaving || s->ejected)
		return;
	window_roll(s);
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
	if (s->upstream->config.eject_rate == 0)
		return;
	window_roll(s);
	s->good_n++;
}

static bool is_failure(const struct upstream *u, int status)
{
	switch (u->config.eject_on) {
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

/* Its head was counted already, as good or as bad. */
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
		s->down_until_ms = l->upstream->tick->now_ms + UPSTREAM_DOWN_MS;
	server_failed(s);
}
