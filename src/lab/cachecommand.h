/* memcached's commands, as the lab understands them: a line of words to what it asks
 * for. Pure. */
#ifndef LAB_CACHECOMMAND_H
#define LAB_CACHECOMMAND_H

#include "cachestore.h"

/* The longest line: many keys to a get. */
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
	CACHE_WRONG, /* answered with `complaint` */
};

struct cache_command {
	enum cache_verb verb;
	const char *complaint; /* of CACHE_WRONG */
	bool quiet;            /* noreply, or the flag q */
	bool has_data;         /* length bytes and CRLF follow the line */
	uint64_t length;
	uint32_t flags;
	int64_t exptime; /* seconds */
	uint64_t cas;    /* 0: whatever */
	struct slice key;
	struct slice rest; /* of get: the keys; of mg, ms, md: the flags */
};

/* line: without CRLF; what is found points into it. Never fails: see CACHE_WRONG, which
 * may have data all the same. */
void cache_command_parse(struct cache_command *c, struct slice line);

/* Takes the next word off; an empty one: there are no more. */
struct slice cache_word(struct slice *words);

/* When an item of this exptime ends, in ms of the wall clock; 0: never. */
uint64_t cache_expires_ms(int64_t exptime, uint64_t now_ms);

#endif
