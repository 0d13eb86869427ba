/* The options of the rule `auth_request`: read and printed by authkeys.c, used by authrequest.c.
 *
 * Owner: the configuration. */
#ifndef RULES_AUTHREQUEST_H
#define RULES_AUTHREQUEST_H

#include "config/rule.h"

#define AUTH_NAMES_MAX 32

struct auth_names {
	unsigned n;
	struct slice of[AUTH_NAMES_MAX];
};

struct config_auth_request {
	struct config_proxy proxy; /* upstream and host; the path is below */
	struct slice uri;          /* as written: path, perhaps with a query */
	struct slice path, query;  /* parts of it; the query with its "?" */
	uint32_t timeout_ms;
	bool pass_on_error;
	bool sends_all;         /* fields of the client */
	struct auth_names sent; /* otherwise these */
	struct auth_names
		request_fields; /* of an answer, for the request to the server */
	struct auth_names
		response_fields;   /* of an answer, for the response to the client */
	struct config_route route; /* for the fetch: its times, and nothing else */
};

extern const struct section *const auth_request_sections[];

const void *auth_request_read(struct config_reader *r, const struct node *n,
			      struct config_route *route);
void auth_request_print(FILE *out, const struct config *c, const void *options);

#endif
