/* Bodies and their trailers. The result does not depend on where the bytes are cut; the strict
 * parser finds the same body and the same end; and the body forwarded in chunks is canonical and
 * reads the same. */
#include <stdlib.h>

#include "http/body.h"
#include "http/forward.h"
#include "lib/fuzz.h"
#include "lib/strict.h"

static const struct head_limits limits = { 4096, 20, 0 };

struct outcome {
	enum body_event event; /* BODY_END, BODY_BAD or BODY_MORE */
	enum fault fault;
	size_t used, data_n;
	char *data;
	char *out; /* as it is forwarded: chunked */
	size_t out_n;
	bool open; /* the CRLF of a chunk is not written yet */
};

static void outcome_forward(struct outcome *o, struct slice s)
{
	memcpy(o->out + o->out_n, s.ptr, s.len);
	o->out_n += s.len;
}

static void outcome_add_data(struct outcome *o, struct slice data)
{
	char line[BODY_CHUNK_LINE_MAX];

	memcpy(o->data + o->data_n, data.ptr, data.len);
	o->data_n += data.len;
	if (o->open)
		outcome_forward(o, SLICE("\r\n"));
	outcome_forward(o, (struct slice){ line, body_chunk_line(line, data.len) });
	outcome_forward(o, data);
	o->open = true;
}

static void outcome_end(struct outcome *o, const struct head *trailers)
{
	struct sink s;

	if (o->open)
		outcome_forward(o, SLICE("\r\n"));
	outcome_forward(o, SLICE("0\r\n"));
	s = sink_http1(o->out + o->out_n, trailers ? forward_trailers_max(trailers) : 2);
	if (trailers)
		forward_trailers(&s, trailers);
	else
		emit_slice(&s.out, SLICE("\r\n"));
	ASSERT(!s.out.overflow);
	o->out_n = (size_t)(s.out.at - o->out);
}

/* The trailer section begins at s.ptr[o->used]. */
static enum body_event outcome_add_trailers(struct outcome *o, struct body *b,
					    struct slice s, size_t n, uint32_t *scanned)
{
	static struct head trailers;
	enum verdict v;

	v = head_parse_trailers(&trailers, s.ptr + o->used, n - o->used, &limits, scanned);
	if (v == VERDICT_MORE)
		return BODY_MORE;
	o->fault = trailers.fault;
	if (v == VERDICT_BAD)
		return BODY_BAD;
	o->used += trailers.bytes;
	body_trailers_read(b);
	outcome_end(o, &trailers);
	return BODY_END;
}

/* Reads s: at first its first `first` bytes are available, then more and more. */
static void read_body(struct outcome *o, struct body b, struct slice s, size_t first)
{
	uint32_t scanned = 0;
	size_t n = first, used;
	struct slice data;

	for (;;) {
		fuzz_forbid(s.ptr + n, s.ptr + s.len);
		o->event = body_next(&b, s.ptr + o->used, n - o->used, &used, &data);
		o->used += used;
		ASSERT(o->used <= n);
		if (o->event == BODY_DATA) {
			ASSERT(data.len > 0 && data.ptr >= s.ptr && data.ptr + data.len <= s.ptr + n);
			outcome_add_data(o, data);
			continue;
		}
		if (o->event == BODY_TRAILERS)
			o->event = outcome_add_trailers(o, &b, s, n, &scanned);
		else if (o->event == BODY_BAD)
			o->fault = (enum fault)b.fault;
		fuzz_allow(s.ptr + n, s.ptr + s.len);
		if (o->event != BODY_MORE || n == s.len)
			break;
		n = fuzz_cut(n, s.len);
	}
	if (o->event == BODY_END && b.framing != FRAMING_CHUNKED)
		outcome_end(o, NULL);
}

static struct outcome outcome_new(size_t n)
{
	/* Each octet may be a chunk of its own. */
	return (struct outcome){ .data = malloc(n + 1),
				 .out = malloc(n * 24 + FORWARD_EXTRA + 64) };
}

static void outcome_free(struct outcome *o)
{
	free(o->data);
	free(o->out);
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
	ASSERT(a->event == b->event && a->fault == b->fault);
	ASSERT(a->event == BODY_BAD || a->used == b->used);
	ASSERT(slice_equal((struct slice){ a->data, a->data_n },
			   (struct slice){ b->data, b->data_n }));
}

/* It was refused for a limit of ours, or because trailers have a malformed Content-Length or
 * Transfer-Encoding, which the program refuses although a proxy may drop it. */
static bool is_stricter(enum fault f, size_t n, struct slice trailers)
{
	static struct strict_head h;

	return f == FAULT_CHUNK_LARGE || f == FAULT_TRAILER_LARGE ||
	       (f == FAULT_CHUNK_EXTENSION && n > 1024) ||
	       (f == FAULT_TRAILER && strict_section(&h, trailers) == STRICT_OK &&
		strict_count(&h, "Content-Length") + strict_count(&h, "Transfer-Encoding") > 0);
}

static void check_strict(const struct outcome *o, struct slice s, enum framing framing,
			 uint64_t length)
{
	static const enum strict_framing framings[] = { STRICT_NONE, STRICT_LENGTH,
							STRICT_CHUNKED, STRICT_CLOSE };
	struct strict_body b = { .data = malloc(s.len + 1) };
	enum strict_verdict v = strict_read_body(&b, s, framings[framing], length, false);

	switch (v) {
	case STRICT_OK:
		ASSERT(o->event == BODY_END ||
		       (o->event == BODY_BAD &&
			is_stricter(o->fault, s.len, slice_after(s, b.trailers_at))));
		break;
	case STRICT_PART: /* either parser may find an error earlier than the other */
	case STRICT_BAD:
		ASSERT(o->event != BODY_END);
		break;
	}
	if (v == STRICT_OK && o->event == BODY_END) {
		ASSERT(b.bytes == o->used);
		ASSERT(slice_equal((struct slice){ b.data, b.data_n },
				   (struct slice){ o->data, o->data_n }));
	}
	free(b.data);
}

static bool is_framing(struct slice name)
{
	static const char *const names[] = { "Content-Length", "Transfer-Encoding", "Host",
					     "Connection", "Trailer", "Upgrade", "TE",
					     "Set-Cookie", "Authorization", "Content-Encoding",
					     "Content-Range", "Content-Type", "Via" };

	for (size_t i = 0; i < COUNT(names); i++)
		if (slice_equal_nocase(name, slice_of(names[i])))
			return true;
	return false;
}

static void check_forwarded(const struct outcome *o)
{
	static struct strict_head trailers;
	struct strict_body b = { .data = malloc(o->out_n + 1) };
	struct slice out = { o->out, o->out_n };

	ASSERT(strict_read_body(&b, out, STRICT_CHUNKED, 0, false) == STRICT_OK);
	ASSERT(!b.not_canonical && b.bytes == o->out_n);
	ASSERT(slice_equal((struct slice){ b.data, b.data_n },
			   (struct slice){ o->data, o->data_n }));
	ASSERT(strict_section(&trailers, slice_after(out, b.trailers_at)) == STRICT_OK);
	for (unsigned i = 0; i < trailers.field_n; i++)
		ASSERT(!is_framing(trailers.fields[i].name));
	free(b.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct fuzz f = fuzz_begin(bytes, n);
	enum framing framing = (enum framing)(fuzz_octet(&f) & 3);
	uint64_t length = framing == FRAMING_LENGTH ? fuzz_octet(&f) : 0;
	struct slice s = fuzz_rest(&f);
	struct outcome whole = outcome_new(s.len), cut = outcome_new(s.len);
	struct body b;

	body_init(&b, framing, length);
	read_body(&whole, b, s, s.len);
	read_body(&cut, b, s, 0);
	check_same(&whole, &cut);
	check_strict(&whole, s, framing, length);
	if (whole.event == BODY_END) {
		check_forwarded(&whole);
		check_forwarded(&cut);
	}
	outcome_free(&whole);
	outcome_free(&cut);
	return 0;
}
