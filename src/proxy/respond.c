/* The responses that an exchange generates itself: which status and which fields they have. */
#include <stdio.h>
#include <string.h>

#include "proxy/action.h"
#include "proxy/rule.h"
#include "reply.h"

static bool send_reply(struct exchange *x, struct reply *r)
{
	struct head *h = &x->proxy->response;

	r->proxy = x->proxy;
	h->status = r->status;
	h->field_n = 0;
	relay_whole(&x->relay, reply_source(r), rules_response(x, h));
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

void exchange_reply(struct exchange *x, struct slice content_type, struct slice body)
{
	struct reply r = { .status = 200,
			   .ending = ENDING_COMPLETE,
			   .content_type = content_type };

	if (body.len > 0 && !copy_body(x, body, &r.body))
		exchange_fail(x, ENDING_NO_MEMORY);
	else
		reply_and_end(x, &r);
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
	reply_and_end(x, &(struct reply){ .status = ending_status(ENDING_UNAUTHORIZED),
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
	reply_and_end(x,
		      &(struct reply){ .status = status,
				       .ending = ending,
				       .allow = ending == ENDING_METHOD_NOT_ALLOWED
							? allowed_methods(x)
							: SLICE(""),
				       .retry_after = retry_after(x, ending, seconds) });
}
