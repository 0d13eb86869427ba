/* The request that is explained, as a worker would see it. Owner: the caller; the parts point into
 * each other, so it must not move. */
#ifndef SRC_EXPLAIN_REQUEST_H
#define SRC_EXPLAIN_REQUEST_H

#include "explain/explain.h"
#include "route/route.h"

struct explained {
	char text[EXPLAIN_BYTES_MAX], scratch[EXPLAIN_BYTES_MAX + HOST_GROWTH];
	struct head head;
	enum fault
		fault; /* NONE, or why a worker would refuse it; only `head.line` is then valid */
	struct forwarding_peer peer;
	struct forwarding forwarding;
	struct client_tls tls;
	struct request_view view;
};

/* NULL, or what is wrong with what was given. */
const char *request_make(struct explained *q, const struct config *c,
			 const struct explain_request *r);

#endif
