#include "http/change.h"

#include "octet.h"

/* ": " and CRLF. */
#define FIELD_BYTES 4

void field_changes_begin(struct field_changes *c)
{
	c->n = 0;
	c->bytes = 0;
	c->text = (struct emit){ c->memory, c->memory + sizeof(c->memory), false };
}

static bool appends(const struct field_change *change)
{
	return change->kind == FIELD_ADD || change->kind == FIELD_SET;
}

/* Undoes what was to be appended with this name. What an earlier change removes stays removed. */
static void appended_drop(struct field_changes *c, struct slice name)
{
	for (struct field_change *f = c->of; f < c->of + c->n; f++)
		if (appends(f) && slice_equal_nocase(f->name, name))
			f->kind = FIELD_REMOVE;
}

static bool change_append(struct field_changes *c, struct field_change change)
{
	if (c->n == FIELD_CHANGES_MAX)
		return false;
	c->of[c->n++] = change;
	c->bytes += change.name.len + change.value.len + FIELD_BYTES;
	return true;
}

bool field_add(struct field_changes *c, struct slice name, struct slice value)
{
	ASSERT(!field_change_fault(name, false));
	return change_append(c, (struct field_change){ FIELD_ADD, name, value, NULL });
}

bool field_set(struct field_changes *c, struct slice name, struct slice value)
{
	ASSERT(!field_change_fault(name, false));
	appended_drop(c, name);
	return change_append(c, (struct field_change){ FIELD_SET, name, value, NULL });
}

bool field_remove(struct field_changes *c, struct slice name)
{
	ASSERT(!field_change_fault(name, false));
	appended_drop(c, name);
	return change_append(
		c, (struct field_change){ FIELD_REMOVE, name, { NULL, 0 }, NULL });
}

bool field_replace(struct field_changes *c, const struct field *received,
		   struct slice value)
{
	return change_append(c, (struct field_change){ FIELD_REPLACE, received->name,
						       value, received->value.ptr });
}

const char *field_change_fault(struct slice name, bool request)
{
	static const char framing[] =
		"the framing of a message cannot be changed; remove this field from the list";
	static const char connection[] =
		"the fields of the connection cannot be changed; remove this one from the list";
	static const struct {
		struct slice name;
		const char *fault;
	} refused[] = {
		{ { "Content-Length", 14 }, framing },
		{ { "Transfer-Encoding", 17 }, framing },
		{ { "Trailer", 7 }, framing },
		{ { "Connection", 10 }, connection },
		{ { "Proxy-Connection", 16 }, connection },
		{ { "Keep-Alive", 10 }, connection },
		{ { "Upgrade", 7 }, connection },
		{ { "TE", 2 }, connection },
	};

	if (octet_span(name, OCTET_TOKEN) != name.len || name.len == 0 ||
	    name.len > FIELD_CHANGE_NAME_MAX)
		return "the name of a field has letters, digits and '-'; write X-NAME";
	for (size_t i = 0; i < COUNT(refused); i++)
		if (slice_equal_nocase(name, refused[i].name))
			return refused[i].fault;
	if (request && slice_equal_nocase(name, SLICE("Host")))
		return "the Host field is set in the action; write 'host: HOST' in 'proxy'";
	if (request && slice_equal_nocase(name, SLICE("Expect")))
		return "'Expect' is answered by the server or by the proxy; remove this field from "
		       "the list";
	return NULL;
}

bool field_value_valid(struct slice value)
{
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.ptr[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return slice_trim(value).len == value.len;
}

static char folded_char(char c)
{
	return OCTET_IS_ALNUM(c) ? (char)(c | 0x20) : '-';
}

bool field_names_alike(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (folded_char(a.ptr[i]) != folded_char(b.ptr[i]))
			return false;
	return true;
}

bool field_changes_hide(const struct field_changes *c, struct slice name)
{
	for (const struct field_change *f = c ? c->of : NULL; c && f < c->of + c->n; f++)
		if ((f->kind == FIELD_SET || f->kind == FIELD_REMOVE) &&
		    field_names_alike(f->name, name))
			return true;
	return false;
}

/* ---- the sink ------------------------------------------------------------------ */

static struct change_sink *changing(struct sink *s)
{
	return CONTAINER(s, struct change_sink, sink);
}

/* The area of the sink that is written to is handed on with each call. */
static struct sink *enter(struct change_sink *s)
{
	s->inner->out = s->sink.out;
	return s->inner;
}

static void leave(struct change_sink *s)
{
	s->sink.out = s->inner->out;
}

static bool is_removed(const struct field_changes *c, struct slice name)
{
	for (const struct field_change *f = c->of; f < c->of + c->n; f++)
		if ((f->kind == FIELD_SET || f->kind == FIELD_REMOVE) &&
		    slice_equal_nocase(f->name, name))
			return true;
	return false;
}

static struct slice value_replaced(const struct field_changes *c, struct slice value)
{
	for (const struct field_change *f = c->of; f < c->of + c->n; f++)
		if (f->kind == FIELD_REPLACE && f->received == value.ptr)
			return f->value;
	return value;
}

static void change_request(struct sink *sink, const struct sink_request *r)
{
	struct change_sink *s = changing(sink);

	enter(s)->ops->request(s->inner, r);
	leave(s);
}

static void change_status(struct sink *sink, int status, struct slice phrase)
{
	struct change_sink *s = changing(sink);

	enter(s)->ops->status(s->inner, status, phrase);
	leave(s);
}

static void change_field(struct sink *sink, struct slice name, struct slice value)
{
	struct change_sink *s = changing(sink);

	if (is_removed(s->changes, name))
		return;
	enter(s)->ops->field(s->inner, name, value_replaced(s->changes, value));
	leave(s);
}

/* The value of a field that is removed is written to no area. */
static void change_begin(struct sink *sink, struct slice name)
{
	struct change_sink *s = changing(sink);

	s->removing = is_removed(s->changes, name);
	if (s->removing) {
		s->kept = sink->out;
		sink->out = (struct emit){ NULL, NULL, true };
		return;
	}
	enter(s)->ops->begin(s->inner, name);
	leave(s);
}

static void change_finish(struct sink *sink)
{
	struct change_sink *s = changing(sink);

	if (s->removing) {
		sink->out = s->kept;
		return;
	}
	enter(s)->ops->finish(s->inner);
	leave(s);
}

static void change_end(struct sink *sink)
{
	struct change_sink *s = changing(sink);
	const struct field_changes *c = s->changes;

	enter(s);
	for (const struct field_change *f = c->of; f < c->of + c->n; f++)
		if (appends(f))
			s->inner->ops->field(s->inner, f->name,
					     value_replaced(c, f->value));
	s->inner->ops->end(s->inner);
	leave(s);
}

struct sink *change_sink_begin(struct change_sink *s, struct sink *inner,
			       const struct field_changes *changes)
{
	static const struct sink_ops with_connection = {
		.connection_fields = true,
		.request = change_request,
		.status = change_status,
		.field = change_field,
		.begin = change_begin,
		.finish = change_finish,
		.end = change_end,
	};
	static const struct sink_ops without_connection = {
		.connection_fields = false,
		.request = change_request,
		.status = change_status,
		.field = change_field,
		.begin = change_begin,
		.finish = change_finish,
		.end = change_end,
	};

	if (!changes)
		return inner;
	*s = (struct change_sink){
		.sink = { inner->out, inner->ops->connection_fields
					      ? &with_connection
					      : &without_connection },
		.inner = inner,
		.changes = changes,
	};
	return &s->sink;
}
