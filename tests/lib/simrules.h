/* The rules of a sim world: routes that refuse requests, ask a server about them, and change them;
 * and the auth server. A request draws which of these routes it takes, and what will refuse it.
 *
 * What must hold: a request that is refused never reaches an origin, one that the auth server is
 * asked about only behind its 2xx; a refused request gets one response, that of the rule, and no 1xx;
 * what a client claims to be is not passed on.
 *
 * Owner: struct simworld. Whether a run has rules, and all choices here, are not drawn from its
 * random numbers: what the seed draws otherwise is the same. */
#ifndef LIB_SIMRULES_H
#define LIB_SIMRULES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct simworld;
struct sim_request;
struct strbuf;

/* The route that a request takes. */
enum sim_rule {
	SIM_RULE_NONE,
	SIM_RULE_DENY,
	SIM_RULE_ALLOW,
	SIM_RULE_RESPOND,
	SIM_RULE_BASIC,
	SIM_RULE_AUTH,
	SIM_RULE_BOTH, /* basic_auth, then auth_request */
	SIM_RULE_REWRITE,
	SIM_RULE_FIELDS,
	SIM_RULE_PAGES,
	SIM_RULES,
};

enum sim_credentials {
	CREDENTIALS_GOOD,
	CREDENTIALS_WRONG, /* the password of another user */
	CREDENTIALS_OF_NOBODY,
	CREDENTIALS_NONE,
	CREDENTIALS,
};

/* What the auth server says of a request. */
enum sim_answer {
	AUTH_ALLOWS,
	AUTH_ALLOWS_AT_LENGTH, /* behind a 103, with a body */
	AUTH_FORBIDS,
	AUTH_CHALLENGES,
	AUTH_REDIRECTS,
	AUTH_ERROR, /* this one and all behind it: no decision */
	AUTH_LOST_REDIRECT,
	AUTH_BAD_HEAD,
	AUTH_CLOSES,
	AUTH_SILENT,
	AUTH_ANSWERS,
};

/* Of a request. */
struct sim_ruling {
	enum sim_rule rule;
	enum sim_credentials credentials;
	enum sim_answer answer;
	bool forged;     /* it has the fields that the auth server or the proxy writes */
	unsigned asked;  /* how often the auth server was asked about it */
	bool allowed;    /* the auth server has sent a 2xx */
};

void simrules_open(struct simworld *w);
void simrules_close(struct simworld *w);

/* The routes of upstream u, and the upstream of the auth server. */
void simrules_add_routes(struct simworld *w, struct strbuf *x, unsigned u);
void simrules_add_upstream(const struct simworld *w, struct strbuf *x);

void simrules_choose(const struct simworld *w, struct sim_request *r);
void simrules_add_fields(struct strbuf *x, const struct sim_request *r);

/* The letter that the path of a request to an origin begins with. */
char simrules_letter(const struct sim_request *r);

/* The status that a rule responds with; 0: the request goes on. */
int simrules_status(const struct simworld *w, const struct sim_request *r);

/* Of a head that has reached an origin; of one that its client has received, from an origin or not.
 * simworld_fail() if it is not as the rules say. */
void simrules_check_request(struct simworld *w, const struct sim_request *r, struct slice h);
void simrules_check_response(struct simworld *w, const struct sim_request *r, struct slice h,
			     int status, bool origins);

/* Of a response of the proxy itself: a rule explains this status. */
bool simrules_explain(const struct simworld *w, const struct sim_request *r, int status);

#endif
