#include "reading.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- /metrics ------------------------------------------------------------------ */

static bool is_named(const struct sample *s, const char *prefix, const char *name)
{
	size_t n = strlen(prefix), m = strlen(name);

	return s->name.len == n + m && memcmp(s->name.ptr, prefix, n) == 0 &&
	       memcmp(s->name.ptr + n, name, m) == 0;
}

static void add_sum(struct reading *r, const struct sample *s)
{
#define X(field, family, label, text)                                                          \
	if (is_named(s, "", family) && (!(label) || sample_has(s, (label) ? (label) : "", text))) \
		r->field += s->value;
	READING_SUMS(X)
#undef X
	if (is_named(s, "", "tls_handshakes_total") && sample_has(s, "side", "listener") &&
	    sample_has(s, "resumed", "true"))
		r->resumed += s->value;
	if (is_named(s, "", "request_seconds_bucket"))
		buckets_add(&r->request_seconds, s);
}

static bool is_row(const struct row_reading *row, const char *upstream, const char *server,
		   const char *address)
{
	return strcmp(row->upstream, upstream) == 0 && strcmp(row->server, server) == 0 &&
	       strcmp(row->address, address) == 0;
}

static bool rows_grow(struct reading *r)
{
	unsigned max = r->row_max > 0 ? 2 * r->row_max : 64;
	struct row_reading *rows = realloc(r->rows, max * sizeof(rows[0]));

	if (!rows)
		return false;
	r->rows = rows;
	r->row_max = max;
	return true;
}

/* Families have their samples in the same order: *at is where the last one was. NULL: no memory. */
static struct row_reading *row_of(struct reading *r, const struct sample *s, unsigned *at)
{
	struct row_reading like = { .health = -1 };

	if (!sample_label(s, "upstream", like.upstream, sizeof(like.upstream)))
		return NULL;
	sample_label(s, "server", like.server, sizeof(like.server));
	sample_label(s, "address", like.address, sizeof(like.address));
	for (unsigned i = 0; i < r->row_n; i++, *at = *at + 1 < r->row_n ? *at + 1 : 0)
		if (*at < r->row_n &&
		    is_row(&r->rows[*at], like.upstream, like.server, like.address))
			return &r->rows[*at];
	if (r->row_n == r->row_max && !rows_grow(r))
		return NULL;
	*at = r->row_n;
	r->rows[r->row_n] = like;
	return &r->rows[r->row_n++];
}

static void add_to_row(struct row_reading *row, const struct sample *s, const char *prefix)
{
#define X(field, family)               \
	if (is_named(s, prefix, family)) \
		row->field += s->value;
	ROW_SUMS(X)
#undef X
	if (is_named(s, prefix, "latency_seconds_bucket") ||
	    (is_named(s, prefix, "phase_seconds_bucket") && row->server[0] &&
	     sample_has(s, "phase", "response")))
		buckets_add(&row->latency, s);
	if (is_named(s, prefix, "state"))
		*(sample_has(s, "state", "up")	      ? &row->up
		  : sample_has(s, "state", "ejected") ? &row->ejected
						      : &row->down) += s->value;
	if (is_named(s, "health_", "up"))
		row->health = s->value;
}

void reading_metrics(struct reading *r, char *text)
{
	static const struct slice prefixes[] = { SLICE("upstream_"), SLICE("server_"),
						 SLICE("health_up") };
	struct slice rest = slice_of(text);
	struct sample s;
	unsigned at = 0;

	while (sample_next(&rest, &s)) {
		const struct slice *prefix = NULL;
		struct row_reading *row;

		for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
			if (slice_starts(s.name, prefixes[i]))
				prefix = &prefixes[i];
		row = prefix ? row_of(r, &s, &at) : NULL;
		if (row)
			add_to_row(row, &s, prefix->ptr);
		else if (!prefix)
			add_sum(r, &s);
	}
}

/* ---- /api/connections ------------------------------------------------------------- */

/* A string of one line of the answer: octets that may not stand in a terminal are "?". */
static void read_text(const char *line, size_t n, const char *name, char *to, size_t size)
{
	char member[32];
	int length = snprintf(member, sizeof(member), "\"%s\":\"", name);
	const char *at = memmem(line, n, member, (size_t)length), *end = line + n;
	size_t out = 0;

	for (at = at ? at + length : end; at < end && *at != '"' && out + 1 < size; at++) {
		unsigned code = (unsigned char)*at;

		if (*at == '\\' && end - at > 5) {
			sscanf(at + 2, "%4x", &code);
			at += 5;
		}
		to[out++] = code >= ' ' && code < 0x7f ? (char)code : '?';
	}
	to[out] = '\0';
}

static double member_number(const char *line, size_t n, const char *name)
{
	char member[32];
	int length = snprintf(member, sizeof(member), "\"%s\":", name);
	const char *at = memmem(line, n, member, (size_t)length);

	return at ? strtod(at + length, NULL) : 0;
}

static void read_connection(struct connection_reading *c, const char *line, size_t n)
{
	char upstream[64], server[64];

	*c = (struct connection_reading){ .for_ms = member_number(line, n, "for_ms"),
					  .received = member_number(line, n, "received_bytes"),
					  .sent = member_number(line, n, "sent_bytes") };
	read_text(line, n, "client", c->client, sizeof(c->client));
	read_text(line, n, "state", c->state, sizeof(c->state));
	read_text(line, n, "request", c->request, sizeof(c->request));
	read_text(line, n, "upstream", upstream, sizeof(upstream));
	read_text(line, n, "server", server, sizeof(server));
	snprintf(c->where, sizeof(c->where), "%s%s%s", upstream, server[0] ? " " : "", server);
}

static int compare_age(const void *a, const void *b)
{
	double d = ((const struct connection_reading *)b)->for_ms -
		   ((const struct connection_reading *)a)->for_ms;

	return d > 0 ? 1 : d < 0 ? -1 : 0;
}

/* Each connection is a line of its own. */
void reading_connections(struct reading *r, const char *text)
{
	unsigned max = 0;

	for (const char *at = text; (at = strstr(at, "\n{\"id\":")); at++)
		max++;
	r->connections_list = calloc(max + 1, sizeof(r->connections_list[0]));
	if (!r->connections_list)
		return;
	for (const char *at = text; (at = strstr(at, "\n{\"id\":")); at++)
		read_connection(&r->connections_list[r->connection_n++], at + 1,
				strcspn(at + 1, "\n"));
	qsort(r->connections_list, r->connection_n, sizeof(r->connections_list[0]), compare_age);
}

/* ---- rows ---------------------------------------------------------------------------- */

const struct row_reading *reading_row(const struct reading *r, const struct row_reading *like,
				      unsigned hint)
{
	if (hint < r->row_n &&
	    is_row(&r->rows[hint], like->upstream, like->server, like->address))
		return &r->rows[hint];
	for (unsigned i = 0; i < r->row_n; i++)
		if (is_row(&r->rows[i], like->upstream, like->server, like->address))
			return &r->rows[i];
	return NULL;
}

void reading_free(struct reading *r)
{
	free(r->rows);
	free(r->connections_list);
	*r = (struct reading){ .at_s = 0 };
}
