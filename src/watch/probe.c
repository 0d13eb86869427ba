#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io/sock.h"
#include "net/proxyheader.h"

#define WINDOW 32768
/* How long the rest of a response is read and dropped. */
#define LINGER_MS 1000
/* Longest VERSION reply. */
#define LINE_BYTES_MAX 256

#define HEAD_BYTES_MAX 16384
#define FIELDS_MAX 100

/* The diagram of probe.h: the states that may follow each state. */
static const uint8_t probe_next_states[] = {
	[PROBE_IDLE] = 1u << PROBE_CONNECTING | 1u << PROBE_ENDING,
	[PROBE_CONNECTING] = 1u << PROBE_READING | 1u << PROBE_ENDING,
	[PROBE_READING] = 1u << PROBE_ENDING,
	[PROBE_ENDING] = 1u << PROBE_IDLE,
};

static void probe_set_state(struct probe *p, enum probe_state state)
{
	ASSERT(probe_next_states[p->state] >> state & 1);
	p->state = (uint8_t)state;
}

void probe_check(const struct probe *p)
{
	ASSERT((p->dial != NULL) == (p->state == PROBE_CONNECTING));
	ASSERT(timer_armed(&p->timer) == (p->state == PROBE_READING));
	ASSERT(p->state != PROBE_READING ||
	       (p->conn.state == CONN_OPEN && !p->cancelled));
}

static void probe_decide(struct probe *p, const char *why)
{
	timer_stop(&p->tick->wheel, &p->timer);
	if (!p->cancelled)
		p->decided(p, why);
}

/* The cause is ours and says nothing about the server. */
static void probe_skip(struct probe *p)
{
	timer_stop(&p->tick->wheel, &p->timer);
	if (!p->cancelled)
		p->skipped(p);
}

/* Ends a probe whose connection is open. */
static void probe_finish(struct probe *p, const char *why, enum conn_end end)
{
	probe_set_state(p, PROBE_ENDING);
	probe_decide(p, why);
	conn_close(&p->conn, end, LINGER_MS);
}

static void probe_out_of_memory(struct probe *p)
{
	probe_set_state(p, PROBE_ENDING);
	probe_skip(p);
	conn_close(&p->conn, CONN_NOW, LINGER_MS);
}

static void probe_timer_expired(struct timer *t)
{
	probe_finish(CONTAINER(t, struct probe, timer), "no response in time", CONN_NOW);
}

/* ---- the response ------------------------------------------------------------ */

static bool is_expected(const struct config_health *h, unsigned status)
{
	for (unsigned i = 0; i < h->status_n; i++)
		if (status >= h->statuses[i].first && status <= h->statuses[i].last)
			return true;
	return false;
}

static const char *end_reason(const struct conn *c)
{
	if (c->error < 0)
		return strerror(-c->error);
	return c->eof ? "closed without a response" : NULL;
}

static void read_http(struct probe *p)
{
	const struct head_limits limits = { HEAD_BYTES_MAX, FIELDS_MAX, p->lenient };
	char why[64];

	for (;;) {
		switch (reader_response(&p->reader, &p->conn, &limits, p->head)) {
		case VERDICT_MORE:
			if (end_reason(&p->conn))
				probe_finish(p, end_reason(&p->conn), CONN_NOW);
			return;
		case VERDICT_BAD:
			probe_finish(p, fault_text(p->head->fault), CONN_NOW);
			return;
		case VERDICT_OK:
			break;
		}
		if (p->head->status >= 200)
			break;
		reader_begin_body(&p->reader, &p->conn, FRAMING_NONE, 0);
		reader_init(&p->reader);
	}
	snprintf(why, sizeof(why), "status %d", p->head->status);
	probe_finish(p, is_expected(p->health, (unsigned)p->head->status) ? NULL : why,
		     CONN_LINGER);
}

static void read_version(struct probe *p)
{
	struct slice s, begin = SLICE("VERSION ");
	const char *end;

	if (!conn_linearize(&p->conn, LINE_BYTES_MAX)) {
		probe_out_of_memory(p);
		return;
	}
	s = conn_peek(&p->conn);
	end = memchr(s.ptr ? s.ptr : "", '\n', s.len);
	if (end || s.len >= LINE_BYTES_MAX)
		probe_finish(p,
			     end && slice_starts(s, begin) ? NULL : "not a VERSION reply",
			     CONN_NOW);
	else if (end_reason(&p->conn))
		probe_finish(p, end_reason(&p->conn), CONN_NOW);
}

/* ---- the connection ---------------------------------------------------------- */

static void probe_conn_changed(struct conn *c)
{
	struct probe *p = CONTAINER(c, struct probe, conn);

	tick_run(p->tick, &p->task);
}

static void probe_idle(struct probe *p)
{
	buf_put(p->preamble);
	p->preamble = NULL;
	probe_set_state(p, PROBE_IDLE);
	task_stop(&p->task);
	CHECK_STATE(probe_check(p));
	p->ended(p);
}

static void probe_conn_dead(struct conn *c)
{
	probe_idle(CONTAINER(c, struct probe, conn));
}

static const struct conn_events events = { .changed = probe_conn_changed,
					   .dead = probe_conn_dead,
					   .may_use_reserve = true };

static void probe_connected(struct probe *p)
{
	dial_finish(&p->dial);
	probe_set_state(p, PROBE_READING);
	timer_set(&p->tick->wheel, &p->timer, p->deadline_ms);
	if (p->health->type == CONFIG_HEALTH_TCP)
		probe_finish(p, NULL, p->preamble ? CONN_FLUSH : CONN_NOW);
	else if (!writer_static(&p->writer, &p->conn, p->request))
		probe_out_of_memory(p);
}

/* EACCES: nearly always a unix socket. */
static const char *error_text(int error)
{
	if (error == -EACCES)
		return "Permission denied; open it to the user of the worker process ('user:')";
	return strerror(-error);
}

static void probe_not_connected(struct probe *p)
{
	probe_set_state(p, PROBE_ENDING);
	if (p->dial->failure == DIAL_TIMEOUT)
		probe_decide(p, "no connection in time");
	else if (sock_shortage(p->dial->error))
		probe_skip(p);
	else if (p->dial->failure == DIAL_TLS)
		probe_decide(p, tls_fault_text((enum tls_fault)p->dial->fault));
	else
		probe_decide(p, error_text(p->dial->error));
	dial_cancel(&p->dial);
}

static void probe_step(struct task *task)
{
	struct probe *p = CONTAINER(task, struct probe, task);

	switch ((enum probe_state)p->state) {
	case PROBE_CONNECTING:
		if (p->dial->state == DIAL_OPENED)
			probe_connected(p);
		else
			probe_not_connected(p);
		break;
	case PROBE_READING:
		if (p->health->type == CONFIG_HEALTH_HTTP)
			read_http(p);
		else
			read_version(p);
		break;
	case PROBE_IDLE:
	case PROBE_ENDING:
		break;
	}
	CHECK_STATE(probe_check(p));
}

/* ------------------------------------------------------------------------------ */

void probe_init(struct probe *p)
{
	p->state = PROBE_IDLE;
	timer_init(&p->timer, probe_timer_expired);
	task_init(&p->task, probe_step);
}

/* The check is ours, not that of a client: LOCAL or UNKNOWN. False: no memory. */
static bool preamble_write(struct probe *p)
{
	static const struct proxy_header h = { .local = true };
	char bytes[PROXY_HEADER_WRITE_MAX];
	size_t n;

	if (p->proxy_protocol == CONFIG_PROXY_OFF)
		return true;
	n = p->proxy_protocol == CONFIG_PROXY_V1 ? proxy_header_write_v1(&h, bytes)
						 : proxy_header_write_v2(&h, bytes);
	p->preamble = buf_new(io_bufs(p->tick->loop), n);
	if (!p->preamble)
		return false;
	memcpy(p->preamble->data, bytes, n);
	p->preamble->end = (uint32_t)n;
	return true;
}

void probe_start(struct probe *p, const struct sockaddr_storage *sa, socklen_t len)
{
	ASSERT(p->state == PROBE_IDLE);
	p->cancelled = false;
	p->deadline_ms = p->tick->now_ms + p->health->timeout_ms;
	memset(&p->conn, 0, sizeof(p->conn));
	memset(&p->writer, 0, sizeof(p->writer));
	reader_init(&p->reader);
	if (preamble_write(p))
		p->dial = dial_start(p->tick,
				     &(struct dial_options){
					     .conn = &p->conn,
					     .events = &events,
					     .window = WINDOW,
					     .address = (const struct sockaddr *)sa,
					     .address_len = len,
					     .deadline_ms = p->deadline_ms,
					     .task = &p->task,
					     .preamble = p->preamble,
					     .context = p->context,
					     .name = p->name,
					     .sni = p->sni,
					     .saved = p->saved,
				     });
	if (p->dial) {
		probe_set_state(p, PROBE_CONNECTING);
		return;
	}
	probe_set_state(p, PROBE_ENDING);
	probe_skip(p);
	conn_end_unopened(&p->conn, p->tick, &events);
}

void probe_cancel(struct probe *p)
{
	if (p->state == PROBE_IDLE || p->cancelled)
		return;
	p->cancelled = true;
	timer_stop(&p->tick->wheel, &p->timer);
	switch ((enum probe_state)p->state) {
	case PROBE_CONNECTING:
		probe_set_state(p, PROBE_ENDING);
		dial_cancel(&p->dial);
		break;
	case PROBE_READING:
		probe_finish(p, NULL, CONN_NOW);
		break;
	case PROBE_ENDING:
		if (p->conn.state == CONN_CLOSING)
			conn_close(&p->conn, CONN_NOW, 0);
		break;
	case PROBE_IDLE:
		break;
	}
}
