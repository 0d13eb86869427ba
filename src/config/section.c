#include "reader.h"

#include "nearest.h"
#include "value.h"

static const char *kind_text(enum node_kind kind)
{
	switch (kind) {
	case NODE_SCALAR:
		return "a single value";
	case NODE_LIST:
		return "a list";
	case NODE_MAP:
		return "a map";
	}
	return "?";
}

const char *node_name(const struct node *n)
{
	return n->key->text.ptr;
}

/* "'key'", or "this" for what has no name. */
static const char *named(struct reader *r, const struct node *n)
{
	if (!n->key || n->key->kind != NODE_SCALAR)
		return "this";
	return arena_format(&r->scratch, "'%.*s'", REPORT_ARG(n->key->text));
}

static void refuse_kind(struct reader *r, const struct node *n, enum node_kind kind,
			const char *form)
{
	if (node_is_null(n))
		report_error(&r->report, node_pos(n), "%s has no value; write %s",
			     named(r, n), form);
	else
		report_error(&r->report, n->at, "%s takes %s, not %s; write %s",
			     named(r, n), kind_text(kind), kind_text(n->kind), form);
}

bool scalar_check(struct reader *r, const struct node *n, const char *form)
{
	bool good = n->kind == NODE_SCALAR && !node_is_null(n);

	if (!good)
		refuse_kind(r, n, NODE_SCALAR, form);
	else if (n->text.len == 0) {
		report_error(&r->report, n->at, "%s is empty; write %s", named(r, n),
			     form);
		good = false;
	}
	return good;
}

const struct node *list_of(struct reader *r, const struct node *n)
{
	struct node *list, *one;

	if (n->kind == NODE_LIST || node_is_null(n))
		return n;
	list = arena_take(&r->scratch, sizeof(*list));
	one = arena_take(&r->scratch, sizeof(*one));
	*one = *n;
	one->key = NULL;
	one->next = NULL;
	*list = (struct node){ .kind = NODE_LIST, .at = n->at, .key = n->key, .next = n->next,
			       .children = one, .last = one, .child_n = 1 };
	return list;
}

bool children_check(struct reader *r, const struct node *n, enum node_kind kind,
		    unsigned max, const char *form)
{
	if (n->kind != kind) {
		refuse_kind(r, n, kind, form);
		return false;
	}
	if (n->child_n == 0) {
		report_error(&r->report, node_pos(n), "%s is empty; write %s",
			     named(r, n), form);
		return false;
	}
	if (n->child_n > max) {
		report_error(&r->report, node_pos(n),
			     "%s has %u entries; write at most %u", named(r, n),
			     n->child_n, max);
		return false;
	}
	return true;
}

const char *template_read(struct reader *r, const struct node *n, const char *form,
			  struct template *t)
{
	struct template_part room[TEMPLATE_PARTS_MAX];
	struct slice text;
	size_t column;
	const char *why;

	if (!scalar_check(r, n, form))
		return NULL;
	text = (struct slice){ arena_text(r->memory, n->text), n->text.len };
	if (template_compile(t, room, text, &column, &why) < 0) {
		report_error(&r->report, node_text_pos(n, column), "%s", why);
		*t = (struct template){ 0 };
		return NULL;
	}
	suspect_template(r, n);
	t->parts = arena_copy(r->memory, room, t->part_n * sizeof(room[0]));
	return text.ptr;
}

static bool is_name(struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
			return false;
	}
	return text.len > 0 && text.len < CONFIG_NAME_MAX;
}

struct taken *name_take(struct reader *r, struct names *all, const struct node *n)
{
	const struct node *key = n->key;
	const struct names_entry *other;
	struct taken *taken;

	if (key->kind != NODE_SCALAR || !is_name(key->text)) {
		report_error(&r->report, key->at,
			     "invalid name; use 1 to %d letters, digits, '_', '-' or '.'",
			     CONFIG_NAME_MAX - 1);
		return NULL;
	}
	other = names_find(all, key->text);
	if (other) {
		report_error(&r->report, key->at,
			     "'%.*s' is already defined on line %u; use another name",
			     REPORT_ARG(key->text),
			     CONTAINER(other, struct taken, entry)->node->key->at.line);
		return NULL;
	}
	taken = arena_take(&r->scratch, sizeof(*taken));
	taken->node = n;
	names_put(all, &taken->entry, key->text);
	return taken;
}

static void refuse_unknown(struct reader *r, const struct node *key, enum section s)
{
	struct nearest near = { .word = key->text };
	char list[512] = "";

	for (size_t i = 0; i < KEYS; i++) {
		size_t n = strlen(list);

		if (keys[i].section != s)
			continue;
		nearest_offer(&near, keys[i].name);
		snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "",
			 keys[i].name.ptr);
	}
	if (near.best.len > 0)
		report_error(&r->report, key->at, "unknown key '%.*s'; write '%.*s'",
			     REPORT_ARG(key->text), REPORT_ARG(near.best));
	else
		report_error(&r->report, key->at,
			     "unknown key '%.*s'; remove it, or use one of %s",
			     REPORT_ARG(key->text), list);
}

/* What to write for a key, as an example. "-" without quotes would begin a list. */
static const char *form_of(struct reader *r, const struct key *k)
{
	const char *value = "TEXT";

	if (k->kind == KIND_NODE)
		value = k->form;
	else if (k->preset && strcmp(k->preset, "-") == 0)
		value = "\"-\"";
	else if (k->preset && k->preset[0] != '\0')
		value = k->preset;
	else if (k->kind == KIND_PATH || k->kind == KIND_URI)
		value = "/PATH";
	return arena_format(&r->scratch, "'%s: %s'", k->name.ptr, value);
}

static void read_pair(struct reader *r, const struct node *n, enum section s, void *into,
		      struct found *found)
{
	const struct key *k;
	const char *fault;

	if (n->key->kind != NODE_SCALAR) {
		report_error(&r->report, n->key->at,
			     "a key must be a word, not %s; write 'key: value'",
			     kind_text(n->key->kind));
		return;
	}
	k = key_find(s, n->key->text);
	if (!k && s == SECTION_top && slice_starts(n->key->text, SLICE("x-")))
		return; /* a source_pos for what aliases stand for */
	if (!k) {
		refuse_unknown(r, n->key, s);
		return;
	}
	if (found->nodes[k - keys]) {
		report_error(&r->report, n->key->at,
			     "'%s' is already set on line %u; remove one of the two",
			     k->name.ptr, found->nodes[k - keys]->key->at.line);
		return;
	}
	found->nodes[k - keys] = n;
	if (k->kind == KIND_NODE || !scalar_check(r, n, form_of(r, k)) ||
	    !suspect_text(r, n, k))
		return;
	fault = value_read(k, n->text, r->memory, into);
	if (fault)
		report_error(&r->report, n->at, "%s", fault);
}

bool section_read(struct reader *r, const struct node *map, enum section s, void *into,
		  struct found *found)
{
	*found = (struct found){ 0 };
	for (size_t i = 0; i < KEYS; i++)
		if (keys[i].section == s)
			value_preset(&keys[i], r->memory, into);
	if (!map)
		return true;
	if (map->kind != NODE_MAP) {
		refuse_kind(r, map, NODE_MAP,
			    "'{ key: value, … }', or its keys indented below it");
		return false;
	}
	for (const struct node *n = map->children; n; n = n->next)
		read_pair(r, n, s, into, found);
	for (size_t i = 0; i < KEYS; i++)
		if (keys[i].section == s && keys[i].required && !found->nodes[i])
			report_error(&r->report, node_pos(map),
				     "'%s' is missing; write %s", keys[i].name.ptr,
				     form_of(r, &keys[i]));
	return true;
}
