#include "opening.h"

#include "clientstate.h"
#include "proxied.h"

/* It is over. */
static void client_begin_requests(struct client *c)
{
	client_set_state(c, CLIENT_IDLE);
	client_begin_deadline(c);
}

/* ---- TLS -------------------------------------------------------------------- */

static void handshake_report(struct client *c, enum tls_fault fault)
{
	if (c->front->events->handshake_failed)
		c->front->events->handshake_failed(c, fault);
}

static void handshake_failed(struct client *c, enum tls_fault fault)
{
	handshake_report(c, fault);
	if (fault == TLS_FAULT_PLAIN_HTTP && conn_unsecure(&c->conn)) {
		c->http1.stream.receive_failed = false;
		client_refuse_request(c, FAULT_PLAIN_ON_TLS);
	} else {
		client_end(c, CONN_LINGER); /* no reset overtakes an alert */
	}
}

/* The session has not found this fault itself. */
static void handshake_give_up(struct client *c, enum tls_fault fault)
{
	handshakes_count_failure(c->front->tick, TLS_SIDE_SERVER, fault);
	handshake_report(c, fault);
	client_end(c, CONN_NOW);
}

/* True: it is complete. */
static bool handshake_done(struct client *c)
{
	const struct tls *t = conn_tls(&c->conn);

	if (t->state == TLS_FAILED)
		handshake_failed(c, (enum tls_fault)t->fault);
	else if (client_lost(c))
		handshake_give_up(c, TLS_FAULT_CLOSED);
	else if (!conn_shaking(&c->conn))
		client_begin_requests(c);
	else if (c->http1.stream.timed_out)
		handshake_give_up(c, TLS_FAULT_TIMEOUT);
	return c->state == CLIENT_IDLE;
}

static void handshake_begin(struct client *c, struct tls_context *context)
{
	bool good = conn_secure(&c->conn, context);

	client_set_state(c, CLIENT_SECURING);
	client_begin_deadline(c);
	if (!good)
		handshake_give_up(c, TLS_FAULT_NO_MEMORY);
}

void client_secure(struct client *c, struct tls_context *context)
{
	ASSERT(c->http1.stream.uses == 0);
	if (c->state == CLIENT_PROXIED) {
		c->context = tls_context_ref(context);
		c->context_waits = true;
	} else {
		handshake_begin(c, context);
	}
}

/* ---- the PROXY protocol ----------------------------------------------------- */

void client_await_proxy_header(struct client *c)
{
	ASSERT(c->http1.stream.uses == 0 && c->conn.received == 0);
	client_set_state(c, CLIENT_PROXIED);
	client_begin_deadline(c);
}

/* The header was read. */
static void client_begin_proxied(struct client *c, struct buf *kept)
{
	struct tls_context *context = c->context_waits ? c->context : NULL;

	c->context_waits = false;
	c->proxy_header = kept;
	if (context)
		handshake_begin(c, context);
	else
		client_begin_requests(c);
	tls_context_unref(context);
}

/* True: the header was read; requests may follow, or a handshake. A peer that leaves without a byte
 * was a check of the port. */
static bool proxy_header_taken(struct client *c)
{
	struct buf *kept;
	enum verdict v = proxied_read(c, &kept);

	if (v == VERDICT_OK) {
		client_begin_proxied(c, kept);
		return c->state == CLIENT_IDLE;
	}
	if (v == VERDICT_MORE && !c->conn.eof && !client_lost(c) &&
	    !c->http1.stream.timed_out) {
		conn_compact(&c->conn);
		return false;
	}
	if (c->conn.received > 0)
		stat_add(&c->front->stats->proxy_headers_refused, 1);
	client_end(c, CONN_NOW);
	return false;
}

/* --------------------------------------------------------------------------- */

bool client_opened(struct client *c)
{
	if (c->state == CLIENT_PROXIED)
		return proxy_header_taken(c);
	return c->state != CLIENT_SECURING || handshake_done(c);
}
