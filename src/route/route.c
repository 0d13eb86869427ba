#include "route/route.h"

#include "http/path.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Without ":PORT", which stands behind the bracket of an IPv6 address. */
static struct slice without_port(struct slice authority)
{
	size_t n = authority.len;

	while (n > 0 && authority.ptr[n - 1] >= '0' && authority.ptr[n - 1] <= '9')
		n--;
	if (n > 0 && authority.ptr[n - 1] == ':')
		authority.len = n - 1;
	return authority;
}

void request_view_init(struct request_view *v, const struct head *h, struct slice client,
		       char *scratch)
{
	struct slice host = without_port(h->authority);
	char *lowered;

	*v = (struct request_view){ .head = h, .client = client };
	v->path = (struct slice){ scratch, path_normalize(scratch, h->path) };
	ASSERT(v->path.len <= h->path.len);
	lowered = scratch + v->path.len;
	for (size_t i = 0; i < host.len; i++)
		lowered[i] = lower(host.ptr[i]);
	v->host = (struct slice){ lowered, host.len };
}

/* A prefix ends where a segment ends: "/api" is none of "/apix". */
static bool prefix_matches(struct slice prefix, struct slice path)
{
	return slice_starts(path, prefix) &&
	       (path.len == prefix.len || prefix.ptr[prefix.len - 1] == '/' ||
		path.ptr[prefix.len] == '/');
}

static bool path_matches(const struct config_route *r, const struct request_view *v)
{
	/* OPTIONS * asks about the server as a whole (RFC 9110 9.3.7), and so does an absolute
	 * form of it that has no path. */
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
