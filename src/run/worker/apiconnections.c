/* The connections of clients in the admin API: GET lists them, DELETE closes one. */
#include <stdio.h>
#include <stdlib.h>

#include "adminapi.h"
#include "base/errorlog.h"
#include "json.h"
#include "listing.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000000

/* Most bytes of one row: all of its texts, and the rest of the object. */
#define ROW_BYTES (JSON_STRING_MAX(sizeof(struct connection_row)) + 768)

/* "WORKER-DESCRIPTOR-COOKIE" */
#define ID_BYTES 48

/* ---- rows ------------------------------------------------------------------------ */

static void put_if(struct emit *e, const char *before, const char *text)
{
	if (text[0] != '\0')
		json_member(e, before, slice_of(text));
}

static void put_peer(struct emit *e, const char *before, const struct peer *peer)
{
	char text[SOCK_TEXT_MAX];

	json_member(e, before, (struct slice){ text, peer_text(peer, text, sizeof(text)) });
}

static void put_id(struct emit *e, unsigned worker, const struct connection_row *row)
{
	char id[ID_BYTES];

	snprintf(id, sizeof(id), "%u-%d-%llx", worker, row->fd,
		 (unsigned long long)row->cookie);
	json_member(e, "{\"id\":", slice_of(id));
}

static void put_row(struct emit *e, unsigned worker, const struct connection_row *row)
{
	put_id(e, worker, row);
	put_peer(e, ",\"client\":", &row->client);
	if (memcmp(&row->peer, &row->client, sizeof(row->peer)) != 0)
		put_peer(e, ",\"peer\":", &row->peer);
	json_number(e, ",\"port\":", row->peer.port);
	json_number(e, ",\"worker\":", worker);
	json_member(e, ",\"state\":", slice_of(connection_phase_text(row->phase)));
	json_number(e, ",\"for_ms\":", row->age_ms);
	json_number(e, ",\"requests\":", row->requests);
	json_number(e, ",\"received_bytes\":", row->received);
	json_number(e, ",\"sent_bytes\":", row->sent);
	put_if(e, ",\"tls\":", row->tls);
	put_if(e, ",\"sni\":", row->sni);
	put_if(e, ",\"request\":", row->request);
	put_if(e, ",\"host\":", row->host);
	put_if(e, ",\"route\":", row->route);
	put_if(e, ",\"upstream\":", row->upstream);
	put_if(e, ",\"server\":", row->server);
	emit_slice(e, SLICE("}"));
}

/* ---- GET /api/connections ---------------------------------------------------------- */

static void put_end(struct listing *l, struct emit *e, bool truncated)
{
	json_number(e, "\n],\"listed\":", l->listed);
	json_flag(e, ",\"truncated\":", truncated);
	emit_slice(e, SLICE("}\n"));
}

/* Writes the rows that are here. True: the limit was reached, and there is one more. */
static bool put_rows(struct listing *l, struct emit *e)
{
	while (l->row_at < l->walk.row_n && e->end - e->at >= (long)ROW_BYTES) {
		if (l->listed == l->limit)
			return true;
		emit_slice(e, l->listed > 0 ? SLICE(",\n") : SLICE("\n"));
		put_row(e, l->worker, &l->walk.rows[l->row_at++]);
		l->listed++;
	}
	return false;
}

static enum chunks_next rows_step(struct listing *l, struct emit *e)
{
	if (l->state == LISTING_ASKED)
		return CHUNK_WAIT;
	if (!l->begun) {
		emit_slice(e, SLICE("{\"connections\":["));
		l->begun = true;
		return CHUNK_MORE;
	}
	if (l->state == LISTING_READ && l->row_at < l->walk.row_n) {
		bool truncated = put_rows(l, e);

		if (truncated)
			put_end(l, e, true);
		return truncated ? CHUNK_END : CHUNK_MORE;
	}
	if (listing_go_on(l))
		return CHUNK_WAIT;
	put_end(l, e, false);
	return CHUNK_END;
}

static enum chunks_next rows_read(struct chunks *c, char *room, size_t size, size_t *n)
{
	struct emit e = { room, room + size, false };
	enum chunks_next next = rows_step(listing_of(c), &e);

	ASSERT(!e.overflow);
	*n = (size_t)(e.at - room);
	return next;
}

static const struct chunks_source rows_source = { rows_read, listing_leave };

/* NULL: it was told why. */
static struct listing *listing_begin(const struct api_request *q,
				     const struct chunks_source *source,
				     struct admin_api_response *r)
{
	/* The workers may end at any moment. */
	struct listing *l = q->admin->draining ? NULL
					       : listing_new(q->admin->shared, source);

	if (!l)
		api_fail(r, 503,
			 "the process is ending, or too many listings are in progress; ask again");
	return l;
}

/* ---- what is asked for --------------------------------------------------------------- */

/* ADDRESS or ADDRESS/BITS */
static bool network_read(const char *text, struct ip_range *range)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t bits;
	struct ip ip;

	if (!ip_parse(&ip, (struct slice){ text, n }))
		return false;
	bits = ip.family == 4 ? 32 : 128;
	if (slash && !api_number(slash + 1, bits, &bits))
		return false;
	*range = ip_network(&ip, (unsigned)bits);
	return true;
}

/* "90", "90s", "500ms", "5m" or "2h", in ms. */
static bool time_read(const char *text, uint64_t *ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "", 1000 } };
	size_t digits = strspn(text, "0123456789");
	char number[16];

	if (digits == 0 || digits > 9)
		return false;
	memcpy(number, text, digits);
	number[digits] = '\0';
	for (size_t i = 0; i < COUNT(units); i++) {
		if (strcmp(text + digits, units[i].unit) != 0)
			continue;
		*ms = strtoull(number, NULL, 10) * units[i].ms;
		return true;
	}
	return false;
}

/* NULL: good; else what is wrong. */
static const char *query_read(struct slice query, uint64_t *limit, struct connection_filter *f)
{
	char value[API_NAME_BYTES];
	struct slice name;

	*limit = LIMIT_DEFAULT;
	while (api_query_next(&query, &name, value)) {
		if (slice_equal(name, SLICE("limit"))) {
			if (!api_number(value, LIMIT_MAX, limit) || *limit == 0)
				return "limit is a number from 1 to 1000000";
		} else if (slice_equal(name, SLICE("client"))) {
			f->by_client = true;
			if (!network_read(value, &f->client))
				return "client is an address, or a network such as 192.0.2.0/24";
		} else if (slice_equal(name, SLICE("upstream"))) {
			size_t n = strlen(value);

			if (n == 0 || n >= sizeof(f->upstream))
				return "upstream is the name of one";
			memcpy(f->upstream, value, n + 1);
		} else if (slice_equal(name, SLICE("older"))) {
			if (!time_read(value, &f->older_ms))
				return "older is a time such as 30s, 500ms, 5m or 2h";
		} else {
			return "write limit=, client=, upstream= or older=";
		}
	}
	return NULL;
}

static bool has_upstream(const struct admin *a, const char *name)
{
	const struct config *c = a->shared->config_versions->current->config;

	for (unsigned i = 0; i < c->upstream_n; i++)
		if (strcmp(c->upstreams[i].name, name) == 0)
			return true;
	return false;
}

void api_connections_get(const struct api_request *q, struct admin_api_response *r)
{
	struct connection_filter filter = { 0 };
	uint64_t limit;
	const char *wrong = query_read(q->head->query, &limit, &filter);
	struct listing *l;

	if (wrong) {
		api_fail(r, 400, wrong);
		return;
	}
	if (!api_may_read(q, r))
		return;
	if (filter.upstream[0] && !has_upstream(q->admin, filter.upstream)) {
		api_fail(r, 404, "there is no upstream of this name");
		return;
	}
	l = listing_begin(q, &rows_source, r);
	if (!l)
		return;
	l->limit = limit;
	l->walk.filter = filter;
	r->chunks = &l->chunks;
}

/* ---- DELETE /api/connections/ID --------------------------------------------------------- */

static void log_closed(const struct listing *l, const struct connection_row *row)
{
	char client[SOCK_TEXT_MAX];

	peer_text(&row->client, client, sizeof(client));
	errorlog_put(EVENT_ADMIN_CHANGE,
		     "the connection of client %s is closed, by the admin API from %s", client,
		     l->closer);
}

static enum chunks_next kill_step(struct listing *l, struct emit *e)
{
	const struct connection_row *row = &l->walk.rows[0];

	if (l->state == LISTING_ASKED)
		return CHUNK_WAIT;
	if (l->state == LISTING_READ && l->walk.row_n > 0) {
		log_closed(l, row);
		emit_slice(e, SLICE("{\"closed\":"));
		put_row(e, l->worker, row);
		emit_slice(e, SLICE("}\n"));
		return CHUNK_END;
	}
	if (listing_go_on(l))
		return CHUNK_WAIT;
	l->chunks.status = 404;
	emit_slice(e, SLICE("{\"error\":\"this connection is not open\"}\n"));
	return CHUNK_END;
}

static enum chunks_next kill_read(struct chunks *c, char *room, size_t size, size_t *n)
{
	struct emit e = { room, room + size, false };
	enum chunks_next next = kill_step(listing_of(c), &e);

	ASSERT(!e.overflow);
	*n = (size_t)(e.at - room);
	return next;
}

/* "WORKER-DESCRIPTOR-COOKIE", as put_id() writes it. */
static bool id_read(const char *text, unsigned *worker, struct connection_filter *f)
{
	unsigned long long cookie;
	int end = -1;

	if (sscanf(text, "%9u-%9d-%16llx%n", worker, &f->fd, &cookie, &end) != 3 || end < 0 ||
	    text[end] != '\0' || f->fd < 0 || cookie == 0)
		return false;
	f->cookie = cookie;
	return true;
}

void api_connection_delete(const struct api_request *q, struct admin_api_response *r)
{
	static const struct chunks_source source = { kill_read, listing_leave };
	struct connection_filter filter = { 0 };
	char id[API_NAME_BYTES];
	struct listing *l;
	unsigned worker;

	if (!api_may_change(q, r))
		return;
	if (!api_name(q->rest, id) || !id_read(id, &worker, &filter)) {
		api_fail(r, 400, "the id is one that GET /api/connections has listed");
		return;
	}
	if (worker >= q->admin->worker_n) {
		api_fail(r, 404, "this connection is not open");
		return;
	}
	l = listing_begin(q, &source, r);
	if (!l)
		return;
	peer_text(&q->client->peer, l->closer, sizeof(l->closer));
	l->worker = worker;
	l->worker_end = worker + 1;
	l->walk.filter = filter;
	l->walk.kill = true;
	r->chunks = &l->chunks;
}
