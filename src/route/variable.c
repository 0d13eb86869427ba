#include "route/variable.h"

#include "http/change.h"
#include "http/path.h"
#include "pieces.h"

enum result { RESULT_OK, RESULT_NONE = -1, RESULT_LONG = -2 };

/* Where decoded text is written. */
struct space {
	char *at;
	size_t size;
};

/* The length of `text` when decoded; -1: malformed. */
static long decoded_length(struct slice text)
{
	long n = 0;

	for (size_t i = 0, used; i < text.len; i += used, n++)
		if (decoded_byte(slice_after(text, i), false, &used) < 0)
			return -1;
	return n;
}

static enum result decode(struct slice text, bool plus, struct space space,
			  struct slice *value)
{
	long n = decoded_length(text);

	if (n < 0)
		return RESULT_NONE;
	if ((size_t)n > space.size)
		return RESULT_LONG;
	n = path_decode(space.at, text, plus);
	ASSERT(n >= 0 && (size_t)n <= space.size);
	*value = (struct slice){ space.at, (size_t)n };
	return RESULT_OK;
}

static enum result path_rest(const struct request_view *v, struct space space,
			     struct slice *value)
{
	if (!v->route || slice_equal(v->path, SLICE("*")))
		return RESULT_NONE;
	ASSERT(v->path.len >= v->route->path.len);
	return decode(slice_after(v->path, v->route->path.len), false, space, value);
}

static enum result query(struct slice name, const struct request_view *v,
			 struct space space, struct slice *value)
{
	struct slice rest = v->head->query, text;

	if (query_next(&rest, name, &text))
		return decode(text, true, space, value);
	return RESULT_NONE;
}

static enum result header(struct slice name, const struct request_view *v,
			  struct slice *value)
{
	const struct field *f = head_find_name(v->head, name);

	if (!f)
		return RESULT_NONE;
	*value = f->value;
	return RESULT_OK;
}

static enum result cookie(struct slice name, const struct request_view *v,
			  struct slice *value)
{
	for (unsigned i = 0; i < v->head->field_n; i++) {
		struct slice rest = v->head->fields[i].value;

		if (v->head->fields[i].header == HEADER_COOKIE &&
		    cookie_next(&rest, name, value))
			return RESULT_OK;
	}
	return RESULT_NONE;
}

static enum result non_empty(struct slice text, struct slice *value)
{
	*value = text;
	return text.len > 0 ? RESULT_OK : RESULT_NONE;
}

/* The text of a row of variables.def about TLS. */
static struct slice tls_text(enum variable id, const struct client_tls *t)
{
	switch ((unsigned)id) {
	case VARIABLE_TLS_VERSION:
		return t->version;
	case VARIABLE_TLS_CIPHER:
		return t->cipher;
	case VARIABLE_TLS_SNI:
		return t->sni;
	case VARIABLE_TLS_ALPN:
		return t->alpn;
	case VARIABLE_TLS_JA4:
		return t->ja4;
	case VARIABLE_TLS_RESUMED:
		return t->resumed;
	case VARIABLE_TLS_CLIENT_SUBJECT:
		return t->subject;
	case VARIABLE_TLS_CLIENT_ISSUER:
		return t->issuer;
	case VARIABLE_TLS_CLIENT_SAN:
		return t->san;
	case VARIABLE_TLS_CLIENT_SERIAL:
		return t->serial;
	case VARIABLE_TLS_CLIENT_FINGERPRINT:
		return t->fingerprint;
	}
	ASSERT(!"not about TLS");
	return SLICE("");
}

static enum result evaluate(enum variable id, struct slice argument,
			    const struct request_view *v, struct space space,
			    struct slice *value)
{
	switch (id) {
	case VARIABLE_PATH:
		return non_empty(v->head->path, value);
	case VARIABLE_PATH_REST:
		return path_rest(v, space, value);
	case VARIABLE_QUERY:
		return query(argument, v, space, value);
	case VARIABLE_HEADER:
		return header(argument, v, value);
	case VARIABLE_COOKIE:
		return cookie(argument, v, value);
	case VARIABLE_HOST:
		return non_empty(v->host, value);
	case VARIABLE_METHOD:
		return non_empty(v->head->method_token, value);
	case VARIABLE_CLIENT_ADDRESS:
		return non_empty(v->client, value);
	case VARIABLE_TRACE_ID:
		return non_empty(v->trace_id, value);
	case VARIABLE_REQUEST_ID:
		return non_empty(v->request_id, value);
	case VARIABLE_AUTH_USER:
		return non_empty(v->user, value);
	case VARIABLE_TLS_VERSION:
	case VARIABLE_TLS_CIPHER:
	case VARIABLE_TLS_SNI:
	case VARIABLE_TLS_ALPN:
	case VARIABLE_TLS_JA4:
	case VARIABLE_TLS_RESUMED:
	case VARIABLE_TLS_CLIENT_SUBJECT:
	case VARIABLE_TLS_CLIENT_ISSUER:
	case VARIABLE_TLS_CLIENT_SAN:
	case VARIABLE_TLS_CLIENT_SERIAL:
	case VARIABLE_TLS_CLIENT_FINGERPRINT:
		return v->tls ? non_empty(tls_text(id, v->tls), value) : RESULT_NONE;
#define LOG_VARIABLE(name, text, help) case LOG_VARIABLE_##name:
#include "config/logvariables.def"
#undef LOG_VARIABLE
	case LOG_VARIABLES_END:
		break; /* those of access.c */
	case VARIABLE_NONE:
		*value = argument;
		return RESULT_OK;
	}
	return RESULT_NONE;
}

bool variable_value(enum variable id, struct slice argument, const struct request_view *v,
		    char *out, size_t size, struct slice *value)
{
	return evaluate(id, argument, v, (struct space){ out, size }, value) == RESULT_OK;
}

long variable_expand(const struct template *t, const struct request_view *v, char *out,
		     size_t size)
{
	struct space space = { out, size };

	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *part = &t->parts[i];
		struct slice value;
		enum result result = evaluate(part->variable, part->text, v, space,
					      &value);

		if (result != RESULT_OK)
			return result;
		if (value.len > space.size)
			return RESULT_LONG;
		if (value.len > 0 && value.ptr != space.at)
			memcpy(space.at, value.ptr, value.len);
		space.at += value.len;
		space.size -= value.len;
	}
	return space.at - out;
}

/* ---- several values ------------------------------------------------------------ */

static bool queries_differ(struct slice name, const struct request_view *v)
{
	struct slice rest = v->head->query, first, other;

	if (!query_next(&rest, name, &first))
		return false;
	while (query_next(&rest, name, &other))
		if (!slice_equal(first, other))
			return true;
	return false;
}

/* A field of another spelling differs from having none: it alone is not the variable's value. */
static bool headers_differ(struct slice name, const struct request_view *v)
{
	const struct field *first = head_find_name(v->head, name);

	for (unsigned i = 0; i < v->head->field_n; i++) {
		const struct field *f = &v->head->fields[i];

		if (field_names_alike(f->name, name) &&
		    !(first && slice_equal(f->value, first->value)))
			return true;
	}
	return false;
}

static bool cookies_differ(struct slice name, const struct request_view *v)
{
	struct slice first, other;
	bool found = cookie(name, v, &first) == RESULT_OK;

	for (unsigned i = 0; i < v->head->field_n && found; i++) {
		struct slice rest = v->head->fields[i].value;

		if (v->head->fields[i].header != HEADER_COOKIE)
			continue;
		while (cookie_next(&rest, name, &other))
			if (!slice_equal(first, other))
				return true;
	}
	return false;
}

bool variable_is_ambiguous(enum variable id, struct slice argument,
			   const struct request_view *v)
{
	switch ((unsigned)id) {
	case VARIABLE_QUERY:
		return queries_differ(argument, v);
	case VARIABLE_HEADER:
		return headers_differ(argument, v);
	case VARIABLE_COOKIE:
		return cookies_differ(argument, v);
	}
	return false;
}
