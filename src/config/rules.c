#include "config/rule.h"

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
