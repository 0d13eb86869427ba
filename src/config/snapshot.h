/* The snapshot of a configuration: all external input of its reading, that is the text of the
 * file, resolved names, uids and gids, and the contents of certificates and keys. With it a
 * process that may neither open files nor query nameservers reads the same configuration again.
 *
 * Format: records of kind, length of the key, length of the value, key, value, in the byte order
 * and struct layout of the program. Writer and reader are the same executable.
 * Owner: the reader, until snapshot_take(). A replayed snapshot belongs to the caller. */
#ifndef CONFIG_SNAPSHOT_H
#define CONFIG_SNAPSHOT_H

#include <stdbool.h>

#include "base/slice.h"

enum record_kind {
	RECORD_FILE,   /* key: name of the file; value: its text */
	RECORD_MATCHES, /* key: pattern of `include`; value: paths, each with a NUL */
	RECORD_INCLUDE, /* key: path of an included file; value: its text */
	RECORD_VARIABLE, /* key: name of an environment variable; value: its value */
	RECORD_LISTEN, /* key: an address to listen on; value: its config_address structs */
	RECORD_URL,    /* key: HOST:PORT of a URL; value: the same */
	RECORD_SERVER, /* key: address of a server; value: see lookups.c */
	RECORD_USER,   /* key: user or group name; value: uid, gid, or both */
	/* TLS: see certificates.c */
	RECORD_CONTENT, /* key: path of a file; value: its content */
	RECORD_FOLDER, /* key: path; value: its *.pem files, each with a NUL; none: a file */
	RECORD_PAIR, /* key: paths of chain and key; value: struct pair_record, contents */
	RECORD_REFUSED, /* key: as of the pair or file; value: digest of what was refused */
	RECORD_REFUSED_N, /* value: uint64_t, config.refused_n */
	RECORD_SECRET,    /* value: config.ticket_secret */
};

struct snapshot {
	char *bytes; /* of malloc(), unless replayed */
	size_t n, capacity;
	size_t at;     /* end of the record found last, where the next search begins */
	bool replayed; /* complete from the start: look results up, resolve nothing */
};

/* Hands the bytes over: of malloc(), for the caller to free. The snapshot is empty then. */
struct slice snapshot_take(struct snapshot *s);

/* Appends a record. */
void snapshot_add(struct snapshot *s, enum record_kind kind, struct slice key,
		  struct slice value);

/* Appends all records of `from` whose kind comes before `end`. */
void snapshot_copy(struct snapshot *s, const struct snapshot *from, enum record_kind end);

/* Finds a record; *value points into the snapshot. False: there is none. */
bool snapshot_find(struct snapshot *s, enum record_kind kind, struct slice key,
		   struct slice *value);

/* The next record of a kind, from *at on, which is 0 at first. */
bool snapshot_next(const struct snapshot *s, size_t *at, enum record_kind kind,
		   struct slice *key, struct slice *value);

/* The first record of a kind. */
bool snapshot_first(const struct snapshot *s, enum record_kind kind, struct slice *key,
		    struct slice *value);

#endif
