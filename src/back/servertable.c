#include "servertable.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

/* The diagram of servertable.h: the states that may follow each state. */
static const uint8_t member_next_states[] = {
	[MEMBER_NEW] = 1u << MEMBER_LISTED | 1u << MEMBER_LEAVING,
	[MEMBER_LISTED] = 1u << MEMBER_LEAVING,
	[MEMBER_LEAVING] = 1u << MEMBER_ENDED,
	[MEMBER_ENDED] = 0,
};

void member_check(const struct member *m)
{
	switch ((enum member_state)m->state) {
	case MEMBER_NEW:
		ASSERT(m->connection_n == 0 && list_empty(&m->node) && m->record);
		break;
	case MEMBER_LISTED:
		ASSERT(list_empty(&m->node) && m->record);
		break;
	case MEMBER_LEAVING:
		ASSERT(!m->stays && !list_empty(&m->node));
		break;
	case MEMBER_ENDED:
		ASSERT(m->connection_n == 0 && list_empty(&m->node) &&
		       !m->registry_entry);
		break;
	}
}

static void member_set_state(struct member *m, enum member_state state)
{
	ASSERT(member_next_states[m->state] >> state & 1);
	m->state = (uint8_t)state;
	CHECK_STATE(member_check(m));
}

static void reap_member(struct reap *reap)
{
	struct member *m = CONTAINER(reap, struct member, reap);

	m->events->freed(m);
}

void member_enter(struct server_table *t, struct member *m, struct slice key,
		  const char *name, const char *address)
{
	m->table = t;
	m->events = t->events;
	list_init(&m->node);
	list_init(&m->reap.node);
	m->reap.free = reap_member;
	names_put(&t->by_key, &m->entry, key);
	m->registry_entry = registry_enter(t->registry, t->worker, name, address);
	m->record = m->registry_entry
			    ? registry_record(t->registry, m->registry_entry, t->worker)
			    : registry_dummy_record(t->worker);
	CHECK_STATE(member_check(m));
}

bool member_set_status(struct member *m, enum server_status status)
{
	if (member_is_leaving(m) || stat_read(&m->record->status) == status)
		return false;
	registry_set_status(m->table->registry, m->record, status);
	return true;
}

/* ---- leaving ---------------------------------------------------------------- */

static void member_leave(struct member *m)
{
	m->stays = false;
	list_append(&m->table->leaving, &m->node);
	member_set_state(m, MEMBER_LEAVING);
	names_remove(&m->table->by_key, &m->entry);
	m->events->left(m);
}

static void member_end(struct member *m)
{
	if (m->registry_entry)
		registry_leave(m->registry_entry);
	m->registry_entry = NULL;
	tls_saved_drop(&m->saved);
	list_remove(&m->node);
	member_set_state(m, MEMBER_ENDED);
}

/* Nothing can refer to it: it need not wait for the end of the tick. */
static void member_discard(struct member *m)
{
	member_leave(m);
	member_end(m);
	m->events->freed(m);
}

static void member_end_if_unused(struct member *m)
{
	if (m->state != MEMBER_LEAVING || m->connection_n > 0)
		return;
	member_end(m);
	tick_reap(m->table->tick, &m->reap);
}

void member_connection_made(struct member *m)
{
	ASSERT(m->state == MEMBER_LISTED);
	m->connection_n++;
}

void member_connection_freed(struct member *m)
{
	ASSERT(m->connection_n > 0);
	m->connection_n--;
	member_end_if_unused(m);
}

/* ---- the table -------------------------------------------------------------- */

bool server_table_init(struct server_table *t, struct tick *tick,
		       struct registry *registry, unsigned worker,
		       const struct server_table_events *events)
{
	*t = (struct server_table){
		.tick = tick, .registry = registry, .worker = worker, .events = events
	};
	list_init(&t->leaving);
	if (!registry)
		t->registry = t->own_registry = registry_new("", worker + 1, NULL, NULL);
	return t->registry;
}

void server_table_clear(struct server_table *t)
{
	ASSERT(list_empty(&t->leaving));
	while (t->n > 0)
		member_discard(t->members[--t->n]);
}

void server_table_done(struct server_table *t)
{
	ASSERT(t->n == 0);
	names_done(&t->by_key);
	free(t->members);
	server_tls_done(&t->tls);
	registry_free(t->own_registry);
}

void server_table_configure(struct server_table *t, const struct config_upstream *config)
{
	t->config = *config;
	t->config.servers = NULL;
	t->config.tls = NULL;
	t->config.sticky.cookie = t->config.sticky.key = NULL;
	t->config.sticky.path = (struct slice){ NULL, 0 };
	snprintf(t->name, sizeof(t->name), "%s", config->name ? config->name : "");
	t->config.name = t->name;
	server_tls_configure(&t->tls, config);
}

struct member *server_table_find(const struct server_table *t, struct slice key)
{
	const struct names_entry *e = names_find(&t->by_key, key);

	return e ? CONTAINER(e, struct member, entry) : NULL;
}

bool server_table_prepare(struct server_change *c, unsigned max)
{
	/* + 1: malloc(0) may be NULL. */
	*c = (struct server_change){
		.max = max, .members = malloc((max + 1) * sizeof(c->members[0]))
	};
	return c->members;
}

void server_change_add(struct server_change *c, struct member *m)
{
	ASSERT(c->n < c->max && !m->stays && !member_is_leaving(m));
	m->stays = true;
	c->members[c->n++] = m;
}

/* A session is not resumed under other settings: it would be trusted without a look at them. */
static void member_identify(struct member *m)
{
	uint64_t identity = server_tls_identity(&m->table->tls, m->index);

	if (identity != m->tls_identity)
		tls_saved_drop(&m->saved);
	m->tls_identity = identity;
}

void server_table_commit(struct server_table *t, struct server_change *c)
{
	struct server_change old = { .n = t->n, .members = t->members };

	t->members = c->members;
	t->n = c->n;
	for (unsigned i = 0; i < t->n; i++)
		if (t->members[i]->state == MEMBER_NEW)
			member_set_state(t->members[i], MEMBER_LISTED);
	for (unsigned i = 0; i < old.n; i++) {
		if (old.members[i]->stays)
			continue;
		member_leave(old.members[i]);
		member_end_if_unused(old.members[i]);
	}
	for (unsigned i = 0; i < t->n; i++) {
		t->members[i]->stays = false;
		member_identify(t->members[i]);
	}
	free(old.members);
	*c = (struct server_change){ 0 };
}

void server_table_drop(struct server_change *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		c->members[i]->stays = false;
		if (c->members[i]->state == MEMBER_NEW)
			member_discard(c->members[i]);
	}
	free(c->members);
	*c = (struct server_change){ 0 };
}
