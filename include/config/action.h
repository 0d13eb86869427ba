/* A route action as the configuration knows it: its key in a route, the keys of its map, and how
 * they are read and printed. What it does with a request is in proxy/action.h.
 *
 * This header has all that an action outside of this folder needs. An action's read() follows the
 * rules of all readers here: it reports each error with position and remedy and goes on, so that
 * all errors are reported at once; a configuration with errors is freed and never handed out. The
 * same read() runs again on a snapshot: whatever it takes from outside of the file goes through
 * address_lookup(), which records it.
 *
 * Owner: none, actions are constant. The struct that read() stores in the route lives in
 * reader_memory(), as long as the configuration.
 * Limits: `config_actions` and the rows of a route have SECTION_KEYS_MAX keys. */
#ifndef CONFIG_ACTION_H
#define CONFIG_ACTION_H

#include "base/names.h"
#include "config/arena.h"
#include "config/keys.h"
#include "config/node.h"

struct config_reader;

struct config_action {
	struct key key;  /* in a route; a NODE_ROW() */
	bool study;      /* requires `study: true` */
	bool has_policy; /* `deadline`, `retry` and `hedge` apply */
	/* Its maps, for the reference; ends with NULL. NULL: keys.def has them. */
	const struct section *const *sections;
	/* Reads the value of the key: sets route->options, or reports why not. */
	void (*read)(struct config_reader *r, const struct node *n,
		     struct config_route *route);
	/* Prints key and value, indented by ACTION_DEPTH, so that read() makes the same of it. */
	void (*print)(FILE *out, const struct config *c,
		      const struct config_route *route);
};

/* The depth of an action's key in the printed file. */
#define ACTION_DEPTH 2

/* All actions, in the order in which a route is searched for them; ends with NULL. Defined above
 * the proxy, in run/actions.c. */
extern const struct config_action *const config_actions[];

/* action.c: those of keys.def. */
void proxy_action_read(struct config_reader *r, const struct node *n,
		       struct config_route *route);
void proxy_action_print(FILE *out, const struct config *c,
			const struct config_route *route);
void memcached_action_read(struct config_reader *r, const struct node *n,
			   struct config_route *route);
void memcached_action_print(FILE *out, const struct config *c,
			    const struct config_route *route);

/* ---- reading --------------------------------------------------------------- */

/* The memory of the configuration, and its errors. */
struct arena *reader_memory(struct config_reader *r);
struct report *reader_report(struct config_reader *r);

/* The values of a map, by index of their key; NULL: the key is not in the map. */
struct section_values {
	const struct node *of[SECTION_KEYS_MAX];
};

/* section.c: stores the defaults of a section's scalar keys in the struct at `into`, then reads
 * the map. `map` may be NULL: defaults only. False: `map` is not a map, which is reported. */
bool section_read(struct config_reader *r, const struct node *map,
		  const struct section *s, void *into, struct section_values *values);

/* True: `n` is a scalar that is not empty. False: reported, with `form` as the remedy. */
bool scalar_check(struct config_reader *r, const struct node *n, const char *form);

/* Something in the configuration needs this variable: what costs time is computed only then.
 * template_read() calls it. */
void variable_noted(struct config_reader *r, enum variable v);

/* substitute.c: the text of a node as --print shows it, with references instead of what they stand
 * for, which may be a secret. */
const char *node_written(struct config_reader *r, const struct node *n);

/* Compiles the text of a node as a template; `form` is the remedy if there is no text. Returns
 * the text that the parts of the template point into. NULL: reported. */
const char *template_read(struct config_reader *r, const struct node *n, const char *form,
			  struct template *t);

/* match.c: compiles a regular expression, which is all of the text of a node or a part of it. The
 * configuration owns it. NULL: reported. */
struct pattern;
const struct pattern *pattern_read(struct config_reader *r, const struct node *n,
				   struct slice text);
/* As template_read(), for a line of a log: with the variables of config/logvariables.def. */
const char *log_template_read(struct config_reader *r, const struct node *n, const char *form,
			      struct template *t);

/* logs.c: reads "1%" or "0.05%", in CONFIG_SAMPLE_ALL parts; `form` is the remedy. */
bool percent_read(struct config_reader *r, const struct node *n, const char *form,
		  uint32_t *parts);

/* True: `n` is a list or map (`kind`) with 1 to `max` entries. False: reported. */
bool children_check(struct config_reader *r, const struct node *n, enum node_kind kind,
		    unsigned max, const char *form);

/* A name that the file defines, of an upstream or of a part of a join. */
struct defined_name {
	struct names_entry entry;
	const struct node *node;
	bool used; /* an upstream: a route uses it */
	/* of the upstream; INDEX_REFUSED: it is invalid, which has been reported */
	unsigned index;
};
#define INDEX_REFUSED UINT32_MAX

/* Adds the key of `n` to the names: 1 to 63 letters, digits and "_", "-", "."; unique. NULL: it
 * is invalid or defined already, which is reported. */
struct defined_name *name_define(struct config_reader *r, struct names *all,
				 const struct node *n);

/* suspect.c: checks a text of the key `k` for content that the key does not support: a variable,
 * a pattern, a URL, a word that has another spelling. Reports an error if the text cannot work, a
 * warning if it works but differs from what its author probably meant. False: an error. */
bool suspect_text(struct config_reader *r, const struct node *n, const struct key *k);

/* address.c: parses and resolves "HOST:PORT", "[IPV6]:PORT" or "unix:/PATH", or takes the result
 * from the snapshot if that is replayed. Stores 1 to `max` addresses and their number. Blocks while
 * the C library resolves a name. Returns NULL, or what is wrong and the remedy. to_listen: changes
 * the remedy only. */
const char *address_lookup(struct config_reader *r, struct slice text, bool to_listen,
			   struct config_address *addresses, unsigned max, unsigned *n);

/* addresslist.c: reads a list of ADDRESS, ADDRESS/BITS, `unix`, @GROUP (of the top-level key
 * `addresses`) and file:PATH (a file with one of the first two per line, which is part of the
 * snapshot and is watched). `form` is an example of it, as in "'from: [10.0.0.0/8, unix]'". A node
 * that several sections inherit is read once. NULL: reported, also if the list is empty. */
const struct config_addresses *addresses_read(struct config_reader *r,
					      const struct node *list, const char *form);

/* contents.c: the content of the file whose path is the text of `n`; `form` is the remedy if there
 * is none. NULL: reported. */
const struct config_file *file_read(struct config_reader *r, const struct node *n,
				    const char *form);

/* contents.c: replaces the content of a file that cannot be used (`fault`) by that of the previous
 * configuration, for all who have it. False: there is none, or it is the same. */
bool file_revert(struct config_reader *r, const struct node *n,
		 const struct config_file *file, const char *fault);

/* action.c: the index of the upstream that `n` (may be NULL) names, and that has this protocol. 0:
 * there is none, which is reported, or it is invalid. */
unsigned upstream_find(struct config_reader *r, const struct node *n,
		       enum config_protocol protocol);

/* action.c: reads a map with the keys of `proxy` or `memcached`, for actions that have such maps
 * too. in_part: the keys that shape the response are refused. */
void proxy_read(struct config_reader *r, const struct node *n, struct config_proxy *p);
void memcached_read(struct config_reader *r, const struct node *n,
		    struct config_memcached *m, bool in_part);

/* ---- printing (print.c) ------------------------------------------------------ */

void print_indent(FILE *out, unsigned depth);

/* KEY: "TEXT", with a line end. */
void print_text(FILE *out, const char *key, struct slice text);

/* The content of a double-quoted scalar. Of this, of print_text() and of print_key(): a text that a
 * reference stands for is printed as the reference. */
void print_quoted(FILE *out, struct slice text);

/* "TEMPLATE", and KEY: "TEMPLATE", with a line end. */
void print_template_text(FILE *out, const struct template *t);
void print_template(FILE *out, const char *key, const struct template *t);

/* The entries of a list of addresses, a line each. */
void print_addresses(FILE *out, const struct config_addresses *t, unsigned depth);

/* A scalar key, of the struct `from`. */
void print_key(FILE *out, const struct key *k, const void *from, unsigned depth);
/* The scalar keys of a section, except those of the protocol `without`. */
void print_section(FILE *out, const struct section *s, const void *from, unsigned depth,
		   enum key_protocol without);

/* The maps that proxy_read() and memcached_read() read, with their key. */
void print_proxy(FILE *out, const struct config *c, const struct config_proxy *p,
		 unsigned depth);
void print_memcached(FILE *out, const struct config *c, const struct config_memcached *m,
		     unsigned depth, bool in_part);

#endif
