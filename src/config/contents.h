/* Shared by contents.c (contents of files) and certificates.c (pairs of a chain and a key).
 *
 * Errors: each function that returns a text returns NULL, or the reason without a remedy. */
#ifndef CONFIG_CONTENTS_H
#define CONFIG_CONTENTS_H

#include "reader.h"
#include "tls/digest.h"

struct stored_content {
	struct names_entry entry;
	void *what; /* struct config_file or config_pair */
};

/* What was stored with this key; NULL: nothing. */
void *stored_find(struct config_reader *r, struct slice key);
void stored_put(struct config_reader *r, struct slice key, void *what);

/* The path to open for the path that `n` has: relative to the folder of the file that `n` is in. */
const char *contents_path(struct config_reader *r, const struct node *n);

/* The path for `--print`, relative to the folder of the configuration file. */
const char *contents_written(struct config_reader *r, const struct node *n);

/* Reads a regular file. *exposed: all users may read it. */
const char *contents_load(struct arena *memory, const char *path, struct slice *bytes,
			  bool *exposed);

/* knowncontents.c: appends what config_write_contents() wrote; what is not understood is left
 * out. */
void contents_parse(struct snapshot *s, struct slice text);

/* Whether a file or folder differs from what the configuration has of it. */
bool contents_changed(const struct config *c);

/* certificates.c: likewise, of the pairs and the folders. */
bool certificates_changed(const struct config *c);

/* A warning also while files are watched. */
#define CONTENTS_WARN(r, ...)                              \
	do {                                               \
		bool quiet_ = (r)->report.no_warnings;     \
                                                           \
		(r)->report.no_warnings = false;           \
		report_warning(&(r)->report, __VA_ARGS__); \
		(r)->report.no_warnings = quiet_;          \
	} while (0)

/* Records that a content was refused, by the digest of `parts`. True: it is to be reported; a
 * refusal that is seen again while files are watched is neither reported nor counted. */
bool contents_refuse(struct config_reader *r, struct slice key, const struct slice *parts,
		     size_t n);

#endif
