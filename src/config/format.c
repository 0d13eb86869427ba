#include "config/format.h"

#include <stdlib.h>
#include <yaml.h>

#include "config/node.h"

#define STEP 2       /* columns of a level */
#define DEPTH_MAX 64 /* lists and maps, of which a file may have NODE_DEPTH_MAX */

enum line_kind {
	LINE_BLANK,
	LINE_COMMENT,
	LINE_PLACED, /* begins with a part whose column is known */
	LINE_INSIDE, /* of a value or bracket that began above: moves with that line */
	LINE_KEPT, /* likewise, where blank lines and trailing spaces are part of the value */
};

struct line {
	struct slice text; /* without the line end */
	enum line_kind kind;
	unsigned from, to; /* LINE_PLACED: columns, as it is and as it will be */
	unsigned dashes;   /* of lists, at its beginning */
	unsigned rest;     /* column of what follows the dashes */
	unsigned begin;    /* LINE_INSIDE, LINE_KEPT: the line that it belongs to */
};

/* A list or map in block style that is open. */
struct open_block {
	unsigned to; /* its new column */
	bool map,
		implied; /* implied: a list in the column of its key, which has no token */
};

struct layout {
	struct line *lines;
	unsigned line_n;
	struct open_block blocks[DEPTH_MAX];
	unsigned block_n;
	unsigned brackets;      /* that are open */
	unsigned bracket_begin; /* the line of the outermost */
	bool too_deep;
};

/* ---- lines --------------------------------------------------------------------- */

static struct slice trimmed(struct slice s)
{
	while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static unsigned indent_of(struct slice s)
{
	unsigned n = 0;

	while (n < s.len && s.ptr[n] == ' ')
		n++;
	return n;
}

static struct slice line_cut(struct slice *rest)
{
	const char *end = memchr(rest->ptr, '\n', rest->len);
	struct slice line = { rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len };

	*rest = slice_after(*rest, end ? line.len + 1 : line.len);
	if (line.len > 0 && line.ptr[line.len - 1] == '\r')
		line.len--;
	return line;
}

static void lines_split(struct layout *l, struct slice text)
{
	unsigned n = 1;

	for (size_t i = 0; i < text.len; i++)
		n += text.ptr[i] == '\n';
	l->lines = calloc(n, sizeof(l->lines[0]));
	ASSERT(l->lines); /* out of memory: see arena.h */
	while (text.len > 0) {
		struct line *line = &l->lines[l->line_n++];
		struct slice visible;

		line->text = line_cut(&text);
		visible = slice_after(line->text, indent_of(line->text));
		line->kind = trimmed(visible).len == 0 ? LINE_BLANK
			     : visible.ptr[0] == '#'   ? LINE_COMMENT
						       : LINE_INSIDE;
	}
}

/* ---- tokens -------------------------------------------------------------------- */

static unsigned level_of(const struct layout *l)
{
	return l->block_n > 0 ? l->blocks[l->block_n - 1].to + STEP : 0;
}

static void block_push(struct layout *l, bool map, bool implied)
{
	struct open_block b = { level_of(l), map, implied };

	if (l->block_n == DEPTH_MAX)
		l->too_deep = true;
	else
		l->blocks[l->block_n++] = b;
}

/* The list that has no token ends with whatever else follows in its map. */
static void implied_end(struct layout *l)
{
	if (l->block_n > 0 && l->blocks[l->block_n - 1].implied)
		l->block_n--;
}

static unsigned block_column(const struct layout *l)
{
	return l->block_n > 0 ? l->blocks[l->block_n - 1].to : 0;
}

/* A part of a line that is not in brackets; `to`: its column, if it is the first of its line. */
static void part_place(struct layout *l, yaml_mark_t at, unsigned to, bool dash)
{
	struct line *line;

	if (at.line >= l->line_n)
		return;
	line = &l->lines[at.line];
	if (line->kind == LINE_INSIDE) {
		line->kind = LINE_PLACED;
		line->from = (unsigned)at.column;
		line->to = to;
		line->rest = (unsigned)line->text.len;
	} else if (line->kind != LINE_PLACED || line->rest < line->text.len) {
		return; /* not the first part behind the dashes */
	}
	if (dash)
		line->dashes++;
	else
		line->rest = (unsigned)at.column;
}

static void inside_mark(struct layout *l, yaml_mark_t begin, yaml_mark_t end, bool kept)
{
	size_t last = end.column > 0 ? end.line : end.line - 1;

	for (size_t i = begin.line + 1; i <= last && i < l->line_n; i++) {
		l->lines[i].kind = kept ? LINE_KEPT : LINE_INSIDE;
		l->lines[i].begin = (unsigned)begin.line;
	}
}

static void scalar_place(struct layout *l, const yaml_token_t *t)
{
	yaml_scalar_style_t style = t->data.scalar.style;
	bool block = style == YAML_LITERAL_SCALAR_STYLE ||
		     style == YAML_FOLDED_SCALAR_STYLE;
	yaml_mark_t begin = t->start_mark;

	if (l->brackets == 0)
		part_place(l, begin, level_of(l), false);
	else
		begin.line = l->bracket_begin;
	if (t->end_mark.line == t->start_mark.line)
		return;
	inside_mark(l, t->start_mark, t->end_mark, true);
	if (!block && l->brackets > 0)
		for (size_t i = t->start_mark.line + 1; i <= t->end_mark.line; i++)
			l->lines[i].begin = (unsigned)begin.line;
}

static void bracket_open(struct layout *l, yaml_mark_t at)
{
	if (l->brackets++ > 0)
		return;
	part_place(l, at, level_of(l), false);
	l->bracket_begin = (unsigned)at.line;
}

/* Comments in brackets keep their place beside the lines there. */
static void bracket_close(struct layout *l, yaml_mark_t at)
{
	if (--l->brackets > 0)
		return;
	for (size_t i = l->bracket_begin + 1; i <= at.line && i < l->line_n; i++)
		if (l->lines[i].kind != LINE_BLANK && l->lines[i].kind != LINE_KEPT) {
			l->lines[i].kind = LINE_INSIDE;
			l->lines[i].begin = l->bracket_begin;
		}
}

static void token_place(struct layout *l, const yaml_token_t *t)
{
	switch ((int)t->type) {
	case YAML_BLOCK_SEQUENCE_START_TOKEN:
		block_push(l, false, false);
		return;
	case YAML_BLOCK_MAPPING_START_TOKEN:
		block_push(l, true, false);
		return;
	case YAML_BLOCK_END_TOKEN:
		implied_end(l);
		l->block_n -= l->block_n > 0;
		return;
	case YAML_BLOCK_ENTRY_TOKEN:
		if (l->block_n > 0 && l->blocks[l->block_n - 1].map)
			block_push(l, false, true);
		part_place(l, t->start_mark, block_column(l), true);
		return;
	case YAML_KEY_TOKEN:
	case YAML_VALUE_TOKEN:
		if (l->brackets > 0)
			return;
		if (t->type == YAML_KEY_TOKEN)
			implied_end(l);
		part_place(l, t->start_mark, block_column(l), false);
		return;
	case YAML_FLOW_SEQUENCE_START_TOKEN:
	case YAML_FLOW_MAPPING_START_TOKEN:
		bracket_open(l, t->start_mark);
		return;
	case YAML_FLOW_SEQUENCE_END_TOKEN:
	case YAML_FLOW_MAPPING_END_TOKEN:
		bracket_close(l, t->start_mark);
		return;
	case YAML_SCALAR_TOKEN:
		scalar_place(l, t);
		return;
	case YAML_DOCUMENT_START_TOKEN:
	case YAML_DOCUMENT_END_TOKEN:
		part_place(l, t->start_mark, 0, false);
		return;
	}
	/* Anchors, aliases, and the commas of brackets. */
	if (l->brackets == 0)
		part_place(l, t->start_mark, level_of(l), false);
}

static void tokens_place(struct layout *l, struct slice text)
{
	yaml_parser_t parser;
	yaml_token_t t;
	bool more = true;

	ASSERT(yaml_parser_initialize(&parser));
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
	while (more && yaml_parser_scan(&parser, &t)) {
		more = t.type != YAML_STREAM_END_TOKEN;
		if (more && t.type != YAML_STREAM_START_TOKEN)
			token_place(l, &t);
		yaml_token_delete(&t);
	}
	yaml_parser_delete(&parser);
}

/* ---- writing ------------------------------------------------------------------- */

static void spaces(FILE *out, int n)
{
	while (n-- > 0)
		fputc(' ', out);
}

static void moved_print(FILE *out, struct slice text, int by)
{
	int indent = (int)indent_of(text);

	spaces(out, indent + by);
	text = slice_after(text, (size_t)indent);
	fwrite(text.ptr, 1, text.len, out);
}

static int move_of(const struct line *line)
{
	return (int)line->to - (int)line->from;
}

static void placed_print(FILE *out, const struct line *line)
{
	struct slice rest = trimmed(slice_after(line->text, line->rest));

	spaces(out, (int)line->to);
	if (line->dashes == 0) {
		rest = trimmed(slice_after(line->text, line->from));
		fwrite(rest.ptr, 1, rest.len, out);
		return;
	}
	for (unsigned i = 0; i < line->dashes; i++)
		fputs(i > 0 ? " -" : "-", out);
	if (rest.len == 0) { /* perhaps a comment behind the last dash */
		const char *comment = memchr(line->text.ptr, '#', line->text.len);

		if (comment)
			rest = trimmed(slice_after(line->text,
						   (size_t)(comment - line->text.ptr)));
	}
	if (rest.len > 0)
		fputc(' ', out);
	fwrite(rest.ptr, 1, rest.len, out);
}

/* A comment moves with the next line if it is in its column, otherwise with the line before; at
 * the end of the file it may be in no section. */
static int comment_move(const struct layout *l, unsigned i)
{
	unsigned indent = indent_of(l->lines[i].text);
	const struct line *next = NULL, *before = NULL;

	for (unsigned k = i + 1; k < l->line_n && !next; k++)
		if (l->lines[k].kind == LINE_PLACED)
			next = &l->lines[k];
	for (unsigned k = i; k > 0 && !before; k--)
		if (l->lines[k - 1].kind == LINE_PLACED)
			before = &l->lines[k - 1];
	if (!next && indent == 0)
		return 0;
	if (next && (next->from <= indent || !before || before->from > indent))
		return next->from == indent || !before ? (int)next->to - (int)indent
		       : before->from > indent         ? move_of(next)
						       : move_of(before);
	return before ? move_of(before) : 0;
}

static void line_print(const struct layout *l, unsigned i, FILE *out)
{
	const struct line *line = &l->lines[i];

	switch (line->kind) {
	case LINE_BLANK:
		break;
	case LINE_COMMENT:
		moved_print(out, trimmed(line->text), comment_move(l, i));
		break;
	case LINE_PLACED:
		placed_print(out, line);
		break;
	case LINE_INSIDE:
		moved_print(out, trimmed(line->text), move_of(&l->lines[line->begin]));
		break;
	case LINE_KEPT:
		moved_print(out, line->text, move_of(&l->lines[line->begin]));
		break;
	}
	fputc('\n', out);
}

static void lines_print(const struct layout *l, FILE *out)
{
	unsigned blank = 0;
	bool any = false;

	for (unsigned i = 0; i < l->line_n; i++) {
		if (l->lines[i].kind == LINE_BLANK) {
			blank = 1;
			continue;
		}
		if (blank && any)
			fputc('\n', out);
		blank = 0;
		any = true;
		line_print(l, i, out);
	}
}

/* ---- verification -------------------------------------------------------------- */

static bool text_equal(const yaml_char_t *a, const yaml_char_t *b)
{
	return a && b ? strcmp((const char *)a, (const char *)b) == 0 : a == b;
}

static bool event_equal(const yaml_event_t *a, const yaml_event_t *b)
{
	if (a->type != b->type)
		return false;
	switch ((int)a->type) {
	case YAML_SCALAR_EVENT:
		return a->data.scalar.length == b->data.scalar.length &&
		       memcmp(a->data.scalar.value, b->data.scalar.value,
			      a->data.scalar.length) == 0 &&
		       a->data.scalar.style == b->data.scalar.style &&
		       text_equal(a->data.scalar.anchor, b->data.scalar.anchor) &&
		       text_equal(a->data.scalar.tag, b->data.scalar.tag);
	case YAML_ALIAS_EVENT:
		return text_equal(a->data.alias.anchor, b->data.alias.anchor);
	case YAML_SEQUENCE_START_EVENT:
		return text_equal(a->data.sequence_start.anchor,
				  b->data.sequence_start.anchor) &&
		       text_equal(a->data.sequence_start.tag, b->data.sequence_start.tag);
	case YAML_MAPPING_START_EVENT:
		return text_equal(a->data.mapping_start.anchor,
				  b->data.mapping_start.anchor) &&
		       text_equal(a->data.mapping_start.tag, b->data.mapping_start.tag);
	}
	return true;
}

static void parser_begin(yaml_parser_t *p, struct slice text)
{
	ASSERT(yaml_parser_initialize(p));
	yaml_parser_set_encoding(p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(p, (const unsigned char *)text.ptr, text.len);
}

static bool means_same(struct slice before, struct slice after)
{
	yaml_parser_t parsers[2];
	yaml_event_t a, b;
	bool same = true, more = true;

	parser_begin(&parsers[0], before);
	parser_begin(&parsers[1], after);
	while (same && more) {
		bool parsed = yaml_parser_parse(&parsers[0], &a);

		if (parsed && !yaml_parser_parse(&parsers[1], &b)) {
			yaml_event_delete(&a);
			parsed = false;
		}
		same = parsed && event_equal(&a, &b);
		more = parsed && a.type != YAML_STREAM_END_EVENT;
		if (parsed) {
			yaml_event_delete(&a);
			yaml_event_delete(&b);
		}
	}
	yaml_parser_delete(&parsers[0]);
	yaml_parser_delete(&parsers[1]);
	return same;
}

/* ---- the whole ----------------------------------------------------------------- */

static bool is_yaml(struct slice text, const char *name, FILE *errors)
{
	struct report report = { .file = name };
	struct arena memory = { 0 };
	bool good;

	node_read(text, 0, &memory, &report);
	good = report.n == 0;
	report_print(&report, errors);
	report_done(&report);
	arena_free(&memory);
	return good;
}

bool config_format(struct slice text, const char *name, FILE *out, FILE *errors)
{
	static const struct slice bom = SLICE("\xef\xbb\xbf");
	struct layout l = { .lines = NULL };
	char *result = NULL;
	size_t size;
	FILE *to;
	bool same;

	if (slice_starts(text, bom))
		text = slice_after(text, bom.len);
	if (!is_yaml(text, name, errors))
		return false;
	lines_split(&l, text);
	tokens_place(&l, text);
	to = open_memstream(&result, &size);
	ASSERT(to);
	lines_print(&l, to);
	fclose(to);
	same = !l.too_deep && means_same(text, (struct slice){ result, size });
	if (same)
		fwrite(result, 1, size, out);
	else
		fprintf(errors,
			"%s:1:1: cannot be laid out without changing what it means; leave it as it "
			"is, or write lists and maps in the usual style\n",
			name);
	free(result);
	free(l.lines);
	return same;
}
