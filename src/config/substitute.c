/* `${env.NAME}`, `${env.NAME:-VALUE}`, `${file:PATH}` and `${credential.NAME}` in values:
 * replaced in the tree, before sections are read. What they stand for is text, also where
 * variables are allowed.
 *
 * Nodes remember what was written, which is what `--print` shows: the names of secrets, not their
 * contents. The values are in the snapshot; files are watched as others are.
 * Limits: VALUE_BYTES_MAX for the content of a file. */
#include <ctype.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "contents.h"

#define VALUE_BYTES_MAX 65536

struct substitution {
	struct config_reader *r;
	const struct node *n;
	struct slice text; /* of `n`, as written */
	char *out;
	size_t out_n;
	struct node_reference *first, **end;
	bool refused;
};

static void append(struct substitution *s, struct slice text)
{
	char *more = arena_alloc(&s->r->scratch, s->out_n + text.len + 1);

	if (s->out_n > 0)
		memcpy(more, s->out, s->out_n);
	if (text.len > 0)
		memcpy(more + s->out_n, text.ptr, text.len);
	s->out = more;
	s->out_n += text.len;
}

static struct source_pos pos_of(const struct substitution *s, struct slice part)
{
	return node_text_pos(s->n, (size_t)(part.ptr - s->text.ptr));
}

/* ---- environment ---------------------------------------------------------------- */

static bool is_variable(struct slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!isalnum((unsigned char)name.ptr[i]) && name.ptr[i] != '_')
			return false;
	return name.len > 0;
}

/* False: it is not set. */
static bool variable_get(struct config_reader *r, struct slice name, struct slice *value)
{
	const char *text;

	if (r->snapshot.replayed)
		return snapshot_find(&r->snapshot, RECORD_VARIABLE, name, value);
	text = getenv(arena_text(&r->scratch, name));
	if (!text)
		return false;
	*value = slice_of(text);
	snapshot_add(&r->snapshot, RECORD_VARIABLE, name, *value);
	return true;
}

/* `inside`: behind "env.". False: reported. */
static bool variable_read(struct substitution *s, struct slice inside,
			  struct slice *value)
{
	const char *mark = memmem(inside.ptr, inside.len, ":-", 2);
	struct slice name = { inside.ptr,
			      mark ? (size_t)(mark - inside.ptr) : inside.len };

	if (!is_variable(name)) {
		report_error(&s->r->report, pos_of(s, inside),
			     "'%.*s' is not the name of an environment variable; write "
			     "${env.NAME} or ${env.NAME:-VALUE}",
			     REPORT_ARG(inside));
		return false;
	}
	if (variable_get(s->r, name, value))
		return true;
	if (mark) {
		*value = slice_after(inside, name.len + 2);
		return true;
	}
	report_error(&s->r->report, pos_of(s, inside),
		     "the environment variable '%.*s' is not set; set it, or write "
		     "'${env.%.*s:-VALUE}'",
		     REPORT_ARG(name), REPORT_ARG(name));
	return false;
}

/* ---- files ---------------------------------------------------------------------- */

/* The content of a file, without line ends behind it. `at`: its part of the text. False:
 * reported. */
static bool line_read(struct substitution *s, struct slice at, struct slice path,
		      struct slice *value)
{
	struct node n = *s->n;
	const struct config_file *f;

	n.text = path;
	n.references = NULL;
	f = tls_begin(s->r, &n) ? file_read(s->r, &n, "${file:PATH}") : NULL;
	if (!f)
		return false;
	*value = f->bytes;
	while (value->len > 0 && strchr("\r\n", value->ptr[value->len - 1]))
		value->len--;
	for (size_t i = 0; i < value->len; i++)
		if ((unsigned char)value->ptr[i] < ' ' || value->len > VALUE_BYTES_MAX) {
			report_error(
				&s->r->report, pos_of(s, at),
				"'%.*s' is not a line of text; write one line into it",
				REPORT_ARG(path));
			return false;
		}
	return true;
}

/* `inside`: behind "file:". */
static bool content_read(struct substitution *s, struct slice inside, struct slice *value)
{
	return line_read(s, inside, inside, value);
}

/* The file of a credential of systemd (systemd.exec(5)), in a folder that only a service has.
 * `inside`: behind "credential.". False: reported. */
static bool credential_read(struct substitution *s, struct slice inside,
			    struct slice *value)
{
	struct slice folder;
	char *path;

	if (inside.len == 0 || memchr(inside.ptr, '/', inside.len)) {
		report_error(
			&s->r->report, pos_of(s, inside),
			"'%.*s' is not the name of a credential; write ${credential.NAME}",
			REPORT_ARG(inside));
		return false;
	}
	if (!variable_get(s->r, SLICE("CREDENTIALS_DIRECTORY"), &folder)) {
		report_error(
			&s->r->report, pos_of(s, inside),
			"the environment variable 'CREDENTIALS_DIRECTORY' is not set, as it "
			"is in a service with credentials; set it, or write "
			"'${file:PATH}'");
		return false;
	}
	path = arena_format(s->r->memory, "%.*s/%.*s", SLICE_ARG(folder),
			    SLICE_ARG(inside));
	return line_read(s, inside, slice_of(path), value);
}

/* ---- values --------------------------------------------------------------------- */

/* As written, but with the path that is relative to the folder of the configuration file. */
static struct slice written_of(struct substitution *s, struct slice whole,
			       struct slice path)
{
	struct node n = *s->n;

	if (path.len == 0 || n.at.file == 0)
		return (struct slice){ arena_text(s->r->memory, whole), whole.len };
	n.text = path;
	return slice_of(
		arena_format(s->r->memory, "${file:%s}", contents_written(s->r, &n)));
}

struct reference_kind {
	struct slice mark;
	bool is_path; /* what is inside is relative to the folder of the file */
	bool (*read)(struct substitution *s, struct slice inside, struct slice *value);
};

static const struct reference_kind reference_kinds[] = {
	{ SLICE("${env."), false, variable_read },
	{ SLICE("${file:"), true, content_read },
	{ SLICE("${credential."), false, credential_read },
};

/* NULL: a variable of a template, or plain text. */
static const struct reference_kind *kind_of(struct slice text)
{
	for (size_t i = 0; i < COUNT(reference_kinds); i++)
		if (slice_starts(text, reference_kinds[i].mark))
			return &reference_kinds[i];
	return NULL;
}

/* A reference at the beginning of `rest`, of `used` bytes. False: there is none, or it was
 * reported. */
static bool reference_read(struct substitution *s, struct slice rest, size_t *used)
{
	const struct reference_kind *kind = kind_of(rest);
	const char *end = memchr(rest.ptr, '}', rest.len);
	struct slice inside, value;
	struct node_reference *ref;
	bool good;

	if (!kind || !end)
		return false;
	*used = (size_t)(end - rest.ptr) + 1;
	inside = (struct slice){ rest.ptr + kind->mark.len, *used - kind->mark.len - 1 };
	good = kind->read(s, inside, &value);
	if (good && !utf8_is_valid(value)) {
		good = false;
		report_error(&s->r->report, pos_of(s, rest),
			     "the value of '%.*s' is not UTF-8; write it in UTF-8",
			     REPORT_ARG(((struct slice){ rest.ptr, *used })));
	}
	if (!good) {
		s->refused = true;
		return false;
	}
	ref = arena_alloc(&s->r->scratch, sizeof(*ref));
	ref->at = s->out_n;
	ref->len = value.len;
	ref->written = written_of(s, (struct slice){ rest.ptr, *used },
				  kind->is_path ? inside : SLICE(""));
	*s->end = ref;
	s->end = &ref->next;
	append(s, value);
	return true;
}

/* For --print: whoever reads the value may copy it anywhere. */
static void value_keep(struct config_reader *r, const struct node *n)
{
	struct config_reference *ref = arena_alloc(r->memory, sizeof(*ref));

	*ref = (struct config_reference){
		.value = { arena_text(r->memory, n->text), n->text.len },
		.written = node_written(r, n),
		.next = r->config->references,
	};
	r->config->references = ref;
}

static void scalar_substitute(struct config_reader *r, struct node *n)
{
	struct substitution s = { .r = r, .n = n, .text = n->text };
	struct slice rest = n->text;
	size_t used;

	s.end = &s.first;
	while (rest.len > 0) {
		const char *dollar = memchr(rest.ptr, '$', rest.len);
		size_t before = dollar ? (size_t)(dollar - rest.ptr) : rest.len;

		append(&s, (struct slice){ rest.ptr, before });
		rest = slice_after(rest, before);
		if (rest.len == 0)
			break;
		if (!reference_read(&s, rest, &used)) {
			used = rest.len > 1 && rest.ptr[1] == '$' ? 2 : 1;
			append(&s, (struct slice){ rest.ptr, used });
		}
		rest = slice_after(rest, used);
	}
	n->refused = s.refused;
	if (!s.first || s.refused)
		return;
	r->config->has_secrets = true;
	n->references = s.first;
	n->text = (struct slice){ s.out, s.out_n };
	if (s.out_n > 0)
		value_keep(r, n);
}

void substitute(struct config_reader *r, const struct node *root)
{
	/* The tree is ours until it is read; what aliases share is visited more than once. */
	struct node *n = (struct node *)(uintptr_t)root;

	if (n->kind == NODE_SCALAR) {
		if (!n->references && !n->refused &&
		    memmem(n->text.ptr, n->text.len, "${", 2))
			scalar_substitute(r, n);
		return;
	}
	for (n = n->children; n; n = n->next)
		substitute(r, n);
}

const char *node_written(struct config_reader *r, const struct node *n)
{
	char *text;
	size_t size, at = 0;
	FILE *out;
	const char *copy;

	if (!n->references)
		return arena_text(r->memory, n->text);
	out = open_memstream(&text, &size);
	ASSERT(out); /* out of memory: see arena.h */
	for (const struct node_reference *ref = n->references; ref; ref = ref->next) {
		fwrite(n->text.ptr + at, 1, ref->at - at, out);
		fwrite(ref->written.ptr, 1, ref->written.len, out);
		at = ref->at + ref->len;
	}
	fwrite(n->text.ptr + at, 1, n->text.len - at, out);
	fclose(out);
	copy = arena_text(r->memory, (struct slice){ text, size });
	free(text);
	return copy;
}

void reference_keep(struct config_reader *r, const char *written, const void *of)
{
	struct config_reference *ref = arena_alloc(r->memory, sizeof(*ref));

	*ref = (struct config_reference){ .of = of,
					  .written = written,
					  .next = r->config->references };
	r->config->references = ref;
}
