/* Texts that look like a feature of other programs (variables, patterns, URLs), which the key does
 * not have. */
#include "reader.h"

#include <ctype.h>

#include "value.h"

static struct slice slice_range(struct slice text, size_t at, size_t end)
{
	return (struct slice){ text.ptr + at, end - at };
}

/* The text from `at` to the closing byte, if there is something in between; otherwise empty. */
static struct slice enclosed(struct slice text, size_t at, char close)
{
	const char *end = memchr(text.ptr + at, close, text.len - at);

	/* "[]" occurs in names of parameters. */
	return slice_range(text, at,
			   end && end > text.ptr + at + 1 ? (size_t)(end - text.ptr) + 1
							  : at);
}

static size_t word_end(struct slice text, size_t at)
{
	while (at < text.len &&
	       (isalnum((unsigned char)text.ptr[at]) || text.ptr[at] == '_'))
		at++;
	return at;
}

/* A variable as in nginx, such as "$1" or "$uri"; not "/$metadata", a path of OData. */
static struct slice nginx_variable(struct slice text, size_t at)
{
	static const char *const known[] = {
		"args",        "document_uri", "host",         "is_args",
		"path",        "query",        "query_string", "remote_addr",
		"request_uri", "scheme",       "server_name",  "uri",
	};
	struct slice name = slice_range(text, at + 1, word_end(text, at + 1));

	if (name.len == 0)
		return slice_range(text, at, at + 1 == text.len ? at + 1 : at);
	if (isdigit((unsigned char)name.ptr[0]))
		return slice_range(text, at, at + 1 + name.len);
	for (size_t i = 0; i < COUNT(known); i++)
		if (slice_equal(name, slice_of(known[i])))
			return slice_range(text, at, at + 1 + name.len);
	return slice_range(text, at, at);
}

/* The first piece that looks like a pattern or a variable of another program; empty: none. */
static struct slice pattern_in_path(struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		struct slice found = slice_range(text, i, i);

		switch (text.ptr[i]) {
		case '*':
		case '^':
		case '|':
		case '\\':
			found = slice_range(text, i, i + 1);
			break;
		case '{':
			found = enclosed(text, i, '}');
			break;
		case '<':
			found = enclosed(text, i, '>');
			break;
		case '(':
			found = enclosed(text, i, ')');
			break;
		case '[':
			found = enclosed(text, i, ']');
			break;
		case '$':
			found = nginx_variable(text, i);
			break;
		case ':':
			if (i > 0 && text.ptr[i - 1] == '/')
				found = slice_range(text, i, word_end(text, i + 1));
			if (found.len == 1)
				found.len = 0;
			break;
		}
		if (found.len > 0)
			return found;
	}
	return (struct slice){ NULL, 0 };
}

static void path_suspect(struct config_reader *r, const struct node *n,
			 const struct key *k)
{
	struct slice found = pattern_in_path(n->text);
	struct source_pos at =
		found.len > 0 ? node_text_pos(n, (size_t)(found.ptr - n->text.ptr))
			      : n->at;
	int before = (int)(found.ptr - n->text.ptr);

	if (found.len == 0)
		return;
	if (k != KEY_OF(route, path) && k != KEY_OF(route, prefix))
		report_warning(
			&r->report, at,
			"'%s' takes no patterns or variables, so '%.*s' is sent literally; "
			"write the path itself",
			k->name.ptr, REPORT_ARG(found));
	else
		report_warning(
			&r->report, at,
			"'%s' takes no patterns, so '%.*s' is matched literally; write "
			"'prefix: %.*s' to match all paths that begin with it",
			k->name.ptr, REPORT_ARG(found), before, n->text.ptr);
}

/* Splits a URL into host and path. False: the text is not a URL. */
static bool url_split(struct slice text, struct slice *host, struct slice *path)
{
	const char *mark = memmem(text.ptr, text.len, "://", 3), *slash;

	if (!mark || text.ptr[0] == '/')
		return false;
	*host = slice_after(text, (size_t)(mark + 3 - text.ptr));
	slash = memchr(host->ptr, '/', host->len);
	*path = slash ? slice_after(*host, (size_t)(slash - host->ptr)) : SLICE("/");
	if (slash)
		host->len = (size_t)(slash - host->ptr);
	return true;
}

static bool url_suspect(struct config_reader *r, const struct node *n,
			const struct key *k, bool path)
{
	struct slice host, rest;

	if (!url_split(n->text, &host, &rest))
		return true;
	if (path)
		report_error(&r->report, n->at, "'%s' takes no URL; write '%.*s'",
			     k->name.ptr, REPORT_ARG(rest));
	else
		report_error(&r->report, n->at, "'%s' takes no URL; write '%.*s'",
			     k->name.ptr, REPORT_ARG(host));
	return false;
}

/* The `host` of a route. */
static bool host_suspect(struct config_reader *r, const struct node *n,
			 const struct key *k)
{
	struct slice text = n->text;

	if (!url_suspect(r, n, k, false))
		return false;
	/* As in nginx. */
	if (slice_equal(text, SLICE("_")) || slice_equal(text, SLICE("default")))
		report_warning(
			&r->report, n->at,
			"'%s' matches only a host with this name; remove the key to match "
			"any host",
			k->name.ptr);
	return true;
}

static bool log_suspect(struct config_reader *r, const struct node *n, bool is_error_log)
{
	struct slice text = n->text;

	if (is_error_log && (value_is_off(text) || slice_equal(text, SLICE("none"))))
		report_error(
			&r->report, n->at,
			"'path' is the name of a file; write 'level: error' for few lines");
	else if (value_is_off(text) || slice_equal(text, SLICE("none")))
		report_error(
			&r->report, n->at,
			"'path' is the name of a file; write 'access_log: off' to disable "
			"the log");
	else if (slice_equal(text, SLICE("stdout")) || slice_equal(text, SLICE("stderr")))
		report_warning(
			&r->report, n->at,
			"'%.*s' is taken as the name of a file; write \"-\" for standard %s",
			SLICE_ARG(text), is_error_log ? "error" : "output");
	else if (slice_starts(text, SLICE("syslog:")) || slice_equal(text, SLICE("journald")) ||
		 memmem(text.ptr, text.len, "://", 3))
		report_error(
			&r->report, n->at,
			"'path' is the name of a file; write /PATH, or \"-\" for standard "
			"%s; or 'syslog: ADDRESS' or 'journald: on' instead of it",
			is_error_log ? "error" : "output");
	else
		return true;
	return slice_equal(text, SLICE("stdout")) || slice_equal(text, SLICE("stderr"));
}

bool suspect_text(struct config_reader *r, const struct node *n, const struct key *k)
{
	const char *variable = memmem(n->text.ptr, n->text.len, "${", 2);
	bool is_path = k->kind == KIND_PATH || k == KEY_OF(route, path) ||
		       k == KEY_OF(route, prefix);

	if (variable) {
		report_error(&r->report,
			     node_text_pos(n, (size_t)(variable - n->text.ptr)),
			     "'%s' cannot contain variables; write the text itself",
			     k->name.ptr);
		return false;
	}
	if (is_path && !url_suspect(r, n, k, true))
		return false;
	if (is_path)
		path_suspect(r, n, k);
	if (k == KEY_OF(route, host))
		return host_suspect(r, n, k);
	if (k->kind == KIND_HOST)
		return url_suspect(r, n, k, false);
	if (k == KEY_OF(access_log, path) || k == KEY_OF(error_log, path))
		return log_suspect(r, n, k == KEY_OF(error_log, path));
	if (k == KEY_OF(memcached, content_type) &&
	    !memchr(n->text.ptr, '/', n->text.len))
		report_warning(
			&r->report, n->at,
			"'%.*s' is not a media type; write TYPE/SUBTYPE, as in text/plain",
			REPORT_ARG(n->text));
	return true;
}

void suspect_template(struct config_reader *r, const struct node *n)
{
	for (size_t i = 0; i < n->text.len; i++) {
		struct slice found;

		if (n->text.ptr[i] != '{')
			continue;
		found = enclosed(n->text, i, '}');
		if (found.len == 0 || (i > 0 && n->text.ptr[i - 1] == '$')) {
			i += found.len > 0 ? found.len - 1 : 0;
			continue;
		}
		report_warning(&r->report, node_text_pos(n, i),
			       "'%.*s' is literal text; write '$%.*s' for a variable",
			       REPORT_ARG(found), REPORT_ARG(found));
		return;
	}
}
