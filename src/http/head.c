#include "http/head.h"

#include <endian.h>

#include "field.h"
#include "interpret.h"
#include "line.h"

static const struct {
	int status;
	const char *text;
} faults[] = {
	[FAULT_NONE] = { 200, "nothing" },
#define FAULT(name, code, words) [FAULT_##name] = { code, words },
#include "http/fault.def"
#undef FAULT
};

int fault_status(enum fault f)
{
	return faults[f].status;
}

const char *fault_text(enum fault f)
{
	return faults[f].text;
}

bool method_safe(enum method m)
{
	static const bool safe[METHOD_OTHER + 1] = {
#define METHOD(name, token, harmless, repeatable) [METHOD_##name] = harmless,
#include "http/method.def"
#undef METHOD
	};

	return safe[m];
}

bool method_idempotent(enum method m)
{
	static const bool idempotent[METHOD_OTHER + 1] = {
#define METHOD(name, token, safe, repeatable) [METHOD_##name] = repeatable,
#include "http/method.def"
#undef METHOD
	};

	return idempotent[m];
}

enum head_kind { REQUEST, RESPONSE, TRAILERS };

/* The input of one call. */
struct head_input {
	const char *bytes;
	size_t n;         /* at most limits->bytes */
	size_t at;        /* bytes before this position were scanned */
	size_t fields;    /* where the field section begins; 0: not known yet */
	bool line_parsed; /* the first line was parsed in this call */
};

typedef uint8_t lanes_t __attribute__((vector_size(16)));

/* The first octet of [at, n) that is below 0x20 or is DEL; n: none. Tests sixteen at a
 * time: every x86-64 and arm64 has instructions for that. */
static size_t control_find(const char *bytes, size_t at, size_t n)
{
	for (; n - at >= sizeof(lanes_t); at += sizeof(lanes_t)) {
		uint64_t low, high;
		lanes_t v;

		memcpy(&v, bytes + at, sizeof(v));
		v = (lanes_t)((v < 0x20) | (v == 0x7f));
		memcpy(&low, &v, 8);
		memcpy(&high, (const char *)&v + 8, 8);
		low = le64toh(low);
		high = le64toh(high);
		if (low)
			return at + (size_t)__builtin_ctzll(low) / 8;
		if (high)
			return at + 8 + (size_t)__builtin_ctzll(high) / 8;
	}
	while (at < n && (uint8_t)bytes[at] >= 0x20 && bytes[at] != 0x7f)
		at++;
	return at;
}

/* Moves s->at past the next CRLF. */
static enum verdict line_scan(struct head *h, struct head_input *s)
{
	for (size_t i = s->at;; i++) {
		i = control_find(s->bytes, i, s->n);
		s->at = i;
		if (i == s->n)
			return VERDICT_MORE;
		if (s->bytes[i] == '\t')
			continue;
		if (s->bytes[i] != '\r') {
			h->fault = s->bytes[i] == '\n' ? FAULT_BARE_LF : FAULT_CONTROL;
			return VERDICT_BAD;
		}
		if (i + 1 == s->n)
			return VERDICT_MORE;
		if (s->bytes[i + 1] != '\n') {
			h->fault = FAULT_BARE_CR;
			return VERDICT_BAD;
		}
		s->at = i + 2;
		return VERDICT_OK;
	}
}

/* Where the first line begins. */
static size_t empty_lines_skip(const struct head_input *s)
{
	size_t at = 0;

	while (s->n - at >= 2 && s->bytes[at] == '\r' && s->bytes[at + 1] == '\n')
		at += 2;
	return at;
}

static enum verdict line_parse(struct head *h, struct head_input *s, enum head_kind kind,
			       size_t start)
{
	struct slice line = { s->bytes + start, s->fields - 2 - start };

	h->fault = kind == REQUEST ? line_parse_request(h, line)
				   : line_parse_status(h, line);
	s->line_parsed = true;
	return h->fault ? VERDICT_BAD : VERDICT_OK;
}

/* Sets s->fields. A first line that ends in this call is parsed at once, so that its
 * faults are reported before later ones, however the bytes are split. */
static enum verdict first_line_scan(struct head *h, struct head_input *s,
				    enum head_kind kind,
				    size_t start)
{
	const char *cr = NULL;
	enum verdict verdict;

	if (s->at > start)
		cr = memchr(s->bytes + start, '\r', s->at - start);
	else
		s->at = start;
	if (cr) {
		s->fields = (size_t)(cr - s->bytes) + 2;
		return VERDICT_OK;
	}
	verdict = line_scan(h, s);
	if (verdict != VERDICT_OK)
		return verdict;
	s->fields = s->at;
	return line_parse(h, s, kind, start);
}

/* Moves s->at past the empty line. */
static enum verdict section_scan(struct head *h, struct head_input *s)
{
	enum verdict verdict;

	do
		verdict = line_scan(h, s);
	while (verdict == VERDICT_OK && s->at - 2 != s->fields &&
	       s->bytes[s->at - 3] != '\n');
	return verdict;
}

static enum fault section_interpret(struct head *h, const struct head_input *s,
				    enum head_kind kind, uint32_t fields_max)
{
	struct slice section = { s->bytes + s->fields, s->at - s->fields };
	enum fault fault = field_parse_section(h, section, fields_max);

	if (!fault && kind == REQUEST)
		fault = interpret_request(h);
	if (!fault && kind == RESPONSE)
		fault = interpret_response(h);
	if (!fault && kind == TRAILERS)
		interpret_trailers(h);
	/* Last, so that faults in framing fields, which llhttp refuses too, are reported
	 * by name. */
	return fault ? fault : field_confirm(h, section);
}

static enum fault size_fault(const struct head_input *s, enum head_kind kind, size_t start)
{
	return kind == REQUEST && s->fields == 0 && start < s->n ? FAULT_TARGET_LONG
								 : FAULT_HEAD_LARGE;
}

static enum verdict head_parse(struct head *h, enum head_kind kind, struct head_input *s,
			       const struct head_limits *limits)
{
	size_t start = kind == REQUEST ? empty_lines_skip(s) : 0;
	enum verdict verdict = VERDICT_OK;

	ASSERT(limits->fields <= HEAD_FIELDS_MAX);
	memset(h, 0, offsetof(struct head, fields));
	h->fault = FAULT_NONE;
	if (kind != TRAILERS)
		verdict = first_line_scan(h, s, kind, start);
	if (verdict == VERDICT_OK)
		verdict = section_scan(h, s);
	if (verdict == VERDICT_MORE && s->n == limits->bytes) {
		h->fault = size_fault(s, kind, start);
		return VERDICT_BAD;
	}
	if (verdict == VERDICT_OK && kind != TRAILERS && !s->line_parsed)
		verdict = line_parse(h, s, kind, start);
	if (verdict != VERDICT_OK)
		return verdict;
	h->bytes = (uint32_t)s->at;
	h->fault = section_interpret(h, s, kind, limits->fields);
	return h->fault ? VERDICT_BAD : VERDICT_OK;
}

static enum verdict source_parse(struct head *h, enum head_kind kind, const char *bytes,
				 size_t n, const struct head_limits *limits,
				 uint32_t *scanned)
{
	struct head_input s = {
		.bytes = bytes,
		.n = n < limits->bytes ? n : limits->bytes,
		.at = *scanned,
	};
	enum verdict verdict;

	ASSERT(s.at <= s.n);
	verdict = head_parse(h, kind, &s, limits);
	/* The end of a complete head is found at once when it is parsed again. */
	*scanned = (uint32_t)(verdict == VERDICT_OK ? s.at - 2 : s.at);
	return verdict;
}

enum verdict head_parse_request(struct head *h, const char *bytes, size_t n,
				const struct head_limits *limits, uint32_t *scanned)
{
	return source_parse(h, REQUEST, bytes, n, limits, scanned);
}

enum verdict head_parse_response(struct head *h, const char *bytes, size_t n,
				 const struct head_limits *limits, uint32_t *scanned)
{
	return source_parse(h, RESPONSE, bytes, n, limits, scanned);
}

enum verdict head_parse_trailers(struct head *h, const char *bytes, size_t n,
				 const struct head_limits *limits, uint32_t *scanned)
{
	enum verdict verdict = source_parse(h, TRAILERS, bytes, n, limits, scanned);

	if (h->fault == FAULT_HEAD_LARGE || h->fault == FAULT_HEAD_FIELDS)
		h->fault = FAULT_TRAILER_LARGE;
	else if (h->fault)
		h->fault = FAULT_TRAILER;
	return verdict;
}

enum framing head_response_framing(const struct head *h, enum method method)
{
	if (method == METHOD_HEAD || h->status < 200 || h->status == 204 ||
	    h->status == 304)
		return FRAMING_NONE;
	if (method == METHOD_CONNECT && h->status < 300)
		return FRAMING_NONE;
	return h->framing;
}

const struct field *head_find(const struct head *h, enum header id)
{
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (f->header == id)
			return f;
	return NULL;
}

const struct field *head_find_name(const struct head *h, struct slice name)
{
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (slice_equal_nocase(f->name, name))
			return f;
	return NULL;
}
