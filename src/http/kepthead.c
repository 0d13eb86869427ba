#include "http/kepthead.h"

_Static_assert(HEADER_OTHER < 64, "one bit for each header");

/* The bytes of `part` lie in `whole`. */
static bool lies_in(struct slice part, struct slice whole)
{
	return part.len > 0 && (uintptr_t)part.ptr >= (uintptr_t)whole.ptr &&
	       (uintptr_t)part.ptr + part.len <= (uintptr_t)whole.ptr + whole.len;
}

/* Bytes that a slice takes besides the line. The path of an absolute target may be a literal, and
 * the authority is mostly the value of Host. */
static size_t bytes_besides(struct slice part, struct slice line)
{
	return lies_in(part, line) ? 0 : part.len;
}

void kept_head_choose(struct kept_choice *c, const struct head *h, uint64_t which)
{
	c->head = h;
	c->whole = which == KEPT_ALL;
	c->field_n = 0;
	c->bytes = offsetof(struct kept_head, fields) + h->line.len +
		   bytes_besides(h->authority, h->line);
	if (c->whole)
		c->bytes += bytes_besides(h->method_token, h->line) +
			    bytes_besides(h->target, h->line) +
			    bytes_besides(h->path, h->line) +
			    bytes_besides(h->query, h->line) + h->upgrade_token.len;
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		if (!(which >> f->header & 1))
			continue;
		c->fields[c->field_n++] = f;
		c->bytes += sizeof(struct kept_field) + f->name.len + f->value.len;
	}
}

/* ---- writing ------------------------------------------------------------------ */

/* Where the next bytes go; spans count from `base`. */
struct kept_text {
	char *base, *at;
};

static struct kept_span text_append(struct kept_text *t, struct slice s)
{
	struct kept_span span = { (uint32_t)(t->at - t->base), (uint32_t)s.len };

	t->at = slice_append(t->at, s);
	return span;
}

/* A part of the line, which was kept at the beginning of the text, or a text of its own. */
static struct kept_span part_keep(struct kept_text *t, struct slice part,
				  struct slice line)
{
	if (!lies_in(part, line))
		return text_append(t, part);
	return (struct kept_span){ (uint32_t)(part.ptr - line.ptr), (uint32_t)part.len };
}

static void rest_keep(struct kept_head *k, struct kept_text *t, const struct head *h)
{
	k->keep_alive = h->keep_alive;
	k->upgrade = h->upgrade;
	k->expect_continue = h->expect_continue;
	k->te_trailers = h->te_trailers;
	k->forwards_limited = h->forwards_limited;
	k->method = (uint8_t)h->method;
	k->target_form = (uint8_t)h->target_form;
	k->minor = (uint8_t)h->minor;
	k->http2 = h->http2;
	k->framing = (uint8_t)h->framing;
	k->bytes = h->bytes;
	k->max_forwards = h->max_forwards;
	k->length = h->length;
	k->method_token = part_keep(t, h->method_token, h->line);
	k->target = part_keep(t, h->target, h->line);
	k->path = part_keep(t, h->path, h->line);
	k->query = part_keep(t, h->query, h->line);
	k->upgrade_token = text_append(t, h->upgrade_token);
}

void kept_head_write(struct kept_head *k, const struct kept_choice *c)
{
	const struct head *h = c->head;
	struct kept_text t;

	k->field_n = c->field_n;
	k->whole = c->whole;
	t.base = t.at = (char *)&k->fields[k->field_n];
	k->line = text_append(&t, h->line);
	k->authority = part_keep(&t, h->authority, h->line);
	if (c->whole)
		rest_keep(k, &t, h);
	for (unsigned i = 0; i < c->field_n; i++) {
		const struct field *f = c->fields[i];

		k->fields[i].name = text_append(&t, f->name);
		k->fields[i].value = text_append(&t, f->value);
		k->fields[i].header = f->header;
		k->fields[i].per_hop = f->per_hop;
	}
	ASSERT(t.at == (char *)k + c->bytes);
}

/* ---- reading ------------------------------------------------------------------ */

static struct slice text_of(const struct kept_head *k, struct kept_span s)
{
	return (struct slice){ (const char *)&k->fields[k->field_n] + s.at, s.len };
}

void kept_head_restore(const struct kept_head *k, struct head *h)
{
	ASSERT(k->whole);
	memset(h, 0, offsetof(struct head, fields));
	h->line = text_of(k, k->line);
	h->method_token = text_of(k, k->method_token);
	h->target = text_of(k, k->target);
	h->path = text_of(k, k->path);
	h->query = text_of(k, k->query);
	h->authority = text_of(k, k->authority);
	h->upgrade_token = text_of(k, k->upgrade_token);
	h->length = k->length;
	h->bytes = k->bytes;
	h->max_forwards = k->max_forwards;
	h->method = (enum method)k->method;
	h->target_form = (enum target_form)k->target_form;
	h->minor = k->minor;
	h->http2 = k->http2;
	h->framing = (enum framing)k->framing;
	h->keep_alive = k->keep_alive;
	h->upgrade = k->upgrade;
	h->expect_continue = k->expect_continue;
	h->te_trailers = k->te_trailers;
	h->forwards_limited = k->forwards_limited;
	h->fault = FAULT_NONE;
	h->field_n = k->field_n;
	for (unsigned i = 0; i < k->field_n; i++)
		h->fields[i] = (struct field){
			.name = text_of(k, k->fields[i].name),
			.value = text_of(k, k->fields[i].value),
			.header = k->fields[i].header,
			.per_hop = k->fields[i].per_hop,
		};
}

struct slice kept_head_line(const struct kept_head *k)
{
	return text_of(k, k->line);
}

struct slice kept_head_authority(const struct kept_head *k)
{
	return text_of(k, k->authority);
}

struct slice kept_head_value(const struct kept_head *k, enum header id)
{
	for (const struct kept_field *f = k->fields; f < k->fields + k->field_n; f++)
		if (f->header == id)
			return text_of(k, f->value);
	return (struct slice){ NULL, 0 };
}
