/* The reading of one configuration, shared by the files that read its parts.
 *
 * Reading goes on after an error, so a struct may be left half filled; once the
 * report has an error, nobody but the reader sees it. */
#ifndef CONFIG_READER_H
#define CONFIG_READER_H

#include "answers.h"
#include "base/check.h"
#include "base/names.h"
#include "config/config.h"
#include "dns/dns.h"
#include "keys.h"
#include "node.h"
#include "report.h"

#define CONFIG_KEY_MAX 250 /* bytes of a memcached key */

struct reader {
	struct arena *memory; /* the configuration's */
	struct arena scratch; /* gone when reading is over */
	struct report report;
	struct config *config;
	struct dns *dns;      /* NULL: no name was met yet */
	struct config_address *room; /* for all of a name; NULL: not needed yet */
	struct pending *pending, *pending_last; /* addresses of servers, as they were read */
	unsigned asked_n;     /* names that nameservers are being asked for */
	bool strict;          /* a name that cannot be resolved is an error */
	struct slice
		known; /* what names stood for before: see config_write_addresses() */
	struct names known_names; /* in it; read when the first is asked for */
	struct answers answers;
	struct names upstreams; /* their names, of struct taken */
	bool upstreams_refused; /* all of them, which has been reported */
	unsigned suggestions;   /* that were looked for */
};

/* The values of a map's keys, by row; NULL: not there. */
struct found {
	const struct node *nodes[KEYS];
};

/* section.c: fills the defaults of a section's plain keys into the struct at `into`,
 * then reads the map. `map` may be NULL: defaults only. False: it is no map. */
bool section_read(struct reader *r, const struct node *map, enum section s, void *into,
		  struct found *found);

/* A scalar with text in it; else reports, says what to write, and returns false. */
bool scalar_check(struct reader *r, const struct node *n, const char *form);

/* What stands where a list is meant is the one entry of it. */
const struct node *list_of(struct reader *r, const struct node *n);

/* A list or map, of at most `max` and at least one entry; else reports. */
bool children_check(struct reader *r, const struct node *n, enum node_kind kind,
		    unsigned max, const char *form);

/* A name that is taken. */
struct taken {
	struct names_entry entry;
	const struct node *node;
	bool used; /* an upstream: something names it */
	unsigned
		index; /* of the upstream; INDEX_REFUSED: it was refused, which has been reported */
};
#define INDEX_REFUSED UINT32_MAX

/* The name of an upstream or part in a map: 1 to 63 letters, digits and "_", "-", "."; not one of
 * those that are taken, and from now on it is. Reports, and NULL: it cannot be. */
struct taken *name_take(struct reader *r, struct names *all, const struct node *n);

/* The name of a value in a map, NUL-terminated. */
const char *node_name(const struct node *n);

/* The text of a node as a template; `form` is what one writes. Returns the text that its parts
 * point into, or reports and returns NULL. */
const char *template_read(struct reader *r, const struct node *n, const char *form,
			  struct template *t);

/* user.c: what `user` and `group` stand for; either node may be NULL. */
void user_read(struct reader *r, const struct node *user, const struct node *group);

/* A number that stands for a user or group. False: it is none. */
bool user_number(const char *text, uint32_t *id);

/* rights.c: those of a unix socket, from its map; also if it has none. */
void rights_read(struct reader *r, const struct found *found, const struct config_address *a,
		 struct config_rights *rights);

/* upstream.c */
void upstreams_read(struct reader *r, const struct node *map);

/* trust.c */
void trust_read(struct reader *r, const struct node *list);

/* resolver.c; before upstreams. `n` may be NULL. */
void resolver_read(struct reader *r, const struct node *n);

/* health.c: `n` may be NULL; the protocol is known. */
void health_read(struct reader *r, const struct node *n, struct config_upstream *u);

/* upstream.c: warns of those that nothing names; after routes. */
void upstreams_unused(struct reader *r);

/* suspect.c: a text that looks like something that is not taken there: a variable, a pattern, a
 * URL, a word that has its own spelling. Reports an error where it cannot be meant, else a
 * warning. `k`: its key. False: it was an error. */
bool suspect_text(struct reader *r, const struct node *n, const struct key *k);

/* suspect.c: the literal text of a template, where braces stand without a dollar sign. */
void suspect_template(struct reader *r, const struct node *n);

/* routes.c; upstreams are known and `study` is read. */
void routes_read(struct reader *r, const struct node *list);

/* action.c: the action's map into the route. */
void proxy_read(struct reader *r, const struct node *n, struct config_proxy *p);
void memcached_read(struct reader *r, const struct node *n, struct config_memcached *m,
		    bool in_join);
void block_read(struct reader *r, const struct node *n, struct config_block *b);
void cpu_read(struct reader *r, const struct node *n, struct config_cpu *c);

/* retry.c: `deadline` is read and the action is known. NULL nodes: not there. */
void retry_read(struct reader *r, const struct node *n, struct config_route *route);
void hedge_read(struct reader *r, const struct node *n, struct config_route *route);

/* join.c */
void join_read(struct reader *r, const struct node *n, struct config_join *j);

/* lookups.c: the same for a server of an upstream, as `resolver` says, "srv:NAME" as well; fills
 * in all that depends on its address. What names stand for is known after lookups_resolve(), which
 * reports what cannot be resolved, or warns and goes on without. */
struct server_entry {
	struct config_server *server;
	const char *upstream;
	struct source_pos at;
};
const char *lookups_read(struct reader *r, const struct server_entry *where,
			 struct slice text, enum config_protocol protocol);
void lookups_resolve(struct reader *r);

/* address.c: as address_resolve(), or what was kept of it. */
const char *address_answer(struct reader *r, struct slice text, bool to_listen,
			   struct config_address *addresses, unsigned max, unsigned *n);

/* address.c: what "HOST:PORT", "[IPV6]:PORT" or "unix:/PATH" stands for, at most `max`
 * addresses. Returns NULL, or what is wrong and the remedy. */
const char *address_resolve(struct arena *memory, struct slice text, bool to_listen,
			    struct config_address *addresses, unsigned max, unsigned *n);

#endif
