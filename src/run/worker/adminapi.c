#include "adminapi.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ip.h"
#include "http/path.h"
#include "json.h"
#include "orders.h"
#include "run/version.h"

void api_fail(struct admin_api_response *r, int status, const char *text)
{
	struct emit e = { r->json, r->json + ADMIN_API_BYTES - 1, false };

	json_member(&e, "{\"error\":", slice_of(text));
	emit_slice(&e, SLICE("}\n"));
	ASSERT(!e.overflow);
	*e.at = '\0';
	r->status = status;
}

/* ---- names and numbers --------------------------------------------------------- */

bool api_name(struct slice text, char name[API_NAME_BYTES])
{
	long n = text.len < API_NAME_BYTES ? path_decode(name, text, false) : -1;

	if (n > 0)
		name[n] = '\0';
	return n > 0 && !memchr(name, '\0', (size_t)n);
}

bool api_query_next(struct slice *rest, struct slice *name, char value[API_NAME_BYTES])
{
	const char *end, *is;
	struct slice pair;

	if (rest->len <= 1)
		return false;
	*rest = slice_after(*rest, 1);
	end = memchr(rest->ptr, '&', rest->len);
	pair = (struct slice){ rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len };
	*rest = slice_after(*rest, pair.len);
	is = memchr(pair.ptr, '=', pair.len);
	*name = (struct slice){ pair.ptr, is ? (size_t)(is - pair.ptr) : pair.len };
	value[0] = '\0';
	if (is && !api_name(slice_after(pair, name->len + 1), value))
		value[0] = '\0';
	return true;
}

bool api_number(const char *text, uint64_t max, uint64_t *n)
{
	*n = 0;
	for (; *text >= '0' && *text <= '9' && *n <= max; text++) {
		*n = *n * 10 + (uint64_t)(*text - '0');
		if (text[1] == '\0')
			return *n <= max;
	}
	return false;
}

/* ---- who may do what ----------------------------------------------------------- */

static bool is_local(const struct peer *p)
{
	static const unsigned char one[16] = { [15] = 1 };

	return p->family == AF_UNIX || (p->family == AF_INET && p->addr[0] == 127) ||
	       (p->family == AF_INET6 && memcmp(p->addr, one, sizeof(one)) == 0);
}

/* The host of HOST:PORT, without the brackets of an IPv6 address. */
static struct slice host_of(struct slice authority)
{
	const char *colon = memrchr(authority.ptr, ':', authority.len);
	const char *bracket = memrchr(authority.ptr, ']', authority.len);

	if (authority.len > 0 && authority.ptr[0] == '[' && bracket)
		return (struct slice){ authority.ptr + 1, (size_t)(bracket - authority.ptr) - 1 };
	return (struct slice){ authority.ptr,
			       colon ? (size_t)(colon - authority.ptr) : authority.len };
}

/* No name that somebody else may point to this machine. */
static bool host_is_ours(const struct api_request *q)
{
	struct slice host = host_of(q->head->authority);
	struct ip ip;

	return q->client->peer.family == AF_UNIX || host.len == 0 || ip_parse(&ip, host) ||
	       slice_equal_nocase(host, SLICE("localhost"));
}

static bool is_near(const struct api_request *q, struct admin_api_response *r)
{
	const struct head *h = q->head;

	if (!is_local(&q->client->peer))
		api_fail(r, 403, "this is for clients on this machine");
	else if (head_find_name(h, SLICE("Via")) ||
		 head_find_name(h, SLICE("Forwarded")) ||
		 head_find_name(h, SLICE("X-Forwarded-For")) ||
		 head_find_name(h, SLICE("X-Real-IP")))
		api_fail(r, 403, "this is not for requests that a proxy forwards");
	else
		return true;
	return false;
}

bool api_may_read(const struct api_request *q, struct admin_api_response *r)
{
	if (!is_near(q, r))
		return false;
	if (host_is_ours(q))
		return true;
	api_fail(r, 403, "the host must be an IP address or localhost");
	return false;
}

bool api_may_change(const struct api_request *q, struct admin_api_response *r)
{
	if (!api_may_read(q, r))
		return false;
	if (!head_find_name(q->head, SLICE("Origin")))
		return true;
	api_fail(r, 403, "changes are not for web pages");
	return false;
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

	/* Three strings, the rest of the object, and what follows it. */
	if (e->end - e->at < JSON_STRING_MAX(64 + REGISTRY_NAME_MAX + SOCK_TEXT_MAX) + 160) {
		w->left_out++;
		return;
	}
	json_member(e, w->n++ > 0 ? ",{\"upstream\":" : "{\"upstream\":", slice_of(upstream));
	json_member(e, ",\"server\":", slice_of(server->name));
	json_member(e, ",\"address\":", slice_of(server->address));
	json_member(e, ",\"state\":", slice_of(server_order_text(registry_order(server))));
	emit_slice(e, SLICE("}"));
}

static void status_get(const struct api_request *q, struct admin_api_response *r)
{
	struct admin *a = q->admin;
	struct emit e = { r->json, r->json + ADMIN_API_BYTES - 1, false };
	struct drained_writer w = { .emit = &e };
	const struct config_version *version = a->shared->config_versions->current;

	json_member(&e, "{\"version\":", SLICE(FAIRLEAD_VERSION));
	json_number(&e, ",\"pid\":", (uint64_t)getpid());
	json_number(&e, ",\"workers\":", a->worker_n);
	json_number(&e, ",\"upstreams\":", version->config->upstream_n);
	json_number(&e, ",\"routes\":", version->config->route_n);
	json_flag(&e, ",\"draining\":", a->draining);
	emit_slice(&e, SLICE(",\"drained_servers\":["));
	orders_each(version, put_drained, &w);
	json_number(&e, "],\"drained_servers_left_out\":", w.left_out);
	emit_slice(&e, SLICE("}\n"));
	ASSERT(!e.overflow);
	*e.at = '\0';
	r->status = 200;
}

/* ---- all resources ------------------------------------------------------------- */

static const struct resource {
	struct slice path; /* with a "/" at its end: what follows is part of the request */
	const char *allow;
	void (*get)(const struct api_request *q, struct admin_api_response *r);
	void (*put)(const struct api_request *q, struct admin_api_response *r);
	void (*delete)(const struct api_request *q, struct admin_api_response *r);
} resources[] = {
	{ SLICE("/api/status"), "GET, HEAD", status_get, NULL, NULL },
	{ SLICE("/api/configuration"), "GET, HEAD", api_configuration_get, NULL, NULL },
	{ SLICE("/api/upstreams"), "GET, HEAD", api_upstreams_get, NULL, NULL },
	{ SLICE("/api/upstreams/"), "GET, HEAD, PUT", api_upstreams_get, api_server_put, NULL },
	{ SLICE("/api/connections"), "GET, HEAD", api_connections_get, NULL, NULL },
	{ SLICE("/api/log"), "GET, HEAD, PUT", api_log_get, api_log_put, NULL },
	{ SLICE("/api/connections/"), "DELETE", NULL, NULL, api_connection_delete },
};

static const struct resource *resource_find(struct slice path)
{
	for (size_t i = 0; i < COUNT(resources); i++) {
		const struct resource *found = &resources[i];
		bool begins = found->path.ptr[found->path.len - 1] == '/';

		if (begins ? slice_starts(path, found->path) : slice_equal(path, found->path))
			return found;
	}
	return NULL;
}

void admin_api(struct admin *a, const struct client *c, const struct head *h,
	       struct admin_api_response *r)
{
	const struct resource *found = resource_find(h->path);
	struct api_request q = { a, c, h, { NULL, 0 } };
	void (*respond)(const struct api_request *q, struct admin_api_response *r) = NULL;

	r->allow = "";
	if (!found) {
		api_fail(r, 404,
			 "/api/status, /api/configuration, /api/upstreams, "
			 "/api/connections or /api/log");
		return;
	}
	q.rest = slice_after(h->path, found->path.len);
	if (h->method == METHOD_GET || h->method == METHOD_HEAD)
		respond = found->get;
	else if (h->method == METHOD_PUT)
		respond = found->put;
	else if (h->method == METHOD_DELETE)
		respond = found->delete;
	if (respond) {
		respond(&q, r);
		return;
	}
	r->allow = found->allow;
	api_fail(r, 405, found->allow);
}
