/* `include`: further files whose keys are added to those of the configuration file.
 *
 * A transformation of the tree, before anything is read from it. The files and what the patterns
 * matched are in the snapshot. Positions name their file.
 * Limits: FILES_MAX files, nested up to DEPTH_MAX deep; CONFIG_FILE_BYTES_MAX for all together. */
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "reader.h"

#define FILES_MAX 10000
#define DEPTH_MAX 8

/* A file that is being included, or was. */
struct included {
	struct included *previous;
	const char *path;
	struct source_pos at; /* of its pattern */
	dev_t dev;
	ino_t ino;
	bool done; /* its own `include` has been followed */
};

struct inclusion {
	struct config_reader *r;
	struct node *root; /* what the files add up to */
	struct included *files;
	unsigned n;
	size_t bytes;
};

struct slice folder_of(const struct config_reader *r, const struct node *n)
{
	const char *file = n->at.file > 0 ? report_file_name(&r->report, n->at.file)
					  : r->config->file;
	const char *slash = strrchr(file, '/');

	return (struct slice){ file, slash ? (size_t)(slash - file) + 1 : 0 };
}

/* ---- adding up ------------------------------------------------------------------ */

static bool is_any_of(const struct node *n, const char *const *names)
{
	while (*names && !(n->key->kind == NODE_SCALAR &&
			   slice_equal(n->key->text, slice_of(*names))))
		names++;
	return *names;
}

static struct node *same_key(struct node *map, const struct node *key)
{
	struct node *n = map->children;

	while (n &&
	       !(n->key->kind == NODE_SCALAR && slice_equal(n->key->text, key->text)))
		n = n->next;
	return n;
}

static void entries_append(struct inclusion *in, struct node *to, const struct node *from)
{
	for (const struct node *n = from->children; n; n = n->next) {
		struct node *copy = arena_copy(&in->r->scratch, n, sizeof(*n));

		copy->next = NULL;
		node_append(to, copy);
	}
}

/* A list or map with the entries of `n`: aliases may share those of `n` itself. */
static struct node *own_copy(struct inclusion *in, const struct node *n)
{
	struct node *copy = arena_copy(&in->r->scratch, n, sizeof(*n));

	copy->next = NULL;
	if (n->kind == NODE_SCALAR)
		return copy;
	copy->children = copy->last = NULL;
	copy->child_n = copy->height = 0;
	copy->weight = 1;
	entries_append(in, copy, n);
	return copy;
}

/* Adds a key of a file. A key that cannot be added up is there twice, which section_read()
 * reports. */
static void key_add(struct inclusion *in, const struct node *n)
{
	static const char *const lists[] = { "listen", "trusted_proxies", "routes",
					     NULL };
	static const char *const maps[] = { "upstreams", "hosts", "addresses", NULL };
	bool list = is_any_of(n, lists), map = is_any_of(n, maps);
	struct node *before;

	if (list)
		n = list_of(in->r, n);
	before = list || map ? same_key(in->root, n->key) : NULL;
	if (before && before->kind == n->kind && n->kind == (list ? NODE_LIST : NODE_MAP))
		entries_append(in, before, n);
	else
		node_append(in->root, own_copy(in, n));
}

/* ---- files ---------------------------------------------------------------------- */

static void file_include(struct inclusion *in, const struct node *n, const char *path,
			 unsigned depth);

/* Appends `text` to a pattern in which nothing of it is special. */
static void literal_append(char *pattern, struct slice text)
{
	size_t n = strlen(pattern);

	for (size_t i = 0; i < text.len; i++) {
		if (strchr("*?[\\", text.ptr[i]))
			pattern[n++] = '\\';
		pattern[n++] = text.ptr[i];
	}
	pattern[n] = '\0';
}

/* The paths that a pattern matches, sorted, each with a NUL; without a special character itself. */
static struct slice matches_of(struct inclusion *in, const char *pattern)
{
	struct slice key = slice_of(pattern), paths = { "", 0 };
	glob_t found = { 0 };
	char *at;

	if (in->r->snapshot.replayed) {
		snapshot_find(&in->r->snapshot, RECORD_MATCHES, key, &paths);
		return paths;
	}
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			paths.len += strlen(found.gl_pathv[i]) + 1;
		paths.ptr = at = arena_alloc(&in->r->scratch, paths.len);
		for (size_t i = 0; i < found.gl_pathc; i++)
			at = stpcpy(at, found.gl_pathv[i]) + 1;
	}
	globfree(&found);
	snapshot_add(&in->r->snapshot, RECORD_MATCHES, key, paths);
	return paths;
}

static void pattern_include(struct inclusion *in, const struct node *n, unsigned depth)
{
	struct slice folder, paths;
	char *pattern;

	if (!scalar_check(in->r, n, "a pattern, as in 'include: [sites/*.yaml]'"))
		return;
	folder = n->text.ptr[0] == '/' ? SLICE("") : folder_of(in->r, n);
	pattern = arena_alloc(&in->r->scratch, 2 * folder.len + n->text.len + 1);
	literal_append(pattern, folder);
	memcpy(pattern + strlen(pattern), n->text.ptr, n->text.len);
	paths = matches_of(in, pattern);
	if (paths.len == 0 && !strpbrk(arena_text(&in->r->scratch, n->text), "*?["))
		report_error(
			&in->r->report, n->at,
			"'%.*s' does not exist; write the path of a file, or a pattern such "
			"as sites/*.yaml",
			REPORT_ARG(n->text));
	for (const char *path = paths.ptr; path < paths.ptr + paths.len;
	     path += strlen(path) + 1)
		file_include(in, n, arena_text(in->r->memory, slice_of(path)), depth);
}

/* A file that includes itself, or that is there twice. */
static bool is_twice(struct inclusion *in, const struct node *n, const char *path,
		     const struct stat *st)
{
	for (const struct included *f = in->files; f; f = f->previous) {
		if (f->dev != st->st_dev || f->ino != st->st_ino)
			continue;
		if (!f->done)
			report_error(
				&in->r->report, n->at,
				"'%s' includes itself, directly or by a file that it includes; "
				"remove it here, or use a pattern that does not match it",
				path);
		else
			report_error(
				&in->r->report, n->at,
				"'%s' is included already, on %s; remove one of the two",
				path, report_line(&in->r->report, f->at, n->at));
		return true;
	}
	return false;
}

/* The text of a file. False: reported. */
static bool include_load(struct inclusion *in, const struct node *n, const char *path,
			 const struct stat *st, struct slice *text)
{
	struct config_reader *r = in->r;
	char *bytes = NULL;
	size_t size = 0;
	int error;

	if (r->snapshot.replayed)
		return snapshot_find(&r->snapshot, RECORD_INCLUDE, slice_of(path), text);
	/* A FIFO without a writer must not stop the reading. */
	error = S_ISFIFO(st->st_mode) ? -EINVAL : text_load(path, &bytes, &size);
	if (error == -EKEYREJECTED)
		report_error(
			&r->report, n->at,
			"'%s' is writable by all users, and fairlead runs as root; run "
			"'chmod o-w %s'",
			path, path);
	else if (error < 0)
		report_error(
			&r->report, n->at,
			"'%s' cannot be included (%s); write the path of a file that the user "
			"who starts fairlead can read",
			path, strerror(-error));
	else
		*text = (struct slice){ arena_copy(&r->scratch, bytes, size), size };
	free(bytes);
	if (error == 0)
		snapshot_add(&r->snapshot, RECORD_INCLUDE, slice_of(path), *text);
	return error == 0;
}

static bool is_include(const struct node *n)
{
	return n->key->kind == NODE_SCALAR && slice_equal(n->key->text, SLICE("include"));
}

/* The files that a file includes come behind its own keys. */
static void file_add(struct inclusion *in, const struct node *map, unsigned depth)
{
	for (const struct node *n = map->children; n; n = n->next)
		if (!is_include(n) || depth == 0)
			key_add(in, n);
	for (const struct node *n = map->children; n; n = n->next) {
		const struct node *list = is_include(n) ? list_of(in->r, n) : NULL;

		if (list && children_check(in->r, list, NODE_LIST, FILES_MAX,
					   "'include: [sites/*.yaml]'"))
			for (const struct node *p = list->children; p; p = p->next)
				pattern_include(in, p, depth);
	}
}

static bool within_limits(struct inclusion *in, const struct node *n, unsigned depth,
			  size_t bytes)
{
	in->bytes += bytes;
	if (in->n >= FILES_MAX)
		report_error(&in->r->report, n->at,
			     "more than %d files are included; use fewer", FILES_MAX);
	else if (depth == DEPTH_MAX)
		report_error(
			&in->r->report, n->at,
			"files include each other more than %d levels deep; use fewer levels",
			DEPTH_MAX);
	else if (in->bytes > CONFIG_FILE_BYTES_MAX)
		report_error(&in->r->report, n->at,
			     "the files together are larger than %zu bytes; shorten them",
			     CONFIG_FILE_BYTES_MAX);
	else
		return true;
	return false;
}

static void file_include(struct inclusion *in, const struct node *n, const char *path,
			 unsigned depth)
{
	struct config_reader *r = in->r;
	struct stat st = { 0 };
	struct included *f = arena_alloc(&r->scratch, sizeof(*f));
	struct slice text;
	const struct node *map;

	if (!r->snapshot.replayed && stat(path, &st) == 0 && is_twice(in, n, path, &st))
		return;
	if (!include_load(in, n, path, &st, &text) ||
	    !within_limits(in, n, depth, text.len))
		return;
	*f = (struct included){ in->files, path, n->at, st.st_dev, st.st_ino, false };
	in->files = f;
	in->n++;
	map = node_read(text, report_file(&r->report, path), &r->scratch, &r->report);
	if (map && map->kind == NODE_MAP)
		file_add(in, map, depth + 1);
	else if (map && !node_is_null(map))
		report_error(&r->report, map->at,
			     "an included file has keys; write 'key: value'");
	f->done = true;
}

const struct node *includes_read(struct config_reader *r, const struct node *root,
				 size_t bytes)
{
	struct inclusion in = { .r = r, .bytes = bytes };
	struct included self = { .path = r->config->file };
	const struct node *n = root->children;
	struct stat st;

	if (root->kind != NODE_MAP)
		return root;
	while (n && !is_include(n))
		n = n->next;
	if (!n)
		return root;
	if (!r->snapshot.replayed && stat(self.path, &st) == 0) {
		self.dev = st.st_dev;
		self.ino = st.st_ino;
		in.files = &self;
	}
	in.root = arena_copy(&r->scratch, root, sizeof(*root));
	in.root->children = in.root->last = NULL;
	in.root->child_n = in.root->height = 0;
	in.root->weight = 1;
	file_add(&in, root, 0);
	return in.root;
}
