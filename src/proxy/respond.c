/* The responses that an exchange generates itself: which status and which fields they have. */
#include <stdio.h>
#include <string.h>

#include "proxy/action.h"
#include "proxy/rule.h"
#include "reply.h"

static bool send_reply(struct exchange *x, struct reply *r)
{
	struct head *h = &x->proxy->response;
	struct field_changes *c = &x->proxy->changes;

	r->proxy = x->proxy;
	h->status = r->status;
	if (!r->changes_begun) {
		h->field_n = 0;
		field_changes_begin(c);
	}
	rules_change_response(x, h, c);
	relay_whole(&x->relay, reply_source(r), c->n > 0 ? c : NULL);
	relay_drop_source(&x->relay);
	return x->relay.state == RELAY_COMPLETE;
}

static void reply_and_end(struct exchange *x, struct reply *r)
{
	bool sent;

	exchange_set_state(x, EXCHANGE_REPLYING);
	exchange_drop_source(x);
	sent = r->ending == ENDING_NO_MEMORY ? relay_out_of_memory(&x->relay)
					     : send_reply(x, r);
	if (sent)
		exchange_finish(x, r->ending);
	else
		exchange_abort(x, ENDING_NO_MEMORY);
}

static bool copy_body(struct exchange *x, struct slice body, struct piece *p)
{
	struct buf *b = buf_new(io_bufs(x->proxy->tick->loop), body.len);

	if (!b)
		return false;
	memcpy(b->data, body.ptr, body.len);
	*p = (struct piece){ b, b->data, (uint32_t)body.len };
	return true;
}

void exchange_respond(struct exchange *x, const struct exchange_response *response)
{
	struct reply r = { .status = response->status,
			   .ending = response->ending,
			   .content_type = response->content_type,
			   .body_given = true };

	if (response->body.len > 0 && !copy_body(x, response->body, &r.body))
		exchange_fail(x, ENDING_NO_MEMORY);
	else
		reply_and_end(x, &r);
}

void exchange_reply(struct exchange *x, struct slice content_type, struct slice body)
{
	exchange_respond(x, &(struct exchange_response){ .status = 200,
							 .ending = ENDING_COMPLETE,
							 .content_type = content_type,
							 .body = body });
}

/* ---- pages --------------------------------------------------------------------- */

/* Fields of an error response that mean something beside another body too. */
static bool stays_with_page(struct slice name)
{
	static const struct slice names[] = {
		{ "WWW-Authenticate", 16 }, { "Retry-After", 11 }, { "Allow", 5 },
		{ "Set-Cookie", 10 },	    { "Cache-Control", 13 },
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (slice_equal_nocase(name, names[i]))
			return true;
	return false;
}

/* Copies of them: they are in the memory of the origin's response. */
static void keep_fields(const struct head *h, struct field_changes *c)
{
	field_changes_begin(c);
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		struct slice name = { c->text.at, f->name.len };
		struct slice value = { c->text.at + f->name.len, f->value.len };

		if (f->per_hop || !stays_with_page(f->name))
			continue;
		emit_slice(&c->text, f->name);
		emit_slice(&c->text, f->value);
		if (!c->text.overflow)
			field_add(c, name, value);
	}
}

/* The head that rules see has the fields that were kept, and no other ones. */
static void put_kept_fields(struct head *h, const struct field_changes *kept)
{
	h->field_n = 0;
	for (unsigned i = 0; i < kept->n; i++)
		h->fields[h->field_n++] = (struct field){ .name = kept->of[i].name,
							  .value = kept->of[i].value,
							  .header = HEADER_OTHER };
}

/* The fetch would have sent them with the response. */
static void add_cookies(struct field_changes *c, const struct slice values[2])
{
	for (unsigned i = 0; i < 2; i++) {
		struct slice value = { c->text.at, values[i].len };

		emit_slice(&c->text, values[i]);
		if (value.len > 0 && !c->text.overflow)
			field_add(c, SLICE("Set-Cookie"), value);
	}
}

/* Reads what has arrived of a response's body: if that is all, its connection can be used again. */
static void discard_response(struct exchange *x, const struct head *h)
{
	struct relay *r = &x->relay;
	struct piece p = { NULL, NULL, 0 };

	source_take_head(r->source, h, head_response_framing(h, (enum method)r->method));
	while (source_body(r->source, &x->proxy->request, &p) == BODY_DATA)
		piece_put(&p);
}

/* Puts the page into the reply. False: no memory. */
static bool page_put(struct exchange *x, const struct rule_page *page, struct reply *r)
{
	r->status = page->status;
	r->content_type = page->content_type;
	r->body_given = true;
	return page->body.len == 0 || copy_body(x, page->body, &r->body);
}

/* An error of our own, with the page of the route if it has one. */
static void reply_error(struct exchange *x, struct reply *r)
{
	struct rule_page page;

	if (r->ending != ENDING_NO_MEMORY && rules_page(x, r->status, true, &page) &&
	    !page_put(x, &page, r))
		r->ending = ENDING_NO_MEMORY;
	reply_and_end(x, r);
}

void exchange_replace(struct exchange *x, const struct rule_page *page)
{
	struct reply r = { .ending = ENDING_COMPLETE, .changes_begun = true };
	const char *server = source_server(x->relay.source);
	struct head *h = &x->proxy->response;
	struct slice cookies[2] = { SLICE(""), SLICE("") };
	char texts[2][COOKIE_TEXT_MAX];

	if (x->relay.fetch)
		fetch_cookies(x->relay.fetch, h->status, texts, cookies);
	keep_fields(h, &x->proxy->changes);
	discard_response(x, h);
	put_kept_fields(h, &x->proxy->changes);
	add_cookies(&x->proxy->changes, cookies);
	if (!page_put(x, page, &r)) {
		exchange_fail(x, ENDING_NO_MEMORY);
		return;
	}
	reply_and_end(x, &r);
	x->relay.server = server; /* for the log */
}

void exchange_redirect(struct exchange *x, int status, struct slice location,
		       enum ending ending)
{
	reply_and_end(x, &(struct reply){ .status = status,
					  .ending = ending,
					  .location = location });
}

void exchange_challenge(struct exchange *x, struct slice challenge)
{
	reply_error(x, &(struct reply){ .status = ending_status(ENDING_UNAUTHORIZED),
					.ending = ENDING_UNAUTHORIZED,
					.challenge = challenge });
}

/* The methods of the route, for Allow. */
static struct slice allowed_methods(const struct exchange *x)
{
	if (x->route && x->route->allow.len > 0)
		return x->route->allow;
	if (x->route && action_of(x->route)->reads_only)
		return SLICE("GET, HEAD");
	return SLICE("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
}

void exchange_max_forwards_reached(struct exchange *x)
{
	if (x->relay.method == METHOD_TRACE)
		exchange_fail(x, ENDING_METHOD_NOT_ALLOWED);
	else
		reply_and_end(x, &(struct reply){ .status = 204,
						  .ending = ENDING_COMPLETE,
						  .allow = allowed_methods(x) });
}

/* Retry-After: the longest time a request can wait in the queue. */
static struct slice retry_after(const struct exchange *x, enum ending ending,
				char text[16])
{
	const struct action *a;
	uint32_t ms;

	if (ending == ENDING_CACHE_FAILED || ending == ENDING_VERIFIER_BUSY)
		return SLICE("1"); /* it may be over soon */
	if (ending != ENDING_QUEUE_FULL && ending != ENDING_QUEUE_TIMEOUT)
		return SLICE("");
	a = action_of(x->route);
	if (!a->queue_timeout_ms)
		return SLICE("");
	ms = a->queue_timeout_ms(x->generation->config, x->route);
	snprintf(text, 16, "%u", (ms + 999) / 1000);
	return slice_of(text);
}

/* Until its first byte is given to the kernel, the response can be replaced by another. */
static bool take_response_back(struct exchange *x)
{
	return x->state == EXCHANGE_RELAYING && relay_take_back(&x->relay);
}

void exchange_fail(struct exchange *x, enum ending ending)
{
	int status = ending_status(ending);
	char seconds[16];

	if (status == 0 || (x->relay.status != 0 && !take_response_back(x))) {
		exchange_abort(x, ending);
		return;
	}
	reply_error(x, &(struct reply){
			       .status = status,
			       .ending = ending,
			       .allow = ending == ENDING_METHOD_NOT_ALLOWED ? allowed_methods(x)
									    : SLICE(""),
			       .retry_after = retry_after(x, ending, seconds),
		       });
}
