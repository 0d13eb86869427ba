/* The options of the rule `basic_auth`: read and printed by basickeys.c, used by basicauth.c.
 *
 * Owner: the configuration. */
#ifndef RULES_BASICAUTH_H
#define RULES_BASICAUTH_H

#include "config/rule.h"
#include "users.h"

struct config_basic_auth {
	struct users users;
	const char *file; /* as written */
	struct slice realm;
	struct slice challenge; /* the value of WWW-Authenticate */
	bool forward;           /* Authorization goes on to the server */
	uint32_t cache_ms;      /* 0: off */
};

extern const struct section *const basic_auth_sections[];

const void *basic_auth_read(struct config_reader *r, const struct node *n,
			    struct config_route *route);
void basic_auth_print(FILE *out, const struct config *c, const void *options);

/* The verifier of the process, for tests. */
struct verifier *basic_auth_verifier(void);

#endif
