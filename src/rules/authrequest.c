/* The rule `auth_request`: another server decides whether a request goes on, as with auth_request
 * of nginx and ForwardAuth of Traefik.
 *
 *   request ─▶ GET to the upstream, without body ─▶ 2xx: goes on, with fields of this answer
 *                                              ├─▶ 401, 403, a redirect: this answer is relayed
 *                                              └─▶ anything else, or none: 503, or goes on
 *
 * The answer is that of a fetch, as for any other request: connections are kept, a server that
 * cannot be reached is replaced by the next one, all within `timeout`. The client's request is
 * neither read on nor sent meanwhile, so a client that waits for 100 Continue gets none before the
 * decision.
 *
 * What the client sends under a name that the server gets from here is removed, however it spells
 * it: CGI and WSGI read "X_User" as "X-User".
 *
 * Limits: AUTH_ANSWER_FIELDS fields of an answer are used, one with more is an error; of its body
 * AUTH_BODY_BYTES are read, within `timeout` from the request on, so that its connection can be
 * kept. A body that takes longer is left, and its connection closed: the status has decided. */
#include "authrequest.h"

#include "proxy/action.h"
#include "proxy/fetch.h"
#include "proxy/identity.h"
#include "proxy/rule.h"
#include "route/variable.h"

#define AUTH_ANSWER_FIELDS 64
#define AUTH_BODY_BYTES 65536u

/* The fields of a 2xx that are used, in a block with their values. */
struct auth_answer {
	unsigned n;
	struct auth_field {
		bool to_client; /* of response_fields, else of request_fields */
		uint8_t name;   /* index there */
		struct slice value;
	} of[];
};

struct auth_work {
	struct exchange *exchange;
	struct timer timer;    /* armed: the body is awaited */
	uint64_t began_ms;
	struct source *source; /* until the answer was read */
	struct buf *answer;    /* a struct auth_answer; NULL: no field is used */
	uint32_t body_bytes;   /* that were read */
	bool taken;            /* the final head was read; its body follows, for the connection */
	bool allowed;          /* it was a 2xx */
};

/* ---- names -------------------------------------------------------------------- */

static int name_index(const struct auth_names *names, struct slice name)
{
	for (unsigned i = 0; i < names->n; i++)
		if (slice_equal_nocase(names->of[i], name))
			return (int)i;
	return -1;
}

static bool is_one_of(struct slice name, const struct slice *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (field_names_alike(name, names[i]))
			return true;
	return false;
}

/* ---- the request ---------------------------------------------------------------- */

/* Written here, so a client cannot send them. */
static const struct slice own_fields[] = {
	{ "X-Forwarded-Method", 18 }, { "X-Forwarded-Uri", 15 },
	{ "X-Original-Method", 17 },  { "X-Original-URI", 14 },
	{ "X-Original-URL", 14 },
};

/* By these the client requests a form or freshness of its own response, or says something about a
 * body. */
static const struct slice client_fields[] = {
	{ "Expect", 6 },
	{ "Range", 5 },
	{ "If-Range", 8 },
	{ "If-Match", 8 },
	{ "If-None-Match", 13 },
	{ "If-Modified-Since", 17 },
	{ "If-Unmodified-Since", 19 },
	{ "Content-Encoding", 16 },
};

/* The head of the client's request becomes that of the request to the auth server. */
static void head_change(struct head *h, const struct config_auth_request *a)
{
	for (struct field *f = h->fields; f < h->fields + h->field_n; f++)
		f->per_hop |= is_one_of(f->name, own_fields, COUNT(own_fields)) ||
			      is_one_of(f->name, client_fields, COUNT(client_fields)) ||
			      (!a->sends_all && f->header != HEADER_HOST &&
			       name_index(&a->sent, f->name) < 0);
	h->method = METHOD_GET;
	h->method_token = SLICE("GET");
	h->path = a->path;
	h->query = a->query;
	h->bytes += (uint32_t)(a->path.len + a->query.len); /* the space for the new head */
	h->target_form = TARGET_ORIGIN;
	h->framing = FRAMING_NONE;
	h->length = 0;
	h->upgrade = h->expect_continue = h->te_trailers = h->forwards_limited = false;
}

/* Says what the client has requested. False: no room. */
static bool original_add(struct field_changes *c, const struct request_view *view)
{
	const struct head *h = view->head;
	struct emit *e = &c->text;
	const char *url = e->at, *uri;

	emit_slice(e, view->forwarding->proto);
	emit_slice(e, SLICE("://"));
	emit_slice(e, view->forwarding->host.len > 0 ? view->forwarding->host
						     : h->authority);
	uri = e->at;
	emit_slice(e, h->path);
	emit_slice(e, h->query);
	return !e->overflow && field_set(c, own_fields[0], h->method_token) &&
	       field_set(c, own_fields[1],
			 (struct slice){ uri, (size_t)(e->at - uri) }) &&
	       field_set(c, own_fields[2], h->method_token) &&
	       field_set(c, own_fields[3],
			 (struct slice){ uri, (size_t)(e->at - uri) }) &&
	       field_set(c, own_fields[4], (struct slice){ url, (size_t)(e->at - url) });
}

/* NULL: no memory. */
static struct buf *head_write(struct exchange *x, const struct request_view *view,
			      const struct config_auth_request *a)
{
	struct head h = *view->head;
	struct request_changes changes = { .fields = &x->proxy->changes };

	head_change(&h, a);
	field_changes_begin(changes.fields);
	if (!original_add(changes.fields, view))
		return NULL;
	return action_emit_request(x, view, &a->proxy, &h, &changes);
}

/* NULL: no memory. */
static struct source *fetch_begin(struct exchange *x, const struct request_view *view,
				  const struct config_auth_request *a)
{
	struct buf *head = head_write(x, view, a), *preamble;
	struct fetch *f;

	if (!head || !action_preamble(x, a->proxy.upstream, &preamble)) {
		buf_put(head);
		return NULL;
	}
	f = fetch_new(&(struct fetch_options){
		.generation = x->generation,
		.waiter = &x->task,
		.route = &a->route,
		.upstream = a->proxy.upstream,
		.head = head,
		.preamble = preamble,
		.method = METHOD_GET,
		.framing = FRAMING_NONE,
		.hash = action_hash(x->generation, view, a->proxy.upstream),
		.hold_on_return = identity_presented(view->head),
		.record = x->relay.record,
	});
	return f ? &f->source : NULL;
}

static void body_time_passed(struct timer *timer)
{
	const struct auth_work *w = CONTAINER(timer, struct auth_work, timer);

	tick_run(w->exchange->proxy->tick, &w->exchange->task);
}

static enum rule_verdict auth_request_check(const struct rule_use *u,
					    const struct request_view *view)
{
	struct auth_work *w = rule_begin_work(u);

	if (!w)
		return RULE_ENDED;
	w->exchange = u->exchange;
	w->began_ms = u->exchange->proxy->tick->now_ms;
	timer_init(&w->timer, body_time_passed);
	w->source = fetch_begin(u->exchange, view, u->options);
	if (w->source)
		return RULE_WAITS;
	exchange_fail(u->exchange, ENDING_NO_MEMORY);
	return RULE_ENDED;
}

/* ---- the answer ------------------------------------------------------------------ */

static enum rule_verdict answer_failed(const struct rule_use *u, struct auth_work *w)
{
	const struct config_auth_request *a = u->options;

	source_free(&w->source);
	if (a->pass_on_error)
		return RULE_GOES_ON;
	exchange_fail(u->exchange, ENDING_AUTH_FAILED);
	return RULE_ENDED;
}

/* The part of the answer that a field is. False: it is not used. */
static bool field_choose(const struct config_auth_request *a, const struct field *f,
			 bool to_client, struct auth_field *result)
{
	int i = name_index(to_client ? &a->response_fields : &a->request_fields, f->name);

	*result = (struct auth_field){ to_client, (uint8_t)i, f->value };
	return i >= 0 && !f->per_hop;
}

/* Chooses the fields that are used, in `all`. Returns their number; -1: too many. */
static int fields_choose(const struct config_auth_request *a, const struct head *h,
			 struct auth_field all[AUTH_ANSWER_FIELDS], size_t *bytes)
{
	int n = 0;

	*bytes = 0;
	for (unsigned i = 0; i < 2 * h->field_n; i++) {
		struct auth_field f;

		if (!field_choose(a, &h->fields[i / 2], i % 2, &f))
			continue;
		if (n == AUTH_ANSWER_FIELDS)
			return -1;
		all[n++] = f;
		*bytes += f.value.len;
	}
	return n;
}

/* Keeps the fields of a 2xx that are used. False: no memory, or too many. */
static bool answer_keep(const struct rule_use *u, struct auth_work *w,
			const struct head *h)
{
	struct auth_field all[AUTH_ANSWER_FIELDS];
	struct auth_answer *kept;
	size_t bytes;
	int n = fields_choose(u->options, h, all, &bytes);
	char *at;

	if (n <= 0)
		return n == 0;
	bytes += sizeof(*kept) + (size_t)n * sizeof(all[0]);
	w->answer = buf_new(io_bufs(u->exchange->proxy->tick->loop), bytes);
	if (!w->answer)
		return false;
	kept = (void *)w->answer->data;
	kept->n = (unsigned)n;
	at = (char *)&kept->of[n];
	for (int i = 0; i < n; i++) {
		kept->of[i] = all[i];
		kept->of[i].value.ptr = at;
		at = slice_append(at, all[i].value);
	}
	return true;
}

/* True: the client gets this response instead of what it has requested. */
static bool is_refusal(const struct head *h)
{
	switch (h->status) {
	case 401:
	case 403:
		return true;
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
		return head_find_name(h, SLICE("Location"));
	}
	return false;
}

/* The final head. */
static enum rule_verdict answer_take(const struct rule_use *u, struct auth_work *w,
				     const struct head *h)
{
	if (h->status == 101)
		return answer_failed(u, w);
	if (is_refusal(h)) {
		exchange_relay(u->exchange, w->source, NULL);
		w->source = NULL;
		return RULE_RELAYS;
	}
	w->allowed = h->status >= 200 && h->status < 300 && answer_keep(u, w, h);
	w->taken = true;
	source_take_head(w->source, h, head_response_framing(h, METHOD_GET));
	return RULE_GOES_ON;
}

static enum rule_verdict answer_read(const struct rule_use *u, struct auth_work *w)
{
	struct head *h = &u->exchange->proxy->response;

	for (;;) {
		if (w->source->ending != 0)
			return answer_failed(u, w);
		switch (source_head(w->source, h)) {
		case VERDICT_MORE:
			return RULE_WAITS;
		case VERDICT_BAD:
			return answer_failed(u, w);
		case VERDICT_OK:
			break;
		}
		if (h->status >= 200 || h->status == 101)
			return answer_take(u, w, h);
		source_take_head(w->source, h, FRAMING_NONE);
	}
}

/* Reads what has arrived of the body, for the sake of its connection only. True: that is all. */
static bool body_read(struct exchange *x, struct auth_work *w)
{
	struct piece p = { NULL, NULL, 0 };

	while (w->body_bytes < AUTH_BODY_BYTES) {
		switch (source_body(w->source, &x->proxy->response, &p)) {
		case BODY_DATA:
			w->body_bytes += p.len;
			piece_put(&p);
			break;
		case BODY_TRAILERS:
			source_end_trailers(w->source);
			break;
		case BODY_MORE:
			return false;
		case BODY_END:
		case BODY_BAD:
			return true;
		}
	}
	return true;
}

/* True: the body was read, or it has taken too long. */
static bool body_is_done(const struct rule_use *u, struct auth_work *w)
{
	const struct config_auth_request *a = u->options;
	struct tick *tick = u->exchange->proxy->tick;
	uint64_t due_ms = w->began_ms + a->timeout_ms;

	if (body_read(u->exchange, w) || tick->now_ms >= due_ms) {
		timer_stop(&tick->wheel, &w->timer);
		return true;
	}
	if (!timer_armed(&w->timer))
		timer_set(&tick->wheel, &w->timer, due_ms);
	return false;
}

static enum rule_verdict auth_request_step(const struct rule_use *u)
{
	struct auth_work *w = rule_work(u);
	enum rule_verdict verdict = RULE_GOES_ON;

	source_step(w->source);
	if (!w->taken)
		verdict = answer_read(u, w);
	if (verdict != RULE_GOES_ON || !w->taken)
		return verdict;
	if (!body_is_done(u, w))
		return RULE_WAITS;
	if (!w->allowed)
		return answer_failed(u, w);
	source_free(&w->source);
	return RULE_GOES_ON;
}

static void auth_request_ended(const struct rule_use *u)
{
	struct auth_work *w = rule_work(u);

	timer_stop(&u->exchange->proxy->tick->wheel, &w->timer);
	source_free(&w->source);
	buf_put(w->answer);
	slab_put(rule_works(u->exchange->proxy, &rule_auth_request), w);
}

/* ---- what it changes -------------------------------------------------------------- */

static bool answer_add(const struct auth_work *w, const struct auth_names *names,
		       bool to_client, struct field_changes *c)
{
	const struct auth_answer *kept = w && w->answer ? (const void *)w->answer->data
							: NULL;

	for (unsigned i = 0; kept && i < kept->n; i++)
		if (kept->of[i].to_client == to_client &&
		    !field_add(c, names->of[kept->of[i].name], kept->of[i].value))
			return false;
	return true;
}

/* Removes what the client has sent under these names, in any spelling. */
static bool claims_remove(const struct auth_names *names, struct field_changes *c)
{
	for (unsigned i = 0; i < names->n; i++)
		if (!field_remove(c, names->of[i]))
			return false;
	return true;
}

static bool auth_request_request(const struct rule_use *u,
				 const struct request_view *view,
				 struct request_changes *c)
{
	const struct config_auth_request *a = u->options;

	(void)view;
	if (claims_remove(&a->request_fields, c->fields) &&
	    answer_add(rule_work(u), &a->request_fields, false, c->fields))
		return true;
	exchange_fail(u->exchange, ENDING_AUTH_FAILED);
	return false;
}

static void auth_request_response(const struct rule_use *u,
				  const struct request_view *view, const struct head *h,
				  struct field_changes *c)
{
	const struct config_auth_request *a = u->options;

	(void)view;
	(void)h;
	answer_add(rule_work(u), &a->response_fields, true, c);
}

static bool auth_request_hides_trailer(const void *options, struct slice name,
				       bool of_request)
{
	const struct config_auth_request *a = options;

	return of_request && is_one_of(name, a->request_fields.of, a->request_fields.n);
}

const struct rule rule_auth_request = {
	.config = {
		.key = NODE_ROW(auth_request, "{ upstream: NAME, path: /PATH, … }", "none",
				"rule: a GET to another server decides: 2xx: the request goes on; "
				"401, 403 or a redirect: the client gets that response"),
		.sections = auth_request_sections,
		.read = auth_request_read,
		.print = auth_request_print,
	},
	.check = auth_request_check,
	.work_bytes = sizeof(struct auth_work),
	.step = auth_request_step,
	.ended = auth_request_ended,
	.request = auth_request_request,
	.response = auth_request_response,
	.hides_trailer = auth_request_hides_trailer,
};
