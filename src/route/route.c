#include "route/route.h"

#include "http/path.h"

void request_view_init(struct request_view *v, const struct head *h, struct slice client,
		       char *scratch)
{
	char *host = scratch + h->path.len;

	*v = (struct request_view){ .head = h, .client = client };
	v->path = (struct slice){ scratch, path_normalize(scratch, h->path) };
	ASSERT(v->path.len <= h->path.len);
	v->host = (struct slice){ host, host_normalize(host, h->authority) };
	ASSERT(v->host.len <= h->authority.len + HOST_GROWTH);
}

/* Whole segments only: "/api" matches "/api/x" but not "/apix". */
static bool prefix_matches(struct slice prefix, struct slice path)
{
	return slice_starts(path, prefix) &&
	       (path.len == prefix.len || prefix.ptr[prefix.len - 1] == '/' ||
		path.ptr[prefix.len] == '/');
}

static bool path_matches(const struct config_route *r, const struct request_view *v)
{
	/* OPTIONS * is about the server as a whole (RFC 9110 9.3.7), as is its absolute
	 * form without a path: only the prefix "/" matches. */
	if (slice_equal(v->path, SLICE("*")))
		return r->prefix && slice_equal(r->path, SLICE("/"));
	return r->prefix ? prefix_matches(r->path, v->path)
			 : slice_equal(r->path, v->path);
}

const struct config_route *route_match(const struct config *c,
				       const struct request_view *v, unsigned from)
{
	for (unsigned i = from; i < c->route_n; i++) {
		const struct config_route *r = &c->routes[i];

		ASSERT(r->path.len > 0);
		if ((r->host.len == 0 || slice_equal(r->host, v->host)) &&
		    path_matches(r, v))
			return r;
	}
	return NULL;
}
