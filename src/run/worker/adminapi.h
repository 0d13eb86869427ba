/* The admin API: JSON over the admin address.
 *
 *   GET    /api/status                              the process, and servers not in full use
 *   GET    /api/configuration                       what is in force, as --print writes it
 *   GET    /api/upstreams[/NAME[/servers/SERVER]]   servers: state, order, weight, counts
 *   PUT    /api/upstreams/NAME/servers/SERVER?state=up|drain|down&weight=N|configured
 *   GET    /api/connections?limit=N&client=NET&upstream=NAME&older=TIME
 *   DELETE /api/connections/ID                      closes one
 *   GET, PUT /api/log[?level=WORD]                  the level of the error log
 *
 * Whoever reaches the admin address may read /api/status, /api/upstreams and /api/log, as
 * /metrics. All else is for clients on this machine, from a loopback address or by a unix socket,
 * without a proxy in between, as far as the proxy's fields show it. A web page may change nothing:
 * its requests have the field Origin, also those to its own host. It may read nothing either, by
 * the browser's rules; and so that no name of a page's choice makes this host its own (DNS
 * rebinding), Host must be an address or localhost.
 *
 * Owner: the control thread. Limits: ADMIN_API_BYTES for a short response. Errors: a status and
 * {"error": TEXT}. */
#ifndef RUN_WORKER_ADMINAPI_H
#define RUN_WORKER_ADMINAPI_H

#include "chunks.h"

#define ADMIN_API_BYTES 8192

/* Longest name in a path or query, decoded, with its NUL. */
#define API_NAME_BYTES 512

struct admin_api_response {
	int status;
	const char *allow; /* for a 405; else empty */
	char *json;        /* ADMIN_API_BYTES */
	struct chunks *chunks; /* a long response in place of these; NULL: none */
};

/* A request to one resource. */
struct api_request {
	struct admin *admin;
	const struct client *client;
	const struct head *head;
	struct slice rest; /* of the path, behind that of the resource */
};

/* The slices of `h` are valid. Its body is not read. */
void admin_api(struct admin *a, const struct client *c, const struct head *h,
	       struct admin_api_response *r);

/* ---- for the resources ------------------------------------------------------- */

void api_fail(struct admin_api_response *r, int status, const char *text);

/* Whether the client may see what is not for everybody, or change something. False: it was told
 * why not. */
bool api_may_read(const struct api_request *q, struct admin_api_response *r) MUST_USE;
bool api_may_change(const struct api_request *q, struct admin_api_response *r) MUST_USE;

/* Percent-decodes a name. False: malformed, empty, or too long. */
bool api_name(struct slice text, char name[API_NAME_BYTES]) MUST_USE;

/* The next NAME=VALUE of a query; *rest begins with the whole query, with its "?". False: it was
 * the last one. A value that cannot be decoded is empty. */
bool api_query_next(struct slice *rest, struct slice *name, char value[API_NAME_BYTES]);

/* A number of at most `max`. False: it is none. */
bool api_number(const char *text, uint64_t max, uint64_t *n) MUST_USE;

/* apiupstreams.c, apiconnections.c, apiconfiguration.c, apilog.c */
void api_upstreams_get(const struct api_request *q, struct admin_api_response *r);
void api_server_put(const struct api_request *q, struct admin_api_response *r);
void api_connections_get(const struct api_request *q, struct admin_api_response *r);
void api_connection_delete(const struct api_request *q, struct admin_api_response *r);
void api_log_get(const struct api_request *q, struct admin_api_response *r);
void api_log_put(const struct api_request *q, struct admin_api_response *r);
void api_configuration_get(const struct api_request *q, struct admin_api_response *r);

#endif
