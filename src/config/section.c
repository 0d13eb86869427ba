#include "reader.h"

#include <inttypes.h>

#include "config/nearest.h"
#include "value.h"

struct arena *reader_memory(struct config_reader *r)
{
	return r->memory;
}

struct report *reader_report(struct config_reader *r)
{
	return &r->report;
}

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

/* "'key'", or "this" for a node without a key. */
static const char *node_label(struct config_reader *r, const struct node *n)
{
	if (!n->key || n->key->kind != NODE_SCALAR)
		return "this";
	return arena_format(&r->scratch, "'%.*s'", REPORT_ARG(n->key->text));
}

static void report_wrong_kind(struct config_reader *r, const struct node *n,
			      enum node_kind kind, const char *form)
{
	if (node_is_null(n))
		report_error(&r->report, node_pos(n), "%s has no value; write %s",
			     node_label(r, n), form);
	else
		report_error(&r->report, n->at, "%s takes %s, not %s; write %s",
			     node_label(r, n), kind_text(kind), kind_text(n->kind), form);
}

bool scalar_check(struct config_reader *r, const struct node *n, const char *form)
{
	bool good = n->kind == NODE_SCALAR && !node_is_null(n);

	if (n->refused)
		return false;
	if (!good)
		report_wrong_kind(r, n, NODE_SCALAR, form);
	else if (n->text.len == 0) {
		report_error(&r->report, n->at, "%s is empty; write %s", node_label(r, n),
			     form);
		good = false;
	}
	return good;
}

const struct node *list_of(struct config_reader *r, const struct node *n)
{
	struct node *list, *one;

	if (n->kind == NODE_LIST || node_is_null(n))
		return n;
	list = arena_alloc(&r->scratch, sizeof(*list));
	one = arena_alloc(&r->scratch, sizeof(*one));
	*one = *n;
	one->key = NULL;
	one->next = NULL;
	*list = (struct node){ .kind = NODE_LIST,
			       .at = n->at,
			       .key = n->key,
			       .next = n->next,
			       .children = one,
			       .last = one,
			       .child_n = 1,
			       .inherited = n->inherited };
	return list;
}

bool children_check(struct config_reader *r, const struct node *n, enum node_kind kind,
		    unsigned max, const char *form)
{
	if (n->kind != kind) {
		report_wrong_kind(r, n, kind, form);
		return false;
	}
	if (n->child_n == 0) {
		report_error(&r->report, node_pos(n), "%s is empty; write %s",
			     node_label(r, n), form);
		return false;
	}
	if (n->child_n > max) {
		report_error(&r->report, node_pos(n),
			     "%s has %u entries; write at most %u", node_label(r, n),
			     n->child_n, max);
		return false;
	}
	return true;
}

void variable_noted(struct config_reader *r, enum variable v)
{
	if (v == VARIABLE_TLS_JA4)
		r->config->uses_ja4 = true;
}

/* Appends the parts of a piece of the text. */
static bool template_parts_add(struct template *t, struct template_part *parts,
			       struct slice piece, bool log, size_t *column,
			       const char **why)
{
	struct template_part more[TEMPLATE_PARTS_MAX];
	struct template add;

	if ((log ? template_compile_log : template_compile)(&add, more, piece, column,
							    why) < 0)
		return false;
	*why = "more than 16 variables and pieces of text; shorten it";
	if (t->part_n + add.part_n > TEMPLATE_PARTS_MAX)
		return false;
	for (unsigned i = 0; i < add.part_n; i++)
		parts[t->part_n++] = more[i];
	return true;
}

/* What a reference stands for is text, whatever it is. */
static bool template_parts_read(struct config_reader *r, const struct node *n,
				struct slice text, bool log, struct template *t,
				struct template_part *parts, size_t *column,
				const char **why)
{
	struct template_part *part;
	size_t at = 0;

	*t = (struct template){ .parts = parts };
	for (const struct node_reference *ref = n->references; ref; ref = ref->next) {
		if (!template_parts_add(t, parts,
					(struct slice){ text.ptr + at, ref->at - at },
					log, column, why) ||
		    t->part_n == TEMPLATE_PARTS_MAX)
			return false;
		at = ref->at + ref->len;
		if (ref->len == 0)
			continue;
		part = &parts[t->part_n++];
		*part = (struct template_part){ VARIABLE_NONE,
						{ text.ptr + ref->at, ref->len } };
		reference_keep(r, arena_text(r->memory, ref->written), part->text.ptr);
	}
	return template_parts_add(t, parts, slice_after(text, at), log, column, why);
}

static const char *any_template_read(struct config_reader *r, const struct node *n,
				     const char *form, bool log, struct template *t)
{
	struct template_part parts[TEMPLATE_PARTS_MAX];
	struct slice text;
	const char *why;
	size_t column;

	if (!scalar_check(r, n, form))
		return NULL;
	text = (struct slice){ arena_text(r->memory, n->text), n->text.len };
	if (!template_parts_read(r, n, text, log, t, parts, &column, &why)) {
		report_error(&r->report, node_text_pos(n, column), "%s", why);
		*t = (struct template){ 0 };
		return NULL;
	}
	if (!n->references)
		suspect_template(r, n);
	for (unsigned i = 0; i < t->part_n; i++)
		variable_noted(r, parts[i].variable);
	t->parts = arena_copy(r->memory, parts, t->part_n * sizeof(parts[0]));
	return text.ptr;
}

const char *template_read(struct config_reader *r, const struct node *n, const char *form,
			  struct template *t)
{
	return any_template_read(r, n, form, false, t);
}

const char *log_template_read(struct config_reader *r, const struct node *n,
			      const char *form, struct template *t)
{
	return any_template_read(r, n, form, true, t);
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

bool name_define_as(struct config_reader *r, struct names *all, const struct node *n,
		    struct defined_name *name)
{
	const struct node *key = n->key;
	const struct names_entry *other;

	if (key->kind != NODE_SCALAR || !is_name(key->text)) {
		report_error(&r->report, key->at,
			     "invalid name; use 1 to %d letters, digits, '_', '-' or '.'",
			     CONFIG_NAME_MAX - 1);
		return false;
	}
	other = names_find(all, key->text);
	if (other) {
		report_error(&r->report, key->at,
			     "'%.*s' is already defined on %s; use another name",
			     REPORT_ARG(key->text),
			     report_line(&r->report,
					 CONTAINER(other, struct defined_name, entry)
						 ->node->key->at,
					 key->at));
		return false;
	}
	name->node = n;
	names_put(all, &name->entry, key->text);
	return true;
}

struct defined_name *name_define(struct config_reader *r, struct names *all,
				 const struct node *n)
{
	struct defined_name *name = arena_alloc(&r->scratch, sizeof(*name));

	return name_define_as(r, all, n, name) ? name : NULL;
}

static void report_unknown_key(struct config_reader *r, const struct node *key,
			       const struct section *s)
{
	struct nearest near = { .word = key->text };
	const struct key *k;
	char list[512] = "";

	for (size_t i = 0; (k = section_key(s, i)); i++) {
		size_t n = strlen(list);

		nearest_offer(&near, k->name);
		snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", k->name.ptr);
	}
	if (near.best.len > 0)
		report_error(&r->report, key->at, "unknown key '%.*s'; write '%.*s'",
			     REPORT_ARG(key->text), REPORT_ARG(near.best));
	else
		report_error(&r->report, key->at,
			     "unknown key '%.*s'; remove it, or use one of %s",
			     REPORT_ARG(key->text), list);
}

/* An example of a key with a value. "-" without quotes would begin a list. */
static const char *key_example(struct config_reader *r, const struct key *k)
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
	else if (k->kind == KIND_COUNT)
		value = arena_format(&r->scratch, "%" PRIu64, k->min);
	return arena_format(&r->scratch, "'%s: %s'", k->name.ptr, value);
}

/* The index of the key in the section; that of NULL: it has no such key. */
static size_t key_find(const struct section *s, struct slice name)
{
	const struct key *k;
	size_t i = 0;

	while ((k = section_key(s, i)) && !slice_equal(k->name, name))
		i++;
	return i;
}

static void read_pair(struct config_reader *r, const struct node *n,
		      const struct section *s, void *into, struct section_values *values)
{
	const struct key *k;
	const char *fault;
	size_t index;

	if (n->key->kind != NODE_SCALAR) {
		report_error(&r->report, n->key->at,
			     "a key must be a word, not %s; write 'key: value'",
			     kind_text(n->key->kind));
		return;
	}
	index = key_find(s, n->key->text);
	k = section_key(s, index);
	if (!k && s == &section_top && slice_starts(n->key->text, SLICE("x-")))
		return; /* a place for the anchors of aliases */
	if (!k) {
		report_unknown_key(r, n->key, s);
		return;
	}
	if (values->of[index]) {
		report_error(
			&r->report, n->key->at,
			"'%s' is already set on %s; remove one of the two", k->name.ptr,
			report_line(&r->report, values->of[index]->key->at, n->key->at));
		return;
	}
	values->of[index] = n;
	if (k->kind == KIND_NODE || !scalar_check(r, n, key_example(r, k)) ||
	    !suspect_text(r, n, k))
		return;
	if (n->references)
		reference_keep(r, node_written(r, n), (const char *)into + k->offset);
	fault = value_read(k, n->text, r->memory, into);
	if (fault && n->references)
		report_error(
			&r->report, n->at,
			"what this stands for is no value of '%s'; write it here to see why",
			k->name.ptr);
	else if (fault)
		report_error(&r->report, n->at, "%s", fault);
}

bool section_read(struct config_reader *r, const struct node *map,
		  const struct section *s, void *into, struct section_values *values)
{
	const struct key *k;

	*values = (struct section_values){ 0 };
	for (size_t i = 0; i < s->row_n; i++)
		value_preset(&s->rows[i], r->memory, into);
	if (!map)
		return true;
	if (map->kind != NODE_MAP) {
		report_wrong_kind(r, map, NODE_MAP,
				  "'{ key: value, … }', or its keys indented below it");
		return false;
	}
	for (const struct node *n = map->children; n; n = n->next)
		read_pair(r, n, s, into, values);
	for (size_t i = 0; (k = section_key(s, i)); i++)
		if (k->required && !values->of[i])
			report_error(&r->report, node_pos(map),
				     "'%s' is missing; write %s", k->name.ptr,
				     key_example(r, k));
	return true;
}
