/* Contents of files that are part of the configuration: reads them, or takes them from the
 * snapshot. If a file cannot be read now, the content of the previous configuration is used
 * again. */
#include "contents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "tls/warm.h"

bool tls_begin(struct config_reader *r, const struct node *n)
{
	bool good = tls_library_init();

	if (!good)
		report_error(&r->report, node_pos(n),
			     "OpenSSL cannot be used; check its configuration, openssl.cnf");
	return good;
}

/* ---- files ------------------------------------------------------------------- */

const char *contents_path(struct config_reader *r, const struct node *n)
{
	struct slice folder = folder_of(r, n);
	char *path;

	if (n->text.ptr[0] == '/' || folder.len == 0)
		return arena_text(r->memory, n->text);
	path = arena_alloc(r->memory, folder.len + n->text.len + 1);
	memcpy(path, folder.ptr, folder.len);
	memcpy(path + folder.len, n->text.ptr, n->text.len);
	return path;
}

const char *contents_written(struct config_reader *r, const struct node *n)
{
	const struct node in_main = { .at = { 1, 1, 0 } };
	struct slice path = slice_of(contents_path(r, n)), folder = folder_of(r, &in_main);

	/* Of an included file: relative to the folder of the configuration file. */
	if (n->at.file > 0 && slice_starts(path, folder))
		path = slice_after(path, folder.len);
	return n->at.file > 0 ? path.ptr : arena_text(r->memory, n->text);
}

static const char *bytes_load(struct arena *memory, int fd, size_t n, struct slice *bytes)
{
	char *at = arena_alloc(memory, n);
	size_t got = 0;
	ssize_t step = 1;

	while (got < n && step > 0) {
		step = read(fd, at + got, n - got);
		if (step < 0 && errno == EINTR)
			step = 1;
		else if (step > 0)
			got += (size_t)step;
	}
	*bytes = (struct slice){ at, got };
	return step < 0 ? strerror(errno) : NULL;
}

const char *contents_load(struct arena *memory, const char *path, struct slice *bytes,
			  bool *exposed)
{
	/* A FIFO without a writer must not stop the reading. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st = { 0 };
	const char *fault = NULL;

	*bytes = (struct slice){ NULL, 0 };
	if (fd < 0 || fstat(fd, &st) < 0)
		fault = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		fault = S_ISDIR(st.st_mode) ? strerror(EISDIR) : "not a regular file";
	else if ((size_t)st.st_size > CONFIG_FILE_PART_BYTES_MAX)
		fault = strerror(EFBIG);
	else
		fault = bytes_load(memory, fd, (size_t)st.st_size, bytes);
	if (fd >= 0)
		close(fd);
	*exposed = st.st_mode & S_IROTH;
	return fault;
}

/* ---- what was stored --------------------------------------------------------- */

void *stored_find(struct config_reader *r, struct slice key)
{
	struct names_entry *e = names_find(&r->stored, key);

	return e ? CONTAINER(e, struct stored_content, entry)->what : NULL;
}

void stored_put(struct config_reader *r, struct slice key, void *what)
{
	struct stored_content *s = arena_alloc(&r->scratch, sizeof(*s));

	s->what = what;
	names_put(&r->stored, &s->entry,
		  (struct slice){ arena_text(&r->scratch, key), key.len });
}

/* ---- what is refused --------------------------------------------------------- */

bool contents_refuse(struct config_reader *r, struct slice key, const struct slice *parts,
		     size_t n)
{
	uint8_t digest[CONFIG_DIGEST_BYTES];
	struct slice as_slice = { (const char *)digest, sizeof(digest) }, before;
	bool is_new;

	tls_digest(parts, n, digest);
	is_new = !snapshot_find(&r->previous, RECORD_REFUSED, key, &before) ||
		 !slice_equal(before, as_slice);
	snapshot_add(r->contents, RECORD_REFUSED, key, as_slice);
	if (is_new || !r->watching)
		r->config->refused_n++;
	return is_new || !r->watching;
}

void contents_begin(struct config_reader *r)
{
	struct slice none = { NULL, 0 }, n, secret;
	const struct snapshot *from = r->contents->replayed ? r->contents : &r->previous;
	struct config *c = r->config;
	ssize_t got;

	if (snapshot_first(from, RECORD_REFUSED_N, &none, &n) &&
	    n.len == sizeof(c->refused_n))
		memcpy(&c->refused_n, n.ptr, sizeof(c->refused_n));
	if (snapshot_first(from, RECORD_SECRET, &none, &secret) &&
	    secret.len == sizeof(c->ticket_secret)) {
		memcpy(c->ticket_secret, secret.ptr, sizeof(c->ticket_secret));
	} else {
		got = getrandom(c->ticket_secret, sizeof(c->ticket_secret), 0);
		ASSERT(got == sizeof(c->ticket_secret));
	}
}

/* ---- files as a whole -------------------------------------------------------- */

static const struct config_file *file_store(struct config_reader *r, const char *path,
					    struct slice text, struct slice bytes)
{
	struct config_file *f = arena_alloc(r->memory, sizeof(*f));

	*f = (struct config_file){ .path = path,
				   .text = arena_text(r->memory, text),
				   .bytes = bytes,
				   .next = r->config->files };
	tls_digest(&bytes, 1, f->digest);
	r->config->files = f;
	stored_put(r, slice_of(path), f);
	return f;
}

/* The records of all files, in the order in which they were read. Not earlier: a content may
 * be replaced by the previous one. */
static void files_record(struct config_reader *r)
{
	const struct config_file **all;
	size_t n = 0;

	for (const struct config_file *f = r->config->files; f; f = f->next)
		n++;
	all = arena_alloc(&r->scratch, n * sizeof(const struct config_file *));
	for (const struct config_file *f = r->config->files; f; f = f->next)
		all[--n] = f;
	for (const struct config_file *f = r->config->files; f; f = f->next, n++)
		snapshot_add(r->contents, RECORD_CONTENT, slice_of(all[n]->path),
			     all[n]->bytes);
}

bool file_revert(struct config_reader *r, const struct node *n,
		 const struct config_file *file, const char *fault)
{
	struct config_file *f = (struct config_file *)(uintptr_t)file;
	struct slice before, refused = f ? f->bytes : SLICE("");

	if (!f ||
	    !snapshot_find(&r->previous, RECORD_CONTENT, slice_of(f->path), &before) ||
	    slice_equal(before, f->bytes))
		return false;
	f->bytes = (struct slice){ arena_copy(r->memory, before.ptr, before.len),
				   before.len };
	tls_digest(&f->bytes, 1, f->digest);
	if (contents_refuse(r, slice_of(f->path), &refused, 1))
		CONTENTS_WARN(
			r, node_pos(n),
			"'%s' cannot be used (%s), and its previous content stays in force; "
			"check the file",
			f->path, fault);
	return true;
}

/* The content of the previous configuration instead of a file that cannot be read. */
static bool previous_take(struct config_reader *r, const struct node *n, const char *path,
			  const char *fault, struct slice *bytes)
{
	struct slice reason = slice_of(fault);

	if (!snapshot_find(&r->previous, RECORD_CONTENT, slice_of(path), bytes))
		return false;
	bytes->ptr = arena_copy(r->memory, bytes->ptr, bytes->len);
	if (contents_refuse(r, slice_of(path), &reason, 1))
		CONTENTS_WARN(
			r, node_pos(n),
			"'%s' cannot be read (%s), and its previous content stays in force; "
			"check the file",
			path, fault);
	return true;
}

const struct config_file *file_read(struct config_reader *r, const struct node *n,
				    const char *form)
{
	const char *path, *fault;
	struct slice bytes;
	bool exposed;
	void *stored;

	if (!scalar_check(r, n, form) || !tls_begin(r, n))
		return NULL;
	path = contents_path(r, n);
	stored = stored_find(r, slice_of(path));
	if (stored)
		return stored;
	if (r->contents->replayed) {
		if (snapshot_find(r->contents, RECORD_CONTENT, slice_of(path), &bytes))
			return file_store(r, path, slice_of(contents_written(r, n)),
					  (struct slice){ arena_copy(r->memory, bytes.ptr,
								     bytes.len),
							  bytes.len });
		report_error(&r->report, n->at, "%s", address_not_in_snapshot);
		return NULL;
	}
	fault = contents_load(r->memory, path, &bytes, &exposed);
	if (fault && !previous_take(r, n, path, fault, &bytes)) {
		report_error(
			&r->report, n->at,
			"'%s' cannot be read (%s); write the path of a file that the "
			"user who starts fairlead can read",
			path, fault);
		return NULL;
	}
	return file_store(r, path, slice_of(contents_written(r, n)), bytes);
}

const struct config_file *file_of_system(struct config_reader *r, const struct node *n)
{
	static const char *const paths[] = {
		"/etc/ssl/certs/ca-certificates.crt", /* Debian, Arch, Alpine */
		"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
		"/etc/ssl/ca-bundle.pem",             /* openSUSE */
		"/etc/ssl/cert.pem",                  /* Alpine, BSDs */
	};
	struct slice bytes;

	for (size_t i = 0; i < COUNT(paths); i++) {
		struct slice path = slice_of(paths[i]);
		void *stored = stored_find(r, path);
		bool exposed;

		if (stored)
			return stored;
		if (r->contents->replayed
			    ? snapshot_find(r->contents, RECORD_CONTENT, path, &bytes)
			    : !contents_load(r->memory, paths[i], &bytes, &exposed))
			return file_store(r, paths[i], path,
					  (struct slice){ arena_copy(r->memory, bytes.ptr,
								     bytes.len),
							  bytes.len });
	}
	report_error(
		&r->report, node_pos(n),
		"this system has no file of trusted certificates; write 'ca: FILE', or use "
		"the package ca-certificates");
	return NULL;
}

void contents_end(struct config_reader *r)
{
	const struct config *c = r->config;

	if (r->contents->replayed)
		return;
	files_record(r);
	snapshot_add(r->contents, RECORD_REFUSED_N, SLICE(""),
		     (struct slice){ (const char *)&c->refused_n, sizeof(c->refused_n) });
	snapshot_add(r->contents, RECORD_SECRET, SLICE(""),
		     (struct slice){ (const char *)c->ticket_secret,
				     sizeof(c->ticket_secret) });
}

/* ---- watching ---------------------------------------------------------------- */

static bool file_changed(const struct config_file *f)
{
	struct arena memory = { 0 };
	struct slice bytes;
	bool exposed, same = !contents_load(&memory, f->path, &bytes, &exposed) &&
			     slice_equal(bytes, f->bytes);

	arena_free(&memory);
	return !same;
}

bool contents_changed(const struct config *c)
{
	bool changed = certificates_changed(c);

	for (const struct config_file *f = c->files; f && !changed; f = f->next)
		changed = file_changed(f);
	return changed;
}
