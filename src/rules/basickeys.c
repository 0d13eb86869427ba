/* The keys of the rule `basic_auth`: read and printed. */
#include "basicauth.h"

#include <string.h>

#include "base/check.h"

enum { KEY_USERS };

static const struct key basic_auth_keys[] = {
	[KEY_USERS] = NODE_ROW(
		users, "FILE", "required",
		"file with a line NAME:HASH for each user, as `htpasswd -B` makes it; hashes are "
		"bcrypt, SHA-256 or SHA-512 ($5$, $6$), yescrypt or scrypt; relative to the folder "
		"of this file, and read again as `certificates.watch` says"),
	KEY_ROW(struct config_basic_auth, realm, VALUE, realm, "restricted", 0, 0, NULL,
		ANY, "name of what is protected, which browsers may show"),
	KEY_ROW(struct config_basic_auth, forward, WORD, forward, "off", 0, 0, "off|on",
		ANY,
		"on: the Authorization field goes on to the server, with the password"),
	KEY_ROW(struct config_basic_auth, cache, DURATION, cache_ms, "5m", 1000, 86400000,
		"off", ANY,
		"how long a verified name and password need not be verified again, which takes "
		"milliseconds of CPU time; a changed file takes effect at once"),
};

static const struct section basic_auth_section = { "routes[].basic_auth.",
						   basic_auth_keys,
						   COUNT(basic_auth_keys) };
const struct section *const basic_auth_sections[] = { &basic_auth_section, NULL };

/* Reads the users. A file that cannot be used leaves the previous one in force, at a reload. */
static void users_take(struct config_reader *r, const struct node *n,
		       const struct config_file *file, struct config_basic_auth *b)
{
	struct arena *memory = reader_memory(r);
	struct users_fault fault;
	const char *text, *remedy;

	if (users_read(&b->users, file->bytes, memory, &fault))
		return;
	text = arena_format(memory, "line %u: %s", fault.line, fault.text);
	if (file_revert(r, n, file, text) &&
	    users_read(&b->users, file->bytes, memory, &fault))
		return;
	remedy = strrchr(text, ';');
	ASSERT(remedy);
	report_error(reader_report(r), n->at, "'%s' cannot be used (%.*s); %s", file->text,
		     (int)(remedy - text), text, remedy + 2);
}

/* Basic realm="…", charset="UTF-8" (RFC 7617 2) */
static struct slice challenge_text(struct arena *memory, struct slice realm)
{
	char *quoted = arena_alloc(memory, 2 * realm.len + 1), *at = quoted;

	for (size_t i = 0; i < realm.len; i++) {
		if (realm.ptr[i] == '"' || realm.ptr[i] == '\\')
			*at++ = '\\';
		*at++ = realm.ptr[i];
	}
	return slice_of(
		arena_format(memory, "Basic realm=\"%s\", charset=\"UTF-8\"", quoted));
}

const void *basic_auth_read(struct config_reader *r, const struct node *n,
			    struct config_route *route)
{
	struct config_basic_auth *b = arena_alloc(reader_memory(r), sizeof(*b));
	struct section_values values;
	const struct config_file *file;

	(void)route;
	if (!section_read(r, n, &basic_auth_section, b, &values) || !values.of[KEY_USERS])
		return b;
	b->challenge = challenge_text(reader_memory(r), b->realm);
	file = file_read(r, values.of[KEY_USERS], "'users: FILE'");
	if (!file)
		return b;
	b->file = file->text;
	users_take(r, values.of[KEY_USERS], file, b);
	return b;
}

void basic_auth_print(FILE *out, const struct config *c, const void *options)
{
	const struct config_basic_auth *b = options;

	(void)c;
	print_indent(out, ACTION_DEPTH);
	fputs("basic_auth:\n", out);
	print_indent(out, ACTION_DEPTH + 1);
	print_text(out, "users", slice_of(b->file));
	print_section(out, &basic_auth_section, b, ACTION_DEPTH + 1, PROTOCOL_ANY);
}
