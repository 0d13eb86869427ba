#include "config/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/nearest.h"
#include "contents.h"
#include "reader.h"
#include "value.h"

#define FILES_COMPARED 1000 /* with the name of a file that does not exist */

static const struct source_pos start = { 1, 1, 0 };

static void trusted_proxies_read(struct config_reader *r, const struct node *n)
{
	const struct config_addresses *a = NULL;

	if (n->kind != NODE_LIST || n->child_n > 0)
		a = addresses_read(r, n, "'trusted_proxies: [10.0.0.0/8, unix]'");
	if (a)
		r->config->trust = *a;
}

static void limits_read(struct config_reader *r, const struct node *n)
{
	struct config_limits *l = &r->config->limits;
	struct section_values values;

	if (section_read(r, n, &section_limits, l, &values) && l->window > l->buffers)
		report_error(
			&r->report, node_pos(n),
			"'window' is larger than 'buffers'; write a smaller 'window', or "
			"larger 'buffers'");
}

/* Routes and `tracing` are read last, whatever their position: they refer to upstreams. */
static void top_read(struct config_reader *r, const struct node *root)
{
	static const struct {
		enum key_id key;
		void (*read)(struct config_reader *r, const struct node *n);
	} nodes[] = {
		{ KEY_top_addresses, address_groups_read },
		{ KEY_top_listen, listens_read },
		{ KEY_top_admin, admin_read },
		{ KEY_top_control, control_read },
		{ KEY_top_trusted_proxies, trusted_proxies_read },
		{ KEY_top_upstreams, upstreams_read },
		{ KEY_top_routes, routes_read },
	};
	struct section_values values, watch;

	root = inherit(r, root);
	if (!section_read(r, root, &section_top, r->config, &values))
		return;
	if (!values.of[KEY_top_routes])
		report_error(&r->report, node_pos(root),
			     "'routes' is missing; write 'routes: [{ path: /PATH, … }, …]'");
	user_read(r, values.of[KEY_top_user], values.of[KEY_top_group]);
	access_logs_read(r, values.of[KEY_top_access_log]);
	error_logs_read(r, values.of[KEY_top_error_log]);
	request_id_read(r, values.of[KEY_top_request_id]);
	limits_read(r, values.of[KEY_top_limits]);
	resolver_read(r, values.of[KEY_top_resolver]);
	section_read(r, values.of[KEY_top_certificates], &section_certificates, r->config,
		     &watch);
	for (size_t i = 0; i < COUNT(nodes); i++)
		if (values.of[nodes[i].key])
			nodes[i].read(r, values.of[nodes[i].key]);
	tracing_read(r, values.of[KEY_top_tracing]);
	contents_end(r);
	lookups_resolve(r);
	if (r->report.n == 0)
		upstreams_unused(r);
}

static void text_read(struct config_reader *r, struct slice text)
{
	const struct node *root;

	if (!r->snapshot.replayed)
		snapshot_add(&r->snapshot, RECORD_FILE, slice_of(r->config->file), text);
	if (text.len > CONFIG_FILE_BYTES_MAX) {
		report_error(&r->report, start,
			     "the file is larger than %zu bytes; shorten it",
			     CONFIG_FILE_BYTES_MAX);
		return;
	}
	root = node_read(text, 0, &r->scratch, &r->report);
	if (root && !node_is_null(root)) {
		contents_begin(r);
		root = includes_read(r, root, text.len);
		substitute(r, root);
		top_read(r, root);
	}
	else if (r->report.n == 0)
		report_error(
			&r->report, start,
			"the file is empty; write at least 'listen: [127.0.0.1:8080]', "
			"'upstreams' and 'routes'");
}

/* Prints errors and warnings. Returns the configuration; after errors frees it and returns NULL. */
static struct config *reader_finish(struct config_reader *r, FILE *errors)
{
	struct config *c = r->config;
	bool failed = r->report.n > 0;

	if (r->dns)
		dns_free(r->dns);
	report_print(&r->report, errors);
	report_done(&r->report);
	names_done(&r->upstreams);
	names_done(&r->known_names);
	names_done(&r->groups);
	names_done(&r->stored);
	if (c->has_secrets || c->pairs)
		arena_cleanse(&r->scratch);
	arena_free(&r->scratch);
	if (failed) {
		if (!r->contents->replayed)
			free(r->contents->bytes);
		patterns_free(c);
		if (c->has_secrets || c->pairs)
			arena_cleanse(r->memory);
		arena_free(r->memory);
		return NULL;
	}
	if (!r->contents->replayed)
		c->snapshot = snapshot_take(r->contents);
	c->memory = arena_alloc(r->memory, sizeof(*r->memory));
	*(struct arena *)c->memory = *r->memory;
	return c;
}

static bool is_input(const char *file)
{
	return strcmp(file, "-") == 0;
}

bool config_is_from_input(const struct config *c)
{
	return is_input(c->file);
}

static struct snapshot snapshot_of(struct slice bytes)
{
	return (struct snapshot){ .bytes = (char *)(uintptr_t)bytes.ptr,
				  .n = bytes.len,
				  .replayed = true };
}

struct slice config_source(const struct config *c)
{
	struct snapshot snapshot = snapshot_of(c->snapshot);
	struct slice file, text = { NULL, 0 };

	snapshot_first(&snapshot, RECORD_FILE, &file, &text);
	return text;
}

static void reader_init(struct config_reader *r, struct arena *memory, const char *file)
{
	*r = (struct config_reader){ .memory = memory,
				     .report.file = is_input(file) ? "standard input"
								   : file };
	r->contents = &r->snapshot;
	r->config = arena_alloc(memory, sizeof(*r->config));
	r->config->file = arena_text(memory, slice_of(file));
}

struct config *config_read_text(const char *file, struct slice text, FILE *errors)
{
	struct arena memory = { 0 };
	struct config_reader r;

	reader_init(&r, &memory, file);
	text_read(&r, text);
	return reader_finish(&r, errors);
}

struct config *config_read_snapshot(struct slice snapshot, FILE *errors)
{
	const struct snapshot given = snapshot_of(snapshot);
	struct arena memory = { 0 };
	struct slice file, text;
	struct config_reader r;

	if (!snapshot_first(&given, RECORD_FILE, &file, &text))
		return NULL;
	reader_init(&r, &memory, arena_text(&memory, file));
	r.snapshot = given;
	r.report.no_warnings = true;
	text_read(&r, text);
	return reader_finish(&r, errors);
}

bool config_contents_equal(const struct config *a, const struct config *b)
{
	const struct config_pair *p = a->pairs, *q = b->pairs;
	const struct config_file *f = a->files, *g = b->files;

	while (p && q && memcmp(p->digest, q->digest, sizeof(p->digest)) == 0 &&
	       strcmp(p->chain_path, q->chain_path) == 0) {
		p = p->next;
		q = q->next;
	}
	while (f && g && memcmp(f->digest, g->digest, sizeof(f->digest)) == 0) {
		f = f->next;
		g = g->next;
	}
	return !p && !q && !f && !g;
}

enum config_contents config_read_contents(const struct config *current,
					  struct config **next, FILE *errors)
{
	struct arena memory = { 0 };
	struct config_reader r;

	*next = NULL;
	if (!contents_changed(current))
		return CONFIG_CONTENTS_SAME;
	reader_init(&r, &memory, current->file);
	r.snapshot = r.previous = snapshot_of(current->snapshot);
	snapshot_copy(&r.again, &r.snapshot, RECORD_CONTENT);
	r.contents = &r.again;
	r.watching = true;
	r.report.no_warnings = true;
	text_read(&r, config_source(current));
	*next = reader_finish(&r, errors);
	if (!*next)
		return CONFIG_CONTENTS_BAD;
	if (!config_contents_equal(current, *next) ||
	    current->refused_n != (*next)->refused_n)
		return CONFIG_CONTENTS_NEW;
	config_free(*next);
	*next = NULL;
	return CONFIG_CONTENTS_SAME;
}

void config_keep_snapshot(struct config *c, struct slice snapshot)
{
	char *copy = malloc(snapshot.len);

	ASSERT(copy && !c->snapshot.ptr); /* out of memory: see arena.h */
	c->snapshot = (struct slice){ memcpy(copy, snapshot.ptr, snapshot.len),
				      snapshot.len };
}

/* Root refuses a configuration that every user may change. */
static bool is_world_writable(int fd)
{
	struct stat st;

	return geteuid() == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_mode & S_IWOTH;
}

/* Reads to the end of the file, or more than CONFIG_FILE_BYTES_MAX, which text_read() refuses.
 * Returns 0 or a negative errno. */
static int read_all(int fd, char **text, size_t *n)
{
	size_t capacity = 0;
	ssize_t got = 1;

	while (got > 0 && *n <= CONFIG_FILE_BYTES_MAX) {
		if (*n == capacity) {
			capacity = capacity > 0 ? 2 * capacity : 65536;
			*text = realloc(*text, capacity);
			ASSERT(*text); /* out of memory: see arena.h */
		}
		got = read(fd, *text + *n, capacity - *n);
		if (got > 0)
			*n += (size_t)got;
		else if (got < 0)
			got = errno == EINTR ? 1 : -errno;
	}
	return got < 0 ? (int)got : 0;
}

int text_load(const char *file, char **text, size_t *n)
{
	int fd = is_input(file) ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
				: open(file, O_RDONLY | O_CLOEXEC);
	int error = fd < 0 ? -errno : is_world_writable(fd) ? -EKEYREJECTED : 0;

	if (error == 0)
		error = read_all(fd, text, n);
	if (fd >= 0)
		close(fd);
	return error;
}

struct config *config_read(const char *file, FILE *errors)
{
	return config_read_with(file, &(struct config_options){ .strict = false },
				errors);
}

/* Names the file of the folder that has the most similar name. */
static void unreadable(struct config_reader *r, const char *file, const char *why)
{
	const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
	struct slice folder = { file, (size_t)(name - file) };
	struct nearest near = { .word = slice_of(name) };
	DIR *d = opendir(folder.len > 0 ? arena_text(&r->scratch, folder) : ".");
	const struct dirent *e;

	for (unsigned n = 0; d && n < FILES_COMPARED && (e = readdir(d)); n++)
		if (e->d_name[0] != '.' && e->d_type != DT_DIR)
			nearest_offer(&near, slice_of(arena_text(&r->scratch,
								 slice_of(e->d_name))));
	if (d)
		closedir(d);
	if (near.best.len > 0 && !slice_equal(near.best, near.word))
		report_error(&r->report, start, "cannot be read (%s); use '%.*s%.*s'", why,
			     REPORT_ARG(folder), REPORT_ARG(near.best));
	else
		report_error(&r->report, start,
			     "cannot be read (%s); use the name of a readable file", why);
}

struct config *config_read_with(const char *file, const struct config_options *how,
				FILE *errors)
{
	struct arena memory = { 0 };
	struct snapshot known = { .bytes = NULL };
	struct config_reader r;
	struct config *c;
	char *text = NULL;
	size_t n = 0;
	int error;

	reader_init(&r, &memory, file);
	r.strict = how->strict;
	r.known_addresses = how->known_addresses;
	r.previous = snapshot_of(how->previous);
	contents_parse(&known, how->known_contents);
	if (known.n > 0)
		r.previous = known;
	if (how->text) {
		r.config->file = "-";
		text = strdup(how->text);
		ASSERT(text); /* out of memory: see arena.h */
		n = strlen(text);
	}
	error = how->text ? 0 : text_load(file, &text, &n);
	if (error == -EKEYREJECTED)
		report_error(
			&r.report, start,
			"this file is writable by all users, and fairlead runs as root; "
			"run 'chmod o-w %s'",
			file);
	else if (error < 0)
		unreadable(&r, file, strerror(-error));
	else
		text_read(&r, (struct slice){ text, n });
	c = reader_finish(&r, errors);
	free(text);
	if (known.n > 0)
		explicit_bzero(known.bytes, known.n);
	free(known.bytes);
	return c;
}

void config_free(struct config *c)
{
	struct arena memory;

	if (!c)
		return;
	memory = *(struct arena *)c->memory;
	if ((c->pairs || c->has_secrets) && c->snapshot.ptr)
		explicit_bzero((void *)(uintptr_t)c->snapshot.ptr, c->snapshot.len);
	config_upstream_contexts_drop(c);
	patterns_free(c);
	free((void *)(uintptr_t)c->snapshot.ptr);
	if (c->pairs || c->has_secrets)
		arena_cleanse(&memory);
	arena_free(&memory);
}
