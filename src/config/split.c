/* `split` of a proxy action: requests are divided between upstreams. */
#include "reader.h"

#define FORM "'split: [{ upstream: NAME, weight: 90 }, { upstream: NAME, weight: 10 }]'"

static void parts_read(struct config_reader *r, const struct node *list,
		       struct config_proxy *p, struct config_split *split)
{
	struct section_values values;

	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, CONFIG_SPLIT_MAX, FORM))
		return;
	split->parts = arena_alloc(r->memory, list->child_n * sizeof(split->parts[0]));
	for (const struct node *n = list->children; n; n = n->next) {
		struct config_split_part *part = &split->parts[split->part_n++];

		if (section_read(r, n, &section_split, part, &values))
			part->upstream = upstream_find(r, values.of[KEY_split_upstream],
						       CONFIG_HTTP);
		split->weights += part->weight;
	}
	p->upstream = split->parts[0].upstream;
	if (split->weights == 0)
		report_error(
			&r->report, node_pos(list),
			"all weights are 0; write 'weight: 1' for one upstream at least");
}

static void keys_check(struct config_reader *r, const struct section_values *values)
{
	const struct node *by = values->of[KEY_proxy_split_by],
			  *cookie = values->of[KEY_proxy_split_cookie];

	if (by && cookie)
		report_error(&r->report, cookie->key->at,
			     "'split_by' decides already; remove one of the two");
	if (cookie && cookie->kind == NODE_SCALAR)
		(void)cookie_name_check(r, cookie);
}

static void unsplit_check(struct config_reader *r, const struct node *map,
			  const struct section_values *values)
{
	static const enum key_id of_split[] = { KEY_proxy_split_by,
						KEY_proxy_split_cookie };

	if (!values->of[KEY_proxy_upstream])
		report_error(&r->report, node_pos(map),
			     "'upstream' is missing; write 'upstream: NAME'");
	for (size_t i = 0; i < COUNT(of_split); i++)
		if (values->of[of_split[i]])
			report_error(&r->report, values->of[of_split[i]]->key->at,
				     "'%s' has no effect without 'split'; remove it",
				     node_name(values->of[of_split[i]]));
}

void split_read(struct config_reader *r, const struct node *map,
		const struct section_values *values, struct config_proxy *p)
{
	const struct node *n = values->of[KEY_proxy_split];
	struct config_split *split;

	if (!n) {
		unsplit_check(r, map, values);
		return;
	}
	if (values->of[KEY_proxy_upstream])
		report_error(
			&r->report, n->key->at,
			"a proxy has either 'upstream' or 'split'; remove one of the two");
	split = arena_alloc(r->memory, sizeof(*split));
	p->split = split;
	parts_read(r, n, p, split);
	keys_check(r, values);
	if (values->of[KEY_proxy_split_by])
		(void)template_read(r, values->of[KEY_proxy_split_by], "'split_by: TEXT'",
				    &split->by);
}
