#include "cacheclient.h"

#include <stdio.h>

/* Most bytes of a response besides value, key and opaque. */
#define REPLY_HEAD_MAX 256

/* ---- replies ---------------------------------------------------------------- */

struct buf *reply_new(struct cache_client *c, size_t size)
{
	struct buf *b = buf_new(io_bufs(c->lab->options.tick->loop), size);

	if (!b)
		conn_close(&c->conn, CONN_RESET, 0);
	return b;
}

static void reply_push(struct cache_client *c, struct buf *b)
{
	struct piece p = { b, b->data, b->end };

	if (conn_push(&c->conn, &p))
		return;
	piece_put(&p);
	conn_close(&c->conn, CONN_RESET, 0);
}

static void append_slice(struct buf *b, struct slice s)
{
	ASSERT(s.len <= b->size - b->end);
	if (s.len > 0)
		memcpy(b->data + b->end, s.ptr, s.len);
	b->end += (uint32_t)s.len;
}

static void append_number(struct buf *b, const char *before, uint64_t n)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "%s%llu", before, (unsigned long long)n);

	append_slice(b, (struct slice){ text, (size_t)len });
}

void reply_line(struct cache_client *c, const char *line)
{
	struct buf *b = reply_new(c, strlen(line) + 2);

	if (!b)
		return;
	append_slice(b, slice_of(line));
	append_slice(b, SLICE("\r\n"));
	reply_push(c, b);
}

static void append_value(struct buf *b, const struct cache_entry *e)
{
	append_slice(b, (struct slice){ e->bytes + e->key_len, e->value_len });
	append_slice(b, SLICE("\r\n"));
}

static void append_value_line(struct buf *b, const struct cache_entry *e, bool with_cas)
{
	append_slice(b, SLICE("VALUE "));
	append_slice(b, (struct slice){ e->bytes, e->key_len });
	append_number(b, " ", e->flags);
	append_number(b, " ", e->value_len);
	if (with_cas)
		append_number(b, " ", e->cas);
	append_slice(b, SLICE("\r\n"));
	append_value(b, e);
}

/* The return flags of a meta command; `e` may be NULL. */
static void append_flags(struct cache_client *c, struct buf *b,
			 const struct cache_entry *e)
{
	uint64_t now_ms = c->lab->options.tick->wall_ms;
	struct slice words = c->command.rest, word;

	while ((word = cache_word(&words)).len > 0) {
		char flag = word.ptr[0];

		if (flag == 'O') {
			append_slice(b, SLICE(" "));
			append_slice(b, word);
		} else if (flag == 'k') {
			append_slice(b, SLICE(" k"));
			append_slice(b, c->command.key);
		} else if (e && flag == 's') {
			append_number(b, " s", e->value_len);
		} else if (e && flag == 'f') {
			append_number(b, " f", e->flags);
		} else if (e && flag == 'c') {
			append_number(b, " c", e->cas);
		} else if (e && flag == 't' && e->expires_ms == 0) {
			append_slice(b, SLICE(" t-1"));
		} else if (e && flag == 't') {
			append_number(b, " t", (e->expires_ms - now_ms + 999) / 1000);
		}
	}
	append_slice(b, SLICE("\r\n"));
}

static size_t flags_size_max(const struct cache_client *c)
{
	return REPLY_HEAD_MAX + CACHE_OPAQUE_MAX + c->command.key.len;
}

static bool wants_value(const struct cache_client *c)
{
	struct slice words = c->command.rest, word;

	while ((word = cache_word(&words)).len > 0) {
		if (word.ptr[0] == 'v')
			return true;
	}
	return false;
}

/* ---- responses -------------------------------------------------------------- */

/* The value is copied under the lock; that is fast enough for a lab. */
static void respond_key(struct cache_client *c, struct slice key)
{
	const struct cache_options *o = &c->lab->options;
	struct buf *b = NULL;
	struct cache_entry *e;

	cache_store_lock(o->store);
	e = cache_store_find(o->store, key, o->tick->wall_ms);
	if (e)
		b = reply_new(c, REPLY_HEAD_MAX + key.len + e->value_len);
	if (b)
		append_value_line(b, e, c->command.verb == CACHE_GETS);
	cache_store_unlock(o->store);
	if (b)
		reply_push(c, b);
}

/* Responds to keys while the connection has space. True: all are done. */
static bool respond_get(struct cache_client *c)
{
	while (c->conn.state == CONN_OPEN) {
		struct slice key;

		if (conn_push_space(&c->conn) == 0) {
			conn_await_space(&c->conn);
			return false;
		}
		key = cache_word(&c->command.rest);
		if (key.len == 0) {
			reply_line(c, "END");
			return true;
		}
		respond_key(c, key);
	}
	return false;
}

static void respond_mg(struct cache_client *c)
{
	const struct cache_options *o = &c->lab->options;
	struct buf *b = NULL;
	struct cache_entry *e;

	cache_store_lock(o->store);
	e = cache_store_find(o->store, c->command.key, o->tick->wall_ms);
	if (e)
		b = reply_new(c, flags_size_max(c) + e->value_len);
	if (b && wants_value(c)) {
		append_number(b, "VA ", e->value_len);
		append_flags(c, b, e);
		append_value(b, e);
	} else if (b) {
		append_slice(b, SLICE("HD"));
		append_flags(c, b, e);
	}
	cache_store_unlock(o->store);
	if (b)
		reply_push(c, b);
	else if (!e && !c->command.quiet)
		reply_line(c, "EN");
}

static void respond_meta(struct cache_client *c, const char *code)
{
	struct buf *b = reply_new(c, flags_size_max(c));

	if (!b)
		return;
	append_slice(b, slice_of(code));
	append_flags(c, b, NULL);
	reply_push(c, b);
}

/* The result as a response of set, delete, ms or md. */
static void respond_stored(struct cache_client *c, enum cache_stored result)
{
	bool meta = c->command.verb == CACHE_MS || c->command.verb == CACHE_MD;
	bool deleted = c->command.verb == CACHE_DELETE;

	switch (result) {
	case CACHE_STORED:
		if (c->command.quiet)
			return;
		if (meta)
			respond_meta(c, "HD");
		else
			reply_line(c, deleted ? "DELETED" : "STORED");
		return;
	case CACHE_EXISTS:
		respond_meta(c, "EX");
		return;
	case CACHE_NOT_FOUND:
		if (c->command.quiet && c->command.verb != CACHE_MS)
			return;
		if (meta)
			respond_meta(c, "NF");
		else
			reply_line(c, "NOT_FOUND");
		return;
	case CACHE_NO_ROOM:
		reply_line(c, "SERVER_ERROR out of memory storing object");
		return;
	}
}

static void respond_set(struct cache_client *c)
{
	const struct cache_options *o = &c->lab->options;
	struct cache_entry *e = c->entry;

	if (memcmp(cache_entry_value(e) + e->value_len, "\r\n", 2) != 0) {
		reply_line(c, "CLIENT_ERROR bad data chunk");
		return;
	}
	e->flags = c->command.flags;
	e->expires_ms = cache_expires_ms(c->command.exptime, o->tick->wall_ms);
	respond_stored(c, cache_store_put(o->store, &c->entry, c->command.cas,
					  o->tick->wall_ms));
}

static void respond_delete(struct cache_client *c)
{
	const struct cache_options *o = &c->lab->options;

	respond_stored(c, cache_store_delete(o->store, c->command.key, c->command.cas,
					     o->tick->wall_ms));
}

bool command_respond(struct cache_client *c)
{
	switch (c->command.verb) {
	case CACHE_GET:
	case CACHE_GETS:
		return respond_get(c);
	case CACHE_SET:
	case CACHE_MS:
		respond_set(c);
		break;
	case CACHE_DELETE:
	case CACHE_MD:
		respond_delete(c);
		break;
	case CACHE_MG:
		respond_mg(c);
		break;
	case CACHE_MN:
		reply_line(c, "MN");
		break;
	case CACHE_VERSION:
		reply_line(c, "VERSION 1.6.0-fairlead-lab");
		break;
	case CACHE_QUIT:
		conn_close(&c->conn, CONN_FLUSH, 1000);
		break;
	case CACHE_WRONG:
		reply_line(c, c->command.complaint);
		break;
	}
	return true;
}
