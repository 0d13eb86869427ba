#include "mirror.h"

#include "proxy/action.h"
#include "proxy/identity.h"
#include "proxy/rule.h"

/* ---- states ---------------------------------------------------------------------- */

/* The diagram of mirror.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[MIRROR_KEEPING] = 1u << MIRROR_SENDING | 1u << MIRROR_ENDED,
	[MIRROR_SENDING] = 1u << MIRROR_READING | 1u << MIRROR_ENDED,
	[MIRROR_READING] = 1u << MIRROR_ENDED,
	[MIRROR_ENDED] = 0,
};

static void mirror_set_state(struct mirror *m, enum mirror_state state)
{
	ASSERT(next_states[m->state] >> state & 1);
	m->state = (uint8_t)state;
}

void mirror_check(const struct mirror *m)
{
	switch ((enum mirror_state)m->state) {
	case MIRROR_KEEPING:
		ASSERT(!m->fetch && m->head && !timer_armed(&m->timer));
		break;
	case MIRROR_SENDING:
	case MIRROR_READING:
		ASSERT(m->fetch && !m->head && !m->preamble && m->whole);
		ASSERT(m->fetch->source.ending == 0 && timer_armed(&m->timer));
		source_check(&m->fetch->source);
		break;
	case MIRROR_ENDED:
		ASSERT(false); /* nobody has it any more */
	}
}

static struct proxy *proxy_of(const struct mirror *m)
{
	return m->generation->proxy;
}

static void mirror_end(struct mirror *m)
{
	struct proxy *p = proxy_of(m);
	struct source *s = m->fetch ? &m->fetch->source : NULL;

	mirror_set_state(m, MIRROR_ENDED);
	source_free(&s);
	m->fetch = NULL;
	buf_put(m->head);
	buf_put(m->preamble);
	replay_free(&m->body);
	timer_stop(&p->tick->wheel, &m->timer);
	task_stop(&m->task);
	list_remove(&m->node);
	stat_sub(&p->stats->mirrors_in_flight, 1);
	tick_reap_to_slab(p->tick, rule_works(p, &rule_mirror), &m->reap);
	generation_put(m->generation);
}

static void mirror_fail(struct mirror *m)
{
	stat_add(&proxy_of(m)->stats->mirror_failures, 1);
	mirror_end(m);
}

/* It will not be sent, which `counter` of the worker's counts. */
static void mirror_drop(struct mirror *m, uint64_t *counter)
{
	ASSERT(m->state == MIRROR_KEEPING);
	stat_add(counter, 1);
	mirror_end(m);
}

/* ---- sending --------------------------------------------------------------------- */

static void mirror_begin(struct mirror *m)
{
	struct proxy *p = proxy_of(m);

	m->fetch = fetch_new(&(struct fetch_options){
		.generation = m->generation,
		.waiter = &m->task,
		.upstream = m->options->proxy.upstream,
		.head = m->head,
		.preamble = m->preamble,
		.method = (enum method)m->method,
		.framing = (enum framing)m->framing,
		.length = m->length,
		.hash = m->hash,
		.first = m->first,
		.hold_on_return = m->hold_on_return,
	});
	m->head = m->preamble = NULL;
	if (!m->fetch) {
		mirror_drop(m, &p->stats->mirror_dropped_memory);
		return;
	}
	mirror_set_state(m, MIRROR_SENDING);
	stat_add(&p->stats->mirror_requests, 1);
	timer_set(&p->tick->wheel, &m->timer, p->tick->now_ms + m->options->timeout_ms);
}

/* The part of the kept body that there is space for. False: there is none left. */
static bool kept_next(struct mirror *m, uint32_t space, struct piece *p)
{
	const struct buf *kept = m->body.body;
	uint32_t left = kept ? kept->end - m->body_sent : 0;

	if (left == 0)
		return false;
	*p = (struct piece){ buf_ref(m->body.body), kept->data + m->body_sent,
			     left < space ? left : space };
	m->body_sent += p->len;
	return true;
}

static void body_send(struct mirror *m)
{
	struct piece p;
	uint32_t space;

	while (!m->sent && (space = fetch_send_space(m->fetch)) > 0) {
		if (kept_next(m, space, &p)) {
			fetch_send(m->fetch, &p);
			continue;
		}
		fetch_send_end(m->fetch, NULL);
		m->sent = true;
	}
	if (!m->sent)
		fetch_await_space(m->fetch);
}

/* ---- the response ------------------------------------------------------------------ */

static void heads_read(struct mirror *m)
{
	struct source *s = &m->fetch->source;
	struct head *h = &proxy_of(m)->response;

	while (m->state == MIRROR_SENDING && source_head(s, h) == VERDICT_OK) {
		if (h->status == 101) {
			mirror_fail(m);
			return;
		}
		if (h->status < 200) {
			source_take_head(s, h, FRAMING_NONE);
			continue;
		}
		source_take_head(s, h, head_response_framing(h, (enum method)m->method));
		mirror_set_state(m, MIRROR_READING);
	}
}

static void response_read(struct mirror *m)
{
	struct source *s = &m->fetch->source;
	struct piece p = { NULL, NULL, 0 };

	while (m->response_bytes < MIRROR_RESPONSE_BYTES) {
		switch (source_body(s, &proxy_of(m)->response, &p)) {
		case BODY_DATA:
			m->response_bytes += p.len;
			piece_put(&p);
			break;
		case BODY_TRAILERS:
			source_end_trailers(s);
			break;
		case BODY_MORE:
			return;
		case BODY_BAD:
			mirror_fail(m);
			return;
		case BODY_END:
			mirror_end(m);
			return;
		}
	}
	mirror_end(m);
}

static void step_sent(struct mirror *m)
{
	source_step(&m->fetch->source);
	if (m->fetch->source.ending == 0)
		body_send(m);
	if (m->state == MIRROR_SENDING)
		heads_read(m);
	if (m->state == MIRROR_READING)
		response_read(m);
	if (m->state != MIRROR_ENDED && m->fetch->source.ending != 0)
		mirror_fail(m);
}

static void mirror_step(struct task *task)
{
	struct mirror *m = CONTAINER(task, struct mirror, task);

	if (m->state == MIRROR_KEEPING)
		mirror_begin(m);
	if (m->state != MIRROR_ENDED && m->late)
		mirror_fail(m);
	else if (m->state != MIRROR_ENDED)
		step_sent(m);
	if (m->state != MIRROR_ENDED)
		CHECK_STATE(mirror_check(m));
}

static void timed_out(struct timer *t)
{
	struct mirror *m = CONTAINER(t, struct mirror, timer);

	m->late = true;
	tick_run(proxy_of(m)->tick, &m->task);
}

/* ---- keeping ----------------------------------------------------------------------- */

static struct mirror *mirror_of(struct body_tap *t)
{
	return CONTAINER(t, struct mirror, tap);
}

static bool keep_piece(struct body_tap *t, const struct piece *p)
{
	struct mirror *m = mirror_of(t);

	replay_keep(&m->body, io_bufs(proxy_of(m)->tick->loop), p,
		    m->framing == FRAMING_LENGTH ? m->length : 0, m->options->body);
	if (!m->body.disabled)
		return true;
	mirror_drop(m, &proxy_of(m)->stats->mirror_dropped_body);
	return false;
}

static void keep_end(struct body_tap *t)
{
	struct mirror *m = mirror_of(t);

	m->whole = true;
	tick_run(proxy_of(m)->tick, &m->task);
}

static void keep_drop(struct body_tap *t)
{
	struct mirror *m = mirror_of(t);

	mirror_drop(m, &proxy_of(m)->stats->mirror_dropped_incomplete);
}

/* ---- requests ---------------------------------------------------------------------- */

/* As the head for the server, with the mark and without Expect: there is nothing to wait for. NULL:
 * no memory. */
static struct buf *mirrored_head(const struct rule_use *u,
				 const struct request_view *view,
				 struct request_changes *c)
{
	const struct config_mirror *o = u->options;
	const struct config_proxy *server = u->exchange->route->proxy;
	struct config_proxy proxy = { .upstream = o->proxy.upstream,
				      .path = server->path,
				      .host = o->proxy.host.len > 0 ? o->proxy.host
								    : server->host };
	struct field_changes *f = c->fields;
	unsigned n = f->n;
	size_t bytes = f->bytes;
	struct buf *head = NULL;

	if (field_remove(f, SLICE("Expect")) &&
	    field_set(f, SLICE(MIRROR_FIELD), SLICE("1")))
		head = action_emit_request(u->exchange, view, &proxy, view->head, c);
	f->n = n;
	f->bytes = bytes;
	return head;
}

/* An empty body has no end that would be read. */
static bool awaits_body(const struct head *h)
{
	return h->framing != FRAMING_NONE &&
	       (h->framing != FRAMING_LENGTH || h->length > 0);
}

/* NULL: no memory. */
static struct mirror *mirror_new(const struct rule_use *u,
				 const struct request_view *view,
				 struct request_changes *c)
{
	const struct config_mirror *o = u->options;
	struct exchange *x = u->exchange;
	struct mirror *m = slab_take(rule_works(x->proxy, &rule_mirror));

	if (!m)
		return NULL;
	m->generation = generation_ref(x->generation);
	m->options = o;
	m->method = (uint8_t)view->head->method;
	m->framing = (uint8_t)view->head->framing;
	m->length = view->head->length;
	m->hash = action_hash(x->generation, view, o->proxy.upstream);
	m->first = x->down->uses == 1;
	m->hold_on_return = identity_presented(view->head);
	m->sent = m->whole = !awaits_body(view->head);
	m->tap = (struct body_tap){ keep_piece, keep_end, keep_drop };
	task_init(&m->task, mirror_step);
	timer_init(&m->timer, timed_out);
	list_init(&m->node);
	list_append(&x->proxy->mirrors, &m->node);
	stat_add(&x->proxy->stats->mirrors_in_flight, 1);
	m->head = mirrored_head(u, view, c);
	if (m->head && action_preamble(x, o->proxy.upstream, &m->preamble))
		return m;
	mirror_end(m);
	return NULL;
}

/* NULL: the request can be mirrored. Else the counter of those that cannot, for the same reason. */
static uint64_t *obstacle(const struct rule_use *u, const struct head *h)
{
	const struct config_mirror *o = u->options;
	struct proxy *p = u->exchange->proxy;

	if (h->upgrade)
		return &p->stats->mirror_dropped_upgrade;
	if ((awaits_body(h) && o->body == 0) ||
	    (h->framing == FRAMING_LENGTH && h->length > o->body))
		return &p->stats->mirror_dropped_body;
	if (rule_works(p, &rule_mirror)->taken >= o->requests)
		return &p->stats->mirror_dropped_full;
	return NULL;
}

static bool mirror_request(const struct rule_use *u, const struct request_view *view,
			   struct request_changes *c)
{
	const struct config_mirror *o = u->options;
	struct proxy *p = u->exchange->proxy;
	uint64_t *counter;
	struct mirror *m;

	/* No client says that its request is mirrored. */
	if (!field_remove(c->fields, SLICE(MIRROR_FIELD)))
		return false;
	if (random_below(&p->random, CONFIG_SAMPLE_ALL) >= o->share)
		return true;
	counter = obstacle(u, view->head);
	if (counter) {
		stat_add(counter, 1);
		return true;
	}
	m = mirror_new(u, view, c);
	if (!m)
		stat_add(&p->stats->mirror_dropped_memory, 1);
	else if (m->whole)
		tick_run(p->tick, &m->task);
	else
		u->exchange->relay.tap = &m->tap;
	return true;
}

static bool mirror_hides_trailer(const void *options, struct slice name, bool of_request)
{
	(void)options;
	return of_request && field_names_alike(name, SLICE(MIRROR_FIELD));
}

/* An exchange that is not over yet drops its own. */
static void abandon(struct proxy *p)
{
	LIST_EACH(&p->mirrors, node) {
		struct mirror *m = LIST_ITEM(node, struct mirror, node);

		if (m->state != MIRROR_KEEPING)
			mirror_fail(m);
		else if (m->whole)
			mirror_drop(m, &p->stats->mirror_dropped_incomplete);
	}
}

const struct rule rule_mirror = {
	.config = {
		.key = NODE_ROW(mirror, "{ upstream: NAME, share: PERCENT, … }", "none",
				"rule, `proxy` only: a share of the requests is sent to a second "
				"upstream as well, whose responses are dropped"),
		.sections = mirror_sections,
		.of_proxy = true,
		.read = mirror_read,
		.print = mirror_print,
	},
	.work_bytes = sizeof(struct mirror),
	.request = mirror_request,
	.hides_trailer = mirror_hides_trailer,
	.abandon = abandon,
};
