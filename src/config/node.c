#include "config/node.h"

#include <yaml.h>

#include "alias.h"
#include "base/check.h"

struct yaml_reader {
	yaml_parser_t parser;
	struct arena *memory;
	struct report *report;
	struct slice text;
	unsigned file; /* of report_file() */
	unsigned n;    /* nodes so far */
	struct aliases aliases;
};

static struct source_pos pos_of_mark(const struct yaml_reader *r, yaml_mark_t mark)
{
	return (struct source_pos){ (unsigned)mark.line + 1, (unsigned)mark.column + 1,
				    r->file };
}

/* Remedies for the messages of libyaml; the first row whose text occurs in the message. */
static const struct {
	const char *problem, *remedy;
} remedies[] = {
	{ "UTF-8", "save the file as UTF-8" },
	{ "control characters", "remove the character, or write it as \"\\xNN\"" },
	{ "cannot start any token", "put the value in double quotes; indent with "
				    "spaces, not tabs" },
	{ "mapping values are not allowed",
	  "write one 'key: value' per line, and put values that contain ': ' "
	  "in double quotes" },
	{ "could not find expected ':'", "write 'key: value'" },
	{ "did not find expected ',' or",
	  "close the bracket or brace, separate entries with commas, and "
	  "quote values that contain [ ] { }" },
	{ "did not find expected key",
	  "indent all keys of a section by the same number of spaces" },
	{ "did not find expected '-'", "begin each entry of the list with '- '" },
	{ "did not find expected node content",
	  "put values that begin with [ or { in double quotes, as in \"[::1]:8080\"" },
	{ "alphabetic or numeric",
	  "put values that begin with * or & in double quotes, as in "
	  "\"*.example.org\"" },
	{ "unexpected end of stream", "close the quotes" },
	{ "", "check the quotes, brackets and indentation here and in the lines "
	      "above" },
};

static const char *remedy_for(const char *problem)
{
	size_t i = 0;

	while (!strstr(problem, remedies[i].problem))
		i++;
	return remedies[i].remedy;
}

/* libyaml reports invalid bytes with an offset instead of a mark. */
static struct source_pos pos_of_offset(const struct yaml_reader *r, size_t offset)
{
	struct source_pos at = { 1, 1, r->file };
	struct slice text = r->text;


	for (size_t i = 0; i < offset && i < text.len; i++) {
		if (text.ptr[i] == '\n')
			at = (struct source_pos){ at.line + 1, 1, at.file };
		else if (((unsigned char)text.ptr[i] & 0xc0) != 0x80)
			at.column++;
	}
	return at;
}

/* The character with this index; libyaml counts characters. */
static char character_at(struct slice text, size_t index)
{
	for (size_t i = 0; i < text.len; i++)
		if (((unsigned char)text.ptr[i] & 0xc0) != 0x80 && index-- == 0)
			return text.ptr[i];
	return '\0';
}

/* The remedy for what libyaml says. */
static const char *remedy_of(const struct yaml_reader *r)
{
	const yaml_parser_t *p = &r->parser;

	/* "@" is reserved in YAML. */
	if (p->error == YAML_SCANNER_ERROR &&
	    character_at(r->text, p->problem_mark.index) == '@')
		return "put the name of a group in double quotes, as in \"@NAME\"";
	return remedy_for(p->problem ? p->problem : "");
}

static void syntax_error(struct yaml_reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ? p->problem : "cannot be read as YAML";
	struct source_pos at = p->error == YAML_READER_ERROR
				       ? pos_of_offset(r, p->problem_offset)
				       : pos_of_mark(r, p->problem_mark);

	if (p->context && p->error != YAML_READER_ERROR)
		report_error(r->report, at, "%s %s (line %u); %s", problem, p->context,
			     pos_of_mark(r, p->context_mark).line, remedy_of(r));
	else
		report_error(r->report, at, "%s; %s", problem, remedy_of(r));
}

static bool next_event(struct yaml_reader *r, yaml_event_t *event)
{
	if (yaml_parser_parse(&r->parser, event))
		return true;
	syntax_error(r);
	return false;
}

static struct node *node_new(struct yaml_reader *r, enum node_kind kind, yaml_mark_t mark)
{
	struct node *n = arena_alloc(r->memory, sizeof(*n));

	n->kind = kind;
	n->weight = 1;
	n->at = pos_of_mark(r, mark);
	r->n++;
	return n;
}

static struct node *scalar_new(struct yaml_reader *r, const yaml_event_t *e)
{
	struct node *n = node_new(r, NODE_SCALAR, e->start_mark);
	struct slice text = { (const char *)e->data.scalar.value, e->data.scalar.length };
	yaml_scalar_style_t style = e->data.scalar.style;

	n->end = pos_of_mark(r, e->end_mark);
	n->plain = style == YAML_PLAIN_SCALAR_STYLE;
	n->quoted = style == YAML_SINGLE_QUOTED_SCALAR_STYLE ||
		    style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
	n->text = (struct slice){ arena_text(r->memory, text), text.len };
	return n;
}

static bool refuse_tag(struct yaml_reader *r, const yaml_event_t *e,
		       const yaml_char_t *tag)
{
	if (!tag)
		return false;
	report_error(r->report, pos_of_mark(r, e->start_mark),
		     "YAML tags such as '%.*s' are not supported; remove the tag",
		     REPORT_ARG(slice_of((const char *)tag)));
	return true;
}

static struct node *node_of(struct yaml_reader *r, const yaml_event_t *e, unsigned depth);

void node_append(struct node *parent, struct node *child)
{
	parent->weight += child->weight + (child->key ? child->key->weight : 0);
	if (parent->height <= child->height)
		parent->height = child->height + 1;
	if (parent->last)
		parent->last->next = child;
	else
		parent->children = child;
	parent->last = child;
	parent->child_n++;
}

/* Reads the node that the next event begins. NULL: *end is true, the event ended the list or
 * map; or an error was reported. */
static struct node *read_next(struct yaml_reader *r, unsigned depth, bool *end)
{
	yaml_event_t e;
	struct node *n;

	*end = false;
	if (!next_event(r, &e))
		return NULL;
	*end = e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT;
	n = *end ? NULL : node_of(r, &e, depth);
	yaml_event_delete(&e);
	return n;
}

static bool within_limits(struct yaml_reader *r, const struct node *parent,
			  const struct node *child)
{
	if (parent->child_n > NODE_CHILDREN_MAX)
		report_error(
			r->report, node_pos(child),
			"more than %d entries in one list or map; remove some of them",
			NODE_CHILDREN_MAX);
	else if (r->n > NODES_MAX)
		report_error(
			r->report, node_pos(child),
			"more than %d keys and values in one file; remove some of them",
			NODES_MAX);
	else
		return true;
	return false;
}

static bool is_merge(const struct node *key)
{
	return key->kind == NODE_SCALAR && key->plain && slice_equal(key->text, SLICE("<<"));
}

/* Merged keys come last: the map's own keys take precedence. */
static bool merge_all(struct yaml_reader *r, struct node *map, struct node *values)
{
	for (struct node *next; values; values = next) {
		next = values->next;
		values->next = NULL;
		if (!alias_merge(&r->aliases, map, values))
			return false;
	}
	return map->child_n == 0 || within_limits(r, map, map->last);
}

/* Reads the entries up to the end event. False: an error was reported. */
static bool read_children(struct yaml_reader *r, struct node *parent, unsigned depth)
{
	struct node *merged = NULL, **merges = &merged;

	for (;;) {
		bool end;
		struct node *key = NULL, *n = read_next(r, depth, &end);

		if (!n)
			return end && merge_all(r, parent, merged);
		if (parent->kind == NODE_MAP) {
			key = n;
			n = read_next(r, depth, &end);
			if (!n)
				return false;
			n->key = key;
		}
		if (key && is_merge(key)) {
			*merges = n;
			merges = &n->next;
			continue;
		}
		node_append(parent, n);
		if (!within_limits(r, parent, n))
			return false;
	}
}

static struct node *parent_of(struct yaml_reader *r, const yaml_event_t *e,
			      enum node_kind kind, unsigned depth)
{
	struct node *n = node_new(r, kind, e->start_mark);

	if (depth == NODE_DEPTH_MAX) {
		report_error(
			r->report, n->at,
			"nested more than %d levels deep; check the indentation and the "
			"brackets",
			NODE_DEPTH_MAX);
		return NULL;
	}
	return read_children(r, n, depth + 1) ? n : NULL;
}

static struct slice anchor_of(const yaml_event_t *e)
{
	switch ((int)e->type) {
	case YAML_SCALAR_EVENT:
		return slice_of((const char *)e->data.scalar.anchor);
	case YAML_SEQUENCE_START_EVENT:
		return slice_of((const char *)e->data.sequence_start.anchor);
	case YAML_MAPPING_START_EVENT:
		return slice_of((const char *)e->data.mapping_start.anchor);
	}
	return (struct slice){ NULL, 0 };
}

static struct node *node_begin(struct yaml_reader *r, const yaml_event_t *e,
			       unsigned depth)
{
	switch ((int)e->type) {
	case YAML_SCALAR_EVENT:
		return refuse_tag(r, e, e->data.scalar.tag) ? NULL : scalar_new(r, e);
	case YAML_SEQUENCE_START_EVENT:
		return refuse_tag(r, e, e->data.sequence_start.tag)
			       ? NULL
			       : parent_of(r, e, NODE_LIST, depth);
	case YAML_MAPPING_START_EVENT:
		return refuse_tag(r, e, e->data.mapping_start.tag)
			       ? NULL
			       : parent_of(r, e, NODE_MAP, depth);
	case YAML_ALIAS_EVENT:
		return alias_node(&r->aliases,
				  slice_of((const char *)e->data.alias.anchor),
				  pos_of_mark(r, e->start_mark), depth);
	}
	ASSERT(!"an event that cannot begin a node");
	return NULL;
}

static struct node *node_of(struct yaml_reader *r, const yaml_event_t *e, unsigned depth)
{
	struct node *n = node_begin(r, e, depth);
	struct slice anchor = anchor_of(e);

	if (n && anchor.len > 0 && !alias_anchor(&r->aliases, anchor, n))
		return NULL;
	return n;
}

/* Consumes the next event. True: it has that type. *at: its position. */
static bool skip_event(struct yaml_reader *r, yaml_event_type_t type,
		       struct source_pos *at)
{
	yaml_event_t e;
	bool is;

	if (!next_event(r, &e))
		return false;
	is = e.type == type;
	*at = pos_of_mark(r, e.start_mark);
	yaml_event_delete(&e);
	return is;
}

static struct node *read_document(struct yaml_reader *r)
{
	struct source_pos at;
	struct node *root;
	bool end;
	unsigned errors;

	if (!skip_event(r, YAML_STREAM_START_EVENT, &at) ||
	    !skip_event(r, YAML_DOCUMENT_START_EVENT, &at))
		return NULL;
	root = read_next(r, 0, &end);
	if (!root || !skip_event(r, YAML_DOCUMENT_END_EVENT, &at))
		return NULL;
	errors = r->report->n;
	if (!skip_event(r, YAML_STREAM_END_EVENT, &at)) {
		if (r->report->n == errors)
			report_error(
				r->report, at,
				"a second YAML document begins here; remove it, and write one "
				"document per file");
		return NULL;
	}
	return root;
}

struct node *node_read(struct slice text, unsigned file, struct arena *memory,
		       struct report *report)
{
	static const struct slice bom = SLICE("\xef\xbb\xbf"); /* byte order mark */
	struct yaml_reader r = { .memory = memory,
				 .report = report,
				 .file = file,
				 .aliases = { .memory = memory, .report = report } };
	struct node *root;

	if (slice_starts(text, bom))
		text = slice_after(text, bom.len);
	r.text = text;
	ASSERT(yaml_parser_initialize(&r.parser));
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.ptr,
				     text.len);
	root = read_document(&r);
	yaml_parser_delete(&r.parser);
	return root;
}

bool node_is_null(const struct node *n)
{
	return n->kind == NODE_SCALAR && n->plain &&
	       (n->text.len == 0 || slice_equal(n->text, SLICE("~")) ||
		slice_equal(n->text, SLICE("null")));
}

struct source_pos node_pos(const struct node *n)
{
	return n->key ? n->key->at : n->at;
}

static unsigned characters(struct slice text)
{
	unsigned n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
	return n;
}

struct source_pos node_text_pos(const struct node *n, size_t offset)
{
	unsigned quote = n->quoted ? 1 : 0;
	unsigned written = n->end.column - n->at.column;

	/* With escapes, folding or a block scalar text and file differ. */
	if (n->at.line != n->end.line || (!n->plain && !n->quoted) ||
	    written != characters(n->text) + 2 * quote)
		return n->at;
	return (struct source_pos){
		n->at.line,
		n->at.column + quote + characters((struct slice){ n->text.ptr, offset }),
		n->at.file
	};
}
