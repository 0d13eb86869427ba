/* The rules `request_fields` and `response_fields`: fields removed, set and added.
 *
 * A value is a template. If a variable in it has no value for a request, or the text cannot be the
 * value of a field, nothing is added; what `set` names is removed nevertheless, so that a client
 * cannot send a field that the origin takes for ours: neither in another spelling that CGI reads as
 * the same (http/change.h), nor as a trailer. */
#include "proxy/rule.h"
#include "route/variable.h"

#define FIELDS_MAX 32 /* of a rule */

struct config_field {
	enum field_change_kind kind;
	struct slice name;
	struct template value;
};

struct config_fields {
	unsigned n;
	struct config_field of[FIELDS_MAX]; /* removed, then set, then added */
};

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_REMOVE, KEY_SET, KEY_ADD };

#define FIELDS_KEYS(what)                                                               \
	{                                                                               \
		[KEY_REMOVE] = NODE_ROW(remove, "[NAME, …]", "none",                    \
					"fields of the " what " that are removed"),     \
		[KEY_SET] = NODE_ROW(                                                   \
			set, "{ NAME: TEXT, … }", "none",                               \
			"fields that replace those of the same name; may contain "      \
			"variables. If one of them has no value, or the text cannot "   \
			"be the value of a field, the field is only removed"),          \
		[KEY_ADD] = NODE_ROW(                                                   \
			add, "{ NAME: TEXT or [TEXT, …], … }", "none",                  \
			"fields that are added to those of the same name; may contain " \
			"variables, as in `set`"),                                      \
	}

static const struct key request_keys[] = FIELDS_KEYS("request");
static const struct key response_keys[] = FIELDS_KEYS("response");
static const struct section request_section = { "routes[].request_fields.", request_keys,
						COUNT(request_keys) };
static const struct section response_section = { "routes[].response_fields.",
						 response_keys, COUNT(response_keys) };
static const struct section *const request_sections[] = { &request_section, NULL };
static const struct section *const response_sections[] = { &response_section, NULL };

static bool is_literal(const struct template *t)
{
	return t->part_n == 1 && t->parts[0].variable == VARIABLE_NONE;
}

/* The rule while it is read. */
struct fields_reader {
	struct config_reader *reader;
	struct config_fields *fields;
	bool request, has_variables;
};

/* `n` has the name of a field, at `at`. */
static bool name_check(struct fields_reader *f, const struct node *n)
{
	const char *fault = field_change_fault(n->text, f->request);

	if (fault)
		report_error(reader_report(f->reader), n->at, "%s", fault);
	else if (f->fields->n == FIELDS_MAX)
		report_error(reader_report(f->reader), n->at,
			     "more than %d fields in one rule; remove this one",
			     FIELDS_MAX);
	return !fault && f->fields->n < FIELDS_MAX;
}

static struct config_field *field_new(struct fields_reader *f,
				      enum field_change_kind kind,
				      const struct node *name)
{
	struct config_field *field = &f->fields->of[f->fields->n++];

	field->kind = kind;
	field->name = (struct slice){ arena_text(reader_memory(f->reader), name->text),
				      name->text.len };
	return field;
}

static void removed_read(struct fields_reader *f, const struct node *list)
{
	if (!children_check(f->reader, list, NODE_LIST, FIELDS_MAX, "'remove: [NAME]'"))
		return;
	for (const struct node *n = list->children; n; n = n->next)
		if (scalar_check(f->reader, n, "the name of a field, as in [Server]") &&
		    name_check(f, n))
			field_new(f, FIELD_REMOVE, n);
}

static void value_read(struct fields_reader *f, enum field_change_kind kind,
		       const struct node *name, const struct node *n)
{
	struct template value;

	if (!name_check(f, name) ||
	    !template_read(f->reader, n, "the value of the field", &value))
		return;
	if (is_literal(&value) && !field_value_valid(value.parts[0].text)) {
		report_error(
			reader_report(f->reader), n->at,
			"a field cannot have this value, because of a control character, or "
			"a space at one of its ends; remove it");
		return;
	}
	f->has_variables |= !is_literal(&value);
	field_new(f, kind, name)->value = value;
}

static bool set_already(const struct fields_reader *f, struct slice name)
{
	for (unsigned i = 0; i < f->fields->n; i++)
		if (f->fields->of[i].kind == FIELD_SET &&
		    slice_equal_nocase(f->fields->of[i].name, name))
			return true;
	return false;
}

static void set_read(struct fields_reader *f, const struct node *map)
{
	if (!children_check(f->reader, map, NODE_MAP, FIELDS_MAX,
			    "'set: { NAME: TEXT }'"))
		return;
	for (const struct node *n = map->children; n; n = n->next) {
		if (set_already(f, n->key->text))
			report_error(reader_report(f->reader), n->key->at,
				     "this field is already set; remove one of the two");
		else
			value_read(f, FIELD_SET, n->key, n);
	}
}

static void added_read(struct fields_reader *f, const struct node *map)
{
	static const char form[] = "'add: { NAME: TEXT }'";

	if (!children_check(f->reader, map, NODE_MAP, FIELDS_MAX, form))
		return;
	for (const struct node *n = map->children; n; n = n->next) {
		if (n->kind != NODE_LIST) {
			value_read(f, FIELD_ADD, n->key, n);
			continue;
		}
		if (!children_check(f->reader, n, NODE_LIST, FIELDS_MAX, "a value"))
			continue;
		for (const struct node *one = n->children; one; one = one->next)
			value_read(f, FIELD_ADD, n->key, one);
	}
}

static const void *rule_fields_read(struct fields_reader *f, const struct node *n,
				    const struct section *section)
{
	struct arena *memory = reader_memory(f->reader);
	struct config_fields *fields = arena_alloc(memory, sizeof(*fields));
	struct section_values values;

	f->fields = fields;
	if (!section_read(f->reader, n, section, fields, &values))
		return NULL;
	if (values.of[KEY_REMOVE])
		removed_read(f, values.of[KEY_REMOVE]);
	if (values.of[KEY_SET])
		set_read(f, values.of[KEY_SET]);
	if (values.of[KEY_ADD])
		added_read(f, values.of[KEY_ADD]);
	return arena_copy(memory, fields,
			  offsetof(struct config_fields, of) +
				  fields->n * sizeof(fields->of[0]));
}

static const void *request_read(struct config_reader *r, const struct node *n,
				struct config_route *route)
{
	struct fields_reader f = { .reader = r, .request = true };

	(void)route;
	return rule_fields_read(&f, n, &request_section);
}

static const void *response_read(struct config_reader *r, const struct node *n,
				 struct config_route *route)
{
	struct fields_reader f = { .reader = r };
	const void *fields = rule_fields_read(&f, n, &response_section);

	if (f.has_variables)
		rule_keeps_head(route);
	return fields;
}

/* ---- printing ------------------------------------------------------------------ */

static void print_removed(FILE *out, const struct config_fields *f)
{
	const char *before = "remove: [";

	for (unsigned i = 0; i < f->n; i++) {
		if (f->of[i].kind != FIELD_REMOVE)
			continue;
		if (i == 0)
			print_indent(out, ACTION_DEPTH + 1);
		fprintf(out, "%s\"%.*s\"", before, SLICE_ARG(f->of[i].name));
		before = ", ";
	}
	fputs(f->n > 0 && f->of[0].kind == FIELD_REMOVE ? "]\n" : "", out);
}

static void print_set(FILE *out, const struct config_fields *f)
{
	char key[FIELD_CHANGE_NAME_MAX + sizeof("\"\"")];
	bool begun = false;

	for (unsigned i = 0; i < f->n; i++) {
		if (f->of[i].kind != FIELD_SET)
			continue;
		if (!begun) {
			print_indent(out, ACTION_DEPTH + 1);
			fputs("set:\n", out);
		}
		begun = true;
		print_indent(out, ACTION_DEPTH + 2);
		snprintf(key, sizeof(key), "\"%.*s\"", SLICE_ARG(f->of[i].name));
		print_template(out, key, &f->of[i].value);
	}
}

/* Fields of one name follow each other, and are a list: a map has each name once. */
static void print_added(FILE *out, const struct config_fields *f)
{
	struct slice name = { NULL, 0 };

	for (unsigned i = 0; i < f->n; i++) {
		if (f->of[i].kind != FIELD_ADD)
			continue;
		if (name.len == 0) {
			print_indent(out, ACTION_DEPTH + 1);
			fputs("add:\n", out);
		}
		if (!slice_equal(name, f->of[i].name)) {
			name = f->of[i].name;
			print_indent(out, ACTION_DEPTH + 2);
			fprintf(out, "\"%.*s\":\n", SLICE_ARG(name));
		}
		print_indent(out, ACTION_DEPTH + 3);
		fputs("- ", out);
		print_template_text(out, &f->of[i].value);
	}
}

static void fields_print(FILE *out, const char *key, const struct config_fields *f)
{
	print_indent(out, ACTION_DEPTH);
	fprintf(out, "%s:%s\n", key, f->n > 0 ? "" : " {}");
	print_removed(out, f);
	print_set(out, f);
	print_added(out, f);
}

static void request_print(FILE *out, const struct config *c, const void *options)
{
	(void)c;
	fields_print(out, "request_fields", options);
}

static void response_print(FILE *out, const struct config *c, const void *options)
{
	(void)c;
	fields_print(out, "response_fields", options);
}

/* ---- requests and responses ------------------------------------------------------- */

/* The value for this request, in the text of the list unless it is literal. False: it has none. */
static bool value_expand(const struct template *t, const struct request_view *view,
			 struct field_changes *c, struct slice *value)
{
	long n;

	if (is_literal(t)) {
		*value = t->parts[0].text;
		return true;
	}
	if (!view)
		return false;
	n = variable_expand(t, view, c->text.at, (size_t)(c->text.end - c->text.at));
	if (n < 0)
		return false;
	*value = slice_trim((struct slice){ c->text.at, (size_t)n });
	c->text.at += n;
	return field_value_valid(*value);
}

/* False: not all of the changes fit. */
static bool fields_change(const struct config_fields *f, const struct request_view *view,
			  struct field_changes *c)
{
	bool fits = true;

	for (const struct config_field *field = f->of; field < f->of + f->n; field++) {
		struct slice value;
		bool has_value = field->kind != FIELD_REMOVE &&
				 value_expand(&field->value, view, c, &value);

		if (!has_value && field->kind != FIELD_ADD)
			fits &= field_remove(c, field->name);
		else if (has_value && field->kind == FIELD_SET)
			fits &= field_set(c, field->name, value);
		else if (has_value)
			fits &= field_add(c, field->name, value);
	}
	return fits;
}

static bool request_change(const struct rule_use *u, const struct request_view *view,
			   struct request_changes *c)
{
	if (fields_change(u->options, view, c->fields))
		return true;
	/* What is not removed could be a claim of the client. */
	exchange_fail(u->exchange, ENDING_NO_MEMORY);
	return false;
}

static void response_change(const struct rule_use *u, const struct request_view *view,
			    const struct head *h, struct field_changes *c)
{
	(void)h;
	fields_change(u->options, view, c);
}

static bool names_has(const struct config_fields *f, struct slice name,
		      bool (*same)(struct slice a, struct slice b))
{
	for (const struct config_field *field = f->of; field < f->of + f->n; field++)
		if (field->kind != FIELD_ADD && same(field->name, name))
			return true;
	return false;
}

static bool request_hides_trailer(const void *options, struct slice name, bool of_request)
{
	return of_request && names_has(options, name, field_names_alike);
}

static bool response_hides_trailer(const void *options, struct slice name,
				   bool of_request)
{
	return !of_request && names_has(options, name, slice_equal_nocase);
}

const struct rule rule_request_fields = {
	.config = {
		.key = NODE_ROW(request_fields, "{ remove: …, set: …, add: … }", "none",
				"rule, `proxy` only: fields of the request to the upstream that "
				"are removed, set and added, in this order"),
		.sections = request_sections,
		.of_proxy = true,
		.read = request_read,
		.print = request_print,
	},
	.request = request_change,
	.hides_trailer = request_hides_trailer,
};

const struct rule rule_response_fields = {
	.config = {
		.key = NODE_ROW(response_fields, "{ remove: …, set: …, add: … }", "none",
				"rule: fields of the response that are removed, set and added, "
				"in this order; of every response of the route, also of "
				"fairlead's own"),
		.sections = response_sections,
		.read = response_read,
		.print = response_print,
	},
	.response = response_change,
	.hides_trailer = response_hides_trailer,
};
