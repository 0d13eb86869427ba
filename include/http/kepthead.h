/* The head of a request, kept for as long as its exchange lasts: for the access log, and to route
 * the request again. struct head refers to received bytes and is valid within one step only.
 *
 * What is kept are names and values, so that any version of HTTP can fill it: one block with this
 * struct, an array of fields, and their text. The caller chooses the fields. A choice of all fields
 * keeps everything that struct head says; any other choice, the request line and the authority.
 *
 * Owner: the caller, who owns the block and does not move it. Limits: those of the head. Errors:
 * none. Pure. */
#ifndef HTTP_KEPTHEAD_H
#define HTTP_KEPTHEAD_H

#include "http/head.h"

/* A part of the text. */
struct kept_span {
	uint32_t at, len;
};

struct kept_field {
	struct kept_span name, value;
	uint8_t header; /* as in struct field */
	bool per_hop;
};

struct kept_head {
	struct kept_span line, authority;
	uint16_t field_n;
	bool whole; /* all fields were kept, and what follows is set */
	bool keep_alive, upgrade, expect_continue, te_trailers, forwards_limited;
	uint8_t method, target_form, minor, framing; /* as in struct head */
	bool http2;                                  /* the same */
	uint32_t bytes, max_forwards;
	uint64_t length;
	struct kept_span method_token, target, path, query, upgrade_token;
	struct kept_field fields[]; /* the text follows */
};

/* What is to be kept of a head. */
struct kept_choice {
	const struct head *head;
	size_t bytes; /* the size of the block */
	bool whole;
	uint16_t field_n;
	const struct field *fields[HEAD_FIELDS_MAX];
};

/* Sets of fields: a bit for each enum header. */
#define KEPT_FIELD(header) (UINT64_C(1) << (header))
#define KEPT_ALL UINT64_MAX

/* Chooses these fields of the head of a request. */
void kept_head_choose(struct kept_choice *c, const struct head *h, uint64_t which);

/* Fills a block of c->bytes bytes, which is aligned as a uint64_t. */
void kept_head_write(struct kept_head *k, const struct kept_choice *c);

/* What the head was when it was kept, with all slices in the block. k->whole only. */
void kept_head_restore(const struct kept_head *k, struct head *h);

/* For the log; empty if the request has none. The field must be among those that were kept. */
struct slice kept_head_line(const struct kept_head *k);
struct slice kept_head_authority(const struct kept_head *k);
struct slice kept_head_value(const struct kept_head *k, enum header id);

#endif
