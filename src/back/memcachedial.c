#include "memcachelink.h"

/* Inbox of a link. Replies are read in the tick in which they come, so this only
 * determines how often the receive is restarted. */
#define LINK_WINDOW (256u << 10)

/* The next address to be connected to. */
static const struct memcache_address *address_take(struct memcache_link *l)
{
	const struct memcache_server *s = l->server;

	l->address = server_next_address(s, l->address);
	l->sa = s->addresses[l->address].sa;
	l->addresses_tried++;
	return &s->addresses[l->address];
}

bool link_dial(struct memcache_link *l, const struct conn_events *events)
{
	const struct memcache_address *address = address_take(l);
	const struct config_upstream *config = &l->server->memcache->table.config;
	struct member *member = &l->server->member;
	struct tick *tick = link_tick(l);
	struct dial_options options = {
		.conn = &l->conn,
		.events = events,
		.window = LINK_WINDOW,
		.address = (const struct sockaddr *)&address->sa,
		.address_len = address->len,
		.deadline_ms = tick->now_ms + config->connect_timeout_ms,
		.task = &l->task,
	};

	member_dial(member, &options);
	l->tls_identity = member->tls_identity;
	l->dial = dial_start(tick, &options);
	return l->dial != NULL;
}

void link_give_up(struct memcache_link *l)
{
	link_set_state(l, LINK_CLOSING);
	l->server->links--;
	server_count_connecting(l->server, -1);
	dial_cancel(&l->dial);
}

static void link_opened(struct memcache_link *l)
{
	struct memcache_server *s = l->server;

	server_tls_count(link_stats(l), l->dial);
	dial_finish(&l->dial);
	server_count_connecting(s, -1);
	link_set_state(l, LINK_OPEN);
	server_set_state(s, SERVER_UP);
	s->address = l->address;
	stat_add(&link_stats(l)->connects, 1);
	stat_add(&link_stats(l)->connections, 1);
	link_rank(l);
	server_dispatch(s);
}

static void link_not_opened(struct memcache_link *l)
{
	struct memcache_server *s = l->server;
	int error = l->dial->error;

	server_tls_count(link_stats(l), l->dial);
	l->address = (l->address + 1) % s->address_n;
	if (l->dial->failure != DIAL_TIMEOUT && l->addresses_tried < s->address_n) {
		const struct memcache_address *next = address_take(l);

		dial_again(l->dial, (const struct sockaddr *)&next->sa, next->len);
		return;
	}
	link_give_up(l);
	s->address = l->address;
	stat_add(&link_stats(l)->connect_failures, 1);
	server_connect_failed(s, error);
}

void link_dial_ended(struct memcache_link *l)
{
	if (l->dial->state == DIAL_OPENED)
		link_opened(l);
	else
		link_not_opened(l);
}
