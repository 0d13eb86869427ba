/* The key of a limit: for which requests they are counted together. By default the client's
 * address; of an IPv6 address the network, because one client has all addresses of it.
 *
 * A limit that is written once is one limit, also where several routes inherit it: what it is
 * (rule_identity()) is a part of the key. A request in which a variable has several values is
 * counted by its address: by the first value a client could charge somebody else, or evade the
 * limit, where the server takes the last.
 *
 * Limits: LIMIT_TEXT_MAX; longer keys are one key, so nobody gets one of his own by length.
 * Owner: the options of the rule. Private to rules. */
#ifndef RULES_LIMITKEY_H
#define RULES_LIMITKEY_H

#include "base/limittable.h"
#include "config/action.h"
#include "route/route.h"

struct limit_key {
	struct template key; /* without parts: the address */
	uint32_t ipv6_prefix;
	uint64_t identity; /* of the rule */
};

#define LIMIT_KEY_ROW                                                                     \
	NODE_ROW(key, "TEXT", "the client's address",                                     \
		 "requests with the same text are counted together; contains variables. A " \
		 "request in which one of them has no value is not limited; one in which one "  \
		 "has several different values is counted by its address")
#define LIMIT_PREFIX_ROW(type)                                                            \
	KEY_ROW(type, ipv6_prefix, COUNT, key.ipv6_prefix, "64", 1, 128, NULL, ANY,       \
		"the addresses of an IPv6 network of so many bits are one")

/* `rule`: the value of the rule's key; `key`: that of its key, or NULL. */
void limit_key_read(struct config_reader *r, const struct node *rule,
		    const struct config_route *route, const struct node *key,
		    struct limit_key *k);

/* Prints the template, then the scalar keys of a section. */
void limit_key_print(FILE *out, const struct limit_key *k, const struct section *s,
		     const void *options);

/* The key of a request as bytes: those of two requests are the same only if they are counted
 * together. */
#define LIMIT_TEXT_MAX 2048
struct limit_text {
	size_t n;
	char bytes[LIMIT_TEXT_MAX];
};

/* False: a variable has no value, and the request is not limited. */
bool limit_key_text(const struct limit_key *k, const struct request_view *view,
		    struct limit_text *text);

/* Its hash in the tables of the process. */
uint64_t limit_text_hash(const struct limit_text *text, const struct limits *limits);

#endif
