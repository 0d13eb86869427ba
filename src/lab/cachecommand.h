/* Parser of the memcached commands that the lab implements: from a line to its verb and
 * arguments. Pure. */
#ifndef LAB_CACHECOMMAND_H
#define LAB_CACHECOMMAND_H

#include "cachestore.h"

/* Longest line, for a get of many keys. */
#define CACHE_LINE_MAX 8192
#define CACHE_OPAQUE_MAX 32

enum cache_verb {
	CACHE_GET,
	CACHE_GETS,
	CACHE_SET,
	CACHE_DELETE,
	CACHE_MG,
	CACHE_MS,
	CACHE_MD,
	CACHE_MN,
	CACHE_VERSION,
	CACHE_QUIT,
	CACHE_WRONG, /* the response is `complaint` */
};

struct cache_command {
	enum cache_verb verb;
	const char *complaint; /* of CACHE_WRONG */
	bool quiet;            /* noreply, or the flag q */
	bool has_data;         /* length bytes and CRLF follow the line */
	uint64_t length;
	uint32_t flags;
	int64_t exptime; /* seconds */
	uint64_t cas;    /* 0: any */
	struct slice key;
	struct slice rest; /* of get: the keys; of mg, ms, md: the flags */
};

/* `line` has no CRLF; the result points into it. An invalid line gives CACHE_WRONG, which
 * may be followed by data as well. */
void cache_command_parse(struct cache_command *c, struct slice line);

/* Removes and returns the next word; empty: there are no more. */
struct slice cache_word(struct slice *words);

/* When an item with this exptime expires, in ms of the wall clock; 0: never. */
uint64_t cache_expires_ms(int64_t exptime, uint64_t now_ms);

#endif
