#include "config/rule.h"

#include <endian.h>
#include <stdlib.h>

#include "base/hash.h"
#include "printmatch.h"
#include "reader.h"

void rule_keeps_head(struct config_route *route)
{
	route->rules->keeps_head = true;
}

bool config_has_threads(const struct config *c)
{
	for (unsigned i = 0; i < c->route_n; i++)
		for (unsigned k = 0; c->routes[i].rules && k < c->routes[i].rules->n; k++)
			if (c->routes[i].rules->of[k].rule->has_threads)
				return true;
	return false;
}

static unsigned rules_written(const struct section_values *values)
{
	const struct node *const *of = values->of + section_route.row_n + actions_count();
	unsigned n = 0;

	for (size_t i = 0; config_rules[i]; i++)
		n += of[i] ? 1 : 0;
	return n;
}

static const void *rule_read(struct config_reader *r, const struct config_rule *rule,
			     const struct node *n, struct config_route *route)
{
	if (!rule->of_proxy || route->action->has_policy)
		return rule->read(r, n, route);
	if (!n->inherited)
		report_error(&r->report, n->key->at,
			     "'%s' has no effect without 'proxy'; remove it", node_name(n));
	return NULL;
}

void rules_read(struct config_reader *r, const struct section_values *values,
		struct config_route *route)
{
	const struct node *const *of = values->of + section_route.row_n + actions_count();
	unsigned max = rules_written(values);
	struct config_rules *rules;

	if (max == 0)
		return;
	rules = arena_alloc(r->memory, sizeof(*rules) + max * sizeof(rules->of[0]));
	route->rules = rules;
	for (size_t i = 0; config_rules[i]; i++) {
		const void *options = of[i] ? rule_read(r, config_rules[i], of[i], route)
					    : NULL;

		if (options)
			rules->of[rules->n++] = (struct config_rule_use){ config_rules[i],
									  options };
	}
	if (rules->n == 0)
		route->rules = NULL;
}

/* ---- identity ------------------------------------------------------------------ */

/* With its length, so that no two lists of texts are the same bytes. */
static uint64_t hash_text(uint64_t hash, struct slice text)
{
	const uint64_t n = htole64(text.len);

	hash = hash_bytes(hash, (struct slice){ (const char *)&n, sizeof(n) });
	return hash_bytes(hash, text);
}

static uint64_t hash_names(uint64_t hash, const struct node *key)
{
	if (key->kind == NODE_SCALAR)
		return hash_text(hash, key->text);
	for (const struct node *n = key->children; n; n = n->next)
		hash = hash_text(hash, n->text);
	return hash;
}

static uint64_t hash_match(uint64_t hash, const struct config_match *match)
{
	size_t n = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &n);

	ASSERT(out);
	print_match(out, match, 0);
	ASSERT(fclose(out) == 0);
	hash = hash_text(hash, (struct slice){ text, n });
	free(text);
	return hash;
}

static uint64_t hash_route(uint64_t hash, const struct config_route *route, bool hosts)
{
	for (unsigned i = 0; hosts && i < route->host_n; i++)
		hash = hash_text(hash, route->hosts[i]);
	hash = hash_text(hash, route->prefix ? SLICE("prefix") : SLICE("path"));
	hash = hash_text(hash, route->path);
	if (route->match)
		hash = hash_match(hash, route->match);
	return hash_text(hash, route->action->key.name);
}

uint64_t rule_identity(const struct node *n, const struct config_route *route)
{
	uint64_t hash = hash_text(HASH_BEGIN, n->key->text);

	if (n->names)
		hash = hash_names(hash, n->names);
	if (!n->inherited)
		hash = hash_route(hash, route, !n->names);
	return hash_mix(hash);
}
