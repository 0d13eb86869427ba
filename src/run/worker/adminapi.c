#include "adminapi.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "drains.h"
#include "http/emit.h"
#include "http/path.h"
#include "run/version.h"

#define NAME_BYTES 512

/* ---- JSON ------------------------------------------------------------------- */

static void json_string(struct emit *e, const char *text)
{
	static const char digits[] = "0123456789abcdef";

	emit_slice(e, SLICE("\""));
	for (; *text; text++) {
		unsigned char b = (unsigned char)*text;
		char escape[6] = { '\\', 'u', '0', '0', digits[b >> 4], digits[b & 15] };

		if (b >= 0x20 && b < 0x7f && b != '"' && b != '\\')
			emit_slice(e, (struct slice){ text, 1 });
		else
			emit_slice(e, (struct slice){ escape, sizeof(escape) });
	}
	emit_slice(e, SLICE("\""));
}

static void json_member(struct emit *e, const char *before, const char *value)
{
	emit_slice(e, slice_of(before));
	json_string(e, value);
}

static void json_number(struct emit *e, const char *before, uint64_t n)
{
	emit_slice(e, slice_of(before));
	emit_number(e, n);
}

static void fail(struct admin_api_response *r, int status, const char *text)
{
	r->status = status;
	snprintf(r->json, ADMIN_API_BYTES, "{\"error\":\"%s\"}\n", text);
}

/* ---- GET /api/status -------------------------------------------------------- */

struct drained_writer {
	struct emit *emit;
	unsigned n, left_out;
};

static void put_drained(void *owner, const char *upstream,
			const struct registry_entry *server)
{
	struct drained_writer *w = owner;
	struct emit *e = w->emit;

	/* Three strings with each octet escaped, the end of the object. */
	if (e->end - e->at < 6 * (64 + REGISTRY_NAME_MAX + SOCK_TEXT_MAX) + 128) {
		w->left_out++;
		return;
	}
	json_member(e, w->n++ > 0 ? ",{\"upstream\":" : "{\"upstream\":", upstream);
	json_member(e, ",\"server\":", server->name);
	json_member(e, ",\"address\":", server->address);
	emit_slice(e, SLICE("}"));
}

static void status_respond(struct admin *a, struct admin_api_response *r)
{
	struct emit e = { r->json, r->json + ADMIN_API_BYTES - 1, false };
	struct drained_writer w = { .emit = &e };
	const struct config_version *version = a->shared->config_versions->current;

	json_member(&e, "{\"version\":", FAIRLEAD_VERSION);
	json_number(&e, ",\"pid\":", (uint64_t)getpid());
	json_number(&e, ",\"workers\":", a->worker_n);
	json_number(&e, ",\"upstreams\":", version->config->upstream_n);
	json_number(&e, ",\"routes\":", version->config->route_n);
	emit_slice(&e, a->draining ? SLICE(",\"draining\":true")
				   : SLICE(",\"draining\":false"));
	emit_slice(&e, SLICE(",\"drained_servers\":["));
	drains_each(version, put_drained, &w);
	json_number(&e, "],\"drained_servers_left_out\":", w.left_out);
	emit_slice(&e, SLICE("}\n"));
	ASSERT(!e.overflow);
	*e.at = '\0';
	r->status = 200;
}

/* ---- PUT /api/upstreams/NAME/servers/SERVER --------------------------------- */

static bool is_local(const struct peer *p)
{
	static const unsigned char one[16] = { [15] = 1 };

	return p->family == AF_UNIX || (p->family == AF_INET && p->addr[0] == 127) ||
	       (p->family == AF_INET6 && memcmp(p->addr, one, sizeof(one)) == 0);
}

/* False: malformed, or too long. */
static bool name_decode(struct slice text, char name[NAME_BYTES])
{
	long n = text.len < NAME_BYTES ? path_decode(name, text, false) : -1;

	if (n > 0)
		name[n] = '\0';
	return n > 0 && !memchr(name, '\0', (size_t)n);
}

/* UPSTREAM/servers/SERVER */
static bool target_split(struct slice rest, char upstream[NAME_BYTES],
			 char server[NAME_BYTES])
{
	static const struct slice between = SLICE("/servers/");
	const char *at = memmem(rest.ptr, rest.len, between.ptr, between.len);
	size_t n = at ? (size_t)(at - rest.ptr) : 0;

	return at && name_decode((struct slice){ rest.ptr, n }, upstream) &&
	       name_decode(slice_after(rest, n + between.len), server);
}

static void server_respond(struct admin *a, const struct client *c, const struct head *h,
			   struct slice rest, struct admin_api_response *r)
{
	bool drain = slice_equal(h->query, SLICE("?state=drain"));
	char upstream[NAME_BYTES], server[NAME_BYTES], peer[SOCK_TEXT_MAX];
	unsigned n;

	if (!drain && !slice_equal(h->query, SLICE("?state=up"))) {
		fail(r, 400, "write ?state=drain or ?state=up");
	} else if (!is_local(&c->peer)) {
		fail(r, 403, "changes are for clients on this machine");
	} else if (head_find_name(h, SLICE("Origin"))) {
		fail(r, 403, "changes are not for web pages");
	} else if (head_find_name(h, SLICE("Via")) ||
		   head_find_name(h, SLICE("Forwarded")) ||
		   head_find_name(h, SLICE("X-Forwarded-For"))) {
		fail(r, 403, "changes are not for requests that a proxy forwards");
	} else if (!target_split(rest, upstream, server)) {
		fail(r, 404, "write /api/upstreams/NAME/servers/SERVER");
	} else {
		n = drains_set(a, upstream, server, drain);
		if (n == 0) {
			fail(r, 404, "no HTTP upstream of this name has such a server");
			return;
		}
		peer_text(&c->peer, peer, sizeof(peer));
		errorlog_put(EVENT_ADMIN_CHANGE,
			     "upstream %s: server %s is %s, by the admin API from %s",
			     upstream, server, drain ? "drained" : "used again", peer);
		r->status = 200;
		snprintf(r->json, ADMIN_API_BYTES, "{\"state\":\"%s\",\"servers\":%u}\n",
			 drain ? "drain" : "up", n);
	}
}

void admin_api(struct admin *a, const struct client *c, const struct head *h,
	       struct admin_api_response *r)
{
	static const struct slice upstreams = SLICE("/api/upstreams/");
	bool reads = h->method == METHOD_GET || h->method == METHOD_HEAD;

	r->allow = "";
	if (slice_equal(h->path, SLICE("/api/status"))) {
		if (reads) {
			status_respond(a, r);
			return;
		}
		r->allow = "GET, HEAD";
		fail(r, 405, "GET or HEAD");
	} else if (!slice_starts(h->path, upstreams)) {
		fail(r, 404, "/api/status or /api/upstreams/NAME/servers/SERVER");
	} else if (h->method == METHOD_PUT) {
		server_respond(a, c, h, slice_after(h->path, upstreams.len), r);
	} else {
		r->allow = "PUT";
		fail(r, 405, "PUT");
	}
}
