/* The admin API: JSON over the admin address.
 *
 *   GET /api/status                                              the process, and drained servers
 *   PUT /api/upstreams/NAME/servers/SERVER?state=drain|up        no new requests for a server, or
 *                                                                again
 *
 * Whoever is on this machine may change something: a client from a loopback address or a unix
 * socket. A request that a web page has made (it has the field Origin) may not, so that no page in
 * an operator's browser can.
 *
 * A drained server gets no new requests as long as another one can take them, and completes those
 * that it has. What was drained stays so over reloads, as long as the server is in the file, and is
 * forgotten with the worker process.
 *
 * Owner: the control thread. Limits: ADMIN_API_BYTES for a response. Errors: a status and
 * {"error": TEXT}. */
#ifndef RUN_WORKER_ADMINAPI_H
#define RUN_WORKER_ADMINAPI_H

#include "run/worker/admin.h"

#define ADMIN_API_BYTES 8192

struct admin_api_response {
	int status;
	const char *allow; /* for a 405; else empty */
	char *json;        /* ADMIN_API_BYTES */
};

/* The slices of `h` are valid. Its body is not read. */
void admin_api(struct admin *a, const struct client *c, const struct head *h,
	       struct admin_api_response *r);

#endif
