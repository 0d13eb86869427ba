#include "field.h"

#include "llhttp.h"
#include "octet.h"

static const struct {
	struct slice name;
	bool per_hop;
} headers[HEADER_OTHER + 1] = {
#define HEADER(name, text, hop) [HEADER_##name] = { { text, sizeof(text) - 1 }, hop },
#include "http/header.def"
#undef HEADER
};

/* Headers by the length of their names; each row is terminated by HEADER_OTHER. */
#define NAME_BYTES_MAX 18
#define ROW_MAX 4
static const uint8_t by_length[NAME_BYTES_MAX + 1][ROW_MAX] = {
	[0] = { HEADER_OTHER },
	[1] = { HEADER_OTHER },
	[2] = { HEADER_TE, HEADER_OTHER },
	[3] = { HEADER_VIA, HEADER_OTHER },
	[4] = { HEADER_HOST, HEADER_DATE, HEADER_OTHER },
	[5] = { HEADER_OTHER },
	[6] = { HEADER_COOKIE, HEADER_EXPECT, HEADER_SERVER, HEADER_OTHER },
	[7] = { HEADER_REFERER, HEADER_UPGRADE, HEADER_TRAILER, HEADER_OTHER },
	[8] = { HEADER_LOCATION, HEADER_OTHER },
	[9] = { HEADER_FORWARDED, HEADER_OTHER },
	[10] = { HEADER_CONNECTION, HEADER_USER_AGENT, HEADER_KEEP_ALIVE, HEADER_OTHER },
	[11] = { HEADER_OTHER },
	[12] = { HEADER_CONTENT_TYPE, HEADER_MAX_FORWARDS, HEADER_PROXY_STATUS, HEADER_OTHER },
	[13] = { HEADER_OTHER },
	[14] = { HEADER_CONTENT_LENGTH, HEADER_HTTP2_SETTINGS, HEADER_OTHER },
	[15] = { HEADER_X_FORWARDED_FOR, HEADER_OTHER },
	[16] = { HEADER_X_FORWARDED_HOST, HEADER_X_FORWARDED_PORT, HEADER_PROXY_CONNECTION,
		 HEADER_OTHER },
	[17] = { HEADER_X_FORWARDED_PROTO, HEADER_TRANSFER_ENCODING, HEADER_OTHER },
	[18] = { HEADER_PROXY_AUTHENTICATE, HEADER_OTHER },
};

static bool name_matches(enum header id, struct slice name)
{
	/* The first letter rules out most of them without a call. */
	return (headers[id].name.ptr[0] | 0x20) == (name.ptr[0] | 0x20) &&
	       slice_equal_nocase(headers[id].name, name);
}

enum header field_header(struct slice name)
{
	if (name.len > NAME_BYTES_MAX)
		return HEADER_OTHER;
	for (const uint8_t *id = by_length[name.len]; *id != HEADER_OTHER; id++)
		if (name_matches(*id, name))
			return *id;
	return HEADER_OTHER;
}

/* Splits a field line, without its CRLF. */
static enum fault line_split(struct field *f, struct slice line)
{
	size_t n = octet_span(line, OCTET_TOKEN);

	if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
		return FAULT_FIELD_FOLD;
	if (n == line.len || n == 0)
		return FAULT_FIELD_NAME;
	if (line.ptr[n] != ':') {
		size_t colon = n;

		while (colon < line.len &&
		       (line.ptr[colon] == ' ' || line.ptr[colon] == '\t'))
			colon++;
		return colon < line.len && line.ptr[colon] == ':' ? FAULT_FIELD_COLON
								  : FAULT_FIELD_NAME;
	}
	f->name = (struct slice){ line.ptr, n };
	f->value = slice_trim(slice_after(line, n + 1));
	f->header = (uint8_t)field_header(f->name);
	f->per_hop = headers[f->header].per_hop;
	return FAULT_NONE;
}

enum fault field_parse_section(struct head *h, struct slice section, uint32_t fields_max)
{
	while (section.ptr[0] != '\r') {
		const char *cr = memchr(section.ptr, '\r', section.len);
		size_t n = (size_t)(cr - section.ptr);
		enum fault fault;

		if (h->field_n == fields_max)
			return FAULT_HEAD_FIELDS;
		fault = line_split(&h->fields[h->field_n],
				   (struct slice){ section.ptr, n });
		if (fault)
			return fault;
		h->field_n++;
		section = slice_after(section, n + 2);
	}
	ASSERT(section.len == 2);
	return FAULT_NONE;
}

/* Compares what llhttp reports, in order, with the fields of a head. */
struct witness {
	const struct head *head;
	uint32_t next;   /* number of field names reported */
	bool value_seen; /* the value of the last of them was reported */
	bool complete;   /* all were reported, and nothing else */
};

/* The field whose name was reported last. */
static const struct field *current_field(const struct witness *w)
{
	return &w->head->fields[w->next - 1];
}

static bool value_missing(const struct witness *w)
{
	return w->next > 0 && !w->value_seen && current_field(w)->value.len > 0;
}

static int name_seen(llhttp_t *parser, const char *at, size_t n)
{
	struct witness *w = parser->data;
	const struct field *f;

	if (value_missing(w) || w->next == w->head->field_n)
		return -1;
	w->next++;
	w->value_seen = false;
	f = current_field(w);
	return f->name.ptr == at && f->name.len == n ? 0 : -1;
}

static int value_seen(llhttp_t *parser, const char *at, size_t n)
{
	struct witness *w = parser->data;
	struct slice value = slice_trim((struct slice){ at, n });

	if (n == 0)
		return 0;
	if (w->next == 0 || w->value_seen || value.len != current_field(w)->value.len)
		return -1;
	w->value_seen = true;
	return value.len == 0 || value.ptr == current_field(w)->value.ptr ? 0 : -1;
}

static int section_complete(llhttp_t *parser)
{
	struct witness *w = parser->data;

	if (value_missing(w) || w->next != w->head->field_n)
		return -1;
	w->complete = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_header_field = name_seen,
	.on_header_value = value_seen,
	.on_headers_complete = section_complete,
};

/* A parser that has parsed a request line: always the same one, since llhttp knows
 * neither all methods nor our rules for targets. A copy of its state continues from
 * there, which is about 50 ns faster per head than starting over. */
static const llhttp_t *prepared_parser(void)
{
	static const char first_line[] = "GET / HTTP/1.1\r\n";
	static _Thread_local llhttp_t parser;
	static _Thread_local bool ready;

	if (!ready) {
		enum llhttp_errno error;

		llhttp_init(&parser, HTTP_REQUEST, &settings);
		error = llhttp_execute(&parser, first_line, sizeof(first_line) - 1);
		ASSERT(error == HPE_OK);
		ready = true;
	}
	return &parser;
}

/* llhttp must stop at the empty line; it gets no bytes after it. */
enum fault field_confirm(const struct head *h, struct slice section)
{
	struct witness w = { .head = h };
	llhttp_t parser = *prepared_parser();

	parser.data = &w;
	if (llhttp_execute(&parser, section.ptr, section.len) != HPE_PAUSED ||
	    !w.complete)
		return FAULT_FIELD_VALUE;
	return FAULT_NONE;
}
