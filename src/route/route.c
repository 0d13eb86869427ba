#include "route/route.h"

#include "http/path.h"
#include "route/match.h"

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

const struct config_route *route_match(const struct config *c, struct request_view *v,
				       unsigned from)
{
	uint32_t i;

	while ((i = route_index_find(&c->route_index, v->host, v->path, from)) !=
	       ROUTE_INDEX_NONE) {
		const struct config_route *r = &c->routes[i];
		enum match_result result = r->match ? match_test(r->match, v)
						    : MATCH_HOLDS;

		if (result == MATCH_HOLDS)
			return r;
		if (result == MATCH_UNDECIDED) {
			v->undecided = true;
			return NULL;
		}
		from = i + 1;
	}
	return NULL;
}
