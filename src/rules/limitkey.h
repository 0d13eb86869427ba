/* The key of a limit: for which requests they are counted together. By default the client's
 * address; of an IPv6 address the network, because one client has all addresses of it.
 *
 * A limit that is written once is one limit, also where several routes inherit it: its place in the
 * file is part of the hash. Owner: the options of the rule. Private to rules. */
#ifndef RULES_LIMITKEY_H
#define RULES_LIMITKEY_H

#include "config/action.h"
#include "route/route.h"

struct limit_key {
	struct template key; /* without parts: the address */
	uint32_t ipv6_prefix;
	uint64_t place;
};

#define LIMIT_KEY_ROW                                                                     \
	NODE_ROW(key, "TEXT", "the client's address",                                     \
		 "requests with the same text are counted together; contains variables. A " \
		 "request in which one of them has no value is not limited")
#define LIMIT_PREFIX_ROW(type)                                                            \
	KEY_ROW(type, ipv6_prefix, COUNT, key.ipv6_prefix, "64", 1, 128, NULL, ANY,   \
		"without `key`: the addresses of an IPv6 network of so many bits are one")

/* `rule`: the value of the rule's key; `key`, `prefix`: values of the two keys, or NULL. */
void limit_key_read(struct config_reader *r, const struct node *rule,
		    const struct node *key, const struct node *prefix,
		    struct limit_key *k);

/* Prints the template, then the scalar keys of a section: all of them, or with a template those
 * behind the row `prefix`, which has no effect then. */
void limit_key_print(FILE *out, const struct limit_key *k, const struct section *s,
		     unsigned prefix, const void *options);

/* The hash for a request. False: a variable has no value. */
bool limit_key_hash(const struct limit_key *k, const struct request_view *view,
		    uint64_t seed, uint64_t *hash);

#endif
