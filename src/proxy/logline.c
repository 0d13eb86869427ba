#include "logline.h"

#include <limits.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/logrecord.h"
#include "proxy/requesttimes.h"
#include "route/variable.h"

/* A longer value, such as a decoded query parameter, is left out of a template's line. */
#define VALUE_MAX_BYTES 8192

static void put_peer(struct emit *e, const struct peer *peer)
{
	char text[SOCK_TEXT_MAX];

	emit_slice(e, (struct slice){ text, peer_text(peer, text, sizeof(text)) });
}

static struct slice time_utc(struct access *a)
{
	time_t now = (time_t)(a->tick->wall_ms / 1000);
	uint64_t ms = a->tick->wall_ms % 1000;
	struct tm tm;
	size_t n;

	if (a->text_s != (uint64_t)now) {
		a->text_s = (uint64_t)now;
		gmtime_r(&now, &tm);
		strftime(a->text, sizeof(a->text), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
	}
	n = strlen(a->text);
	a->text[n - 4] = (char)('0' + ms / 100);
	a->text[n - 3] = (char)('0' + ms / 10 % 10);
	a->text[n - 2] = (char)('0' + ms % 10);
	return (struct slice){ a->text, n };
}

static struct slice time_local(struct access *a)
{
	time_t now = (time_t)(a->tick->wall_ms / 1000);
	struct tm tm;

	if (a->local_s != (uint64_t)now) {
		a->local_s = (uint64_t)now;
		localtime_r(&now, &tm);
		strftime(a->local, sizeof(a->local), "%d/%b/%Y:%H:%M:%S %z", &tm);
	}
	return slice_of(a->local);
}

static void put_quoted(struct emit *e, struct slice s)
{
	emit_slice(e, SLICE(" \""));
	if (s.len == 0)
		emit_slice(e, SLICE("-"));
	emit_escaped(e, s, "\\x");
	emit_slice(e, SLICE("\""));
}

static void put_combined(struct access *a, struct emit *e, const struct access_entry *x)
{
	put_peer(e, x->peer);
	emit_slice(e, SLICE(" - "));
	if (x->user.len == 0)
		emit_slice(e, SLICE("-"));
	emit_escaped(e, x->user, "\\x");
	emit_slice(e, SLICE(" ["));
	emit_slice(e, time_local(a));
	emit_slice(e, SLICE("]"));
	put_quoted(e, x->request_line);
	emit_slice(e, SLICE(" "));
	emit_number(e, (uint64_t)x->status);
	emit_slice(e, SLICE(" "));
	emit_number(e, x->sent_bytes);
	put_quoted(e, x->referer);
	put_quoted(e, x->user_agent);
}

static void put_member(struct emit *e, const char *name, struct slice value)
{
	emit_slice(e, SLICE(",\""));
	emit_slice(e, slice_of(name));
	emit_slice(e, SLICE("\":\""));
	emit_escaped(e, value, "\\u00");
	emit_slice(e, SLICE("\""));
}

static void put_count(struct emit *e, const char *name, uint64_t n)
{
	emit_slice(e, SLICE(",\""));
	emit_slice(e, slice_of(name));
	emit_slice(e, SLICE("\":"));
	emit_number(e, n);
}

/* What is not known is left out. */
static void put_tls(struct emit *e, const struct client_tls *t)
{
	const struct {
		const char *name;
		struct slice value;
	} members[] = {
		{ "cipher", t->cipher },
		{ "sni", t->sni },
		{ "alpn", t->alpn },
		{ "client", t->subject },
		{ "client_fingerprint", t->fingerprint },
		{ "ja4", t->ja4 },
	};

	emit_slice(e, SLICE(",\"tls\":{\"version\":\""));
	emit_escaped(e, t->version, "\\u00");
	emit_slice(e, SLICE("\""));
	for (size_t i = 0; i < COUNT(members); i++)
		if (members[i].value.len > 0)
			put_member(e, members[i].name, members[i].value);
	if (t->resumed.len > 0) {
		emit_slice(e, SLICE(",\"resumed\":"));
		emit_slice(e, t->resumed);
	}
	emit_slice(e, SLICE("}"));
}

/* What is not known is PHASE_UNKNOWN. */
static uint64_t phase_us(const struct access_entry *x, enum phase phase)
{
	return x->record ? request_phase(x->times, x->started_us, phase) : PHASE_UNKNOWN;
}

static void put_times(struct emit *e, const struct access_entry *x)
{
	const char *before = ",\"times_us\":{\"";
	char digits[EMIT_DIGITS_MAX];

	for (enum phase i = PHASE_RECEIVE; i < PHASE_TOTAL; i++) {
		uint64_t us = phase_us(x, i);

		if (us == PHASE_UNKNOWN)
			continue;
		emit_slice(e, slice_of(before));
		emit_slice(e, slice_of(phase_name(i)));
		emit_slice(e, SLICE("\":"));
		emit_slice(e, emit_digits(digits, us));
		before = ",\"";
	}
	if (before[2] == '\0')
		emit_slice(e, SLICE("}"));
}

static void put_route_text(struct emit *e, const struct config_route *route, const char *hex)
{
	if (route->host_n > 0) {
		/* "*.example.org" is ".example.org". */
		emit_slice(e, route->hosts[0].ptr[0] == '.' ? SLICE("*") : SLICE(""));
		emit_escaped(e, route->hosts[0], hex);
	}
	emit_escaped(e, route->path, hex);
	if (route->prefix)
		emit_slice(e, SLICE("*"));
}

static void put_route(struct emit *e, const struct config_route *route)
{
	emit_slice(e, SLICE(",\"route\":\""));
	put_route_text(e, route, "\\u00");
	emit_slice(e, SLICE("\""));
}

static void put_flag(struct emit *e, const char *name, bool value)
{
	emit_slice(e, SLICE(",\""));
	emit_slice(e, slice_of(name));
	emit_slice(e, value ? SLICE("\":true") : SLICE("\":false"));
}

static void put_trace(struct emit *e, const struct log_record *r)
{
	put_member(e, "trace_id", log_record_trace_id(r));
	put_member(e, "span_id", (struct slice){ r->trace.span_id, SPAN_ID_TEXT });
	put_flag(e, "sampled", r->trace.flags & TRACE_SAMPLED);
}

static void put_json(struct access *a, struct emit *e, const struct access_entry *x)
{
	emit_slice(e, SLICE("{\"time\":\""));
	emit_slice(e, time_utc(a));
	emit_slice(e, SLICE("\",\"client\":\""));
	put_peer(e, x->peer);
	emit_slice(e, SLICE("\""));
	if (x->user.len > 0)
		put_member(e, "user", x->user);
	put_member(e, "request", x->request_line);
	put_member(e, "host", x->host);
	put_count(e, "status", (uint64_t)x->status);
	put_count(e, "sent_bytes", x->sent_bytes);
	if (x->record)
		put_count(e, "received_bytes", x->received_bytes);
	put_count(e, "took_us", x->took_us);
	if (x->record)
		put_times(e, x);
	if (x->route)
		put_route(e, x->route);
	if (x->record && x->record->upstream)
		put_member(e, "upstream", slice_of(x->record->upstream));
	put_member(e, "server", slice_of(x->server));
	put_count(e, "tries", x->attempts_n);
	if (x->hedge)
		put_member(e, "hedge", slice_of(x->hedge));
	put_member(e, "ending", slice_of(x->ending));
	if (x->record && x->record->id_bytes > 0)
		put_member(e, "request_id", log_record_id(x->record));
	if (x->record && x->record->traced)
		put_trace(e, x->record);
	put_member(e, "referer", x->referer);
	put_member(e, "user_agent", x->user_agent);
	if (x->tls)
		put_tls(e, x->tls);
	emit_slice(e, SLICE("}"));
}

static void put_us(struct emit *e, uint64_t us)
{
	if (us == PHASE_UNKNOWN)
		emit_slice(e, SLICE("-"));
	else
		emit_number(e, us);
}

static void put_text(struct emit *e, struct slice s)
{
	if (s.len > 0)
		emit_escaped(e, s, "\\x");
	else
		emit_slice(e, SLICE("-"));
}

static void put_log_variable(struct access *a, struct emit *e, unsigned id,
			     const struct access_entry *x)
{
	switch (id) {
	case LOG_VARIABLE_TIME:
		emit_slice(e, time_utc(a));
		break;
	case LOG_VARIABLE_TIME_LOCAL:
		emit_slice(e, time_local(a));
		break;
	case LOG_VARIABLE_REQUEST_LINE:
		put_text(e, x->request_line);
		break;
	case LOG_VARIABLE_STATUS:
		emit_number(e, (uint64_t)x->status);
		break;
	case LOG_VARIABLE_SENT_BYTES:
		emit_number(e, x->sent_bytes);
		break;
	case LOG_VARIABLE_RECEIVED_BYTES:
		emit_number(e, x->received_bytes);
		break;
	case LOG_VARIABLE_TOOK_US:
		emit_number(e, x->took_us);
		break;
	case LOG_VARIABLE_RECEIVE_US:
	case LOG_VARIABLE_QUEUE_US:
	case LOG_VARIABLE_CONNECT_US:
	case LOG_VARIABLE_TLS_US:
	case LOG_VARIABLE_RESPONSE_US:
	case LOG_VARIABLE_FIRST_BYTE_US:
		put_us(e, phase_us(x, (enum phase)(id - LOG_VARIABLE_RECEIVE_US)));
		break;
	case LOG_VARIABLE_ROUTE:
		if (x->route)
			put_route_text(e, x->route, "\\x");
		else
			emit_slice(e, SLICE("-"));
		break;
	case LOG_VARIABLE_UPSTREAM:
		put_text(e, slice_of(x->record && x->record->upstream ? x->record->upstream : ""));
		break;
	case LOG_VARIABLE_SERVER:
		put_text(e, slice_of(x->server ? x->server : ""));
		break;
	case LOG_VARIABLE_TRIES:
		emit_number(e, x->attempts_n);
		break;
	case LOG_VARIABLE_ENDING:
		put_text(e, slice_of(x->ending));
		break;
	}
}

/* Of a request that could not be parsed only what belongs to no head is known. */
static void put_request_variable(struct emit *e, const struct template_part *part,
				 const struct access_entry *x)
{
	static _Thread_local char scratch[VALUE_MAX_BYTES];
	struct slice value;

	if (part->variable == VARIABLE_CLIENT_ADDRESS)
		put_peer(e, x->peer);
	else if (x->view && variable_value(part->variable, part->text, x->view, scratch,
					   sizeof(scratch), &value))
		put_text(e, value);
	else
		emit_slice(e, SLICE("-"));
}

static void put_template(struct access *a, struct emit *e, const struct access_entry *x)
{
	const struct template *t = &a->config->template;

	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *part = &t->parts[i];

		if (part->variable == VARIABLE_NONE)
			emit_slice(e, part->text);
		else if (part->variable > VARIABLE_NONE)
			put_log_variable(a, e, part->variable, x);
		else
			put_request_variable(e, part, x);
	}
}

static void put_format(struct access *a, struct emit *e, const struct access_entry *x)
{
	switch (a->config->format) {
	case CONFIG_LOG_COMBINED:
		put_combined(a, e, x);
		break;
	case CONFIG_LOG_JSON:
		put_json(a, e, x);
		break;
	case CONFIG_LOG_TEMPLATE:
		put_template(a, e, x);
		break;
	case CONFIG_LOG_OFF:
		break;
	}
}

void log_line_put(struct access *a, struct emit *e, const struct access_entry *x)
{
	put_format(a, e, x);
	emit_slice(e, SLICE("\n"));
}

/* ---- datagrams ------------------------------------------------------------ */

static char host[HOST_NAME_MAX + 1] = "-";

void access_name_host(void)
{
	if (gethostname(host, sizeof(host) - 1) < 0 || host[0] == '\0')
		strcpy(host, "-");
}

/* "<PRI>1 TIME HOST TAG PID - - TEXT" (RFC 5424 6). Severity: warning or informational. */
static void put_syslog(struct access *a, struct emit *e, const struct access_entry *x)
{
	emit_slice(e, SLICE("<"));
	emit_number(e, a->config->facility * 8 + (x->failed ? 4 : 6));
	emit_slice(e, SLICE(">1 "));
	emit_slice(e, time_utc(a));
	emit_slice(e, SLICE(" "));
	emit_slice(e, slice_of(host));
	emit_slice(e, SLICE(" "));
	emit_slice(e, slice_of(a->config->tag));
	emit_slice(e, SLICE(" "));
	emit_number(e, (uint64_t)getpid());
	emit_slice(e, SLICE(" - - "));
	put_format(a, e, x);
}

/* Fields, one in a line: no value has a line feed. */
static void put_journald(struct access *a, struct emit *e, const struct access_entry *x)
{
	emit_slice(e, x->failed ? SLICE("PRIORITY=4\nSYSLOG_FACILITY=")
				: SLICE("PRIORITY=6\nSYSLOG_FACILITY="));
	emit_number(e, a->config->facility);
	emit_slice(e, SLICE("\nSYSLOG_IDENTIFIER="));
	emit_slice(e, slice_of(a->config->tag));
	emit_slice(e, SLICE("\nFAIRLEAD_STATUS="));
	emit_number(e, (uint64_t)x->status);
	emit_slice(e, SLICE("\nMESSAGE="));
	put_format(a, e, x);
	emit_slice(e, SLICE("\n"));
}

void log_datagram_put(struct access *a, struct emit *e, const struct access_entry *x)
{
	char *length = e->at;
	uint32_t n = 0;

	emit_slice(e, (struct slice){ (char *)&n, sizeof(n) });
	if (a->config->target == CONFIG_LOG_SYSLOG)
		put_syslog(a, e, x);
	else
		put_journald(a, e, x);
	if (e->overflow)
		return;
	n = (uint32_t)(e->at - length - sizeof(n));
	memcpy(length, &n, sizeof(n));
}
