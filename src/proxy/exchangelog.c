#include "exchangelog.h"

#include <string.h>

#include "clienttls.h"
#include "http/kepthead.h"
#include "proxy/rule.h"
#include "view.h"

/* Logged if the client left before its response began; never sent. As in nginx. */
#define STATUS_GONE 499

/* The fields of a request that lines show. */
#define LOGGED_FIELDS (KEPT_FIELD(HEADER_REFERER) | KEPT_FIELD(HEADER_USER_AGENT))

/* A reload may have come since the exchange began: the logs of the worker are those of the current
 * configuration. NULL: it has none of that name and path. */
static struct access *current_log(const struct proxy *p, const struct config *c, unsigned i)
{
	const struct config *current = p->generation->config;
	const struct config_access_log *log = &c->logs[i];

	if (c == current)
		return p->logs.all[i];
	for (unsigned k = 0; k < current->log_n; k++)
		if (strcmp(current->logs[k].name, log->name) == 0 &&
		    strcmp(current->logs[k].path, log->path) == 0 &&
		    current->logs[k].target == log->target)
			return p->logs.all[k];
	return NULL;
}

static uint8_t logs_of(const struct exchange *x)
{
	return x->route ? x->route->logs : x->generation->config->logs_default;
}

bool exchange_keep_for_logs(struct exchange *x, const struct head *h)
{
	uint8_t logs = logs_of(x);

	if (logs == 0 && !(x->relay.record && x->relay.record->exported))
		return true;
	return exchange_keep_head(x, h,
				  logs & x->generation->config->logs_whole ? KEPT_ALL
									   : LOGGED_FIELDS);
}

bool exchange_begin_record(struct exchange *x, struct request_view *view, bool trusted)
{
	const struct config *c = x->generation->config;
	struct proxy *p = x->proxy;
	struct log_record *r = x->relay.record;

	if (r || (!c->request_id.on && !c->tracing.on && !c->logs_detailed))
		return true;
	r = slab_take(&p->records);
	if (!r)
		return false;
	r->config = c;
	x->relay.record = r;
	if (c->request_id.on)
		log_record_identify(r, view->head, trusted, &p->random, p->tick->wall_ms);
	if (c->tracing.on)
		log_record_trace(r, view->head, trusted, &p->random);
	view->request_id = log_record_id(r);
	view->trace_id = log_record_trace_id(r);
	return true;
}

void exchange_note(struct exchange *x)
{
	struct request_times *t = &x->relay.times;

	if (t->received_us == 0 && x->down->received)
		t->received_us = x->proxy->tick->now_us;
}

static bool has_exemplar(const struct log_record *r)
{
	return r && r->traced && r->config->tracing.exemplars && r->trace.flags & TRACE_SAMPLED;
}

void exchange_count(struct exchange *x)
{
	const struct request_times *t = &x->relay.times;
	uint64_t took_us = x->proxy->tick->now_us - x->started_us;
	struct phases *p = x->route ? generation_route_phases(x->generation, x->route) : NULL;

	histogram_add(&x->proxy->stats->request_seconds, took_us);
	if (has_exemplar(x->relay.record))
		exemplar_set(&x->proxy->exemplars, x->relay.record->trace.trace_id, took_us,
			     x->proxy->tick->wall_ms);
	if (!p)
		return;
	if (t->received_us > 0 && x->relay.body_bytes > 0)
		phases_add(p, PHASE_RECEIVE, t->received_us - x->started_us);
	if (t->lease.ready > 0) {
		lease_phases_add(p, &t->lease);
		if (t->head_us > 0)
			phases_add(p, PHASE_RESPONSE, t->head_us - t->lease.ready);
	}
	if (t->head_us > 0)
		phases_add(p, PHASE_FIRST_BYTE, t->head_us - x->started_us);
	phases_add(p, PHASE_TOTAL, took_us);
}

/* See access_log.requests. */
static bool has_failed(int status, enum ending ending)
{
	return status == 0 || status >= 500 || ending_status(ending) >= 500 ||
	       ending == ENDING_CLIENT_SLOW || ending == ENDING_SHUT_DOWN ||
	       ending == ENDING_KILLED;
}

static void entry_write(struct exchange *x, const struct access_entry *e)
{
	const struct config *c = x->generation->config;
	uint8_t logs = logs_of(x);

	for (unsigned i = 0; i < c->log_n; i++) {
		struct access *a = logs >> i & 1 ? current_log(x->proxy, c, i) : NULL;

		if (a)
			access_log(a, e);
	}
}

void exchange_log(struct exchange *x, enum ending ending)
{
	static const char *const hedges[] = { NULL, "lost", "won" };
	const struct kept_head *kept = kept_head_of(x);
	struct exchange_view v;
	struct client_tls tls;
	struct access_entry e;

	/* Without a kept head memory was lacking for it. */
	if (logs_of(x) == 0 || !kept)
		return;
	e = (struct access_entry){
		.peer = &x->client_addr,
		.user = rules_user(x),
		.request_line = kept_head_line(kept),
		.host = kept_head_authority(kept),
		.referer = kept_head_value(kept, HEADER_REFERER),
		.user_agent = kept_head_value(kept, HEADER_USER_AGENT),
		.status = ending == ENDING_CLIENT_GONE && x->relay.status == 0 ? STATUS_GONE
									       : x->relay.status,
		.sent_bytes = x->relay.sent_bytes,
		.received_bytes = x->relay.body_bytes,
		.took_us = x->proxy->tick->now_us - x->started_us,
		.started_us = x->started_us,
		.server = x->relay.server,
		.attempts_n = x->attempts_n,
		.hedge = hedges[x->hedge],
		.ending = ending_text(ending),
		.route = x->route,
		.record = x->relay.record,
		.times = &x->relay.times,
		.tls = client_tls_read(&tls, x->client) ? &tls : NULL,
	};
	e.failed = has_failed(e.status, ending);
	if (kept->whole && logs_of(x) & x->generation->config->logs_whole)
		e.view = exchange_view_restore(&v, x);
	entry_write(x, &e);
}

void refusal_log(struct proxy *p, const struct peer *peer, const struct relay *r,
		 const char *ending)
{
	const struct config *c = p->generation->config;
	const struct access_entry e = {
		.peer = peer,
		.status = r->status,
		.sent_bytes = r->sent_bytes,
		.ending = ending,
		.failed = r->status >= 500,
	};

	for (unsigned i = 0; i < c->log_n; i++)
		if (c->logs_default >> i & 1 && p->logs.all[i])
			access_log(p->logs.all[i], &e);
}
