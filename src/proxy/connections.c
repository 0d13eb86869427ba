#include "proxy/connections.h"

#include <stdio.h>

#include "clienttls.h"
#include "http/emit.h"
#include "http/kepthead.h"
#include "proxy/action.h"
#include "proxy/exchange.h"
#include "proxy/rule.h"
#include "view.h"

const char *connection_phase_text(enum connection_phase phase)
{
	static const char *const texts[] = {
#define PHASE(name, text) text,
#include "proxy/connectionphase.def"
#undef PHASE
	};

	return texts[phase];
}

/* ---- one row ---------------------------------------------------------------- */

static void text_copy(char *to, size_t size, struct slice text)
{
	snprintf(to, size, "%.*s", SLICE_ARG(text));
}

#define TEXT_COPY(to, text) text_copy(to, sizeof(to), text)

/* NULL: no request is in progress. HTTP/2: the oldest of several. */
static struct exchange *exchange_of(const struct client *c)
{
	const struct task *task = client_oldest_user(c);

	return task ? CONTAINER(task, struct exchange, task) : NULL;
}

static enum connection_phase phase_of_attempt(const struct attempt *a)
{
	switch ((enum attempt_state)a->state) {
	case ATTEMPT_WAITING:
		return a->lease.state == LEASE_CONNECTING ? CONNECTION_CONNECTING
							  : CONNECTION_QUEUED;
	case ATTEMPT_SENDING:
		return CONNECTION_SENDING;
	case ATTEMPT_AWAITING_HEAD:
	case ATTEMPT_FAILED:
		return CONNECTION_WAITING;
	case ATTEMPT_RELAYING:
	case ATTEMPT_ENDED:
		break;
	}
	return CONNECTION_RESPONDING;
}

static enum connection_phase phase_of_exchange(const struct exchange *x)
{
	const struct fetch *f = x->relay.fetch;

	switch ((enum exchange_state)x->state) {
	case EXCHANGE_ROUTING:
	case EXCHANGE_CHECKING:
		return CONNECTION_CHECKING;
	case EXCHANGE_WORKING:
		return CONNECTION_WORKING;
	case EXCHANGE_RELAYING:
	case EXCHANGE_REPLYING:
		break;
	}
	if (x->relay.tunnel)
		return CONNECTION_TUNNEL;
	if (f)
		return f->attempt ? phase_of_attempt(f->attempt) : CONNECTION_PAUSING;
	return x->relay.status == 0 ? CONNECTION_WAITING : CONNECTION_RESPONDING;
}

static enum connection_phase phase_of(const struct client *c)
{
	switch ((enum client_state)c->state) {
	case CLIENT_IDLE:
		return c->http1.stream.uses == 0 ? CONNECTION_NEW : CONNECTION_IDLE;
	case CLIENT_PROXIED:
		return CONNECTION_PROXY_HEADER;
	case CLIENT_SECURING:
		return CONNECTION_HANDSHAKE;
	case CLIENT_HEAD:
		return CONNECTION_HEAD;
	case CLIENT_MULTIPLEXED:
		return exchange_of(c) ? phase_of_exchange(exchange_of(c)) : CONNECTION_IDLE;
	case CLIENT_BUSY:
		return exchange_of(c) ? phase_of_exchange(exchange_of(c))
				      : CONNECTION_RESPONDING;
	case CLIENT_ENDING:
		break;
	}
	return CONNECTION_CLOSING;
}

static uint64_t age_of(const struct client *c)
{
	const struct tick *tick = c->front->tick;
	const struct exchange *x = exchange_of(c);

	return x ? (tick->now_us - x->started_us) / 1000
		 : tick->now_ms - c->http1.stream.since_ms;
}

static const char *upstream_of(const struct exchange *x)
{
	if (x->relay.fetch)
		return x->relay.fetch->request.config->name;
	if (x->relay.source && x->route && x->route->action == &action_memcached.config)
		return x->generation->config->upstreams[x->route->memcached->upstream].name;
	return "";
}

/* Of the request, before it is known who responds: of its connection. */
static const char *server_of_exchange(const struct exchange *x)
{
	const struct attempt *a = x->relay.fetch ? x->relay.fetch->attempt : NULL;

	if (x->relay.server)
		return x->relay.server;
	return a && a->lease.origin ? lease_server(&a->lease) : "";
}

static void read_route(struct connection_row *r, const struct config_route *route)
{
	struct emit e = { r->route, r->route + sizeof(r->route) - 1, false };

	if (route->host_n > 0 && route->hosts[0].ptr[0] == '.')
		emit_slice(&e, SLICE("*"));
	if (route->host_n > 0)
		emit_slice(&e, route->hosts[0]);
	emit_slice(&e, route->path);
	if (route->prefix)
		emit_slice(&e, SLICE("*"));
	*e.at = '\0';
}

static struct slice method_text(enum method m)
{
	static const char *const texts[] = {
#define METHOD(name, text, safe, idempotent) [METHOD_##name] = text,
#include "http/method.def"
#undef METHOD
		[METHOD_OTHER] = "?",
	};

	return slice_of(texts[m]);
}

static void read_exchange(struct connection_row *r, const struct exchange *x)
{
	const struct kept_head *kept = kept_head_of(x);

	r->client = x->client_addr;
	TEXT_COPY(r->request,
		  kept ? kept_head_line(kept) : method_text((enum method)x->relay.method));
	if (kept)
		TEXT_COPY(r->host, kept_head_authority(kept));
	if (x->route)
		read_route(r, x->route);
	TEXT_COPY(r->upstream, slice_of(upstream_of(x)));
	TEXT_COPY(r->server, slice_of(server_of_exchange(x)));
}

static void read_row(struct connection_row *r, const struct client *c)
{
	const struct exchange *x = exchange_of(c);
	struct client_tls tls;

	*r = (struct connection_row){
		.fd = c->conn.fd,
		.cookie = sock_cookie(c->conn.fd),
		.peer = c->peer,
		.client = c->peer,
		.phase = phase_of(c),
		.age_ms = age_of(c),
		.received = c->conn.received,
		.sent = c->conn.sent,
		.requests = client_requests(c),
	};
	if (client_tls_read(&tls, c)) {
		TEXT_COPY(r->tls, tls.version);
		TEXT_COPY(r->sni, tls.sni);
	}
	if (x)
		read_exchange(r, x);
}

/* ---- what is listed ----------------------------------------------------------- */

static bool peer_is_in(const struct peer *peer, const struct ip_range *range)
{
	struct ip ip = { .family = peer->family == AF_INET ? 4 : 6 };

	if (peer->family == AF_UNIX)
		return false;
	memcpy(ip.bytes, peer->addr, ip.family == 4 ? 4 : 16);
	return ip_ranges_contain(range, 1, &ip);
}

static bool filter_passes(const struct client *c, const struct connection_filter *f)
{
	const struct exchange *x = exchange_of(c);

	if (c->conn.fd < 0 || age_of(c) < f->older_ms)
		return false;
	if (f->by_client && !peer_is_in(x ? &x->client_addr : &c->peer, &f->client) &&
	    !peer_is_in(&c->peer, &f->client))
		return false;
	if (f->upstream[0] && (!x || strcmp(upstream_of(x), f->upstream) != 0))
		return false;
	return f->cookie == 0 ||
	       (f->fd == c->conn.fd && sock_cookie(c->conn.fd) == f->cookie);
}

void connections_read(struct proxy *p, struct connection_walk *w)
{
	struct client *c = NULL;

	ASSERT(!w->ended);
	w->row_n = 0;
	if (!w->begun)
		front_walk_begin(&p->front, &w->front);
	w->begun = true;
	for (unsigned i = 0; i < CONNECTIONS_SLICE && w->row_n < CONNECTIONS_ROWS; i++) {
		c = front_walk_next(&p->front, &w->front);
		if (!c)
			break;
		if (!filter_passes(c, &w->filter))
			continue;
		read_row(&w->rows[w->row_n++], c);
		if (w->kill)
			client_kill(c);
	}
	if (!c)
		connections_end(w);
}

void connections_end(struct connection_walk *w)
{
	if (w->begun)
		front_walk_end(&w->front);
	w->begun = false;
	w->ended = true;
}
