/* Changes of the fields of a head while it is written: fields added, set, removed, and values
 * replaced.
 *
 * A list of changes is made for one head. forward_request(), forward_response() and forward_reply()
 * put it between the fields and their sink (http/sink.h), so it applies to whatever they write:
 * fields as received, and those of our own. The first line is not changed, nor is a field that the
 * framing or the connection depends on: field_change_fault() has those names, and nobody may ask
 * for them.
 *
 * Later changes win: what adds, sets or removes a field undoes earlier ones of the same name.
 *
 * CGI (RFC 3875 4.1.18) and its like read "X_User" as "X-User". So a request goes on without the
 * received fields that are alike to one that is set or removed: field_changes_hide().
 *
 * Owner: the worker's scratch; names and values must be valid until the head is written. Limits:
 * FIELD_CHANGES_MAX changes, FIELD_CHANGES_TEXT bytes in `text`. Errors: a change too many is not
 * made, and its function says so. Pure. */
#ifndef HTTP_CHANGE_H
#define HTTP_CHANGE_H

#include "http/head.h"
#include "http/sink.h"

#define FIELD_CHANGES_MAX 128
#define FIELD_CHANGES_TEXT 65536
#define FIELD_CHANGE_NAME_MAX 128 /* bytes */

enum field_change_kind {
	FIELD_ADD,     /* appends a field */
	FIELD_SET,     /* removes all fields of the name, and appends one */
	FIELD_REMOVE,  /* removes all fields of the name */
	FIELD_REPLACE, /* replaces the value of one received field, also of one that was added */
};

struct field_change {
	enum field_change_kind kind;
	struct slice name, value;
	const char *received; /* FIELD_REPLACE: where the value of that field begins */
};

struct field_changes {
	unsigned n;
	size_t bytes; /* most bytes that they add to a head */
	struct emit
		text; /* a place for values: what is written here is valid as long as the list */
	struct field_change of[FIELD_CHANGES_MAX];
	char memory[FIELD_CHANGES_TEXT];
};

/* Begins an empty list. */
void field_changes_begin(struct field_changes *c);

/* Append a change. False: there is no room, and nothing changes. */
bool field_add(struct field_changes *c, struct slice name, struct slice value);
bool field_set(struct field_changes *c, struct slice name, struct slice value);
bool field_remove(struct field_changes *c, struct slice name);
bool field_replace(struct field_changes *c, const struct field *received,
		   struct slice value);

/* NULL: a field of this name may be changed. Otherwise why not, and the remedy: it is no name, or
 * too long, or one of those above. `request`: the head is that of a request. */
const char *field_change_fault(struct slice name, bool request);

/* True: the text can be the value of a field (RFC 9110 5.5): no control character but HTAB, nothing
 * blank at its ends. */
bool field_value_valid(struct slice value);

/* True: to CGI and its like both names are the same: equal but for case, and for characters that
 * are neither letters nor digits. */
bool field_names_alike(struct slice a, struct slice b);

/* Of a request: true: a received field of this name does not go on. `c` may be NULL. */
bool field_changes_hide(const struct field_changes *c, struct slice name);

/* The most bytes that the changes add; NULL: none. */
static inline size_t field_changes_max(const struct field_changes *c)
{
	return c ? c->bytes : 0;
}

/* A sink that applies changes, and writes to another sink. */
struct change_sink {
	struct sink sink;
	struct sink *inner;
	const struct field_changes *changes;
	struct emit kept; /* between begin() and finish() of a field that is removed */
	bool removing;
};

/* Returns the sink to write to: s->sink, or `inner` itself if there are no changes (NULL). The head
 * is complete in `inner` after end(). */
struct sink *change_sink_begin(struct change_sink *s, struct sink *inner,
			       const struct field_changes *changes);

#endif
