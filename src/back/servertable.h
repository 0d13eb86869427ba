/* The servers of one upstream on one worker, HTTP or memcached, and its configuration: servers
 * are listed in the order of the configuration, found by key, entered in the registry. Another
 * set of servers replaces the listed one at once.
 *
 * What a server is differs, because requests are counted and refused by it: of HTTP one address
 * of a configured name; of memcached a name with all its addresses, since keys are mapped to
 * names.
 *
 *           member_enter       server_table_commit         the new set lacks it
 *   (zeroed) ─────────▶ NEW ─────────────────────▶ LISTED ──────────────────────▶ LEAVING
 *                        │ server_table_drop                                        │
 *                        │                        its last connection was freed     │
 *                        └────────▶ ENDED ◀─────────────────────────────────────────┘
 *
 *   NEW      found by its key, in the set that is being made
 *   LISTED   in table->members
 *   LEAVING  gets no new request; connections of it remain, or it is freed in this tick
 *   ENDED    not in the registry; freed at the end of the tick
 *
 * A set is made in three steps: server_table_prepare() allocates all that the table needs;
 * server_change_add() adds new members and those that stay; server_table_commit() cannot
 * fail. What a member does beside that (origins and permits, or links and calls) is its
 * user's, which embeds it: struct server, struct memcache_server.
 *
 * Owner: the upstream or the memcached client. Limits: those of the user. Errors: no memory, in
 * server_table_init() and server_table_prepare(). A member without memory for a registry entry
 * works with a record that nobody reads. member_check() asserts what holds in each state. */
#ifndef BACK_SERVERTABLE_H
#define BACK_SERVERTABLE_H

#include "back/registry.h"
#include "config/config.h"
#include "net/tick.h"
#include "servertls.h"

enum member_state { MEMBER_NEW, MEMBER_LISTED, MEMBER_LEAVING, MEMBER_ENDED };

/* The first member of its user's struct. */
struct member {
	struct server_table *table;
	const struct server_table_events *events;
	uint8_t state;            /* enum member_state */
	bool stays;               /* while a new set is made: it is in the new set */
	uint32_t index;           /* of its configured name */
	uint32_t connection_n;    /* connections to it that are not freed */
	uint64_t tls_identity;    /* of new connections: see servertls.h */
	struct tls_saved saved;   /* its last session, of that identity */
	struct names_entry entry; /* in table->by_key */
	struct registry_entry *registry_entry; /* NULL: no memory for one */
	struct registry_record *record;
	struct list node; /* LEAVING: on table->leaving */
	struct reap reap;
};

struct server_table_events {
	/* The member has left: it ends what is idle, and what waits for it. It withdraws from
	 * the registry. */
	void (*left)(struct member *m);
	/* Frees its memory; the table may be gone. */
	void (*freed)(struct member *m);
};

struct server_table {
	struct tick *tick;
	struct registry *registry, *own_registry;
	unsigned worker; /* its number in the registry */
	const struct server_table_events *events;
	struct config_upstream config; /* a copy, without `servers` and `tls` */
	char name[CONFIG_NAME_MAX];    /* of the upstream */
	struct server_tls tls;
	unsigned n;
	struct member **members; /* as configured */
	struct names by_key;     /* the same, and NEW ones */
	struct list leaving;
};

/* A new set of servers, in the order of the configuration. */
struct server_change {
	unsigned n, max;
	struct member **members;
};

/* registry: NULL: one of its own. False: no memory, and nothing is left to free. */
bool server_table_init(struct server_table *t, struct tick *tick,
		       struct registry *registry, unsigned worker,
		       const struct server_table_events *events);

/* All members leave and are freed. No connection is left. */
void server_table_clear(struct server_table *t);

/* Frees the table, which is clear. */
void server_table_done(struct server_table *t);

/* Copies the configuration, but for the servers. A new set follows. */
void server_table_configure(struct server_table *t, const struct config_upstream *config);

/* Of a zeroed member: it is found by the key and entered in the registry by name and address.
 * The key must stay valid as long as the member. */
void member_enter(struct server_table *t, struct member *m, struct slice key,
		  const char *name, const char *address);

/* The member that was entered with the key and does not leave; NULL: none. */
struct member *server_table_find(const struct server_table *t, struct slice key);

/* Begins a set of `max` members at most. False: no memory. */
bool server_table_prepare(struct server_change *c, unsigned max);

/* Adds a member that is NEW or LISTED, once. */
void server_change_add(struct server_change *c, struct member *m);

/* Makes the new set the listed one. Members that are not in it leave. The identity of those that
 * stay may be another one: their user ends what is idle and has the old one. */
void server_table_commit(struct server_table *t, struct server_change *c);

/* Gives the new set up: its NEW members are freed. */
void server_table_drop(struct server_change *c);

static inline bool member_is_leaving(const struct member *m)
{
	return m->state >= MEMBER_LEAVING;
}

/* Sets the options of TLS of a dial to the member, whose conn then has its tls_identity. */
static inline void member_dial(struct member *m, struct dial_options *options)
{
	server_tls_dial(&m->table->tls, m->index, &m->saved, options);
}

/* Sets the status in the registry. False: it is so already, or the member leaves. */
bool member_set_status(struct member *m, enum server_status status);

/* A connection to it was made, and: was freed. A member that leaves is freed with its last
 * connection. */
void member_connection_made(struct member *m);
void member_connection_freed(struct member *m);

/* Asserts what holds in each state. */
void member_check(const struct member *m);

#endif
