#include "lib/simrules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/simworld.h"
#include "proxy/rule.h"

#define RESPOND_STATUS 410
#define USERS "tests/sim/users"
#define PAGE "tests/sim/page.html"

/* Of users and passwords in USERS. */
static const char *const credentials[CREDENTIALS] = {
	[CREDENTIALS_GOOD] = "YW5uOmEgc2VjcmV0",  /* ann:a secret */
	[CREDENTIALS_WRONG] = "YW5uOmFub3RoZXI=", /* ann:another, which is that of bob */
	[CREDENTIALS_OF_NOBODY] = "ZXZlOmEgc2VjcmV0", /* eve:a secret */
};

static const char *const names[SIM_RULES] = {
	[SIM_RULE_NONE] = "none",     [SIM_RULE_DENY] = "deny",
	[SIM_RULE_ALLOW] = "allow",   [SIM_RULE_RESPOND] = "respond",
	[SIM_RULE_BASIC] = "basic",   [SIM_RULE_AUTH] = "auth",
	[SIM_RULE_BOTH] = "both",     [SIM_RULE_REWRITE] = "rewrite",
	[SIM_RULE_FIELDS] = "fields", [SIM_RULE_PAGES] = "pages",
};

/* ---- what is chosen ------------------------------------------------------------ */

enum { CHOICE_RULED = 2000, CHOICE_PASSES, CHOICE_REFUSES, CHOICE_PERMITS };

/* Numbers of choices for requests are those behind it. */
#define CHOICE_REQUESTS 5000
#define CHOICES_PER_REQUEST 4

static bool has_rules(const struct simworld *w)
{
	return simworld_choice(w, CHOICE_RULED, 3) == 0;
}

/* Without a decision of the auth server requests go on. Only where each request must succeed:
 * elsewhere its refusal may be lost. */
static bool passes_on_error(const struct simworld *w)
{
	return simworld_must_succeed(w) && simworld_choice(w, CHOICE_PASSES, 2) == 0;
}

static bool server_refuses(const struct simworld *w)
{
	return w->faults.faulty_origins && simworld_choice(w, CHOICE_REFUSES, 6) == 0;
}

/* Some requests take the routes without rules, and most have the right password. */
void simrules_choose(const struct simworld *w, struct sim_request *r)
{
	uint32_t number = CHOICE_REQUESTS + r->id * CHOICES_PER_REQUEST;
	unsigned rule = simworld_choice(w, number, SIM_RULES + 4);
	bool silent = !simworld_must_succeed(w);

	if (!has_rules(w) || r->goal != GOAL_ORIGIN || r->bad_head || rule >= SIM_RULES)
		return;
	r->ruling.rule = (enum sim_rule)rule;
	r->ruling.credentials = (enum sim_credentials)simworld_choice(w, number + 1,
								      CREDENTIALS + 2);
	if (r->ruling.credentials >= CREDENTIALS)
		r->ruling.credentials = CREDENTIALS_GOOD;
	r->ruling.answer = (enum sim_answer)simworld_choice(
		w, number + 2, silent ? AUTH_ANSWERS : AUTH_SILENT);
	r->ruling.forged = simworld_choice(w, number + 3, 2) == 0;
	/* These routes have no retries. */
	if (rule != SIM_RULE_NONE)
		r->first_n = 0;
}

char simrules_letter(const struct sim_request *r)
{
	return r->ruling.rule == SIM_RULE_REWRITE ? 'r' : 'u';
}

static bool asks_user(const struct sim_request *r)
{
	return r->ruling.rule == SIM_RULE_BASIC || r->ruling.rule == SIM_RULE_BOTH;
}

static bool asks_server(const struct sim_request *r)
{
	return r->ruling.rule == SIM_RULE_AUTH || r->ruling.rule == SIM_RULE_BOTH;
}

static int answer_status(const struct simworld *w, enum sim_answer answer)
{
	switch (answer) {
	case AUTH_ALLOWS:
	case AUTH_ALLOWS_AT_LENGTH:
		return 0;
	case AUTH_FORBIDS:
		return 403;
	case AUTH_CHALLENGES:
		return 401;
	case AUTH_REDIRECTS:
		return 302;
	case AUTH_ERROR:
	case AUTH_LOST_REDIRECT:
	case AUTH_BAD_HEAD:
	case AUTH_CLOSES:
	case AUTH_SILENT:
	case AUTH_ANSWERS:
		break;
	}
	return passes_on_error(w) ? 0 : 503;
}

int simrules_status(const struct simworld *w, const struct sim_request *r)
{
	const struct sim_ruling *ruling = &r->ruling;

	if (ruling->rule == SIM_RULE_DENY)
		return 403;
	if (ruling->rule == SIM_RULE_RESPOND)
		return RESPOND_STATUS;
	if (asks_user(r) && ruling->credentials != CREDENTIALS_GOOD)
		return 401;
	return asks_server(r) ? answer_status(w, ruling->answer) : 0;
}

/* ---- configuration --------------------------------------------------------------- */

static void add_auth_request(const struct simworld *w, struct strbuf *x)
{
	strbuf_addf(x,
		    ", auth_request: { upstream: auth, path: \"/auth?q\", timeout: %s, "
		    "on_error: %s, request_fields: [X-Auth-User], "
		    "response_fields: [X-Auth-Note] }",
		    simworld_must_succeed(w) ? "3000s" : "700ms",
		    passes_on_error(w) ? "pass" : "refuse");
}

static void add_rule(const struct simworld *w, struct strbuf *x, enum sim_rule rule,
		     unsigned u)
{
	switch (rule) {
	case SIM_RULE_DENY:
		strbuf_addf(x, ", deny: [0.0.0.0/0], allow: [0.0.0.0/0]");
		break;
	case SIM_RULE_ALLOW:
		strbuf_addf(x, ", allow: [127.0.0.0/8, 192.0.2.7], deny: [192.0.2.8]");
		break;
	case SIM_RULE_BASIC:
	case SIM_RULE_BOTH:
		strbuf_addf(x, ", basic_auth: { users: " USERS ", cache: %s }",
			    w->seed % 2 ? "1s" : "off");
		if (rule == SIM_RULE_BOTH)
			add_auth_request(w, x);
		break;
	case SIM_RULE_AUTH:
		add_auth_request(w, x);
		break;
	case SIM_RULE_REWRITE:
		strbuf_addf(x,
			    ", rewrite: { strip: /r%u, add: /u%u }, rewrite_location: on, "
			    "rewrite_cookies: { http_only: on }",
			    u, u);
		break;
	case SIM_RULE_FIELDS:
		strbuf_addf(x, ", request_fields: { remove: [X-Rule], "
			       "set: { X-Path: \"${path}\" } }, response_fields: { "
			       "remove: [Server], set: { X-Path: \"${path}\" } }");
		break;
	case SIM_RULE_PAGES:
		strbuf_addf(x, ", error_pages: { 5xx: " PAGE " }");
		break;
	case SIM_RULE_NONE:
	case SIM_RULE_RESPOND:
	case SIM_RULES:
		break;
	}
}

void simrules_add_routes(struct simworld *w, struct strbuf *x, unsigned u)
{
	if (!has_rules(w))
		return;
	for (enum sim_rule rule = SIM_RULE_DENY; rule < SIM_RULES; rule++) {
		strbuf_addf(
			x,
			rule == SIM_RULE_REWRITE
				? "  - { prefix: /r%u/"
				: "  - { prefix: /u%u/, match: { header: { X-Rule: %s } }",
			u, names[rule]);
		if (rule == SIM_RULE_RESPOND)
			strbuf_addf(x, ", respond: { status: %d, body: gone }",
				    RESPOND_STATUS);
		else
			strbuf_addf(x, ", proxy: { upstream: u%u }", u);
		add_rule(w, x, rule, u);
		simworld_add_key_limits(w, x, u);
		if (w->half_close)
			strbuf_addf(x, ", half_close: allow");
		strbuf_addf(x, " }\n");
	}
}

void simrules_add_upstream(const struct simworld *w, struct strbuf *x)
{
	if (!has_rules(w))
		return;
	strbuf_addf(x,
		    "  auth:\n    servers: [127.0.0.1:%u]\n    queue: 1000\n"
		    "    queue_timeout: 300s\n    connect_timeout: %s\n",
		    SIMWORLD_AUTH_PORT, simworld_must_succeed(w) ? "20s" : "200ms");
	if (simworld_choice(w, CHOICE_PERMITS, 2))
		strbuf_addf(x, "    requests: 2\n");
}

/* ---- clients --------------------------------------------------------------------- */

void simrules_add_fields(struct strbuf *x, const struct sim_request *r)
{
	const struct sim_ruling *ruling = &r->ruling;

	if (ruling->rule != SIM_RULE_NONE)
		strbuf_addf(x, "X-Rule: %s\r\n", names[ruling->rule]);
	if (asks_user(r) && ruling->credentials != CREDENTIALS_NONE)
		strbuf_addf(x, "Authorization: Basic %s\r\n",
			    credentials[ruling->credentials]);
	if (ruling->forged && ruling->rule != SIM_RULE_NONE)
		strbuf_addf(x, "X-Auth-User: root\r\nx_auth_user: root\r\n"
			       "X-Original-URI: /\r\nX-Path: /\r\n");
}

static bool field_is_number(struct slice h, const char *name, uint32_t number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	return wire_is(h, name, text) && !wire_field(h, name, 1).ptr;
}

static bool field_is_path(struct slice h, const char *name, const struct sim_request *r)
{
	char text[32];

	snprintf(text, sizeof(text), "/u%u/%u", r->upstream, r->id);
	return wire_is(h, name, text) && !wire_field(h, name, 1).ptr;
}

bool simrules_explain(const struct simworld *w, const struct sim_request *r, int status)
{
	/* The origin's 503, with a page. */
	if (r->ruling.rule == SIM_RULE_PAGES && r->response == RESPONSE_BUSY &&
	    status == 503)
		return true;
	return simrules_status(w, r) == status;
}

static void check_refusal(struct simworld *w, const struct sim_request *r, struct slice h,
			  int status)
{
	bool good = true;

	if (asks_user(r) && r->ruling.credentials != CREDENTIALS_GOOD)
		good = status != 401 ||
		       slice_starts(wire_field(h, "WWW-Authenticate", 0), SLICE("Basic"));
	else if (asks_server(r) && (status == 401 || status == 403 || status == 302))
		good = field_is_number(h, "X-Auth-Note", r->id);
	if (!good)
		simworld_fail(w, "request %u gets another refusal", r->id);
}

/* Location and cookie of the origin, if it has sent them, lead back to the route. */
static void check_rewritten(struct simworld *w, const struct sim_request *r,
			    struct slice h)
{
	char location[32], cookie[48];

	snprintf(location, sizeof(location), "/r%u/%u?x", r->upstream, r->id);
	snprintf(cookie, sizeof(cookie), "a=/u%u; Path=/r%u; HttpOnly", r->upstream,
		 r->upstream);
	if (wire_has(h, "Location") &&
	    (!wire_is(h, "Location", location) || !wire_is(h, "Set-Cookie", cookie)))
		simworld_fail(w, "the response to %u leads elsewhere", r->id);
}

void simrules_check_response(struct simworld *w, const struct sim_request *r,
			     struct slice h, int status, bool origins)
{
	int refused = simrules_status(w, r);

	if (refused && (origins || status < 200))
		simworld_fail(w, "request %u is refused, and gets status %d", r->id,
			      status);
	if (refused)
		check_refusal(w, r, h, status);
	if (origins && r->ruling.rule == SIM_RULE_FIELDS &&
	    (!field_is_path(h, "X-Path", r) || wire_has(h, "Server")))
		simworld_fail(w, "the response to %u has other fields", r->id);
	if (origins && r->ruling.rule == SIM_RULE_REWRITE)
		check_rewritten(w, r, h);
	if (origins && r->ruling.allowed && !field_is_number(h, "X-Auth-Note", r->id))
		simworld_fail(w, "the response to %u lacks a field of the auth server",
			      r->id);
	if (r->ruling.rule == SIM_RULE_PAGES && status >= 500 &&
	    simworld_must_succeed(w) && !wire_is(h, "Content-Type", "text/html"))
		simworld_fail(w, "the response to %u has no page", r->id);
}

/* ---- origins --------------------------------------------------------------------- */

static void check_claims(struct simworld *w, const struct sim_request *r, struct slice h)
{
	if (wire_has(h, "x_auth_user") || wire_field(h, "X-Auth-User", 1).ptr ||
	    (r->ruling.allowed && !field_is_number(h, "X-Auth-User", r->id)) ||
	    (!r->ruling.allowed && wire_has(h, "X-Auth-User")))
		simworld_fail(w, "request %u reaches an origin with a forged user",
			      r->id);
}

void simrules_check_request(struct simworld *w, const struct sim_request *r,
			    struct slice h)
{
	if (simrules_status(w, r))
		simworld_fail(w, "request %u reaches an origin, and is refused", r->id);
	if (asks_server(r) && !r->ruling.allowed && !passes_on_error(w))
		simworld_fail(w, "request %u reaches an origin before it is allowed",
			      r->id);
	if (asks_user(r) && wire_has(h, "Authorization"))
		simworld_fail(w, "request %u reaches an origin with its password", r->id);
	if (asks_server(r))
		check_claims(w, r, h);
	if (r->ruling.rule == SIM_RULE_FIELDS &&
	    (wire_has(h, "X-Rule") || !field_is_path(h, "X-Path", r)))
		simworld_fail(w, "request %u reaches an origin with other fields", r->id);
}

/* ---- the auth server -------------------------------------------------------------- */

static struct sim_request *request_asked_about(struct simworld *w, struct slice h)
{
	struct slice uri = wire_field(h, "X-Original-URI", 0);
	struct sim_request *r;
	unsigned upstream, id;
	char text[32];

	snprintf(text, sizeof(text), "%.*s", (int)uri.len, uri.ptr ? uri.ptr : "");
	if (!slice_equal(wire_line(h), SLICE("GET /auth?q HTTP/1.1")) ||
	    wire_field(h, "X-Original-URI", 1).ptr ||
	    sscanf(text, "/u%u/%u", &upstream, &id) != 2 || id >= w->request_n)
		simworld_fail(w, "the auth server gets the head %.*s", (int)h.len, h.ptr);
	r = &w->requests[id];
	if (r->upstream != upstream || !asks_server(r) ||
	    !wire_is(h, "X-Original-Method", sim_request_method(r)) ||
	    wire_has(h, "Content-Length") || wire_has(h, "Transfer-Encoding"))
		simworld_fail(w, "the auth server gets a wrong request about %u", id);
	if (asks_user(r) && r->ruling.credentials != CREDENTIALS_GOOD)
		simworld_fail(w, "the auth server is asked about %u, which is refused",
			      id);
	/* An idle connection that was closed loses it once. */
	if (++r->ruling.asked > 2)
		simworld_fail(w, "the auth server is asked about %u again and again", id);
	return r;
}

static void auth_send(struct sim_peer *p, const char *status, const struct sim_request *r,
		      const char *fields, unsigned body)
{
	struct strbuf x = { 0 };

	strbuf_addf(&x,
		    "HTTP/1.1 %s\r\nX-Auth-User: %u\r\nX-Auth-Note: %u\r\n%s"
		    "Content-Length: %u\r\n\r\n%.*s",
		    status, r->id, r->id, fields, body, (int)body, "0123456789");
	sim_peer_send(p, (struct slice){ x.data, x.len });
	free(x.data);
}

/* False: no further request is read. */
static bool auth_answer(struct sim_peer *p, struct sim_request *r)
{
	struct strbuf x = { 0 };

	p->pause_ms = r->id % 4 == 0 ? 1 + r->id % 20 : 0;
	switch (r->ruling.answer) {
	case AUTH_ALLOWS:
		r->ruling.allowed = true;
		auth_send(p, "200 OK", r, "", 0);
		return true;
	case AUTH_ALLOWS_AT_LENGTH:
		r->ruling.allowed = true;
		sim_peer_send_text(p, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
		strbuf_addf(&x,
			    "HTTP/1.1 200 OK\r\nX-Auth-User: %u\r\nX-Auth-Note: %u\r\n"
			    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			    r->id, r->id);
		sim_peer_send(p, (struct slice){ x.data, x.len });
		free(x.data);
		return true;
	case AUTH_FORBIDS:
		auth_send(p, "403 Forbidden", r, "", 10);
		return true;
	case AUTH_CHALLENGES:
		auth_send(p, "401 Unauthorized", r, "WWW-Authenticate: Other\r\n", 3);
		return true;
	case AUTH_REDIRECTS:
		auth_send(p, "302 Found", r, "Location: /login\r\n", 0);
		return true;
	case AUTH_ERROR:
		auth_send(p, "500 Error", r, "", 7);
		return true;
	case AUTH_LOST_REDIRECT:
		auth_send(p, "302 Found", r, "", 2);
		return true;
	case AUTH_BAD_HEAD:
		auth_send(p, "200 OK", r, "Transfer-Encoding: chunked\r\n", 2);
		return false;
	case AUTH_CLOSES:
		sim_peer_close(p);
		return false;
	case AUTH_SILENT:
	case AUTH_ANSWERS:
		break;
	}
	return false;
}

/* A reused connection is closed just as a request arrives; once for each request. */
static bool auth_closes_reused(struct simworld *w, struct sim_peer *p,
			       const struct sim_request *r)
{
	bool reused = p->step++ > 0;

	if (!reused || r->ruling.asked > 1 || (w->seed + r->id) % 5 > 0)
		return false;
	p->cuts_off = r->id % 2;
	sim_peer_close(p);
	return true;
}

static bool auth_read_request(struct sim_peer *p)
{
	struct simworld *w = p->owner;
	struct slice h =
		wire_head((struct slice){ p->in + p->in_used, p->in_n - p->in_used });
	struct sim_request *r;

	if (p->fd < 0 || h.len == 0)
		return false;
	if (wire_head_fault(h))
		simworld_fail(w, "the auth server gets a head with %s",
			      wire_head_fault(h));
	r = request_asked_about(w, h);
	p->in_used += h.len;
	simworld_log(w, "the auth server is asked about %u: %d", r->id, r->ruling.answer);
	if (!auth_closes_reused(w, p, r) && auth_answer(p, r))
		return true;
	p->on_input = NULL;
	return false;
}

static void auth_on_input(struct sim_peer *p)
{
	struct simworld *w = p->owner;

	simworld_hash_bytes(w,
			    (struct slice){ p->in + p->in_used, p->in_n - p->in_used });
	while (auth_read_request(p))
		;
	if (sim_peer_finished(p) && p->fd >= 0)
		sim_peer_close(p);
}

void simrules_open(struct simworld *w)
{
	if (!has_rules(w))
		return;
	ASSERT(rules_open(true));
	if (server_refuses(w))
		return;
	sim_server_open(&w->auth, &w->sim, SIMWORLD_AUTH_PORT, auth_on_input, w);
	if (simworld_secures(w, w->upstream_n + 2))
		w->auth.tls = w->server_context;
}

void simrules_close(struct simworld *w)
{
	if (has_rules(w))
		rules_close();
}
