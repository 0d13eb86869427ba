/* The state of reading one configuration, shared by the files of this folder.
 *
 * Owner: config_read_with() and its variants, for the time of the call. Reading continues after
 * an error, so that all errors are reported at once; a struct may therefore be half filled. A
 * configuration with errors is freed and never handed out.
 * Errors: each *_read() function reports into `report`, with position and remedy. */
#ifndef CONFIG_READER_H
#define CONFIG_READER_H

#include "base/check.h"
#include "base/names.h"
#include "config/action.h"
#include "config/tls.h"
#include "dns/dns.h"
#include "snapshot.h"

#define CONFIG_KEY_MAX 250 /* bytes of a memcached key */

struct config_reader {
	struct arena *memory; /* freed with the configuration */
	struct arena scratch; /* freed at the end of reading */
	struct report report;
	struct config *config;
	struct dns *dns; /* NULL: not needed so far */
	/* CONFIG_ADDRESSES_MAX; NULL: not needed so far */
	struct config_address *address_buffer;
	struct server_lookup *lookups, *lookups_last; /* of all servers, in file order */
	unsigned lookups_running;                     /* DNS lookups in flight */
	bool strict;                  /* a name that cannot be resolved is an error */
	struct slice known_addresses; /* of names: see config_write_addresses() */
	struct names known_names; /* index of known_addresses, filled at the first use */
	struct snapshot snapshot;
	struct snapshot previous; /* in force until now; empty: none */
	/* Contents of files are found in, or added to, this one: `snapshot`, unless only they are
	 * read again (config_read_contents()). */
	struct snapshot *contents;
	struct snapshot again;       /* of config_read_contents() */
	struct names stored;         /* of struct stored_content */
	bool watching;               /* config_read_contents() */
	struct names groups;    /* of struct address_group (addresslist.c) */
	struct names upstreams; /* of struct defined_name */
	bool routes_refused;    /* likewise: no route of `hosts` can be read */
	bool upstreams_refused; /* the whole map is invalid, which has been reported */
	unsigned suggestions;   /* searches for a similar upstream name so far */
};

/* `n` if it is a list or null; otherwise a list whose only entry is `n`. */
const struct node *list_of(struct config_reader *r, const struct node *n);

/* The key of a value in a map, NUL-terminated. */
const char *node_name(const struct node *n);

/* user.c: sets uid and gid of the configuration from `user` and `group`; the nodes are for the
 * position of errors and may be NULL. */
void user_read(struct config_reader *r, const struct node *user,
	       const struct node *group);

/* user.c: parses a numeric uid or gid. False: the text is not one. */
bool user_number(const char *text, uint32_t *id);

/* config.c: reads a file to its end, or more than CONFIG_FILE_BYTES_MAX; to be freed. "-" is
 * standard input. Returns 0 or a negative errno; -EKEYREJECTED: all users may write the file, and
 * this is root. */
int text_load(const char *file, char **text, size_t *n);

/* include.c: the file, of `bytes` bytes, with the keys of the files that it includes. */
const struct node *includes_read(struct config_reader *r, const struct node *root,
				 size_t bytes);

/* include.c: the folder of the file that `n` is in, as a prefix of paths: "" or with a "/" at its
 * end. */
struct slice folder_of(const struct config_reader *r, const struct node *n);

/* substitute.c: replaces ${env.NAME} and ${file:PATH} in all values. */
void substitute(struct config_reader *r, const struct node *root);

/* substitute.c: notes, for --print, what was written for a field or for the text of a part of a
 * template. */
void reference_keep(struct config_reader *r, const char *written, const void *of);

/* inherit.c: the file with what its upstreams and routes inherit, and with the routes of `hosts` as
 * `routes`. */
const struct node *inherit(struct config_reader *r, const struct node *root);

/* rights.c: permissions of a unix socket, from the map of its address; adds them to the
 * configuration if the map has any. */
void rights_read(struct config_reader *r, const struct section_values *values,
		 const struct config_address *a, struct config_rights *rights);

/* listen.c: addresses on which connections are accepted; appends each listener to the configuration
 * and reports an address that is used twice. */
void listens_read(struct config_reader *r, const struct node *list);
void admin_read(struct config_reader *r, const struct node *n);
void control_read(struct config_reader *r, const struct node *n);

/* upstream.c */
void upstreams_read(struct config_reader *r, const struct node *map);

/* section.c: as name_define(), of a part of another struct. False: reported. */
bool name_define_as(struct config_reader *r, struct names *all, const struct node *n,
		    struct defined_name *name);

/* addresslist.c: reads `addresses`, before any list that names one of its groups. */
void address_groups_read(struct config_reader *r, const struct node *map);

/* tls.c: `tls` of a listener; its name is for messages. NULL: reported. */
struct config_tls *listen_tls_read(struct config_reader *r, const struct node *map,
					 const char *name);

/* contents.c: before anything of tls/ is used. False: the library cannot be used, which was
 * reported at `n`. */
bool tls_begin(struct config_reader *r, const struct node *n);

/* contents.c: the certificates of issuers that the system trusts. NULL: reported at `n`. */
const struct config_file *file_of_system(struct config_reader *r, const struct node *n);

/* contents.c: takes over what belongs to no file: the secret of tickets, the count of refused
 * certificates. Before the first file is read. */
void contents_begin(struct config_reader *r);
void contents_end(struct config_reader *r);

/* certificates.c: the pair of a FILE or a map with `chain` and `key`. NULL: reported. */
const struct config_pair *pair_read(struct config_reader *r, const struct node *n,
				    struct config_certificate *written);

/* certificates.c: as pair_read(), or all pairs of a folder; appends them. */
struct pair_list {
	const struct config_pair **all; /* CONFIG_CERTIFICATES_MAX, in scratch memory */
	unsigned n;
};
void certificates_read(struct config_reader *r, const struct node *n,
		       struct pair_list *list, struct config_certificate *written);

/* logs.c: `n` may be NULL. Of a route: `access_logs_read()` was called. */
void access_logs_read(struct config_reader *r, const struct node *n);
void error_logs_read(struct config_reader *r, const struct node *n);
void route_logs_read(struct config_reader *r, const struct node *n,
		     struct config_route *route);

/* requestid.c: `n` may be NULL. */
void request_id_read(struct config_reader *r, const struct node *n);
void tracing_read(struct config_reader *r, const struct node *n);

/* requestid.c: the name of a field that we write may be this one. Returns NULL, or what is wrong
 * and the remedy. `example`: of such a name. */
const char *own_field_fault(struct config_reader *r, struct slice name, const char *example);

/* resolver.c: call before upstreams_read(). `n` may be NULL. */
void resolver_read(struct config_reader *r, const struct node *n);

/* health.c: `n` may be NULL. The protocol of the upstream is set already. */
void health_read(struct config_reader *r, const struct node *n,
		 struct config_upstream *u);

/* upstreamtls.c: `tls` of an upstream; `n` may be NULL. The protocol is set already. Then the names
 * that the certificates of its servers must have. */
void upstream_tls_read(struct config_reader *r, const struct node *n,
		       struct config_upstream *u);
void upstream_tls_names(struct config_reader *r, const struct node *n,
			struct config_upstream *u);

/* upstream.c: warns of upstreams that no route uses. Call after routes_read(). */
void upstreams_unused(struct config_reader *r);

/* suspect.c: warns if the literal text of a template contains "{…}" without a dollar sign. */
void suspect_template(struct config_reader *r, const struct node *n);

/* routes.c: upstreams and `study` have been read. */
void routes_read(struct config_reader *r, const struct node *list);

/* keys.c: the number of actions; the keys of the rules follow those of the actions. */
size_t actions_count(void);

/* rules.c: the rules of a route, whose action has been read. */
void rules_read(struct config_reader *r, const struct section_values *values,
		struct config_route *route);

/* action.c: the index of the upstream that a node names; 0 after an error, which is reported. `n`
 * may be NULL. */
unsigned upstream_find(struct config_reader *r, const struct node *n,
		       enum config_protocol protocol);

/* split.c: the keys of a proxy action about `split`; `map` has all of its keys. */
void split_read(struct config_reader *r, const struct node *map,
		const struct section_values *values, struct config_proxy *p);

/* sticky.c: `sticky` of an upstream, whose `balance` was read; `n` may be NULL. True: the text can
 * be the name of a cookie; false: reported. */
void sticky_read(struct config_reader *r, const struct node *n, struct config_upstream *u);
bool cookie_name_check(struct config_reader *r, const struct node *n);

/* hostlist.c: `host` of a route. False: reported. */
bool hosts_read(struct config_reader *r, const struct node *n, struct config_route *route);

/* match.c: `match` of a route. */
void conditions_of_route_read(struct config_reader *r, const struct node *n,
			      struct config_route *route);

/* match.c: frees the patterns of a configuration. */
void patterns_free(struct config *c);

/* retry.c: `deadline` of the route has been read. */
void retry_read(struct config_reader *r, const struct node *n,
		struct config_route *route);
void hedge_read(struct config_reader *r, const struct node *n,
		struct config_route *route);

/* lookups.c: reads the address of a server: HOST:PORT, [IPV6]:PORT, unix:/PATH or srv:NAME.
 * Returns NULL, or what is wrong and the remedy. Host names are resolved later, all together, by
 * lookups_resolve(), as `resolver` says; it reports names that cannot be resolved, as errors or
 * warnings. */
struct server_entry {
	struct config_server *server;
	const char *upstream; /* its name */
	struct source_pos at;
};
const char *lookups_read(struct config_reader *r, const struct server_entry *where,
			 struct slice text, enum config_protocol protocol);
void lookups_resolve(struct config_reader *r);

/* address.c: as address_lookup() (config/action.h), without the snapshot. */
const char *address_resolve(struct arena *memory, struct slice text, bool to_listen,
			    struct config_address *addresses, unsigned max, unsigned *n);

#endif
