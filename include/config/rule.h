/* A rule of a route as the configuration knows it: a key beside the match keys and the action, how
 * its value is read and printed. What it does with a request is in proxy/rule.h.
 *
 * A route has at most one of each rule. `config_rules` lists all of them, in the order in which
 * they are applied, whatever the order in the file. What config/action.h says of reading and
 * printing applies here as well.
 *
 * Owner: none, rules are constant. What read() returns lives in reader_memory(), as long as the
 * configuration.
 * Limits: RULES_MAX rules; `config_actions`, `config_rules` and the rows of a route have
 * SECTION_KEYS_MAX keys. */
#ifndef CONFIG_RULE_H
#define CONFIG_RULE_H

#include "config/action.h"

#define RULES_MAX 32

struct config_rule {
	struct key key; /* in a route; a NODE_ROW() */
	bool of_proxy;  /* has no effect without an action that has a policy, such as `proxy` */
	/* It has threads, which start with the process (proxy/rule.h, open()). A process that began
	 * with a configuration without them cannot take over one that has them. */
	bool has_threads;
	/* Its maps, for the reference; ends with NULL. NULL: it has none. */
	const struct section *const *sections;
	/* Reads the value of the key: the options of the rule in this route, which has its action
	 * already. NULL: reported, or the value says that the rule does nothing (`off`). */
	const void *(*read)(struct config_reader *r, const struct node *n,
			    struct config_route *route);
	/* Prints key and value, indented by ACTION_DEPTH, so that read() makes the same of it. */
	void (*print)(FILE *out, const struct config *c, const void *options);
};

/* The rules of a route, in the order of the table. */
struct config_rules {
	bool keeps_head; /* see rule_keeps_head() */
	unsigned n;
	struct config_rule_use {
		const struct config_rule *rule;
		const void *options; /* what its read() made */
	} of[];
};

/* All rules, in the order in which they are applied; ends with NULL. Defined above the proxy, in
 * run/rules.c. */
extern const struct config_rule *const config_rules[];

/* Of read(): the rule looks at the request when the response's head is sent, so the request's head
 * is kept until then. */
void rule_keeps_head(struct config_route *route);

/* Of read(): says which rule this is, by what it is and not by its position, so that what it has
 * counted is the same rule's after a reload, and on other machines. `n` is the value of its key.
 * A rule of a route is that of its hosts, path, conditions and action; one that several routes
 * inherit is that of `defaults`, or of its entry of `hosts`. */
uint64_t rule_identity(const struct node *n, const struct config_route *route);

#endif
