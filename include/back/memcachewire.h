/* memcached's text protocol: keys, requests, replies (memcached's doc/protocol.txt).
 * Pure.
 *
 * Replies come in the order of the requests, so a queue is enough to match them. After a
 * malformed reply nothing can be matched any more: the connection has to be closed. */
#ifndef BACK_MEMCACHEWIRE_H
#define BACK_MEMCACHEWIRE_H

#include "base/check.h"
#include "base/slice.h"
#include "base/verdict.h"

#define MEMCACHE_KEY_MAX 250

/* A longer value is malformed: memcached itself allows 1 GiB. */
#define MEMCACHE_VALUE_MAX UINT32_MAX

/* Most bytes of one request. */
#define MEMCACHE_REQUEST_MAX (MEMCACHE_KEY_MAX + 32)

enum memcache_command {
	MEMCACHE_GET,
	MEMCACHE_MG,
	MEMCACHE_COUNT,   /* one more, from 0 if there is no such counter; its value is the hit */
	MEMCACHE_UNCOUNT, /* one less; a miss if there is no such counter */
};

/* 1 to 250 bytes, no space, no control character. */
bool memcache_key_valid(struct slice key);

/* Writes "get KEY", "mg KEY v", "ma KEY NTTL J1 v" or "ma KEY MD v", with CRLF; returns the length.
 * `ttl_s`: of a counter that MEMCACHE_COUNT makes. */
size_t memcache_emit(char *out, enum memcache_command command, struct slice key,
		     uint32_t ttl_s);

enum memcache_reply_kind {
	MEMCACHE_HIT, /* `length` bytes of value and the tail follow the line */
	MEMCACHE_MISS,
	MEMCACHE_ERROR, /* ERROR, CLIENT_ERROR, SERVER_ERROR: the order is intact */
};

struct memcache_reply {
	enum memcache_reply_kind kind;
	uint64_t length;   /* of the value */
	size_t line;       /* bytes of the first line, CRLF included */
	size_t tail;       /* of a hit: bytes after the value, CRLF, for get CRLF "END" CRLF */
	struct slice text; /* of an error, the whole line without CRLF */
};

/* A longer first line is malformed. */
#define MEMCACHE_LINE_MAX 1024

/* Parses the first line of the reply to `command` for `key`. Strict: only what memcached
 * itself writes is valid. */
enum verdict memcache_parse_reply(struct memcache_reply *r, enum memcache_command command,
				  struct slice key, const char *bytes, size_t n) MUST_USE;

/* Checks the tail: r->tail bytes. */
bool memcache_tail_valid(const struct memcache_reply *r, enum memcache_command command,
			 const char *tail);

#endif
