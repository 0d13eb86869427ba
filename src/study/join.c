/* The action `join`: several fetches for one request. An optional check first, then all parts at
 * once, then one JSON response made of them.
 *
 *   CHECKING ─▶ COLLECTING ─▶ (replied)
 *      └ no session: redirected to the login page
 *
 * The duration is that of the slowest part and not the sum of all.
 *
 * Owner: the exchange. Limits: JOIN_PARTS_MAX parts; PART_BYTES_MAX of each body. Errors: a
 * part that fails is reported by its status; a failed check ends the exchange. */
#include "join.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/identity.h"
#include "proxy/value.h"

/* Most bytes of one part's body in the JSON; the rest is dropped. */
#define PART_BYTES_MAX 65536u

struct join_part {
	const struct config_part *config;
	struct source *source;
	struct buf *request;  /* to a server, until its fetch is started */
	struct buf *preamble; /* see struct fetch_options; until then, too */
	char key[MEMCACHE_KEY_MAX];
	uint8_t key_len;
	uint64_t hash;        /* see action_hash() */
	bool hold_on_return;  /* see struct fetch_options */
	bool headed;          /* the final head was taken */
	bool done;
	int status;           /* of the response; 200 for a value */
	char *bytes;          /* of its body, as far as received */
	uint32_t len;
};

struct join {
	struct slab_reap reap;
	struct exchange *exchange;
	const struct config_join *config;
	bool checked;
	struct join_part check;
	struct join_part parts[JOIN_PARTS_MAX];
};

/* ---- requests ------------------------------------------------------------- */

/* Marks as hop-by-hop, so that they are not sent, the fields by which the client requests a form
 * or freshness of its own response: a part is a different request. */
static void strip_client_fields(struct head *h)
{
	static const struct slice client_fields[] = {
		SLICE("Expect"), SLICE("Accept-Encoding"), SLICE("Range"), SLICE("If-Range"),
		SLICE("If-Match"), SLICE("If-None-Match"), SLICE("If-Modified-Since"),
		SLICE("If-Unmodified-Since"),
	};

	h->expect_continue = false;
	for (unsigned i = 0; i < h->field_n; i++)
		for (unsigned k = 0; k < COUNT(client_fields); k++)
			h->fields[i].per_hop |= slice_equal_nocase(h->fields[i].name,
								   client_fields[k]);
}

/* Prepares what the part will send, while the client's head is valid. */
static enum ending part_prepare(struct join *j, struct join_part *part,
				const struct config_part *config,
				const struct request_view *view)
{
	struct head h = *view->head;
	struct slice key;

	part->config = config;
	if (config->is_memcached) {
		if (!action_key(view, &config->memcached, part->key, &key))
			return ENDING_KEY_INVALID;
		part->key_len = (uint8_t)key.len;
		return ENDING_COMPLETE;
	}
	part->hold_on_return = identity_presented(view->head);
	part->hash = action_hash(j->exchange->generation, view, config->proxy.upstream);
	strip_client_fields(&h);
	h.method = METHOD_GET;
	h.method_token = SLICE("GET");
	h.framing = FRAMING_NONE;
	h.upgrade = false;
	part->request = action_emit_request(j->exchange, view, &config->proxy, &h, NULL);
	if (!part->request ||
	    !action_preamble(j->exchange, config->proxy.upstream, &part->preamble))
		return ENDING_NO_MEMORY;
	return ENDING_COMPLETE;
}

static bool part_start(struct join *j, struct join_part *part)
{
	struct generation *g = j->exchange->generation;
	struct task *waiter = &j->exchange->task;
	const struct config_part *c = part->config;
	struct fetch *f;

	if (c->is_memcached) {
		part->source = value_get(g, &c->memcached,
					 (struct slice){ part->key, part->key_len }, waiter);
		return part->source != NULL;
	}
	f = fetch_new(&(struct fetch_options){
		.generation = g,
		.waiter = waiter,
		.upstream = c->proxy.upstream,
		.head = part->request,
		.preamble = part->preamble,
		.method = METHOD_GET,
		.framing = FRAMING_NONE,
		.hash = part->hash,
		.hold_on_return = part->hold_on_return,
	});
	part->request = part->preamble = NULL;
	part->source = f ? &f->source : NULL;
	return f != NULL;
}

/* ---- responses ------------------------------------------------------------ */

static bool take_bytes(struct join_part *part, const struct piece *p)
{
	uint32_t n = p->len < PART_BYTES_MAX - part->len ? p->len : PART_BYTES_MAX - part->len;
	char *grown = realloc(part->bytes, part->len + n + 1);

	if (!grown)
		return false;
	part->bytes = grown;
	memcpy(part->bytes + part->len, p->ptr, n);
	part->len += n;
	ASSERT(part->len <= PART_BYTES_MAX);
	return true;
}

static void part_finish(struct join_part *part, int status)
{
	ASSERT(!part->done);
	part->done = true;
	part->status = status;
	source_free(&part->source);
}

static void part_body(struct join *j, struct join_part *part)
{
	struct piece p = { NULL, NULL, 0 };
	bool taken;

	for (;;) {
		switch (source_body(part->source, &j->exchange->proxy->response, &p)) {
		case BODY_DATA:
			taken = take_bytes(part, &p);
			piece_put(&p);
			if (!taken)
				part_finish(part, ending_status(ENDING_NO_MEMORY));
			else if (part->len == PART_BYTES_MAX)
				part_finish(part, part->status);
			else
				break;
			return;
		case BODY_TRAILERS:
			source_end_trailers(part->source);
			break;
		case BODY_END:
			part_finish(part, part->status);
			return;
		case BODY_BAD:
			part_finish(part, ending_status(ENDING_ORIGIN_BAD));
			return;
		case BODY_MORE:
			return;
		}
	}
}

/* Reads heads until the final one, or until there is none. */
static void part_head(struct join *j, struct join_part *part)
{
	struct head *h = &j->exchange->proxy->response;

	while (!part->done && !part->headed &&
	       source_head(part->source, h) == VERDICT_OK) {
		if (h->status == 101) { /* not requested */
			part_finish(part, ending_status(ENDING_ORIGIN_BAD));
			return;
		}
		part->status = h->status;
		part->headed = h->status >= 200;
		source_take_head(part->source, h, h->status < 200 ? FRAMING_NONE :
				 head_response_framing(h, METHOD_GET));
	}
}

/* The status in the JSON of a part that failed. */
static int failed_status(enum ending ending)
{
	int status = ending_status(ending);

	return status != 0 ? status : ending_status(ENDING_ORIGIN_CLOSED);
}

static void part_step(struct join *j, struct join_part *part)
{
	if (part->done || !part->source)
		return;
	source_step(part->source);
	part_head(j, part);
	if (part->done)
		return;
	if (part->source->ending != 0)
		part_finish(part, failed_status((enum ending)part->source->ending));
	else if (part->headed)
		part_body(j, part);
}

/* ---- JSON ----------------------------------------------------------------- */

/* Bytes of a UTF-8 sequence that is well-formed (RFC 3629 4), 0 if it is not. */
static unsigned utf8_length(const unsigned char *s, size_t n)
{
	unsigned len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 :
		       s[0] < 0xf5 ? 4 : 0;

	if (len > n)
		return 0;
	for (unsigned i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static void put_string(struct emit *e, const char *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	emit_slice(e, SLICE("\""));
	for (size_t i = 0; i < n;) {
		unsigned char b = (unsigned char)bytes[i];
		unsigned len = utf8_length((const unsigned char *)bytes + i, n - i);

		if (len == 0) {
			emit_slice(e, SLICE("\\ufffd"));
			len = 1;
		} else if (b < 0x20 || b == '"' || b == '\\') {
			char escape[6] = { '\\', 'u', '0', '0', digits[b >> 4], digits[b & 15] };

			emit_slice(e, (struct slice){ escape, sizeof(escape) });
		} else {
			emit_slice(e, (struct slice){ bytes + i, len });
		}
		i += len;
	}
	emit_slice(e, SLICE("\""));
}

static void put_part(struct emit *e, const struct join_part *part)
{
	put_string(e, part->config->name, strlen(part->config->name));
	emit_slice(e, SLICE(":{\"status\":"));
	emit_number(e, (uint64_t)part->status);
	emit_slice(e, SLICE(",\"body\":"));
	put_string(e, part->bytes, part->len);
	emit_slice(e, SLICE("}"));
}

/* Upper bound: an escaped byte takes six. */
static size_t json_bytes_max(const struct join *j)
{
	size_t n = 64 + 6ull * j->check.len;

	for (unsigned i = 0; i < j->config->part_n; i++)
		n += 6ull * (j->parts[i].len + strlen(j->parts[i].config->name)) + 64;
	return n;
}

static void reply_with_json(struct join *j)
{
	size_t max = json_bytes_max(j);
	char *text = malloc(max);
	struct emit e;

	if (!text) {
		exchange_fail(j->exchange, ENDING_NO_MEMORY);
		return;
	}
	e = (struct emit){ text, text + max, false };
	emit_slice(&e, SLICE("{"));
	if (j->config->check) {
		emit_slice(&e, SLICE("\"session\":"));
		put_string(&e, j->check.bytes, j->check.len);
	}
	for (unsigned i = 0; i < j->config->part_n; i++) {
		if (i > 0 || j->config->check)
			emit_slice(&e, SLICE(","));
		put_part(&e, &j->parts[i]);
	}
	emit_slice(&e, SLICE("}\n"));
	ASSERT(!e.overflow);
	exchange_reply(j->exchange, SLICE("application/json"),
		       (struct slice){ text, (size_t)(e.at - text) });
	free(text);
}

/* ---- steps ---------------------------------------------------------------- */

static bool start_parts(struct join *j)
{
	j->checked = true;
	for (unsigned i = 0; i < j->config->part_n; i++)
		if (!part_start(j, &j->parts[i]))
			return false;
	return true;
}

static void check_step(struct join *j)
{
	part_step(j, &j->check);
	if (!j->check.done)
		return;
	if (j->check.status == ending_status(ENDING_CACHE_MISS))
		exchange_redirect(j->exchange, ending_status(ENDING_REDIRECTED),
				  j->config->login, ENDING_REDIRECTED);
	else if (j->check.status != 200)
		exchange_fail(j->exchange, j->check.status == 504 ? ENDING_CACHE_TIMEOUT
								  : ENDING_CACHE_FAILED);
	else if (!start_parts(j))
		exchange_fail(j->exchange, ENDING_NO_MEMORY);
}

static void join_step(struct exchange *x)
{
	struct join *j = x->work;

	ASSERT(j->exchange == x);
	if (!j->checked)
		check_step(j);
	if (x->ended || !j->checked)
		return;
	for (unsigned i = 0; i < j->config->part_n; i++)
		part_step(j, &j->parts[i]);
	for (unsigned i = 0; i < j->config->part_n; i++)
		if (!j->parts[i].done)
			return;
	reply_with_json(j);
}

static void join_start(struct exchange *x, const struct request_view *view)
{
	const struct config_join *config = view->route->options;
	struct join *j = action_begin_work(x);
	enum ending ending = ENDING_COMPLETE;

	if (!j)
		return;
	j->exchange = x;
	j->config = config;
	/* Without a session there is no key to look up, so the check fails. */
	if (config->check &&
	    part_prepare(j, &j->check, config->check, view) != ENDING_COMPLETE) {
		exchange_redirect(x, ending_status(ENDING_REDIRECTED), config->login,
				  ENDING_REDIRECTED);
		return;
	}
	for (unsigned i = 0; i < config->part_n && ending == ENDING_COMPLETE; i++)
		ending = part_prepare(j, &j->parts[i], &config->parts[i], view);
	if (ending != ENDING_COMPLETE)
		exchange_fail(x, ending);
	else if (!(config->check ? part_start(j, &j->check) : start_parts(j)))
		exchange_fail(x, ENDING_NO_MEMORY);
}

static void part_drop(struct join_part *part)
{
	source_free(&part->source);
	buf_put(part->request);
	buf_put(part->preamble);
	free(part->bytes);
}

static void join_drop(struct exchange *x)
{
	struct join *j = x->work;

	part_drop(&j->check);
	for (unsigned i = 0; i < JOIN_PARTS_MAX; i++)
		part_drop(&j->parts[i]);
	tick_reap_to_slab(x->proxy->tick, action_works(x->proxy, &action_join), &j->reap);
}

const struct action action_join = {
	.config = {
		.key = NODE_ROW(join, "{ check: …, parts: … }", "one action",
				"action, `study` only: a check, then several concurrent requests, "
				"combined into one JSON response"),
		.study = true,
		.sections = join_sections,
		.read = join_read,
		.print = join_print,
	},
	.reads_only = true,
	.start = join_start,
	.work_bytes = sizeof(struct join),
	.step = join_step,
	.drop = join_drop,
};
