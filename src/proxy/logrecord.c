#include "proxy/logrecord.h"

#include "base/uuid.h"

/* Letters, digits and what other proxies put into ids; nothing that needs escapes in a log. */
static bool id_is_valid(struct slice id)
{
	for (size_t i = 0; i < id.len; i++) {
		char c = id.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      memchr("-_.:/+=@", c, 8)))
			return false;
	}
	return id.len > 0 && id.len <= LOG_RECORD_ID_MAX;
}

/* The value of the only field of this name; empty: there is none, or there are several. */
static struct slice only_value(const struct head *h, struct slice name)
{
	struct slice value = { "", 0 };
	unsigned n = 0;

	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		if (!slice_equal_nocase(f->name, name))
			continue;
		value = f->value;
		n++;
	}
	return n == 1 ? value : SLICE("");
}

static bool is_accepted(enum config_accept from, bool trusted)
{
	switch (from) {
	case CONFIG_ACCEPT_TRUSTED:
		return trusted;
	case CONFIG_ACCEPT_ALL:
		return true;
	case CONFIG_ACCEPT_NONE:
		break;
	}
	return false;
}

void log_record_identify(struct log_record *r, const struct head *h, bool trusted,
			 struct random *random, uint64_t wall_ms)
{
	const struct config_request_id *c = &r->config->request_id;
	struct slice id = { "", 0 };

	if (is_accepted(c->accept, trusted))
		id = only_value(h, slice_of(c->field));
	if (!id_is_valid(id)) {
		uuid_text(r->id, random, wall_ms);
		r->id_bytes = UUID_TEXT;
		return;
	}
	memcpy(r->id, id.ptr, id.len);
	r->id_bytes = (uint8_t)id.len;
}

/* All 0 is not an id (W3C Trace Context 3.2.2.3). */
static void random_text(char *text, unsigned bytes, struct random *random)
{
	uint8_t octets[TRACE_ID_TEXT / 2];

	for (unsigned i = 0; i < bytes; i += 8) {
		uint64_t number = random_next(random);

		memcpy(octets + i, &number, sizeof(number));
	}
	octets[0] |= (uint8_t)(octets[0] == 0);
	hex_text(text, octets, bytes);
}

void log_record_trace(struct log_record *r, const struct head *h, bool trusted,
		      struct random *random)
{
	const struct config_tracing *c = &r->config->tracing;

	r->traced = true;
	r->has_parent = is_accepted(c->accept, trusted) &&
			traceparent_parse(&r->trace, only_value(h, SLICE("traceparent")));
	if (!r->has_parent) {
		random_text(r->trace.trace_id, TRACE_ID_TEXT / 2, random);
		r->trace.flags = random_below(random, CONFIG_SAMPLE_ALL) < c->sample ? TRACE_SAMPLED
										      : 0;
	}
	memcpy(r->parent_id, r->trace.span_id, sizeof(r->parent_id));
	log_record_span_id(r->trace.span_id, random);
	r->exported = c->export.on && r->trace.flags & TRACE_SAMPLED;
}

void log_record_span_id(char id[SPAN_ID_TEXT], struct random *random)
{
	random_text(id, SPAN_ID_TEXT / 2, random);
}

void log_record_next_try(struct log_record *r, struct random *random)
{
	if (r && r->exported)
		log_record_span_id(r->try_id, random);
}

static void own_add(struct log_record_fields *f, struct slice name, struct slice value)
{
	ASSERT(f->n < LOG_RECORD_FIELDS_MAX);
	f->fields[f->n++] = (struct forward_field){ name, value };
}

void log_record_request_fields(struct log_record_fields *f, const struct log_record *r)
{
	const struct config_request_id *c;
	struct traceparent t;

	f->n = 0;
	if (!r)
		return;
	c = &r->config->request_id;
	if (r->id_bytes > 0)
		own_add(f, slice_of(c->field), c->request ? log_record_id(r) : SLICE(""));
	if (!r->traced)
		return;
	t = r->trace;
	if (r->exported)
		memcpy(t.span_id, r->try_id, sizeof(t.span_id));
	traceparent_text(&t, f->traceparent);
	own_add(f, SLICE("traceparent"), (struct slice){ f->traceparent, TRACEPARENT_TEXT });
	/* What vendors have added belongs to the trace that it came with. */
	if (!r->has_parent)
		own_add(f, SLICE("tracestate"), SLICE(""));
}

void log_record_response_fields(struct log_record_fields *f, const struct log_record *r)
{
	const struct config_request_id *c;

	f->n = 0;
	if (!r)
		return;
	c = &r->config->request_id;
	if (r->id_bytes > 0 && c->response)
		own_add(f, slice_of(c->field), log_record_id(r));
}
