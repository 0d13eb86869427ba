#include "explain/explain.h"

#include <stdlib.h>

#include "condition.h"
#include "config/action.h"
#include "config/rule.h"
#include "request.h"
#include "route/variable.h"

/* Most routes with another host or path that are listed. */
#define OTHERS_MAX 20

static void route_print(FILE *out, const struct config_route *r)
{
	if (r->file)
		fprintf(out, "  %s line %u: ", r->file, r->line);
	else
		fprintf(out, "  line %u: ", r->line);
	fprintf(out, "%s %.*s", r->prefix ? "prefix" : "path", SLICE_ARG(r->path));
	for (unsigned i = 0; i < r->host_n && i < 3; i++)
		fprintf(out, "%s%s%.*s", i > 0 ? ", " : " of ",
			r->hosts[i].ptr[0] == '.' ? "*" : "", SLICE_ARG(r->hosts[i]));
	fputs(r->host_n > 3 ? ", …: " : ": ", out);
}

/* ---- routes ------------------------------------------------------------------- */

/* True: an index of the routes of this host and path. */
static bool is_candidate(const struct config *c, const struct request_view *v, uint32_t i)
{
	return route_index_find(&c->route_index, v->host, v->path, i) == i;
}

static bool has_host(const struct config *c, const struct request_view *v,
		     const struct config_route *r)
{
	/* The same route without its path: "/" is a prefix of all. */
	struct config_route any = *r;
	struct route_index x;
	struct arena memory = { 0 };
	bool found;

	(void)c;
	any.path = SLICE("/");
	any.prefix = true;
	route_index_build(&x, &any, 1, &memory);
	found = route_index_find(&x, v->host, SLICE("/"), 0) == 0;
	arena_free(&memory);
	return found;
}

static void other_print(FILE *out, const struct config *c, const struct request_view *v,
			const struct config_route *r)
{
	route_print(out, r);
	fprintf(out, "no, another %s\n", has_host(c, v, r) ? "path" : "host");
}

/* Says why a route of this host and path does not match. */
static void failed_print(FILE *out, const struct config_route *r,
			 const struct request_view *v,
			 const struct config_condition *failed)
{
	route_print(out, r);
	fputs(match_test(r->match, v) == MATCH_UNDECIDED
		      ? "undecided, a regular expression gave up: "
		      : "no, it needs: ",
	      out);
	condition_print(out, failed, v);
	fputc('\n', out);
}

static bool is_https(const struct request_view *v)
{
	return slice_equal_nocase(v->forwarding->proto, SLICE("https")) ||
	       slice_equal_nocase(v->forwarding->proto, SLICE("wss"));
}

static bool is_redirect(const struct config_route *r)
{
	return slice_equal(r->action->key.name, SLICE("redirect"));
}

/* The route that is taken. NULL: none, or undecided (v->undecided). */
static const struct config_route *routes_explain(FILE *out, const struct config *c,
						 struct request_view *v, uint32_t from)
{
	unsigned others = 0;

	for (uint32_t i = from; i < c->route_n; i++) {
		const struct config_route *r = &c->routes[i];
		const struct config_condition *failed;

		if (!is_candidate(c, v, i)) {
			if (others++ < OTHERS_MAX)
				other_print(out, c, v, r);
			continue;
		}
		failed = r->match ? match_failed(r->match, v) : NULL;
		if (failed) {
			failed_print(out, r, v, failed);
			v->undecided = match_test(r->match, v) == MATCH_UNDECIDED;
			if (v->undecided)
				return NULL;
			continue;
		}
		route_print(out, r);
		if (is_redirect(r) && r->passes_on && is_https(v)) {
			fputs("passed on, since the request came by https\n", out);
			continue;
		}
		fputs("taken\n", out);
		if (others > OTHERS_MAX)
			fprintf(out,
				"  and %u routes before it that have another host or path\n",
				others - OTHERS_MAX);
		return r;
	}
	return NULL;
}

/* ---- what is done ---------------------------------------------------------------- */

static void value_of_print(FILE *out, const struct template *t,
			   const struct request_view *v)
{
	char text[4096];
	long n = variable_expand(t, v, text, sizeof(text));

	if (n == -1)
		fputs("a variable has no value in this request, so at random", out);
	else
		fprintf(out, "the value is '%.*s'", n < 0 ? 0 : (int)n, text);
}

static void split_print(FILE *out, const struct config *c, const struct config_proxy *p,
			const struct request_view *v)
{
	const struct config_split *s = p->split;
	struct slice value;

	fputs("upstream: one of", out);
	for (unsigned i = 0; i < s->part_n; i++)
		fprintf(out, "%s %s (%.1f %%)", i > 0 ? "," : "",
			c->upstreams[s->parts[i].upstream].name,
			100.0 * s->parts[i].weight / s->weights);
	if (s->by.part_n > 0) {
		fputs(", by split_by: ", out);
		value_of_print(out, &s->by, v);
	} else if (p->split_cookie[0] != '\0') {
		bool has = variable_value(VARIABLE_COOKIE, slice_of(p->split_cookie), v,
					  NULL, 0, &value);

		fprintf(out, ", by the cookie %s, which the request %s", p->split_cookie,
			has ? "has" : "does not have, so at random");
	} else {
		fputs(", at random", out);
	}
	fputc('\n', out);
}

static void servers_print(FILE *out, const struct config_upstream *u)
{
	for (unsigned i = 0; i < u->server_n; i++) {
		const struct config_server *s = &u->servers[i];

		fprintf(out, "  %s%s%s: weight %u, %u address%s%s\n", s->name,
			s->name != s->address ? " " : "",
			s->name != s->address ? s->address : "", s->weight, s->address_n,
			s->address_n == 1 ? "" : "es", s->backup ? ", backup" : "");
	}
}

static void upstream_print(FILE *out, const struct config_upstream *u,
			   const struct request_view *v)
{
	static const char *const ways[] = {
		[CONFIG_ROUND_ROBIN] = "the next one in turn, by weight",
		[CONFIG_LEAST_CONNECTIONS] = "the least busy one, by weight",
		[CONFIG_RANDOM] = "the less busy of two at random",
		[CONFIG_HASH] = "by hash: ",
	};
	struct slice value;

	fprintf(out, "server of '%s': ", u->name);
	if (u->sticky.on && variable_value(VARIABLE_COOKIE, slice_of(u->sticky.cookie), v,
					   NULL, 0, &value))
		fprintf(out,
			"the one that the cookie %s names, if it is available; else ",
			u->sticky.cookie);
	fputs(ways[u->balance], out);
	if (u->balance == CONFIG_HASH)
		value_of_print(out, &u->hash, v);
	fputs(u->sticky.on ? "; then the cookie is set\n" : "\n", out);
	servers_print(out, u);
	fputs("  Which of them are up, ejected or full is known only at run time.\n",
	      out);
}

static void rules_print(FILE *out, const struct config *c, const struct config_route *r)
{
	if (!r->rules)
		return;
	fputs("rules, in this order:\n", out);
	for (unsigned i = 0; i < r->rules->n; i++)
		r->rules->of[i].rule->print(out, c, r->rules->of[i].options);
}

static void taken_print(FILE *out, const struct config *c, const struct config_route *r,
			struct request_view *v)
{
	v->route = r;
	rules_print(out, c, r);
	fputs("action:\n", out);
	r->action->print(out, c, r);
	if (!r->action->has_policy)
		return;
	if (r->proxy->split)
		split_print(out, c, r->proxy, v);
	for (unsigned i = 0; r->proxy->split && i < r->proxy->split->part_n; i++)
		upstream_print(out, &c->upstreams[r->proxy->split->parts[i].upstream], v);
	if (!r->proxy->split)
		upstream_print(out, &c->upstreams[r->proxy->upstream], v);
}

static void explain_view(const struct config *c, struct request_view *v, FILE *out)
{
	const struct config_route *r;
	uint32_t from = 0;

	fprintf(out, "client %.*s, host %.*s, path %.*s\nroutes:\n", SLICE_ARG(v->client),
		SLICE_ARG(v->host), SLICE_ARG(v->path));
	while ((r = routes_explain(out, c, v, from))) {
		taken_print(out, c, r, v);
		from = (uint32_t)(r - c->routes) + 1;
		if (!r->passes_on || is_redirect(r))
			return;
		fputs("if there is no value, further routes:\n", out);
	}
	fputs(v->undecided ? "response: 400\n" : "response: 404, no route\n", out);
}

const char *explain(const struct config *c, const struct explain_request *r, FILE *out)
{
	struct explained *q = calloc(1, sizeof(*q));
	const char *wrong;

	ASSERT(q);
	wrong = request_make(q, c, r);
	if (!wrong)
		fprintf(out, "%s %s\n", r->method, r->url);
	if (!wrong && q->fault != FAULT_NONE)
		fprintf(out, "refused before a route is looked for: %d, %s\n",
			fault_status(q->fault), fault_text(q->fault));
	else if (!wrong)
		explain_view(c, &q->view, out);
	free(q);
	return wrong;
}
