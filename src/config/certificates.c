/* Certificates with their private keys: reads the files of `certificates`, and decides which pairs
 * are used. A pair that cannot be used is refused: the one of the previous configuration with the
 * same paths stays in force. */
#include "contents.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "address.h"

#define FORM "FILE, or { chain: FILE, key: FILE }"
#define SUFFIX ".pem"

/* The value of a RECORD_PAIR: this and the contents. */
struct pair_record {
	uint32_t chain_n, key_n; /* key_n 0: the key is in the file of the chain */
};

/* What was read from the files of a pair, and why it cannot be used. */
struct candidate {
	const char *chain_path, *key_path; /* equal: one file */
	struct slice chain, key;
	const char *fault; /* NULL: usable */
	bool exposed;      /* all users may read the private key */
};

static bool is_one_file(const struct candidate *c)
{
	return strcmp(c->chain_path, c->key_path) == 0;
}

static struct slice key_of(struct config_reader *r, const struct candidate *c)
{
	size_t n = strlen(c->chain_path);
	size_t m = strlen(c->key_path);
	char *key = arena_alloc(&r->scratch, n + m + 2);

	memcpy(key, c->chain_path, n);
	key[n] = '\n';
	memcpy(key + n + 1, c->key_path, m);
	return (struct slice){ key, n + 1 + m };
}

/* ---- the snapshot ------------------------------------------------------------ */

static void record_put(struct config_reader *r, struct slice key,
		       const struct candidate *c)
{
	struct pair_record record = {
		.chain_n = (uint32_t)c->chain.len,
		.key_n = is_one_file(c) ? 0 : (uint32_t)c->key.len,
	};
	size_t n = sizeof(record) + record.chain_n + record.key_n;
	char *value = arena_alloc(r->memory, n);

	memcpy(value, &record, sizeof(record));
	memcpy(value + sizeof(record), c->chain.ptr, record.chain_n);
	memcpy(value + sizeof(record) + record.chain_n, c->key.ptr, record.key_n);
	snapshot_add(r->contents, RECORD_PAIR, key, (struct slice){ value, n });
}

static bool record_find(struct config_reader *r, struct snapshot *s, struct slice key,
			struct candidate *c)
{
	struct pair_record record;
	struct slice value;
	const char *at;

	if (!snapshot_find(s, RECORD_PAIR, key, &value) || value.len < sizeof(record))
		return false;
	memcpy(&record, value.ptr, sizeof(record));
	if (value.len - sizeof(record) != (size_t)record.chain_n + record.key_n)
		return false;
	at = arena_copy(r->memory, value.ptr + sizeof(record),
			value.len - sizeof(record));
	c->chain = (struct slice){ at, record.chain_n };
	c->key = is_one_file(c) ? c->chain
				: (struct slice){ at + record.chain_n, record.key_n };
	c->fault = NULL;
	c->exposed = false;
	return true;
}

static bool is_equal(const struct candidate *a, const struct candidate *b)
{
	return slice_equal(a->chain, b->chain) && slice_equal(a->key, b->key);
}

/* ---- one pair ---------------------------------------------------------------- */

static const struct config_pair *pair_store(struct config_reader *r, struct slice key,
					    const struct candidate *c)
{
	struct config_pair *pair = arena_alloc(r->memory, sizeof(*pair));
	const struct slice parts[] = { c->chain, c->key };

	*pair = (struct config_pair){ .chain_path = c->chain_path,
				      .key_path = c->key_path,
				      .chain = c->chain,
				      .key = c->key,
				      .index = r->config->pair_n++,
				      .next = r->config->pairs };
	tls_digest(parts, COUNT(parts), pair->digest);
	r->config->pairs = pair;
	stored_put(r, key, pair);
	if (!r->contents->replayed)
		record_put(r, key, c);
	return pair;
}

static struct tls_pair pair_of(const struct candidate *c)
{
	return (struct tls_pair){ .name = slice_of(c->chain_path),
				  .chain = c->chain,
				  .key = c->key };
}

/* Sets `fault`; `expired` is a reason only if there is something to keep instead. */
static void candidate_check(struct config_reader *r, struct candidate *c, bool expired)
{
	struct tls_pair pair = pair_of(c);
	struct tls_certificate *certificate;
	char error[512];
	time_t now = time(NULL);

	if (!tls_certificate_read(&pair, &certificate, error, sizeof(error))) {
		c->fault = arena_text(&r->scratch, slice_of(error));
		return;
	}
	if (expired && certificate->not_after <= now)
		c->fault = arena_format(&r->scratch, "%s has expired; use its successor",
					c->chain_path);
	else if (expired && certificate->not_before > now)
		c->fault = arena_format(&r->scratch,
					"%s is not valid yet; check the clock",
					c->chain_path);
	tls_certificate_free(certificate);
}

static const char *load_fault(struct config_reader *r, const char *path,
			      const char *fault)
{
	return fault ? arena_format(
			       &r->scratch,
			       "'%.*s' cannot be read (%s); write the path of a PEM file "
			       "that the user who starts fairlead can read",
			       REPORT_ARG(slice_of(path)), fault)
		     : NULL;
}

static void candidate_load(struct config_reader *r, struct candidate *c)
{
	c->fault = load_fault(
		r, c->chain_path,
		contents_load(r->memory, c->chain_path, &c->chain, &c->exposed));
	if (is_one_file(c)) {
		c->key = c->chain;
	} else if (!c->fault) {
		c->fault = load_fault(
			r, c->key_path,
			contents_load(r->memory, c->key_path, &c->key, &c->exposed));
	}
}

/* Reads a pair and checks it, unless the previous configuration has the same. */
static void candidate_read(struct config_reader *r, struct candidate *c,
			   const struct candidate *previous)
{
	candidate_load(r, c);
	if (c->fault || (previous && is_equal(c, previous)))
		return;
	candidate_check(r, c, previous != NULL);
}

static void warn_exposed(struct config_reader *r, const struct node *n,
			 const struct candidate *c)
{
	if (c->exposed && !c->fault)
		report_warning(&r->report, n->at,
			       "all users can read the private key in '%s'; run "
			       "'chmod o-r %s'",
			       c->key_path, c->key_path);
}

static void report_kept(struct config_reader *r, const struct node *n,
			const struct candidate *c, struct slice key, bool left_out)
{
	struct slice parts[] = { c->chain, c->key, slice_of(c->fault) };

	if (contents_refuse(r, key, parts, COUNT(parts)))
		CONTENTS_WARN(r, node_pos(n), "%s: %s",
			      left_out ? "a certificate is left out"
				       : "the previous certificate stays in force",
			      c->fault);
}

/* The pair of these files; in a folder, one that cannot be used is left out after the start. NULL:
 * reported. */
static const struct config_pair *pair_take(struct config_reader *r, const struct node *n,
					   struct candidate *c, bool in_folder)
{
	struct slice key = key_of(r, c);
	struct candidate previous = *c;
	bool has_previous;
	void *stored = stored_find(r, key);

	if (stored)
		return stored;
	if (r->contents->replayed) {
		if (record_find(r, r->contents, key, c))
			return pair_store(r, key, c);
		report_error(&r->report, n->at, "%s", address_not_in_snapshot);
		return NULL;
	}
	has_previous = record_find(r, &r->previous, key, &previous);
	candidate_read(r, c, has_previous ? &previous : NULL);
	warn_exposed(r, n, c);
	if (!c->fault)
		return pair_store(r, key, c);
	if (has_previous) {
		report_kept(r, n, c, key, false);
		return pair_store(r, key, &previous);
	}
	if (in_folder && r->previous.n > 0)
		report_kept(r, n, c, key, true);
	else
		report_error(&r->report, n->at, "%s", c->fault);
	return NULL;
}

static const char *path_of(struct config_reader *r, const struct node *n)
{
	return n && scalar_check(r, n, "FILE") ? contents_path(r, n) : NULL;
}

static const struct config_pair *pair_of_map(struct config_reader *r,
					     const struct node *n,
					     struct config_certificate *written)
{
	struct candidate c = { NULL };
	struct section_values values;

	section_read(r, n, &section_pair, written, &values);
	c.chain_path = path_of(r, values.of[KEY_pair_chain]);
	c.key_path = path_of(r, values.of[KEY_pair_key]);
	if (!c.chain_path || !c.key_path)
		return NULL;
	written->chain = contents_written(r, values.of[KEY_pair_chain]);
	written->key = contents_written(r, values.of[KEY_pair_key]);
	return pair_take(r, values.of[KEY_pair_chain], &c, false);
}

static const struct config_pair *pair_of_file(struct config_reader *r,
					      const struct node *n, const char *path,
					      bool in_folder)
{
	struct candidate c = { .chain_path = path, .key_path = path };

	return pair_take(r, n, &c, in_folder);
}

const struct config_pair *pair_read(struct config_reader *r, const struct node *n,
				    struct config_certificate *written)
{
	const char *path;

	if (n->kind == NODE_MAP)
		return pair_of_map(r, n, written);
	if (!scalar_check(r, n, FORM))
		return NULL;
	written->chain = contents_written(r, n);
	path = contents_path(r, n);
	return pair_of_file(r, n, path, false);
}

/* ---- folders ----------------------------------------------------------------- */

static int is_pem(const struct dirent *e)
{
	size_t n = strlen(e->d_name), suffix = strlen(SUFFIX);

	return n > suffix && e->d_name[0] != '.' &&
	       strcmp(e->d_name + n - suffix, SUFFIX) == 0;
}

/* The names of the *.pem files of a folder, each with a NUL. False: it cannot be read. */
static bool folder_list(struct arena *memory, const char *path, struct slice *names)
{
	struct dirent **all = NULL;
	int n = scandir(path, &all, is_pem, alphasort);
	size_t bytes = 0;
	char *at;

	if (n < 0)
		return false;
	for (int i = 0; i < n; i++)
		bytes += strlen(all[i]->d_name) + 1;
	at = arena_alloc(memory, bytes);
	*names = (struct slice){ at, bytes };
	for (int i = 0; i < n; i++) {
		at = stpcpy(at, all[i]->d_name) + 1;
		free(all[i]);
	}
	free(all);
	return true;
}

/* The files of `path` if it is a folder; none: it is a file, or does not exist. A folder that
 * cannot be read now has those of the previous configuration. */
static struct slice folder_names(struct config_reader *r, const struct node *n,
				 const char *path, bool *is_folder)
{
	struct slice names = { NULL, 0 }, key = slice_of(path);
	struct stat st;

	if (r->contents->replayed) {
		*is_folder = snapshot_find(r->contents, RECORD_FOLDER, key, &names) &&
			     names.len > 0;
		return names;
	}
	*is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
	if (*is_folder && !folder_list(&r->scratch, path, &names))
		report_error(
			&r->report, n->at,
			"the folder '%s' cannot be read (%s); use a folder that the user "
			"who starts fairlead can read",
			path, strerror(errno));
	else if (*is_folder && names.len == 0)
		report_error(
			&r->report, n->at,
			"the folder '%s' has no file NAME.pem; put one there, or remove "
			"it from this list",
			path);
	if (!*is_folder && snapshot_find(&r->previous, RECORD_FOLDER, key, &names))
		*is_folder = names.len > 0 && access(path, F_OK) < 0;
	if (!*is_folder)
		names = (struct slice){ NULL, 0 };
	snapshot_add(r->contents, RECORD_FOLDER, key, names);
	return names;
}

static void list_add(struct config_reader *r, const struct node *n,
		     struct pair_list *list, const struct config_pair *pair)
{
	if (!pair)
		return;
	if (list->n == CONFIG_CERTIFICATES_MAX)
		report_error(&r->report, n->at,
			     "there are more than %d certificates; use several listeners",
			     CONFIG_CERTIFICATES_MAX);
	else
		list->all[list->n++] = pair;
}

static void folder_read(struct config_reader *r, const struct node *n, const char *path,
			struct slice names, struct pair_list *list)
{
	size_t folder = strlen(path);

	for (const char *name = names.ptr; name < names.ptr + names.len;
	     name += strlen(name) + 1) {
		char *file = arena_alloc(r->memory, folder + strlen(name) + 2);

		memcpy(file, path, folder);
		file[folder] = '/';
		strcpy(file + folder + 1, name);
		list_add(r, n, list, pair_of_file(r, n, file, true));
	}
}

void certificates_read(struct config_reader *r, const struct node *n,
		       struct pair_list *list, struct config_certificate *written)
{
	struct slice names;
	const char *path;
	bool is_folder;

	if (n->kind == NODE_MAP) {
		list_add(r, n, list, pair_of_map(r, n, written));
		return;
	}
	if (!scalar_check(r, n, FORM))
		return;
	written->chain = contents_written(r, n);
	path = contents_path(r, n);
	names = folder_names(r, n, path, &is_folder);
	if (is_folder)
		folder_read(r, n, path, names, list);
	else
		list_add(r, n, list, pair_of_file(r, n, path, false));
}

/* ---- watching ---------------------------------------------------------------- */

static bool is_content(const char *path, struct slice content)
{
	struct arena memory = { 0 };
	struct slice bytes;
	bool exposed, same = !contents_load(&memory, path, &bytes, &exposed) &&
			     slice_equal(bytes, content);

	arena_cleanse(&memory);
	arena_free(&memory);
	return same;
}

static bool pair_changed(const struct config_pair *p)
{
	return !is_content(p->chain_path, p->chain) ||
	       (strcmp(p->key_path, p->chain_path) != 0 &&
		!is_content(p->key_path, p->key));
}

/* A folder that is not there is not a change: its certificates stay in use. */
static bool folder_changed(const char *path, struct slice names)
{
	struct arena memory = { 0 };
	struct slice now;
	bool changed = folder_list(&memory, path, &now) && !slice_equal(now, names);

	arena_free(&memory);
	return changed;
}

bool certificates_changed(const struct config *c)
{
	const struct snapshot all = { .bytes = (char *)(uintptr_t)c->snapshot.ptr,
				      .n = c->snapshot.len };
	struct slice path, names;
	bool changed = false;

	for (const struct config_pair *p = c->pairs; p && !changed; p = p->next)
		changed = pair_changed(p);
	for (size_t at = 0;
	     !changed && snapshot_next(&all, &at, RECORD_FOLDER, &path, &names);)
		if (names.len > 0) {
			char *text = strndup(path.ptr, path.len);

			ASSERT(text); /* out of memory: see arena.h */
			changed = folder_changed(text, names);
			free(text);
		}
	return changed;
}
